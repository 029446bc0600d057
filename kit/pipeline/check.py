"""Gather what a test of a device and its link shows, in a given time: raw facts for `kit.judge.health`."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from kit.agent.state import agent_digest
from kit.device import Device, open_device
from kit.device.base import Progress
from kit.device.link import LinkHealth
from kit.digest import digest_bytes
from kit.errors import EdgeproofError, LinkError, UsageError
from kit.pipeline import smoke
from kit.pipeline.check_board import BOARD_PHASES, check_board
from kit.pipeline.watcher import Watcher, waiting_for
from kit.records import Conditions, Float32Array, HealthRecord, LinkTrial
from kit.spec.types import DeviceSpec

LEAST_S, MOST_S = 3.0, 3600.0
DURATIONS = "write --duration 20s or --duration 2min, say: from 3s to 1h"
PHASES = {
    "round trips": 0.05,
    "bytes there and back": 0.15,
    "to the device": 0.1,
    "from the device": 0.1,
    "known answers": 0.02,
    "steady speed": 0.58,
}
"""What is tried, in order, and the share of the whole time that each may take."""

_MOST_TRIPS, _MOST_ECHOES, _CLOCK_READINGS = 1000, 500, 8
_ECHO_SIZES = (0, 1, 7, 255, 256, 257, 4096, 65537, 1 << 20, 4 << 20)
_LEAST_BYTES, _MOST_BYTES = 16 << 10, 16 << 20
_FRAME_MARKS = (b"EDGP", b"\0", b"\xff")


class Checked(Device, Protocol):
    """A device whose agent can be checked: bytes there and back, and what its link has seen."""

    def echo(self, data: bytes) -> bytes:
        """The same bytes, back from the device."""
        ...

    def health(self) -> LinkHealth:
        """Counters of the link."""
        ...

    def forget(self, digest: str) -> bool:
        """Remove a model from the device."""
        ...


def phases(spec: DeviceSpec) -> dict[str, float]:
    """What is tried of this device, in order, and the share of the whole time that each takes."""
    return BOARD_PHASES if spec.board else PHASES


def check(spec: DeviceSpec, *, duration_s: float, seed: int, watcher: Watcher) -> HealthRecord:
    """Try a device and its link for about `duration_s`; random bytes are from `seed`.

    Raises:
        UsageError: a duration that is too short or too long.
        DeviceError, LinkError: the device does not answer, or refuses.
    """
    if not LEAST_S <= duration_s <= MOST_S:
        raise UsageError(f"a test takes from {LEAST_S:g} s to an hour, not {duration_s:g} s", next_step=DURATIONS)
    if spec.board:
        return check_board(spec, duration_s, seed, watcher)
    started_s = time.monotonic()
    watcher.start(waiting_for(spec))
    with closing(open_device(spec)) as device:
        trial = _Trial(device, spec, duration_s, seed, watcher, started_s)  # type: ignore[arg-type]
        try:
            trial.run()
        except LinkError:
            trial.deployed.clear()  # the device would not hear of it
            raise
        finally:
            trial.forget()
        return trial.record()


@dataclass(slots=True)
class _Trial:
    """One test under way: what was seen so far."""

    device: Checked
    spec: DeviceSpec
    duration_s: float
    seed: int
    watcher: Watcher
    started_s: float
    trips_ns: list[int] = field(default_factory=list)
    echo_sizes: list[int] = field(default_factory=list)
    wrong_bytes: int = 0
    to_device: float | None = None
    from_device: float | None = None
    clocks: list[tuple[int, int, int]] = field(default_factory=list)
    answers: tuple[int, int] = (0, 0)
    windows: list[tuple[float, int]] = field(default_factory=list)
    moments: list[tuple[float, Conditions]] = field(default_factory=list)
    deployed: set[str] = field(default_factory=set)
    _host_agent_digest: str = field(default_factory=agent_digest)
    _rng: np.random.Generator = field(init=False)
    _speeds: list[float] = field(default_factory=list)
    _noise: Float32Array | None = None
    _digest: str = ""

    def run(self) -> None:
        """Every phase, each within its share of the time that is left."""
        self._rng = np.random.default_rng(self.seed)
        self.look()
        steps: tuple[Callable[[float], None], ...] = (
            self.try_trips, self.try_echoes, self.try_sending, self.try_receiving, self.try_answers, self.try_speed,
        )  # fmt: skip
        left = 1.0
        for (name, share), step in zip(PHASES.items(), steps, strict=True):
            self.watcher.start(name)
            remaining_s = max(0.0, self.started_s + self.duration_s - time.monotonic())
            step(remaining_s * share / left)
            left -= share
            self.watcher.finish(name)
        self.look()

    def forget(self) -> None:
        """Remove the test's own models, where the agent knows how."""
        with contextlib.suppress(EdgeproofError):
            while self.deployed:
                self.device.forget(self.deployed.pop())

    def _deploy(self, model: bytes, progress: Progress | None = None) -> str:
        self.deployed.add(digest_bytes(model))  # before it is there: it may be cut off
        return self.device.deploy(model, progress)

    def look(self) -> None:
        """How the device is doing, and where its clock is, now."""
        self.moments.append((time.monotonic() - self.started_s, self.device.conditions()))
        before_ns = time.monotonic_ns()
        offset_ns, error_ns = self.device.clock_offset_ns()
        self.clocks.append(((before_ns + time.monotonic_ns()) // 2, offset_ns, error_ns))

    def try_trips(self, budget_s: float) -> None:
        """The smallest request there and back, again and again."""
        for _ in self._until(budget_s, least=8, most=_MOST_TRIPS):
            sent_ns = time.monotonic_ns()
            self.device.echo(b"")
            self.trips_ns.append(time.monotonic_ns() - sent_ns)

    def try_echoes(self, budget_s: float) -> None:
        """Payloads of growing sizes, then of any size that fits: random, and what framing may trip over."""
        fits = list(_ECHO_SIZES[:6])
        for index in self._until(budget_s, least=6, most=_MOST_ECHOES):
            nexts = _ECHO_SIZES[len(fits)] if len(fits) < len(_ECHO_SIZES) else None
            if index < len(fits):
                size = fits[index]
            elif nexts is not None and 2 * nexts / self._link_bytes_per_s < budget_s / 4:
                fits.append(nexts)
                size = nexts
            else:
                size = int(self._rng.integers(1, fits[-1] + 1))
            self._echo(self._payload(index, size))

    def _payload(self, index: int, size: int) -> bytes:
        """Mostly random; every fifth is one of the marks that frames and packets are told apart by."""
        if index % 5 == 4:
            mark = _FRAME_MARKS[index // 5 % len(_FRAME_MARKS)]
            return (mark * (size // len(mark) + 1))[:size]
        return self._rng.bytes(size)

    def _echo(self, data: bytes) -> None:
        sent_s = time.monotonic()
        back = self.device.echo(data)
        took_s = time.monotonic() - sent_s - 1e-9 * float(np.median(self.trips_ns))
        if len(data) >= 4096 and not data.startswith(_FRAME_MARKS):  # those would compress
            self._speeds.append(2 * len(data) / max(1e-6, took_s))
        self.echo_sizes.append(len(data))
        self.wrong_bytes += differing(data, back)

    @property
    def _link_bytes_per_s(self) -> float:
        """The best that was seen, or the line's own rate, or a guess until there is either."""
        nominal = self.device.health().nominal_bytes_per_s
        return min(max(self._speeds, default=nominal or 1e5), nominal or 1e12)

    def try_sending(self, budget_s: float) -> None:
        """A model of random bytes to the device, as large as suits link, time and storage."""
        free = self.device.identify().free_storage_bytes
        room = _MOST_BYTES if free is None else min(_MOST_BYTES, free // 4)
        size = int(max(_LEAST_BYTES, min(room, 0.8 * budget_s * self._link_bytes_per_s)))
        model, self._noise = smoke.noise(self.seed, size)
        told, had = self._told(budget_s), list[int]()

        def note(done: int, total: int) -> None:
            had.append(done)
            told(done, total)

        sent_s = time.monotonic()
        self._digest = self._deploy(model, note)
        if not had[0]:  # with a seed that was used before, it is there already
            self.to_device = len(model) / (time.monotonic() - sent_s)

    def try_receiving(self, budget_s: float) -> None:
        """Its answers from the device: the same random bytes, compared."""
        if self._noise is None:
            return
        one = np.ones((1, 1), np.float32)
        self.device.predict(self._digest, one, output=None, exact=False)  # loads the model
        speed = self.to_device or self._link_bytes_per_s
        most = max(1, (8 << 20) // self._noise.nbytes)
        rows = int(np.clip(0.4 * budget_s * speed / self._noise.nbytes, 1, most))
        rows = rows if self._noise.nbytes == smoke.MAX_ROW_BYTES else 1  # short rows that repeat would compress
        expected, received, started_s = self._noise.tobytes(), 0, time.monotonic()
        for _ in self._until(0.6 * budget_s, least=1, most=64):
            scores = self.device.predict(self._digest, np.repeat(one, rows, axis=0), output=None, exact=False)
            received += scores.nbytes
            self.wrong_bytes += differing(expected * rows, scores.tobytes())
            self.echo_sizes.append(scores.nbytes)
            self.from_device = received / (time.monotonic() - started_s)

    def try_answers(self, budget_s: float) -> None:
        """The model of known answer, deployed by digest, run and compared bit by bit."""
        del budget_s
        model, rows, scores = smoke.known_answer(self.seed)
        found = self.device.predict(self._deploy(model), rows, output=None, exact=False)
        right = int((found == scores).sum()) if found.shape == scores.shape else 0
        self.answers = (scores.size, right)

    def try_speed(self, budget_s: float) -> None:
        """Windows of back-to-back inferences, with a look at the device after each."""
        model, row = smoke.work()
        digest = self._deploy(model)
        self.device.run_busy(digest, row, duration_s=0)
        window_s = float(np.clip(budget_s / 30, 0.1, 1.0))
        next_clock_s = step_s = budget_s / _CLOCK_READINGS
        started_s = time.monotonic()
        for _ in self._until(budget_s - window_s, least=3, most=100_000):
            window = self.device.run_busy(digest, row, duration_s=window_s)
            self.windows.append(((window.end_ns - window.start_ns) / 1e9, window.inferences))
            if time.monotonic() - started_s > next_clock_s:
                next_clock_s += step_s
                self.look()
            else:
                self.moments.append((time.monotonic() - self.started_s, self.device.conditions()))

    def _until(self, budget_s: float, *, least: int, most: int) -> Iterator[int]:
        """0, 1, 2, ... until the time is spent, but `least` of them, and `most`."""
        told, end_s = self._told(budget_s), time.monotonic() + budget_s
        for index in range(most):
            if index >= least and time.monotonic() >= end_s:
                return
            yield index
            told(0, 0)

    def _told(self, budget_s: float) -> Callable[[int, int], None]:
        """Tells the watcher how much of the phase's time is over."""
        started_s, total_ms = time.monotonic(), max(1, int(1e3 * budget_s))
        return lambda _, __: self.watcher.update(min(total_ms, int(1e3 * (time.monotonic() - started_s))), total_ms)

    def record(self) -> HealthRecord:
        """What was seen, as it was."""
        health = self.device.health()
        clocks = np.array(self.clocks, np.int64).reshape(-1, 3).T
        windows = np.array(self.windows, np.float64).reshape(-1, 2)
        link = LinkTrial(
            round_trips_ns=np.array(self.trips_ns, np.int64),
            echo_sizes_bytes=np.array(self.echo_sizes, np.int64),
            wrong_bytes=self.wrong_bytes,
            to_device_bytes_per_s=self.to_device,
            from_device_bytes_per_s=self.from_device,
            nominal_bytes_per_s=health.nominal_bytes_per_s,
            sent_bytes=health.sent_bytes,
            resent_bytes=health.resent_bytes,
            damaged_packets=health.damaged_packets,
        )
        return HealthRecord(
            device=self.device.identify(), protocol="agent", duration_s=time.monotonic() - self.started_s,
            timeout_s=self.spec.timeout_s, timing_is_real=self.spec.timing_is_real,
            host_agent_digest=self._host_agent_digest,
            link=link, clock_t_ns=clocks[0], clock_offset_ns=clocks[1], clock_error_ns=clocks[2],
            asked_answers=self.answers[0], right_answers=self.answers[1],
            window_s=windows[:, 0].copy(), window_inferences=windows[:, 1].astype(np.int64),
            moment_s=np.array([s for s, _ in self.moments]), conditions=tuple(each for _, each in self.moments),
        )  # fmt: skip


def differing(sent: bytes, back: bytes) -> int:
    """How many bytes differ, or are missing or too many."""
    common = min(len(sent), len(back))
    first, second = np.frombuffer(sent, np.uint8, common), np.frombuffer(back, np.uint8, common)
    return int((first != second).sum()) + abs(len(sent) - len(back))
