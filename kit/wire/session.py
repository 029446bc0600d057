"""One session of a reliable line: both halves, the orderly end, and noticing that the other side is gone."""

from dataclasses import dataclass
from enum import Enum

from kit.wire.estimate import LineEstimate
from kit.wire.packet import Ack, Close, Closed, Data, Packet, Probe, Reset, ranges_within
from kit.wire.receiver import Receiver, unwrapped
from kit.wire.sender import Sender

_CLOSE_EVERY_NS = 250_000_000


class Ending(Enum):
    """Why a session is over: what happened, and what can be done about it."""

    CLOSED = "the session was closed on this side", ""
    BY_PEER = "the other side has closed the session", "open a new session"
    CUT_OFF = "the other side has closed the session before all that it had to say arrived", "try again"
    REPLACED = "another host has opened a session on this line", "let one host at a time use the device"
    UNKNOWN = "the device no longer knows this session: it restarted, or serves another host", "connect again"
    VERSION = "the device speaks another version of the line's protocol", "use the same release on host and device"
    SILENT = "the other side no longer answers", "check the cable and that the agent runs, then connect again"

    def __init__(self, what: str, next_step: str) -> None:
        self.what = what
        self.next_step = next_step


@dataclass(frozen=True, slots=True)
class Terms:
    """What the two sides agreed on: sizes are those that the other side takes, except `own_window_bytes`."""

    largest_payload: int
    window_bytes: int
    own_window_bytes: int
    nominal_bytes_per_s: float | None
    dead_after_ns: int


class Session:
    """A full-duplex byte stream. Times are ns of any one clock; nothing here reads a clock or a line."""

    def __init__(self, number: int, terms: Terms, now_ns: int, first_offset: int = 0) -> None:
        self.number = number
        self.ended: Ending | None = None
        self.sender = Sender(
            number, LineEstimate(terms.nominal_bytes_per_s, terms.largest_payload), terms.window_bytes, first_offset
        )
        most_ranges = ranges_within(terms.largest_payload)
        self.receiver = Receiver(number, terms.own_window_bytes, first_offset, most_ranges)
        self._dead_after_ns = terms.dead_after_ns
        self._heard_ns = now_ns
        self._waiting_ns: int | None = None
        self._close_at_ns: int | None = None
        self._close_by_ns = 0

    def handle(self, packet: Packet, now_ns: int) -> Packet | None:
        """Take a packet of this session; what must be answered apart from acknowledgements is returned."""
        self._heard_ns = now_ns
        match packet:
            case Data():
                self.receiver.on_data(packet, now_ns)
            case Ack():
                self.sender.on_ack(packet, now_ns)
            case Probe():
                self.receiver.on_probe(packet, now_ns)
            case Close():
                complete = unwrapped(packet.offset, self.receiver.next) == self.receiver.next
                self.end(Ending.BY_PEER if complete else Ending.CUT_OFF)
                return Closed(self.number)
            case Closed() if self._close_at_ns is not None:
                self.end(Ending.CLOSED)
            case Reset():
                self.end(Ending.UNKNOWN)
        return None

    def close(self, now_ns: int, deadline_ns: int) -> None:
        """Take no more bytes; once the rest has arrived, or at the deadline, tell the other side that it is over."""
        if self._close_at_ns is None:
            self._close_at_ns, self._close_by_ns = now_ns, deadline_ns

    def closing(self) -> bool:
        """Whether this side has begun to close."""
        return self._close_at_ns is not None

    def end(self, ending: Ending) -> None:
        """It is over; the first reason counts. What has arrived in order can still be taken."""
        self.ended = self.ended or ending

    def held_bytes(self) -> int:
        """How many bytes are kept, to be sent or taken."""
        return self.sender.held_bytes() + self.receiver.held_bytes()

    def encoded(self, now_ns: int, room_bytes: int) -> list[bytes]:
        """Packets to send now; only data packets count against `room_bytes`."""
        if self.ended:
            return []
        self._watch(now_ns)
        packets = []
        ack_due_ns = self.receiver.due_ns()
        if ack_due_ns is not None and ack_due_ns <= now_ns:
            packets.append(self.receiver.ack().encoded())
        self.sender.on_time(now_ns)
        packets += self.sender.encoded(now_ns, room_bytes)
        return packets + self._closing_packets(now_ns)

    def due_ns(self, now_ns: int) -> int | None:
        """When to call `encoded` again; `now_ns` or earlier means at once."""
        if self.ended:
            return None
        if self.sender.can_send():
            return now_ns
        silent_ns = self._silent_ns() if self._waiting_ns is not None and self._outstanding() else None
        return min(
            (due for due in (self.receiver.due_ns(), self.sender.due_ns(), silent_ns, self._close_due_ns()) if due),
            default=None,
        )

    def _watch(self, now_ns: int) -> None:
        """End the session when something has been outstanding for too long without any packet."""
        if not self._outstanding():
            self._waiting_ns = None
        elif self._waiting_ns is None:
            self._waiting_ns = now_ns
        elif now_ns >= self._silent_ns():
            self.end(Ending.SILENT)

    def _outstanding(self) -> bool:
        return self.sender.outstanding() or self.closing()

    def _silent_ns(self) -> int:
        return max(self._heard_ns, self._waiting_ns or 0) + self._dead_after_ns

    def _close_due_ns(self) -> int | None:
        if self._close_at_ns is None:
            return None
        return self._close_at_ns if self.sender.idle() else self._close_by_ns

    def _closing_packets(self, now_ns: int) -> list[bytes]:
        due_ns = self._close_due_ns()
        if due_ns is None or now_ns < due_ns or self.ended:
            return []
        if now_ns >= self._close_by_ns:
            self.end(Ending.CLOSED)
        self._close_at_ns = min(now_ns + _CLOSE_EVERY_NS, self._close_by_ns)
        return [Close(self.number, self.sender.end() & 0xFFFFFFFF).encoded()]
