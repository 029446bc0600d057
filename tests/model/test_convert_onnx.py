"""ONNX of older opsets: real models that others published, raised and compared with what they were."""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kit.errors import ConversionError, ModelError
from kit.model.convert import Options, convert
from kit.model.convert.base import DEFAULT_OPSET
from kit.model.convert.onnx import OnnxConverter, at_opset
from kit.model.load import load_onnx, load_onnx_bytes

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
PUBLISHED = ("bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet",
             "vgg19", "zfnet512")  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_of_opset_9_are_raised(name: str) -> None:
    model = load_onnx(LIGHT / f"light_{name}.onnx")
    assert model.record.opset == 9
    raised = at_opset(model, DEFAULT_OPSET, name)
    done = load_onnx_bytes(raised.SerializeToString(), name)
    assert done.record.opset == DEFAULT_OPSET
    assert raised.ir_version >= 4
    assert [each.name for each in raised.graph.input] == [each.name for each in model.record.inputs]
    assert (done.record.inputs, done.record.outputs) == (model.record.inputs, model.record.outputs)


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_a_published_model_is_verified_against_itself(name: str, tmp_path: Path) -> None:
    path = LIGHT / f"light_{name}.onnx"
    rows = np.random.default_rng(0).random((2, 3, 224, 224), dtype=np.float32)
    done = convert(path, rows=rows)
    assert done.conversion is not None
    assert done.conversion.source.format == "ONNX opset 9"
    assert (done.conversion.rows, done.conversion.row_source, done.reference.opset) == (2, "dataset", 17)
    assert "Its opset was raised from 9 to 17." in done.notes
    expected = numpy_helper.to_array(TensorProto.FromString((LIGHT / f"light_{name}_output_0.pb").read_bytes()))
    assert done.reference.outputs[0].shape == expected.shape


def real(package: str, name: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.rglob(name))


def test_a_face_detector_of_opset_12_is_raised_with_both_outputs(rnet_path: Path) -> None:
    done = convert(rnet_path, output="softmax_1")
    assert done.conversion is not None
    assert [each.output for each in done.conversion.outputs] == [each.name for each in done.reference.outputs]
    assert len(done.conversion.outputs) == 2
    assert done.conversion.decisions_agree == done.conversion.rows
    assert done.conversion.max_abs_difference < 1e-5


def test_without_a_name_no_output_decides_and_that_is_said(rnet_path: Path) -> None:
    done = convert(rnet_path)
    assert done.conversion is not None
    assert done.conversion.decisions_agree is None
    assert any("no decisions were compared" in note for note in done.notes)


def test_a_model_with_state_and_scalars_is_raised_row_by_row() -> None:
    """A speech detector: three inputs, two of them without a batch (a state, a sampling rate)."""
    random = np.random.default_rng(0)
    rows = {
        "input": random.standard_normal((6, 576)).astype(np.float32) / 10,
        "state": random.standard_normal((6, 2, 1, 128)).astype(np.float32) / 10,
        "sr": np.full(6, 16000),
    }
    done = convert(real("silero_vad", "silero_vad_16k_op15.onnx"), rows=rows)
    assert done.conversion is not None
    assert {each.name for each in done.reference.inputs} == {"input", "state", "sr"}
    assert len(done.conversion.outputs) == 2
    assert all(each.max_abs_difference < 1e-4 for each in done.conversion.outputs)


def test_a_newer_model_that_cannot_be_lowered_is_kept_with_the_reason() -> None:
    done = convert(real("swift_f0", "*.onnx"))
    assert done.reference.opset == 18
    assert any("Its opset 18 was kept: it cannot be lowered to 17 (No Adapter To Version 17" in n for n in done.notes)


def test_an_opset_that_was_asked_for_and_cannot_be_is_refused() -> None:
    with pytest.raises(ConversionError, match=r"its opset 18 cannot be lowered to 11.*No Adapter") as refused:
        convert(real("swift_f0", "*.onnx"), options=Options(opset=11))
    assert "--opset" in refused.value.next_step
    assert refused.value.exit_code == 6


def net(opset: int, *nodes: onnx.NodeProto, shape: tuple[int | str, ...] = ("rows", 4)) -> bytes:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(model.SerializeToString())


def test_a_newer_model_that_can_be_lowered_is(tmp_path: Path) -> None:
    path = tmp_path / "new.onnx"
    path.write_bytes(net(17, helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Identity", ["h"], ["y"])))
    source = OnnxConverter().read(path, Options(opset=16))
    assert source.notes == ("Its opset was lowered from 17 to 16.",)
    assert load_onnx_bytes(source.export(), "new").record.opset == 16
    same = OnnxConverter().read(path, Options(opset=17))
    assert same.notes == ("Its opset is 17: nothing was changed but the metadata.",)


def test_what_is_no_onnx_inside_is_refused_with_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    for content, says in ((b"\x80\x04N.", "a pickle"), (b"PK\x03\x04", "a zip archive"), (b"<html>", "HTML")):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=f"not an ONNX model but {says}"):
            OnnxConverter().read(path, Options())
