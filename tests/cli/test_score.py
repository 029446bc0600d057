"""`edgeproof score` as its users meet it: an emulated board behind an emulated line, and an agent."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.spec.types import LineSpec
from tests import device_kit as kits
from tests import forked
from tests.emulators.boards import EmulatedBoard
from tests.emulators.dut import Net
from tests.spec.bundle import Bundle

NET = Net(40, 4, seed=5)
CLASSES = ["yes", "no", "up", "down"]
PRINTED = ["down", "up", "no", "yes"]
ROWS = 40


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "kit", "score", *words]


ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"NO_COLOR": "1", "PYTHONPATH": str(ROOT)}


def score(*words: str) -> subprocess.CompletedProcess[str]:
    return forked.run(["score", *words], cwd=ROOT, env=ENVIRONMENT, timeout=120)


def manifest(folder: Path, inputs: Any, labels: list[str], classes: list[str], dtype: str) -> Path:
    part = {"x": inputs, "label": np.array(labels)}
    dataset = {"name": "words", "task": "classification", "classes": classes, "label": "label"}
    table = {"dtype": dtype, "shape": list(inputs.shape[1:])}
    return Bundle(folder, parts={"test": part}, dataset=dataset, input=table).write()


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The manifest, and the share that the emulated firmware gets right; its columns are printed in another order."""
    inputs, labels = NET.rows(ROWS, noise=14)
    right = [NET.probabilities(row.tobytes()).argmax() == label for row, label in zip(inputs, labels, strict=True)]
    folder = tmp_path_factory.mktemp("words")
    return manifest(folder, inputs, [PRINTED[each] for each in labels], CLASSES, "int8"), float(np.mean(right))


@pytest.fixture(scope="module")
def board() -> Iterator[EmulatedBoard]:
    with EmulatedBoard(LineSpec(921_600), inputs=40, classes=4, net_seed=5) as emulated:
        yield emulated


def device_file(folder: Path, board: EmulatedBoard, more: str = "", emulated: str = '["device", "link"]') -> str:
    path = folder / "board.toml"
    path.write_text(
        f'[device]\nname = "kws-board"\ndescription = "An emulated board."\nemulated = {emulated}\n\n'
        f'[link]\nurl = "{board.spec.link}"\nbaud = 921600\ntimeout = "5 s"\n\n'
        f'[board]\nprotocol = "mlperf-tiny"\noutput_order = {json.dumps(PRINTED)}\n{more}'
    )
    return str(path)


def test_a_board_is_named_loaded_run_timed_and_scored(
    board: EmulatedBoard, words: tuple[Path, float], tmp_path: Path
) -> None:
    data, right = words
    done = score("--device", device_file(tmp_path, board), "--data", str(data), "--window", "0.5")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert done.stdout.splitlines()[0] == "EMULATED: device, link"
    assert "EMULATED, model kws01" in lines["device"]
    assert f"{right:.1%} right ({round(right * ROWS)} of {ROWS})" in lines["accuracy"]
    assert lines["accuracy"].endswith("emulated")
    assert re.search(r"median \S+ .s, \S+ .s \(p10\) to \S+ .s \(p90\), 50 samples, emulated$", lines["latency"])
    assert "board's lap counter" in lines["clock"]
    assert re.search(r"mean \S+ .s of [\d,]+ inferences in \S+ m?s, emulated$", lines["window"])
    assert re.search(r" [\d,.]+ rows/s", lines["rate"])
    assert "read back always" in lines["checks"]
    assert "0 reloads, 0 damaged replies, 0 reboots" in lines["checks"]
    assert all(name in done.stdout for name in CLASSES)


def test_as_json_it_says_how_each_figure_was_obtained(
    board: EmulatedBoard, words: tuple[Path, float], tmp_path: Path
) -> None:
    data, _ = words
    device = device_file(tmp_path, board, 'read_back = "sampled"\n', emulated='["link"]')
    done = score("--device", device, "--data", str(data), "--limit", "10", "--window", "0", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["schema"] == "edgeproof/score/1"
    assert found["model"] == "kws01"
    assert found["accuracy"]["rows"] == 10
    assert found["accuracy"]["lower"] <= found["accuracy"]["estimate"] <= found["accuracy"]["upper"]
    assert found["accuracy"]["obtained"] == "measured"
    assert len(found["latency"]["samples_ns"]) == 50
    assert found["latency"]["window_inferences"] == 0
    assert found["line"]["read_back"] == "sampled"
    assert found["line"]["board"]["rows"] >= 10
    assert found["line"]["rows_per_s"] > 0


def model_and_rows(folder: Path) -> tuple[Path, Path]:
    """A model for an agent, and the manifest of 30 rows that it gets right."""
    model = folder / "net.onnx"
    model.write_bytes(kits.linear())
    inputs = kits.rows(30)
    classes = [f"class {index}" for index in range(kits.CLASSES)]
    labels = (inputs @ kits.weights()).argmax(axis=1)
    return model, manifest(folder, inputs, [classes[each] for each in labels], classes, "float32")


def test_an_agent_gets_the_model_and_is_scored_alike(tmp_path: Path) -> None:
    model, data = model_and_rows(tmp_path)
    done = score(str(model), "--device", "local", "--data", str(data), "--window", "0.2", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["accuracy"]["right"] == found["accuracy"]["rows"] == 30
    assert found["model"].startswith("sha256:")
    assert found["line"]["board"] is None
    assert found["latency"]["window_inferences"] > 0


def test_times_of_an_emulated_processor_are_left_out_and_why(tmp_path: Path) -> None:
    model, data = model_and_rows(tmp_path)
    device = tmp_path / "other.toml"
    device.write_text(
        '[device]\nname = "other"\nemulated = ["processor"]\ntiming_is_real = false\n[link]\nurl = "subprocess:"\n'
    )
    words = (str(model), "--device", str(device), "--data", str(data))
    done = score(*words)
    assert done.returncode == 0, done.stderr
    assert "latency   not obtained: its processor is emulated" in done.stdout
    assert "median" not in done.stdout
    assert "window" not in done.stdout
    found = json.loads(score(*words, "--json").stdout)
    assert (found["latency"], found["accuracy"]["right"]) == (None, 30)
    assert "emulated" in found["no_latency"]


@pytest.mark.parametrize("name", ["net.joblib", "net.onnx"])
def test_a_pickle_is_refused_before_the_device_is_opened(tmp_path: Path, name: str) -> None:
    _, data = model_and_rows(tmp_path)
    (tmp_path / name).write_bytes(pickle.dumps("no model"))
    done = score(str(tmp_path / name), "--device", "/dev/ttyNOT0", "--data", str(data))
    assert done.returncode == 2
    assert "a pickle is not an ONNX model" in done.stderr
    assert "edgeproof convert" in done.stderr
    assert "--trust-pickle" not in done.stderr


def test_a_board_takes_no_model_and_an_agent_needs_one(
    board: EmulatedBoard, words: tuple[Path, float], tmp_path: Path
) -> None:
    data, _ = words
    done = score("net.onnx", "--device", device_file(tmp_path, board), "--data", str(data))
    assert done.returncode == 2
    assert "takes no MODEL" in done.stderr
    done = score("--device", "local", "--data", str(data))
    assert done.returncode == 2
    assert "MODEL is missing" in done.stderr


def test_classes_that_are_not_the_datasets_are_refused(
    board: EmulatedBoard, words: tuple[Path, float], tmp_path: Path
) -> None:
    data, _ = words
    path = Path(device_file(tmp_path, board))
    path.write_text(path.read_text().replace('"yes"', '"oui"'))
    done = score("--device", str(path), "--data", str(data), "--limit", "2", "--window", "0")
    assert done.returncode == 4
    assert "output_order" in done.stderr


def test_a_board_in_energy_mode_is_scored_without_latency(words: tuple[Path, float], tmp_path: Path) -> None:
    data, _ = words
    with EmulatedBoard(LineSpec(921_600), inputs=40, classes=4, net_seed=5, energy=True) as board:
        done = score("--device", device_file(tmp_path, board), "--data", str(data), "--limit", "3")
    assert done.returncode == 0, done.stderr
    assert "latency   not obtained: the board is in energy mode" in done.stdout


def test_an_interrupt_ends_it_with_130_and_one_line(words: tuple[Path, float], tmp_path: Path) -> None:
    data, _ = words
    with EmulatedBoard(LineSpec(921_600), inputs=40, classes=4, net_seed=5, latency_us=300_000) as board:
        process = subprocess.Popen(
            command("--device", device_file(tmp_path, board), "--data", str(data)),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )  # fmt: skip
        end_s = time.monotonic() + 30
        while not board.events("infer") and time.monotonic() < end_s:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert out == ""
    assert errors.startswith("error[interrupted]")
