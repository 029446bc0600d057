"""Latency from a board's laps: single inferences where its counter is fine enough, else means of a few."""

import math
from dataclasses import dataclass, field

from kit.device.base import Progress
from kit.device.mlperf.grammar import DamagedError
from kit.device.mlperf.inference import WRAP_US, Session
from kit.errors import DeviceError, MeasurementError

STEPS_A_SAMPLE = 20
"""A sample lasts at least so many steps of the counter, so that a step is at most 5 % of it."""

DAMAGED_SHARE = 0.01
"""More damaged replies than this, and timing is refused: a lap is told once, and an altered digit may look right."""

_MOST_IN_A_SAMPLE = 1_000_000


@dataclass(slots=True)
class Laps:
    """Times on the board's counter; `resolution_us` is its step, the greatest common divisor of all laps so far."""

    session: Session
    resolution_us: int = 0
    _asked: int = 0
    _damage_before: int = field(init=False)

    def __post_init__(self) -> None:
        if not self.session.has_laps:
            raise DeviceError(
                "the board is in energy mode and tells no laps, only edges on a pin",
                where=self.session.dialogue.where,
                next_step="set it to performance mode for latency; for energy, time the edges in the power trace",
            )
        self._damage_before = self.session.dialogue.damage

    def window_us(self, count: int, warmup: int = 0) -> tuple[int, int]:
        """Start and end, in µs, of `count` inferences back to back. Raises MeasurementError, LinkError, DeviceError."""
        self._asked += 1
        try:
            done = self.session.infer(count, warmup)
        except DamagedError as error:
            self.session.start_over()
            step = "time again; if it happens again, look at the board's power and at the cable"
            raise MeasurementError(f"no laps: {error}", where=self.session.dialogue.where, next_step=step) from None
        self._refuse_a_bad_line()
        start_us, end_us = done.start_us or 0, done.end_us or 0
        self.resolution_us = math.gcd(self.resolution_us, start_us, end_us)
        took_us = (end_us - start_us) % WRAP_US
        most_us = (self.session.latency_s or 0.0) * (count + warmup) * 1.1e6 + 50_000
        if took_us > most_us:
            raise MeasurementError(
                f"the laps are {took_us / 1e6:.3g} s apart, and the host waited {most_us / 1e6:.3g} s at most",
                where=self.session.dialogue.where,
                next_step="is the board's counter in microseconds, as the protocol wants?",
            )
        return start_us, start_us + took_us

    def inferences_a_sample(self) -> int:
        """How many inferences make a sample of enough steps of the counter."""
        count, took_us = 1, 0
        while count < _MOST_IN_A_SAMPLE:
            for _ in range(10 if count == 1 else 3):
                start_us, end_us = self.window_us(count)
                took_us = end_us - start_us
            if took_us >= STEPS_A_SAMPLE * self.resolution_us:
                return count
            count *= 10
        raise MeasurementError(
            f"{count} inferences take {took_us} µs on the board's counter",
            where=self.session.dialogue.where,
            next_step="check the firmware's timer",
        )

    def samples_ns(
        self, inputs: list[bytes], count: int, min_s: float, progress: Progress | None
    ) -> tuple[int, list[int]]:
        """Inferences a sample, and at least `count` samples and `min_s` in all, in ns an inference.

        The inputs are loaded one after the other.
        """
        self.session.load(inputs[0])
        self.window_us(1, warmup=10)
        inferences = self.inferences_a_sample()
        samples: list[int] = []
        for index, data in enumerate(inputs, 1):
            self.session.load(data)
            share = index / len(inputs)
            while len(samples) < count * share or sum(samples) * inferences < min_s * 1e9 * share:
                start_us, end_us = self.window_us(inferences)
                samples.append(round((end_us - start_us) * 1000 / inferences))
                if progress is not None:
                    progress(min(len(samples), count), count)
        return inferences, samples

    def _refuse_a_bad_line(self) -> None:
        damaged = self.session.dialogue.damage - self._damage_before
        if damaged > max(1.0, DAMAGED_SHARE * self._asked):
            raise MeasurementError(
                f"{damaged} of {self._asked + damaged} replies were damaged, and a lap cannot be read twice",
                where=self.session.dialogue.where,
                next_step=_CABLE,
            )


_CABLE = "use a shorter cable or a lower baud rate, then time again"
