import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import SpecError
from kit.spec.units import UNITS, Kind, parse

KINDS: list[Kind] = list(UNITS)


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("20 ms", "time", 0.02),
        ("20ms", "time", 0.02),
        (" 1.5e3 µs ", "time", 0.0015),
        ("1500 μs", "time", 0.0015),
        ("1500 us", "time", 0.0015),
        ("5 ns", "time", 5e-9),
        ("2 min", "time", 120.0),
        ("1 h", "time", 3600.0),
        ("200 kB", "size", 200_000.0),
        ("1 KiB", "size", 1024.0),
        ("4 MiB", "size", 4 * 2.0**20),
        ("1 GiB", "size", 2.0**30),
        ("15 %", "share", 0.15),
        ("35%", "share", 0.35),
        ("0.15", "share", 0.15),
        (0.15, "share", 0.15),
        (1, "share", 1.0),
        ("0 %", "share", 0.0),
        ("2 points", "points", 0.02),
        ("1 point", "points", 0.01),
        ("7 pp", "points", 0.07),
        ("12 mW", "power", 0.012),
        ("3 µW", "power", 3e-6),
        ("1.1 Wh", "energy", 3960.0),
        ("10 mWh", "energy", 36.0),
        ("2 mJ", "energy", 0.002),
        ("300 mAh", "charge", 1080.0),
        ("1 Ah", "charge", 3600.0),
        ("3.85 V", "voltage", 3.85),
        ("120 mOhm", "resistance", 0.12),
        ("120 mohm", "resistance", 0.12),
        ("40 ohm", "resistance", 40.0),
        ("10 Ω", "resistance", 10.0),
        ("1 per second", "rate", 1.0),
        ("36 h", "life", 129_600.0),
        ("1 day", "life", 86_400.0),
        ("2 years", "life", 2 * 31_557_600.0),
        ("3600 per hour", "rate", 1.0),
        ("60  per   minute", "rate", 1.0),
        ("1 Hz", "rate", 1.0),
        ("1 kHz", "rate", 1000.0),
    ],
)
def test_quantities_in_si(text: str | float, kind: Kind, expected: float) -> None:
    assert parse(text, kind) == pytest.approx(expected, rel=1e-15)


def test_decimal_fractions_are_exact() -> None:
    assert [parse(f"{n} %", "share") for n in range(101)] == [float(f"{n / 100:.2f}") for n in range(101)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("-1 ms", "time"),
        ("-0 ms", "time"),
        ("nan ms", "time"),
        ("inf ms", "time"),
        ("0 ms", "time"),
        ("1e300 s", "time"),
        ("1e999 s", "time"),
        ("1 ms ms", "time"),
        ("1,5 ms", "time"),
        ("twenty ms", "time"),
        ("", "time"),
        (20, "time"),
        (True, "share"),
        (math.nan, "share"),
        (math.inf, "share"),
        (-0.1, "share"),
        ("150 %", "share"),
        (15, "share"),
        ("2 %", "points"),
        ("0.02", "points"),
        ("101 points", "points"),
        ("1 KB", "size"),
        ("0 B", "size"),
        ("1 ms", "size"),
        ("1 mah", "charge"),
        ("1 MS", "time"),
        ("٣ ms", "time"),
        ("1" * 10_000 + " ms", "time"),
    ],
)
def test_wrong_quantities_are_refused_with_an_example(text: str | float, kind: Kind) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text, kind, "a thing")
    assert "a thing" in str(caught.value)
    assert caught.value.next_step == UNITS[kind].example
    assert len(str(caught.value)) < 300


def test_the_message_names_what_is_limited_and_how_it_is_written() -> None:
    with pytest.raises(SpecError) as caught:
        parse("20 MB", "time", "a latency")
    assert str(caught.value) == 'a latency is a time, not "MB"'
    assert caught.value.next_step == 'write ns, us, ms or s, such as "20 ms"'
    with pytest.raises(SpecError) as caught:
        parse("20", "time", "a latency")
    assert str(caught.value) == "a latency is a time, and needs its unit"


@st.composite
def quantities(draw: st.DrawFn) -> tuple[Kind, float, str]:
    kind = draw(st.sampled_from(KINDS))
    unit = UNITS[kind]
    low, high = math.log10(max(unit.least, 1e-6)), math.log10(unit.most)
    return kind, 10 ** draw(st.floats(low + 0.01, high - 0.01)), draw(st.sampled_from(list(unit.scales)))


@given(quantities())
def test_round_trip_in_every_unit(quantity: tuple[Kind, float, str]) -> None:
    kind, value, name = quantity
    written = f"{value / UNITS[kind].scales[name]!r} {name}"
    assert parse(written, kind) == pytest.approx(value, rel=1e-12)


@given(quantities())
def test_the_schema_pattern_accepts_what_is_accepted(quantity: tuple[Kind, float, str]) -> None:
    kind, value, name = quantity
    assert re.search(UNITS[kind].pattern, f"{value / UNITS[kind].scales[name]!r} {name}")


@given(st.text(max_size=80), st.sampled_from(KINDS))
def test_any_text_is_a_number_in_range_or_a_spec_error(text: str, kind: Kind) -> None:
    try:
        value = parse(text, kind)
    except SpecError:
        return
    assert UNITS[kind].least <= value <= UNITS[kind].most


@pytest.mark.parametrize("kind", KINDS)
def test_each_example_is_itself_right(kind: Kind) -> None:
    (example,) = re.findall(r'"([^"]+)"', UNITS[kind].example)
    assert parse(example, kind) > 0
    assert re.search(UNITS[kind].pattern, example)


@pytest.mark.parametrize(
    ("text", "kind", "range_text"),
    [
        ("101 points", "points", "from 0 to 100 points"),
        ("150 %", "share", "from 0 to 1"),
        ("1e9 V", "voltage", "from 0.001 to 10000 V"),
    ],
)
def test_a_range_is_told_in_the_unit_it_is_written_in(text: str, kind: Kind, range_text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text, kind, "a thing")
    assert str(caught.value).endswith(range_text)


def test_an_energy_without_a_unit_is_told_the_one_of_small_models_too() -> None:
    with pytest.raises(SpecError) as caught:
        parse("1.2", "energy")
    assert "uJ" in (caught.value.next_step or "")
