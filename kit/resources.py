"""Where data lies: what ships with the tool, in a wheel or a checkout, and what is the user's own."""

import os
from pathlib import Path
from typing import Literal

Kind = Literal["profiles", "devices", "reports"]

_PACKAGE = Path(__file__).resolve().parent


def resource_dir(kind: Kind) -> Path:
    """The folder of shipped `kind` files. Raises FileNotFoundError if the installation lacks it."""
    for folder in (_PACKAGE / "data" / kind, _PACKAGE.parent / kind):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"the installation has no folder of {kind}: install edgeproof again")


def user_folder(variable: str, default: str) -> Path:
    """A base folder of the user's (XDG Base Directory Specification 0.8): `variable` if absolute, else ~/`default`."""
    base = Path(os.environ.get(variable, ""))
    return base if base.is_absolute() else Path.home() / default
