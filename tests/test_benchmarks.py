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


def rate(ours: float | None, peer: float | None, ratio: float | None = None, absolute: float | None = None) -> Row:
    return Row("what", ours, "peer", peer, "MB/s", ratio, absolute, higher_is_better=True, note="why")


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


@pytest.mark.parametrize(
    ("given", "holds"),
    [
        (rate(2, 1), True),
        (rate(2, 1, ratio=2), True),
        (rate(2, 1, ratio=2.1), False),
        (rate(2, 1, absolute=2), True),
        (rate(2, 1, absolute=2.1), False),
        (rate(None, 1, absolute=2), False),
        (rate(None, 1), True),
        (rate(2, None, absolute=2), True),
        (rate(2, None, ratio=1), False),
    ],
)
def test_where_more_is_better_and_where_a_figure_is_absent(given: Row, holds: bool) -> None:
    assert given.holds is holds
    assert ("DOES NOT HOLD" in given.as_text()) is not holds
    assert given.as_object()["ratio"] == (2 if given.ours and given.peer else None)
    assert ("none" in given.as_text().split("goal")[0]) is (given.ours is None or given.peer is None)
    assert "(why)" in given.as_text()


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
