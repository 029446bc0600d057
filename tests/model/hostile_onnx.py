"""Hostile and broken ONNX files, each made from a sound one; `OUTSIDE` is a folder that none of them may touch."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
SECRET = b"SECRET-OUTSIDE-THE-FOLDER"

Make = Callable[[Path, Path], Path]
"""Writes a case into a folder, the folder outside being the second; the path of the file to give to the command."""


def sound() -> onnx.ModelProto:
    """x [rows, 4] times w [4, 3], then Relu."""
    weights = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(4, 3), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "product"),
        helper.make_node("Relu", ["h"], ["y"], "relu"),
    ]
    return of(nodes, [weights])


def of(nodes: list[onnx.NodeProto], weights: list[TensorProto] | None = None, opset: int = 17) -> onnx.ModelProto:
    """x float [rows, 4] to y float [rows, 3] by `nodes`."""
    x = helper.make_tensor_value_info("x", FLOAT, ["rows", 4])
    y = helper.make_tensor_value_info("y", FLOAT, ["rows", 3])
    graph = helper.make_graph(nodes, "g", [x], [y], weights or [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def case(change: Callable[[onnx.ModelProto], None]) -> Make:
    """The sound model, changed in one way."""

    def make(folder: Path, outside: Path) -> Path:
        model = sound()
        change(model)
        return _save(folder, model.SerializeToString())

    return make


def built(build: Callable[[], onnx.ModelProto]) -> Make:
    """A model made as a whole."""
    return lambda folder, outside: _save(folder, build().SerializeToString())


def content(data: Callable[[], bytes]) -> Make:
    """Any bytes under the suffix .onnx."""
    return lambda folder, outside: _save(folder, data())


def _save(folder: Path, data: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(data)
    return path


def external(location: Callable[[Path, Path], str], **more: str) -> Make:
    """The sound model with its weights at a location."""

    def make(folder: Path, outside: Path) -> Path:
        model = sound()
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entries = {"location": location(folder, outside), **more}
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)
        return _save(folder, model.SerializeToString())

    return make


def _link_to_file(folder: Path, outside: Path) -> str:
    (folder / "weights.bin").symlink_to(outside / "secret.bin")
    return "weights.bin"


def _link_to_folder(folder: Path, outside: Path) -> str:
    (folder / "sub").symlink_to(outside)
    return "sub/secret.bin"


def _fifo(folder: Path, outside: Path) -> str:
    os.mkfifo(folder / "weights.bin")
    return "weights.bin"


def _folder(folder: Path, outside: Path) -> str:
    (folder / "weights.bin").mkdir()
    return "weights.bin"


def _short(folder: Path, outside: Path) -> str:
    (folder / "weights.bin").write_bytes(bytes(20))
    return "weights.bin"


def _huge_sparse(folder: Path, outside: Path) -> str:
    with (folder / "weights.bin").open("wb") as stream:
        stream.truncate(1 << 42)
    return "weights.bin"


def _outside_link_itself(folder: Path, outside: Path) -> Path:
    """The model file is a link to a file outside: what the user named, so it is read, and is no model."""
    (folder / "model.onnx").symlink_to(outside / "secret.bin")
    return folder / "model.onnx"


def _laughs(depth: int = 40) -> onnx.ModelProto:
    """Functions that each call the one below twice: 2^40 nodes in a file of 4 kB."""
    model = sound()
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for level in range(depth):
        inner = ("Identity", "") if level == 0 else (f"F{level - 1}", "own")
        body = [
            helper.make_node(inner[0], ["a"], ["m"], domain=inner[1]),
            helper.make_node(inner[0], ["m"], ["b"], domain=inner[1]),
        ]
        model.functions.append(helper.make_function("own", f"F{level}", ["a"], ["b"], body, opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node[1].domain, model.graph.node[1].op_type = "own", f"F{depth - 1}"
    return model


def _recursion_in_branch() -> onnx.ModelProto:
    """A function that calls itself inside an If."""
    model = sound()
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    out = helper.make_tensor_value_info("t", FLOAT, None)
    branch = helper.make_graph([helper.make_node("F", ["a"], ["t"], domain="own")], "branch", [], [out])
    true = helper.make_tensor("c", TensorProto.BOOL, [], [True])
    body = [
        helper.make_node("Constant", [], ["flag"], value=true),
        helper.make_node("If", ["flag"], ["b"], then_branch=branch, else_branch=branch),
    ]
    model.functions.append(helper.make_function("own", "F", ["a"], ["b"], body, opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node[1].domain, model.graph.node[1].op_type = "own", "F"
    return model


def _expand(elements: int) -> onnx.ModelProto:
    """ConstantOfShape of many elements: a few bytes that ask for terabytes when they run."""
    shape = helper.make_tensor("shape", INT64, [1], [elements])
    axes = helper.make_tensor("axes", INT64, [1], [0])
    return of(
        [
            helper.make_node("ConstantOfShape", ["shape"], ["big"]),
            helper.make_node("ReduceSum", ["big", "axes"], ["s"]),
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Add", ["h", "s"], ["y"]),
        ],
        [shape, axes, numpy_helper.from_array(np.ones((4, 3), np.float32), "w")],
    )


def _many_nodes(count: int = 100_000) -> onnx.ModelProto:
    names = ["h", *(f"t{i}" for i in range(count)), "y"]
    chain = [helper.make_node("Identity", [a], [b]) for a, b in itertools.pairwise(names)]
    first = helper.make_node("MatMul", ["x", "w"], ["h"])
    return of([first, *chain], [numpy_helper.from_array(np.ones((4, 3), np.float32), "w")])


def _nested_deep(levels: int = 90) -> bytes:
    """Graphs in graphs, near protobuf's own limit of depth."""
    leaf = helper.make_tensor_value_info("z", FLOAT, None)
    graph = helper.make_graph([helper.make_node("Identity", ["h"], ["z"])], "leaf", [], [leaf])
    for _ in range(levels // 3):
        node = helper.make_node("If", ["flag"], ["z"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], "level", [], [leaf])
        if graph.ByteSize() > 1 << 20:
            break
    model = sound()
    model.graph.node.extend(graph.node)
    return model.SerializeToString()


def _protobuf_bomb() -> bytes:
    """Groups nested far beyond any limit: what a naive parser recurses into."""
    return b"\x0b" * 100_000


def _length_lie() -> bytes:
    """A field that says it holds an exabyte."""
    return b"\x3a" + b"\xff" * 8 + b"\x0f" + b"abc"


def _tensor(change: Callable[[TensorProto], None]) -> Make:
    return case(lambda model: change(model.graph.initializer[0]))


def _attribute_tensor(model: onnx.ModelProto) -> None:
    value = TensorProto(data_type=FLOAT, dims=[1 << 30, 1 << 30])
    model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], "constant", value=value))


def _sparse(model: onnx.ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.name, sparse.values.data_type = "s", FLOAT
    sparse.values.dims.append(1)
    sparse.values.raw_data = bytes(4)
    sparse.indices.data_type = INT64
    sparse.indices.dims.append(1)
    sparse.indices.raw_data = np.int64(1 << 40).tobytes()
    sparse.dims.extend([1 << 41])


def _two_domains(model: onnx.ModelProto) -> None:
    model.graph.node[1].domain = "com.evil.ops"
    model.opset_import.append(helper.make_opsetid("com.evil.ops", 1))


def _set(path: str, value: object) -> Make:
    """The sound model with one field of its graph set."""

    def change(model: onnx.ModelProto) -> None:
        target: object = model.graph
        *steps, last = path.split(".")
        for step in steps:
            target = target[int(step)] if step.isdigit() else getattr(target, step)  # type: ignore[index]
        if last.isdigit():
            target[int(last)] = value  # type: ignore[index]
        else:
            setattr(target, last, value)

    return case(change)


def _string_weights(tensor: TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.data_type = TensorProto.STRING
    tensor.string_data.extend([b"x"] * 12)


def _typed_data_short(tensor: TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.float_data.extend([1.0] * 5)


def _both_data(tensor: TensorProto) -> None:
    tensor.float_data.extend([1.0] * 12)


def _segment(tensor: TensorProto) -> None:
    tensor.segment.begin, tensor.segment.end = 0, 1 << 40


def _nan_weights(tensor: TensorProto) -> None:
    tensor.raw_data = np.full(12, np.nan, np.float32).tobytes()


def _long_name(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type = "A" * 5_000_000


def _terminal_name(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type = "Re\x1b]0;owned\x07\x1b[2Jlu\r\nedgeproof: PASS"


def _traversing_output(model: onnx.ModelProto) -> None:
    model.graph.name = "../../../../tmp/owned"
    model.graph.input[0].name = "../x"


def _random(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type = "RandomNormalLike"


ONNX_CASES: dict[str, tuple[Make, str]] = {
    "external-parent": (external(lambda f, o: f"../{o.name}/secret.bin"), "outside the model's folder"),
    "external-parent-inside-path": (
        external(lambda f, o: f"sub/../../{o.name}/secret.bin"),
        "outside the model's folder",
    ),
    "external-absolute": (external(lambda f, o: str(o / "secret.bin")), "outside the model's folder"),
    "external-backslash": (external(lambda f, o: f"..\\{o.name}\\secret.bin"), "outside the model's folder"),
    "external-null-byte": (external(lambda f, o: "a\0b"), "outside the model's folder"),
    "external-empty": (external(lambda f, o: ""), "outside the model's folder"),
    "external-dot": (external(lambda f, o: "."), "outside the model's folder"),
    "external-missing": (external(lambda f, o: "nowhere.bin"), "cannot be read: No such file"),
    "external-link-to-file": (external(_link_to_file), "symbolic links are not followed"),
    "external-link-to-folder": (external(_link_to_folder), "symbolic links are not followed"),
    "external-fifo": (external(_fifo), "no regular file"),
    "external-folder": (external(_folder), "no regular file"),
    "external-device": (external(lambda f, o: "/dev/zero"), "outside the model's folder"),
    "external-proc": (external(lambda f, o: "/proc/self/environ"), "outside the model's folder"),
    "external-short": (external(_short), "which has 20|needs 48 bytes"),
    "external-offset-beyond": (
        external(_short, offset="100", length="48"),
        "bytes 100 to 148 of 'weights.bin', which has 20",
    ),
    "external-negative-offset": (external(_short, offset="-8"), "no number of bytes"),
    "external-long-number": (external(_short, length="9" * 60), "no number of bytes"),
    "external-sparse-terabytes": (external(_huge_sparse), "larger than is read"),
    "model-is-a-link-outside": (_outside_link_itself, "not an ONNX model"),
    "laughs": (built(_laughs), "nodes once its functions are put in place"),
    "laughs-deeper": (built(lambda: _laughs(3000)), "nodes once its functions are put in place"),
    "recursion-in-branch": (built(_recursion_in_branch), "call each other without end"),
    "many-nodes": (built(_many_nodes), "nodes once its functions are put in place"),
    "terabytes-when-run": (
        built(lambda: _expand(1 << 40)),
        "the runtime fails.*Failed to allocate memory.*size 4398046511104",
    ),
    "overflow-when-run": (
        built(lambda: _expand((1 << 62) + 3)),
        "the runtime fails.*Calculation for Tensor storage size overflowed",
    ),
    "negative-when-run": (built(lambda: _expand(-5)), "fails|cannot load|negative|>= 0"),
    "nested-deep": (content(_nested_deep), "nested more than|not parse|not valid ONNX|Nodes in a graph"),
    "protobuf-groups": (content(_protobuf_bomb), "not an ONNX model"),
    "protobuf-length-lie": (content(_length_lie), "not an ONNX model"),
    "half-a-file": (
        content(lambda: sound().SerializeToString()[:70]),
        "not an ONNX model|not valid|imports no operator set",
    ),
    "absurd-constant": (case(_attribute_tensor), "absurd size"),
    "sparse-beyond": (case(_sparse), "absurd size"),
    "unknown-domain": (case(_two_domains), "unknown domain 'com.evil.ops'"),
    "dims-overflow": (_tensor(lambda t: t.dims.__setitem__(0, 1 << 62)), "absurd size"),
    "dims-product-overflow": (_tensor(lambda t: t.dims.extend([1 << 32, 1 << 32])), "absurd size"),
    "dims-negative": (_tensor(lambda t: t.dims.__setitem__(0, -4)), "negative dimension"),
    "dims-many": (_tensor(lambda t: t.dims.extend([1] * 4000)), "dimensions|not valid|cannot load|absurd"),
    "dtype-unknown": (_tensor(lambda t: setattr(t, "data_type", 77)), "unknown data type 77"),
    "dtype-string": (_tensor(_string_weights), "not valid ONNX|cannot load|strings"),
    "typed-data-short": (_tensor(_typed_data_short), "needs 12 values, but it holds 5|not valid ONNX"),
    "data-twice": (_tensor(_both_data), "not valid ONNX|more than one|needs"),
    "segmented": (_tensor(_segment), "segment"),
    "nan-weights": (_tensor(_nan_weights), "no finite value"),
    "name-of-megabytes": (case(_long_name), "A{20,}|not valid"),
    "name-for-the-terminal": (case(_terminal_name), "not valid ONNX|unknown operator|No Op registered"),
    "duplicate-initializer": (
        case(lambda m: m.graph.initializer.append(m.graph.initializer[0])),
        "not valid ONNX|twice|cannot load",
    ),
    "shadowed-input": (case(lambda m: m.graph.node[0].output.__setitem__(0, "x")), "not valid ONNX"),
    "self-loop": (case(lambda m: m.graph.node[0].input.__setitem__(0, "h")), "topologically|not valid ONNX"),
    "random-scores": (case(_random), "decides by chance: the same rows, run again"),
    "ir-version-far": (case(lambda m: setattr(m, "ir_version", 1 << 40)), "not valid ONNX|newer|cannot load"),
    "ir-version-zero": (case(lambda m: setattr(m, "ir_version", 0)), "not valid ONNX|cannot load"),
    "opset-negative": (case(lambda m: setattr(m.opset_import[0], "version", -1)), "not valid ONNX|opset|cannot load"),
    "output-undefined": (_set("output.0.name", "nowhere"), "not valid ONNX|cannot load|nowhere"),
    "input-wrong-type": (
        _set("input.0.type.tensor_type.elem_type", TensorProto.STRING),
        "not valid ONNX|cannot load|string|Type",
    ),
    "input-unknown-type": (_set("input.0.type.tensor_type.elem_type", 99), "unknown data type"),
    "shape-lies": (
        _set("output.0.type.tensor_type.shape.dim.1.dim_value", 7),
        "output 'y' states 7 values, and gives 3",
    ),
}
"""By name: how the file is made, and what its one line of error must speak of."""
