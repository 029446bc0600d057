"""A smartwatch recognises shoulder exercises: windows of a six-axis wrist sensor, two classifiers."""
