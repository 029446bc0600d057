"""PyTorch's networks for the tests: trained once a run, converted many in a process."""

import fcntl
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import pytest

import kit
from kit.model.convert.base import Options
from kit.records import ModelRecord, TensorInfo

HERE = Path(__file__).parent
ROOT = Path(kit.__file__).parents[1]
FACTORIES = HERE / "torch_nets.py"
LIMIT_S = 500.0

INPUTS = {
    "cnn": (TensorInfo("image", "float32", ("rows", 1, 8, 8)),),
    "mlp": (TensorInfo("x", "float32", ("rows", 30)),),
    "gru": (TensorInfo("motion", "float32", ("rows", 10, 6)),),
    "attention": (TensorInfo("lines", "float32", ("rows", 8, 8)), TensorInfo("gain", "float32", ("rows",))),
}
"""What each network takes, as a user would describe it."""


@dataclass(frozen=True)
class Job:
    """A file to convert, the rows to run it on, whether to do it twice, and whether its ONNX model is looked at."""

    name: str
    file: Path
    options: Options = field(default_factory=Options)
    rows: Path | None = None
    twice: bool = False
    export: bool = True


@dataclass(frozen=True)
class Outcome:
    """What came of a job: an error, or a model with what the source gave on the rows."""

    error: dict[str, str]
    record: ModelRecord | None
    converter: str
    notes: tuple[str, ...]
    same: bool
    onnx: bytes
    outputs: dict[str, Any]

    @property
    def said(self) -> str:
        """The error's sentence, and what to do next."""
        assert self.error, f"it was converted: {self.record}"
        return f"{self.error['kind']}: {self.error['what']}. {self.error['next_step']}"


def _call(module: str, folder: Path) -> None:
    """``module.main(folder)`` in a process of its own."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("onnxscript") is None:
        pytest.skip("PyTorch is not installed: make converters")
    code = f"import sys; from pathlib import Path; import {module}; {module}.main(Path(sys.argv[1]))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(HERE))), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@contextmanager
def shared(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder of all test processes, which one of them at a time has."""
    root = factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / f"torch-{name}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@pytest.fixture(scope="session")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every network in every format, held-out rows and accuracies; made once for all test processes."""
    with shared(tmp_path_factory, "nets") as folder:
        if not (folder / "accuracy.json").exists():
            _call("torch_nets", folder)
    return folder


class Convert(Protocol):
    """Does jobs, once for all test processes."""

    def __call__(self, name: str, jobs: Sequence[Job]) -> dict[str, Outcome]:
        """Outcomes by name of the job; `name` is theirs together."""
        ...


@pytest.fixture(scope="session")
def convert_all(tmp_path_factory: pytest.TempPathFactory) -> Convert:
    """Do jobs in one process, and give their outcomes by name."""

    def convert(name: str, jobs: Sequence[Job]) -> dict[str, Outcome]:
        described = [
            {
                "name": job.name,
                "file": str(job.file),
                "options": msgspec.to_builtins(job.options),
                "rows": str(job.rows) if job.rows else "",
                "twice": job.twice,
                "export": job.export,
            }
            for job in jobs
        ]
        with shared(tmp_path_factory, name) as folder:
            if not (folder / "done.json").exists():
                (folder / "jobs.json").write_text(json.dumps(described))
                _call("torch_jobs", folder)
        done = json.loads((folder / "done.json").read_text())
        return {job.name: _outcome(folder, job.name, done[job.name]) for job in jobs}

    return convert


def _outcome(folder: Path, name: str, done: dict[str, Any]) -> Outcome:
    record = msgspec.convert(done["record"], ModelRecord) if "record" in done else None
    onnx, rows = folder / f"{name}.onnx", folder / f"{name}.npz"
    outputs: dict[str, Any] = {}
    if rows.exists():
        with np.load(rows) as arrays:
            outputs = dict(arrays)
    return Outcome(
        done.get("error", {}),
        record,
        done.get("converter", ""),
        tuple(done.get("notes", ())),
        done.get("same", False),
        onnx.read_bytes() if onnx.exists() else b"",
        outputs,
    )
