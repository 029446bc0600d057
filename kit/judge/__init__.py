"""Verdicts: a pure function of records and profile."""
