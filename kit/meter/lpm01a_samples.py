"""What an LPM01A sends, decoded: lines of text, or samples of 2 bytes and frames of metadata (UM2269 rev 6)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kit.records import Float64Array

STAMPED = 1000
"""Samples from one timestamp to the next."""

MOST_DYNAMIC_A = 10e-3
"""Where the dynamic mode saturates: such a sample is no measurement."""

_FRAME = re.compile(
    rb"\xf0(?:([\xf1\xf2])(.{0,200}?)|(\xf3)(.{5})|([\xf4-\xf6])|([\xf7\xf8])(.{2})|(\xf9)(.))\xff\xff", re.DOTALL
)
_BEGUN = re.compile(rb"\xf0[\xf1-\xf9]")
_STAMP = re.compile(rb"timestamp: *(\d{1,9})s *(\d{1,3})ms")
_OURS = re.compile(rb"powershield *>|ack\b|info\b")
_ENDINGS = {
    0xF4: "the meter ended the acquisition",
    0xF5: "overcurrent: more than the meter can measure",
    0xF6: "the meter powered the target down",
}
_BINARY = np.arange(1 << 16)
_POWERS_OF_16 = 16.0 ** -np.arange(16)
_NEWLINE, _RETURN, _PLUS, _MINUS, _ZERO = 10, 13, 43, 45, 48


@dataclass(frozen=True, slots=True)
class Event:
    """At a byte: samples (current_a), a timestamp, how many were damaged at least, or the end with why."""

    byte: int
    current_a: Float64Array | None = None
    stamp_ms: int | None = None
    damaged: int = 0
    ended: str = ""


@dataclass
class Decoded:
    """current_a: float64 [n]; losses: (sample, lost before it), in order; pieces: (byte, sample) at each stretch's end.

    stamped: bytes of the first and the last timestamp, between which these tell losses; None where there is none.
    ended: why, as the meter said it; what follows is no measurement.
    """

    current_a: Float64Array
    losses: list[tuple[int, int]] = field(default_factory=list)
    pieces: list[tuple[int, int]] = field(default_factory=list)
    stamped: tuple[int, int] | None = None
    ended: str = ""


def read_binary(data: bytes, until: int | None = None) -> Iterator[Event]:
    """Samples `nvvv`, v * 16**-n A, between frames `F0 Fx ... FF FF`; a stretch that cannot be samples is damaged.

    n is never F in a sample, so that `F0 Fx` is a frame wherever it stands: a byte lost between two frames damages
    what is between these, and no more. What came after `until` tells only whether the stretch there is in step.
    """
    table = (_BINARY & 0xFFF) * _POWERS_OF_16[_BINARY >> 12]
    at = 0
    until = len(data) if until is None else until
    for frame in _FRAME.finditer(data):
        if frame.end() > until:
            break
        yield from _stretch(data, at, frame.start(), table)
        at = frame.end()
        kind = data[frame.start() + 1]
        if kind == 0xF3:
            yield Event(at, stamp_ms=int.from_bytes(frame[4][:4], "big") & 0x7FFF_FFFF)
        elif kind in _ENDINGS:
            yield Event(at, ended=_ENDINGS[kind])
        elif kind == 0xF1:
            yield Event(at, ended=f"the meter says: {_printable(frame[2])}")
    begun = _BEGUN.search(data, at)
    is_odd = begun is not None and (begun.start() - at) % 2 == 1
    stop = min(until, begun.start()) if begun else until
    yield from _stretch(data, at, at + (stop - at) // 2 * 2 - is_odd, table)


def _stretch(data: bytes, start: int, stop: int, table: Float64Array) -> Iterator[Event]:
    if stop <= start:
        return
    raw = np.frombuffer(data, ">u2", (stop - start) // 2, start)
    if (stop - start) % 2 or np.any(raw >> 12 == 15):
        yield Event(stop, damaged=(stop - start + 1) // 2)
    else:
        yield Event(stop, current_a=table[raw])


def read_ascii(data: bytes) -> Iterator[Event]:
    """Lines `DDDD+EE` or `DDDD-EE`, in A; timestamps, errors, `end` and a summary between; others are damaged."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw == _NEWLINE)
    starts = np.append(0, ends[:-1] + 1)[: len(ends)]
    stops = ends - ((ends > starts) & (raw[ends - 1] == _RETURN))
    value_a, is_sample = _values(raw, starts, stops)
    at, is_summary = 0, False
    for line in np.flatnonzero(~is_sample):
        if line > at:
            yield Event(int(starts[line]), current_a=value_a[at:line])
        at = int(line) + 1
        text = data[starts[line] : stops[line]].strip().lower()
        event = _told(text, int(ends[line]) + 1)
        is_summary = text.startswith(b"summary beg") or (is_summary and not text.startswith(b"summary end"))
        if not is_summary and not text.startswith(b"summary") and event:
            yield event
    if len(ends) > at:
        yield Event(int(ends[-1]) + 1, current_a=value_a[at:])


def _values(
    raw: NDArray[np.uint8], starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> tuple[Float64Array, NDArray[np.bool_]]:
    """Of each line, its value and whether it is one."""
    shaped = stops - starts == 7
    place = np.where(shaped, starts, 0)
    if len(raw) < 7:
        return np.zeros(len(starts)), np.zeros(len(starts), bool)
    c = raw[np.minimum(place[:, None] + np.arange(7), len(raw) - 1)].astype(np.int64) - _ZERO
    digits = c[:, [0, 1, 2, 3, 5, 6]]
    sign = c[:, 4] + _ZERO
    is_sample = shaped & ((digits >= 0) & (digits <= 9)).all(axis=1) & ((sign == _PLUS) | (sign == _MINUS))
    exponent = np.where(sign == _MINUS, -1, 1) * (10 * c[:, 5] + c[:, 6])
    mantissa = c[:, :4] @ np.array([1000, 100, 10, 1])
    return np.where(is_sample, mantissa * 10.0 ** np.where(is_sample, exponent, 0), 0.0), is_sample


def _told(text: bytes, byte: int) -> Event | None:
    """What a line that is no sample says; None for one that says nothing of samples."""
    if stamp := _STAMP.match(text):
        return Event(byte, stamp_ms=int(stamp[1]) * 1000 + int(stamp[2]))
    if text == b"end":
        return Event(byte, ended=_ENDINGS[0xF4])
    if text.startswith((b"error", b"err ")) or b"> err" in text:
        return Event(byte, ended=f"the meter says: {_printable(text)}")
    if b"overcurrent" in text:
        return Event(byte, ended=_ENDINGS[0xF5])
    return None if not text or _OURS.match(text) else Event(byte, damaged=1)


def _printable(text: bytes) -> str:
    return "".join(c for c in text.decode("ascii", "replace")[:160] if c.isprintable())


def assemble(events: Iterator[Event], rate_hz: float, *, is_binary: bool, most_a: float = np.inf) -> Decoded:
    """One series of samples, with what is missing: by damage, by timestamps that come too soon, by saturation.

    Binary samples of a stretch with too few are dropped with it: its bytes may be out of step with each other. Of a
    damaged one before the first timestamp or after the last, as many are told lost as its bytes could have been.
    """
    parts, found = list[Float64Array](), Decoded(np.empty(0))
    count, damaged, mark, before_ms = 0, 0, 0, -1
    since = (0, 0, 0)  # parts, losses and pieces at the timestamp before
    for event in events:
        if event.ended:
            found.ended = event.ended
            break
        if event.current_a is not None:
            parts.append(event.current_a)
            count += len(event.current_a)
        elif event.damaged:
            damaged += event.damaged
            found.losses.append((count, event.damaged))
        elif event.stamp_ms is not None:
            wanted = _between(before_ms, event.stamp_ms, rate_hz)
            missing = wanted - (count - mark) - (0 if is_binary else damaged)
            if before_ms >= 0 and is_binary:
                del found.losses[since[1] :]
            if before_ms >= 0 and missing > 0:
                if is_binary:
                    missing, count = wanted, mark
                    del parts[since[0] :], found.pieces[since[2] :]
                found.losses.append((count, missing))
            found.stamped = (found.stamped or (event.byte,))[0], event.byte
            before_ms, mark, damaged = event.stamp_ms, count, 0
            since = len(parts), len(found.losses), len(found.pieces) + 1
        found.pieces.append((event.byte, count))
    found.current_a = np.concatenate(parts) if parts else np.empty(0)
    return _without_saturated(found, most_a)


def _between(before_ms: int, stamp_ms: int, rate_hz: float) -> int:
    """Samples from one timestamp to another: whole thousands, as timestamps are only whole milliseconds."""
    elapsed_ms = (stamp_ms - before_ms) % (1 << 31)
    return round(elapsed_ms * rate_hz / 1000 / STAMPED) * STAMPED


def _without_saturated(found: Decoded, most_a: float) -> Decoded:
    """Samples at the end of the scale taken out, as lost."""
    bad = found.current_a >= 0.999 * most_a  # of 12 bits or four digits, the last is uncertain
    if not bad.any():
        return found
    kept = np.append(0, np.cumsum(~bad))
    losses = [(int(kept[at]), lost) for at, lost in found.losses]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], bad, [False]]).astype(np.int8)))
    losses += [(int(kept[start]), int(stop - start)) for start, stop in edges.reshape(-1, 2)]
    pieces = [(byte, int(kept[sample])) for byte, sample in found.pieces]
    return Decoded(found.current_a[~bad], sorted(losses), pieces, found.stamped, found.ended)
