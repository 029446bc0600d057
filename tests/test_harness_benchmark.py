"""The harness benchmark times real loops, compares like with like, and says what it lacks."""

import functools
import shutil
import venv

import numpy as np
import pytest

from benchmarks import harness
from benchmarks.environments import environment
from kit.agent.runner import load


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("harness") / "m.onnx"
    path.write_bytes(harness.model(32, 1, 3))
    return path


def times(sample, loop, between):
    return harness.Times([sample] * 3, [loop] * 3, [between] * 3)


def compared(**changes):
    found = {
        "bare": times(10_000, 10_100, 400), "ours": times(10_100, 10_700, 650),
        harness.LOADGEN: times(14_000, 17_000, 0), harness.PERF_TOOL: harness.Times(),
    }  # fmt: skip
    return harness._rows("10 us", found | changes, 5, "no network")


def test_a_model_is_as_deep_and_wide_as_asked(small):
    session = load(small, 1, exact=False)
    (scores,) = session.run(None, {"x": harness.rows_of(32)[:1]})
    assert scores.shape == (1, 8)
    assert np.isfinite(scores).all()
    assert len(harness.model(32, 1, 6)) > 1.8 * len(harness.model(32, 1, 3))


def test_a_model_is_sized_by_what_it_takes_here(tmp_path):
    path = harness.sized(tmp_path, 100e3, 32, 1)
    took_ns, _ = harness.Bare(load(path, 1, exact=False), harness.rows_of(32)).timed(0.2)
    assert 30e3 < took_ns < 300e3


def test_ours_and_the_bare_loop_time_the_same_inference(small):
    session, rows = load(small, 1, exact=False), harness.rows_of(32)
    bare = harness.Bare(session, rows)
    sample_ns, between_ns = bare.timed(0.2)
    own_ns, loop_ns, own_between_ns = harness.ours(session, rows, 0.3)
    assert 0.5 < own_ns / sample_ns < 2
    assert own_ns < loop_ns < 3 * own_ns
    assert 0 < own_between_ns < 20 * between_ns
    assert 0.5 < bare.untimed(0.2, sample_ns) / sample_ns < 2


def test_the_bare_loop_reads_the_row_that_it_writes(small):
    bare = harness.Bare(load(small, 1, exact=False), harness.rows_of(32))
    bare.timed(0.05)
    assert any(np.array_equal(bare.buffer[0], row) for row in bare.rows)


class TestRows:
    def test_goals_are_of_the_inference_and_of_what_is_added(self):
        one, added, loadgen, tool = compared()
        assert (one.ratio, one.goal_ratio, one.holds) == (pytest.approx(1.0), 1.02, True)
        assert (added.ours, added.goal_absolute, added.holds) == (pytest.approx(0.25), 1.0, True)
        assert loadgen.ratio == pytest.approx(10_700 / 17_000)
        assert (tool.peer, tool.ratio) == (None, None)
        assert "not on the path" in tool.note

    def test_a_slower_inference_or_a_longer_gap_does_not_hold(self):
        assert not compared(ours=times(10_400, 10_900, 650))[0].holds
        assert not compared(ours=times(10_100, 12_000, 1500))[1].holds

    def test_a_machine_that_is_never_steady_gives_no_figure(self):
        (row,) = compared(ours=harness.Times(), bare=harness.Times())
        assert not row.holds
        assert "in each of 5 turns" in row.note

    def test_a_peer_that_cannot_be_had_says_why(self):
        loadgen = compared(**{harness.LOADGEN: harness.Times()})[2]
        assert (loadgen.peer, loadgen.note) == (None, "no network")


def test_a_tool_that_does_not_tell_its_time_is_no_figure(small):
    with pytest.raises(RuntimeError, match="does not tell its time"):
        harness.perf_tool(shutil.which("echo"), small, 1.0)


def test_an_environment_that_cannot_be_made_is_said(tmp_path, monkeypatch):
    bare = functools.partial(venv.create, with_pip=False)
    monkeypatch.setattr(venv, "create", lambda folder, **_: bare(folder))  # nothing to install with
    with pytest.raises(SystemExit, match=r"nothing-by-this-name==1 cannot be installed"):
        environment(tmp_path / "peer", ("nothing-by-this-name==1",))
    assert not (tmp_path / "peer" / "ready").exists()
