"""Every task by the commands: quantize, check and certify a tiny real model of it, and open the report."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.spec.measures import MEASURES, USUAL_MEASURES
from tests import device_kit as kits
from tests.integration.conftest import Edgeproof
from tests.integration.in_process import edgeproof  # noqa: F401 - the command, in this process
from tests.task.nets import PLANS, Plan, X

NOISE = 0.003
MEASURE = {
    "classification": "accuracy", "multilabel": "f1-macro", "regression": "rmse", "anomaly": "auc", "sequence": "wer",
    "frames": "frame-accuracy", "embedding": "cosine", "detection": "map-50",
}  # fmt: skip
ENDLESS = ("rmse", "wer")
"""Nothing bounds what a row can lose in these, so that few rows may leave them open."""

OUTPUT = {
    "multilabel": 'scores = "probabilities"',
    "anomaly": "threshold = 1.0",
    "sequence": 'decode = "ctc"\nblank = "first"',
    "detection": 'boxes = "boxes"\nconfidences = "conf"\nlabels = "labels"\nbox_format = "ltwh"',
}
TRUTH = {
    "multilabel": 'labels = ["truth"]', "regression": 'targets = ["truth"]', "detection": 'boxes = "truth"',
    "embedding": "",
}  # fmt: skip


@dataclass(frozen=True)
class Files:
    """A task's files: the reference, a variant that differs a little, the manifest, and a profile."""

    task: str
    reference: Path
    variant: Path
    data: Path
    profile: Path


def truth_of(plan: Plan) -> dict[str, Any]:
    record = plan.dataset()[0].test.record
    if plan.task in ("classification", "anomaly"):
        return {"truth": np.array(record.classes)[record.labels]}
    if record.targets is None:
        return {}
    values, offsets = record.targets.values, record.targets.offsets
    if plan.task == "detection":
        return {"truth": values, "truth_offsets": offsets}
    if plan.task == "sequence":
        tokens = np.split(values[:, 0].astype(int), offsets[1:-1])
        return {"truth": np.array([" ".join(f"c{token}" for token in row) for row in tokens])}
    return {"truth": values.reshape(len(X), -1)}


def part(folder: Path, role: str, arrays: dict[str, Any]) -> str:
    path = folder / f"{role}.npz"
    np.savez(path, **arrays)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f'[[part]]\nrole = "{role}"\npath = "{path.name}"\nrows = {len(arrays["x"])}\nsha256 = "{digest}"\n'


def prepared(folder: Path, plan: Plan) -> Files:
    arrays = {"x": X, "side": np.array(["left", "right"])[np.arange(len(X)) % 2], **truth_of(plan)}
    few = {name: array[:100] for name, array in arrays.items() if name not in ("truth_offsets", "x")}
    few["x"] = kits.rows(100, seed=5)
    if plan.task == "detection":
        few["truth_offsets"] = arrays["truth_offsets"][:101]
        few["truth"] = arrays["truth"][: few["truth_offsets"][-1]]
    classes = "" if plan.task in ("regression", "embedding") else f"classes = {[f'c{i}' for i in range(plan.classes)]}"
    output = f"[output]\n{OUTPUT[plan.task]}\n" if plan.task in OUTPUT else ""
    (folder / "data.toml").write_text(
        f"""[dataset]
name = "tiny"
task = "{plan.task}"
{classes}
{TRUTH.get(plan.task, 'label = "truth"')}
slices = ["side"]
[input]
array = "x"
dtype = "float32"
shape = [{X.shape[1]}]
{output}
{part(folder, "test", arrays)}
{part(folder, "calibration", few)}
"""
    )
    measure = MEASURE[plan.task]
    wide = "5" if MEASURES[measure].kind == "number" else "50 points"
    asked = f'metric = "quality.loss"\nmeasure = "{measure}"\nat_most = "{wide}"\n'
    asked += "" if MEASURES[measure].has_end else "largest = 8\n"
    (folder / "asked.toml").write_text(
        '[profile]\nname = "asked"\ndescription = "d"\nconfidence = 0.9\n'
        '[variants]\nrecipes = ["fp32", "int8-dynamic"]\ncheapest_by = "size"\n'
        f'[[require]]\nid = "loss"\n{asked}[[require]]\nid = "sides"\n{asked}by = ["side"]\n'
        '[[require]]\nid = "size"\nmetric = "model.size"\nat_most = "1 MiB"\n'
        '[[require]]\nid = "flips"\nmetric = "agreement.flips"\nat_most = "90 %"\n'
        '[[require]]\nid = "processor"\nmetric = "numerics.processor_flips"\nat_most = "0 %"\n'
        '[[require]]\nid = "copies"\nmetric = "data.duplicates"\nat_most = "10 %"\n'
    )
    for name, noise in (("reference", 0.0), ("variant", NOISE)):
        (folder / f"{name}.onnx").write_bytes(plan.model(noise))
    return Files(
        plan.task, folder / "reference.onnx", folder / "variant.onnx", folder / "data.toml", folder / "asked.toml"
    )


@pytest.fixture(scope="module", params=PLANS, ids=[plan.task for plan in PLANS])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return prepared(tmp_path_factory.mktemp(request.param.task), request.param)


def judged(done: Any, task: str) -> dict[str, Any]:
    """The requirements of the shown variant by id; what can be decided is."""
    assert done.returncode in (0, 1, 3), done.stderr
    found: dict[str, Any] = {}
    for item in json.loads(done.stdout)["requirements"]:
        found.setdefault(item["id"], []).append(item)
    decided = {"PASS", "INCONCLUSIVE"} if MEASURE[task] in ENDLESS else {"PASS"}
    for item in (*found["loss"], *found["sides"]):
        assert item["verdict"] in decided, item["reason"]
        assert item["estimate"] is not None
    assert len(found["sides"]) == 2
    flips = found["flips"][0]["verdict"]
    assert flips == ("INCONCLUSIVE" if task in ("regression", "embedding", "detection") else "PASS")
    return found


def look_at(cwd: Path, run: Any) -> str:
    """The only run's report in the terminal; its page is written."""
    (folder,) = (each for each in (cwd / "runs").iterdir() if each.is_dir())
    page = (folder / "report.html").read_text()
    assert len(page) > 10_000
    shown = run("report", folder.name, cwd=cwd)
    assert shown.returncode == 0, shown.stderr
    return str(shown.stdout)


def test_check(files: Files, tmp_path: Path, edgeproof: Edgeproof) -> None:  # noqa: F811
    words = ("check", files.reference, files.variant, "--data", files.data, "--profile", files.profile, "--json")
    found = judged(edgeproof(*words, cwd=tmp_path), files.task)
    assert found["copies"][0]["verdict"] == "PASS"
    shown = look_at(tmp_path, edgeproof)
    assert "lost" in shown or "increase" in shown


def test_check_without_a_profile(files: Files, tmp_path: Path, edgeproof: Edgeproof) -> None:  # noqa: F811
    done = edgeproof("check", files.reference, files.variant, "--data", files.data, "--json", cwd=tmp_path)
    assert done.returncode in (0, 1, 3), done.stderr
    asked = json.loads(done.stdout)["requirements"]
    measure = USUAL_MEASURES.get(files.task, "accuracy")  # type: ignore[call-overload]
    searched = {"found"} if MEASURES[measure].is_mean else set()
    assert {item["id"] for item in asked} == {"accuracy", "slices"} | searched
    for item in asked:
        assert item["estimate"] is not None, item["reason"]


def test_the_largest_error_can_be_said_of_a_regression(files: Files, tmp_path: Path, edgeproof: Edgeproof) -> None:  # noqa: F811
    words = ("check", files.reference, files.variant, "--data", files.data, "--json", "--largest", "4")
    done = edgeproof(*words, cwd=tmp_path)
    if files.task != "regression":
        assert done.returncode == 2
        assert "--largest says what a row can lose at most" in json.loads(done.stdout)["error"]["what"]
        assert not (tmp_path / "runs").exists()
        return
    assert done.returncode == 0, done.stderr
    (usual,) = (tmp_path / "runs").glob("usual-*.toml")
    assert usual.read_text().count("largest = 4.0") == 2
    assert {item["verdict"] for item in json.loads(done.stdout)["requirements"]} == {"PASS"}


def test_certify(files: Files, tmp_path: Path, edgeproof: Edgeproof) -> None:  # noqa: F811
    words = ("certify", files.reference, "--data", files.data, "--profile", files.profile, "--device", "local")
    judged(edgeproof(*words, "--json", cwd=tmp_path), files.task)
    look_at(tmp_path, edgeproof)


def test_quantize(files: Files, tmp_path: Path, edgeproof: Edgeproof) -> None:  # noqa: F811
    words = ("quantize", files.reference, "--data", files.data, "--recipe", "int8-dynamic", "-o", tmp_path)
    done = edgeproof(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (made,) = tmp_path.glob("*.onnx")
    checked = edgeproof(
        "check", files.reference, made, "--data", files.data, "--profile", files.profile, "--json", cwd=tmp_path
    )
    judged(checked, files.task)


@pytest.mark.parametrize("name", ["check", "check by a profile", "certify"])
def test_frugal_is_for_one_class_a_row(name: str, files: Files, tmp_path: Path, edgeproof: Edgeproof) -> None:  # noqa: F811
    if files.task == "classification":
        return  # this is the task that can stop early: test_frugal_stops_early and the README run it
    words: tuple[str | Path, ...] = (name.split()[0], files.reference, "--data", files.data, "--frugal")
    words += () if name == "certify" else (files.variant,)
    words += () if name == "check" else ("--profile", files.profile, "--device", "local")
    done = edgeproof(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert f"names one class for a row, and the task is {files.task}" in done.stderr
    assert "leave out --frugal" in done.stderr
    assert not list((tmp_path / "runs").glob("*/journal.jsonl"))
