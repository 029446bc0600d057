"""The root folder of the emulated arm64 device: built beside its place, then moved there whole."""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kit.errors import DeviceError
from kit.resources import user_folder

Tell = Callable[[str], None]
"""Is told each step, in words."""
Inside = Callable[[Path, str], list[str]]
"""The command that runs Python code on the emulated processor, in a root folder."""

PYTHON, QEMU = "/usr/bin/python3.11", "/usr/bin/qemu-aarch64-static"
INSTALL = "sudo apt-get install qemu-user-static mmdebstrap"
_SUITE, _PYTHON_VERSION = "bookworm", "3.11"
_PACKAGES = "python3.11-minimal,libpython3.11-stdlib,libstdc++6,libgcc-s1,zlib1g,libexpat1"
_WHEELS = ("onnxruntime", "numpy")
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_SOURCES = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
_MADE = "edgeproof.json"
_TIMEOUT_S = 900
# hwcap bits in order, as in the kernel's own list (Linux, arch/arm64/include/uapi/asm/hwcap.h and cpuinfo.c)
_HWCAP = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 sm3 "
    "sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg"
)
_HWCAP2 = (
    "dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm svef64mm svebf16 i8mm bf16 "
    "dgh rng bti mte"
)
# mrs x0, midr_el1; ret (Arm ARM, C6.2): the emulator answers for the register that names the processor
_ASK_PROCESSOR = """
import ctypes, json, mmap, struct
getauxval = ctypes.CDLL(None).getauxval
getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(struct.pack("<2I", 0xD5380000, 0xD65F03C0))
code = ctypes.c_char.from_buffer(page)
print(json.dumps([getauxval(16), getauxval(26), ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(code))()]))
"""
_ASK_VERSIONS = "import json, numpy, onnxruntime; print(json.dumps([onnxruntime.__version__, numpy.__version__]))"


def root_folder(cpu: str) -> Path:
    """Where the root of an emulated processor is, or would be: in the user's data folder (XDG base directories)."""
    return user_folder("XDG_DATA_HOME", ".local/share") / "edgeproof" / "arm64" / cpu


def is_current(root: Path) -> bool:
    """Whether a whole root is here, and made for the versions of numpy and onnxruntime that the host has now."""
    try:
        return bool(json.loads((root / _MADE).read_text()) == _wanted())
    except (OSError, ValueError):
        return False


def build(root: Path, cpu: str, tell: Tell, inside: Inside) -> None:
    """Build a root and move it to its place; what an interrupted one left is removed. Raises DeviceError."""
    missing = [name for name in ("mmdebstrap", "qemu-aarch64-static", "tar") if not shutil.which(name)]
    if os.geteuid() and not shutil.which("unshare"):
        missing.append("unshare")
    if missing:
        raise DeviceError(f"{' and '.join(missing)} not installed", where=_where(cpu), next_step=INSTALL)
    with _alone(root, cpu):
        new, old = root.with_name(f".{cpu}.new"), root.with_name(f".{cpu}.old")
        try:
            _fill(new, cpu, tell, inside)
            if root.exists():
                root.rename(old)
            new.rename(root)
        finally:
            for leftover in (new, old):
                shutil.rmtree(leftover, ignore_errors=True)


def processor_text(cpu: str, hwcap: int, hwcap2: int, midr: int) -> str:
    """/proc/cpuinfo of one core, from what the emulator says of it (field layout of MIDR_EL1: Arm ARM, D19.2)."""
    known = [(hwcap, _HWCAP), (hwcap2, _HWCAP2)]
    features = [name for bits, names in known for i, name in enumerate(names.split()) if bits >> i & 1]
    fields = {
        "processor": "0",
        "model name": f"{cpu} (QEMU)",
        "Features": " ".join(features),
        "CPU implementer": f"0x{midr >> 24 & 0xFF:02x}",
        "CPU architecture": "8",
        "CPU variant": f"0x{midr >> 20 & 0xF:x}",
        "CPU part": f"0x{midr >> 4 & 0xFFF:03x}",
        "CPU revision": f"{midr & 0xF}",
    }
    return "".join(f"{name}\t: {value}\n" for name, value in fields.items()) + "\n"


def _fill(new: Path, cpu: str, tell: Tell, inside: Inside) -> None:
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    tell("1 of 4: Debian's Python for arm64")
    _debian(new, cpu)
    tell(f"2 of 4: {' and '.join(f'{name} {version(name)}' for name in _WHEELS)} for arm64")
    _wheels(new, cpu)
    tell(f"3 of 4: the files that describe a {cpu}")
    shutil.copy(str(shutil.which("qemu-aarch64-static")), f"{new}{QEMU}")
    (new / "dev").mkdir(exist_ok=True)
    (new / "dev" / "null").touch()  # read only, by an agent that closes its standard input
    hwcap, hwcap2, midr = json.loads(_run(inside(new, _ASK_PROCESSOR), cpu))
    _write(
        new,
        {"proc/cpuinfo": processor_text(cpu, hwcap, hwcap2, midr), "proc/sys/kernel/arch": f"{os.uname().machine}\n"},
    )
    _write(new, {f"sys/devices/system/cpu/{name}": "0\n" for name in ("possible", "present", "online")})
    tell("4 of 4: a first start under emulation")
    found = json.loads(_run(inside(new, _ASK_VERSIONS), cpu))
    if found != [version(name) for name in _WHEELS]:
        raise DeviceError(f"the emulated runtime says that it is {found}", where=_where(cpu), next_step="run it again")
    _write(new, {_MADE: json.dumps(_wanted())})


def _debian(new: Path, cpu: str) -> None:
    """Unpacked, not installed: nothing of it is run. Mirrors are those that this machine's Debian is set to."""
    archive = new / "root.tar"
    sources = next((name for name in _SOURCES if _names_suite(Path(name))), None)
    command = ["mmdebstrap", "--mode=chrootless", "--arch=arm64", "--variant=extract", f"--include={_PACKAGES}"]
    _run([*command, _SUITE, str(archive), *([sources] if sources else [])], cpu)
    _run(["tar", "-xf", str(archive), "-C", str(new), "--no-same-owner", "--exclude=./dev/*"], cpu)
    archive.unlink()


def _wheels(new: Path, cpu: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--no-compile"]
    command += ["--target", str(new / "opt" / "site"), "--python-version", _PYTHON_VERSION, "--implementation", "cp"]
    command += [f"--platform={name}" for name in _PLATFORMS] + [f"--abi={name}" for name in ("cp311", "abi3", "none")]
    _run([*command, *(f"{name}=={version(name)}" for name in _WHEELS)], cpu)


def _run(command: Sequence[str], cpu: str) -> str:
    """Its standard output. Raises DeviceError with its last words."""
    environment = os.environ | {"PYTHONPATH": "/opt/site", "ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1"}
    if command[0] == sys.executable:
        del environment["PYTHONPATH"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"{command[0]} failed: {error}", where=_where(cpu), next_step=INSTALL) from None
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        words = next((line for line in reversed(said) if line.startswith(("E:", "ERROR:"))), said[-1] if said else "")
        raise DeviceError(
            f"{Path(command[0]).name} ended with status {done.returncode}: {words[:300]}",
            where=_where(cpu),
            next_step="check the network and free storage, then run: edgeproof devices setup arm64-emulated",
        )
    return done.stdout


@contextlib.contextmanager
def _alone(root: Path, cpu: str) -> Iterator[None]:
    """One set-up at a time; the kernel releases the lock however its holder ends."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with (root.parent / f".{cpu}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DeviceError(
                "is being set up already", where=_where(cpu), next_step="wait until that is done"
            ) from None
        yield


def _names_suite(path: Path) -> bool:
    try:
        return _SUITE in path.read_text().split()
    except OSError:
        return False


def _wanted() -> dict[str, str]:
    try:
        return {name: version(name) for name in _WHEELS} | {"python": _PYTHON_VERSION, "layout": "1"}
    except PackageNotFoundError as error:
        raise DeviceError(f"{error.name} is not installed here", next_step="install edgeproof again") from None


def _write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def _where(cpu: str) -> str:
    return f"the emulated {cpu}"
