"""Runs: artifacts by digest and a journal of steps that survives a kill."""

from kit.store.objects import Objects, write_atomically
from kit.store.run import Run

__all__ = ["Objects", "Run", "write_atomically"]
