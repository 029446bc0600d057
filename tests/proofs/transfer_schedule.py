"""Seeded schedules of faults for whole transfers: what the line does, what happens to host and device, and when."""

import random
import zlib
from collections import Counter
from dataclasses import dataclass, field
from heapq import heappush

from tests.wire.simulated_line import MS_NS, S_NS, Faults, Pipe, hits

LARGEST_MODEL_BYTES = 1 << 16
_HELLO_NS = 150 * MS_NS


@dataclass(frozen=True)
class Happening:
    """What happens `at_ns` after the start: a reboot, a kill, an unplugged cable or noise, and for how long."""

    at_ns: int
    kind: str
    lasts_ns: int


@dataclass(frozen=True)
class Plan:
    """One schedule; `models` are deployed in order. Once `cut_at_share` of the first is stored, the power fails."""

    seed: int
    bytes_per_s: float
    latency_ns: int
    chunk_bytes: int
    faults: Faults
    happenings: tuple[Happening, ...]
    models: tuple[bytes, ...]
    storage_bytes: int
    timeout_s: float
    cut_at_share: float | None

    def bound_s(self) -> float:
        """The longest that one run of the host may take: what the line needs, what is out of order, and patience."""
        gaps_ns = sum(end_ns - start_ns for start_ns, end_ns in self.faults.silences_ns + self.faults.stalls_ns)
        gaps_ns += sum(each.lasts_ns for each in self.happenings)
        return 3 * sum(map(len, self.models)) / self.bytes_per_s + gaps_ns / S_NS + 3 * self.timeout_s + 10.0

    def most_in_vain_bytes(self) -> float:
        """What a break may cost: pieces that arrive, wait behind a gap, or wait to be sent; backlog and window."""
        backlog_bytes = max(4096, 0.25 * self.bytes_per_s) + 0.3 * self.bytes_per_s
        return 3 * max(4096, 0.35 * self.bytes_per_s) + backlog_bytes


def squeezed_share(model: bytes) -> float:
    """How much of a model crosses a slow line, which carries it compressed where that is worth it."""
    share = len(zlib.compress(model)) / len(model)
    return share if share < 0.95 else 1.0


def plan(seed: int) -> Plan:
    """A random schedule: nearly all with damage or disconnects, most with reboots or kills."""
    rng = random.Random(seed)
    rate = rng.choice((5760.0, 11520.0, 11520.0, 23040.0, 92160.0))
    first = _model(rng, min(LARGEST_MODEL_BYTES, int(4 * rate)))
    models = (first, _model(rng, 1 << 13)) if rng.random() < 0.2 else (first,)
    models += (first,) if rng.random() < 0.15 else ()
    line_bytes = sum(squeezed_share(model) * len(model) for model in models)
    span_ns = int(1.1 * line_bytes / rate * S_NS) + _HELLO_NS
    chunk_bytes = max(rng.choice((8, 64, 256)), int(line_bytes) // 200)
    per_chunk = min(1.0, chunk_bytes / 512)
    storage = max(1, len(first) * 2 // 3) if rng.random() < 0.05 else 1 << 20
    faults = Faults(
        bit_flip=rng.choice((0.0, 0.0, 1e-5, 1e-4, 2e-4)),
        byte_loss=rng.choice((0.0, 0.0, 1e-5, 1e-4, 5e-4)),
        byte_insert=rng.choice((0.0, 0.0, 1e-5, 1e-4, 5e-4)),
        doubled=rng.choice((0.0, 0.0, 0.02, 0.1)) * per_chunk,
        late=rng.choice((0.0, 0.0, 0.02, 0.1)) * per_chunk,
        silences_ns=_spans(rng, 0.3, span_ns, (30, 300, 3_000, 15_000)),
        stalls_ns=_spans(rng, 0.3, span_ns, (30, 300, 1_500, 6_000)),
    )
    latency_ns, timeout_s = rng.choice((0, MS_NS, MS_NS, 16 * MS_NS, 50 * MS_NS)), rng.choice((2.0, 5.0, 20.0))
    happenings, cut_at_share = _happenings(rng, span_ns), rng.random() if rng.random() < 0.15 else None
    return Plan(seed, rate, latency_ns, chunk_bytes, faults, happenings, models, storage, timeout_s, cut_at_share)


def _model(rng: random.Random, most_bytes: int) -> bytes:
    """Of any size, or of any order of magnitude from one byte on; half of them can be compressed."""
    size = min(rng.choice((int(2 ** rng.uniform(0, 16)), *[rng.randrange(1, most_bytes)] * 2)), most_bytes)
    if rng.random() < 0.5:
        return rng.randbytes(size)
    return bytes(rng.choices(b"edge", k=size))


def _spans(rng: random.Random, share: float, span_ns: int, lengths_ms: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Now and then one span of time, somewhere."""
    start_ns = _moment(rng, span_ns)
    length_ns = rng.choice(lengths_ms) * MS_NS
    return ((start_ns, start_ns + length_ns),) if rng.random() < share else ()


def _happenings(rng: random.Random, span_ns: int) -> tuple[Happening, ...]:
    kinds = [kind for kind, share in (("reboot", 0.4), ("kill", 0.3), ("unplug", 0.2), ("noise", 0.2))
             for _ in range(2) if rng.random() < share]  # fmt: skip
    some = [Happening(_moment(rng, span_ns), kind, rng.choice((10, 200, 1_000, 4_000)) * MS_NS) for kind in kinds]
    return tuple(sorted(some, key=lambda each: each.at_ns))


def _moment(rng: random.Random, span_ns: int) -> int:
    """Mostly while a model is on its way, sometimes at any time, the greeting included."""
    return rng.randrange(_HELLO_NS, span_ns) if rng.random() < 0.8 else rng.randrange(2 * span_ns)


@dataclass
class CountedPipe(Pipe):
    """A pipe that counts the faults that truly happened, each by its name."""

    counts: Counter[str] = field(default_factory=Counter)

    def send(self, data: bytes, now_ns: int) -> None:
        at_ns = max(self.free_ns, now_ns)
        self.counts["writes held by a stall"] += any(
            begin_ns <= at_ns < end_ns for begin_ns, end_ns in self.faults.stalls_ns
        )
        super().send(data, now_ns)

    def _carry(self, chunk: bytes, at_ns: int) -> None:
        if any(begin_ns <= at_ns < end_ns for begin_ns, end_ns in self.faults.silences_ns):
            self.counts["chunks lost in a disconnect"] += 1
            return
        times_ns = [at_ns + self.latency_ns]
        if self._falls_on(self.faults.late):
            times_ns[0] += self.rng.randrange(100 * MS_NS)
            self.counts["chunks late, so out of order"] += 1
        if self._falls_on(self.faults.doubled):
            times_ns.append(times_ns[0] + self.rng.randrange(200 * MS_NS))
            self.counts["chunks doubled"] += 1
        for time_ns in times_ns:
            self._serial += 1
            heappush(self._events, (time_ns, self._serial, self._damaged(chunk)))

    def lose_all(self) -> None:
        """What is under way is gone."""
        self._events.clear()

    def _falls_on(self, probability: float) -> bool:
        return bool(probability) and self.rng.random() < probability

    def _damaged(self, chunk: bytes) -> bytes:
        faults, out = self.faults, bytearray(chunk)
        flips = hits(faults.bit_flip, 8 * len(out), self.rng)
        for bit in flips:
            out[bit >> 3] ^= 1 << (bit & 7)
        losses = hits(faults.byte_loss, len(out), self.rng)
        for at in reversed(losses):
            del out[at]
        inserts = hits(faults.byte_insert, len(out), self.rng)
        for at in reversed(inserts):
            out.insert(at, self.rng.randrange(256))
        self.counts.update({"bits flipped": len(flips), "bytes lost": len(losses), "bytes inserted": len(inserts)})
        return bytes(out)
