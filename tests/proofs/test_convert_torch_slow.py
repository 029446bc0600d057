"""PyTorch's slower conversions: recurrent and scripted networks, a batch that the user fixes, and other opsets."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from kit.model.convert import Options
from kit.records import TensorInfo
from tests.model.test_convert_torch import options_of, rows_of, run
from tests.model.torch_fixtures import INPUTS, Convert, Job, Outcome, convert_all, nets

__all__ = ["convert_all", "nets"]  # fixtures

pytestmark = pytest.mark.proof

JOBS = {
    "gru-pt2": ("gru.pt2", Options()),
    "attention-scripted": ("attention-scripted.pt", options_of("attention")),
    "cnn-fixed": ("cnn-traced.pt", Options(inputs=(TensorInfo("image", "float32", (1, 1, 8, 8)),))),
    "cnn-opset-21": ("cnn.pt2", Options(opset=21)),
    "cnn-opset-16": ("cnn.pt2", Options(opset=16)),
    "cnn-opset-13": ("cnn.pt2", Options(opset=13)),
}
VERIFIED = ("gru-pt2", "attention-scripted", "cnn-opset-21")


@pytest.fixture(scope="session")
def slow(nets: Path, convert_all: Convert) -> dict[str, Outcome]:
    jobs = [
        Job(name, nets / file, options, nets / f"{name.split('-')[0]}.npz" if name in VERIFIED else None)
        for name, (file, options) in JOBS.items()
    ]
    return convert_all("slow", jobs)


@pytest.mark.parametrize("name", VERIFIED)
def test_the_onnx_model_computes_what_pytorch_does(name: str, slow: dict[str, Outcome], nets: Path) -> None:
    outcome, rows = slow[name], rows_of(nets, name)
    assert not outcome.error
    for count in (1, 2, len(next(iter(rows.values())))):
        found = run(outcome.onnx, {key: value[:count] for key, value in rows.items()})
        assert found.keys() == outcome.outputs.keys()
        for output, values in outcome.outputs.items():
            np.testing.assert_allclose(found[output], values[:count], atol=2e-5, err_msg=output)
            assert np.ptp(values) > 0.1  # and it is no constant


@pytest.mark.parametrize("name", ["gru-pt2", "attention-scripted"])
def test_names_sizes_and_opset_are_deliberate(name: str, slow: dict[str, Outcome]) -> None:
    record = slow[name].record
    assert record is not None
    assert record.inputs == INPUTS[name.split("-")[0]]
    outputs = [(each.name, each.shape) for each in record.outputs]
    assert outputs == (
        [("output_0", ("rows", 7)), ("output_1", ("rows", 24))] if name == "gru-pt2" else [("output", ("rows", 10))]
    )
    assert opset_of(slow[name]) == 17


def test_branches_that_were_decided_are_said(slow: dict[str, Outcome]) -> None:
    assert any("branches of its code were decided" in note for note in slow["attention-scripted"].notes)


def test_a_batch_that_the_user_fixes_stays_fixed(slow: dict[str, Outcome]) -> None:
    record = slow["cnn-fixed"].record
    assert record is not None
    assert record.inputs[0].shape == (1, 1, 8, 8)


def test_the_opset_is_the_one_asked_for_or_the_conversion_is_refused(slow: dict[str, Outcome]) -> None:
    assert opset_of(slow["cnn-opset-21"]) == 21
    for name, opset in (("cnn-opset-16", 16), ("cnn-opset-13", 13)):
        assert slow[name].said.startswith(f"ConversionError: it cannot be made of opset {opset}: PyTorch has no op")
        assert "leave --opset out" in slow[name].said


def opset_of(outcome: Outcome) -> int:
    """Of the model's own operators."""
    versions = [entry.version for entry in onnx.ModelProto.FromString(outcome.onnx).opset_import if not entry.domain]
    return int(versions[0])
