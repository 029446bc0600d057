"""Coverage-guided fuzzing of wire, agent and battery profiles, two minutes a target: no crash, no hang, no growth.

A quick size of each runs in every test run. What libFuzzer calls growth is a process over its memory limit.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="atheris has no package for this system")

ROOT = Path(__file__).parents[2]
TARGETS = ("agent", "frames", "line", "messages", "otii", "packets")
LAUNCHER = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
"""A small process between: a child's peak memory counts what its parent had, and this one's may have a gigabyte."""
FULL = pytest.param(120, marks=[pytest.mark.proof, pytest.mark.timeout(400)], id="full")
QUICK = pytest.param(2, id="quick")


@pytest.mark.parametrize("seconds", [QUICK, FULL])
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_crashes_hangs_or_grows(target: str, seconds: int, tmp_path: Path) -> None:
    """Exit code 0 of libFuzzer: it stops with another at the first crash, slow input, or memory over its limit."""
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, sys.executable, "-m", "tests.fuzz", target, "--seconds", str(seconds)],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=seconds + 120, check=False,
    )  # fmt: skip
    said = done.stderr[-3000:]
    assert done.returncode == 0, said
    figures = {name: int(value) for name, value in re.findall(r"stat::(\w+):\s+(\d+)", said)}
    assert figures["number_of_executed_units"] > seconds, said
    print(f"\nfuzz {target}: {figures['number_of_executed_units']} inputs in {seconds} s, "
          f"{figures['peak_rss_mb']} MB at most, slowest {figures['slowest_unit_time_sec']} s")  # fmt: skip
