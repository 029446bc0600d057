"""Bad input: one clear line (what, where, what next), the right exit code, and nothing half-written."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from kit.digest import digest_bytes, digest_file
from kit.model.load import load_onnx
from kit.model.quantize import make_variant
from kit.spec.recipe import parse_recipe
from tests.integration.conftest import ROOT, Edgeproof

CNN = ROOT / "examples/watch/watch-cnn.onnx"
FLOAT = ("certify", "net.onnx", "--data", "watch.toml", "--profile", "quick.toml", "--variant", "fp32")
"""Where it is the device that fails, or a later command: no variant need be made."""


@pytest.fixture
def case(tmp_path: Path, few: Path, quick_profile: Path) -> Path:
    """A folder with a model, a dataset and a profile that all are right, for a test to spoil."""
    for name in ("watch.toml", "held-out.npz", "calibration.npz"):
        shutil.copy(few / name, tmp_path / name)
    shutil.copy(CNN, tmp_path / "net.onnx")
    shutil.copy(quick_profile, tmp_path / "quick.toml") if quick_profile.parent != tmp_path else None
    return tmp_path


def certify(edgeproof: Edgeproof, case: Path, *more: str) -> str:
    done = edgeproof("certify", "net.onnx", "--data", "watch.toml", "--profile", "quick.toml", *more, cwd=case)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error[")
    assert "\n  fix " in done.stderr, done.stderr
    assert not (case / "runs").exists()
    return done.stderr


def respell(path: Path, before: str, after: str) -> int:
    """Replace text once, and say in which line."""
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    return text[: text.index(before)].count("\n") + 1


def rewrite(case: Path, **changes: np.ndarray | None) -> None:
    """Change or drop arrays of the held-out part, and state its new digest, so that only the content is wrong."""
    path = case / "held-out.npz"
    before = digest_file(path).removeprefix("sha256:")
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    respell(case / "watch.toml", before, digest_file(path).removeprefix("sha256:"))


def array(case: Path, name: str) -> np.ndarray:
    with np.load(case / "held-out.npz") as archive:
        return np.array(archive[name])


def test_a_missing_model(edgeproof: Edgeproof, case: Path) -> None:
    (case / "net.onnx").unlink()
    assert "net.onnx" in certify(edgeproof, case)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_model(edgeproof: Edgeproof, case: Path, share: float) -> None:
    data = (case / "net.onnx").read_bytes()
    (case / "net.onnx").write_bytes(data[: int(len(data) * share)])
    assert "error[model]" in certify(edgeproof, case)


def test_a_model_that_is_a_web_page(edgeproof: Edgeproof, case: Path) -> None:
    (case / "net.onnx").write_text("<!DOCTYPE html><html>not found</html>")
    assert "HTML" in certify(edgeproof, case)


def test_a_pickle_is_not_opened_unasked(edgeproof: Edgeproof, case: Path, watch: Path) -> None:
    shutil.copy(watch / "watch-mlp.joblib", case / "net.joblib")
    done = edgeproof("certify", "net.joblib", "--data", "watch.toml", "--profile", "quick.toml", cwd=case)
    assert done.returncode == 2
    assert "--trust-pickle" in done.stderr
    assert not (case / "runs").exists()


def test_a_profile_with_an_unknown_key(edgeproof: Edgeproof, case: Path) -> None:
    line = respell(case / "quick.toml", 'metric = "latency.p99"', 'metrik = "latency.p99"')
    said = certify(edgeproof, case)
    assert f"quick.toml:{line}" in said
    assert "metric" in said


def test_a_profile_with_a_wrong_unit(edgeproof: Edgeproof, case: Path) -> None:
    line = respell(case / "quick.toml", 'at_most = "2 s"', 'at_most = "2 MB"')
    said = certify(edgeproof, case)
    assert f"quick.toml:{line}" in said
    assert "ms" in said


def test_a_profile_that_slices_by_what_the_data_does_not_have(edgeproof: Edgeproof, case: Path) -> None:
    respell(case / "quick.toml", 'by = ["side"]', 'by = ["age"]')
    said = certify(edgeproof, case)
    assert '"age"' in said
    assert "side" in said


def test_an_unknown_profile_device_and_variant(edgeproof: Edgeproof, case: Path) -> None:
    assert "wearable" in certify(edgeproof, case, "--profile", "wearble")
    assert "local" in certify(edgeproof, case, "--device", "locl")
    assert "int8-per-channel" in certify(edgeproof, case, "--variant", "int4")


def test_a_dataset_whose_file_has_changed(edgeproof: Edgeproof, case: Path) -> None:
    data = bytearray((case / "held-out.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (case / "held-out.npz").write_bytes(data)
    assert "held-out.npz" in certify(edgeproof, case)


def test_a_dataset_with_a_missing_column(edgeproof: Edgeproof, case: Path) -> None:
    rewrite(case, side=None)
    assert "side" in certify(edgeproof, case)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_inputs_that_are_no_numbers_or_out_of_range(edgeproof: Edgeproof, case: Path, value: float) -> None:
    x = array(case, "x")
    x[7, 3] = value
    rewrite(case, x=x)
    said = certify(edgeproof, case)
    assert "error[dataset]" in said
    assert "row 7" in said


def test_labels_outside_the_classes(edgeproof: Edgeproof, case: Path) -> None:
    label = array(case, "label").astype(object).astype("U16")
    label[5] = "JUGGLING"
    rewrite(case, label=label)
    said = certify(edgeproof, case)
    assert "JUGGLING" in said
    assert "row 5" in said


def test_an_empty_slice_value(edgeproof: Edgeproof, case: Path) -> None:
    side = array(case, "side").astype("U16")
    side[11] = ""
    rewrite(case, side=side)
    said = certify(edgeproof, case)
    assert "side" in said
    assert "row 11" in said


def test_int8_without_calibration_rows(edgeproof: Edgeproof, case: Path) -> None:
    text = (case / "watch.toml").read_text()
    parts = text.split("[[part]]")
    (case / "watch.toml").write_text("[[part]]".join(part for part in parts if 'role = "calibration"' not in part))
    said = certify(edgeproof, case)
    assert "no calibration part" in said
    assert "--variant fp32" in said


def test_a_dataset_that_does_not_fit_the_model(edgeproof: Edgeproof, case: Path, faces: Path) -> None:
    shutil.copy(faces / "rnet.onnx", case / "net.onnx")
    said = certify(edgeproof, case)
    assert "600" in said


def test_a_device_that_does_not_answer(edgeproof: Edgeproof, case: Path) -> None:
    (case / "mute.toml").write_text(
        '[device]\nname = "mute"\ndescription = "answers nothing"\n'
        '[link]\nurl = "subprocess:"\nwrapper = ["sleep", "60", "#"]\ntimeout = "1 s"\n'
    )
    done = edgeproof(*FLOAT, "--device", "mute.toml", cwd=case)
    assert done.returncode == 4, done.stderr
    assert "mute" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error[") == 1


def test_a_link_that_does_not_answer_is_resumed_as_it_is(edgeproof: Edgeproof, case: Path) -> None:
    done = edgeproof(*FLOAT, "--device", "tcp://127.0.0.1:1", cwd=case)
    assert done.returncode == 4, done.stderr
    assert "steps, for this link as it is; edgeproof certify --resume" in done.stderr


def test_a_device_whose_command_is_not_there(edgeproof: Edgeproof, case: Path) -> None:
    (case / "gone.toml").write_text(
        '[device]\nname = "gone"\ndescription = "is not there"\n'
        '[link]\nurl = "subprocess:"\nwrapper = ["no-such-emulator"]\ntimeout = "1 s"\n'
    )
    done = edgeproof(*FLOAT, "--device", "gone.toml", cwd=case)
    assert done.returncode == 4, done.stderr
    assert "no-such-emulator" in done.stderr


@pytest.mark.parametrize("changed", ["profile", "dataset", "model"])
def test_a_run_is_not_resumed_with_other_inputs(edgeproof: Edgeproof, case: Path, changed: str) -> None:
    """Figures for two profiles, datasets or models are never mixed in one run."""
    first = edgeproof(*FLOAT, "--json", cwd=case)
    assert first.returncode in (0, 1, 3), first.stderr
    (run,) = (case / "runs").iterdir()
    before = (run / "journal.jsonl").read_bytes()
    if changed == "profile":
        respell(case / "quick.toml", 'at_most = "2 s"', 'at_most = "3 s"')
    elif changed == "dataset":
        respell(case / "watch.toml", "[dataset]", "# another\n[dataset]")
    else:
        model = onnx.load(case / "net.onnx")
        model.doc_string = "another"
        onnx.save(model, case / "net.onnx")
    again = edgeproof("certify", "--resume", run.name, cwd=case)
    assert again.returncode == 2, again.stdout + again.stderr
    assert "has changed since this run began" in again.stderr
    assert {"model": "source"}.get(changed, changed) in again.stderr
    assert (run / "journal.jsonl").read_bytes() == before


def test_a_model_that_is_already_quantized(edgeproof: Edgeproof, case: Path, watch: Path) -> None:
    with np.load(watch / "calibration.npz") as arrays:
        rows = np.array(arrays["x"])
    variant = make_variant(load_onnx(CNN), parse_recipe("int8-per-channel"), rows, digest_bytes(rows.tobytes()))
    (case / "net.onnx").write_bytes(variant.data)
    said = certify(edgeproof, case)
    assert "already quantized" in said
    assert "float model" in said


def test_the_cheapest_by_energy_without_a_meter(edgeproof: Edgeproof, case: Path) -> None:
    respell(case / "quick.toml", 'cheapest_by = "size"', 'cheapest_by = "energy"')
    (case / "bare.toml").write_text('[device]\nname = "bare"\ndescription = "no meter"\n[link]\nurl = "subprocess:"\n')
    assert "has no meter" in certify(edgeproof, case, "--device", "bare.toml")


def test_a_folder_that_cannot_be_written(edgeproof: Edgeproof, case: Path) -> None:
    words = ("certify", "net.onnx", "--data", "watch.toml", "--profile", "quick.toml", "--runs", "/dev/null")
    done = edgeproof(*words, cwd=case)
    assert done.returncode == 2
    assert "bug of ours" not in done.stderr
    assert "/dev/null" in done.stderr
