"""Reports: records to a view, and the view to HTML, text or JSON."""
