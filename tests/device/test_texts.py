"""A device's state as it is told: each field within what it can be, an old agent's missing fields absent."""

import pytest

from kit.device.texts import conditions, telemetry
from kit.errors import LinkError
from kit.wire import Message

TOLD = {
    "load_1min": 1.5, "frequency_hz": 1.8e9, "governor": "schedutil", "temperature_celsius": -4.5,
    "available_memory_bytes": 1 << 30, "battery_share": 0.8, "cooling_share": 0.25, "throttle_count": 7,
    "cpu_pressure_share": 0.19, "memory_pressure_share": 0.0, "busy_cpu_s": 812.25, "process_cpu_s": 3.5,
    "held_back_s": 0.5,
}  # fmt: skip
STRAIN = (
    "cooling_share",
    "throttle_count",
    "cpu_pressure_share",
    "memory_pressure_share",
    "busy_cpu_s",
    "process_cpu_s",
    "held_back_s",
)


def test_every_field_arrives() -> None:
    found = conditions(Message("conditions", dict(TOLD)))
    assert {name: getattr(found, name) for name in TOLD} == TOLD
    assert telemetry(Message("telemetry", {"clock_ns": 5, **TOLD})).clock_ns == 5


def test_an_agent_that_does_not_know_them_leaves_them_absent() -> None:
    old = {name: value for name, value in TOLD.items() if name not in STRAIN}
    found = conditions(Message("conditions", old))
    assert all(getattr(found, name) is None for name in STRAIN)
    assert found.load_1min == 1.5


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), "0.5", True, [0.5]], ids=repr)
@pytest.mark.parametrize("name", ["cooling_share", "cpu_pressure_share", "memory_pressure_share"])
def test_a_share_is_from_0_to_1(name: str, value: object) -> None:
    with pytest.raises(LinkError, match=name):
        conditions(Message("conditions", {**TOLD, name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("throttle_count", -1), ("throttle_count", 1.5), ("throttle_count", 1 << 63), ("throttle_count", "1"),
        ("busy_cpu_s", -1.0), ("busy_cpu_s", 1e13), ("process_cpu_s", float("nan")), ("process_cpu_s", {}),
        ("held_back_s", -0.1),
    ],
)  # fmt: skip
def test_counts_and_times_are_what_they_can_be(name: str, value: object) -> None:
    with pytest.raises(LinkError, match=name):
        conditions(Message("conditions", {**TOLD, name: value}))
