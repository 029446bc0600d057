"""Real inputs, made once a test run and shared by its workers, and the command as a process."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.digest import digest_file
from tests import forked

ROOT = Path(__file__).parents[2]
Edgeproof = Callable[..., subprocess.CompletedProcess[str]]

QUICK_PROFILE = """
[profile]
name = "quick"
description = "The wearable profile's kinds of requirement, with little measuring."
confidence = 0.95

[duty]
rate = "1 per second"

[variants]
recipes = ["fp32", "int8-per-channel", "int8-per-channel-reduced"]
cheapest_by = "size"

[measure]
latency_inferences = 800
latency_time = "0.1 s"
memory_sessions = 7
energy_windows = 4
energy_window = "100 ms"

[[require]]
id = "latency"
metric = "latency.p99"
at_most = "2 s"

[[require]]
id = "memory"
metric = "memory.peak"
at_most = "500 MiB"

[[require]]
id = "size"
metric = "model.size"
at_most = "1 MiB"

[[require]]
id = "accuracy"
metric = "accuracy.drop"
at_most = "5 points"

[[require]]
id = "sides"
metric = "accuracy.drop"
by = ["side"]
at_most = "10 points"

[[require]]
id = "fairness"
metric = "fairness.gap_change"
by = ["side"]
at_most = "20 points"

[[require]]
id = "processor"
metric = "numerics.processor_flips"
at_most = "0 %"
"""


def _once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Make `folder` in whichever worker comes first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".done").exists():
            make(folder)
            (folder / ".done").touch()
    return folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this test run see."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"


@pytest.fixture(scope="session")
def watch(shared: Path) -> Path:
    """The smartwatch example: watch.toml, held-out.npz, calibration.npz, watch-mlp.joblib."""

    def make(folder: Path) -> None:
        subprocess.run([sys.executable, ROOT / "examples/watch/prepare.py", folder], check=True, capture_output=True)

    return _once(shared / "watch", make)


@pytest.fixture(scope="session")
def few(shared: Path, watch: Path) -> Path:
    """The smartwatch example's dataset with every sixth row: for tests that ask how, not how well."""

    def make(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        text = (watch / "watch.toml").read_text()
        for name in ("held-out.npz", "calibration.npz"):
            with np.load(watch / name) as archive:
                arrays = {column: archive[column] for column in archive.files}
            np.savez(folder / name, **{column: array[::6] for column, array in arrays.items()})
            digests = [digest_file(place / name).removeprefix("sha256:") for place in (watch, folder)]
            rows = len(arrays["x"])
            assert digests[0] in text
            assert f"rows = {rows}\n" in text
            text = text.replace(*digests).replace(f"rows = {rows}\n", f"rows = {len(range(0, rows, 6))}\n")
        (folder / "watch.toml").write_text(text)

    return _once(shared / "few", make)


@pytest.fixture(scope="session")
def faces(shared: Path) -> Path:
    """The face example: faces.toml, rnet.onnx and its rows."""

    def make(folder: Path) -> None:
        subprocess.run([sys.executable, ROOT / "examples/faces/prepare.py", folder], check=True, capture_output=True)

    return _once(shared / "faces", make)


@pytest.fixture
def quick_profile(tmp_path: Path) -> Path:
    """A profile that measures little."""
    path = tmp_path / "quick.toml"
    path.write_text(QUICK_PROFILE)
    return path


@pytest.fixture(scope="session")
def edgeproof() -> Edgeproof:
    """Run the command in a folder and give what it said."""

    def run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
        return forked.run(list(map(str, words)), cwd=cwd, env=env, timeout=240)

    return run


@pytest.fixture(scope="session")
def finished(shared: Path, watch: Path, edgeproof: Edgeproof) -> Path:
    """A folder with one finished run of the smartwatch classifier below ``runs``, and what it printed."""

    def make(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "quick.toml").write_text(QUICK_PROFILE)
        words = ("certify", watch / "watch-mlp.joblib", "--trust-pickle", "--data", watch / "watch.toml")
        done = edgeproof(*words, "--profile", folder / "quick.toml", "--device", "watch-emulated", "--json", cwd=folder)
        assert done.returncode in (0, 1, 3), done.stdout + done.stderr
        (folder / "summary.json").write_text(done.stdout)
        (folder / "exit-code").write_text(str(done.returncode))

    return _once(shared / "finished", make)


@pytest.fixture
def summary(finished: Path) -> dict[str, Any]:
    """What the finished run printed with --json."""
    loaded: dict[str, Any] = json.loads((finished / "summary.json").read_text())
    return loaded
