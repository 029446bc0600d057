"""A reliable byte stream over a line that loses, alters, doubles or delays bytes, as a pure state machine.

Bytes of the line and times (ns of one clock, never decreasing) go in; bytes for the line come out. Nothing here waits,
reads a clock or draws a random number by itself, so a run is exactly repeatable. The protocol is in docs/line.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from kit.wire.packet import (
    DELIMITER,
    LINE_VERSION,
    MAX_PAYLOAD_BYTES,
    MIN_PAYLOAD_BYTES,
    Ack,
    Close,
    Closed,
    Data,
    Open,
    Opened,
    Packet,
    PacketDecoder,
    Probe,
    Reason,
    Reset,
)
from kit.wire.session import Ending, Session, Terms

WINDOW_BYTES = 64 << 10
DEAD_AFTER_NS = 10_000_000_000
_OPEN_EVERY_NS, _OPEN_SLOWEST_NS = 200_000_000, 1_000_000_000
_QUIET_NS = 50_000_000
_MAX_REPLIES = 8
_MAX_CANDIDATES = 4
_PACKETS_PER_WINDOW = 4
_ROOM_BYTES = 64 << 10


class Role(Enum):
    """The host opens sessions; the device answers, and serves one host at a time."""

    HOST = "host"
    DEVICE = "device"


class State(Enum):
    """LISTENING: a device without a session. OPENING: a host without an answer. OPEN, CLOSED: of the session."""

    LISTENING = "listening"
    OPENING = "opening"
    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class LineSettings:
    """What one side can take, and how patient it is.

    `nominal_bytes_per_s` is what the line can carry (baud / 10), None where nobody knows; it is only a first guess.
    """

    nominal_bytes_per_s: float | None = None
    largest_payload: int = MAX_PAYLOAD_BYTES
    window_bytes: int = WINDOW_BYTES
    dead_after_ns: int = DEAD_AFTER_NS


@dataclass(frozen=True, slots=True)
class LineCounters:
    """What an engine has seen in all its sessions; `round_trip_s` is that of the latest, without line time."""

    sent_bytes: int = 0
    received_bytes: int = 0
    sent_packets: int = 0
    received_packets: int = 0
    resent_bytes: int = 0
    damaged_packets: int = 0
    duplicates: int = 0
    round_trip_s: float | None = None


class Engine:
    """One end of a line. `draw` gives random uint32 numbers: session numbers that must not repeat.

    `feed` what arrives, send what `to_send` gives, and call `to_send` again at `due_ns` or after any other call.
    """

    def __init__(self, role: Role, now_ns: int, draw: Callable[[], int], settings: LineSettings | None = None) -> None:
        self.settings = settings or LineSettings()
        self._role = role
        self._draw = draw
        self._now_ns = now_ns
        self._decoder = PacketDecoder(self.settings.largest_payload)
        self._current: Session | None = None
        self._live: Session | None = None
        self._live_opened: Opened | None = None
        self._candidates: dict[int, tuple[Opened, Terms]] = {}
        self._refusal: Ending | None = None
        self._replies: list[Packet] = []
        self._nonce = draw() if role is Role.HOST else 0
        self._open_due_ns, self._open_every_ns = now_ns, _OPEN_EVERY_NS
        self._sent_ns = now_ns - _QUIET_NS
        self._sent_bytes = self._sent_packets = self._received_packets = 0
        self._resent_before = self._duplicates_before = 0

    @property
    def state(self) -> State:
        """Where the session that `take` and `offer` speak of stands."""
        if self.ended:
            return State.CLOSED
        if self._current:
            return State.OPEN
        return State.OPENING if self._role is Role.HOST else State.LISTENING

    @property
    def ended(self) -> Ending | None:
        """Why the session is over, or was refused; None while it is not."""
        return self._current.ended if self._current else self._refusal

    @property
    def counters(self) -> LineCounters:
        """What was seen so far."""
        live = self._live
        round_trip_ns = live.sender.line.round_trip_ns if live else None
        return LineCounters(
            self._sent_bytes,
            self._decoder.received_bytes,
            self._sent_packets,
            self._received_packets,
            self._resent_before + (live.sender.resent_bytes if live else 0),
            self._decoder.damaged,
            self._duplicates_before + (live.receiver.duplicates if live else 0),
            None if round_trip_ns is None else round_trip_ns / 1e9,
        )

    def feed(self, data: bytes, now_ns: int) -> bool:
        """Take bytes from the line, whatever they are; whether they completed a packet, so that there may be news."""
        self._now_ns = now_ns
        packets = self._decoder.feed(data)
        for packet in packets:
            self._received_packets += 1
            reply = self._handle(packet, now_ns)
            if reply is not None and len(self._replies) < _MAX_REPLIES:
                self._replies.append(reply)
        return bool(packets)

    def accept(self) -> bool:
        """Turn to the newest session that a host has opened; False if there is no new one."""
        if self._live is None or self._live is self._current:
            return False
        self._current = self._live
        return True

    def take(self) -> bytes:
        """All bytes of the session that have arrived in order and were not taken; empty if there are none."""
        return self._current.receiver.take(self._now_ns) if self._current else b""

    def ready(self) -> int:
        """How many bytes `take` would give."""
        return self._current.receiver.ready() if self._current else 0

    def offer(self, data: bytes | memoryview) -> int:
        """How many of these bytes were taken to be sent; 0 while the backlog is full or no session is open."""
        if self._current is None or self._current.ended or self._current.closing():
            return 0
        return self._current.sender.offer(data)

    def space(self) -> int:
        """How many bytes `offer` would take; not positive while the backlog is full."""
        return self._current.sender.space() if self._current else 0

    def held_bytes(self) -> int:
        """How many bytes are kept in all buffers; at most both windows, a backlog and one packet."""
        sessions = {id(each): each for each in (self._current, self._live) if each}.values()
        return self._decoder.held_bytes() + sum(each.held_bytes() for each in sessions)

    def close(self, now_ns: int, deadline_ns: int) -> None:
        """End the session once everything offered has arrived, or at the deadline."""
        self._now_ns = now_ns
        if self._current:
            self._current.close(now_ns, deadline_ns)

    def to_send(self, now_ns: int, room_bytes: int = _ROOM_BYTES) -> bytes:
        """Bytes for the line, at most one packet of data over `room_bytes`; empty if there is nothing to send now."""
        self._now_ns = now_ns
        packets = [reply.encoded() for reply in self._replies]
        self._replies.clear()
        if self.state is State.OPENING and now_ns >= self._open_due_ns:
            packets.append(self._open().encoded())
            self._open_due_ns = now_ns + self._open_every_ns
            self._open_every_ns = min(2 * self._open_every_ns, _OPEN_SLOWEST_NS)
        if self._live:
            packets += self._live.encoded(now_ns, room_bytes)
        return self._counted(packets, now_ns)

    def due_ns(self) -> int | None:
        """When to call `to_send` again; a time that has passed means at once, None that nothing is outstanding."""
        if self._replies:
            return self._now_ns
        if self.state is State.OPENING:
            return self._open_due_ns
        return self._live.due_ns(self._now_ns) if self._live else None

    def _counted(self, packets: list[bytes], now_ns: int) -> bytes:
        if not packets:
            return b""
        if now_ns - self._sent_ns >= _QUIET_NS:
            packets.insert(0, DELIMITER)  # noise that the other side collected meanwhile ends here
        data = b"".join(packets)
        self._sent_ns = now_ns
        self._sent_bytes += len(data)
        self._sent_packets += sum(len(packet) > 1 for packet in packets)
        return data

    def _open(self) -> Open:
        return Open(self._nonce, LINE_VERSION, self.settings.largest_payload, self.settings.window_bytes)

    def _handle(self, packet: Packet, now_ns: int) -> Packet | None:
        if self._role is Role.HOST and self._current is None:
            self._on_answer(packet, now_ns)
            return None
        if self._role is Role.DEVICE:
            if isinstance(packet, Open):
                return self._on_open(packet)
            self._promote(packet, now_ns)
        if isinstance(packet, Open | Opened):
            return None
        if self._live and packet.session == self._live.number and not self._live.ended:
            return self._live.handle(packet, now_ns)
        return self._stranger(packet)

    def _stranger(self, packet: Packet) -> Packet | None:
        """What a packet of a session that is over, or never was, is answered with."""
        match packet:
            case Close():
                return Closed(packet.session)
            case Data() | Probe() | Ack() if self._role is Role.DEVICE:
                return Reset(packet.session, Reason.UNKNOWN_SESSION, LINE_VERSION)
        return None

    def _on_answer(self, packet: Packet, now_ns: int) -> None:
        """A host waits for the answer to its Open; everything else belongs to sessions that are over."""
        if packet.session != self._nonce or self._refusal:
            return
        match packet:
            case Opened() if packet.version == LINE_VERSION and _usable(packet):
                self._live = self._current = Session(self._nonce ^ packet.device_nonce, self._terms(packet), now_ns)
                self._live.sender.ask()
            case Reset(reason=Reason.VERSION):
                self._refusal = Ending.VERSION

    def _on_open(self, packet: Open) -> Packet | None:
        """A device agrees, but keeps the session it has until the new one is used: the Open may be an old one."""
        if packet.version != LINE_VERSION:
            return Reset(packet.session, Reason.VERSION, LINE_VERSION)
        if not _usable(packet):
            return None
        if self._live_opened and self._live_opened.session == packet.session:
            return self._live_opened
        for opened, _ in self._candidates.values():
            if opened.session == packet.session:
                return opened
        own = self.settings
        opened = Opened(packet.session, LINE_VERSION, own.largest_payload, own.window_bytes, self._draw())
        while len(self._candidates) >= _MAX_CANDIDATES:
            del self._candidates[next(iter(self._candidates))]
        self._candidates[opened.session ^ opened.device_nonce] = opened, self._terms(packet)
        return opened

    def _promote(self, packet: Packet, now_ns: int) -> None:
        """The first packet of the agreed session makes it the one that lives."""
        if packet.session not in self._candidates or isinstance(packet, Reset | Close | Closed):
            return
        if self._live:
            self._live.end(Ending.REPLACED)
            self._resent_before += self._live.sender.resent_bytes
            self._duplicates_before += self._live.receiver.duplicates
        while packet.session in self._candidates:  # those agreed on later stay: this one's host may be gone already
            oldest = next(iter(self._candidates))
            self._live_opened, terms = self._candidates.pop(oldest)
        self._live = Session(packet.session, terms, now_ns)

    def _terms(self, peer: Open | Opened) -> Terms:
        own = self.settings
        pipelined = max(MIN_PAYLOAD_BYTES, peer.window_bytes // _PACKETS_PER_WINDOW)
        largest = min(peer.largest_payload, own.largest_payload, pipelined)
        return Terms(largest, peer.window_bytes, own.window_bytes, own.nominal_bytes_per_s, own.dead_after_ns)


def _usable(peer: Open | Opened) -> bool:
    return min(peer.largest_payload, peer.window_bytes) >= MIN_PAYLOAD_BYTES
