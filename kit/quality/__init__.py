"""Faults of data, and attacks on a model's outputs. Pure."""
