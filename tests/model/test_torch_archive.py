"""PyTorch's archives looked through as hostile, without PyTorch: what they are, and what in them could run."""

import io
import json
import pickle
import re
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kit.errors import ModelError
from kit.model.convert.state_dict import StateDictConverter
from kit.model.convert.torch import TorchExportConverter
from kit.model.convert.torch_archive import MAX_DIRECTORY_BYTES, MAX_MEMBERS, checked, claimed_kind, foreign_global
from kit.model.convert.torch_opset import lowered
from kit.model.convert.torch_scan import safe_program
from kit.model.convert.torchscript import TorchScriptConverter
from kit.model.session import quiet_runtime

LEAF = {"type": None, "context": None, "children_spec": []}
PROGRAM = {
    "graph_module": {
        "graph": {
            "nodes": [{"target": "torch.ops.aten.linear.default"}],
            "tensor_values": {
                "x": {"sizes": [{"as_expr": {"expr_str": "Symbol('s17', positive=True, integer=True)"}}]}
            },
        },
        "module_call_graph": [{"signature": {"in_spec": json.dumps([1, LEAF]), "out_spec": json.dumps([1, LEAF])}}],
    },
    "guards_code": ["L['x'].size()[0] > 1"],
}


def archive(path: Path, members: dict[str, bytes], folder: str = "model/") -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in members.items():
            packed.writestr(folder + name, data)
    return path


def program(path: Path, **replaced: bytes) -> Path:
    members = {
        "archive_format": b"pt2",
        "models/model.json": json.dumps(PROGRAM).encode(),
        "data/weights/model_weights_config.json": b'{"config": {"w": {"path_name": "weight_0"}}}',
        "data/constants/model_constants_config.json": b'{"config": {}}',
    }
    return archive(path, members | {name: data for name, data in replaced.items() if data is not None})


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (Path.touch, (self.marker,))


def script(path: Path, code: bytes = b"def forward(self):\n  return torch.relu(x)\n") -> Path:
    return archive(path, {"data.pkl": b"\x80\x02}q\x00.", "constants.pkl": b"\x80\x02).", "code/__torch__.py": code})


WEIGHTS = pickle.dumps(OrderedDict(a=1), protocol=2)


@pytest.mark.parametrize(
    ("name", "make", "kind"),
    [
        ("a.pt2", program, "program"),
        ("a.pt", program, "program"),
        ("a.pt", script, "script"),
        ("a.pth", lambda path: archive(path, {"data.pkl": WEIGHTS}), "weights"),
        ("a.bin", lambda path: archive(path, {"data.pkl": WEIGHTS}), "weights"),
        ("a.ckpt", lambda path: archive(path, {"data.pkl": WEIGHTS}), "weights"),
        ("a.zip", lambda path: archive(path, {"data.pkl": WEIGHTS}), None),
        ("a.onnx", lambda path: archive(path, {"data.pkl": WEIGHTS}), None),
    ],
    ids=["pt2", "program-in-pt", "script", "weights", "weights-bin", "weights-ckpt", "zip", "onnx"],
)
def test_kinds_are_told_apart_by_what_is_in_them(
    name: str, make: Callable[[Path], Path], kind: str | None, tmp_path: Path
) -> None:
    path = make(tmp_path / name)
    start = path.read_bytes()[:4096]
    assert claimed_kind(path, start) == kind
    claims = {
        "program": TorchExportConverter().claims(path, start),
        "script": TorchScriptConverter().claims(path, start),
        "weights": StateDictConverter().claims(path, start),
    }
    assert [name for name, claimed in claims.items() if claimed] == ([kind] if kind else [])


def test_a_folder_is_nobody_s(tmp_path: Path) -> None:
    (tmp_path / "a.pt").mkdir()
    assert claimed_kind(tmp_path / "a.pt", b"") is None


def _link(path: Path) -> Path:
    member = zipfile.ZipInfo("model/data.pkl")
    member.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(member, "/etc/passwd")
    return path


def _twice(path: Path, other: str = "model/data.pkl") -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as packed:
        warnings.simplefilter("ignore")  # zipfile warns of what is meant here
        packed.writestr("model/data.pkl", WEIGHTS)
        packed.writestr(other, WEIGHTS)
    return path


def _bomb(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("model/data.pkl", WEIGHTS)
        packed.writestr("model/data/0", bytes(64 << 20))
    return path


def _lying_bomb(path: Path) -> Path:
    """The directory says that a member is 4 GB."""
    archive(path, {"data.pkl": WEIGHTS, "data/0": bytes(100)})
    data = bytearray(path.read_bytes())
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    data[second + 24 : second + 28] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(data)
    return path


def _absurd_directory(path: Path) -> Path:
    archive(path, {"data.pkl": WEIGHTS})
    data = bytearray(path.read_bytes())
    end = data.index(b"PK\x05\x06")
    padding = bytes(MAX_DIRECTORY_BYTES + 1000)
    (size,) = struct.unpack("<I", data[end + 12 : end + 16])
    data[end + 12 : end + 16] = struct.pack("<I", size + len(padding))
    path.write_bytes(data[:end] + padding + data[end:])
    return path


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "link": (_link, "is a link"),
    "outside": (lambda path: archive(path, {"../../x": b"1"}), "outside the archive's folder"),
    "absolute": (lambda path: archive(path, {"/x": b"1"}, folder=""), "outside the archive's folder"),
    "twice": (_twice, "'model/data.pkl' twice"),
    "twice-but-for-case": (lambda path: _twice(path, "model/DATA.pkl"), "twice"),
    "bomb": (_bomb, "a zip bomb"),
    "lying-bomb": (_lying_bomb, "a zip bomb"),
    "absurd-directory": (_absurd_directory, "its directory is larger than"),
    "many": (
        lambda path: archive(path, {f"data/{n}": b"" for n in range(MAX_MEMBERS + 1)}),
        f"{MAX_MEMBERS + 1} files",
    ),
    "nothing": (lambda path: archive(path, {}), "0 files"),
    "cut": (lambda path: _cut(archive(path, {"data.pkl": WEIGHTS})), "cut or damaged"),
    "text": (lambda path: _written(path, b"not weights"), "not an archive that PyTorch writes"),
    "pickle": (lambda path: _written(path, pickle.dumps([1])), "before version 1.6"),
    "method": (lambda path: _compressed(path), "compressed in a way"),
}


def _cut(path: Path) -> Path:
    return _written(path, path.read_bytes()[:60])


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _compressed(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr("model/data.pkl", WEIGHTS)
    return path


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_from_its_directory(name: str, tmp_path: Path) -> None:
    make, what = HOSTILE[name]
    path = make(tmp_path / "a.pt")
    with pytest.raises(ModelError, match=re.escape(what)) as refused:
        checked(path)
    assert str(path) in refused.value.where
    assert refused.value.next_step
    assert StateDictConverter().claims(path, path.read_bytes()[:100])  # so that the message is this one
    assert not StateDictConverter().is_pickle(path, b"")


def test_damage_inside_a_member_is_found_when_it_is_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", {"data.pkl": WEIGHTS, "data/0": b"0123456789"})
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"0123x56789"))
    with pytest.raises(ModelError, match="CRC"):
        checked(path).repacked()


def test_what_is_opened_is_a_fresh_archive_of_what_was_looked_at(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", {"data.pkl": WEIGHTS, "data/0": b"0123"}, folder="any/")
    path.write_bytes(b"another archive might begin here" + path.read_bytes())
    with zipfile.ZipFile(checked(path).repacked({"data.pkl": b"other"})) as packed:
        assert {each.filename: packed.read(each) for each in packed.infolist()} == {
            "model/data.pkl": b"other",
            "model/data/0": b"0123",
        }


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_looked_through_and_never_run(protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    data = pickle.dumps({"a": [1.5, "text", Bomb(marker)]}, protocol=protocol)
    found = foreign_global(data)
    assert found
    path = archive(tmp_path / "a.pt", {"data.pkl": data})
    assert StateDictConverter().is_pickle(path, b"")
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_plain_values_is_no_danger(protocol: int) -> None:
    assert foreign_global(pickle.dumps(OrderedDict(a=[1.5, "text", ("b", None)]), protocol=protocol)) == ""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x80\x02cos\nsystem\n.", "os.system"),
        (b"\x80\x02(S'x'\nios\nsystem\n.", "os.system"),
        (b"\x80\x02\x82\x01.", "an.extension.code"),
        (b"\x80\x02cposix", "damaged"),
        (b"\xff\xff", "damaged"),
        (b"\x80\x04\x8c\x05torch\x8c\x04load\x93.", "torch.load"),
        (b"\x80\x04\x8c\x05torch\x94\x8c\x02os\x94h\x00h\x01\x93.", "torch.os"),
    ],
    ids=["global", "inst", "extension", "cut", "noise", "stack-global", "memo"],
)
def test_every_way_to_name_a_global_is_seen(data: bytes, said: str) -> None:
    assert foreign_global(data).startswith(said)


def changed(path: Path, **graph: Any) -> Path:
    """A program with other entries in its graph."""
    copy = json.loads(json.dumps(PROGRAM))
    copy["graph_module"]["graph"] |= graph
    return program(path, **{"models/model.json": json.dumps(copy).encode()})


def sized(text: str) -> dict[str, Any]:
    return {"sym_int_values": {"s": {"as_expr": {"expr_str": text, "hint": None}}}}


SIZES = [
    "s0",
    "2*s17 + 1",
    "Symbol('s27', positive=True, integer=True)",
    "FloorDiv(Mul(Symbol('s17', positive=True, integer=True), Symbol('s27', integer=True)), Integer(2))",
    "Pow(Symbol('s17', positive=True, integer=True), Integer(2))",
    "Max(1, u0)",
]


@pytest.mark.parametrize("text", SIZES)
def test_sizes_that_are_arithmetic_pass(text: str, tmp_path: Path) -> None:
    replaced = safe_program(checked(changed(tmp_path / "a.pt2", **sized(text))))
    assert json.loads(replaced["models/model.json"])["guards_code"] == []


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch /tmp/x')",
        "().__class__.__base__.__subclasses__()",
        "s0.__class__",
        "open('x')",
        "Symbol('__import__(\"os\")')",
        "[x for x in (1,)]",
        "lambda: 1",
        "9**9**9**9",
        "Pow(Integer(9), Pow(Integer(9), Integer(9)))",
        "Pow(Symbol('s0'), Integer(99999999))",
        "1+" * 2000 + "1",
        "(" * 500,
        "",
        "Max(*s0)",
        7,
    ],
    ids=["import", "class", "attribute", "open", "symbol", "comprehension", "lambda", "power", "pow", "exponent",
         "long", "nested", "empty", "star", "number"],
)  # fmt: skip
def test_sizes_that_are_code_are_refused(text: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="evaluate as Python"):
        safe_program(checked(changed(tmp_path / "a.pt2", **sized(text))))


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.load",
        "torch.hub.load",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.__class__",
        "torch.ops.load_library",
        "torch.ops.higher_order.triton_kernel_wrapper_functional",
        "_operator.attrgetter",
        "_operator.methodcaller",
        "math.__loader__.load_module",
        "os.system",
    ],
)
def test_operators_that_do_not_compute_are_refused(target: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="none that computes with tensors"):
        safe_program(checked(changed(tmp_path / "a.pt2", nodes=[{"target": target}])))


@pytest.mark.parametrize(
    "spec",
    [
        [1, {**LEAF, "type": "collections.defaultdict", "context": '{"default_factory_module": "os"}'}],
        [1, {**LEAF, "type": "builtins.dict", "context": '[{"__enum__": true, "fqn": "os:x", "name": "y"}]'}],
        [1, {**LEAF, "type": "builtins.dict", "context": '[{"\\u005f_enum__": true, "fqn": "os:x"}]'}],
        "no spec",
    ],
    ids=["default-factory", "enum", "enum-escaped", "text"],
)
def test_structures_that_import_modules_are_refused(spec: Any, tmp_path: Path) -> None:
    text = spec if isinstance(spec, str) else json.dumps(spec)
    with pytest.raises(ModelError, match="structure"):
        safe_program(checked(changed(tmp_path / "a.pt2", nodes=[{"in_spec": text}])))


@pytest.mark.parametrize(
    ("member", "data", "what"),
    [
        ("data/aotinductor/model/x.so", b"\x7fELF", "machine code"),
        (
            "data/constants/model_constants_config.json",
            b'{"config": {"c": {"path_name": "opaque_obj_0"}}}',
            "no tensor",
        ),
        ("data/weights/model_weights_config.json", b'{"config": {"c": {"path_name": "../../x"}}}', "no tensor"),
        ("data/weights/model_weights_config.json", b'{"config": ', "damaged"),
        ("data/weights/model_weights_config.json", b"[1]", "damaged"),
        ("models/model.json", b"[" * 100_000, "damaged"),
        ("models/model.json", b"\xff\xfe", "damaged"),
    ],
    ids=["machine-code", "object", "path", "cut-json", "list", "deep-json", "no-text"],
)
def test_parts_of_a_program_that_are_not_tensors_are_refused(
    member: str, data: bytes, what: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=what):
        safe_program(checked(program(tmp_path / "a.pt2", **{member: data})))


def _reducing(axes: list[int] | None, *, computed: bool = False) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 4])]
    constants = [numpy_helper.from_array(np.array(axes, np.int64), "axes")] if axes is not None else []
    if computed:
        inputs.append(helper.make_tensor_value_info("axes", TensorProto.INT64, [1]))
        constants = []
    node = helper.make_node("ReduceMean", ["x", "axes"] if axes is not None else ["x"], ["y"], keepdims=0)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * (3 - len(axes or (0, 1, 2))))
    graph = helper.make_graph([node], "g", inputs, [output], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("axes", [[1], [0, 2], [-1], None], ids=["one", "two", "last", "all"])
def test_a_lowered_model_computes_the_same(axes: list[int] | None) -> None:
    model = _reducing(axes)
    before, x = model.SerializeToString(), np.random.default_rng(0).random((2, 3, 4), dtype=np.float32)
    assert lowered(model, 17) == ""
    assert model.opset_import[0].version == 17
    assert not model.graph.initializer
    results = [
        quiet_runtime().InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for data in (before, model.SerializeToString())
    ]
    np.testing.assert_array_equal(*results)


def test_what_an_older_opset_cannot_say_stays_as_it_was() -> None:
    model = _reducing([1], computed=True)
    before = model.SerializeToString()
    assert "computed" in lowered(model, 17)
    assert "no operators of opset 13" in lowered(model, 13)
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes"),
    [
        ("Mish", ["x"], {}),
        ("Split", ["x"], {"num_outputs": 2}),
        ("Resize", ["x", "", "x"], {"antialias": 1}),
        ("Pad", ["x", "p", "", "a"], {}),
        ("Pad", ["x", "p"], {"mode": "wrap"}),
        ("ScatterND", ["x", "i", "u"], {"reduction": "max"}),
    ],
    ids=["new", "split", "resize", "pad-axes", "pad-wrap", "scatter"],
)
def test_operators_without_an_older_form_are_named(
    operator: str, inputs: list[str], attributes: dict[str, Any]
) -> None:
    node = helper.make_node(operator, inputs, ["y"], name="here", **attributes)
    model = helper.make_model(
        helper.make_graph([node], "g", [], []), opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    )
    assert lowered(model, 17) != ""
    assert model.opset_import[0].version == 18


def test_reading_is_bounded(tmp_path: Path) -> None:
    found = checked(archive(tmp_path / "a.pt", {"data.pkl": WEIGHTS}))
    with pytest.raises(ModelError, match="larger than 3 bytes"):
        found.read("data.pkl", 3)
    with pytest.raises(ModelError, match="missing"):
        found.read("nothing")
    assert isinstance(found.repacked(), io.BytesIO)
