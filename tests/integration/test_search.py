"""`edgeproof quantize --search`: the choice holds where it was made and elsewhere, nothing is lost, budgets hold."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import psutil
import pytest

from kit.digest import digest_file
from kit.judge.gaps import Untested
from kit.model.search import SearchOutcome
from kit.pipeline.search import Confirmation, _verdict
from kit.records import SearchGap, SearchPoint, Verdict
from kit.stats.gap import is_met
from kit.store import Run
from tests.digits_case import WITH_SELECTION, Case, write_case, write_data
from tests.integration.conftest import ROOT, Edgeproof
from tests.integration.in_process import edgeproof

__all__ = ["edgeproof"]  # a fixture


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A net that plain int8 breaks."""
    return write_case(tmp_path / "case", sigma=3.0)


def searched(edgeproof: Edgeproof, case: Case, *more: str | Path, cwd: Path, code: int = 0) -> dict[str, Any]:
    done = edgeproof("quantize", *case.words("--search", "--json", *more), cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def refused(edgeproof: Edgeproof, *words: str | Path, cwd: Path) -> str:
    before = sorted(str(path) for path in cwd.rglob("*"))
    done = edgeproof("quantize", *words, cwd=cwd)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error["), done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(str(path) for path in cwd.rglob("*")) == before
    return done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `once` searches."""
    return tmp_path_factory.mktemp("once")


@pytest.fixture
def once(home: Path, edgeproof: Edgeproof) -> tuple[Case, str]:
    """One search in `home`/net.search of a net that plain int8 breaks, for tests that only read; what it printed."""
    if not (home / "printed").exists():
        case = write_case(home / "case", sigma=3.0)
        done = edgeproof("quantize", *case.words("--search"), cwd=home)
        assert done.returncode == 0, done.stdout + done.stderr
        (home / "printed").write_text(done.stdout)
    case = Case(home / "case", home / "case/net.onnx", home / "case/digits.toml", home / "case/desk.toml")
    return case, (home / "printed").read_text()


def decisions(model: Path, rows: np.ndarray) -> np.ndarray:
    """By onnxruntime itself, int8 sums exact."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": rows})[0].argmax(axis=1))


def test_it_finds_what_plain_recipes_do_not_and_other_rows_agree(
    once: tuple[Case, str], home: Path, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    case, _ = once
    done = edgeproof("quantize", *case.words("--recipe", "int8-per-tensor", "--json"), cwd=tmp_path)
    assert json.loads(done.stdout)["variants"][0]["profile"]["meets"] is False
    found = json.loads((home / "net.search/search.json").read_text())
    assert (found["schema"], found["verdict"], found["exit_code"]) == ("edgeproof/search/1", "met", 0)
    assert found["full_evaluations"] == len(found["points"]) <= 5
    assert found["chosen"] in found["front"]
    point = found["points"][found["chosen"]]
    best = home / "net.search" / found["best"]
    assert digest_file(best) == point["variant"]["model"]["digest"] == digest_file(home / "net.search" / point["file"])
    assert point["cost"] == best.stat().st_size < case.model.stat().st_size
    assert point["variant"]["recipe"]["precision"] == "int8"
    assert found["arithmetic"] == "exact"
    assert found["selection_rows"] + found["confirmation_rows"] == 1097
    assert any("certify it on other rows" in note for note in found["notes"])


def test_its_gaps_are_those_that_the_file_itself_has(tmp_path: Path, edgeproof: Edgeproof) -> None:
    case = write_case(tmp_path / "case", sigma=3.0, parts=WITH_SELECTION)
    found = searched(edgeproof, case, "-o", "found", cwd=tmp_path)
    assert json.loads((tmp_path / "found/search.json").read_text()) == found
    assert "selected on the selection part (400 rows of 40 pages)" in found["rows"]
    assert all("certify may be inconclusive" in note for note in found["notes"])
    assert found["not_tested"] == []
    for part, gaps in (("selection", found["points"][found["chosen"]]["gaps"]), ("test", found["confirmation"])):
        with np.load(case.folder / f"{part}.npz") as archive:
            rows, labels, digits, parts = (archive[name] for name in ("x", "label", "digit", "part"))
        before, after = (decisions(path, rows) == labels for path in (case.model, tmp_path / "found/best.onnx"))
        told = {(gap["requirement"], gap["subject"]): gap["loss"] for gap in gaps}
        assert told["accuracy", ""] == pytest.approx(before.mean() - after.mean(), abs=1e-12)
        assert told["right", ""] == pytest.approx(1 - after.mean(), abs=1e-12)
        for digit in range(10):
            mine = digits == digit
            assert told["digits", f"digit={digit}"] == pytest.approx(
                before[mine].mean() - after[mine].mean(), abs=1e-12
            )
        groups = [parts == name for name in ("early", "late")]
        change = [np.ptp([right[group].mean() for group in groups]) for right in (before, after)]
        assert told["fairness", "part"] == pytest.approx(change[1] - change[0], abs=1e-12)
    intervals = {(each["requirement"], each["subject"]): each for each in found["confirmation_findings"]}
    drop = intervals["accuracy", ""]
    assert drop["lower"] < drop["estimate"] < drop["upper"]
    assert drop["rows"] == found["confirmation_rows"] == 697


def test_the_screen_names_the_choice_why_what_confirms_it_and_what_it_took(once: tuple[Case, str], home: Path) -> None:
    _, printed = once
    assert all(len(line) <= 80 for line in printed.splitlines() if str(home) not in line)
    assert "…" not in printed
    (again,) = [line.removeprefix("again") for line in printed.splitlines() if line.startswith("again ")]
    assert shlex.split(again)[-2:] == ["-o", "net.again.onnx"]
    text = " ".join(printed.split())
    for words in ("net.onnx for profile desk and exact int8 sums", "selected on one half of the test part",
                  "MEETS the profile by estimate, on the rows that confirm too", "other rows within: digits digit: ",
                  "the worst of 10, interval of the figure [", "not looked at latency", "tried on all rows that choose",
                  "quantized ", "file net.search/best.onnx"):  # fmt: skip
        assert words in text, words
    assert (home / "net.search/best.onnx").is_file()


def test_the_command_that_it_names_makes_the_same_function_again(
    once: tuple[Case, str], home: Path, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    case, _ = once
    found = json.loads((home / "net.search/search.json").read_text())
    words = shlex.split(found["points"][found["chosen"]]["command"])
    assert words[:2] == ["edgeproof", "quantize"]
    done = edgeproof(*words[1:], "-o", "again.onnx", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with np.load(case.folder / "test.npz") as archive:
        rows = archive["x"]
    np.testing.assert_array_equal(
        decisions(tmp_path / "again.onnx", rows), decisions(home / "net.search/best.onnx", rows)
    )


def test_the_same_seed_finds_the_same(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    one, other = (searched(edgeproof, case, "-o", name, "--seed", "3", cwd=tmp_path) for name in ("one", "other"))
    changing = ("seconds", "folder", "points")
    assert {k: v for k, v in one.items() if k not in changing} == {k: v for k, v in other.items() if k not in changing}
    assert [point["variant"] for point in one["points"]] == [point["variant"] for point in other["points"]]
    assert one["seed"] == 3


def test_if_nothing_meets_it_says_what_binds_and_by_how_much(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    case.respell('"20 kB"', '"1 kB"')
    done = edgeproof("quantize", *case.words("--search", "-o", "found"), cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NOTHING MEETS the profile" in done.stdout
    found = json.loads((tmp_path / "found/search.json").read_text())
    assert (found["verdict"], found["chosen"], found["best"]) == ("nothing meets it", None, None)
    assert found["confirmation"] == []
    assert "size binds" in found["why"]
    assert "1,000 B" in found["why"]
    assert not (tmp_path / "found/best.onnx").exists()
    assert all((tmp_path / "found" / point["file"]).is_file() for point in found["points"])
    done = edgeproof("quantize", *case.words("--search", "-o", "found", "--resume"), cwd=tmp_path)
    assert done.returncode == 1
    assert "NOTHING MEETS the profile" in done.stdout


def test_if_only_the_float_model_meets_it_that_is_said(tmp_path: Path, edgeproof: Edgeproof) -> None:
    case = write_case(tmp_path / "wild", sigma=9.0)  # half precision does not reach so far
    case.respell('"8 points"', '"0.1 points"')
    case.respell('"3 points"', '"0 points"')
    done = edgeproof("quantize", *case.words("--search", "-o", "found"), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found/search.json").read_text())
    assert found["points"][found["chosen"]]["variant"]["recipe"]["precision"] == "fp32"
    assert done.stdout.count("ONLY THE FLOAT MODEL") == 1
    assert digest_file(tmp_path / "found/best.onnx") == digest_file(case.model)
    assert "again " not in done.stdout


def test_rows_that_are_unlike_those_it_was_chosen_on_contradict_it(tmp_path: Path, edgeproof: Edgeproof) -> None:
    """Test rows twenty times as bright as calibration and selection rows: int8's ranges clip them, float's do not."""
    case = write_case(tmp_path / "case", parts=WITH_SELECTION)
    with np.load(case.folder / "test.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    before = digest_file(case.folder / "test.npz").removeprefix("sha256:")
    np.savez(case.folder / "test.npz", **(arrays | {"x": arrays["x"] * np.float32(20)}))
    text = case.data.read_text()
    case.data.write_text(text.replace(before, digest_file(case.folder / "test.npz").removeprefix("sha256:")))
    found = searched(edgeproof, case, "-o", "found", cwd=tmp_path, code=1)
    assert found["verdict"] == "contradicted"
    assert found["chosen"] is not None
    assert any(each["verdict"] == "FAIL" for each in found["confirmation_findings"])
    assert (tmp_path / "found/best.onnx").is_file()


def test_how_the_verdict_follows_from_the_rows_that_confirm() -> None:
    from tests import builders

    within, beyond = SearchGap("a", "", 0.01, 0.03, "points"), SearchGap("a", "", 0.04, 0.03, "points")
    evidence = builders.evidence()
    from kit.judge import judge

    findings = [f for v in judge(evidence, builders.profile(), builders.device()).variants for f in v.findings]
    failing = next(each for each in findings if each.verdict is Verdict.FAIL)
    passing = next(each for each in findings if each.verdict is Verdict.PASS)
    point = SearchPoint(evidence.variants[0].variant, (within,), 1.0, "B", 0, None, None, 0.0)
    rare = Untested("a", "part=rare", 9, 30, "row")

    def of(chosen: int | None, *points: SearchPoint) -> SearchOutcome:
        return SearchOutcome(points, (), chosen, "", len(points), 0, 0, 0.0, "budget")

    assert _verdict(of(None), Confirmation((), ())) == "not known"
    assert _verdict(of(None, point), Confirmation((), ())) == "nothing meets it"
    assert _verdict(of(0, point), Confirmation((within,), (passing,))) == "met"
    assert _verdict(of(0, point), Confirmation((within,), (passing,)), (rare,)) == "untested"
    assert _verdict(of(0, replace(point, gaps=())), Confirmation((), ())) == "untested"
    assert _verdict(of(0, point), Confirmation((within, beyond), (passing,)), (rare,)) == "unconfirmed"
    assert _verdict(of(0, point), Confirmation((beyond,), (passing, failing)), (rare,)) == "contradicted"
    assert is_met(within)


def test_budgets_are_kept(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    case.respell('"20 kB"', '"1 kB"')
    one = searched(edgeproof, case, "-o", "one", "--evaluations", "1", cwd=tmp_path, code=1)
    assert (one["full_evaluations"], one["stopped"]) == (1, "budget")
    none = searched(edgeproof, case, "-o", "none", "--time-limit", "1 ms", cwd=tmp_path, code=3)
    assert (none["full_evaluations"], none["stopped"], none["chosen"]) == (0, "budget", None)
    assert none["verdict"] == "not known"
    assert (tmp_path / "none/run.json").is_file()
    on = searched(edgeproof, case, "-o", "none", "--resume", "--evaluations", "1", cwd=tmp_path, code=1)
    assert (on["full_evaluations"], on["stopped"]) == (1, "budget")


def test_less_time_or_fewer_evaluations_forget_nothing(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    first = searched(edgeproof, case, "-o", "found", cwd=tmp_path)
    for words in (("--time-limit", "1 ms"), ("--evaluations", "1")):
        again = searched(edgeproof, case, "-o", "found", "--resume", *words, cwd=tmp_path)
        assert (again["points"], again["chosen"], again["front"]) == (
            first["points"], first["chosen"], first["front"],
        )  # fmt: skip
    assert json.loads((tmp_path / "found/search.json").read_text())["verdict"] == "met"


def test_a_slice_that_no_row_tells_of_is_named_and_the_answer_is_open(
    case: Case, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    """Eighteen rows of a part of their own, nine in each half."""
    with np.load(case.folder / "test.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    before = digest_file(case.folder / "test.npz").removeprefix("sha256:")
    arrays["part"] = arrays["part"].astype("<U8")
    arrays["part"][np.linspace(3, 1090, 18).astype(int)] = "rare"
    np.savez(case.folder / "test.npz", **arrays)
    after = digest_file(case.folder / "test.npz").removeprefix("sha256:")
    case.data.write_text(case.data.read_text().replace(before, after))
    done = edgeproof("quantize", *case.words("--search", "-o", "found"), cwd=tmp_path)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "INCONCLUSIVE" in done.stdout
    assert "MEETS" not in done.stdout
    found = json.loads((tmp_path / "found/search.json").read_text())
    (rare,) = found["not_tested"]
    assert (rare["requirement"], rare["subject"], rare["unit"]) == ("fairness", "part=rare", "row")
    assert rare["found"] < rare["minimum"] <= 30
    assert f"not tested   fairness part: rare: {rare['found']} rows, minimum {rare['minimum']}" in done.stdout


def test_a_profile_of_which_nothing_can_be_estimated_here_is_refused(
    case: Case, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    text = case.profile.read_text()
    head, _, latency = text.partition("[[require]]")[0], None, text.rpartition("[[require]]")[2]
    case.profile.write_text(head + "[[require]]" + latency)
    told = refused(edgeproof, *case.words("--search"), cwd=tmp_path)
    assert "can be estimated without a device: latency.p99" in told
    assert "--device" in told


def test_a_folder_that_was_made_to_look_as_if_it_met_is_not_believed(
    case: Case, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    case.respell('"20 kB"', '"1 kB"')
    searched(edgeproof, case, "-o", "found", "--evaluations", "1", cwd=tmp_path, code=1)
    for size_told, expected in ((False, "which its record does not say"), (True, "does not lose what its record says")):
        run = Run.load(tmp_path / "found", hold=True)
        point = run.get("point/1", SearchPoint)
        size = point.variant.model.size_bytes if size_told else 1
        gaps = tuple(replace(gap, loss=0.0) for gap in point.gaps)
        run.put("point/1", replace(point, gaps=gaps, cost=float(size)))
        run.release()
        done = edgeproof("quantize", *case.words("--search", "-o", "found", "--resume"), cwd=tmp_path)
        assert done.returncode == 2, done.stdout + done.stderr
        assert expected in done.stderr
        assert "do not trust this folder" in done.stderr
        assert not (tmp_path / "found/best.onnx").exists()


def test_a_profile_that_wants_the_same_decisions_everywhere_gets_a_variant_that_cannot_saturate(
    tmp_path: Path, edgeproof: Edgeproof
) -> None:
    case = write_case(tmp_path / "case", sigma=1.0)
    processor = '[[require]]\nid = "processor"\nmetric = "numerics.processor_flips"\nat_most = "0 %"\n'
    case.profile.write_text(case.profile.read_text() + processor)
    found = searched(edgeproof, case, "-o", "found", cwd=tmp_path)
    assert found["arithmetic"] == "saturating"
    assert found["points"][found["chosen"]]["variant"]["saturation"]["can_saturate"] is False
    (flips,) = [each for each in found["confirmation_findings"] if each["requirement"] == "processor"]
    assert (flips["verdict"], flips["estimate"]) == ("PASS", 0.0)


def test_on_a_device_it_is_measured_there(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    case.respell('cheapest_by = "size"', 'cheapest_by = "latency"')
    found = searched(edgeproof, case, "-o", "found", "--device", "local", cwd=tmp_path)
    assert found["device"]["name"] == "local"
    assert found["not_estimated"] == []
    for point in found["points"]:
        assert point["cost_unit"] == "s"
        assert point["cost"] == point["latency_s"] > 0
        (latency,) = [gap for gap in point["gaps"] if gap["requirement"] == "latency"]
        assert 0 < latency["loss"] < latency["allowed"] == 0.2


def test_energy_is_the_cost_where_a_meter_is_and_an_emulated_device_is_named_so(
    case: Case, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    case.respell('cheapest_by = "size"', 'cheapest_by = "energy"')
    case.respell("memory_sessions = 3", 'memory_sessions = 3\nenergy_windows = 3\nenergy_window = "100 ms"')
    words = case.words("--search", "-o", "found", "--device", "watch-emulated", "--evaluations", "1")
    done = edgeproof("quantize", *words, cwd=tmp_path)
    assert done.returncode in (0, 1, 3), done.stderr
    assert done.stdout.startswith("EMULATED: ")
    (point,) = json.loads((tmp_path / "found/search.json").read_text())["points"]
    assert point["cost_unit"] == "J"
    assert point["energy_j"] == point["cost"] > 0


def test_a_cost_that_nothing_here_tells_is_replaced_and_that_is_said(
    case: Case, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    case.respell('cheapest_by = "size"', 'cheapest_by = "latency"')
    found = searched(edgeproof, case, "-o", "found", cwd=tmp_path)
    assert any("cheapest by latency" in note and "by size" in note for note in found["notes"])
    assert found["points"][0]["cost_unit"] == "B"


def test_bad_input_is_one_clear_error(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((9, 64), np.float32))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    model, data, profile = case.model, ("--data", case.data), ("--profile", case.profile)
    every = (model, *data, *profile, "--search")
    for words, expected in (
        ((model, *data, "--search"), "needs --profile"),
        ((model, *profile, "--search"), "--data"),
        ((model, "--data", "rows.npy", *profile, "--search"), "dataset manifest"),
        ((*every, "--recipe", "fp16"), "--recipe does not go with this"),
        ((*every, "--keep-float", "first"), "--keep-float does not go with this"),
        ((model, *data, *profile, "--seed", "1"), "--seed does not go with this"),
        ((model, *data, *profile, "--resume"), "--resume does not go with this"),
        ((*every, "--arithmetic", "exact", "--device", "local"), "--arithmetic is for a device that is not here"),
        ((*every, "--time-limit", "10 parsecs"), "parsecs"),
        ((*every, "--evaluations", "0"), "--evaluations"),
        ((*every, "--resume"), "there is no search to go on with"),
        ((*every, "--resume", "--force"), "give one"),
        ((*every, "-o", "full"), "the folder holds other things: mine.txt"),
        ((*every, "-o", "full", "--force"), "the folder holds other things: mine.txt"),
        ((*every, "-o", "file"), "this is a file"),
    ):
        assert expected in refused(edgeproof, *words, cwd=tmp_path), words
    assert (tmp_path / "full/mine.txt").read_text() == "mine"


def test_a_slice_that_is_not_in_the_data_and_pages_too_few_to_halve(
    case: Case, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    text = case.profile.read_text()
    case.profile.write_text(text.replace('by = ["part"]', 'by = ["writer"]'))
    assert 'no column "writer"' in refused(edgeproof, *case.words("--search"), cwd=tmp_path)
    case.profile.write_text(text)
    write_data(case.folder, {"test": slice(700, 730), "calibration": slice(0, 200)})
    text = refused(edgeproof, *case.words("--search"), cwd=tmp_path)
    assert "3 clusters, too few to select on some and confirm on others" in text
    assert 'role = "selection"' in text


def test_a_search_is_not_written_over_and_goes_on_only_with_what_it_began_with(
    case: Case, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    first = searched(edgeproof, case, "-o", "found", cwd=tmp_path)
    assert "--resume goes on; --force starts anew" in refused(
        edgeproof, *case.words("--search", "-o", "found"), cwd=tmp_path
    )
    again = searched(edgeproof, case, "-o", "found", "--resume", cwd=tmp_path)
    assert again["points"] == first["points"]
    assert again["chosen"] == first["chosen"]
    for words, what in ((("--seed", "1"), "the seed"), (("--arithmetic", "saturating"), "the target")):
        text = refused(edgeproof, *case.words("--search", "-o", "found", "--resume", *words), cwd=tmp_path)
        assert f"{what} is not what it was" in text
    case.respell('"20 kB"', '"21 kB"')
    text = refused(edgeproof, *case.words("--search", "-o", "found", "--resume"), cwd=tmp_path)
    assert "the profile is not what it was when this search began" in text
    other = searched(edgeproof, case, "-o", "found", "--force", cwd=tmp_path)
    assert other["points"][0]["seconds"] != first["points"][0]["seconds"]


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def slow(case: Case, tmp_path: Path) -> Iterator[Start]:
    """A search whose every evaluation times the device for three seconds; there are two, since nothing fits."""
    case.respell('latency_time = "0.1 s"', 'latency_time = "3 s"')
    case.respell('"20 kB"', '"1 kB"')
    started: list[subprocess.Popen[str]] = []

    def start(*more: str) -> subprocess.Popen[str]:
        words = case.words("--search", "-o", "found", "--device", "local", *more)
        process = subprocess.Popen(
            [sys.executable, "-m", "kit", "quantize", *words], cwd=tmp_path,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            env=os.environ | {"NO_COLOR": "1", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for_a_point(process: subprocess.Popen[str], folder: Path) -> str:
    """The journal once it has one point, while the second is under way."""
    end_s = time.monotonic() + 90
    while time.monotonic() < end_s:
        text = path.read_text() if (path := folder / "journal.jsonl").exists() else ""
        if "point/1" in text:
            assert "point/2" not in text
            return text
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("no point in time")


def test_a_kill_loses_no_finished_evaluation(slow: Start, case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    process = slow()
    before = wait_for_a_point(process, tmp_path / "found")
    process.kill()
    process.communicate()
    assert not list((tmp_path / "found").glob("search.json"))
    found = searched(edgeproof, case, "-o", "found", "--device", "local", "--resume", cwd=tmp_path, code=1)
    after = (tmp_path / "found/journal.jsonl").read_text()
    assert after.startswith(before)
    numbers = range(1, found["full_evaluations"] + 1)
    assert len(numbers) >= 2
    assert [json.loads(line)["step"] for line in after.splitlines()] == [f"point/{number}" for number in numbers]
    files = sorted(path.name[:2] for path in (tmp_path / "found/points").iterdir())
    assert files == [f"{number:02d}" for number in numbers]
    assert not list((tmp_path / "found").rglob(".part-*"))


def test_ctrl_c_names_the_best_so_far_and_how_to_go_on(
    slow: Start, case: Case, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    process = slow()
    wait_for_a_point(process, tmp_path / "found")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "1 evaluated; best so far found/points/01-" in err
    (kept,) = [line for line in err.splitlines() if line.startswith("  kept")]
    words = shlex.split(kept.partition("go on with: ")[2])
    assert (tmp_path / kept.partition("best so far ")[2].partition(";")[0]).is_file()
    case_words = [word for word in words[1:] if word]
    done = edgeproof(*case_words, "--json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["full_evaluations"] >= 2


def test_ctrl_c_before_the_first_evaluation_leaves_a_search_that_goes_on(slow: Start, tmp_path: Path) -> None:
    process = slow()
    agent_of(process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    (kept,) = [line for line in err.splitlines() if line.startswith("  kept")]
    assert "nothing was evaluated yet; go on with: edgeproof quantize" in kept
    assert "--resume" in kept
    assert (tmp_path / "found/run.json").is_file()


def test_a_second_process_on_the_same_folder_is_refused(slow: Start, tmp_path: Path) -> None:
    process = slow()
    wait_for_a_point(process, tmp_path / "found")
    second = slow("--resume")
    _, err = second.communicate(timeout=60)
    assert second.returncode == 2, err
    assert "another process" in err


def agent_of(process: subprocess.Popen[str]) -> psutil.Process:
    """The agent that the search has started, as soon as it is there."""
    end_s = time.monotonic() + 90
    while time.monotonic() < end_s:
        for child in psutil.Process(process.pid).children():
            with contextlib.suppress(psutil.Error):
                if "kit.agent" in " ".join(child.cmdline()):
                    return child
        time.sleep(0.02)
    raise AssertionError("no agent in time")


def test_a_device_that_dies_is_a_device_error_and_what_was_found_is_kept(slow: Start, tmp_path: Path) -> None:
    process = slow()
    agent = agent_of(process)
    wait_for_a_point(process, tmp_path / "found")
    time.sleep(1.0)  # into the three seconds of timing: a transfer would be taken up again by a new agent
    agent.kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 4, out + err
    assert out == ""
    assert "1 evaluated; best so far found/points/01-" in err
    assert "--resume" in err
