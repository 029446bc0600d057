"""Ask the processor itself what it can do: under a user-mode emulator the kernel's list is the host's, not ours.

x86-64: the CPUID instruction (Intel SDM volume 2A, "CPUID"; AMD APM volume 3, appendix E). AArch64: the auxiliary
vector (Linux, Documentation/arch/arm64/elf_hwcaps.rst). Elsewhere: /proc/cpuinfo.
"""

import ctypes
import mmap
import platform
import struct
from dataclasses import dataclass
from pathlib import Path

# push rbx; mov eax,edi; mov ecx,esi; mov r8,rdx; cpuid; store eax..edx at r8; pop rbx; ret  (System V call)
_CPUID_CODE = bytes.fromhex("53 89f8 89f1 4989d0 0fa2 418900 41895804 41894808 4189500c 5b c3")
# (leaf, subleaf, register eax=0 ebx=1 ecx=2 edx=3, bit) of what matters to int8 and float kernels
_X86_BITS = {
    "sse4_1": (1, 0, 2, 19),
    "avx": (1, 0, 2, 28),
    "fma": (1, 0, 2, 12),
    "avx2": (7, 0, 1, 5),
    "avx512f": (7, 0, 1, 16),
    "avx512bw": (7, 0, 1, 30),
    "avx512_vnni": (7, 0, 2, 11),
    "avx_vnni": (7, 1, 0, 4),
    "avx512_bf16": (7, 1, 0, 5),
    "amx_int8": (7, 0, 3, 25),
}
_AT_HWCAP, _AT_HWCAP2 = 16, 26
_ARM_BITS = {
    "asimd": (_AT_HWCAP, 1),
    "fphp": (_AT_HWCAP, 9),
    "asimdhp": (_AT_HWCAP, 10),
    "asimddp": (_AT_HWCAP, 20),
    "sve": (_AT_HWCAP, 22),
    "sve2": (_AT_HWCAP2, 1),
    "i8mm": (_AT_HWCAP2, 13),
    "bf16": (_AT_HWCAP2, 14),
}


@dataclass(frozen=True, slots=True)
class Processor:
    """Model name, instruction sets and where they were read; `emulator` is its name if the processor is emulated."""

    model: str
    instruction_sets: tuple[str, ...]
    source: str
    emulator: str | None


def describe_processor() -> Processor:
    """The processor that runs this process, emulated or not."""
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        try:
            return _ask_x86()
        except (OSError, ValueError, AttributeError):  # a kernel may forbid executable memory
            return _read_cpuinfo()
    if machine in ("aarch64", "arm64"):
        return _ask_arm()
    return _read_cpuinfo()


def _ask_x86() -> Processor:
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(_CPUID_CODE)
        anchor = ctypes.c_char.from_buffer(page)
        try:
            return _read_x86(ctypes.addressof(anchor))
        finally:
            del anchor


def _read_x86(address: int) -> Processor:
    call = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)(address)
    registers = (ctypes.c_uint32 * 4)()

    def cpuid(leaf: int, subleaf: int = 0) -> tuple[int, ...]:
        call(leaf, subleaf, ctypes.addressof(registers))
        return tuple(registers)

    highest, brands = cpuid(0)[0], cpuid(0x80000000)[0]
    found = [name for name, (leaf, sub, register, bit) in _X86_BITS.items()
             if leaf <= highest and cpuid(leaf, sub)[register] >> bit & 1]  # fmt: skip
    brand = b"".join(struct.pack("<4I", *cpuid(0x80000002 + i)) for i in range(3)) if brands >= 0x80000004 else b""
    # leaf 0x40000000 names a hypervisor; TCG is QEMU's translator, so instructions are emulated, not run
    emulator = "QEMU TCG" if struct.pack("<3I", *cpuid(0x40000000)[1:]) == b"TCGTCGTCGTCG" else None
    return Processor(brand.split(b"\0")[0].decode("ascii", "replace").strip(), tuple(found), "cpuid", emulator)


def _ask_arm() -> Processor:
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    found = [name for name, (vector, bit) in _ARM_BITS.items() if getauxval(vector) >> bit & 1]
    kernel = _first_line(Path("/proc/sys/kernel/arch"))
    emulator = f"user-mode emulation on {kernel}" if kernel and kernel not in ("aarch64", "arm64") else None
    return Processor(_cpuinfo_value("model name", "Model", "Hardware"), tuple(found), "auxiliary vector", emulator)


def _read_cpuinfo() -> Processor:
    flags = set(_cpuinfo_value("flags", "Features").split())
    found = tuple(name for name in (*_X86_BITS, *_ARM_BITS) if name in flags)
    return Processor(_cpuinfo_value("model name", "Model", "Hardware"), found, "/proc/cpuinfo", None)


def _cpuinfo_value(*keys: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() in keys), "")


def _first_line(path: Path) -> str:
    try:
        return path.read_text(errors="replace").split("\n")[0].strip()
    except OSError:
        return ""
