"""Conversion as a whole: what is in the record, what is refused, and that a broken conversion is caught and named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import kit
from kit.digest import digest_bytes, digest_file
from kit.errors import ConversionError, MissingExtraError, ModelError, UsageError
from kit.model.convert import CONVERTERS, Converted, Options, _verified, convert, converter_for, reference_of
from kit.model.convert.base import Arrays, Source, library_versions
from kit.model.convert.stamp import stamped
from kit.model.metadata import properties
from kit.model.session import HostSession
from kit.records import ModelRecord, TensorInfo
from tests import device_kit

TRUSTED = Options(trust_pickle=True)
NAMES = ["mlp", "softmax", "forest", "pipeline"]


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_computes_what_the_source_does(
    name: str, converted: dict[str, Converted], fitted: dict[str, Any], digits
) -> None:
    probabilities = fitted[name].predict_proba(digits.test)
    scores = HostSession(converted[name].data).predict(digits.test)
    np.testing.assert_allclose(scores, probabilities, atol=1e-5)
    record = converted[name].conversion
    assert record is not None
    assert record.rows == len(digits.test) == record.decisions_agree
    assert record.differing_rows == ()
    assert record.row_source == "dataset"
    assert 0 < record.max_abs_difference < 1e-5
    (output,) = record.outputs
    assert output.output == "probabilities"
    assert output.max_abs_difference == record.max_abs_difference
    assert 0 <= output.mean_abs_difference < output.max_abs_difference


@pytest.mark.parametrize("name", NAMES)
def test_names_opset_and_batch_are_deliberate(name: str, converted: dict[str, Converted], pickles) -> None:
    record, conversion = converted[name].reference, converted[name].conversion
    assert conversion is not None
    assert [(tensor.name, tensor.shape) for tensor in record.inputs] == [("x", ("rows", 64))]
    assert [(tensor.name, tensor.shape) for tensor in record.outputs] == [("probabilities", ("rows", 10))]
    assert record.opset == 17
    assert conversion.source.digest == digest_file(pickles[name])
    assert conversion.model == record
    assert "skl2onnx" in conversion.converter_version


@pytest.mark.parametrize("name", NAMES)
def test_the_file_says_where_it_comes_from(name: str, converted: dict[str, Converted]) -> None:
    done = converted[name]
    assert done.conversion is not None
    proto = done.model.proto
    found = properties(proto)
    assert (proto.producer_name, proto.producer_version) == ("edgeproof", kit.__version__)
    assert json.loads(found["edgeproof.classes"]) == [str(n) for n in range(10)]
    assert found["edgeproof.source"] == done.conversion.source.digest
    assert found["edgeproof.source_format"] == done.conversion.source.format
    assert found["edgeproof.converter"] == f"skl2onnx ({done.conversion.converter_version})"
    assert all(key.startswith("edgeproof.") for key in found)


def test_converting_twice_gives_the_same_bytes(converted: dict[str, Converted], pickles, digits) -> None:
    again = convert(pickles["pipeline"], rows=digits.test[:50], options=TRUSTED)
    assert again.data == converted["pipeline"].data


def test_what_an_exporter_left_in_a_file_is_removed() -> None:
    model = onnx.ModelProto.FromString(device_kit.linear())
    model.doc_string = "/home/someone/model.py"
    model.graph.node[0].doc_string = "Traceback: /home/someone"
    model.graph.node[0].metadata_props.add(key="stack", value="/home/someone/net.py:3")
    model.graph.doc_string = "at 12:00"
    model.metadata_props.add(key="author", value="someone")
    model.metadata_props.add(key="edgeproof.classes", value='["0"]')
    source = ModelRecord("net", digest_bytes(b"source"), 6, "Some format")
    data = stamped(model.SerializeToString(), source, "tool", "tool 1.0", "net")
    assert b"someone" not in data
    assert b"12:00" not in data
    found = properties(onnx.ModelProto.FromString(data))
    assert found == {
        "edgeproof.classes": '["0"]',
        "edgeproof.converter": "tool (tool 1.0)",
        "edgeproof.source": source.digest,
        "edgeproof.source_format": "Some format",
    }


def test_rows_of_another_width_are_refused(pickles, digits) -> None:
    with pytest.raises(ModelError, match=r"does not take rows of shape \[63\]") as caught:
        convert(pickles["mlp"], rows=digits.test[:, 1:], options=TRUSTED)
    assert caught.value.where == str(pickles["mlp"])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("net.h6", b"\0" * 50, r"no converter: \.h6: nothing here reads that"),
        ("net", b"plain text", "no converter: no suffix: nothing"),
        ("net.bin", b"\x93NUMPY", "no converter: it is a NumPy array, and"),
        ("data.json", b'{"rows": []}', "no converter: it is JSON text, and"),
    ],
)
def test_what_nothing_reads_lists_what_is_read(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=says) as caught:
        convert(tmp_path / name)
    for suffix in (".onnx", ".joblib", ".json", ".txt", ".pt2", ".keras", ".tflite", "SavedModel"):
        assert suffix in caught.value.next_step


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no converter: a folder: nothing"):
        convert(tmp_path)


@pytest.mark.parametrize(("name", "says"), [("none.onnx", "no such file"), ("empty.pkl", "is empty")])
def test_a_file_that_is_not_there_or_empty_is_said(name: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "empty.pkl").touch()
    with pytest.raises(ModelError, match=says) as caught:
        convert(tmp_path / name)
    assert caught.value.where == str(tmp_path / name)


@pytest.mark.parametrize("opset", [0, 6, 999])
def test_an_opset_that_is_not_made_is_refused(opset: int, rnet_path: Path) -> None:
    with pytest.raises(UsageError, match=f"opset {opset} is not made here") as caught:
        convert(rnet_path, options=Options(opset=opset))
    assert caught.value.next_step.startswith("give 7 to ")


def test_without_the_library_the_install_command_is_given(monkeypatch: pytest.MonkeyPatch, pickles, digits) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(MissingExtraError, match="scikit-learn models need skl2onnx and scikit-learn") as caught:
        convert(pickles["mlp"], rows=digits.test, options=TRUSTED)
    assert caught.value.next_step == "pip install 'edgeproof[sklearn]'"


def test_versions_are_found_without_an_import() -> None:
    import sys

    before = set(sys.modules)
    for converter in CONVERTERS:
        assert converter.version().count(" ") >= 1
    heavy = {"torch", "tensorflow", "xgboost", "lightgbm", "onnxmltools", "tf2onnx"}
    assert not (set(sys.modules) - before) & heavy
    found = library_versions("x", "these", {"numpy": "no-such-distribution|numpy", "onnx": "onnx"})
    assert found == f"no-such-distribution {np.__version__}, onnx {onnx.__version__}"


def test_converters_are_told_apart() -> None:
    assert (
        len({type(each).__name__ for each in CONVERTERS}) == len({each.reads for each in CONVERTERS}) == len(CONVERTERS)
    )
    assert all(isinstance(each.name, str) and each.name for each in CONVERTERS)


def test_an_onnx_file_is_its_own_reference(rnet_path: Path) -> None:
    faces = np.zeros((4, 24, 24, 3), np.float32)
    done = reference_of(rnet_path, rows=faces, output="softmax_1")
    assert done.conversion is None
    assert done.data == rnet_path.read_bytes()
    assert done.reference.digest == digest_file(rnet_path)
    with pytest.raises(ModelError, match=r"dense_2.*softmax_1") as caught:
        reference_of(rnet_path, rows=faces)
    assert caught.value.where == str(rnet_path)


def test_any_other_kind_is_converted_to_a_reference(converted: dict[str, Converted], pickles, digits) -> None:
    done = reference_of(pickles["mlp"], rows=digits.test[:9], options=TRUSTED)
    assert done.data == converted["mlp"].data
    assert done.conversion is not None
    assert done.conversion.rows == 9


def tampered(data: bytes, change: float) -> bytes:
    """One weight of the first layer moved by `change`."""
    model = onnx.ModelProto.FromString(data)
    tensor = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    weights = numpy_helper.to_array(tensor).copy()
    weights[36, :] += change
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    return bytes(model.SerializeToString())


def source_of(converted: Converted, fitted: Any) -> Source:
    """The real source, in this process."""
    assert converted.conversion is not None
    return Source(
        converted.conversion.source,
        lambda feeds: {"probabilities": fitted.predict_proba(feeds["x"])},
        lambda: converted.data,
    )


def verified(converted: Converted, fitted: Any, data: bytes, rows: Any) -> Converted:
    return _verified(Path("mlp.joblib"), source_of(converted, fitted), data, "skl2onnx", "test", rows)


def test_a_conversion_that_computes_something_else_is_caught(
    converted: dict[str, Converted], fitted: dict[str, Any], digits
) -> None:
    mlp = converted["mlp"]
    with pytest.raises(ConversionError, match=r"rows differ by more.*in their decision.*'probabilities'") as caught:
        verified(mlp, fitted["mlp"], tampered(mlp.data, 0.05), digits.test)
    assert caught.value.where == "mlp.joblib"
    assert "row " in caught.value.what
    assert "converter" in caught.value.next_step
    assert verified(mlp, fitted["mlp"], tampered(mlp.data, 0.0), digits.test).conversion.rows == len(digits.test)


def prefixed(data: bytes, *nodes: onnx.NodeProto, constants: tuple[Any, ...] = ()) -> bytes:
    """The same network on what `nodes` make of its input (from ``x`` to ``x_changed``): a preprocessing bug."""
    model = onnx.ModelProto.FromString(data)
    for index, constant in enumerate(constants):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(constant), f"constant_{index}"))
    for node in model.graph.node:
        node.input[:] = ["x_changed" if name == "x" else name for name in node.input]
    kept = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *kept])
    return bytes(model.SerializeToString())


def scaled(data: bytes, factor: float) -> bytes:
    multiply = onnx.helper.make_node("Mul", ["x", "constant_0"], ["x_changed"])
    return prefixed(data, multiply, constants=(np.float32(factor),))


@pytest.mark.parametrize(("factor", "hint"), [(1 / 255, "divided by 255"), (255.0, "multiplied by 255")])
def test_a_scaling_bug_is_named(factor: float, hint: str, converted, fitted, digits) -> None:
    with pytest.raises(ConversionError, match=hint) as caught:
        verified(converted["mlp"], fitted["mlp"], scaled(converted["mlp"].data, factor), digits.test)
    assert "preprocessing" in caught.value.next_step


def test_a_type_bug_is_named(converted, fitted, digits) -> None:
    nodes = (
        onnx.helper.make_node("Cast", ["x"], ["whole"], to=onnx.TensorProto.INT32),
        onnx.helper.make_node("Cast", ["whole"], ["x_changed"], to=onnx.TensorProto.FLOAT),
    )
    data = prefixed(converted["mlp"].data, *nodes)
    with pytest.raises(ConversionError, match=r"inputs cut to integers \(dtype\)"):
        verified(converted["mlp"], fitted["mlp"], data, digits.test / 3)


def images_net(weights: np.ndarray, *, transposed: bool) -> bytes:
    """[rows, 3, 4, 6] to 2 scores; `transposed` reads the pixels as if channels were last."""
    nodes = [
        onnx.helper.make_node("Reshape", ["x", "as_last"], ["last"]),
        onnx.helper.make_node("Transpose", ["last"], ["x_changed"], perm=[0, 3, 1, 2]),
        onnx.helper.make_node("Flatten", ["x_changed" if transposed else "x"], ["flat"]),
        onnx.helper.make_node("Gemm", ["flat", "weights"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes if transposed else nodes[2:],
        "net",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", 3, 4, 6])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", 2])],
        [
            numpy_helper.from_array(np.array([0, 4, 6, 3]), "as_last"),
            numpy_helper.from_array(weights.astype(np.float32), "weights"),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def test_a_layout_bug_is_named() -> None:
    random = np.random.default_rng(0)
    weights, images = random.normal(size=(72, 2)), random.normal(size=(20, 3, 4, 6)).astype(np.float32)

    def predict(feeds: Arrays) -> dict[str, Any]:
        return {"y": feeds["x"].reshape(len(feeds["x"]), -1) @ weights}

    record = ModelRecord(
        "net.pt2", digest_bytes(b""), 1, "PyTorch",
        inputs=(TensorInfo("x", "float32", ("rows", 3, 4, 6)),), outputs=(TensorInfo("y", "float32", ("rows", 2)),),
    )  # fmt: skip
    good, bad = (images_net(weights, transposed=wrong) for wrong in (False, True))
    source = Source(record, predict, lambda: good)
    assert _verified(Path("net.pt2"), source, good, "torch", "1", images).conversion.decisions_agree == 20
    with pytest.raises(ConversionError, match=r"\(layout\)") as caught:
        _verified(Path("net.pt2"), source, bad, "torch", "1", images)
    assert "preprocessing" in caught.value.next_step


def renamed(data: bytes, **changes: Any) -> bytes:
    """The same model with another name, type or shape of its input."""
    model = onnx.ModelProto.FromString(data)
    (value,) = model.graph.input
    if "name" in changes:
        for node in model.graph.node:
            node.input[:] = [changes["name"] if name == value.name else name for name in node.input]
        value.name = changes["name"]
    for index, size in enumerate(changes.get("shape", ())):
        value.type.tensor_type.shape.dim[index].dim_value = size
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "other"}, "source has the inputs x, the ONNX model other"),
        ({"shape": (1, 3, 6, 4)}, r"\[1, 3, 6, 4\]"),
    ],
)
def test_another_interface_than_the_sources_is_refused(changes: dict[str, Any], says: str) -> None:
    weights = np.zeros((72, 2))
    record = ModelRecord(
        "net", digest_bytes(b""), 1, "PyTorch",
        inputs=(TensorInfo("x", "float32", ("rows", 3, 4, 6)),), outputs=(TensorInfo("y", "float32", ("rows", 2)),),
    )  # fmt: skip
    data = renamed(images_net(weights, transposed=False), **changes)
    source = Source(record, lambda feeds: {}, lambda: data)
    with pytest.raises(ConversionError, match=says) as caught:
        _verified(Path("net.pt2"), source, data, "torch", "1", None)
    assert ("layout" in caught.value.what) is ("shape" in changes)


def test_without_rows_they_are_generated_and_that_is_said(pickles) -> None:
    done = convert(pickles["softmax"], options=TRUSTED)
    assert done.conversion is not None
    assert (done.conversion.row_source, done.conversion.rows) == ("generated", 24)
    assert any("generated rows only" in note for note in done.notes)


def test_the_file_decides_which_converter(pickles, rnet_path: Path) -> None:
    assert type(converter_for(pickles["mlp"])).__name__ == "SklearnConverter"
    assert type(converter_for(rnet_path)).__name__ == "OnnxConverter"
