"""One row on the board: loaded, inferred, read twice, read back; again from the start after damage or a reboot."""

import time
from dataclasses import dataclass, field

from kit.device.mlperf import grammar
from kit.device.mlperf.dialogue import Dialogue
from kit.device.mlperf.grammar import DamagedError, Inference, RebootedError
from kit.device.mlperf.loading import Loader
from kit.device.mlperf.results import scores
from kit.errors import DeviceError, LinkError
from kit.spec.types import BoardSpec

SAMPLED_EVERY = 16
"""Under the read-back policy "sampled": one row in so many, and every row once the line was seen to fail."""

WRAP_US = 1 << 32
"""Where the counter of a 32-bit board starts again: every 71.6 minutes."""

_LOADS, _REBOOTS, _INFERS, _RESULTS = 40, 5, 5, 8  # how often, for one row, before giving up
_CLOCK_SLACK_S, _CLOCK_ERROR = 0.25, 0.1
_FALSE_ALARMS = 3


@dataclass(slots=True)
class BoardCounts:
    """What a session took. `reloads` are loads beyond one a row; `damaged_replies` were refused, `reboots` noticed."""

    rows: int = 0
    reloads: int = 0
    damaged_replies: int = 0
    reboots: int = 0
    read_backs: int = 0
    window: int = 0
    loading_bytes_per_s: float | None = None


@dataclass(slots=True)
class _Clock:
    """The board's counter beside the host's clock: a jump that the host did not see means a reboot."""

    lap_us: int | None = None
    host_s: float = 0.0
    false_alarms: int = 0

    def jumped(self, inference: Inference, asked_s: float, now_s: float) -> bool:
        """Whether the counter has not run on as the host's clock has; remembers the last lap."""
        if inference.start_us is None or inference.end_us is None:
            return False
        before, then_s = self.lap_us, self.host_s
        self.lap_us, self.host_s = inference.end_us, now_s
        if before is None or self.false_alarms >= _FALSE_ALARMS:
            return False
        gap_s = (inference.start_us - before) % WRAP_US / 1e6
        low_s = (asked_s - then_s) * (1 - _CLOCK_ERROR) - _CLOCK_SLACK_S
        return not low_s <= gap_s <= (now_s - then_s) * (1 + _CLOCK_ERROR) + _CLOCK_SLACK_S


@dataclass(slots=True)
class Session:
    """A board in dialogue; every result that it gives was verified as far as the policy asks."""

    dialogue: Dialogue
    board: BoardSpec
    has_laps: bool
    timeout_s: float
    loader: Loader = field(init=False)
    latency_s: float | None = None
    _loaded: bytes = b""
    _damage: int = 0
    _rows: int = 0
    _probe_loads: int = 0
    _classes: int = 0
    _clock: _Clock = field(default_factory=_Clock)

    def __post_init__(self) -> None:
        self.loader = Loader(self.dialogue, self.board.window)
        self._classes = len(self.board.output_order)

    def scores(self, data: bytes) -> list[float]:
        """The scores of one input, as often tried anew as is sensible. Raises LinkError, DeviceError."""
        if not 0 < len(data) <= grammar.MAX_BYTES:
            raise DeviceError(
                f"an input of {len(data)} bytes does not fit; the protocol takes 1 to {grammar.MAX_BYTES}",
                where=self.dialogue.where,
                next_step="check input_dtype in [board] of the device file, and the dataset's shape",
            )
        self._probe(data)
        reboots, problem = self.dialogue.reboots, DamagedError("")
        for _ in range(_LOADS):
            try:
                values = self._scores(data)
            except DamagedError as error:
                problem = error
                self.start_over()
                if self.dialogue.reboots - reboots >= _REBOOTS:
                    raise self._reboots_on() from None
                continue
            self._rows += 1
            return values
        raise self._gave_up(problem)

    def infer(self, count: int, warmup: int) -> Inference:
        """Run on what is loaded; a reply that was damaged is asked for again. Raises DamagedError, LinkError."""
        for _ in range(_INFERS):
            asked_s = time.monotonic()
            try:
                lines = self.dialogue.ask(
                    f"infer {count} {warmup}", silence_s=self._silence_s(count + warmup), reply_chars=_RESULT_CHARS
                )
                done = grammar.inference(lines, count, warmup, laps=self.has_laps)
            except RebootedError:
                raise
            except DamagedError as error:
                problem = error
                self.dialogue.recover()
                continue
            self.latency_s = (time.monotonic() - asked_s) / (count + warmup)
            if self._clock.jumped(done, asked_s, time.monotonic()):
                self._check_after_jump()
            return done
        raise problem

    def start_over(self) -> None:
        """In step again, and nothing that was loaded is relied on."""
        self._loaded = b""
        self.dialogue.recover()

    def load(self, data: bytes) -> None:
        """Have `data` in the board's buffer, as `scores` leaves it; not sent again if it is there already."""
        if self._loaded != data:
            self.scores(data)

    def counts(self) -> BoardCounts:
        """What it took so far."""
        counts = self.loader.counts
        return BoardCounts(
            rows=self._rows,
            reloads=counts.loads - self._rows - self._probe_loads,
            damaged_replies=self.dialogue.damage + self._damage,
            reboots=self.dialogue.reboots,
            read_backs=counts.read_backs,
            window=self.loader.window,
            loading_bytes_per_s=counts.loaded_bytes / counts.loading_s if counts.loading_s else None,
        )

    def _probe(self, data: bytes) -> None:
        """Once; what a window too large did is no sign of a bad line."""
        if not self.loader.window:
            self.loader.probe(data)
            self._probe_loads = self.loader.counts.loads
            self.loader.counts.loaded_bytes, self.loader.counts.loading_s = 0, 0.0
            self._damage, self.dialogue.damage = self.dialogue.damage, 0

    def _scores(self, data: bytes) -> list[float]:
        damage, is_clean = self.dialogue.damage, self.loader.load(data)
        self._loaded = data
        done = self.infer(1, 0)
        values = self._possible(self._agreed(done.results))
        if self._reads_back() or not is_clean or self.dialogue.damage > damage:
            self.loader.read_back(data)  # after the run: so it also shows that the board has not rebooted unseen
        self._classes = len(values)
        return values

    def _possible(self, text: str) -> list[float]:
        """The numbers; since they were read alike, what is wrong with them is the board's doing and not the line's."""
        try:
            values = scores(text, self.board)
        except DamagedError as error:
            step = 'if the board prints other numbers than probabilities, write output_kind = "scores" in [board]'
            raise DeviceError(str(error), where=self.dialogue.where, next_step=step) from None
        if self._classes and len(values) != self._classes:
            what = f"the board prints {len(values)} results, {self._classes} are due"
            raise DeviceError(what, where=self.dialogue.where, next_step="check output_order in [board]")
        return values

    def _agreed(self, first: str) -> str:
        """Results that were read twice alike, three times where the line is known to alter bytes; never outvoted.

        Other results than those of the inference mean an altered reply or a reboot: which, only a new load can tell.
        """
        alike, problem = 1, DamagedError("")
        for _ in range(_RESULTS):
            if alike >= (3 if self.dialogue.damage else 2):
                return first
            try:
                again = grammar.results(self.dialogue.ask("results", reply_chars=_RESULT_CHARS))
            except RebootedError:
                raise
            except DamagedError as error:
                problem = error
                self.dialogue.recover()
                continue
            if again != first:
                raise DamagedError("the results did not read alike twice")
            alike += 1
        raise problem

    def _reads_back(self) -> bool:
        if self.board.read_back == "sampled":
            return self._rows % SAMPLED_EVERY == 0 or self.dialogue.damage > 0
        return self.board.read_back == "always"

    def _check_after_jump(self) -> None:
        """The counter jumped: either the board has rebooted unseen, which the buffer shows, or its clock is odd."""
        if not self._loaded:
            return
        self.loader.read_back(self._loaded)
        self._clock.false_alarms += 1

    def _silence_s(self, inferences: int) -> float:
        """How long that many may take; the first is given the device file's time-out."""
        return self.timeout_s if self.latency_s is None else 0.5 + 1.5 * inferences * self.latency_s

    def _reboots_on(self) -> DeviceError:
        return DeviceError(
            f"the board rebooted {_REBOOTS} times over one row",
            where=self.dialogue.where,
            next_step="check its power supply, its watchdog and its stack; the row was not counted",
        )

    def _gave_up(self, problem: DamagedError) -> LinkError:
        said = f'; the board said "{problem.said[:100]}"' if problem.said else ""
        return LinkError(
            f"gave up on a row after {_LOADS} loads: {problem}{said}",
            where=self.dialogue.where,
            next_step="a shorter cable, a lower baud rate or smaller inputs; check [board] in the device file",
        )


_RESULT_CHARS = 16_384
