"""Keras files and SavedModel folders: real networks convert and agree; code in files is refused before it is loaded."""

import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest

from kit.errors import ConversionError, MissingExtraError, ModelError, UsageError
from kit.model.convert import Options, convert, converter_for
from kit.model.convert.keras import KerasConverter
from kit.model.convert.saved_model import MAX_FILES, SavedModelConverter
from kit.model.load import load_onnx_bytes
from kit.model.session import HostSession
from kit.records import ModelRecord
from tests.model.tensorflow_fixtures import Jobs, arrays, jobs_of, needs_tensorflow, nets

h5py = pytest.importorskip("h5py", reason="TensorFlow is not installed: make converters")

__all__ = ["nets"]  # a fixture

pytestmark = needs_tensorflow

CONVERTED = {
    "cnn.keras": "cnn",
    "mlp.keras": "mlp",
    "two.keras": "two",
    "gru.h5": "gru",
    "separable.h5": "separable",
    "cnn": "cnn",
    "gru": "gru",
    "two": "two",
}
"""By file or folder: the network in it."""

REFUSED = {
    "lambda.keras": ("ModelError", "the layer 'secret' is a Lambda layer, which is Python code inside the file"),
    "lambda.h5": ("ModelError", "the layer 'secret' is a Lambda layer"),
    "custom.keras": ("ModelError", "is a custom object registered as 'shop>Doubled', whose code is not in the file"),
    "custom.h5": ("ModelError", "Doubled"),
    "only.weights.h5": ("ModelError", "weights or data, and no model's description"),
    "graph_reads": ("ModelError", "is of type ReadFile, which reads or writes files"),
    "graph_writes": ("ModelError", "is of type WriteFile, which reads or writes files"),
    "graph_prints": ("ModelError", "is of type PrintV2, whose effects reach outside the model"),
    "graph_calls": ("ModelError", "is of type EagerPyFunc, which reads or writes files, or runs code"),
    "graph_restores": ("ModelError", "is of type RestoreV2, which reads or writes files, in the part that predicts"),
    "graph_several": ("UsageError", "has 2 signatures (first, second)"),
    "graph_text": ("ConversionError", "'x' is of dtype string, not numbers"),
    "graph_unknown": ("ConversionError", "ONNX has no form of these TensorFlow operators: BesselI0"),
}
"""By file or folder: the error's class, and a part of what it says."""


def _jobs(nets: Path) -> list[dict[str, Any]]:
    jobs = [
        {"name": f"ok.{file}", "path": str(nets / file), "rows": str(nets / f"{name}.rows.npz")}
        for file, name in CONVERTED.items()
    ]
    refused = [{"name": file, "path": str(nets / file), "rows": str(nets / "mlp.rows.npz")} for file in REFUSED]
    other = {"name": "opset", "path": str(nets / "cnn.keras"), "rows": str(nets / "cnn.rows.npz")}
    np.savez(nets / "fours.npz", x=np.arange(28, dtype=np.float32).reshape(7, 4))
    only = {"name": "only", "path": str(nets / "graph_only"), "rows": str(nets / "fours.npz")}
    return [*jobs, *refused, other | {"options": {"opset": 15}}, only]


@pytest.fixture(scope="session")
def jobs(nets: Path, tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    return jobs_of(tmp_path_factory, "tensorflow_jobs", lambda: _jobs(nets))


# --- what is converted agrees with its source ----------------------------------------------------------------------


@pytest.mark.parametrize("file", CONVERTED)
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_model_gives_what_its_source_gives_for_any_batch(file: str, rows: int, jobs: Jobs, nets: Path) -> None:
    outputs = jobs.outputs(f"ok.{file}", rows)
    given = {name: values[:rows] for name, values in arrays(nets / f"{CONVERTED[file]}.rows.npz").items()}
    session = HostSession(jobs.onnx(f"ok.{file}"))
    if len(given) == 1:
        given = {session.inputs[0].name: next(iter(given.values()))}
    found = session.run(given)
    assert found.keys() == outputs.keys()
    for name, values in outputs.items():
        assert len(values) == rows
        np.testing.assert_allclose(found[name], values, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("file", [file for file in CONVERTED if "." in file])
def test_the_source_gives_what_keras_predicts(file: str, jobs: Jobs, nets: Path) -> None:
    expected = arrays(nets / f"{CONVERTED[file]}.expected.npz")
    outputs = jobs.outputs(f"ok.{file}", 7)
    assert outputs.keys() == expected.keys()
    for name, values in outputs.items():
        np.testing.assert_allclose(values, expected[name][:7], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("file", CONVERTED)
def test_interface_and_opset_are_deliberate(file: str, jobs: Jobs) -> None:
    record = msgspec.convert(jobs.about(f"ok.{file}")["record"], ModelRecord)
    model = load_onnx_bytes(jobs.onnx(f"ok.{file}"), file)
    assert model.record.inputs == record.inputs
    assert model.record.outputs == record.outputs
    assert model.record.opset == 17
    assert {entry.domain for entry in model.proto.opset_import} == {""}
    assert all(each.shape[0] == "rows" for each in (*record.inputs, *record.outputs))
    assert all("/" not in each.name and ":" not in each.name for each in (*record.inputs, *record.outputs))


def test_names_are_the_models_own(jobs: Jobs) -> None:
    two = load_onnx_bytes(jobs.onnx("ok.two.keras"), "two").record
    assert [(each.name, each.shape) for each in two.inputs] == [("image", ("rows", 8, 8, 1)), ("extra", ("rows", 2))]
    assert [(each.name, each.shape) for each in two.outputs] == [("digit", ("rows", 10)), ("ink", ("rows", 1))]
    cnn = load_onnx_bytes(jobs.onnx("ok.cnn.keras"), "cnn").record
    assert [each.name for each in (*cnn.inputs, *cnn.outputs)] == ["image", "digit"]


def test_the_opset_is_the_one_asked_for(jobs: Jobs, nets: Path) -> None:
    model = load_onnx_bytes(jobs.onnx("opset"), "cnn")
    assert model.record.opset == 15
    rows = arrays(nets / "cnn.rows.npz")["image"][:7]
    np.testing.assert_allclose(HostSession(model.data).run(rows)["digit"], jobs.outputs("opset", 7)["digit"], atol=2e-5)


def test_constants_are_folded_and_nothing_of_tensorflow_is_left(jobs: Jobs) -> None:
    graph = load_onnx_bytes(jobs.onnx("ok.cnn.keras"), "cnn").proto.graph
    operators = [node.op_type for node in graph.node]
    assert operators.count("Conv") == 3
    assert "BatchNormalization" not in operators
    assert not {"Identity", "Cast", "Shape"} & set(operators[:3])
    assert all(onnx.defs.has(operator) for operator in operators)


def test_the_layout_of_images_is_said(jobs: Jobs) -> None:
    assert any("channels last (NHWC)" in note for note in jobs.about("ok.cnn.keras")["notes"])
    assert jobs.about("ok.mlp.keras")["notes"] == []


def test_the_only_signature_is_taken_whatever_its_name(jobs: Jobs) -> None:
    record = msgspec.convert(jobs.about("only")["record"], ModelRecord)
    assert [each.name for each in (*record.inputs, *record.outputs)] == ["x", "y"]
    rows = np.arange(28, dtype=np.float32).reshape(7, 4)
    np.testing.assert_allclose(HostSession(jobs.onnx("only")).run(rows)["y"], rows @ np.ones((4, 2)), rtol=1e-6)


def test_a_recurrent_layer_stays_one_loop_of_its_length(jobs: Jobs) -> None:
    graph = load_onnx_bytes(jobs.onnx("ok.gru.h5"), "gru").proto.graph
    assert {"Loop", "GRU"} & {node.op_type for node in graph.node}


# --- from end to end, each in a process of its own -----------------------------------------------------------------


@pytest.mark.parametrize(("file", "name"), [("cnn.keras", "cnn"), ("two", "two")])
def test_a_conversion_is_verified_on_the_users_rows(file: str, name: str, nets: Path) -> None:
    rows = arrays(nets / f"{name}.rows.npz")
    done = convert(nets / file, rows=rows if len(rows) > 1 else next(iter(rows.values())), options=Options())
    record = done.conversion
    assert record is not None
    assert record.rows == 64
    assert record.row_source == "dataset"
    assert all(each.max_abs_difference < 1e-3 for each in record.outputs)
    assert "tf2onnx" in record.converter_version
    if name != "two":
        assert record.decisions_agree == 64
        assert 0 < record.max_abs_difference < 1e-5
    assert record.source.size_bytes > 0
    assert record.model == done.reference


# --- what is refused, and why --------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", REFUSED)
def test_what_is_no_arithmetic_is_refused_by_name(file: str, jobs: Jobs, nets: Path) -> None:
    error = jobs.about(file)
    kind, said = REFUSED[file]
    assert error.get("kind") == kind, error
    assert said in error["what"]
    assert error["next_step"]
    assert not (nets / "outside.txt").exists()


def test_the_function_that_holds_a_refused_node_is_named(jobs: Jobs) -> None:
    assert "of the function '__inference_" in jobs.about("graph_reads")["what"]


def _replaced(source: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a .keras archive with another description."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            new.writestr(info.filename, data)
    return target


def _refusal(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        KerasConverter().read(path, Options())
    return caught.value


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"module": "os", "class_name": "system", "config": "id", "registered_name": None}, "a class of 'os'"),
        ({"module": "keras.layers", "class_name": "TFSMLayer", "config": {}}, "loads another model from a path"),
        ({"class_name": "TorchModuleWrapper", "config": {"name": "net"}}, "unpickles a PyTorch module"),
        ({"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}, "file of another path"),
        ({"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "shop>run"}, "shop>run"),
    ],
    ids=["module", "tfsm", "torch", "vocabulary", "function"],
)
def test_objects_that_are_not_keras_layers_are_refused_unloaded(
    entry: dict[str, Any], said: str, nets: Path, tmp_path: Path
) -> None:
    path = _replaced(nets / "mlp.keras", tmp_path / "x.keras", lambda config: config.update(hidden=[{"deep": entry}]))
    assert said in _refusal(path).what


@pytest.mark.parametrize(
    "config", [b"{", b"[" * 100_000, b"\xff\xfe", b"null" * 5_000_000], ids=["cut", "deep", "binary", "long"]
)
def test_a_description_that_is_no_json_is_refused(config: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config)
    assert "x.keras" in str(_refusal(path))


@pytest.mark.parametrize("name", ["../outside.txt", "assets/words.txt"])
def test_archives_hold_the_known_members_only(name: str, nets: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.keras"
    shutil.copy(nets / "mlp.keras", path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"{}")
    assert f"holds {name!r}" in _refusal(path).what


def test_archives_hold_a_member_once(nets: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.keras"
    shutil.copy(nets / "mlp.keras", path)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", b"{}")
    assert "holds a file twice" in _refusal(path).what


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * (64 << 20))
    assert path.stat().st_size < 1 << 20
    assert f"{64 << 20} bytes unpacked" in _refusal(path).what


def _external(file: Any) -> None:
    file.create_dataset("w", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def _virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "w", (4,))
    file.create_virtual_dataset("w", layout)


def _linked(file: Any) -> None:
    file["w"] = h5py.ExternalLink("/etc/passwd", "/w")


def _soft(file: Any) -> None:
    file["w"] = h5py.SoftLink("/w")


def _huge(file: Any) -> None:
    file.create_dataset("w", (1 << 40,), "f4", chunks=(1024,))


@pytest.mark.parametrize("make", [_external, _virtual, _linked, _soft, _huge])
def test_hdf5_files_reach_into_no_other_file(make: Callable[[Any], None], tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
        make(file)
    assert "the HDF5 file is refused" in _refusal(path).what


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.98])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_cut_files_are_refused(share: float, suffix: str, nets: Path, tmp_path: Path) -> None:
    data = (nets / f"mlp.{suffix}").read_bytes()
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    assert str(path) in str(_refusal(path))


# --- SavedModel folders --------------------------------------------------------------------------------------------


@pytest.fixture
def folder(nets: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(nets / "graph_plain", tmp_path / "model"))


def _folder_refusal(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        SavedModelConverter().read(path, Options())
    return caught.value


def test_a_folder_of_links_is_refused(folder: Path, tmp_path: Path) -> None:
    index = folder / "variables" / "variables.index"
    shutil.move(index, tmp_path / "elsewhere")
    index.symlink_to(tmp_path / "elsewhere")
    assert "'variables/variables.index' is a link" in _folder_refusal(folder).what


def test_a_pipe_in_the_folder_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "variables" / "pipe")
    assert stat.S_ISFIFO((folder / "variables" / "pipe").stat().st_mode)
    assert "no regular file" in _folder_refusal(folder).what


def test_too_many_and_too_large_files_are_refused(folder: Path) -> None:
    with (folder / "variables" / "large").open("wb") as stream:
        stream.truncate(1 << 30)
    assert "512 MiB" in _folder_refusal(folder).what
    (folder / "variables" / "large").unlink()
    for number in range(MAX_FILES + 1):
        (folder / f"{number}").touch()
    assert f"{MAX_FILES} files" in _folder_refusal(folder).what


# --- which files are whose -----------------------------------------------------------------------------------------


def test_files_are_told_apart_by_what_they_hold(nets: Path, tmp_path: Path) -> None:
    assert isinstance(converter_for(nets / "mlp.keras"), KerasConverter)
    assert isinstance(converter_for(nets / "mlp.h5"), KerasConverter)
    assert isinstance(converter_for(nets / "cnn"), SavedModelConverter)
    for file in ("mlp.keras", "mlp.h5"):
        start = (nets / file).read_bytes()[:64]
        assert not KerasConverter().is_pickle(nets / file, start)
    text = tmp_path / "x.keras"
    text.write_text("no archive")
    assert not KerasConverter().claims(text, b"no archive")
    with pytest.raises(UsageError):
        converter_for(tmp_path)


def test_missing_libraries_are_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    real = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "tf2onnx" else real(name, *rest)
    )
    for converter in (KerasConverter(), SavedModelConverter()):
        with pytest.raises(MissingExtraError) as caught:
            converter.version()
        assert caught.value.next_step == "pip install 'edgeproof[tensorflow]'"


def test_an_error_says_the_files_name_end_to_end(nets: Path) -> None:
    with pytest.raises(ModelError, match=r"lambda\.keras.*Python code inside the file") as caught:
        convert(nets / "lambda.keras")
    assert not isinstance(caught.value, ConversionError)
