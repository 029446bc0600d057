"""The sending half of a session: cuts bytes into packets, keeps a short queue, and sends again what was lost.

A line keeps the order, so whatever was transmitted before a transmission that arrived has arrived too, or is lost.
Every transmission has a number of its own, so a late acknowledgement is never mistaken for that of a resend.
"""

from collections import deque
from typing import NamedTuple

from kit.wire.estimate import LineEstimate
from kit.wire.packet import Ack, Data, Probe
from kit.wire.ranges import Ranges
from kit.wire.receiver import unwrapped

MAX_UNDER_WAY_BYTES = 1 << 20
"""A receiver may offer a larger window; this is what a sender uses of it."""

_FIRST_BACKLOG, _MIN_BACKLOG, _MAX_BACKLOG = 64 << 10, 4 << 10, 1 << 20
_BACKLOG_S = 0.25
_MAX_DOUBLINGS = 8


class _Transmission(NamedTuple):
    number: int
    start: int
    end: int
    size_bytes: int
    queued_bytes: int
    sent_ns: int
    crossed_bytes: int
    crossed_ns: int
    limited: bool


class Sender:
    """Positions count from the stream's first byte and do not wrap; only the wire's offsets do."""

    def __init__(self, session: int, line: LineEstimate, window_bytes: int, first_offset: int = 0) -> None:
        self.line = line
        self.resent_bytes = 0
        self.packets = 0
        self.acknowledged = first_offset
        self._session = session
        self._buffer = bytearray()
        self._next = first_offset
        self._edge = first_offset + min(window_bytes, MAX_UNDER_WAY_BYTES)
        self._arrived, self._lost = Ranges(), Ranges()
        self._under_way: deque[_Transmission] = deque()
        self._under_way_bytes = 0
        self._number = self._heard = 0
        self._crossed_bytes = self._crossed_ns = 0
        self._unanswered = 0
        self._timer_ns: int | None = None
        self._probe_wanted = False

    def offer(self, data: bytes | memoryview) -> int:
        """How many of these bytes were taken: as many as the line moves in a quarter of a second."""
        taken = data[: max(0, self.space())]
        self._buffer += taken
        return len(taken)

    def space(self) -> int:
        """How many bytes `offer` would take; not positive while the backlog is full."""
        rate = self.line.bytes_per_s
        limit = _FIRST_BACKLOG if rate is None else min(max(_MIN_BACKLOG, int(rate * _BACKLOG_S)), _MAX_BACKLOG)
        return limit - self._backlog()

    def ask(self) -> None:
        """Send a probe with the next packets."""
        self._probe_wanted = True

    def idle(self) -> bool:
        """Whether everything offered has arrived."""
        return not self._buffer

    def outstanding(self) -> bool:
        """Whether anything waits for the other side."""
        return bool(self._under_way or self._buffer or self._probe_wanted)

    def held_bytes(self) -> int:
        """How many bytes are kept, sent or not, because they may still be needed."""
        return len(self._buffer)

    def end(self) -> int:
        """The position after the last byte offered."""
        return self.acknowledged + len(self._buffer)

    def on_ack(self, ack: Ack, now_ns: int) -> None:
        """Forget what has arrived, plan to resend what has not; ignore one that speaks of what was never sent."""
        offset = unwrapped(ack.offset, self.acknowledged)
        heard = unwrapped(ack.heard, self._heard, bits=16)
        if offset > self._next or heard > self._number:
            return
        self._advance(offset)
        for start, end in ack.ranges:
            self._mark(unwrapped(start, self.acknowledged), unwrapped(end, self.acknowledged))
        edge = offset + min(ack.window_bytes, MAX_UNDER_WAY_BYTES)
        progress = edge > self._edge or heard > self._heard
        self._edge = max(self._edge, edge)
        self._resolve(heard, now_ns)
        if progress:
            self._unanswered = 0 if self._under_way or self._can_send() else self._unanswered
            self._timer_ns = now_ns

    def encoded(self, now_ns: int, room_bytes: int) -> list[bytes]:
        """Packets to send now: a probe if one is due, what was lost, then new bytes; at most one over `room_bytes`."""
        packets, size = [], 0
        self._arm(now_ns)
        if self._probe_wanted:
            packets.append(self._probe(now_ns))
        while size < room_bytes and self._under_way_bytes < self.line.window_bytes():
            segment = self._segment()
            if segment is None:
                break
            packets.append(self._data(*segment, now_ns))
            size += len(packets[-1])
        self._arm(now_ns)
        return packets

    def on_time(self, now_ns: int) -> None:
        """Ask what has arrived, if the answer is overdue."""
        due_ns = self.due_ns()
        if due_ns is not None and now_ns >= due_ns:
            self._unanswered = min(self._unanswered + 1, _MAX_DOUBLINGS)
            self._timer_ns = now_ns
            self._probe_wanted = True

    def due_ns(self) -> int | None:
        """When to call `on_time`; None while nothing is outstanding."""
        if self._timer_ns is None or not self.outstanding():
            return None
        return self._timer_ns + self.line.timeout_ns(self._under_way_bytes, self._unanswered)

    def can_send(self) -> bool:
        """Whether `encoded` has something to send right now."""
        return self._probe_wanted or (self._can_send() and self._under_way_bytes < self.line.window_bytes())

    def _backlog(self) -> int:
        return self.end() - self._next

    def _can_send(self) -> bool:
        return bool(self._lost) or self._new_bytes() > 0

    def _new_bytes(self) -> int:
        """Size of the next new segment: a whole one or all there is, unless nothing else can be done."""
        wanted = min(self._backlog(), self.line.payload_bytes())
        room = self._edge - self._next
        return wanted if wanted <= room else 0 if self._under_way else max(room, 0)

    def _arm(self, now_ns: int) -> None:
        """The timer runs from when something became outstanding, and from each progress."""
        if not self.outstanding():
            self._timer_ns = None
            self._unanswered = 0
        elif self._timer_ns is None:
            self._timer_ns = now_ns

    def _advance(self, offset: int) -> None:
        if offset > self.acknowledged:
            del self._buffer[: offset - self.acknowledged]
            self.acknowledged = offset
            self._arrived.remove(0, offset)
            self._lost.remove(0, offset)

    def _mark(self, start: int, end: int) -> None:
        if self.acknowledged <= start < end <= self._next:
            self._arrived.add(start, end)
            self._lost.remove(start, end)

    def _resolve(self, heard: int, now_ns: int) -> None:
        """Everything transmitted up to number `heard` has arrived by now, or is lost."""
        latest = None
        while self._under_way and self._under_way[0].number <= heard:
            latest = self._under_way.popleft()
            self._under_way_bytes -= latest.size_bytes
            self._crossed_bytes += latest.size_bytes
            if latest.end > latest.start:
                missing = self._arrived.missing(max(latest.start, self.acknowledged), latest.end)
                self.line.saw_packet(latest.size_bytes, lost=bool(missing))
                for start, end in missing:
                    self._lost.add(start, end)
        self._heard = max(self._heard, heard)
        if latest is None:
            return
        self._crossed_ns = now_ns
        if latest.number == heard:
            self.line.saw_round_trip(now_ns - latest.sent_ns, latest.queued_bytes)
        crossed = self._crossed_bytes - latest.crossed_bytes
        self.line.saw_rate(crossed, now_ns - latest.crossed_ns, limited=latest.limited)

    def _segment(self) -> tuple[int, int] | None:
        if self._lost:
            start, end = self._lost.pop_first(self.line.payload_bytes())
            self.resent_bytes += end - start
            return start, end
        size = self._new_bytes()
        if size <= 0:
            return None
        self._next += size
        return self._next - size, self._next

    def _data(self, start: int, end: int, now_ns: int) -> bytes:
        payload = bytes(self._buffer[start - self.acknowledged : end - self.acknowledged])
        more = self._can_send()
        number = self._number + 1
        packet = Data(self._session, number & 0xFFFF, start & 0xFFFFFFFF, payload, ask=not more).encoded()
        self._transmitted(start, end, len(packet), now_ns, limited=not more)
        return packet

    def _probe(self, now_ns: int) -> bytes:
        self._probe_wanted = False
        packet = Probe(self._session, (self._number + 1) & 0xFFFF).encoded()
        self._transmitted(self._next, self._next, len(packet), now_ns, limited=True)
        return packet

    def _transmitted(self, start: int, end: int, size_bytes: int, now_ns: int, *, limited: bool) -> None:
        if not self._under_way:
            self._crossed_ns = now_ns
        self._number += 1
        self.packets += 1
        self._under_way_bytes += size_bytes
        self._under_way.append(
            _Transmission(
                self._number,
                start,
                end,
                size_bytes,
                self._under_way_bytes,
                now_ns,
                self._crossed_bytes,
                self._crossed_ns,
                limited,
            )
        )
