"""How an agent is started on this machine: its command, environment and cache folder."""

import os
import re
import site
import sys
from pathlib import Path

import kit
from kit.digest import digest_bytes
from kit.resources import user_folder
from kit.spec.types import DeviceSpec

_INHERITED = ("PATH", "TMPDIR", "XDG_CACHE_HOME", "SYSTEMROOT")


def agent_command(spec: DeviceSpec, *options: str) -> list[str]:
    """``[*wrapper, python, -m, kit.agent, --stdio]``, or the spec's own command; `options` replace ``--stdio``.

    Models are kept in a folder of that device alone, since each has its own limit.
    """
    agent = [word for word in spec.command if word != "--stdio"] or [sys.executable, "-m", "kit.agent"]
    return [*spec.wrapper, *agent, *(options or ("--stdio",)), "--cache", str(cache_folder(spec.name))]


def cache_folder(name: str) -> Path:
    """Where an agent on this machine keeps the models of the device `name`: in the user's cache folder (XDG)."""
    root = user_folder("XDG_CACHE_HOME", ".cache")
    safe = re.sub(r"[^a-z0-9-]", "_", name.lower())[:40]
    if safe != name:  # two names never share a folder
        safe += f"_{digest_bytes(name.encode())[-12:]}"
    return root / "edgeproof" / "agents" / safe


def agent_environment() -> dict[str, str]:
    """No more than the agent needs; a checkout is importable by its path, an installed package needs none."""
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment |= {"LANG": "C.UTF-8", "PYTHONSAFEPATH": "1", "PYTHONNOUSERSITE": "1", "ORT_DISABLE_TELEMETRY": "1"}
    environment["OPENBLAS_NUM_THREADS"] = "1"  # numpy computes nothing there, and its threads take memory
    root = Path(kit.__file__).resolve().parent.parent
    if str(root) not in {str(Path(folder).resolve()) for folder in site.getsitepackages()}:
        environment["PYTHONPATH"] = str(root)
    return environment
