"""A line in virtual time: two byte pipes with a rate, a latency and seeded faults. Nothing here waits.

`Pipe` moves bytes one way; `Line` is two of them and a clock. Whoever stands at an end is anything with
`feed(data, now_ns)`, `to_send(now_ns)` and `due_ns()`: an engine, or something that drives one.
"""

import heapq
import random
from dataclasses import dataclass, field
from typing import Protocol

S_NS = 1_000_000_000
MS_NS = 1_000_000


class End(Protocol):
    """What stands at an end of the line."""

    def feed(self, data: bytes, now_ns: int) -> object: ...
    def to_send(self, now_ns: int) -> bytes: ...
    def due_ns(self) -> int | None: ...


@dataclass(frozen=True)
class Faults:
    """Probabilities of a bit (flip), a byte (loss, an inserted one) or a chunk (doubled, late), each way.

    `silences_ns`: times [start, end) during which everything sent is lost; `stalls_ns`: during which it waits.
    """

    bit_flip: float = 0.0
    byte_loss: float = 0.0
    byte_insert: float = 0.0
    doubled: float = 0.0
    late: float = 0.0
    silences_ns: tuple[tuple[int, int], ...] = ()
    stalls_ns: tuple[tuple[int, int], ...] = ()

    def quiet(self) -> bool:
        return not (self.bit_flip or self.byte_loss or self.byte_insert)


@dataclass
class Pipe:
    """One direction. Bytes leave one after another at `bytes_per_s`, in chunks, and arrive `latency_ns` later."""

    bytes_per_s: float
    latency_ns: int
    faults: Faults
    rng: random.Random
    chunk_bytes: int = 64
    free_ns: int = 0
    sent_bytes: int = 0
    queued_ns: int = 0
    _events: list[tuple[int, int, bytes]] = field(default_factory=list)
    _serial: int = 0

    def send(self, data: bytes, now_ns: int) -> None:
        self.sent_bytes += len(data)
        at_ns = max(self.free_ns, now_ns)
        for start in range(0, len(data), self.chunk_bytes):
            chunk = data[start : start + self.chunk_bytes]
            for begin_ns, end_ns in self.faults.stalls_ns:
                at_ns = end_ns if begin_ns <= at_ns < end_ns else at_ns
            at_ns += round(len(chunk) / self.bytes_per_s * S_NS)
            self._carry(chunk, at_ns)
        self.free_ns = at_ns
        self.queued_ns = max(self.queued_ns, self.free_ns - now_ns)

    def next_ns(self) -> int | None:
        return self._events[0][0] if self._events else None

    def arrived(self, now_ns: int) -> bytes:
        chunks = []
        while self._events and self._events[0][0] <= now_ns:
            chunks.append(heapq.heappop(self._events)[2])
        return b"".join(chunks)

    def _carry(self, chunk: bytes, at_ns: int) -> None:
        if any(begin_ns <= at_ns < end_ns for begin_ns, end_ns in self.faults.silences_ns):
            return
        chunk = damaged(chunk, self.faults, self.rng)
        times_ns = [at_ns + self.latency_ns]
        if self.faults.late and self.rng.random() < self.faults.late:
            times_ns[0] += self.rng.randrange(100 * MS_NS)
        if self.faults.doubled and self.rng.random() < self.faults.doubled:
            times_ns.append(times_ns[0] + self.rng.randrange(200 * MS_NS))
        for time_ns in times_ns:
            self._serial += 1
            heapq.heappush(self._events, (time_ns, self._serial, chunk))


def damaged(chunk: bytes, faults: Faults, rng: random.Random) -> bytes:
    """The chunk with bits flipped, bytes lost and bytes inserted."""
    if faults.quiet():
        return chunk
    out = bytearray(chunk)
    for bit in hits(faults.bit_flip, 8 * len(out), rng):
        out[bit >> 3] ^= 1 << (bit & 7)
    for at in reversed(hits(faults.byte_loss, len(out), rng)):
        del out[at]
    for at in reversed(hits(faults.byte_insert, len(out), rng)):
        out.insert(at, rng.randrange(256))
    return bytes(out)


def hits(probability: float, count: int, rng: random.Random) -> list[int]:
    """Which of `count` independent trials succeed, by geometric gaps."""
    found, at = [], -1
    while probability > 0:
        at += 1 + int(rng.expovariate(1) / probability) if probability < 0.1 else 1
        if at >= count:
            break
        if probability < 0.1 or rng.random() < probability:
            found.append(at)
    return found


class Line:
    """Two pipes and a clock. `step` goes to the next event; ends may be replaced at any time (a reboot, a kill)."""

    def __init__(
        self,
        host: End,
        device: End,
        *,
        bytes_per_s: float = 11520.0,
        latency_ns: int = MS_NS,
        faults: Faults | None = None,
        seed: int = 0,
    ) -> None:
        rng = random.Random(seed)
        faults = faults or Faults()
        self.host, self.device = host, device
        self.now_ns = 0
        self.to_device = Pipe(bytes_per_s, latency_ns, faults, rng)
        self.to_host = Pipe(bytes_per_s, latency_ns, faults, rng)

    def step(self, until_ns: int) -> bool:
        """Let both ends send, then go to the next arrival or due time, at most to `until_ns`; False if it is that."""
        for end, pipe in ((self.host, self.to_device), (self.device, self.to_host)):
            if data := end.to_send(self.now_ns):
                pipe.send(data, self.now_ns)
        times = (self.to_device.next_ns(), self.to_host.next_ns(), self.host.due_ns(), self.device.due_ns())
        next_ns = min((time for time in times if time is not None), default=until_ns)
        self.now_ns = min(max(self.now_ns, next_ns), until_ns)
        for end, pipe in ((self.device, self.to_device), (self.host, self.to_host)):
            if data := pipe.arrived(self.now_ns):
                end.feed(data, self.now_ns)
        return self.now_ns < until_ns
