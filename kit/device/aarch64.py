"""A real aarch64 onnxruntime under QEMU's user mode (``aarch64:cortex-a76``): what ARM decides, never how fast.

The agent runs in a root folder of its own that `setup` builds: Debian's Python for arm64, numpy and onnxruntime of
the host's own versions, and the files by which a program tells its processor.
"""

import os
import re
import shutil
import time
from pathlib import Path

from kit.device.aarch64_root import PYTHON, QEMU, build, is_current, root_folder
from kit.device.aarch64_root import Tell as Tell
from kit.device.link import Link
from kit.device.pack import pack_agent
from kit.device.process import ProcessLink
from kit.errors import DeviceError, SpecError
from kit.spec.types import DeviceSpec

DEFAULT_CPU = "cortex-a76"
_CPU = re.compile(r"[a-z0-9][a-z0-9.-]{0,31}")
_AGENTS = "opt/agent"
_AGENTS_KEPT_S = 86400.0  # one at work imports from its file as it goes
_ENVIRONMENT = {
    "PATH": "/usr/bin",
    "HOME": "/opt",
    "LANG": "C.UTF-8",
    "PYTHONPATH": "/opt/site",
    "PYTHONSAFEPATH": "1",
    "PYTHONNOUSERSITE": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def open_aarch64(spec: DeviceSpec) -> Link:
    """A link to an agent on the emulated processor that the URL names.

    Raises SpecError for a processor's name that is none, DeviceError where `setup` has not been run for it.
    """
    cpu = cpu_of(spec)
    root = root_folder(cpu)
    if not is_current(root):
        raise DeviceError(
            f"the emulated {cpu} is not set up{' for the onnxruntime installed here' if root.exists() else ''}",
            where=f"device {spec.name}",
            next_step=f"run: edgeproof devices setup {spec.name}",
        )
    command = [*enter(root), *emulated(cpu), _put_agent(root), "--stdio", "--cache", "/var/cache/edgeproof"]
    return ProcessLink(command, name=spec.name, environment=_ENVIRONMENT)


def setup(progress: Tell = lambda _: None, *, cpu: str = DEFAULT_CPU) -> Path:
    """Build what `open_aarch64` needs and return its folder; `progress` is told each step, in words.

    Nothing is done, and that is told, where it is there already. It appears whole or not at all. Raises DeviceError,
    with the command that installs it, if a program is missing, or with its last words, if one fails.
    """
    root = root_folder(cpu)
    if is_current(root):
        progress(f"the emulated {cpu} is already set up in {root}")
        return root
    build(root, cpu, progress, lambda new, code: [*enter(new), *emulated(cpu), "-c", code])
    return root


def cpu_of(spec: DeviceSpec) -> str:
    """QEMU's name of the processor in ``aarch64:NAME``; cortex-a76 if there is none."""
    cpu = spec.link.partition(":")[2] or DEFAULT_CPU
    if not _CPU.fullmatch(cpu):
        raise SpecError(
            f"{cpu!r} is no name of a processor",
            where=spec.path or f"device {spec.name}",
            next_step=f"write aarch64:{DEFAULT_CPU}, say; known: qemu-aarch64-static -cpu help",
        )
    return cpu


def enter(root: Path) -> list[str]:
    """What starts a command with `root` as its root folder: chroot, for a user other than root in a user namespace."""
    chroot = shutil.which("chroot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "chroot"
    namespace = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user"]
    return [*namespace, chroot, str(root)]


def emulated(cpu: str) -> list[str]:
    """The emulated Python, inside of the root folder."""
    return [QEMU, "-cpu", cpu, PYTHON]


def _put_agent(root: Path) -> str:
    """The current agent's path in the root folder; named by its digest, so that agents at work keep theirs."""
    folder = root / _AGENTS
    folder.mkdir(exist_ok=True)
    new = folder / f".new-{os.getpid()}"
    name = pack_agent(new).removeprefix("sha256:")[:16] + ".pyz"
    new.replace(folder / name)
    for old in folder.glob("*.pyz"):
        if old.stat().st_mtime < time.time() - _AGENTS_KEPT_S:
            old.unlink(missing_ok=True)
    return f"/{_AGENTS}/{name}"
