"""The report's sections: each turns records and findings into frozen rows, sentences and chart data, ready to show."""
