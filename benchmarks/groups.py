"""Rates by group: ours beside Fairlearn's MetricFrame, and beside duckdb, polars and pandas for the grouping itself.

Five rates of 90 groups, three columns crossed. Every tool gets the same coded rows, in a process and an environment of
its own, and has to find the same greatest selection rate. CPU seconds of all threads, the least of several.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.environments import environment
from benchmarks.table import Row

ROOT = Path(__file__).parents[1]
CACHE, SCRIPT = ROOT / ".cache" / "bench", Path(__file__).parent / "peers" / "group_rates.py"
LIMIT_S = 400.0
PACKAGES = {
    "fairlearn": ("fairlearn==0.15.0", "pandas<3"),
    "duckdb": ("duckdb==1.4.2", "pandas<3", "numpy"),
    "polars": ("polars==1.35.2", "numpy"),
    "pandas": ("pandas==2.3.3",),
}
BOOTSTRAPS = 1000
FAIRLEARN_BOOTSTRAPS = 4
"""Of how many Fairlearn's time is taken; that of more is extrapolated in proportion, beyond what one run takes."""


@dataclass(frozen=True)
class Taken:
    """CPU time and added memory of one tool, and the greatest selection rate that it found."""

    seconds: float
    added_mb: float
    check: float


def given(rows: int, folder: Path) -> Path:
    """Coded rows of three columns, a label and two models' decisions, uint8, as a file."""
    rng = np.random.default_rng(0)
    path = folder / f"{rows}.npz"
    columns = {
        name: rng.integers(0, size, rows).astype(np.uint8)
        for name, size in zip(("first", "second", "third"), (5, 6, 3), strict=True)
    }
    label = rng.random(rows) < 0.4
    reference = np.where(rng.random(rows) < 0.85, label, ~label)
    optimized = np.where(rng.random(rows) < 0.98, reference, ~reference)
    np.savez(path, y=label.astype(np.uint8), r=reference.astype(np.uint8), o=optimized.astype(np.uint8), **columns)
    return path


def taken(tool: str, path: Path, bootstraps: int = 0, repeats: int = 5) -> Taken:
    """Run one tool. Raises SystemExit where it fails."""
    own = tool.startswith("ours")
    python = Path(sys.executable) if own else environment(CACHE / tool, PACKAGES[tool])
    surroundings = os.environ | ({"PYTHONPATH": str(ROOT)} if own else {})
    command = [str(python), "-W", "ignore", str(SCRIPT), tool, str(path), str(bootstraps), str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=surroundings, check=False)
    if done.returncode:
        raise SystemExit(f"{tool} failed: {done.stderr[-800:]}")
    return Taken(**json.loads(done.stdout))


def rows(*, quick: bool) -> list[Row]:
    """For the benchmark of slices: CPU time and memory at 1e5 and 1e6 rows; only 1e5 if `quick`."""
    with tempfile.TemporaryDirectory() as temporary:
        return [
            row for number in ((100_000,) if quick else (100_000, 1_000_000)) for row in at(number, Path(temporary))
        ]


def at(number: int, folder: Path) -> list[Row]:
    """Every comparison at one number of rows."""
    path, large = given(number, folder), number >= 1_000_000
    size = f"{number:.0e}".replace("e+0", "e")
    counts = taken("ours", path, repeats=25)
    texts = taken("ours-texts", path, repeats=5)
    drawn = taken("ours", path, BOOTSTRAPS, 3)
    frame = taken("fairlearn", path, 0, 1)
    found = [
        _row(f"5 rates of 90 groups, {size} rows", counts, "Fairlearn", frame, 1 / 5000, 5.0 if large else None),
        _row(f"the same from texts, {size}", texts, "", None, None, 150.0 if large else None, "codes first"),
    ]
    if not large:
        few = taken("fairlearn", path, FAIRLEARN_BOOTSTRAPS, 1)
        each = (few.seconds - frame.seconds) / FAIRLEARN_BOOTSTRAPS
        found.append(_with_bootstraps(size, drawn, frame.seconds + BOOTSTRAPS * each, few, None))
    else:
        found.append(_with_bootstraps(size, drawn, (1 + BOOTSTRAPS) * frame.seconds, frame, 300.0))
    for tool, goal in (("duckdb", 0.5), ("polars", 0.2), ("pandas", 0.1)):
        found.append(_row(f"grouping alone, {size}", counts, tool, taken(tool, path), goal if large else None, None))
    return found


def _row(
    what: str, ours: Taken, name: str, peer: Taken | None, ratio: float | None, goal_ms: float | None, note: str = ""
) -> Row:
    if peer is not None and abs(peer.check - ours.check) > 1e-9:
        raise SystemExit(f"{name} finds {peer.check} where ours is {ours.check}")
    memory = f"adds {ours.added_mb:.0f} MB" + ("" if peer is None else f", {name} {peer.added_mb:.0f} MB")
    said = f"{note}; {memory}" if note else memory
    seconds = None if peer is None else 1e3 * peer.seconds
    return Row(what, 1e3 * ours.seconds, name, seconds, "ms", ratio, goal_ms, note=said)


def _with_bootstraps(size: str, ours: Taken, peer_s: float, few: Taken, goal_ms: float | None) -> Row:
    note = f"Fairlearn's is extrapolated from fewer; adds {ours.added_mb:.0f} MB, Fairlearn {few.added_mb:.0f} MB"
    what = f"with {BOOTSTRAPS} bootstraps, {size}"
    return Row(what, 1e3 * ours.seconds, "Fairlearn", 1e3 * peer_s, "ms", 1 / 1000, goal_ms, note=note)
