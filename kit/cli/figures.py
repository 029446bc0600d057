"""Figures as a person reads them on a terminal; one that was not obtained is an empty text, never a zero."""

import math

from kit.words import quantity


def bytes_text(size_bytes: float | None) -> str:
    """A size in B, kB, MB or GB (powers of 1000), to three digits."""
    return "" if size_bytes is None else quantity(size_bytes, "B") if size_bytes else "0 B"


def rate(bytes_per_s: float | None) -> str:
    """A rate in B/s, kB/s, MB/s or GB/s."""
    return "" if bytes_per_s is None else f"{bytes_text(bytes_per_s)}/s"


def duration(seconds: float | None) -> str:
    """A time in ns, µs, ms or s, to three digits."""
    return "" if seconds is None else quantity(seconds, "s")


def clock(seconds: float) -> str:
    """A time as ``0:42`` or ``12:05``, for what is left to wait."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}:{rest:02d}"


def hertz(frequency_hz: float | None) -> str:
    """A processor's frequency in GHz."""
    return "" if frequency_hz is None else f"{frequency_hz / 1e9:.2f} GHz"


def celsius(temperature_celsius: float | None) -> str:
    """A temperature in degrees Celsius."""
    return "" if temperature_celsius is None else f"{temperature_celsius:.1f} °C"


def percent(share: float | None) -> str:
    """A share (0 to 1) in percent."""
    return "" if share is None else quantity(share, "share")
