"""Many conversions in one process, since importing PyTorch takes longer than any of them.

`main` is called in a process of its own, on a folder with ``jobs.json``; it leaves what came of each job beside it.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kit.errors import EdgeproofError
from kit.model.convert.base import Converter, Options, Source
from kit.model.convert.state_dict import StateDictConverter
from kit.model.convert.torch import TorchExportConverter
from kit.model.convert.torchscript import TorchScriptConverter

CONVERTERS: tuple[Converter, ...] = (TorchExportConverter(), TorchScriptConverter(), StateDictConverter())


def _read(path: Path, options: Options) -> tuple[str, Source]:
    """The converter that claims the file, by name, and what it reads. A pickle is not refused before it is read."""
    start = path.read_bytes()[:4096]
    (converter,) = [each for each in CONVERTERS if each.claims(path, start)]
    return converter.name, converter.read(path, options)


def _done(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    path, options = Path(job["file"]), msgspec.convert(job["options"], Options)
    try:
        converter, source = _read(path, options)
        onnx = source.export() if job["export"] else b""
        (folder / f"{job['name']}.onnx").write_bytes(onnx)
        if job["rows"]:
            with np.load(job["rows"]) as rows:
                np.savez(folder / f"{job['name']}.npz", **source.predict(dict(rows)))
        same = job["twice"] and onnx == source.export() == _read(path, options)[1].export()
    except EdgeproofError as error:
        said = {"kind": type(error).__name__, "what": error.what, "where": error.where, "next_step": error.next_step}
        return {"error": said}
    return {
        "converter": converter,
        "record": msgspec.to_builtins(source.record),
        "notes": list(source.notes),
        "same": same,
    }


def main(folder: Path) -> None:
    """Do every job of the folder's ``jobs.json``, and write ``done.json``."""
    jobs = json.loads((folder / "jobs.json").read_text())
    (folder / "done.json").write_text(json.dumps({job["name"]: _done(folder, job) for job in jobs}))
