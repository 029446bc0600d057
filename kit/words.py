"""Figures as words: numbers, quantities and counts as people read them, with a true minus and a fitting unit."""

MINUS = "−"
PLAIN_BELOW = 1e7
"""Numbers from here on are written with an exponent."""

SCALES: dict[str, tuple[tuple[float, str], ...]] = {
    "s": (
        (31_557_600.0, "years"),
        (86_400.0, "days"),
        (3600.0, "h"),
        (1.0, "s"),
        (1e-3, "ms"),
        (1e-6, "µs"),
        (1e-9, "ns"),
    ),
    "B": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    "J": ((1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ")),
    "W": ((1.0, "W"), (1e-3, "mW"), (1e-6, "µW")),
}
"""Prefixes of each unit: what one is, and its name; the largest first."""


def quantity(value: float, unit: str) -> str:
    """`value` in `unit` (as in Finding) with a fitting prefix: 0.0151 s is "15.1 ms", 0.036 points "3.6 points"."""
    if unit == "share":
        return f"{number(100 * value, 3)} %"
    if unit == "points":
        return f"{fixed(100 * value)} points"
    if unit not in SCALES:
        return f"{number(value, 4)} {unit}".removesuffix(" 1")
    scales = SCALES[unit]
    zero = next((row for row in scales if row[0] <= 1), scales[0])
    factor, name = next((row for row in scales if abs(value) >= row[0]), scales[-1] if value else zero)
    return f"{number(value / factor, 3)} {name}"


def interval(lower: float | None, upper: float | None, unit: str) -> str:
    """The interval in the unit of `quantity`, as "[98.3, 100.0]"; points are signed; an end not known is "–"."""
    if unit in ("share", "points"):
        return f"[{_end(lower, unit)}, {_end(upper, unit)}]"
    return f"[{'–' if lower is None else quantity(lower, unit)}, {'–' if upper is None else quantity(upper, unit)}]"


def _end(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    text = fixed(100 * value)
    return f"+{text}" if unit == "points" and text != "0.0" and not text.startswith(MINUS) else text


def fixed(value: float) -> str:
    """One decimal (two where one would show 0), with a true minus and no negative zero; an exponent if it is huge."""
    if abs(value) >= PLAIN_BELOW:
        return number(value, 4)
    digits = 2 if abs(value) < 0.05 else 1
    rounded = round(value, digits)
    return f"{rounded:.{digits}f}".replace("-", MINUS) if rounded else "0.0"


def number(value: float, digits: int) -> str:
    """`digits` significant digits, true minus; thousands separated, but an exponent where it is huge or tiny."""
    if value == 0:
        return "0"
    if 10 ** (digits - 1) <= abs(value) < PLAIN_BELOW:
        return f"{value:,.0f}".replace("-", MINUS)
    return f"{value:.{digits}g}".replace("-", MINUS)


def count(value: float, noun: str, plural: str = "") -> str:
    """ "1 row", "2,008 rows"."""
    return f"{value:,.0f} {noun if round(value) == 1 else plural or noun + 's'}"


def rounded_up(value: float) -> int:
    """An amount of further work, rounded up to two significant digits: 5,873 is 5,900."""
    if value <= 10:
        return max(1, -int(-value // 1))
    step = 10 ** (len(str(int(value))) - 2)
    return int(-(-value // step) * step)


def percent(share: float) -> str:
    """A share, such as a confidence, as "95 %" or "98.33 %": rounded down, so that it never promises more."""
    text = f"{int(share * 1e4 + 1e-6) / 100:.2f}".rstrip("0").rstrip(".")
    return f"{text} %"
