"""Files that TensorFlow wrote, made once a test run by processes of their own."""

import fcntl
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SITE = Path(np.__file__).parents[1]
PITCH = SITE / "basic_pitch" / "saved_models" / "icassp_2022"
WAKE_WORDS = SITE / "pymicro_wakeword" / "models"

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None or importlib.util.find_spec("tf2onnx") is None,
    reason="TensorFlow is not installed: make converters",
)
needs_interpreter = pytest.mark.skipif(
    importlib.util.find_spec("ai_edge_litert") is None, reason="ai-edge-litert is not installed: make converters"
)
needs_pitch = pytest.mark.skipif(not PITCH.is_dir(), reason="basic-pitch is not installed: make converters")
needs_wake_words = pytest.mark.skipif(
    not WAKE_WORDS.is_dir(), reason="pymicro-wakeword is not installed: make converters"
)


def run_module(name: str, *arguments: Path) -> None:
    """A test program in a process of its own; what it printed is in the failure's message."""
    command = [sys.executable, "-W", "ignore", "-m", name, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=280)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]


@contextmanager
def made_once(factory: pytest.TempPathFactory, name: str) -> Iterator[tuple[Path, bool]]:
    """A folder that all workers of a test run share, and whether it is still to be filled; the others wait."""
    base = factory.getbasetemp().parent if factory.getbasetemp().name.startswith("popen-") else factory.getbasetemp()
    folder, ready = base / name, base / f"{name}.ready"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder.mkdir(exist_ok=True)
        yield folder, not ready.exists()
        ready.touch()


@pytest.fixture(scope="session")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `tests.model.tensorflow_nets` makes."""
    with made_once(tmp_path_factory, "tensorflow_nets") as (folder, empty):
        if empty:
            run_module("tests.model.tensorflow_nets", folder)
    return folder


@dataclass(frozen=True)
class Jobs:
    """Conversions that one process made, by name."""

    folder: Path

    def about(self, name: str) -> dict[str, Any]:
        """Record and notes, or the error."""
        found: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_bytes())
        return found

    def onnx(self, name: str) -> bytes:
        return (self.folder / f"{name}.onnx").read_bytes()

    def outputs(self, name: str, rows: int) -> dict[str, np.ndarray]:
        """What the source gave for so many rows."""
        return arrays(self.folder / f"{name}.{rows}.npz")


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as found:
        return {name: found[name] for name in found.files}


def jobs_of(factory: pytest.TempPathFactory, name: str, jobs: Callable[[], list[dict[str, Any]]]) -> Jobs:
    with made_once(factory, name) as (folder, empty):
        if empty:
            (folder / "jobs.json").write_text(json.dumps(jobs()))
            run_module("tests.model.tensorflow_jobs", folder / "jobs.json", folder)
    return Jobs(folder)


def sound(rows: int, samples: int, seed: int = 0) -> np.ndarray:
    """Notes of a decaying harmonic tone at 22050 Hz with a little noise, float32 [rows, samples, 1]."""
    random = np.random.default_rng(seed)
    time = np.arange(samples) / 22050
    found = []
    for row in range(rows):
        pitch = 220 * 2 ** (random.integers(0, 24) / 12)
        tone = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 6)) * np.exp(-(1 + row) * time)
        found.append(0.3 * tone + 1e-3 * random.normal(size=samples))
    return np.asarray(found, np.float32)[:, :, None]
