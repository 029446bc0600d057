"""A small dataset on disk, in any of the three formats, for tests to spoil."""

import csv
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASSES = ["rest", "walk", "run"]
INPUT_COLUMNS = ["ax0", "ax1", "ay0", "ay1"]


def columns(rows: int, seed: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return {
        "x": rng.normal(size=(rows, 4)).astype(np.float32),
        "label": np.array(CLASSES)[np.arange(rows) % 3],
        "side": np.where(np.arange(rows) % 2 == 0, "left", "right"),
        "subject": np.arange(rows) // 4 + 7,
        "recording": np.arange(rows) // 2,
    }


@dataclass
class Bundle:
    """What to write; `manifest` holds its tables, `parts` the columns of each role."""

    folder: Path
    kind: str = "npz"
    parts: dict[str, dict[str, NDArray[Any]]] = field(
        default_factory=lambda: {"test": columns(12, 1), "calibration": columns(6, 2)}
    )
    dataset: dict[str, Any] = field(
        default_factory=lambda: {
            "name": "small",
            "description": "Twelve rows.",
            "task": "classification",
            "classes": CLASSES,
            "label": "label",
            "cluster": "recording",
            "slices": ["side", "subject"],
        }
    )
    input: dict[str, Any] = field(
        default_factory=lambda: {"dtype": "float32", "shape": [4], "minimum": -50.0, "maximum": 50.0}
    )
    raw: dict[str, bytes] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    def part_path(self, role: str = "test") -> Path:
        return self.folder / f"{role}.{self.kind}"

    def write(self) -> Path:
        """Write parts and manifest; the manifest's digests and row counts agree with the files."""
        source = {"array": "x"} if self.kind == "npz" else {"columns": ["ax*", "ay*"]}
        lines = _table("dataset", self.dataset) + _table("input", source | self.input)
        for role, part in self.parts.items():
            content = self.raw.get(role, self.encode(part))
            self.part_path(role).write_bytes(content)
            rows = self.rows.get(role, len(part["label"]))
            sha256 = hashlib.sha256(content).hexdigest()
            table = {"role": role, "path": self.part_path(role).name, "rows": rows, "sha256": sha256}
            lines += ["[[part]]", *_table("", table)[1:]]
        manifest = self.folder / "small.toml"
        manifest.write_text("\n".join(lines))
        return manifest

    def encode(self, part: dict[str, NDArray[Any]]) -> bytes:
        return {"npz": npz, "csv": _csv, "parquet": _parquet}[self.kind](part)


def npz(part: dict[str, NDArray[Any]], method: int = zipfile.ZIP_DEFLATED, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, array in part.items():
            entry = io.BytesIO()
            np.save(entry, array, allow_pickle=allow_pickle)
            archive.writestr(f"{name}.npy", entry.getvalue())
    return buffer.getvalue()


def flat(part: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
    """Inputs as one column a value, in the manifest's order."""
    inputs = {name: part["x"][:, index].tolist() for index, name in enumerate(INPUT_COLUMNS)}
    return inputs | {name: array.tolist() for name, array in part.items() if name != "x"}


def _csv(part: dict[str, NDArray[Any]]) -> bytes:
    table, buffer = flat(part), io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return buffer.getvalue().encode()


def _parquet(part: dict[str, NDArray[Any]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(flat(part)), buffer)
    return buffer.getvalue()


def _table(name: str, values: dict[str, Any]) -> list[str]:
    return [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
