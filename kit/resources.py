"""Where the data that ships with the tool lies: in a wheel beside the code, in a checkout at its root."""

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
