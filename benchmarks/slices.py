"""Slices: the search for the worst conjunctions beside its peers, and metrics by group beside theirs.

Every tool searches the same rows, each in a process and an environment of its own: 10 or 14 columns, conjunctions of up
to three, of an optimization that hurts one of them. They do not answer quite the same question, and their rows say so.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.environments import environment
from benchmarks.table import Row

ROOT = Path(__file__).parents[1]
CACHE, SCRIPT = ROOT / ".cache" / "bench", Path(__file__).parent / "peers" / "slice_search.py"
LIMIT_S, LIMIT_BYTES = 240.0, 16 << 30
CARDINALITIES = (2, 3, 4, 2, 5, 3, 2, 4, 3, 2, 4, 3, 2, 5)


@dataclass(frozen=True)
class Peer:
    """A tool, what it is installed from, and what it does otherwise than ours."""

    tool: str
    name: str
    packages: tuple[str, ...]
    note: str


PEERS = (
    Peer("divexplorer", "DivExplorer 0.2.6", ("divexplorer==0.2.6", "pandas"), "support 0.01 to our 0.001"),
    Peer(
        "erroranalysis",
        "erroranalysis 0.5.5",
        ("erroranalysis==0.5.5", "shap", "pandas<3", "scipy<1.15", "setuptools<81"),
        "a greedy tree of rows that turned wrong",
    ),
    Peer("sliceline", "sliceline 0.3", ("sliceline==0.3.0", "pandas", "numpy"), "rows that turned wrong only"),
)
GOAL_OF_DIVEXPLORER = 0.01


@dataclass(frozen=True)
class Taken:
    """CPU time and memory of one search; None where it gave nothing, and `failed` says why."""

    seconds: float | None
    added_mb: float | None
    best: str = ""
    failed: str = ""


def run(*, quick: bool) -> list[Row]:
    """The search, then the groups."""
    rows = [row for size, columns in sizes(quick=quick) for row in search_rows(size, columns, quick=quick)]
    if importlib.util.find_spec("benchmarks.groups") is not None:
        rows += importlib.import_module("benchmarks.groups").rows(quick=quick)
    return rows


def sizes(*, quick: bool) -> list[tuple[int, int]]:
    """Rows and columns."""
    return [(100_000, 10)] if quick else [(100_000, 10), (1_000_000, 10), (1_000_000, 14)]


def search_rows(size: int, columns: int, *, quick: bool) -> list[Row]:
    """Time and memory of ours against its goals, then beside each peer; `quick` takes none that must be installed."""
    what = f"search of {size:,} x {columns}"
    with tempfile.TemporaryDirectory() as folder:
        path = write_case(Path(folder) / "case.npz", size, columns)
        ours = min((searched("ours", path) for _ in range(5)), key=lambda taken: taken.seconds or LIMIT_S)
        goal_s = {(100_000, 10): 0.05, (1_000_000, 10): 0.3, (1_000_000, 14): 0.84}[size, columns]
        goal_mb = 250.0 if size == 100_000 else None
        rows = [
            Row(f"{what}: CPU time", ours.seconds, "", None, "s", goal_absolute=goal_s, note=f"best: {ours.best}"),
            Row(f"{what}: memory added", ours.added_mb, "", None, "MB", goal_absolute=goal_mb, note=ours.failed),
        ]
        for peer in () if quick else PEERS:
            taken = searched(peer.tool, path)
            note = "; ".join(filter(None, [peer.note, taken.failed, taken.best and f"best: {taken.best}"]))
            goal = GOAL_OF_DIVEXPLORER if peer.tool == "divexplorer" and taken.seconds else None
            rows.append(Row(f"{what}: CPU time", ours.seconds, peer.name, taken.seconds, "s", goal, note=note))
            rows.append(Row(f"{what}: memory added", ours.added_mb, peer.name, taken.added_mb, "MB"))
            print(f"{what}: {peer.name}: {taken}", file=sys.stderr)
    return rows


def write_case(path: Path, size: int, columns: int) -> Path:
    """Codes and differences: 0.5 % of rows flip each way, and one conjunction of three columns loses 15 points more."""
    rng = np.random.default_rng(0)
    codes = np.stack([rng.choice(n, size, p=_uneven(n)) for n in CARDINALITIES[:columns]]).astype(np.int64)
    hurt = (codes[2] == 3) & (codes[4] == 4) & (codes[7] == 2)
    wrong = rng.random(size) < 0.005 + np.where(hurt, 0.15, 0.0)
    np.savez(path, codes=codes, differences=wrong * 1.0 - (~wrong & (rng.random(size) < 0.005)))
    return path


def _uneven(values: int) -> np.ndarray:
    weights = 1.0 / np.arange(1, values + 1) ** 0.5
    return np.asarray(weights / weights.sum())


@cache
def python_of(tool: str) -> str:
    """The Python that has the tool."""
    packages = next((peer.packages for peer in PEERS if peer.tool == tool), None)
    return sys.executable if packages is None else str(environment(CACHE / tool, packages))


def searched(tool: str, path: Path) -> Taken:
    """Run one tool on the case; at most `LIMIT_S` seconds and `LIMIT_BYTES`."""
    command = [python_of(tool), str(SCRIPT), tool, str(path), str(LIMIT_BYTES)]
    surroundings = os.environ | ({"PYTHONPATH": str(ROOT)} if tool == "ours" else {})
    try:
        done = subprocess.run(
            command, cwd=path.parent, env=surroundings, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Taken(None, None, failed=f"stopped after {LIMIT_S:.0f} s")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"it died of {-done.returncode}"])[-1]
        memory = "MemoryError" in reason or "allocate" in reason or done.returncode < 0
        why = f"out of memory at {LIMIT_BYTES >> 30} GiB" if memory else f"failed: {reason[:160]}"
        return Taken(None, None, failed=why)
    given = json.loads(done.stdout.strip().splitlines()[-1])
    if "failed" in given:
        return Taken(None, None, failed=given["failed"][:160])
    return Taken(given["cpu_seconds"], given["added_bytes"] / 1e6, str(given["best"])[:100])
