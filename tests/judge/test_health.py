"""Health of device and link: each check at its limit, what cannot be told, causes before effects."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kit.judge import health
from kit.judge.health import BUSY_HOST, CHECKS, SPEEDS, judge_health
from kit.records import Conditions, DeviceRecord, HealthFinding, HealthRecord, LinkTrial, Verdict

DIGEST = "sha256:" + "a" * 64


def device(**changes: Any) -> DeviceRecord:
    fields = {
        "name": "d", "link": "subprocess:", "emulated": (), "system": "Linux", "architecture": "x86_64",
        "cpu_model": "c", "instruction_sets": (), "logical_cpus": 2, "memory_bytes": 1000 << 20, "runtime": "r",
        "runtime_version": "1", "providers": (), "python_version": "3", "agent_version": "0.1", "agent_digest": DIGEST,
        "free_storage_bytes": 1 << 30,
    }  # fmt: skip
    return DeviceRecord(**(fields | changes))


def moment(**changes: Any) -> Conditions:
    fields = {
        "utc": "2026-01-01T00:00:00Z", "load_1min": 0.1, "frequency_hz": 2e9, "governor": "performance",
        "temperature_celsius": 40.0, "available_memory_bytes": 500 << 20, "battery_share": 0.9,
    }  # fmt: skip
    return Conditions(**(fields | changes))


def link(**changes: Any) -> LinkTrial:
    fields = {
        "round_trips_ns": np.full(200, 2_000_000), "echo_sizes_bytes": np.array([0, 1, 1000]), "wrong_bytes": 0,
        "to_device_bytes_per_s": 11_000.0, "from_device_bytes_per_s": 11_000.0, "nominal_bytes_per_s": 11_520.0,
        "sent_bytes": 100_000, "resent_bytes": 0, "damaged_packets": 0,
    }  # fmt: skip
    return LinkTrial(**(fields | changes))


def record(**changes: Any) -> HealthRecord:
    """A device in good health, two minutes long, unless changed."""
    seconds = np.linspace(0.0, 120.0, 13)
    fields = {
        "device": device(), "protocol": "agent", "duration_s": 120.0, "timeout_s": 30.0, "timing_is_real": True,
        "host_agent_digest": DIGEST, "link": link(),
        "clock_t_ns": (seconds * 1e9).astype(np.int64), "clock_offset_ns": np.full(13, 5_000_000),
        "clock_error_ns": np.full(13, 100_000), "asked_answers": 128, "right_answers": 128,
        "window_s": np.full(60, 0.5), "window_inferences": 1000 + np.arange(60) % 3,
        "moment_s": seconds, "conditions": (moment(),) * 13,
    }  # fmt: skip
    return HealthRecord(**(fields | changes))


def found(of: HealthRecord, name: str) -> HealthFinding:
    (finding,) = (each for each in judge_health(of).findings if each.name == name)
    return finding


def test_good_health_passes_every_check() -> None:
    judgement = judge_health(record())
    assert judgement.verdict is Verdict.PASS
    assert [each.name for each in judgement.findings] == [c.name for c in CHECKS if "agent" in c.protocols]
    assert {each.status for each in judgement.findings} == {"ok"}
    assert judge_health(record()) == judgement


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_check_says_why_and_what_to_do(check: health.Check) -> None:
    assert len(check.why) > 10
    assert len(check.next_step) > 10
    names = [each.name for each in CHECKS]
    assert all(names.index(cause) < names.index(check.name) for cause in check.follows_from), "causes come first"


def conditions(**changes: Any) -> dict[str, Any]:
    return {"conditions": (moment(**changes),) * 13}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("agent release", {}, {"host_agent_digest": "sha256:" + "b" * 64}),
        ("echoed bytes", {}, {"link": link(wrong_bytes=1)}),
        ("resent", {"link": link(resent_bytes=5000)}, {"link": link(resent_bytes=5001)}),
        (
            "round trip, p99",
            {"link": link(round_trips_ns=np.full(20, 3_000_000_000))},
            {"link": link(round_trips_ns=np.full(20, 3_000_000_001))},
        ),
        (
            "goodput to the device",
            {"link": link(to_device_bytes_per_s=0.8 * 11520)},
            {"link": link(to_device_bytes_per_s=0.799 * 11520)},
        ),
        (
            "goodput from the device",
            {"link": link(from_device_bytes_per_s=0.8 * 11520)},
            {"link": link(from_device_bytes_per_s=0.799 * 11520)},
        ),
        ("free storage", {"device": device(free_storage_bytes=16 << 20)}, {"device": device(free_storage_bytes=10**7)}),
        (
            "free memory",
            conditions(available_memory_bytes=100 << 20),
            {"conditions": (*(moment(),) * 12, moment(available_memory_bytes=99 << 20))},
        ),
        (
            "battery",
            conditions(battery_share=0.2),
            {"conditions": (*(moment(),) * 12, moment(battery_share=0.19))},
        ),
        ("temperature", conditions(temperature_celsius=80.0), conditions(temperature_celsius=80.1)),
        (
            "processor frequency",
            {"conditions": (moment(),) * 9 + (moment(frequency_hz=1.81e9),) * 4},
            {"conditions": (moment(),) * 9 + (moment(frequency_hz=1.79e9),) * 4},
        ),
        ("known answers", {}, {"right_answers": 127}),
        (
            "steady speed",
            {"window_inferences": np.linspace(1000, 970, 60).astype(np.int64)},
            {"window_inferences": np.linspace(1000, 700, 60).astype(np.int64)},
        ),
        (
            "even speed",
            {"window_inferences": np.tile([1000, 900], 30)},
            {"window_inferences": np.tile([1000, 700], 30)},
        ),
    ],
)
def test_each_limit_from_both_sides(name: str, good: dict[str, Any], bad: dict[str, Any]) -> None:
    assert found(record(**good), name).status == "ok"
    finding = found(record(**bad), name)
    assert finding.status == "bad"
    assert finding.detail
    assert judge_health(record(**bad)).verdict is Verdict.FAIL


def drifting(ppm: float, error_ns: int = 100_000, seconds: float = 120.0) -> dict[str, Any]:
    t = np.linspace(0.0, seconds, 9)
    wander = np.array([1, -1, 0, 1, -1, 0, 1, -1, 0]) * (error_ns // 2)
    return {
        "clock_t_ns": (t * 1e9).astype(np.int64),
        "clock_offset_ns": (7e9 + t * 1e3 * ppm).astype(np.int64) + wander,
        "clock_error_ns": np.full(9, error_ns),
    }


@pytest.mark.parametrize("ppm", [-5000.0, -450.0, 0.0, 30.0, 490.0, 600.0])
def test_drift_is_bounded_by_what_every_pair_of_readings_allows(ppm: float) -> None:
    finding = found(record(**drifting(ppm)), "clock drift")
    assert finding.status == ("ok" if abs(ppm) < 500 else "bad")
    assert finding.value == pytest.approx(abs(ppm), abs=3)


def test_a_coarse_clock_reading_cannot_tell_the_drift_and_says_to_test_longer() -> None:
    of = record(**drifting(30.0, error_ns=10_000_000, seconds=20.0))
    finding = found(of, "clock drift")
    assert (finding.status, finding.required) == ("cannot tell", True)
    assert "test for longer" in finding.next_step
    assert judge_health(of).verdict is Verdict.INCONCLUSIVE


def test_a_clock_that_jumped_is_a_reset() -> None:
    jump = drifting(0.0)
    jump["clock_offset_ns"][5:] -= 4_000_000_000
    finding = found(record(**jump), "clock drift")
    assert finding.status == "bad"
    assert "reset" in finding.detail


def test_hostile_clock_readings_do_not_overflow() -> None:
    wild = drifting(0.0)
    wild["clock_offset_ns"] = np.array([2**62, -(2**62)] * 4 + [0])
    assert found(record(**wild), "clock drift").status == "bad"


def test_a_temperature_that_rises_towards_the_limit_is_seen_before_it_is_there() -> None:
    def rising(per_minute: float) -> HealthRecord:
        return record(conditions=tuple(moment(temperature_celsius=50 + per_minute * m / 6) for m in range(13)))

    assert found(rising(2.0), "temperature").status == "ok"
    finding = found(rising(4.0), "temperature")
    assert finding.status == "bad"
    assert "+4.00 °C a minute" in finding.detail
    assert "hottest 58.0 °C" in finding.detail


@pytest.mark.parametrize(
    ("name", "changes", "required"),
    [
        ("agent release", {"host_agent_digest": None}, True),
        ("echoed bytes", {"link": link(echo_sizes_bytes=np.array([], np.int64))}, True),
        ("resent", {"link": link(resent_bytes=None, damaged_packets=None)}, False),
        ("round trip, p99", {"link": link(round_trips_ns=np.full(3, 10))}, True),
        ("goodput to the device", {"link": link(nominal_bytes_per_s=None)}, False),
        ("goodput from the device", {"link": link(from_device_bytes_per_s=None)}, False),
        ("clock drift", {"clock_t_ns": np.array([1]), "clock_offset_ns": np.array([1])}, True),
        ("free storage", {"device": device(free_storage_bytes=None)}, True),
        ("free memory", conditions(available_memory_bytes=None), True),
        ("free memory", {"device": device(memory_bytes=None)}, True),
        ("battery", conditions(battery_share=None), False),
        ("temperature", conditions(temperature_celsius=None), False),
        ("processor frequency", conditions(frequency_hz=None), False),
        ("processor frequency", {"conditions": (moment(),) * 3, "moment_s": np.arange(3.0)}, False),
        ("known answers", {"asked_answers": 0, "right_answers": 0}, True),
        ("steady speed", {"window_s": np.array([1.0]), "window_inferences": np.array([9])}, True),
        ("even speed", {"window_inferences": np.zeros(60, np.int64)}, True),
        ("steady speed", {"timing_is_real": False}, False),
        ("even speed", {"timing_is_real": False}, False),
    ],
)
def test_what_cannot_be_told_is_not_well(name: str, changes: dict[str, Any], required: bool) -> None:
    of = record(**changes)
    finding = found(of, name)
    assert (finding.status, finding.value, finding.required) == ("cannot tell", None, required)
    assert finding.detail
    assert judge_health(of).verdict is (Verdict.INCONCLUSIVE if required else Verdict.PASS)


def test_a_slowdown_within_its_scatter_is_undecided() -> None:
    scattered = np.tile([1000, 800, 1100, 900, 1000], 12) - np.repeat([0, 80], 30)
    finding = found(record(window_inferences=scattered), "steady speed")
    assert finding.status == "cannot tell"
    assert "test for longer" in finding.next_step


def test_a_failure_outranks_what_cannot_be_told() -> None:
    of = record(right_answers=0, host_agent_digest=None)
    assert judge_health(of).verdict is Verdict.FAIL


def test_a_bad_check_names_the_bad_ones_that_explain_it_and_no_other() -> None:
    slow = np.linspace(1000, 700, 60).astype(np.int64)
    hot = record(**conditions(temperature_celsius=90.0), window_inferences=slow)
    assert found(hot, "steady speed").follows_from == ("temperature",)
    assert found(record(window_inferences=slow), "steady speed").follows_from == ()
    assert found(replace(hot, window_inferences=record().window_inferences), "steady speed").follows_from == ()


def test_a_board_is_held_to_what_its_protocol_can_tell() -> None:
    not_done = {check.name: "the protocol does not tell" for check in CHECKS if check.protocols == ("agent",)}
    none = np.array([], np.int64)
    board = record(
        protocol="mlperf-tiny", host_agent_digest=None, asked_answers=0, right_answers=0, clock_t_ns=none,
        clock_offset_ns=none, clock_error_ns=none, window_s=np.array([]), window_inferences=none,
        moment_s=np.array([]), conditions=(), not_done=not_done,
        link=link(sent_bytes=None, resent_bytes=None, to_device_bytes_per_s=None, from_device_bytes_per_s=None),
    )  # fmt: skip
    judgement = judge_health(board)
    assert judgement.verdict is Verdict.PASS
    assert {each.name for each in judgement.findings if each.status == "ok"} == {"bytes read back", "round trip, p99"}
    assert all(each.detail == "the protocol does not tell" for each in judgement.findings if each.value is None)
    assert judge_health(replace(board, link=replace(board.link, wrong_bytes=3))).verdict is Verdict.FAIL
    deaf = replace(board, link=replace(board.link, round_trips_ns=none))
    assert judge_health(deaf).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("name", SPEEDS)
@pytest.mark.parametrize(("link", "is_here"), [("subprocess:", True), ("tcp://10.0.0.7:7431", False)])
def test_on_a_process_of_this_host_an_uneven_speed_may_be_the_host_s(name: str, link: str, is_here: bool) -> None:
    of = record(device=device(link=link))
    assert found(of, name).next_step.startswith(BUSY_HOST) is is_here
    assert not found(of, "free storage").next_step.startswith(BUSY_HOST)


def test_what_is_known_not_to_be_doable_is_not_required() -> None:
    of = record(not_done={"free memory": "the system tells another machine's"})
    finding = found(of, "free memory")
    assert (finding.status, finding.required, finding.value) == ("cannot tell", False, None)
    assert judge_health(of).verdict is Verdict.PASS
