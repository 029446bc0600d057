"""The examples from scratch: what they write is whole, repeats bit for bit, splits honestly, and works."""

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

ROOT = Path(__file__).resolve().parents[2]
CNN = ROOT / "examples" / "watch" / "watch-cnn.onnx"
EXERCISES = ["PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW"]

Arrays = dict[str, npt.NDArray[Any]]


def run_example(script: str, folder: Path) -> str:
    """Run a script as a user would, from another directory; its standard output."""
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / script), str(folder)]
    done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def manifest_of(folder: Path, name: str) -> dict[str, Any]:
    return tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))


def part_of(folder: Path, name: str, role: str) -> Arrays:
    (path,) = [part["path"] for part in manifest_of(folder, name)["part"] if part["role"] == role]
    with np.load(folder / path, allow_pickle=False) as archive:
        return dict(archive)


def predict(model: Path | bytes, output: str, x: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (scores,) = session.run([output], {session.get_inputs()[0].name: x})
    classes: npt.NDArray[np.int64] = np.asarray(scores).argmax(axis=1)
    return classes


def right(predicted: npt.NDArray[Any], part: Arrays, classes: list[str]) -> float:
    return float((np.array(classes)[predicted] == part["label"]).mean())


@pytest.fixture(scope="session", autouse=True)
def no_telemetry() -> None:
    import kit  # noqa: F401 - sets the environment before onnxruntime is imported


@pytest.fixture(scope="session")
def watch(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("watch") / "out"
    return folder, run_example("watch/prepare.py", folder)


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("faces") / "out"
    return folder, run_example("faces/prepare.py", folder)


@pytest.fixture(params=["watch", "faces"])
def example(request: pytest.FixtureRequest) -> tuple[str, Path]:
    folder, _ = request.getfixturevalue(request.param)
    return request.param, folder


class TestEveryDataset:
    def test_parts_are_as_the_manifest_says(self, example: tuple[str, Path]) -> None:
        name, folder = example
        manifest = manifest_of(folder, name)
        assert {part["role"] for part in manifest["part"]} == {"test", "calibration"}
        for part in manifest["part"]:
            path = folder / part["path"]
            assert part["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
            with np.load(path, allow_pickle=False) as archive:
                assert {len(archive[column]) for column in archive} == {part["rows"]}

    def test_inputs_have_the_stated_type_shape_and_range(self, example: tuple[str, Path]) -> None:
        name, folder = example
        stated = manifest_of(folder, name)["input"]
        for role in ("test", "calibration"):
            x = part_of(folder, name, role)[stated["array"]]
            assert x.dtype == np.dtype(stated["dtype"])
            assert list(x.shape[1:]) == stated["shape"]
            assert np.isfinite(x).all()
            assert stated["minimum"] <= x.min() < x.max() <= stated["maximum"]

    def test_every_named_column_exists_and_labels_are_classes(self, example: tuple[str, Path]) -> None:
        name, folder = example
        dataset = manifest_of(folder, name)["dataset"]
        named = {dataset["label"], *dataset["slices"]} | ({dataset["cluster"]} if "cluster" in dataset else set())
        for role in ("test", "calibration"):
            part = part_of(folder, name, role)
            assert named <= part.keys()
            assert all(part[column].ndim == 1 for column in named)
            assert set(part[dataset["label"]]) == set(dataset["classes"])

    def test_no_slice_of_the_test_part_is_tiny(self, example: tuple[str, Path]) -> None:
        name, folder = example
        part = part_of(folder, name, "test")
        for column in manifest_of(folder, name)["dataset"]["slices"]:
            values, counts = np.unique(part[column], return_counts=True)
            assert len(values) > 1
            assert counts.min() >= 30, dict(zip(values, counts, strict=True))

    def test_a_second_run_gives_the_same_bytes(self, example: tuple[str, Path], tmp_path: Path) -> None:
        name, folder = example
        run_example(f"{name}/prepare.py", tmp_path / "again")
        assert digests(tmp_path / "again") == digests(folder)

    def test_states_where_it_comes_from(self, example: tuple[str, Path]) -> None:
        name, folder = example
        dataset = manifest_of(folder, name)["dataset"]
        assert all(dataset[key] for key in ("description", "source", "licence"))
        assert "seed" in dataset["description"].lower()


class TestWatch:
    def test_counts(self, watch: tuple[Path, str]) -> None:
        folder, _ = watch
        test = part_of(folder, "watch", "test")
        assert len(test["x"]) == 2008
        assert len(np.unique(test["recording"])) == 56
        assert len(part_of(folder, "watch", "calibration")["x"]) == 256
        assert manifest_of(folder, "watch")["dataset"]["classes"] == EXERCISES

    def test_nobody_is_on_both_sides(self, watch: tuple[Path, str]) -> None:
        folder, _ = watch
        test, calibration = (part_of(folder, "watch", role) for role in ("test", "calibration"))
        assert set(test["subject"]) == {7, 8, 9, 10}
        assert set(calibration["subject"]) <= set(range(1, 7))
        assert not set(test["recording"]) & set(calibration["recording"])

    def test_a_recording_has_one_person_side_and_exercise(self, watch: tuple[Path, str]) -> None:
        test = part_of(watch[0], "watch", "test")
        for recording in np.unique(test["recording"]):
            rows = test["recording"] == recording
            assert {len(np.unique(test[c][rows])) for c in ("subject", "side", "exercise")} == {1}

    def test_neighbouring_windows_overlap_by_half(self, watch: tuple[Path, str]) -> None:
        test = part_of(watch[0], "watch", "test")
        same = test["recording"][1:] == test["recording"][:-1]
        first, second = test["x"][:-1][same], test["x"][1:][same]
        np.testing.assert_array_equal(first[:, 300:], second[:, :300])

    def test_windows_are_the_recordings(self, watch: tuple[Path, str]) -> None:
        from importlib.util import find_spec

        spec = find_spec("seglearn")
        assert spec is not None
        assert spec.submodule_search_locations
        path = Path(spec.submodule_search_locations[0]) / "data" / "watch_dataset.npy"
        data = np.load(path, allow_pickle=True).item()
        test = part_of(watch[0], "watch", "test")
        for recording in np.unique(test["recording"]):
            rows = np.flatnonzero(test["recording"] == recording)
            whole = data["X"][recording]
            assert len(rows) == (len(whole) - 100) // 50 + 1
            last = whole[50 * (len(rows) - 1) :][:100].reshape(-1)
            np.testing.assert_array_equal(test["x"][rows[-1]], last.astype(np.float32))
            assert data["subject"][recording] == test["subject"][rows[0]]
            assert data["y_labels"][data["y"][recording]] == test["label"][rows[0]]
            assert {1: "right", 0: "left"}[data["side"][recording]] == test["side"][rows[0]]

    def test_calibration_spans_what_the_sensor_gave_in_training(self, watch: tuple[Path, str]) -> None:
        x = part_of(watch[0], "watch", "calibration")["x"]
        assert x.min() == pytest.approx(-28.959517)  # the jolt in one recording of training

    def test_the_mlp_takes_raw_windows(self, watch: tuple[Path, str]) -> None:
        import joblib

        model = joblib.load(watch[0] / "watch-mlp.joblib")
        test = part_of(watch[0], "watch", "test")
        assert type(model).__name__ == "MLPClassifier"
        assert [w.shape for w in model.coefs_] == [(600, 128), (128, 64), (64, 7)]
        probability = model.predict_proba(test["x"])
        np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-5)
        assert 0.70 < right(probability.argmax(axis=1), test, EXERCISES) < 0.85

    def test_says_what_it_made(self, watch: tuple[Path, str]) -> None:
        folder, said = watch
        for figure in (
            "2669 two-second windows",
            "2008 windows in 56 recordings",
            str(folder / "watch.toml"),
        ):
            assert figure in said


class TestWatchCnn:
    def test_is_a_small_valid_model_without_batch_normalization(self) -> None:
        model = onnx.load(CNN)
        onnx.checker.check_model(model, full_check=True)
        assert CNN.stat().st_size < 80_000
        assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
        assert not {"BatchNormalization", "Sub", "Div", "Mul"} & {node.op_type for node in model.graph.node}
        (x,) = model.graph.input
        assert x.name == "x"
        assert x.type.tensor_type.shape.dim[0].dim_param == "batch"
        assert x.type.tensor_type.shape.dim[1].dim_value == 600

    def test_is_right_on_people_it_never_saw(self, watch: tuple[Path, str]) -> None:
        test = part_of(watch[0], "watch", "test")
        assert right(predict(CNN, "logits", test["x"]), test, EXERCISES) > 0.8

    def test_does_not_depend_on_the_batch(self, watch: tuple[Path, str]) -> None:
        import onnxruntime

        session = onnxruntime.InferenceSession(CNN, providers=["CPUExecutionProvider"])
        x = part_of(watch[0], "watch", "test")["x"][:8]
        (together,) = session.run(["logits"], {"x": x})
        alone = [session.run(["logits"], {"x": row[None]})[0] for row in x]
        np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-4, atol=1e-4)


class TestFaces:
    def test_model_is_the_packages_own(self, faces: tuple[Path, str]) -> None:
        model = onnx.load(faces[0] / "rnet.onnx")
        output = manifest_of(faces[0], "faces")["output"]["name"]
        assert output in {value.name for value in model.graph.output}

    def test_no_image_is_in_both_parts(self, faces: tuple[Path, str]) -> None:
        test, calibration = (part_of(faces[0], "faces", role) for role in ("test", "calibration"))
        assert sorted([*test["image"], *calibration["image"]]) == list(range(200))

    def test_every_face_is_told_from_background(self, faces: tuple[Path, str]) -> None:
        test = part_of(faces[0], "faces", "test")
        manifest = manifest_of(faces[0], "faces")
        predicted = predict(faces[0] / "rnet.onnx", manifest["output"]["name"], test["x"])
        assert right(predicted, test, manifest["dataset"]["classes"]) > 0.98

    def test_forgetting_the_transposition_is_a_coin_toss(self, faces: tuple[Path, str]) -> None:
        test = part_of(faces[0], "faces", "test")
        upright = np.ascontiguousarray(test["x"].transpose(0, 2, 1, 3))
        predicted = predict(faces[0] / "rnet.onnx", "softmax_1", upright)
        assert right(predicted, test, ["background", "face"]) < 0.65


class TestBundle:
    def test_a_missing_package_is_one_line(self) -> None:
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom examples.bundle import installed_file\n"
        code += "installed_file('no_such_package', 'data.npy', 'no-such-package==1')"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr == (
            "no_such_package/data.npy is not installed; next: pip install --no-deps no-such-package==1\n"
        )

    def test_columns_of_different_lengths_are_refused(self, tmp_path: Path) -> None:
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom examples.bundle import Part\n"
        code += "import numpy as np\nPart('test', 'a.npz', {'x': np.zeros(2), 'label': np.zeros(3)}).rows"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "ValueError: a.npz: columns of different lengths: [2, 3]" in done.stderr
