"""`certify --recipe-from`: a file's recipe is read, made again and held against its bytes; the file is never run."""

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from kit.digest import digest_file
from kit.model.calibrate import Method
from kit.model.load import load_onnx
from kit.model.metadata import properties, serialized, with_properties
from kit.model.quantize import VariantMaker
from kit.model.search.treatment import Treatment
from kit.pipeline.added import MAX_RECIPE_CHARS, MAX_SELECTORS, make_added, read_added
from kit.pipeline.order import Order
from kit.records import Recipe
from kit.spec import load_dataset
from kit.spec.recipe import parse_recipe
from kit.store import Run
from tests.digits_case import WITH_SELECTION, Case, write_case
from tests.integration.conftest import Edgeproof
from tests.integration.in_process import edgeproof

__all__ = ["edgeproof"]  # a fixture

RECIPE = Treatment("int8-per-tensor", Method("percentile", 99.9), equalize=False, correct_bias=True).recipe(
    frozenset({"second"})
)

PARTS = WITH_SELECTION | {"test": slice(1500, 1797)}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A net, few rows and a profile with two recipes, in a folder that is not the current one."""
    written = write_case(tmp_path / "case", parts=PARTS)
    written.respell('"int8-per-tensor", "int8-per-channel-reduced"', '"int8-per-tensor"')
    return written


def write_best(case: Case, recipe: Recipe = RECIPE, model: Path | None = None) -> Path:
    """What a search leaves: the variant by `recipe`."""
    part = load_dataset(case.data).calibration
    assert part is not None
    made = VariantMaker(load_onnx(model or case.model), part.inputs, part.record.data_digest).make(recipe)
    path = case.folder / "best.onnx"
    path.write_bytes(made.data)
    return path


def respelled(path: Path, **changed: str | None) -> Path:
    """The file with properties changed, or left out where None."""
    model = onnx.load(path)
    dropped = {f"edgeproof.{key}" for key, value in changed.items() if value is None}
    kept = {key: value for key, value in properties(model).items() if key not in dropped}
    new = {f"edgeproof.{key}": value for key, value in changed.items() if value is not None}
    del model.metadata_props[:]
    path.write_bytes(serialized(with_properties(model, kept | new)))
    return path


def certified(edgeproof: Edgeproof, case: Case, *more: str | Path, cwd: Path) -> dict[str, Any]:
    done = edgeproof("certify", *case.words("--json", "-q", *more), cwd=cwd)
    assert done.returncode in (0, 1, 3), done.stdout + done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def refused(edgeproof: Edgeproof, case: Case, *more: str | Path, cwd: Path) -> str:
    """What it says when it refuses, its lines joined; nothing is written."""
    before = sorted(cwd.rglob("*"))
    done = edgeproof("certify", *case.words("-q", *more), cwd=cwd)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert all(c.isprintable() or c == "\n" for c in done.stderr)
    assert sorted(cwd.rglob("*")) == before
    return " ".join(done.stderr.split())


def test_it_competes_with_the_profile_s_and_the_run_verifies(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    best = write_best(case)
    case.respell('"fp32", "int8-per-tensor"', '"int8-per-tensor"')
    summary = certified(edgeproof, case, "--recipe-from", best, cwd=tmp_path)
    names = {each["name"] for each in summary["variants"]}
    assert names == {"int8-per-tensor", RECIPE.name}
    of = summary["lineage"]["variants"][RECIPE.name]
    assert of["model"] == digest_file(best)
    assert of["parent"] == digest_file(case.model)
    assert "the same bytes as best.onnx, made again by its recipe" in of["notes"]
    (run,) = (tmp_path / "runs").iterdir()
    assert edgeproof("verify", run, cwd=tmp_path).returncode == 0
    assert "1 selector of nodes kept in float" in (run / "report.html").read_text()
    plan = json.loads((run / "run.json").read_text())
    assert plan["command"][-2:] == ["--recipe-from", "best.onnx"]


def test_its_certificate_has_the_whole_recipe_and_its_text_fits_the_screen(
    case: Case, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    words = ("--recipe-from", write_best(case), "--variant", RECIPE.name)
    done = edgeproof("certify", *case.words("-q", *words), cwd=tmp_path)
    assert done.returncode in (0, 1, 3), done.stderr
    assert max(map(len, done.stdout.splitlines()[:-2])) <= 80
    assert "The same bytes as best.onnx" in done.stdout
    (run,) = (tmp_path / "runs").iterdir()
    predicate = json.loads((run / "certificate.json").read_text())["predicate"]
    assert predicate["chosen"] == RECIPE.name
    assert [each["name"] for each in predicate["variants"]] == [RECIPE.name]
    assert predicate["lineage"]["recipe"] == json.loads(json.dumps(asdict(RECIPE)))


def test_a_recipe_that_the_profile_has_competes_once(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    best = write_best(case, parse_recipe("int8-per-tensor"))
    words = ("--recipe-from", best, "--recipe-from", best, "--variant", "int8-per-tensor")
    summary = certified(edgeproof, case, *words, cwd=tmp_path)
    assert [each["name"] for each in summary["variants"]] == ["int8-per-tensor"]
    assert any("the same bytes" in note for note in summary["lineage"]["variants"]["int8-per-tensor"]["notes"])


def test_rows_that_may_have_chosen_it_are_warned_of(tmp_path: Path, edgeproof: Edgeproof) -> None:
    case = write_case(tmp_path / "case", parts={"test": PARTS["test"], "calibration": PARTS["calibration"]})
    words = ("--recipe-from", write_best(case), "--variant", RECIPE.name)
    summary = certified(edgeproof, case, *words, cwd=tmp_path)
    assert any("flatter" in text for text in summary["warnings"])


def copied(folder: Path) -> Path:
    """A copy of the only run, which no process holds."""
    (run,) = (folder / "runs").iterdir()
    return Path(shutil.copytree(run, folder / "elsewhere" / run.name))


def test_a_run_is_resumed_from_another_folder_without_the_file(
    case: Case, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    best = write_best(case)
    words = ("--recipe-from", Path("case/best.onnx"), "--variant", RECIPE.name)
    before = certified(edgeproof, case, *words, cwd=tmp_path)
    best.unlink()
    run = copied(tmp_path)
    journal = (run / "journal.jsonl").read_text().splitlines(keepends=True)
    cut = next(i for i, line in enumerate(journal) if '"variant/' in line)
    (run / "journal.jsonl").write_text("".join(journal[:cut]))
    done = edgeproof("certify", "--resume", run, "--json", "-q", cwd=tmp_path / "elsewhere")
    assert done.returncode in (0, 1, 3), done.stderr
    after = json.loads(done.stdout)
    assert after["lineage"]["variants"] == before["lineage"]["variants"]
    assert edgeproof("verify", run, cwd=tmp_path).returncode == 0


def test_a_search_ends_with_the_command_that_certifies_its_choice(tmp_path: Path, edgeproof: Edgeproof) -> None:
    case = write_case(tmp_path / "case", sigma=3.0, parts=WITH_SELECTION)
    done = edgeproof("quantize", *case.words("--search", "-q", "-o", "found"), cwd=tmp_path)
    assert done.returncode in (0, 3), done.stdout + done.stderr
    (told,) = [line.removeprefix("certify") for line in done.stdout.splitlines() if line.startswith("certify ")]
    assert shlex.split(told) == ["edgeproof", "certify", *case.words("--recipe-from", "found/best.onnx")]
    found = json.loads((tmp_path / "found/search.json").read_text())
    chosen = found["points"][found["chosen"]]["variant"]
    added = read_added(tmp_path / "found/best.onnx")
    assert json.loads(json.dumps(asdict(added.recipe))) == chosen["recipe"]
    dataset = load_dataset(case.data)
    made = make_added(added, load_onnx(case.model), dataset)
    assert made.record.model.digest == chosen["model"]["digest"] == digest_file(tmp_path / "found/best.onnx")


def test_another_reference_is_named(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    other = write_case(tmp_path / "other", sigma=1.0)
    said = refused(edgeproof, case, "--recipe-from", write_best(other), cwd=tmp_path)
    assert "made from another model" in said
    assert digest_file(case.model)[:20] in said
    assert digest_file(other.model)[:20] in said


def test_other_calibration_rows_are_the_reason(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    best = write_best(case)
    write_case(case.folder, parts=PARTS | {"calibration": slice(200, 400)})
    said = refused(edgeproof, case, "--recipe-from", best, cwd=tmp_path)
    assert "calibrated on other rows" in said
    assert "edgeproof quantize" in said


def test_another_version_is_the_reason(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    best = respelled(write_best(case), tool="edgeproof 0.0.1, onnxruntime 1.0\x1b[31m")
    said = refused(edgeproof, case, "--recipe-from", best, cwd=tmp_path)
    assert "it was made by 'edgeproof 0.0.1" in said
    assert "calibrated" not in said


def test_a_file_whose_weights_were_changed_is_not_taken_for_what_its_recipe_makes(
    case: Case, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    best = write_best(case)
    model = onnx.load(best)
    weights = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    changed = np.frombuffer(weights.raw_data, np.uint8).copy()
    changed[0] ^= 1
    weights.raw_data = changed.tobytes()
    best.write_bytes(serialized(model))
    said = refused(edgeproof, case, "--recipe-from", best, cwd=tmp_path)
    assert "it was changed since it was made" in said


def test_two_recipes_of_one_name_cannot_compete(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    best = write_best(case, replace(parse_recipe("int8-per-tensor"), keep_float=("second",)))
    said = refused(edgeproof, case, "--recipe-from", best, cwd=tmp_path)
    assert "the name of another that competes, 'int8-per-tensor'" in said
    alone = certified(edgeproof, case, "--recipe-from", best, "--variant", "fp32", cwd=tmp_path)
    assert {each["name"] for each in alone["variants"]} == {"fp32", "int8-per-tensor"}


def test_an_unknown_variant_is_told_of_the_added_one(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    said = refused(edgeproof, case, "--recipe-from", write_best(case), "--variant", "int8-best", cwd=tmp_path)
    assert RECIPE.name in said.replace(" ", "")


def test_a_selector_of_no_node_is_refused(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    best = respelled(write_best(case), recipe=spelled(keep_float=["name:nowhere*"]))
    said = refused(edgeproof, case, "--recipe-from", best, cwd=tmp_path)
    assert "'name:nowhere*' selects no node" in said


def spelled(**changed: object) -> str:
    """The recipe as the file has it, with fields changed."""
    return json.dumps(asdict(RECIPE) | changed)


MALFORMED: dict[str, Callable[[], str]] = {
    "no JSON": lambda: "{",
    "a list": lambda: "[]",
    "nested": lambda: "[" * 100_000,
    "no fields": lambda: "{}",
    "a precision that is none": lambda: spelled(precision="int3"),
    "a calibration that is none": lambda: spelled(calibration="guess"),
    "a percentile that its name has not": lambda: spelled(percentile=51.0),
    "a percentile that is no number": lambda: spelled(percentile="99.9"),
    "infinity": lambda: spelled(percentile=1e400),
    "a base that is none": lambda: spelled(name="int8-best"),
    "a name with control characters": lambda: spelled(name=f"{RECIPE.name}\x1b[2J\n"),
    "a path as a name": lambda: spelled(name="../../int8-per-tensor"),
    "a long name": lambda: spelled(name="int8-per-tensor" + "+bias" * 1000),
    "an ending that no search writes": lambda: spelled(name=RECIPE.name.partition("+float=")[0] + "+float=all"),
    "the model itself": lambda: json.dumps(asdict(parse_recipe("fp32"))),
    "too many selectors": lambda: spelled(keep_float=["second"] * (MAX_SELECTORS + 1)),
    "a long selector": lambda: spelled(keep_float=["name:" + "*a" * 1000]),
    "too much text": lambda: spelled(keep_float=["x" * MAX_RECIPE_CHARS]),
}


@pytest.fixture(scope="module")
def shared_best(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Path]:
    """A variant's file that tests copy."""
    case = write_case(tmp_path_factory.mktemp("recipes") / "case")
    return case, write_best(case)


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_recipe_is_refused(
    shared_best: tuple[Case, Path], tmp_path: Path, edgeproof: Edgeproof, name: str
) -> None:
    case, best = shared_best
    path = respelled(Path(shutil.copy(best, tmp_path / "hostile.onnx")), recipe=MALFORMED[name]())
    said = refused(edgeproof, case, "--recipe-from", path, cwd=tmp_path)
    assert "its recipe is malformed" in said
    assert "hostile.onnx" in said
    assert len(said) < 1500


def test_a_model_without_a_recipe_is_refused(
    shared_best: tuple[Case, Path], tmp_path: Path, edgeproof: Edgeproof
) -> None:
    case, _ = shared_best
    assert "it carries no recipe" in refused(edgeproof, case, "--recipe-from", case.model, cwd=tmp_path)


NO_MODELS = {"empty": b"", "pickle": b"\x80\x04.", "page": b"<html>", "noise": b"\x08\x09" * 50}


@pytest.mark.parametrize("content", NO_MODELS.values(), ids=NO_MODELS)
def test_what_is_no_model_is_refused(
    shared_best: tuple[Case, Path], tmp_path: Path, edgeproof: Edgeproof, content: bytes
) -> None:
    case, _ = shared_best
    (tmp_path / "best.onnx").write_bytes(content)
    assert "best.onnx" in refused(edgeproof, case, "--recipe-from", "best.onnx", cwd=tmp_path)


def test_a_file_that_is_not_there_is_refused(
    shared_best: tuple[Case, Path], tmp_path: Path, edgeproof: Edgeproof
) -> None:
    case, _ = shared_best
    assert "there is no such file" in refused(edgeproof, case, "--recipe-from", "none.onnx", cwd=tmp_path)


def test_what_a_file_says_of_itself_is_bounded(shared_best: tuple[Case, Path], tmp_path: Path) -> None:
    _, best = shared_best
    path = respelled(Path(shutil.copy(best, tmp_path / "best.onnx")), tool="x" * 100_000, parent=None)
    added = read_added(path)
    assert (len(added.tool), added.parent, added.recipe) == (200, "", RECIPE)


def test_a_parent_that_is_not_said_is_refused(
    shared_best: tuple[Case, Path], tmp_path: Path, edgeproof: Edgeproof
) -> None:
    case, best = shared_best
    path = respelled(Path(shutil.copy(best, tmp_path / "best.onnx")), parent=None)
    assert "from none, and the reference here is" in refused(edgeproof, case, "--recipe-from", path, cwd=tmp_path)


def test_the_plan_of_a_run_folder_from_anyone_is_checked_again(
    case: Case, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    words = ("--recipe-from", write_best(case), "--variant", RECIPE.name)
    certified(edgeproof, case, *words, cwd=tmp_path)
    run = copied(tmp_path)
    opened = Run.load(run)
    order = opened.get("plan/order", Order)
    hostile = replace(order.added[0], recipe=replace(RECIPE, percentile=51.0))
    opened.put("plan/order", replace(order, added=(hostile,)))
    opened.release()
    done = edgeproof("certify", "--resume", run, "-q", cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert "its recipe is malformed" in " ".join(done.stderr.split())
