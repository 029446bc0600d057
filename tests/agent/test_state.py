"""What the agent says of its processor, its device and itself."""

import hashlib
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import kit.agent
from kit.agent import cpu, state

X86 = platform.machine() in ("x86_64", "AMD64")
CPUINFO = {"sse4_1": "sse4_1", "avx2": "avx2", "avx512f": "avx512f", "avx512_vnni": "avx512_vnni", "fma": "fma"}


@pytest.mark.skipif(not X86, reason="CPUID is an x86 instruction")
def test_the_processor_and_the_kernel_agree_where_nothing_is_emulated():
    processor = cpu.describe_processor()
    flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")).split()
    assert processor.source == "cpuid"
    assert processor.emulator is None
    assert processor.model
    for name, flag in CPUINFO.items():
        assert (name in processor.instruction_sets) == (flag in flags), name


@pytest.mark.skipif(not (X86 and shutil.which("qemu-x86_64-static")), reason="needs qemu-x86_64-static")
def test_an_emulated_processor_is_found_out():
    code = "from kit.agent import cpu; p = cpu.describe_processor(); print(p.emulator, p.model, "
    code += "*p.instruction_sets, sep='|')"
    done = subprocess.run(
        ["qemu-x86_64-static", "-cpu", "Haswell", sys.executable, "-c", code],
        capture_output=True, text=True, check=True, cwd=Path(kit.agent.__file__).parents[2],
    )  # fmt: skip
    emulator, model, *found = done.stdout.strip().split("|")
    assert emulator == "QEMU TCG"
    assert "Haswell" in model
    assert "avx2" in found
    assert "avx512_vnni" not in found


def test_falls_back_to_the_kernel_where_executable_memory_is_forbidden(monkeypatch):
    def forbidden(*_args, **_kwargs):
        raise PermissionError("no executable memory")

    monkeypatch.setattr(cpu.mmap, "mmap", forbidden)
    processor = cpu.describe_processor()
    if X86:
        assert processor.source == "/proc/cpuinfo"
        assert "sse4_1" in processor.instruction_sets


def test_the_digest_covers_every_source_of_the_agent():
    own = Path(kit.agent.__file__).parent
    files = [
        *sorted(own.glob("*.py")),
        *sorted((own.parent / "wire").glob("*.py")),
        *(own.parent / n for n in ("interface.py", "digest.py", "errors.py", "files.py")),
    ]
    expected = hashlib.sha256(b"".join(f"{f.name}\n".encode() + f.read_bytes() for f in files)).hexdigest()
    assert state.agent_digest() == f"sha256:{expected}"


def test_the_digest_covers_every_module_of_ours_that_the_agent_imports():
    code = "import kit.agent.__main__, kit.agent.serial, kit.agent.tcp, sys\n"
    code += "print(*[m for m in sys.modules if m.startswith('kit')])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(kit.agent.__file__).parents[2],
    )
    shared = {f"kit.{name.removesuffix('.py')}" for name in state._SHARED_WITH_HOST}
    ours = {name for name in done.stdout.split() if not name.startswith(("kit.agent", "kit.wire"))} - {"kit"}
    assert ours == shared


def test_from_a_zip_file_it_is_the_same_agent_and_measures_memory(tmp_path):
    from tests import device_kit as kits

    root, packed, model = Path(kit.agent.__file__).parents[2], tmp_path / "agent.zip", tmp_path / "model.onnx"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in (root / "kit").rglob("*.py"):
            archive.write(path, path.relative_to(root))
    model.write_bytes(kits.linear(batch=1))
    code = (
        "import kit, pathlib, numpy as np; from kit.agent import memory, state\n"
        "print(kit.__file__, state.agent_digest())\n"
        f"print(memory.measure_session(pathlib.Path({str(model)!r}), 1, np.zeros((1, 12), np.float32)).baseline_bytes)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(packed)},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    place, digest, baseline = done.stdout.split()
    assert place.startswith(str(packed))
    assert digest == state.agent_digest()
    assert int(baseline) > 5 << 20


@pytest.mark.parametrize(
    ("tree", "dmi", "name"),
    [
        ("Raspberry Pi 5 Model B\0", None, "Raspberry Pi 5 Model B"),
        (None, "None\n", None),
        (None, "KVM\n", "KVM"),
        (None, None, None),
    ],
    ids=["devicetree", "firmware without a name", "firmware", "neither"],
)
def test_the_board_is_named_by_devicetree_or_firmware(tmp_path, monkeypatch, tree, dmi, name):
    for file, content in (("model", tree), ("product_name", dmi)):
        if content is not None:
            (tmp_path / file).write_text(content)
    monkeypatch.setattr(state, "_DEVICETREE_MODEL", tmp_path / "model")
    monkeypatch.setattr(state, "_DMI", tmp_path)
    assert state.board() == name


def test_the_battery_is_named_as_the_kernel_does(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "_POWER", tmp_path)
    assert state.battery() is None
    for supply, values in {
        "AC": {"type": "Mains"},
        "BAT0": {"type": "Battery", "technology": "Li-ion", "model_name": "X1", "capacity": "80"},
    }.items():
        (tmp_path / supply).mkdir()
        for key, value in values.items():
            (tmp_path / supply / key).write_text(value + "\n")
    assert state.battery() == "Li-ion X1"
    assert state.conditions()["battery_share"] == 0.8


def test_conditions_are_told_or_none():
    found = state.conditions()
    assert found["load_1min"] >= 0
    assert found["available_memory_bytes"] > 1 << 20
    assert set(found) == {
        "load_1min", "frequency_hz", "governor", "temperature_celsius", "available_memory_bytes", "battery_share",
        "cooling_share", "throttle_count", "cpu_pressure_share", "memory_pressure_share", "busy_cpu_s", "process_cpu_s",
        "held_back_s",
    }  # fmt: skip


def test_conditions_read_a_board_s_files(tmp_path, monkeypatch):
    (tmp_path / "scaling_cur_freq").write_text("1800000\n")
    (tmp_path / "scaling_governor").write_text("performance\n")
    monkeypatch.setattr(state, "_CPUFREQ", tmp_path)
    found = state.conditions()
    assert found["frequency_hz"] == 1.8e9
    assert found["governor"] == "performance"


def test_largest_ignores_what_cannot_be_read(tmp_path):
    for zone, text in [("thermal_zone0", "41000"), ("thermal_zone1", "55500"), ("thermal_zone2", "broken")]:
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "temp").write_text(text)
    assert state._largest(tmp_path, "thermal_zone*/temp") == 55500
    assert state._largest(tmp_path / "nowhere", "*") is None
