"""Files that are given: what each says of how it was made, and what a profile asks that no run could decide."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kit.errors import UsageError
from kit.model.load import load_onnx
from kit.model.quantize import make_variant
from kit.pipeline.checks import check_looks
from kit.pipeline.given import given_variants
from kit.spec import load_dataset
from kit.spec.recipe import parse_recipe
from tests.builders import profile, requirement
from tests.digits_case import Case, write_case
from tests.spec.bundle import Bundle


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return write_case(tmp_path_factory.mktemp("given") / "case")


def _note(case: Case, recipe: str, calibration: str | None, parent: Path | None = None) -> str:
    """What is noted of a variant that is made of `parent` and given."""
    dataset = load_dataset(case.data)
    assert dataset.calibration is not None
    digest = dataset.calibration.record.data_digest if calibration is None else calibration
    made = make_variant(load_onnx(parent or case.model), parse_recipe(recipe), dataset.calibration.inputs, digest, None)
    (case.folder / "given.onnx").write_bytes(made.data)
    found = given_variants([str(case.folder / "given.onnx")], load_onnx(case.model), dataset)
    (note,) = found["given"].record.notes
    return note


def test_a_file_that_quantize_made_says_how(case: Case, tmp_path: Path) -> None:
    said = "its file says of itself, unchecked: made by int8-per-channel from"
    same = _note(case, "int8-per-channel", None)
    assert same == f"{said} this reference, calibrated on this dataset's calibration part"
    other = write_case(tmp_path / "other", sigma=1.0).model
    elsewhere = _note(case, "int8-per-channel", "sha256:" + "0" * 64, other)
    assert elsewhere == f"{said} another model, calibrated on other rows"


def test_a_file_that_says_nothing_or_nonsense_is_made_elsewhere(case: Case) -> None:
    import onnx

    from kit.model.metadata import PREFIX

    dataset, model = load_dataset(case.data), onnx.load(case.model)
    model.doc_string = "another file"
    for value in (None, "{", '{"name": "fp99"}'):
        if value is not None:
            onnx.helper.set_model_props(model, {f"{PREFIX}recipe": value})
        onnx.save(model, case.folder / "other.onnx")
        (found,) = given_variants([str(case.folder / "other.onnx")], load_onnx(case.model), dataset).values()
        assert found.record.notes == ("made elsewhere: how, and on which rows, is not known",)


def test_delays_are_not_asked_of_rows_that_have_none(tmp_path: Path) -> None:
    dataset = load_dataset(Bundle(tmp_path).write())
    asked = profile((requirement("data.lagged", 0.0, id="late"),))
    with pytest.raises(UsageError, match=r"'late': data.lagged .* two or more channels, nor have two time stamps"):
        check_looks(asked, dataset)
    inputs = np.zeros((12, 64, 3), np.float32)
    parts = [replace(part, inputs=inputs) for part in (dataset.test, dataset.calibration) if part is not None]
    check_looks(asked, replace(dataset, test=parts[0], calibration=parts[1]))
    stamps = {"t_sensor": np.zeros(12), "t_host": np.zeros(12)}
    parts = [replace(part, record=replace(part.record, numbers=stamps)) for part in parts]
    check_looks(asked, replace(dataset, test=parts[0], calibration=parts[1]))


@pytest.mark.parametrize("metric", ["data.lagged", "data.shifted"])
def test_nothing_to_compare_with_is_known_before_the_run(tmp_path: Path, metric: str) -> None:
    dataset = replace(load_dataset(Bundle(tmp_path).write()), calibration=None)
    with pytest.raises(UsageError, match="no train or calibration part") as caught:
        check_looks(profile((requirement(metric, 0.0),)), dataset)  # type: ignore[arg-type]
    assert "add such a part" in (caught.value.next_step or "")
    check_looks(profile((requirement("data.missing", 0.0),)), dataset)
