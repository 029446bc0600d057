"""Environments of peers that need not share ours: made once below `.cache/bench`, from exact versions."""

import subprocess
import sys
import venv
from pathlib import Path


def environment(folder: Path, packages: tuple[str, ...]) -> Path:
    """The Python of an environment in `folder` that has `packages`, which is made if it is not there yet.

    Raises SystemExit where they cannot be installed.
    """
    wanted = "\n".join(packages)
    python, ready = folder / "bin" / "python", folder / "ready"
    if not (ready.exists() and ready.read_text(encoding="utf-8") == wanted):
        print(f"installing {packages[0]} into {folder} (once, about a minute)", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"{packages[0]} cannot be installed; look at what pip says above")
        ready.write_text(wanted, encoding="utf-8")
    return python
