"""Hostile and broken source models of every other kind: pickles, archives, graphs that open files, damaged buffers."""

import base64
import io
import json
import marshal
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.model.hostile_onnx import SECRET, Make

MARKER = "executed.txt"


class Bomb:
    """A pickle that makes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"echo executed > {self.path}",)


def bomb(outside: Path) -> bytes:
    return pickle.dumps(Bomb(outside / MARKER), protocol=2)


def noise(size: int) -> bytes:
    """Bytes that mean nothing, the same each time."""
    return random.Random(size).randbytes(size)


def file(name: str, data: Callable[[Path, Path], bytes]) -> Make:
    """One file of that name."""

    def make(folder: Path, outside: Path) -> Path:
        path = folder / name
        path.write_bytes(data(folder, outside))
        return path

    return make


def archive(name: str, members: Callable[[Path, Path], dict[str, bytes]]) -> Make:
    """A zip file of that name."""
    return file(name, lambda folder, outside: zipped(members(folder, outside)))


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        for key, value in members.items():
            target.writestr(key, value)
    return stream.getvalue()


def _declared(size: int, *names: str) -> bytes:
    """A zip whose directory says that its first member has `size` bytes."""
    data = bytearray(zipped(dict.fromkeys(names or ("archive/data.pkl", "archive/version"), b"\x80\x02}q\x00.")))
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", size)
    return bytes(data)


def _many_members() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for number in range(70_000):
            target.writestr(f"archive/data/{number}", b"")
    return stream.getvalue()


def _keras_config(layer: dict[str, object]) -> dict[str, bytes]:
    model = {
        "module": "keras",
        "class_name": "Sequential",
        "registered_name": None,
        "config": {
            "name": "s",
            "trainable": True,
            "dtype": "float32",
            "layers": [
                {
                    "module": "keras.layers",
                    "class_name": "InputLayer",
                    "registered_name": None,
                    "config": {"batch_shape": [None, 4], "dtype": "float32", "name": "x"},
                },
                layer,
            ],
        },
    }
    metadata = {"keras_version": "3.15.1", "date_saved": "2026-01-01@00:00:00"}
    return {"config.json": json.dumps(model).encode(), "metadata.json": json.dumps(metadata).encode()}


def _hdf5() -> bytes:
    """An HDF5 file without any array, where the library that writes it is installed."""
    try:
        import h5py
    except ImportError:
        return b"\x89HDF\r\n\x1a\n"
    stream = io.BytesIO()
    with h5py.File(stream, "w"):
        pass
    return stream.getvalue()


def _lambda_layer(outside: Path) -> dict[str, bytes]:
    """A Lambda layer: marshalled byte code inside the file."""
    code = compile(f"import os; os.system('echo executed > {outside / MARKER}')", "x", "exec")
    value = {
        "class_name": "__lambda__",
        "config": {"code": base64.b64encode(marshal.dumps(code)).decode(), "defaults": None, "closure": None},
    }
    layer = {
        "module": "keras.layers",
        "class_name": "Lambda",
        "registered_name": None,
        "config": {"name": "l", "trainable": True, "dtype": "float32", "function": value, "arguments": {}},
    }
    return {**_keras_config(layer), "model.weights.h5": _hdf5()}


def _any_class(outside: Path) -> dict[str, bytes]:
    layer = {
        "module": "os",
        "class_name": "system",
        "registered_name": None,
        "config": {"command": f"echo executed > {outside / MARKER}"},
    }
    return {**_keras_config(layer), "model.weights.h5": _hdf5()}


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def _field(number: int, data: bytes) -> bytes:
    """A protobuf field of bytes."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def saved_model(operator: str, path: Callable[[Path], str]) -> Make:
    """A SavedModel folder whose graph has one operator that touches the file system."""

    def make(folder: Path, outside: Path) -> Path:
        model = folder / "saved"
        (model / "variables").mkdir(parents=True)
        text = _field(8, path(outside).encode())  # TensorProto.string_val
        tensor = b"\x08\x07" + text  # dtype DT_STRING
        constant = (
            _field(1, b"name") + _field(2, b"Const") + _field(5, _field(1, b"value") + _field(2, _field(8, tensor)))
        )
        node = _field(1, b"harm") + _field(2, operator.encode()) + _field(3, b"name")
        meta = _field(1, _field(4, b"serve")) + _field(2, _field(1, constant) + _field(1, node))
        (model / "saved_model.pb").write_bytes(b"\x08\x01" + _field(2, meta))
        return model

    return make


def _saved_folder(content: Callable[[Path, Path], bytes | None]) -> Make:
    def make(folder: Path, outside: Path) -> Path:
        model = folder / "saved"
        model.mkdir()
        data = content(model, outside)
        if data is not None:
            (model / "saved_model.pb").write_bytes(data)
        return model

    return make


def _linked(model: Path, outside: Path) -> None:
    (model / "saved_model.pb").symlink_to(outside / "secret.bin")


def _deep_json(depth: int = 200_000) -> bytes:
    return b"[" * depth + b"]" * depth


LIGHTGBM = """tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=3
objective=binary sigmoid:1
feature_names=a b c d
feature_infos=[0:1] [0:1] [0:1] [0:1]
tree_sizes=%s

Tree=0
num_leaves=%s
num_cat=0
split_feature=0
"""

SOURCE_CASES: dict[str, tuple[Make, str]] = {
    "pickle-bomb": (file("model.pkl", lambda f, o: bomb(o)), "can run any code"),
    "joblib-bomb": (file("model.joblib", lambda f, o: bomb(o)), "can run any code"),
    "pickle-as-onnx": (file("model.onnx", lambda f, o: bomb(o)), "a pickle"),
    "trusted-pickle-cut": (
        file("model.pkl", lambda f, o: pickle.dumps({"a": list(range(999))})[:300]),
        "cannot be unpickled: EOFError",
    ),
    "trusted-pickle-of-a-dict": (
        file("model.pkl", lambda f, o: pickle.dumps({"a": 1})),
        "holds a dict, not a scikit-learn model",
    ),
    "torch-pickle-bomb": (
        archive("model.pt", lambda f, o: {"archive/data.pkl": bomb(o), "archive/version": b"3\n"}),
        "can run any code",
    ),
    "torch-legacy-bomb": (file("model.pth", lambda f, o: bomb(o)), "a pickle as PyTorch wrote it before"),
    "torch-zip-cut": (
        file("model.pt", lambda f, o: zipped({"archive/data.pkl": bytes(900)})[:-30]),
        "cut or damaged: it has no directory",
    ),
    "torch-zip-bomb": (file("model.pt", lambda f, o: _declared(0xFFFFFFF0)), "a zip bomb"),
    "torch-many-members": (file("model.pt", lambda f, o: _many_members()), "its directory is larger than"),
    "torch-zip-traversal": (
        archive("model.pt", lambda f, o: {"../../evil": SECRET, "archive/data.pkl": b"\x80\x02}q\x00."}),
        "'../../evil' in it lies outside",
    ),
    "torch-export-of-noise": (file("model.pt2", lambda f, o: noise(2000)), "not an archive that PyTorch writes"),
    "torch-export-empty-zip": (file("model.pt2", lambda f, o: zipped({})), "holds 0 files"),
    "torch-export-pickle-inside": (
        archive(
            "model.pt2",
            lambda f, o: {
                "m/models/model.json": b"{}",
                "m/data/weights/weight_0": bomb(o),
                "m/archive_format": b"pt2",
                "m/archive_version": b"0",
            },
        ),
        "is missing",
    ),
    "torchscript-of-noise": (
        archive(
            "model.pt",
            lambda f, o: {
                "a/code/__torch__.py": b"import os\n",
                "a/constants.pkl": b"\x80\x02).",
                "a/data.pkl": b"\x80\x02).",
                "a/version": b"3\n",
            },
        ),
        "cannot load the archive",
    ),
    "keras-not-a-zip": (file("model.keras", lambda f, o: b"PK but no more"), "no converter"),
    "keras-without-config": (archive("model.keras", lambda f, o: {"a.txt": b"x"}), "the archive holds 'a.txt'"),
    "keras-config-no-json": (
        archive("model.keras", lambda f, o: {"config.json": b"{", "metadata.json": b"{}", "model.weights.h5": _hdf5()}),
        "no JSON",
    ),
    "keras-lambda": (archive("model.keras", lambda f, o: _lambda_layer(o)), "the layer 'l' is a Lambda layer"),
    "keras-any-class": (archive("model.keras", lambda f, o: _any_class(o)), "system is a class of 'os'"),
    "keras-zip-bomb": (
        file("model.keras", lambda f, o: _declared(0xFFFFFFF0, "config.json", "metadata.json", "model.weights.h5")),
        "is 4294967280 bytes unpacked, the most is",
    ),
    "keras-deep-config": (
        archive(
            "model.keras",
            lambda f, o: {"config.json": _deep_json(), "metadata.json": b"{}", "model.weights.h5": _hdf5()},
        ),
        "no JSON",
    ),
    "h5-of-noise": (file("model.h5", lambda f, o: b"\x89HDF\r\n\x1a\n" + noise(4000)), "no complete HDF5 file"),
    "saved-model-empty": (_saved_folder(lambda f, o: b""), "does not parse"),
    "saved-model-without-graph": (_saved_folder(lambda f, o: None), "no converter: a folder"),
    "saved-model-of-noise": (_saved_folder(lambda f, o: b"\xff" * 500), "does not parse"),
    "saved-model-linked": (_saved_folder(_linked), "is a link or no regular file"),
    "saved-model-reads-a-file": (
        saved_model("ReadFile", lambda o: str(o / "secret.bin")),
        "the node 'harm' is of type ReadFile",
    ),
    "saved-model-writes-a-file": (
        saved_model("WriteFile", lambda o: str(o / MARKER)),
        "the node 'harm' is of type WriteFile",
    ),
    "saved-model-calls-python": (saved_model("PyFunc", lambda o: "x"), "the node 'harm' is of type PyFunc"),
    "tflite-of-noise": (
        file("model.tflite", lambda f, o: b"\x1c\0\0\0TFL3" + noise(3000)),
        "an offset or size in it is wrong",
    ),
    "tflite-root-beyond": (
        file("model.tflite", lambda f, o: b"\xff\xff\xff\x7fTFL3" + bytes(200)),
        "an offset or size in it is wrong",
    ),
    "tflite-cut": (file("model.tflite", lambda f, o: b"\x1c\0\0\0TFL3"), "an offset or size in it is wrong"),
    "xgboost-empty-object": (file("model.json", lambda f, o: b"{}"), "JSON text, and nothing here reads that"),
    "xgboost-deep-json": (file("model.json", lambda f, o: _deep_json()), "nothing here reads that"),
    "xgboost-ubj-noise": (file("model.ubj", lambda f, o: b"{L" + b"\xff" * 300), "nothing here reads that"),
    "lightgbm-noise": (file("model.lgb", lambda f, o: b"tree\nversion=v4\n" + noise(500)), "its trees do not end"),
    "lightgbm-absurd-tree": (
        file("model.txt", lambda f, o: (LIGHTGBM % (1 << 40, 1 << 40)).encode()),
        "its trees do not end",
    ),
    "no-suffix": (file("model", lambda f, o: b"hello"), "no suffix: nothing here reads that"),
    "unknown-suffix": (file("model.caffemodel", lambda f, o: b"hello"), "caffemodel: nothing here reads that"),
}
"""By name: how the file is made, and what its one line of error must speak of."""
