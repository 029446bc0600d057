"""The receiving half of a session: puts bytes in order within a bounded window, and says what has arrived."""

from kit.wire.estimate import ACK_DELAY_NS
from kit.wire.packet import MAX_RANGES, Ack, Data, Probe
from kit.wire.ranges import Ranges

_PACKETS_PER_ACK = 4
_MAX_GAPS = 512


def unwrapped(value: int, near: int, bits: int = 32) -> int:
    """The number nearest to `near` whose lowest `bits` bits are `value` (serial numbers of RFC 1982)."""
    span = 1 << bits
    return near + (value - near + span // 2) % span - span // 2


class Receiver:
    """Takes data packets in any order, keeps at most `window_bytes` of them, and gives their bytes in order.

    Positions count from the stream's first byte and do not wrap; only the wire's offsets do.
    """

    def __init__(self, session: int, window_bytes: int, first_offset: int = 0, most_ranges: int = MAX_RANGES) -> None:
        self.duplicates = 0
        self.next = first_offset
        self._session = session
        self._window_bytes = window_bytes
        self._most_ranges = most_ranges
        self._ready = bytearray()
        self._early = bytearray()
        self._ranges = Ranges()
        self._heard = 0
        self._since_ack = 0
        self._ack_due_ns: int | None = None
        self._promised = first_offset + window_bytes

    def on_data(self, packet: Data, now_ns: int) -> None:
        """Keep what is new and within the window; plan the acknowledgement."""
        in_turn = self._note(packet.number)
        self._since_ack += 1
        fresh = self._store(unwrapped(packet.offset, self.next), packet.payload)
        self.duplicates += not fresh
        urgent = packet.ask or not in_turn or not fresh or self._since_ack >= _PACKETS_PER_ACK
        self._plan_ack(now_ns if urgent else now_ns + ACK_DELAY_NS)

    def on_probe(self, packet: Probe, now_ns: int) -> None:
        """Answer at once."""
        self._note(packet.number)
        self._plan_ack(now_ns)

    def take(self, now_ns: int) -> bytes:
        """All bytes that are in order. The other side is told when that makes much room."""
        data = bytes(self._ready)
        self._ready.clear()
        if 2 * (self._edge() - self._promised) >= self._window_bytes:
            self._plan_ack(now_ns)
        return data

    def ready(self) -> int:
        """How many bytes `take` would give."""
        return len(self._ready)

    def held_bytes(self) -> int:
        """How many bytes are kept, in order or not; at most the window."""
        return len(self._ready) + len(self._early)

    def ack(self) -> Ack:
        """What has arrived so far; the latest ranges, as earlier ones were told before."""
        self._ack_due_ns, self._since_ack = None, 0
        self._promised = self._edge()
        ranges = tuple((start & 0xFFFFFFFF, end & 0xFFFFFFFF) for start, end in self._ranges.last(self._most_ranges))
        window = self._promised - self.next
        return Ack(self._session, self._heard & 0xFFFF, self.next & 0xFFFFFFFF, window, ranges)

    def due_ns(self) -> int | None:
        """When an acknowledgement is to be sent; None if nothing is to be said."""
        return self._ack_due_ns

    def _note(self, number: int) -> bool:
        """Whether this transmission is the one after the latest."""
        number = unwrapped(number, self._heard, bits=16)
        in_turn = number == self._heard + 1
        self._heard = max(self._heard, number)
        return in_turn

    def _plan_ack(self, due_ns: int) -> None:
        self._ack_due_ns = due_ns if self._ack_due_ns is None else min(self._ack_due_ns, due_ns)

    def _edge(self) -> int:
        """The position up to which there is room."""
        return self.next - len(self._ready) + self._window_bytes

    def _store(self, start: int, payload: bytes) -> bool:
        """Whether any of these bytes was new and kept."""
        if start == self.next and not self._ranges and len(payload) <= self._edge() - start:
            self._ready += payload
            self.next += len(payload)
            return True
        gaps = self._ranges.missing(max(start, self.next), min(start + len(payload), self._edge()))
        if not gaps or (len(self._ranges) >= _MAX_GAPS and gaps[0][0] != self.next):
            return False
        for low, high in gaps:
            self._keep(low, payload[low - start : high - start])
        self._deliver()
        return True

    def _keep(self, start: int, data: bytes) -> None:
        at = start - self.next
        self._early.extend(bytes(max(0, at + len(data) - len(self._early))))
        self._early[at : at + len(data)] = data
        self._ranges.add(start, start + len(data))

    def _deliver(self) -> None:
        """Move what has become contiguous."""
        start, end = self._ranges.first()
        if start == self.next:
            self._ready += self._early[: end - start]
            del self._early[: end - start]
            self._ranges.remove(start, end)
            self.next = end
