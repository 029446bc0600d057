"""Where the data that ships with the tool lies: in a wheel beside the code, in a checkout at its root."""

from pathlib import Path
from typing import Literal

from kit.errors import EdgeproofError

Kind = Literal["profiles", "devices", "reports"]

_PACKAGE = Path(__file__).resolve().parent


def resource_dir(kind: Kind) -> Path:
    """The folder of shipped `kind` files. Raises EdgeproofError if the installation lacks it."""
    for folder in (_PACKAGE / "data" / kind, _PACKAGE.parent / kind):
        if folder.is_dir():
            return folder
    raise EdgeproofError(
        f"the installation has no folder of {kind}",
        where=str(_PACKAGE),
        next_step="install edgeproof again: pip install --force-reinstall edgeproof",
    )
