"""One seeded schedule of faults on a simulated line: transfers both ways, disconnects, reboots and kills.

The host sends a message and expects one back; the device answers. Every stream starts with the attempt's number, so
each end can tell byte for byte whether what it was given is what the other end sent in that session.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from kit.wire.reliable import Engine, LineSettings, Role, State
from kit.wire.session import Ending
from tests.wire.simulated_line import MS_NS, S_NS, Faults, Line

DEAD_AFTER_NS = 10 * S_NS
PATIENCE_NS = 60 * S_NS
LIMIT_NS = 300 * S_NS
_NUMBER_BYTES = 4


@dataclass(frozen=True)
class Schedule:
    """What happens on the line, and when (ns of virtual time)."""

    seed: int
    bytes_per_s: float
    latency_ns: int
    chunk_bytes: int
    faults: Faults
    reboots_ns: tuple[int, ...]
    kills_ns: tuple[int, ...]
    up_bytes: int
    down_bytes: int
    host: LineSettings
    device: LineSettings

    def disruptions(self) -> int:
        """Events that may end a session; each may cost one attempt."""
        gaps = self.faults.silences_ns + self.faults.stalls_ns
        long = sum(end_ns - start_ns > DEAD_AFTER_NS // 2 for start_ns, end_ns in gaps)
        return len(self.reboots_ns) + len(self.kills_ns) + long


@dataclass
class Outcome:
    """How a schedule ended: why each attempt failed, and how much was damaged on the way."""

    failures: list[Ending | str]
    end_ns: int
    steps: int
    resent_bytes: int
    damaged_packets: int
    duplicates: int
    most_held_bytes: int


def schedule(seed: int) -> Schedule:
    """A random schedule: about half of them with reboots, kills or disconnects, most with damage."""
    rng = random.Random(seed)
    rate = rng.choice((960.0, 11520.0, 11520.0, 92160.0, 300_000.0))
    chunk_bytes = rng.choice((8, 64, 512))
    up, down = (min(rng.randrange(1, 6_000), int(4 * rate)) for _ in range(2))
    span_ns = int((up + down) / rate * S_NS) + 200 * MS_NS
    times = [rng.randrange(span_ns) for _ in range(4)]
    length_ns = rng.choice((20 * MS_NS, 300 * MS_NS, DEAD_AFTER_NS // 2, 2 * DEAD_AFTER_NS))
    faults = Faults(
        bit_flip=rng.choice((0.0, 0.0, 1e-5, 1e-4, 3e-4)),
        byte_loss=rng.choice((0.0, 0.0, 1e-4, 1e-3)),
        byte_insert=rng.choice((0.0, 0.0, 1e-4, 1e-3)),
        doubled=rng.choice((0.0, 0.0, 0.01, 0.1)) * chunk_bytes / 512,
        late=rng.choice((0.0, 0.0, 0.01, 0.1)) * chunk_bytes / 512,
        silences_ns=((times[0], times[0] + length_ns),) if rng.random() < 0.3 else (),
        stalls_ns=((times[1], times[1] + length_ns // 2),) if rng.random() < 0.3 else (),
    )
    settings = LineSettings(
        rng.choice((None, rate, rate / 3, 10 * rate)),
        rng.choice((32, 100, 200, 1024, 4096)),
        rng.choice((256, 2048, 65536)),
        DEAD_AFTER_NS,
    )
    return Schedule(
        seed,
        rate,
        rng.choice((0, MS_NS, 16 * MS_NS, 100 * MS_NS)),
        chunk_bytes,
        faults,
        tuple(sorted(times[2:])) if rng.random() < 0.1 else (times[2],) if rng.random() < 0.25 else (),
        (times[3],) if rng.random() < 0.25 else (),
        up,
        down,
        replace(settings, largest_payload=4096, window_bytes=65536),
        settings,
    )


@lru_cache(64)
def content(attempt: int, size_bytes: int, way: str) -> bytes:
    """What is sent in an attempt: its number, then random bytes of its own."""
    return attempt.to_bytes(_NUMBER_BYTES, "little") + random.Random(f"{attempt} {way}").randbytes(size_bytes)


class _Station:
    """An end of the line with its engine; `work` moves bytes between engine and application."""

    engine: Engine

    def feed(self, data: bytes, now_ns: int) -> None:
        self.engine.feed(data, now_ns)

    def to_send(self, now_ns: int) -> bytes:
        self.work(now_ns)
        return self.engine.to_send(now_ns)

    def due_ns(self) -> int | None:
        return self.engine.due_ns()

    def work(self, now_ns: int) -> None:
        raise NotImplementedError


class Host(_Station):
    """Tries until an attempt completes: sends, compares what comes back, closes."""

    def __init__(self, plan: Schedule, draw: Callable[[], int]) -> None:
        self.plan, self.draw = plan, draw
        self.attempt = 0
        self.failures: list[Ending | str] = []
        self.complete = False
        self.begin(0)

    def begin(self, now_ns: int) -> None:
        self.attempt += 1
        self.engine = Engine(Role.HOST, now_ns, self.draw, self.plan.host)
        self.rest = memoryview(content(self.attempt, self.plan.up_bytes, "up"))
        self.expected = content(self.attempt, self.plan.down_bytes, "down")
        self.got = bytearray()
        self.changed_ns = now_ns

    def kill(self, now_ns: int) -> None:
        """The process is gone, without a word; a new one starts."""
        if not self.complete:
            self.failures.append("killed")
            self.begin(now_ns)

    def work(self, now_ns: int) -> None:
        if self.complete:
            return
        taken, given = self.engine.offer(self.rest), self.engine.take()
        self.rest = self.rest[taken:]
        self.got += given
        if taken or given:
            self.changed_ns = now_ns
        assert self.expected.startswith(self.got), f"wrong bytes at the host, seed {self.plan.seed}"
        if len(self.got) == len(self.expected):
            self.complete = True
            self.engine.close(now_ns, now_ns + S_NS)
        elif self.engine.ended or now_ns - self.changed_ns >= PATIENCE_NS:
            self.failures.append(self.engine.ended or "patience")
            self.begin(now_ns)

    def due_ns(self) -> int | None:
        if self.complete:
            return 0 if self.engine.ended else self.engine.due_ns()
        due_ns = self.engine.due_ns()
        return min(self.changed_ns + PATIENCE_NS, 0 if self.engine.ended else LIMIT_NS if due_ns is None else due_ns)


class Device(_Station):
    """Serves one session after another: takes a message, answers with another."""

    def __init__(self, plan: Schedule, draw: Callable[[], int], host: Host) -> None:
        self.plan, self.draw, self.host = plan, draw, host
        self.reboot(0)

    def reboot(self, now_ns: int) -> None:
        """Everything in memory is forgotten."""
        self.engine = Engine(Role.DEVICE, now_ns, self.draw, self.plan.device)
        self._start()

    def _start(self) -> None:
        self.got = bytearray()
        self.rest = memoryview(b"")
        self.answered = False

    def work(self, now_ns: int) -> None:
        self._take()
        if self.engine.state is not State.OPEN and self.engine.accept():
            self._start()
            self._take()
        self.rest = self.rest[self.engine.offer(self.rest) :]

    def _take(self) -> None:
        self.got += self.engine.take()
        attempt = int.from_bytes(self.got[:_NUMBER_BYTES], "little")
        if len(self.got) < _NUMBER_BYTES:
            return
        expected = content(attempt, self.plan.up_bytes, "up")
        assert 1 <= attempt <= self.host.attempt, f"bytes of no session, seed {self.plan.seed}"
        assert expected.startswith(self.got), f"wrong bytes at the device, seed {self.plan.seed}"
        if len(self.got) == len(expected) and not self.answered:
            self.answered = True
            self.rest = memoryview(content(attempt, self.plan.down_bytes, "down"))


def run(plan: Schedule) -> Outcome:
    """Run a schedule until the host is done and the session closed. Raises AssertionError for a wrong byte."""
    rng = random.Random(plan.seed + 1)
    host = Host(plan, lambda: rng.getrandbits(32))
    device = Device(plan, lambda: rng.getrandbits(32), host)
    line = Line(
        host, device, bytes_per_s=plan.bytes_per_s, latency_ns=plan.latency_ns, faults=plan.faults, seed=plan.seed
    )
    line.to_device.chunk_bytes = line.to_host.chunk_bytes = plan.chunk_bytes
    events = sorted(
        [(at, device.reboot) for at in plan.reboots_ns] + [(at, host.kill) for at in plan.kills_ns],
        key=lambda event: event[0],
    )
    outcome = Outcome(host.failures, 0, 0, 0, 0, 0, 0)
    while not (host.complete and host.engine.ended) and line.now_ns < LIMIT_NS:
        line.step(events[0][0] if events else LIMIT_NS)
        if events and line.now_ns >= events[0][0]:
            _, event = events.pop(0)
            event(line.now_ns)
            line.to_host.send(b"boot\r\n", line.now_ns)
        outcome.steps += 1
        if outcome.steps % 16 == 0:
            held = max(host.engine.held_bytes(), device.engine.held_bytes())
            outcome.most_held_bytes = max(outcome.most_held_bytes, held)
    outcome.end_ns = line.now_ns
    for engine in (host.engine, device.engine):
        outcome.resent_bytes += engine.counters.resent_bytes
        outcome.damaged_packets += engine.counters.damaged_packets
        outcome.duplicates += engine.counters.duplicates
    return outcome
