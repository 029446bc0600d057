import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kit.errors import DatasetError
from kit.spec.dataset import load_dataset
from tests.spec.bundle import Bundle, columns, npz


def refused(bundle: Bundle) -> DatasetError:
    manifest = bundle.write()
    with pytest.raises(DatasetError) as caught:
        load_dataset(manifest)
    assert caught.value.where.startswith(str(bundle.part_path()))
    assert caught.value.next_step
    return caught.value


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (columns(12, 1)["x"].astype(np.float64), "its elements are float64, and the manifest says float32"),
        (columns(12, 1)["x"].astype(np.int32), "its elements are int32"),
        (columns(12, 1)["x"][:, :3], "its shape is [12, 3], and the manifest says [rows, 4]"),
        (columns(12, 1)["x"].reshape(12, 2, 2), "its shape is [12, 2, 2]"),
        (np.float32(1), "its shape is []"),
        (columns(11, 1)["x"], "has 11 rows, and the manifest says 12"),
        (np.zeros(12, [("a", "f4")]), "holds records"),
    ],
)
def test_an_input_array_that_is_not_as_described(tmp_path: Path, array: NDArray[Any], words: str) -> None:
    bundle = Bundle(tmp_path)
    bundle.parts["test"]["x"] = array
    assert words in str(refused(bundle))


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    bundle = Bundle(tmp_path)
    part = bundle.parts["test"] | {"label": np.array([Trap()] * 12, object)}
    bundle.raw["test"] = npz(part, allow_pickle=True)
    assert "Python objects, which are never read" in refused(bundle).what
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(("declared_bytes", "words"), [(3 << 30, "its arrays unpack to 3.0 GiB"), (4096, "damaged")])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, declared_bytes: int, words: str) -> None:
    buffer = io.BytesIO()
    zeros = {"x": np.zeros((1 << 24, 4), np.float32)}  # 256 MiB, packed a thousand times smaller
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("x.npy", _npy(zeros["x"]))
        archive.filelist[-1].file_size = declared_bytes
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, array in columns(12, 1).items():
            if name != "x":
                archive.writestr(f"{name}.npy", _npy(array))
    bundle = Bundle(tmp_path, raw={"test": buffer.getvalue()})
    del zeros
    tracemalloc.start()
    assert words in refused(bundle).what
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


def _npy(array: NDArray[Any]) -> bytes:
    entry = io.BytesIO()
    np.save(entry, array)
    return entry.getvalue()


@pytest.mark.parametrize("shape", ["(1000000000000, 4)", "(-1, 4)", "(12, 99999999999999999999)"])
def test_a_header_that_claims_more_than_there_is(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (117 - len(header)) + b"\n"
    entry = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(192)
    buffer = io.BytesIO(npz({name: array for name, array in columns(12, 1).items() if name != "x"}))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("x.npy", entry)
    assert refused(Bundle(tmp_path, raw={"test": buffer.getvalue()})).what


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': " + b"(" * 3000 + b")}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (True,4)}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"0," * 2000 + b")}",
        b"{'descr': ('<f4',(4,)), 'fortran_order': False, 'shape': (4,)}",
        b"{'descr': '|V0', 'fortran_order': False, 'shape': (4,)}",
        b"\x00\xff",
        b"",
    ],
)
def test_a_header_that_is_no_header(tmp_path: Path, header: bytes) -> None:
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    entry = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(192)
    buffer = io.BytesIO(npz({name: array for name, array in columns(12, 1).items() if name != "x"}))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("x.npy", entry)
    assert "damaged" in refused(Bundle(tmp_path, raw={"test": buffer.getvalue()})).what


@pytest.mark.parametrize(
    ("number", "words"), [(0xD800, "a hidden character (U+D800)"), (0x110000, "numbers that are no character")]
)
def test_text_that_is_no_unicode(tmp_path: Path, number: int, words: str) -> None:
    values = np.array(["left", "right"] * 6)
    values.view(np.uint32)[3] = number
    bundle = Bundle(tmp_path)
    bundle.parts["test"]["side"] = values
    assert words in refused(bundle).what


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    content = bytearray(npz(columns(12, 1), zipfile.ZIP_STORED))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(signature) + offset] |= 1
    assert "encrypted" in refused(Bundle(tmp_path, raw={"test": bytes(content)})).what


def test_a_packing_method_that_numpy_never_uses_is_refused(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, raw={"test": npz(columns(12, 1), zipfile.ZIP_LZMA)})
    assert "packed by a method that NumPy does not use" in refused(bundle).what


def test_numpy_s_own_files_in_either_order_and_byte_order(tmp_path: Path) -> None:
    part = columns(12, 1)
    digests = set()
    for array in (part["x"], np.asfortranarray(part["x"]), part["x"].astype(">f4")):
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **(part | {"x": array}), extra=np.zeros(3))
        dataset = load_dataset(Bundle(tmp_path, raw={"test": buffer.getvalue()}).write())
        np.testing.assert_array_equal(dataset.test.inputs, part["x"])
        assert dataset.test.inputs.dtype == np.dtype("float32")
        digests.add(dataset.test.record.data_digest)
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.arange(12) / 2, "it is float64 of shape [12]; a metadata column is text or whole numbers"),
        (np.zeros((12, 2), np.int64), "of shape [12, 2]"),
        (np.array(["left"] * 11), "column side has 11 rows, and the manifest says 12"),
        (np.array([b"\xff"] * 12), "bytes that are not ASCII"),
    ],
)
def test_metadata_that_is_none(tmp_path: Path, array: NDArray[Any], words: str) -> None:
    bundle = Bundle(tmp_path)
    bundle.parts["test"]["side"] = array
    assert words in refused(bundle).what


def test_metadata_may_be_bytes_or_flags(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path)
    bundle.parts["test"]["side"] = np.array([b"left", b"right"] * 6)
    bundle.parts["test"]["subject"] = np.array([True, False] * 6)
    record = load_dataset(bundle.write()).test.record
    assert record.columns["side"].values == ("left", "right")
    assert record.columns["subject"].values == ("False", "True")


def test_inputs_that_are_whole_numbers_have_their_range(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, input={"dtype": "uint8", "shape": [4], "maximum": 200})
    for part in bundle.parts.values():
        part["x"] = np.arange(len(part["x"]) * 4, dtype=np.uint8).reshape(-1, 4) + len(part["x"])
    assert load_dataset(bundle.write()).test.inputs.dtype == np.uint8
    bundle.parts["test"]["x"][2, 1] = 201
    assert refused(bundle).where.endswith("row 2 (from 0), column x[1]")
