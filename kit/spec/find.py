"""Find a profile or device file: a path is a path, a bare name is looked for in the user's folder, then in ours."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from kit.errors import SpecError
from kit.resources import resource_dir, user_folder
from kit.spec.toml import nearest

Kind = Literal["profiles", "devices"]


def user_dir(kind: Kind) -> Path:
    """The user's own folder, by the XDG base directory specification: ``~/.config/edgeproof/<kind>``."""
    return user_folder("XDG_CONFIG_HOME", ".config") / "edgeproof" / kind


def named_files(kind: Kind) -> dict[str, Path]:
    """Every file that a bare name can mean, by name; the user's own come before the shipped ones."""
    shipped = {path.stem: path for path in _toml_files(resource_dir(kind))}
    own = {path.stem: path for path in _toml_files(user_dir(kind))}
    return dict(sorted((shipped | own).items()))


def find(name_or_path: str | Path, kind: Kind) -> Path:
    """The file that is meant. Raises SpecError with the nearest name where there is none."""
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml") or "/" in text or os.sep in text:
        return Path(name_or_path)
    known = named_files(kind)
    if text not in known:
        raise SpecError(
            f'no {kind.removesuffix("s")} named "{text}"',
            where=str(user_dir(kind)),
            next_step=f"{nearest(text, known)} (a file is given by its path, ending in .toml)",
        )
    return known[text]


def _toml_files(folder: Path) -> Iterator[Path]:
    return folder.glob("*.toml") if folder.is_dir() else iter(())
