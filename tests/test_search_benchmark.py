"""The search benchmark: cases, what peers are given, counting, judging, and rows with their goals."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from benchmarks import search, search_cases, search_easy, search_nets, search_ours, search_peers, search_speech
from examples.bundle import installed_file
from examples.watch import prepare as watch

ROOT = Path(__file__).parents[1]


def slice_case(folder: Path, rows: int = 200) -> search_cases.Case:
    """A perceptron that is always right on two classes, half of the rows to select on, a slice of each class."""
    generator = np.random.default_rng(0)
    labels = np.arange(rows) % 2
    x = (generator.normal(size=(rows, 4)) + 6 * labels[:, None]).astype(np.float32)
    first, second = np.array([[-1.0, 1.0]] * 4), np.array([[1.0, 0.0], [0.0, 1.0]])
    biases = [np.array([12.0, -12.0]), np.zeros(2)]
    return search_cases.write_case(
        folder,
        model=search_easy._perceptron([first, second], biases),
        feeds={"x": x},
        classes=("low", "high"),
        labels=labels,
        slices={"kind": np.array(["low", "high"])[labels], "rare": np.where(np.arange(rows) < 20, "yes", "no")},
        cluster=np.arange(rows),
        selection=np.arange(rows) % 4 < 2,
        calibration={"x": x[:32]},
        source="made here",
    )


def test_losses_are_of_the_asked_rows_and_name_the_worst_slice(tmp_path: Path) -> None:
    case = slice_case(tmp_path / "easy")
    decisions = case.labels.copy()
    wrong = np.flatnonzero(~case.selection & (case.labels == 1))[:5]
    decisions[wrong] = 0
    there = search_cases.losses(case, case.labels, decisions, ~case.selection)
    assert there.overall == pytest.approx(5 / 100)
    assert there.worst == ("kind=high", pytest.approx(5 / 50))
    assert not there.hold
    here = search_cases.losses(case, case.labels, decisions, case.selection)
    assert here.overall == 0
    assert here.hold


def test_a_slice_with_few_rows_in_either_half_is_left_out(tmp_path: Path) -> None:
    assert sorted(slice_case(tmp_path / "easy").slices) == ["kind=high", "kind=low", "rare=no"]


def test_what_a_peer_is_given_are_the_rows_to_select_on_and_no_others(tmp_path: Path) -> None:
    case = slice_case(tmp_path / "easy")
    folder = search_cases.hand_over(case, tmp_path / "task")
    given = np.load(folder / "rows.npz")
    assert np.array_equal(given["select:x"], case.feeds["x"][case.selection])
    assert np.array_equal(given["calibrate:x"], case.calibration["x"])
    assert given["reference"].all()
    assert given["slices"].shape == (3, 100)
    assert json.loads((folder / "task.json").read_text()) == {"max_drop": 0.005, "max_slice_drop": 0.03}


def test_a_peers_script_counts_what_it_scores_and_tells_what_a_limit_leaves(tmp_path: Path) -> None:
    case = slice_case(tmp_path / "easy")
    folder = search_cases.hand_over(case, tmp_path / "task")
    script = (
        "import sys, numpy as np; from common import Task\n"
        "task = Task(sys.argv[1]); model = task.model.read_bytes()\n"
        "right = task.right(model); task.right(model, [0, 1, 2])\n"
        "print(right.all(), task.margin(right))\n"
        "wrong = right.copy(); wrong[np.flatnonzero(task.labels == 1)[:5]] = False\n"
        "print(task.margin(wrong)); task.finish(quantizer_calls=3, note='why')\n"
    )
    peers = ROOT / "benchmarks" / "peers"
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], cwd=peers, capture_output=True, text=True, timeout=60, check=True
    )
    first, second = done.stdout.splitlines()
    assert first == "True 0.005"
    assert float(second) == pytest.approx(0.03 - 5 / 50)
    result = json.loads((folder / "result.json").read_text())
    assert (result["full_evaluations"], result["rows_scored"], result["quantizer_calls"]) == (1, 103, 3)
    assert result["note"] == "why"


def test_products_that_stayed_in_float_are_counted(tmp_path: Path) -> None:
    case = slice_case(tmp_path / "easy")
    assert search.products_in_float(onnx.load_model_from_string(case.model)) == 2
    plain = search_peers.plain_static(case, per_channel=True)
    assert plain.model is not None
    assert search.products_in_float(onnx.load_model_from_string(plain.model)) == 0


def test_a_peer_that_does_not_hold_or_gives_nothing_sets_no_goal_of_size(tmp_path: Path) -> None:
    held, broken = search_cases.Losses(0.0, {"kind=high": 0.0}), search_cases.Losses(0.004, {"kind=high": 0.031})
    ours = search.Judged(search_peers.Found("ours", bytes(80), 1.0, 3, 300, 4), held, 1, 10.0)
    peers = [
        search.Judged(search_peers.Found("good", bytes(79), 1.0, 9), held, 0, 10.0),
        search.Judged(search_peers.Found("bad", bytes(40), 1.0, 9), broken, 0, 10.0),
        search.Judged(search_peers.Found("none", None, 1.0, 9, note="found nothing"), None, 0, 0.0),
    ]
    evaluations, overall, worst, *sizes = search.rows_of("net", [ours, *peers])
    assert evaluations.holds
    assert overall.holds
    assert worst.holds
    assert [row.holds for row in sizes] == [False, True, True]
    assert "DOES NOT HOLD its limits" in sizes[1].note
    assert "no model" in sizes[2].note
    assert sizes[2].peer is None


def test_ours_without_a_model_holds_no_goal() -> None:
    nothing = search.Judged(search_peers.Found("ours", None, 1.0, 5, note="nothing meets"), None, 0, 0.0)
    assert not any(row.holds for row in search.rows_of("net", [nothing]))


def test_rescaled_channels_compute_the_same_function() -> None:
    model = onnx.load(ROOT / "examples" / "watch" / "watch-cnn.onnx")
    x = np.random.default_rng(0).normal(0, 3, (64, 600)).astype(np.float32)
    plain, wide = (
        search_cases.run(search_cases.session(each.SerializeToString(), exact=True), {"x": x})
        for each in (model, search_nets.rescale(model, 2.0, seed=2))
    )
    assert np.abs(plain - wide).max() < 1e-3 * np.abs(plain).max()
    weights = {
        each.name: numpy_helper.to_array(each) for each in search_nets.rescale(model, 2.0, seed=2).graph.initializer
    }
    spread = np.abs(weights["block2.depthwise.w"]).max(axis=(1, 2))
    assert spread.max() / spread.min() > 100


def test_halves_of_the_recordings_share_none_and_both_have_every_exercise_and_person() -> None:
    _, held_out = watch.split(watch.load_windows())
    first = search_nets.first_half(held_out)
    assert not set(held_out.recording[first]) & set(held_out.recording[~first])
    for half in (held_out[first], held_out[~first]):
        assert set(half.y) == set(range(7))
        assert set(half.subject) == {7, 8, 9, 10}
        assert np.mean(half.side == "left") == pytest.approx(0.5, abs=0.02)


def test_the_rewritten_speech_detector_gives_the_originals_probabilities() -> None:
    path = installed_file("silero_vad", "data/silero_vad_16k_op15.onnx", search_speech.PACKAGE)
    original = path.read_bytes()
    noise = np.random.default_rng(0).normal(0, 0.05, 16_000).astype(np.float32)
    table = search_speech._frames(original, noise, 0, "clean")
    model = search_speech.one_step(onnx.load_model_from_string(original))
    search_speech._check(model, table)
    broken = {**table, "probability": table["probability"] + np.float32(0.01)}
    with pytest.raises(SystemExit, match=r"differs from the original by 0\.01"):
        search_speech._check(model, broken)


def test_ours_finds_a_model_that_holds_on_rows_it_did_not_select_on(tmp_path: Path) -> None:
    case = slice_case(tmp_path / "easy", rows=800)
    ours, plain = search.judge(case, [search_ours.search_ours, partial(search_peers.plain_static, per_channel=False)])
    assert ours.holds
    assert 1 <= ours.found.full_evaluations <= 5
    assert ours.found.rows_scored >= 400 * ours.found.full_evaluations
    assert ours.size_bytes is not None
    assert ours.latency_us > 0
    assert plain.latency_us > 0
