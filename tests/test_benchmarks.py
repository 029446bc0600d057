"""The benchmarks run, compare like with like, and say whether a goal holds."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import link, lrzsz
from benchmarks.table import Row
from kit.spec.types import LineSpec

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


needs_lrzsz = pytest.mark.skipif(bool(lrzsz.missing()), reason="lrzsz is not installed")


@needs_lrzsz
@pytest.mark.parametrize("protocol", sorted(lrzsz.PROTOCOLS))
def test_a_peer_of_the_link_moves_an_object_over_the_same_line(protocol: str) -> None:
    data = random.Random(1).randbytes(30_000)
    took_s, note = lrzsz.transfer_s(protocol, LineSpec(921_600, 0.001), data, 30.0)
    assert took_s is not None, note
    assert took_s > len(data) / 92_160
    assert not note


@needs_lrzsz
def test_a_peer_that_does_not_come_to_an_end_is_stopped_and_shown_so() -> None:
    took_s, note = lrzsz.transfer_s("XMODEM-1k", LineSpec(1200, 0.001), bytes(30_000), 1.0)
    assert took_s is None
    assert "stopped after 1 s with" in note


@needs_lrzsz
def test_a_peer_whose_object_is_altered_has_no_figure() -> None:
    line = LineSpec(921_600, 0.001, bit_error_rate=0.1)
    took_s, note = lrzsz.transfer_s("XMODEM-1k", line, bytes(3000), 5.0)
    assert took_s is None
    assert note


def test_our_link_moves_an_object_end_to_end_and_tells_how_true_the_line_was() -> None:
    found = link._result(link.Case("ours", LineSpec(921_600, 0.001)), random.Random(1).randbytes(100_000))
    assert found.percent is not None
    assert 20 < found.percent < 100
    assert "its line never over" in found.note
