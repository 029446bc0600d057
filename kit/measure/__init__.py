"""Measuring: drive an opened device and return records."""
