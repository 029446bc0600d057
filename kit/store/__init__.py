"""Runs: artifacts by digest and a journal of steps that survives a kill."""

from kit.store.objects import Objects, read_regular, write_atomically
from kit.store.run import Run

__all__ = ["Objects", "Run", "read_regular", "write_atomically"]
