"""The command as its users type it: a process with its two streams, and device files of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tests import forked

ROOT = Path(__file__).parents[2]


def environment(home: Path) -> dict[str, str]:
    """Nothing of the person who runs the tests: device files and the agents' models are below `home`."""
    own = {"XDG_CONFIG_HOME": str(home / "config"), "XDG_CACHE_HOME": str(home / "cache")}
    return os.environ | {"NO_COLOR": "1", "PYTHONPATH": str(ROOT)} | own


def start(*words: object, home: Path) -> subprocess.Popen[str]:
    """The command, begun."""
    return subprocess.Popen(
        [sys.executable, "-m", "kit", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=home, env=environment(home),
    )  # fmt: skip


def edgeproof(*words: object, home: Path) -> subprocess.CompletedProcess[str]:
    """The command, ended."""
    return forked.run(list(map(str, words)), cwd=home, env=environment(home), timeout=120)


def device_file(home: Path, name: str, *lines: str, emulated: str = "") -> str:
    """A device file in the user's own folder; its name."""
    folder = home / "config" / "edgeproof" / "devices"
    folder.mkdir(parents=True, exist_ok=True)
    head = f'[device]\nname = "{name}"\nemulated = [{emulated}]\n[link]\n'
    (folder / f"{name}.toml").write_text(head + "\n".join(lines) + "\n")
    return name


def is_for_people(text: str) -> bool:
    """Whether it fits 80 columns and steers no terminal."""
    return "\x1b" not in text and "\r" not in text and all(len(line) <= 80 for line in text.splitlines())
