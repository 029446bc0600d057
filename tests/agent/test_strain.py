"""What holds a processor back, on trees as kernels make them, and on this machine."""

import time
from pathlib import Path

import pytest

from kit.agent import state, strain


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def cooler(number: int, kind: str, now: str, most: str) -> dict[str, str]:
    folder = f"cooling_device{number}"
    return {f"{folder}/type": kind + "\n", f"{folder}/cur_state": now + "\n", f"{folder}/max_state": most + "\n"}


@pytest.mark.parametrize(
    ("coolers", "share"),
    [
        ([("thermal-cpufreq-0", "3", "12"), ("Processor", "0", "10")], 0.25),
        ([("pwm-fan", "4", "4"), ("Processor", "0", "10")], 0.0),
        ([("Fan", "1", "1")], None),
        ([("LCDD", "50", "100")], None),
        ([("TCC Offset", "10", "63")], None),
        ([("intel_powerclamp", "-1", "50")], 0.0),
        ([("thermal-devfreq-0", "9", "5")], 1.0),
        ([("thermal-cpufreq-0", "3", "0")], None),
        ([("thermal-cpufreq-0", "broken", "12"), ("thermal-cpufreq-1", "6", "12")], 0.5),
        ([], None),
    ],
    ids=[
        "the most engaged",
        "fan beside",
        "fan",
        "screen",
        "setting",
        "idle clamp",
        "beyond",
        "no states",
        "broken",
        "none",
    ],
)
def test_cooling_is_of_what_slows_something(
    tmp_path: Path, coolers: list[tuple[str, str, str]], share: float | None
) -> None:
    for number, (kind, now, most) in enumerate(coolers):
        tree(tmp_path, cooler(number, kind, now, most))
    assert strain.cooling_share(tmp_path) == share


def test_throttling_counts_of_cores_and_packages_are_summed(tmp_path: Path) -> None:
    events = {
        "cpu0/thermal_throttle/core_throttle_count": "3\n",
        "cpu0/thermal_throttle/package_throttle_count": "5\n",
        "cpu11/thermal_throttle/core_throttle_count": "2\n",
        "cpu1/thermal_throttle/core_throttle_total_time_ms": "900\n",
        "cpufreq/thermal_throttle/core_throttle_count": "100\n",
        "cpu2/thermal_throttle/core_throttle_count": "not a number\n",
    }
    assert strain.throttle_count(tree(tmp_path, events)) == 10
    assert strain.throttle_count(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("text", "share"),
    [
        (
            "some avg10=19.19 avg60=19.79 avg300=23.10 total=12065002371\nfull avg10=50.00 avg60=0 avg300=0 total=0\n",
            0.1919,
        ),
        ("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", 0.0),
        ("some avg10=much avg60=0\n", None),
        ("full\n", None),
        ("", None),
    ],
)
def test_pressure_is_of_some_task_in_ten_seconds(tmp_path: Path, text: str, share: float | None) -> None:
    assert strain.pressure_share(tree(tmp_path, {"cpu": text}) / "cpu") == pytest.approx(share)
    assert strain.pressure_share(tmp_path / "io") is None


@pytest.mark.parametrize(
    ("line", "ticks"),
    [
        ("cpu  100 20 30 9000 40 5 6 7 1 1\ncpu0 1 1 1 1 1 1 1 1 1 1\n", 168),
        ("cpu  100 20 30 9000 40 5 6\n", None),
        ("cpu  100 20 -30 9000 40 5 6 7 1 1\n", None),
        ("cpu0 1 1 1 1 1 1 1 1 1 1\n", None),
        ("", None),
    ],
    ids=["busy, not idle or waiting", "too short", "negative", "one processor", "empty"],
)
def test_busy_time_is_all_but_idle_and_waiting(tmp_path: Path, line: str, ticks: int | None) -> None:
    import os

    found = strain.busy_cpu_s(tree(tmp_path, {"stat": line}) / "stat")
    assert found == (None if ticks is None else pytest.approx(ticks / os.sysconf("SC_CLK_TCK")))


@pytest.mark.parametrize(
    ("groups", "stat", "told", "held_s"),
    [
        (
            "3:memory:/m\n1:cpu:/a/b\n0::/\n",
            "cpu/a/b",
            "nr_periods 9\nnr_throttled 4\nthrottled_time 2500000000\n",
            2.5,
        ),
        ("4:cpu,cpuacct:/a\n", "cpu,cpuacct/a", "throttled_time 1000000\n", 0.001),
        ("0::/user.slice/x\n", "user.slice/x", "usage_usec 5\nthrottled_usec 750000\n", 0.75),
        ("0::/\n", "", "usage_usec 5\n", None),
        ("5:cpuset:/\n", "cpuset", "throttled_time 1000000\n", None),
        ("1:cpu:/gone\n", "cpu/a", "throttled_time 1000000\n", None),
        ("broken\n", "", "throttled_usec 1\n", None),
        ("1:cpu:/\n", "cpu", "throttled_time -5\n", None),
    ],
    ids=["v1", "v1 with accounting", "v2", "v2 without a quota", "other controller", "gone", "broken", "negative"],
)
def test_a_quota_s_time_is_of_the_own_group(
    tmp_path: Path, groups: str, stat: str, told: str, held_s: float | None
) -> None:
    tree(tmp_path, {"own": groups, f"mounted/{stat}/cpu.stat": told})
    assert strain.held_back_s(tmp_path / "own", tmp_path / "mounted") == pytest.approx(held_s)


def test_work_here_is_seen_in_both_times() -> None:
    before = strain.strain()
    if before["busy_cpu_s"] is None:
        pytest.skip("this system does not tell its processors' time")
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    after = strain.strain()
    own = (after["process_cpu_s"] or 0) - (before["process_cpu_s"] or 0)
    assert own == pytest.approx(0.1, abs=0.05)
    assert (after["busy_cpu_s"] or 0) - before["busy_cpu_s"] >= own - 0.03  # counted in ticks of 10 ms


def test_a_reading_costs_less_than_a_millisecond() -> None:
    """The fastest of many: others may have the processor in the meantime."""
    took_ns = []
    for _ in range(50):
        start_ns = time.perf_counter_ns()
        state.conditions()
        took_ns.append(time.perf_counter_ns() - start_ns)
    assert min(took_ns) < 1_000_000
