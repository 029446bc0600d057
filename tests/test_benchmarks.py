"""The benchmarks run, compare like with like, and say whether a goal holds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.table import Row

ROOT = Path(__file__).parents[1]


def row(ours: float, peer: float, ratio: float | None = None, absolute: float | None = None) -> Row:
    return Row("what", ours, "peer", peer, "ms", ratio, absolute)


@pytest.mark.parametrize(
    ("given", "holds"),
    [
        (row(1, 2), True),
        (row(1, 2, ratio=0.5), True),
        (row(1, 2, ratio=0.4), False),
        (row(1, 2, absolute=1), True),
        (row(1, 2, absolute=0.9), False),
        (row(1, 2, ratio=0.5, absolute=0.9), False),
    ],
)
def test_a_goal_holds_or_does_not(given: Row, holds: bool) -> None:
    assert given.holds is holds
    assert ("DOES NOT HOLD" in given.as_text()) is not holds
    assert given.as_object()["ratio"] == 0.5


def test_a_benchmark_runs_ours_and_its_peer_in_one_go() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "startup", "--quick", "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    (found,) = json.loads(done.stdout)["rows"]
    assert found["ours"] > 0
    assert found["peer"] > 0
    assert (done.returncode == 0) is found["holds"]


def test_an_unknown_benchmark_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "nothing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "startup" in done.stderr
