"""Hostile, broken and wrong files: each is one ModelError that says what, where and what next."""

import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kit.digest import digest_bytes
from kit.errors import ModelError
from kit.model import load
from kit.model.convert import Converted
from kit.model.load import LoadedModel, load_onnx, load_onnx_bytes
from kit.records import TensorInfo

FLOAT = TensorProto.FLOAT


def tiny() -> onnx.ModelProto:
    """x [rows, 4] times w [4, 3], then Relu: the sound model that every case below breaks in one way."""
    weights = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(4, 3), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "product"),
        helper.make_node("Relu", ["h"], ["y"], "relu"),
    ]
    x = helper.make_tensor_value_info("x", FLOAT, ["rows", 4])
    y = helper.make_tensor_value_info("y", FLOAT, ["rows", 3])
    graph = helper.make_graph(nodes, "tiny", [x], [y], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def refused(model: onnx.ModelProto) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_onnx_bytes(model.SerializeToString(), "case.onnx")
    error = caught.value
    assert error.where.startswith("case.onnx")
    assert error.next_step
    assert "\n" not in str(error)
    return error


def test_a_sound_model_is_described() -> None:
    data = tiny().SerializeToString()
    record = load_onnx_bytes(data, "tiny.onnx").record
    assert (record.name, record.digest, record.size_bytes) == ("tiny.onnx", digest_bytes(data), len(data))
    assert (record.format, record.opset) == ("onnx", 17)
    assert record.inputs == (TensorInfo("x", "float32", ("rows", 4)),)
    assert record.outputs == (TensorInfo("y", "float32", ("rows", 3)),)


def test_a_real_model_is_described(rnet_path: Path) -> None:
    record = load_onnx(rnet_path).record
    assert record.opset == 12
    assert record.inputs == (TensorInfo("input_2", "float32", ("N", 24, 24, 3)),)
    assert [output.name for output in record.outputs] == ["dense_2", "softmax_1"]


def _external(model: onnx.ModelProto, location: str) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


def _external_in_attribute(model: onnx.ModelProto) -> None:
    value = TensorProto(data_type=FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    value.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], "constant", value=value))


def _external_in_branch(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([helper.make_node("Identity", ["w2"], ["b"])], "b", [], [])
    branch.output.append(helper.make_tensor_value_info("b", FLOAT, None))
    branch.initializer.append(TensorProto(name="w2", data_type=FLOAT, dims=[1], data_location=TensorProto.EXTERNAL))
    node = helper.make_node("If", ["flag"], ["out"], "choice", then_branch=branch, else_branch=branch)
    model.graph.node.append(node)


def _cycle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "y"


def _twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(model.graph.node[1])


def _huge(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 20]


def _more_than_stored(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [4000, 3000]


def _negative(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-4, -3]


def _unknown_dtype(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_type = 999


def _unknown_domain(model: onnx.ModelProto) -> None:
    model.graph.node[1].domain = "com.evil"
    model.opset_import.append(helper.make_opsetid("com.evil", 1))


def _unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type = "Frobnicate"


def _no_inputs(model: onnx.ModelProto) -> None:
    del model.graph.input[:]
    model.graph.node[0].input[0] = "w"


def _no_outputs(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


def _no_opset(model: onnx.ModelProto) -> None:
    del model.opset_import[:]


def _two_opsets(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("", 12))


def _future_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 9999


def _huge_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1 << 50


def _negative_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = -4


def _sequence_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].CopyFrom(helper.make_tensor_sequence_value_info("y", FLOAT, None))


def _untyped_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].ClearField("type")


def _empty(model: onnx.ModelProto) -> None:
    del model.graph.node[:]


def _endless_function(model: onnx.ModelProto) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for name, other in (("F", "G"), ("G", "F")):
        body = [helper.make_node(other, ["a"], ["b"], domain="own")]
        model.functions.append(helper.make_function("own", name, ["a"], ["b"], body, opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node[1].domain, model.graph.node[1].op_type = "own", "F"


def _nested(model: onnx.ModelProto) -> None:
    graph = helper.make_graph([helper.make_node("Identity", ["h"], ["z"])], "leaf", [], [])
    for _ in range(18):
        node = helper.make_node("If", ["flag"], ["z"], then_branch=graph)
        graph = helper.make_graph([node], "level", [], [])
    model.graph.node.extend(graph.node)


def _wrong_type(model: onnx.ModelProto) -> None:
    model.graph.node[1].attribute.append(helper.make_attribute("no_such_attribute", 1.0))


def _undefined_input(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[1] = "nowhere"


BROKEN: list[tuple[Callable[[onnx.ModelProto], None], str]] = [
    (lambda model: _external(model, "weights.bin"), "outside the file, in 'weights.bin'"),
    (lambda model: _external(model, "../../../../etc/passwd"), "outside the file"),
    (lambda model: _external(model, "/etc/passwd"), "outside the file, in '/etc/passwd'"),
    (_external_in_attribute, "outside the file"),
    (_external_in_branch, "outside the file"),
    (_cycle, "topologically sorted"),
    (_twice, "single assignment|SSA"),
    (_huge, "absurd size"),
    (_more_than_stored, "needs 48000000 bytes, but it holds 48"),
    (_negative, "negative dimension"),
    (_unknown_dtype, "unknown data type 999"),
    (_unknown_domain, "unknown domain 'com.evil'"),
    (_unknown_operator, "Frobnicate"),
    (_no_inputs, "no inputs"),
    (_no_outputs, "no outputs"),
    (_no_opset, "imports no operator set"),
    (_two_opsets, "two versions"),
    (_future_opset, "opset 9999 is newer than"),
    (_huge_input, "absurd shape"),
    (_negative_input, "absurd shape"),
    (_sequence_output, "'y' is a sequence, not a tensor"),
    (_untyped_input, "untyped"),
    (_empty, "no graph with operators"),
    (_endless_function, "call each other without end"),
    (_nested, "nested more than 16 deep"),
    (_wrong_type, "no_such_attribute"),
    (_undefined_input, "topologically sorted"),
]


@pytest.mark.parametrize(("break_it", "message"), BROKEN)
def test_a_broken_graph_is_refused_by_name(break_it: Callable[[onnx.ModelProto], None], message: str) -> None:
    model = tiny()
    break_it(model)
    assert re.search(message, str(refused(model)))


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", "x")


NOT_ONNX: list[tuple[str, Callable[[Path], object], str]] = [
    ("html", lambda path: path.write_text("\n <!DOCTYPE html><html>404</html>"), "HTML"),
    ("json", lambda path: path.write_text('{"a": 1}'), "JSON"),
    ("zip", _zip, "zip archive"),
    ("pickle", lambda path: path.write_bytes(pickle.dumps({"a": 1})), "a pickle"),
    ("numpy", lambda path: path.write_bytes(b"\x93NUMPY\x01\x00" + bytes(120)), "a NumPy array"),
    ("hdf5", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64)), "HDF5"),
    ("tflite", lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(64)), "TensorFlow Lite"),
    ("gzip", lambda path: path.write_bytes(b"\x1f\x8b" + bytes(64)), "gzip"),
    ("lfs", lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0"), "Git LFS"),
    ("elf", lambda path: path.write_bytes(b"\x7fELF" + bytes(64)), "a program"),
    ("empty", lambda path: path.write_bytes(b""), "empty"),
    ("zeros", lambda path: path.write_bytes(bytes(4096)), "not an ONNX model"),
    ("noise", lambda path: path.write_bytes(np.random.default_rng(0).bytes(4096)), "not an ONNX model"),
    ("text", lambda path: path.write_text("just some text"), "not an ONNX model"),
    ("folder", lambda path: path.mkdir(), "not a regular file"),
    ("fifo", os.mkfifo, "not a regular file"),
    ("missing", lambda path: None, "no such file"),
    ("dangling", lambda path: path.symlink_to("nowhere"), "no such file"),
    ("device", lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
]


@pytest.mark.parametrize(("name", "make", "message"), NOT_ONNX, ids=[case[0] for case in NOT_ONNX])
def test_a_file_that_is_no_model_is_named_for_what_it_is(
    name: str, make: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.onnx"
    make(path)
    with pytest.raises(ModelError, match=message) as caught:
        load_onnx(path)
    assert caught.value.where == str(path)
    assert caught.value.next_step


def test_a_name_with_a_null_byte_is_no_crash() -> None:
    with pytest.raises(ModelError):
        load_onnx(Path("a\0b.onnx"))


def test_a_file_over_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as stream:
        stream.truncate(3 << 20)
    monkeypatch.setattr(load, "MAX_MODEL_BYTES", 2 << 20)
    with pytest.raises(ModelError, match="larger than 2 MiB"):
        load_onnx(path)


def loaded_or_none(data: bytes) -> LoadedModel | None:
    """The model, or None where it is refused; anything but a ModelError is a failure."""
    try:
        return load_onnx_bytes(data, "damaged.onnx")
    except ModelError:
        return None


def test_every_truncation_is_refused_or_leaves_the_graph_whole(converted: dict[str, Converted]) -> None:
    """A cut after the graph and its operator sets loses only properties, which no reader can notice."""
    data = converted["mlp"].data
    whole = onnx.ModelProto.FromString(data).graph.SerializeToString()
    offsets = sorted({*range(300), *range(0, len(data), 23), *range(len(data) - 300, len(data))})
    survivors = 0
    for offset in offsets:
        model = loaded_or_none(data[:offset])
        if model is not None:
            survivors += 1
            assert model.proto.graph.SerializeToString() == whole
    properties = onnx.ModelProto.FromString(data).metadata_props
    assert (
        survivors <= len(properties) + 2
    )  # cut between two of them, or before the versions, all of the graph is there
    assert len(offsets) > 900


def test_flipped_bytes_load_or_are_refused_but_never_crash(converted: dict[str, Converted]) -> None:
    data, rng = converted["mlp"].data, np.random.default_rng(0)
    outcomes = {"loaded": 0, "refused": 0}
    head = 400  # names, types and shapes: where damage does most
    for _ in range(600):
        damaged = bytearray(data)
        span = len(data) if rng.random() < 0.5 else head
        for offset in rng.integers(0, span, size=3):
            damaged[-1 - offset] = rng.integers(256)
        outcomes["refused" if loaded_or_none(bytes(damaged)) is None else "loaded"] += 1
    assert min(outcomes.values()) > 30, outcomes
