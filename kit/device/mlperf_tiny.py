"""The driver for boards whose own firmware speaks the MLPerf Tiny device-under-test protocol over a serial line.

The model is in the firmware: nothing is deployed. Results are exact as printed, read at least twice, and the input is
read back by the board file's policy. docs/boards.md says what is accepted, and what risk is left.
"""

import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kit.device.base import BusyWindow, ColdStartSamples, LatencySamples, MemorySamples, Progress
from kit.device.link import Link
from kit.device.mlperf import grammar
from kit.device.mlperf.dialogue import Dialogue
from kit.device.mlperf.grammar import DamagedError
from kit.device.mlperf.inference import BoardCounts, Session
from kit.device.mlperf.results import encode
from kit.device.mlperf.timing import Laps
from kit.device.serial import open_port
from kit.errors import DeviceError, LinkError
from kit.files import Files
from kit.records import (
    SINGLE_STREAM,
    Conditions,
    DeviceRecord,
    Float32Array,
    Int64Array,
    OperatorTime,
    Telemetry,
    Workload,
)
from kit.spec.types import BoardSpec, DeviceSpec

TIMED_ROWS = 5
"""Rows that timing goes through, evenly spread: each has to cross the line first."""

_CLOCK_PINGS, _TRIES = 8, 20

T = TypeVar("T")


class MlperfTinyDevice:
    """A Device (see kit.device.base) as far as such a board can be one; what it cannot do raises DeviceError.

    Raises LinkError if nothing answers at `spec.link` within `spec.timeout_s`. The reliable stream that `connect`
    would open is for our own agent, and is not used.
    """

    def __init__(self, connect: Callable[[], Link], spec: DeviceSpec) -> None:
        del connect
        self._spec, self._board = spec, spec.board or BoardSpec("mlperf-tiny")
        self._where = f"device {spec.name}"
        port = open_port(spec)
        self._dialogue = Dialogue(
            port, spec.baud, spec.timeout_s, self._where, interface_board=self._board.interface_board
        )
        try:
            self._dialogue.open()
            self.firmware, self.model = self._alike(lambda: grammar.profile(self._dialogue.ask("profile")))
            has_laps = self._alike(lambda: grammar.lap_us(self._dialogue.ask("timestamp")) is not None)
        except BaseException:
            self._dialogue.close()
            raise
        self._session = Session(self._dialogue, self._board, has_laps, spec.timeout_s)

    def identify(self) -> DeviceRecord:
        """What the board told: its name, firmware, model and how it tells time; the protocol has nothing more."""
        mode = "performance" if self._session.has_laps else "energy"
        dialect = ", streaming dialect" if self._dialogue.is_streaming else ""
        return DeviceRecord(
            name=self._spec.name,
            link=self._spec.link,
            emulated=self._spec.emulated,
            system=self.firmware,
            architecture="not told",
            cpu_model="not told",
            instruction_sets=(),
            logical_cpus=1,  # the protocol runs one inference at a time
            memory_bytes=None,
            runtime="firmware",
            runtime_version=self.firmware,
            providers=(),
            python_version="",
            agent_version="",
            agent_digest="",
            board=f"{self._dialogue.name}, model {self.model}, timestamps in {mode} mode{dialect}",
        )

    def conditions(self) -> Conditions:
        """The host's time; the protocol tells nothing of the board's state."""
        return Conditions(datetime.now(UTC).isoformat(timespec="milliseconds"), None, None, None, None, None, None)

    def deploy(self, model: bytes, progress: Progress | None = None) -> str:
        """Refused: the model is part of the firmware."""
        del model, progress
        raise DeviceError(
            f"a model cannot be deployed: {self.model} is part of the board's firmware",
            where=self._where,
            next_step="flash the firmware with the model, then: edgeproof score --device NAME --data DATA",
        )

    def predict(
        self,
        digest: str,
        inputs: NDArray[np.generic],
        *,
        output: str | None,
        exact: bool,
        progress: Progress | None = None,
    ) -> Float32Array:
        """Scores float32 [rows, classes], columns as the board prints them (`in_order` puts them into the dataset's).

        `digest` is the board's model name or empty. Raises LinkError if the line does not let a row through unharmed.
        """
        self._check(digest, inputs)
        if exact:
            raise DeviceError("a board computes as it does: there is no exact mode", where=self._where)
        del output
        scores = []
        for done, row in enumerate(inputs, 1):
            scores.append(self._session.scores(encode(row, self._board)))
            if progress is not None:
                progress(done, len(inputs))
        return np.asarray(scores, dtype=np.float32)

    def outputs(
        self,
        digest: str,
        inputs: NDArray[np.generic],
        *,
        output: str | None,
        exact: bool,
        progress: Progress | None = None,
    ) -> tuple[Float32Array, Int64Array]:
        """Raises DeviceError: a board prints scores, and no other outputs."""
        del digest, inputs, output, exact, progress
        step = "certify such a model on a device that runs an agent"
        raise DeviceError(
            "a board prints the scores of classes, and no other outputs", where=self._where, next_step=step
        )

    def time_inferences(
        self,
        digest: str,
        inputs: NDArray[np.generic],
        *,
        count: int,
        min_s: float,
        workload: Workload = SINGLE_STREAM,
        fresh: bool = True,
        progress: Progress | None = None,
    ) -> LatencySamples:
        """Samples of single inferences, or of means over a few where the counter is coarse; `clock` says which.

        Up to 5 rows in turn, a share of the samples each, after 10 warm-up inferences. `load_ns` is 0: there is no
        loading of a model. CPU time is the samples' sum, since nothing else runs. Raises MeasurementError for a line
        that damages replies.
        """
        self._check(digest, inputs)
        del fresh  # the model is always there
        if workload != SINGLE_STREAM:
            what = f"the board infers back to back, one row each, and not as {workload.scenario}"
            raise DeviceError(what, where=self._where, next_step="measure it as a single stream")
        laps = Laps(self._session)
        chosen = np.linspace(0, len(inputs) - 1, min(len(inputs), TIMED_ROWS)).astype(np.intp)
        data = [encode(inputs[index], self._board) for index in chosen]
        self._session.load(data[0])
        first_us = laps.window_us(1)
        inferences, samples = laps.samples_ns(data, count, min_s, progress)
        each = "one inference" if inferences == 1 else f"the mean of {inferences} inferences back to back"
        step = f"step {laps.resolution_us} us as seen"
        return LatencySamples(
            samples_ns=np.array(samples, dtype=np.int64),
            clock=f"board's lap counter, {step}; a sample is {each}, {len(data)} rows",
            clock_resolution_ns=math.ceil(laps.resolution_us * 1000 / inferences),
            load_ns=0,
            first_run_ns=(first_us[1] - first_us[0]) * 1000,
            cpu_ns=sum(samples) * inferences,
        )

    def measure_memory(self, digest: str, inputs: NDArray[np.generic], *, sessions: int) -> MemorySamples | None:
        """None: the protocol has no method."""
        del digest, inputs, sessions
        return None

    def run_busy(self, digest: str, inputs: NDArray[np.generic], *, duration_s: float) -> BusyWindow:
        """Infer back to back for about `duration_s`, on the first row and the board's counter; 0 s only loads it."""
        self._check(digest, inputs)
        laps = Laps(self._session)
        self._session.load(encode(inputs[0], self._board))
        start_us, end_us = laps.window_us(1)
        if not duration_s:
            return BusyWindow(end_us * 1000, end_us * 1000, 0, 0)
        count = max(1, laps.inferences_a_sample())
        start_us, end_us = laps.window_us(count)
        count = max(1, round(duration_s * 1e6 * count / max(1, end_us - start_us)))
        start_us, end_us = laps.window_us(count)
        return BusyWindow(start_us * 1000, end_us * 1000, count, (end_us - start_us) * 1000)

    def measure_cold_start(self, digest: str, inputs: NDArray[np.generic], *, sessions: int) -> ColdStartSamples | None:
        """None: there is no process to start."""
        del digest, inputs, sessions
        return None

    def profile_operators(
        self, digest: str, inputs: NDArray[np.generic], *, inferences: int
    ) -> tuple[OperatorTime, ...] | None:
        """None: the protocol has no method."""
        del digest, inputs, inferences
        return None

    def run_pattern(
        self, digest: str, inputs: NDArray[np.generic], *, pattern_s: Sequence[tuple[float, float]]
    ) -> tuple[BusyWindow, ...]:
        """Each busy stretch as `run_busy`; between them the board waits for its next command."""
        windows = []
        for busy_s, idle_s in pattern_s:
            windows.append(self.run_busy(digest, inputs, duration_s=busy_s))
            time.sleep(idle_s)
        return tuple(windows)

    def telemetry(self) -> list[Telemetry]:
        """Nothing: the protocol tells no state."""
        return []

    def files(self) -> Files | None:
        """None: a board has no files."""
        return None

    def clock_offset_ns(self) -> tuple[int, int]:
        """Offset of the board's counter from the fastest of 8 round trips (Cristian 1989); an altered lap is refused.

        The counter of a 32-bit board starts again after 71.6 minutes, and the offset with it.
        """
        trips = []
        for _ in range(_CLOCK_PINGS):
            sent_ns = time.monotonic_ns()
            lap_us = self._alike(lambda: grammar.lap_us(self._dialogue.ask("timestamp")), once=True)
            if lap_us is None:
                raise DeviceError("a board in energy mode tells no time", where=self._where)
            trip_ns = time.monotonic_ns() - sent_ns
            trips.append((trip_ns, lap_us * 1000 - sent_ns - trip_ns // 2))
        trip_ns, offset_ns = min(trips)
        agree = sum(abs(other_ns - offset_ns) <= (trip_ns + other_trip_ns) // 2 for other_trip_ns, other_ns in trips)
        if agree <= _CLOCK_PINGS // 2:
            raise DeviceError("the board's counter does not run steadily", where=self._where)
        return offset_ns, trip_ns // 2 + 1

    def cpu_time_ns(self) -> int:
        """Not told."""
        raise DeviceError("the protocol tells no processor time", where=self._where)

    def process_id(self) -> int | None:
        """None: there is no process."""
        return None

    def counts(self) -> BoardCounts:
        """What the line and the board cost so far: reloads, damaged replies, reboots, read-backs."""
        return self._session.counts()

    def close(self) -> None:
        """Give the port back; the board waits for its next command."""
        self._dialogue.close()

    def _check(self, digest: str, inputs: NDArray[np.generic]) -> None:
        if digest not in ("", self.model):
            raise DeviceError(
                f"the board has the model {self.model}, not {digest[:80]}",
                where=self._where,
                next_step="flash the firmware with that model",
            )
        if inputs.ndim < 1 or not len(inputs):
            raise DeviceError("there are no rows to send", where=self._where, next_step="check the dataset")

    def _alike(self, ask: Callable[[], T], *, once: bool = False) -> T:
        """What was told twice in a row alike (or `once`, well-formed), since nothing else vouches for it."""
        seen: list[T] = []
        for _ in range(_TRIES):
            try:
                seen.append(ask())
            except DamagedError:
                self._dialogue.recover()
                continue
            if once or seen[-2:-1] == seen[-1:]:
                return seen[-1]
        raise LinkError(
            "the board does not tell the same twice", where=self._where, next_step="check the cable and the baud rate"
        )
