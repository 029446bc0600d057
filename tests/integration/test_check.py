"""`edgeproof check`: a variant that was made elsewhere against its reference, on rows alone, on a real device."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from kit.records import PredictionRecord, SampleRecord
from kit.store import Run
from tests.integration.conftest import ROOT, Edgeproof

CNN = ROOT / "examples/watch/watch-cnn.onnx"
OF_REGRESSION = """
[profile]
name = "own"

[[require]]
metric = "quality.loss"
measure = "rmse"
at_most = 0.5
"""


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory, watch: Path, edgeproof: Edgeproof) -> Path:
    """Two int8 files of the CNN, one of which saturates on some processors."""
    folder = tmp_path_factory.mktemp("variants")
    recipes = ("--recipe", "int8-per-channel-reduced", "--recipe", "int8-dynamic")
    done = edgeproof("quantize", CNN, "--data", watch / "watch.toml", *recipes, "-o", folder, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def reduced(variants: Path) -> Path:
    return variants / "watch-cnn.int8-per-channel-reduced.onnx"


def mixed_up(folder: Path) -> Path:
    """The CNN with its classes in another order."""
    model = onnx.load(CNN)
    (head,) = (each for each in model.graph.initializer if each.name == "head.w")
    classes = onnx.numpy_helper.to_array(head)
    head.CopyFrom(onnx.numpy_helper.from_array(np.roll(classes, 1, axis=0), head.name))
    onnx.save(model, folder / "mixed-up.onnx")
    return folder / "mixed-up.onnx"


def the_run(folder: Path) -> Path:
    (path,) = (each for each in (folder / "runs").iterdir() if each.is_dir())
    return path


def test_without_a_profile_it_asks_what_anyone_would_and_writes_it_down(
    tmp_path: Path, variants: Path, few: Path, edgeproof: Edgeproof
) -> None:
    words = ("check", CNN, reduced(variants), "--data", few / "watch.toml", "--json")
    done = edgeproof(*words, "--at-most", "3 points", "--slice-at-most", "12 points", cwd=tmp_path)
    assert done.returncode in (0, 1, 3), done.stderr
    summary = json.loads(done.stdout)
    assert {item["metric"] for item in summary["requirements"]} >= {"accuracy.drop", "slices.found"}
    assert {item["limit"] for item in summary["requirements"]} == {0.03, 0.12}
    (written,) = (tmp_path / "runs").glob("usual-*.toml")
    assert str(Path("runs") / written.name) in done.stderr
    shutil.copy(written, tmp_path / "own.toml")
    again = edgeproof(*words, "--profile", "own.toml", cwd=tmp_path)
    assert again.returncode == done.returncode, again.stderr
    judged = json.loads(again.stdout)["requirements"]
    assert [(item["id"], item["subject"], item["estimate"]) for item in judged] == [
        (item["id"], item["subject"], item["estimate"]) for item in summary["requirements"]
    ]


def test_what_needs_a_clock_or_a_meter_is_left_to_certify(
    tmp_path: Path, variants: Path, watch: Path, edgeproof: Edgeproof, quick_profile: Path
) -> None:
    words = ("check", CNN, *sorted(variants.glob("*.onnx")), "--data", watch / "watch.toml", "--profile", quick_profile)
    done = edgeproof(*words, "--json", cwd=tmp_path)
    assert done.returncode in (0, 1, 3), done.stderr
    summary = json.loads(done.stdout)
    assert len(summary["variants"]) == 2
    for variant in summary["variants"]:
        asked = {item["id"] for item in variant["requirements"]}
        assert asked == {"size", "accuracy", "sides", "fairness", "processor"}
    run = Run.load(the_run(tmp_path))
    assert not (run.path / "certificate.json").exists()
    assert (run.path / "report.html").stat().st_size > 10_000
    shown = edgeproof("report", run.path.name, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "certificate" not in shown.stdout
    refused = edgeproof("verify", run.path.name, cwd=tmp_path)
    assert refused.returncode == 2
    assert "edgeproof check" in refused.stderr
    assert f"edgeproof report runs/{run.path.name}" in refused.stderr


def test_a_reference_is_held_against_itself(tmp_path: Path, few: Path, edgeproof: Edgeproof) -> None:
    done = edgeproof("check", CNN, CNN, "--data", few / "watch.toml", "--json", cwd=tmp_path)
    drops = [item for item in json.loads(done.stdout)["requirements"] if item["metric"] == "accuracy.drop"]
    assert {item["estimate"] for item in drops} == {0.0}
    assert all(item["verdict"] in ("PASS", "INCONCLUSIVE") for item in drops)


def test_a_check_that_was_cut_goes_on(tmp_path: Path, variants: Path, watch: Path, edgeproof: Edgeproof) -> None:
    words = ("check", CNN, reduced(variants), "--data", watch / "watch.toml")
    whole = edgeproof(*words, cwd=tmp_path)
    run = the_run(tmp_path)
    journal = run / "journal.jsonl"
    kept = journal.read_text().splitlines()
    steps = [json.loads(line)["step"] for line in kept]
    cut = next(index for index, step in enumerate(steps) if step.startswith("predictions/"))
    journal.write_text("".join(f"{line}\n" for line in kept[:cut]))
    other = edgeproof("certify", "--resume", run.name, cwd=tmp_path)
    assert other.returncode == 2
    assert f"edgeproof check --resume {run.name}" in other.stderr
    for word in (("--profile", "basic"), (CNN, CNN), ("--frugal",)):
        anew = edgeproof("check", "--resume", run.name, *word, cwd=tmp_path)
        assert anew.returncode == 2
        assert "asks anew" in anew.stderr
    resumed = edgeproof("check", "--resume", run.name, cwd=tmp_path)
    assert resumed.returncode == whole.returncode, resumed.stderr
    assert resumed.stdout == whole.stdout


def test_frugal_runs_every_row_for_what_needs_them_unless_some_break_a_requirement(
    tmp_path: Path, variants: Path, watch: Path, edgeproof: Edgeproof
) -> None:
    """The wearable profile asks for a gap of groups and for the processor's flips beside accuracy."""
    words = ("check", CNN, reduced(variants), "--data", watch / "watch.toml", "--frugal", "--json")
    good = edgeproof(*words, "--profile", "wearable", cwd=tmp_path)
    assert good.returncode in (0, 3), good.stderr
    run = Run.load(the_run(tmp_path))
    name = run.record.recipes[0]
    sample, said = run.get(f"sample/{name}", SampleRecord), run.get(f"predictions/{name}", PredictionRecord)
    assert len(sample.order) < len(said.decisions) == 2008
    assert run.get_optional(f"exact_predictions/{name}", PredictionRecord) is not None
    by_metric = {item["metric"]: item for item in json.loads(good.stdout)["requirements"]}
    assert by_metric["numerics.processor_flips"]["verdict"] == "PASS"
    whole = edgeproof(*(word for word in words if word != "--frugal"), "--profile", "wearable", cwd=tmp_path)
    plain = {item["metric"]: item for item in json.loads(whole.stdout)["requirements"]}
    assert plain["fairness.gap_change"] == by_metric["fairness.gap_change"]

    words = ("check", CNN, mixed_up(tmp_path), *words[3:])
    bad = edgeproof(*words, "--profile", "wearable", "--runs", "bad", cwd=tmp_path)
    assert bad.returncode == 1, bad.stderr
    (path,) = (each for each in (tmp_path / "bad").iterdir() if each.is_dir())
    broken = Run.load(path)
    name = broken.record.recipes[0]
    assert len(broken.get(f"sample/{name}", SampleRecord).order) < 1000
    assert broken.get_optional(f"predictions/{name}", PredictionRecord) is None
    left = [item for item in json.loads(bad.stdout)["requirements"] if item["estimate"] is None]
    assert [item["metric"] for item in left] == ["fairness.gap_change"]
    assert "already break another requirement" in left[0]["reason"]

    journal = path / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    (nothing,) = (line["record"] for line in lines if line["step"] == f"energy/{name}")
    told = [line | ({"record": nothing} if line["step"] == f"sample/{name}" else {}) for line in lines]
    journal.write_text("".join(json.dumps(line) + "\n" for line in told))
    again = edgeproof("report", path.name, "--runs", "bad", cwd=tmp_path)
    assert again.returncode != 1, "a run that stops early is not judged without its sample"
    assert f"has no sample of {name}" in again.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("check",), "Missing REFERENCE"),
        (("check", CNN), "Missing VARIANT"),
        (("check", CNN, CNN), "Missing --data"),
        (("check", CNN, "none.onnx", "--data", "DATA"), "none.onnx"),
        (("check", CNN, "faces.onnx", "--data", "DATA"), "the reference's is"),
        (("check", CNN, CNN, "--data", "DATA", "--at-most", "2"), "at_most"),
        (("check", CNN, CNN, "--data", "DATA", "--export", "rows.xlsx"), "unknown kind of file"),
        (
            ("check", CNN, CNN, "--data", "DATA", "--profile", "wearable", "--at-most", "2 points"),
            "leave out --at-most",
        ),
        (("check", CNN, CNN, "--data", "DATA", "--profile", "PROFILE"), "own.toml:5"),
    ],
    ids=[
        "nothing",
        "no variant",
        "no data",
        "no file",
        "another model's",
        "no unit",
        "no format",
        "limits of a profile",
        "another task's measure",
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    words: tuple[str | Path, ...], said: str, tmp_path: Path, watch: Path, faces: Path, edgeproof: Edgeproof
) -> None:
    shutil.copy(faces / "rnet.onnx", tmp_path / "faces.onnx")
    (tmp_path / "own.toml").write_text(OF_REGRESSION)
    files = {"DATA": watch / "watch.toml", "PROFILE": tmp_path / "own.toml"}
    done = edgeproof(*(files.get(str(word), word) for word in words), cwd=tmp_path)
    assert done.returncode in (2, 6)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
