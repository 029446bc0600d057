"""Convert files in one process of their own, since TensorFlow takes seconds to import; what came out goes to a folder.

python -m tests.model.tensorflow_jobs JOBS.json FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kit.errors import EdgeproofError
from kit.model.convert.base import Options, Source
from kit.model.convert.registry import converter_for


def main(jobs: Path, folder: Path) -> None:
    for job in json.loads(jobs.read_bytes()):
        try:
            about = converted(job, folder)
        except EdgeproofError as error:
            about = {"kind": type(error).__name__, "what": str(error), "next_step": error.next_step}
        (folder / f"{job['name']}.json").write_text(json.dumps(about))


def converted(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write the ONNX model, and what the source gives for 1, 2 and 7 of the rows."""
    path, options = Path(job["path"]), Options(**job.get("options", {}))
    source = converter_for(path).read(path, options)
    (folder / f"{job['name']}.onnx").write_bytes(source.export())
    for count in (1, 2, 7):
        np.savez(folder / f"{job['name']}.{count}.npz", **source.predict(rows_of(job["rows"], source, count)))
    return {"record": msgspec.to_builtins(source.record), "notes": source.notes}


def rows_of(path: str, source: Source, count: int) -> dict[str, np.ndarray]:
    """Rows by the source's names of its inputs, which a SavedModel may have changed."""
    with np.load(path) as rows:
        arrays = {name: rows[name][:count] for name in rows.files}
    if len(arrays) == 1:
        return {source.record.inputs[0].name: next(iter(arrays.values()))}
    return arrays


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
