"""Waiting until a device is as it was: what departs is said, what cannot be told is not held against it."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from kit.errors import LinkError
from kit.pipeline.stable import departures, wait_until_calm, wanted
from kit.records import Conditions

START = Conditions(
    utc="2026-01-01T00:00:00Z",
    load_1min=0.4,
    frequency_hz=1.8e9,
    governor="performance",
    temperature_celsius=45.0,
    available_memory_bytes=1 << 30,
    battery_share=None,
    cooling_share=0.0,
    throttle_count=3,
    cpu_pressure_share=0.01,
    memory_pressure_share=0.0,
)
UNKNOWN = Conditions("2026-01-01T00:00:00Z", None, None, None, None, None, None)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"load_1min": 2.5}, "load 2.5, not 0.4"),
        ({"cpu_pressure_share": 0.4}, "tasks wait for the processor 40 % of the time"),
        ({"memory_pressure_share": 0.2}, "tasks wait for memory 20 % of the time"),
        ({"temperature_celsius": 61.25}, "61.2 °C, not 45.0 °C"),
        ({"cooling_share": 0.5}, "its cooling holds it back (50 % of its highest state)"),
        ({"frequency_hz": 1.2e9}, "1.20 GHz, not 1.80 GHz"),
    ],
    ids=["load", "processor", "memory", "temperature", "cooling", "frequency"],
)
def test_what_departs_is_said(changed: dict[str, Any], said: str) -> None:
    assert departures(replace(START, **changed), START, 1) == (said,)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"load_1min": 1.7},
        {"temperature_celsius": 47.9},
        {"temperature_celsius": 20.0},
        {"frequency_hz": 1.75e9},
        {"battery_share": 0.1},
    ],
    ids=["nothing", "its own load", "a little warmer", "cooler", "a little slower", "what does not matter"],
)
def test_what_is_ordinary_is_no_departure(changed: dict[str, Any]) -> None:
    assert departures(replace(START, **changed), START, 1) == ()


def test_a_load_of_more_threads_is_their_own() -> None:
    busy = replace(START, load_1min=4.0)
    assert departures(busy, START, 1)
    assert not departures(busy, START, 4)


def test_a_clock_that_scales_with_the_work_is_not_compared() -> None:
    scaling = replace(START, governor="schedutil")
    assert departures(replace(scaling, frequency_hz=0.6e9), scaling, 1) == ()


def test_what_cannot_be_told_is_no_departure() -> None:
    assert departures(UNKNOWN, START, 1) == departures(START, UNKNOWN, 1) == departures(UNKNOWN, UNKNOWN, 1) == ()


def test_everything_that_departs_is_said() -> None:
    worse = replace(START, load_1min=9.0, temperature_celsius=80.0, frequency_hz=1e9)
    assert len(departures(worse, START, 1)) == 3


def test_it_waits_until_the_device_is_calm() -> None:
    states: Iterator[Conditions] = iter(
        [replace(START, load_1min=9.0), replace(START, temperature_celsius=70.0), START]
    )
    told: list[tuple[float, tuple[str, ...]]] = []
    held = wait_until_calm(lambda: next(states), START, 1, lambda *each: told.append(each), patience_s=9)
    assert held.departures == ()
    assert held.conditions == START
    assert [what for _, what in told] == [("load 9.0, not 0.4",), ("70.0 °C, not 45.0 °C",)]
    assert told[0][0] < told[1][0] < held.waited_s
    assert 0.9 < held.waited_s < 5


def test_a_calm_device_is_not_waited_for() -> None:
    told: list[object] = []
    held = wait_until_calm(lambda: START, START, 1, lambda *each: told.append(each), patience_s=9)
    assert held.waited_s < 4
    assert told == []


def test_patience_ends_and_what_was_left_is_said() -> None:
    hot = replace(START, temperature_celsius=90.0)
    began_s = time.monotonic()
    held = wait_until_calm(lambda: hot, START, 1, lambda *_: None, patience_s=0.7)
    assert 0.7 <= held.waited_s < 10
    assert time.monotonic() - began_s < 10
    assert held.departures == ("90.0 °C, not 45.0 °C",)
    assert held.conditions is hot


def test_a_device_that_is_gone_ends_the_wait() -> None:
    def gone() -> Conditions:
        raise LinkError("closed")

    with pytest.raises(LinkError):
        wait_until_calm(gone, START, 1, lambda *_: None, patience_s=9)


def test_a_calm_start_is_what_is_wanted() -> None:
    assert wanted(START, 4) == START
    assert wanted(UNKNOWN, 4) == UNKNOWN


def test_a_start_that_was_not_calm_is_not_held_on_to() -> None:
    busy = replace(START, load_1min=7.5, cpu_pressure_share=0.8, memory_pressure_share=0.3, cooling_share=0.6)
    goal = wanted(busy, 4)
    assert (goal.load_1min, goal.cpu_pressure_share, goal.memory_pressure_share, goal.cooling_share) == (
        1,
        0.05,
        0.05,
        0,
    )
    assert len(departures(busy, goal, 1)) == 4
    assert departures(replace(START, load_1min=2.4), goal, 1) == ()
