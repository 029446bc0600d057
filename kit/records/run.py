"""Runs: what one was asked to do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run was asked to do, written before anything is measured: digests of every input, seed, command."""

    run_id: str
    created_utc: str
    tool_version: str
    command: tuple[str, ...]
    seed: int
    source_digest: str
    profile_name: str
    profile_digest: str
    dataset_name: str
    dataset_digest: str
    device_name: str
    device_digest: str
    recipes: tuple[str, ...]
