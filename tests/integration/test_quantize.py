"""`edgeproof quantize`: variants that run, figures that are the judge's, files that are whole, errors that say what."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import psutil
import pytest

from kit.digest import digest_file
from kit.model.metadata import properties
from tests.digits_case import Case, write_case
from tests.integration.conftest import ROOT, Edgeproof
from tests.integration.in_process import edgeproof

__all__ = ["edgeproof"]  # a fixture

CNN = ROOT / "examples/watch/watch-cnn.onnx"


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return write_case(tmp_path / "case")


def made(edgeproof: Edgeproof, *words: str | Path, cwd: Path) -> dict[str, Any]:
    done = edgeproof("quantize", *words, "--json", cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def refused(edgeproof: Edgeproof, *words: str | Path, cwd: Path, code: int = 2) -> str:
    before = sorted(str(path) for path in cwd.rglob("*"))
    done = edgeproof("quantize", *words, cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error["), done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(str(path) for path in cwd.rglob("*")) == before
    return done.stderr


def test_the_recipes_of_a_profile_with_what_each_keeps_and_costs(
    case: Case, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    done = edgeproof("quantize", *case.words("-o", "out"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    for text in ("net.onnx: 9.86 kB", "int8-per-tensor", "2/0", "worst slice digit: ", "exact int8 sums",
                 "desk: met by these estimates; not estimated here: latency", "edgeproof certify decides"):  # fmt: skip
        assert text in " ".join(done.stdout.split()), text
    names = {"net.int8-per-tensor", "net.int8-per-channel-reduced"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{name}{suffix}" for name in names for suffix in (".onnx", ".quantize.json")
    }


def test_the_figures_are_those_of_the_variant_itself(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    said = made(edgeproof, *case.words("--recipe", "int8-per-tensor", "-o", "small.onnx"), cwd=tmp_path)
    (one,) = said["variants"]
    path = tmp_path / one["file"]
    assert (said["schema"], said["rows"], said["device"]) == ("edgeproof/quantize/1", 1097, None)
    assert one["variant"]["model"]["digest"] == digest_file(path)
    assert one["variant"]["model"]["size_bytes"] == path.stat().st_size < case.model.stat().st_size
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    with np.load(case.folder / "test.npz") as test:
        rows, labels, digits = test["x"], test["label"], test["digit"]
    right = []
    for model in (case.model, path):
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        right.append(session.run(None, {"x": rows})[0].argmax(axis=1) == labels)
    accuracy = one["accuracy"]
    assert accuracy["drop"]["estimate"] == pytest.approx(right[0].mean() - right[1].mean(), abs=1e-12)
    assert accuracy["drop"]["lower"] < accuracy["drop"]["estimate"] < accuracy["drop"]["upper"]
    for digit in range(10):
        (found,) = [each for each in accuracy["slices"] if each["subject"] == f"digit={digit}"]
        drop = right[0][digits == digit].mean() - right[1][digits == digit].mean()
        assert found["estimate"] == pytest.approx(drop, abs=1e-12)
    gaps = {(gap["requirement"], gap["subject"]): gap["loss"] for gap in one["profile"]["gaps"]}
    assert gaps["right", ""] == pytest.approx(1 - right[1].mean(), abs=1e-12)
    assert gaps["size", ""] == path.stat().st_size
    assert one["profile"]["meets"] is True
    assert one["profile"]["not_estimated"] == ["latency"]
    assert one["latency"]["median_s"] > 0
    assert one["latency"]["parent_median_s"] > 0
    assert one["is_slower"] is (one["latency"]["median_s"] > 1.05 * one["latency"]["parent_median_s"])


def test_a_variant_carries_its_recipe_and_lineage_and_its_record_lies_beside_it(
    case: Case, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    recipe = "int8-per-channel+percentile=99.9+equalize"
    words = ("--data", case.data, "--recipe", recipe, "--keep-float", "second")
    said = made(edgeproof, case.model, *words, cwd=tmp_path)
    (one,) = said["variants"]
    path = tmp_path / f"net.{recipe}.onnx"
    assert one["file"] == path.name
    inside = properties(onnx.load(path))
    assert json.loads(inside["edgeproof.recipe"]) == one["variant"]["recipe"]
    assert inside["edgeproof.parent"] == digest_file(case.model) == said["reference"]["digest"]
    assert (one["variant"]["recipe"]["keep_float"], one["variant"]["recipe"]["equalize"]) == (["second"], True)
    assert one["products"] == {"int8": 1, "float": 1}
    assert any(line.startswith("Gemm second: ") for line in one["variant"]["left_in_float"])
    record = json.loads((tmp_path / f"net.{recipe}.quantize.json").read_text())
    assert record["variants"] == [one]
    assert one["profile"] is None


def test_the_same_command_gives_the_same_bytes(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    with np.load(case.folder / "calibration.npz") as archive:
        np.save(tmp_path / "rows.npy", archive["x"])
    words = ("--data", "rows.npy", "--recipe", "int8-per-channel+bias")
    first = made(edgeproof, case.model, *words, "-o", "a.onnx", cwd=tmp_path)
    again = made(edgeproof, case.model, *words, "-o", "b.onnx", cwd=tmp_path)
    assert first["variants"][0]["variant"]["model"]["digest"] == again["variants"][0]["variant"]["model"]["digest"]
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_what_breaks_is_said_to_break_and_by_how_much(tmp_path: Path, edgeproof: Edgeproof) -> None:
    broken = write_case(tmp_path / "case", sigma=3.0)
    done = edgeproof("quantize", *broken.words("--recipe", "int8-per-tensor"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "desk: NOT met by these estimates: digits digit: 3 is 89.4 points, allowed 8.0 points and" in text


def test_what_is_neither_met_nor_broken_is_not_shown(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    case.respell('"8 points"\nminimum_rows = 30', '"8 points"\nminimum_rows = 108')
    done = edgeproof("quantize", *case.words("--recipe", "int8-per-channel"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (one,) = json.loads((tmp_path / "net.int8-per-channel.quantize.json").read_text())["variants"]
    profile = one["profile"]
    assert (profile["meets"], profile["state"]) == (None, "not shown")
    small = profile["not_tested"]
    assert small
    assert all(each["requirement"] == "digits" and each["found"] < each["minimum"] == 108 for each in small)
    text = " ".join(done.stdout.split())
    assert "desk: not shown by these estimates; not tested: digits digit: " in text
    assert "NOT met" not in text
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if str(tmp_path) not in line)
    assert "…" not in done.stdout


def test_host_and_saturating_processors_are_told_apart(tmp_path: Path, watch: Path, edgeproof: Edgeproof) -> None:
    words = (
        CNN,
        "--data",
        watch / "watch.toml",
        "--recipe",
        "int8-per-channel",
        "--recipe",
        "int8-per-channel-reduced",
    )
    done = edgeproof("quantize", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "decisions change: 29.2 % right instead of 86.9 %; +reduced in the recipe rules it out" in text
    assert text.count("on x86 without VNNI") == 1


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_rows_without_labels_show_agreement_and_no_accuracy(
    case: Case, tmp_path: Path, edgeproof: Edgeproof, suffix: str
) -> None:
    with np.load(case.folder / "calibration.npz") as archive:
        np.savez(tmp_path / "rows.npz", x=archive["x"])
        np.save(tmp_path / "rows.npy", archive["x"])
    words = (case.model, "--data", tmp_path / f"rows.{suffix}", "--recipe", "int8-per-tensor")
    done = edgeproof("quantize", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "decides as the reference on" in text
    assert "of 200 rows; largest difference of an output" in text
    assert "no labels, so no accuracy" in text
    assert "accuracy lost" not in text
    said = json.loads((tmp_path / "net.int8-per-tensor.quantize.json").read_text())
    (one,) = said["variants"]
    assert (one["accuracy"], one["profile"], said["dataset"]) == (None, None, None)
    assert one["agreement"]["rows"] == 200
    assert one["agreement"]["outputs"][0]["max_abs_difference"] > 0
    assert one["variant"]["calibration_rows"] == 200


@pytest.mark.parametrize("recipe", ["fp16", "int8-dynamic", "int8-weights"])
def test_recipes_that_need_no_data_need_none(case: Case, tmp_path: Path, edgeproof: Edgeproof, recipe: str) -> None:
    said = made(edgeproof, case.model, "--recipe", recipe, cwd=tmp_path)
    (one,) = said["variants"]
    assert (tmp_path / one["file"]).is_file()
    assert (one["accuracy"], one["agreement"], one["latency"]["median_s"]) == (None, None, None)
    assert said["rows"] == 0


def test_one_variant_goes_into_a_folder_that_is_named_with_a_slash(
    case: Case, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    words = (case.model, "--recipe", "fp16", "-o")
    (found,) = made(edgeproof, *words, "variants/", cwd=tmp_path)["variants"]
    assert found["file"] == f"variants/{case.model.stem}.fp16.onnx"
    (plain,) = made(edgeproof, *words, "small", cwd=tmp_path)["variants"]
    assert plain["file"] == "small.onnx"
    assert "there is a file of that name" in refused(edgeproof, *words, "variants/", cwd=tmp_path)
    assert "this is a file, not a folder" in refused(edgeproof, *words, "small.onnx/", cwd=tmp_path)


def test_on_a_device_variants_are_tried_and_timed_there(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    said = made(edgeproof, *case.words("--recipe", "int8-per-tensor", "--device", "local"), cwd=tmp_path)
    (one,) = said["variants"]
    assert said["device"]["name"] == "local"
    assert said["target"].startswith("local (")
    assert one["profile"]["not_estimated"] == []
    (latency,) = [gap for gap in one["profile"]["gaps"] if gap["requirement"] == "latency"]
    assert 0 < latency["loss"] < latency["allowed"] == 0.2
    assert one["accuracy"]["drop"]["obtained"] == "measured"


def test_an_emulated_device_is_said_to_be_one(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    words = case.words("--recipe", "int8-per-tensor", "--device", "watch-emulated")
    done = edgeproof("quantize", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("EMULATED: ")


def test_larger_than_its_parent_is_said(tmp_path: Path, edgeproof: Edgeproof) -> None:
    """A net of 4 x 10 weights: the quantizer's own tensors take more than int8 saves."""
    from tests.digits_case import net

    rng = np.random.default_rng(0)
    tiny = [rng.normal(size=size).astype(np.float32) for size in ((64, 1), (1,), (1, 10), (10,))]
    (tmp_path / "tiny.onnx").write_bytes(net(tiny))
    np.save(tmp_path / "rows.npy", rng.normal(size=(50, 64)).astype(np.float32))
    words = ("tiny.onnx", "--data", "rows.npy", "--recipe", "int8-per-channel")
    done = edgeproof("quantize", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nothing is gained in size" in " ".join(done.stdout.split())
    record = json.loads((tmp_path / "tiny.int8-per-channel.quantize.json").read_text())
    assert record["variants"][0]["is_larger"] is True


def test_one_recipe_of_several_that_cannot_be_applied_is_told_and_the_rest_are_made(
    tmp_path: Path, edgeproof: Edgeproof
) -> None:
    conv = onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="conv", kernel_shape=[3], pads=[1, 1])
    flat = onnx.helper.make_node("Flatten", ["y"], ["scores"], name="flat")
    graph = onnx.helper.make_graph(
        [conv, flat],
        "conv",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4, 16])],
        [onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["n", 128])],
        [onnx.numpy_helper.from_array(np.ones((8, 4, 3), np.float32), "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "conv.onnx")
    said = made(edgeproof, "conv.onnx", "--recipe", "int8-weights", "--recipe", "fp16", "-o", "out", cwd=tmp_path)
    assert [each["variant"]["recipe"]["name"] for each in said["variants"]] == ["fp16"]
    assert list(said["not_made"]) == ["int8-weights"]
    words = ("--recipe", "int8-weights", "--recipe", "fp16", "-o", "out", "--force")
    done = edgeproof("quantize", "conv.onnx", *words, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "1 of 2 made; not made: int8-weights"
    assert "record        out/conv.fp16.quantize.json" in done.stdout
    neither = ("--recipe", "int8-weights", "--recipe", "int4-weights", "-o", "none")
    done = edgeproof("quantize", "conv.onnx", *neither, cwd=tmp_path)
    assert done.returncode == 6, done.stdout
    assert not (tmp_path / "none").exists()
    text = refused(edgeproof, "conv.onnx", "--recipe", "int8-weights", cwd=tmp_path, code=6)
    assert "error[conversion]" in text


def test_nothing_is_written_over_unasked(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    words = (case.model, "--recipe", "int8-dynamic", "-o", "small.onnx")
    (tmp_path / "small.onnx").write_bytes(b"mine")
    assert "--force replaces it" in refused(edgeproof, *words, cwd=tmp_path)
    assert (tmp_path / "small.onnx").read_bytes() == b"mine"
    made(edgeproof, *words, "--force", cwd=tmp_path)
    assert (tmp_path / "small.onnx").read_bytes() != b"mine"
    before = case.model.read_bytes()
    refused(edgeproof, case.model, "--recipe", "int8-dynamic", "-o", case.model, "--force", cwd=tmp_path)
    assert case.model.read_bytes() == before


def test_bad_input_is_one_clear_error(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    rows = np.zeros((9, 63), np.float32)
    np.save(tmp_path / "narrow.npy", rows)
    np.save(tmp_path / "objects.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04torn")
    (tmp_path / "net.joblib").write_bytes(b"\x80\x04")
    static = ("--recipe", "int8-per-channel")
    for words, expected in (
        (("none.onnx", "--recipe", "fp16"), "there is no such file"),
        (("net.joblib", "--recipe", "fp16"), "edgeproof convert net.joblib"),
        ((case.model,), "there is no --data"),
        ((case.model, *static), "there is no --data"),
        ((case.model, "--recipe", "int8-per-chanel", "--data", case.data), "did you mean 'int8-per-channel'?"),
        ((case.model, "--recipe", "fp32"), "fp32 is the model itself"),
        ((case.model, "--recipe", "fp16", "--keep-float", "type:LTSM"), "LTSM"),
        ((case.model, *static, "--data", "narrow.npy"), "63"),
        ((case.model, *static, "--data", "objects.npy"), "objects.npy"),
        ((case.model, *static, "--data", "torn.npz"), "torn.npz"),
        ((case.model, *static, "--data", "none.npz"), "none.npz"),
        ((case.model, *static, "--data", case.data, "--profile", "waerable"), "did you mean"),
        ((case.model, *static, "--data", case.data, "--device", "locl"), "locl"),
        ((case.model, *static, "--data", case.data, "--device", "mlperf-tiny-board"), "firmware"),
        ((case.model, *static, "--data", case.data, "-o", "net.joblib/x.onnx"), "not a folder"),
    ):
        assert expected in refused(edgeproof, *words, cwd=tmp_path), words


def test_a_quantized_model_is_refused_by_name(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    made(edgeproof, case.model, "--data", case.data, "--recipe", "int8-per-tensor", "-o", "small.onnx", cwd=tmp_path)
    text = refused(edgeproof, "small.onnx", "--data", case.data, cwd=tmp_path)
    assert "already quantized (2 int8 products)" in text


def test_a_dataset_without_calibration_rows(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    text = case.data.read_text()
    case.data.write_text("[[part]]".join(part for part in text.split("[[part]]") if '"calibration"' not in part))
    assert 'role = "calibration"' in refused(edgeproof, *case.words(), cwd=tmp_path)
    said = made(edgeproof, *case.words("--recipe", "int8-dynamic"), cwd=tmp_path)
    assert said["variants"][0]["accuracy"]["drop"]["rows"] == 1097


def children_of(process: subprocess.Popen[str]) -> Iterator[str]:
    """Command lines of the processes that it has started."""
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.Error):
            yield " ".join(child.cmdline())


def test_ctrl_c_leaves_nothing(case: Case, tmp_path: Path, watch: Path) -> None:
    """When the agent that times them is there: the variants are made, and not yet looked at."""
    shutil.copy(CNN, tmp_path / "net.onnx")
    recipes = [word for name in ("int8-per-tensor", "int8-per-channel", "int8-s8s8") for word in ("--recipe", name)]
    process = subprocess.Popen(
        [sys.executable, "-m", "kit", "quantize", "net.onnx", "--data", watch / "watch.toml", *recipes, "-o", "out"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    end_s = time.monotonic() + 60
    while not any("kit.agent" in line for line in children_of(process)) and time.monotonic() < end_s:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "interrupted; nothing was written" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_help_has_examples_that_are_words_of_the_command(edgeproof: Edgeproof, tmp_path: Path) -> None:
    done = edgeproof("quantize", "--help", cwd=tmp_path)
    assert done.returncode == 0
    for word in ("Examples:", "--keep-float", "--search", "+percentile=99.9", "int4-weights"):
        assert word in done.stdout
