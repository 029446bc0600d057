"""Runs: artifacts by digest and a journal of steps that survives a kill."""
