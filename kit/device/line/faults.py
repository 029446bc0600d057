"""What goes wrong on an emulated line: each fault strikes by chance, a byte or a bit at a time, and repeats by seed."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from kit.spec.types import LineSpec


@dataclass(frozen=True, slots=True)
class LineFaults:
    """Faults beyond those of LineSpec. Rates are per byte carried; a stall and a disconnect last so many s.

    duplication: a byte arrives twice. noise: a byte arrives that nobody sent. stall: that direction pauses and loses
    nothing. disconnect: whatever arrives, in either direction, is lost for that time.
    """

    duplication_rate: float = 0.0
    noise_rate: float = 0.0
    stall_rate: float = 0.0
    stall_s: float = 0.0
    disconnect_rate: float = 0.0
    disconnect_s: float = 0.0


class Chance:
    """When something strikes that has the same small probability at every unit of a stream.

    The gaps are geometric, by inversion (Devroye, Non-Uniform Random Variate Generation, 1986, X.2), so that the
    units between are never looked at, and the strikes depend on the place in the stream and on no clock.
    """

    def __init__(self, probability: float, seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311  # faults, no secrets
        self._log = math.log1p(-probability) if probability else 0.0
        self.left: float = self._gap()
        self.strikes = 0

    def within(self, units: int) -> Iterator[int]:
        """Where it strikes in the next so many units, from 0; they are then behind us."""
        while self.left < units:
            yield int(self.left)
            self.strikes += 1
            self.left += 1 + self._gap()
        self.left -= units

    def _gap(self) -> float:
        if not self._log:
            return math.inf
        return math.log(1.0 - self._random.random()) // self._log


class Damage:
    """What one direction does to the bytes that it carries."""

    def __init__(self, line: LineSpec, faults: LineFaults, seed: str) -> None:
        self._flips = Chance(line.bit_error_rate, f"{seed} flip")
        self._losses = Chance(line.byte_loss_rate, f"{seed} loss")
        self._doubles = Chance(faults.duplication_rate, f"{seed} double")
        self._noise = Chance(faults.noise_rate, f"{seed} noise")
        self._garbage = random.Random(f"{seed} garbage")  # noqa: S311

    def apply(self, data: bytes) -> bytes:
        """What arrives of `data`: flipped first, then noise put before, then bytes doubled and lost."""
        count = len(data)
        out = bytearray(data)
        for bit in self._flips.within(8 * count):
            out[bit >> 3] ^= 1 << (bit & 7)
        noise, doubles = list(self._noise.within(count)), list(self._doubles.within(count))
        losses = list(self._losses.within(count))
        if not (noise or doubles or losses):
            return bytes(out)
        pieces = [bytes((byte,)) for byte in out]
        for at in doubles:
            pieces[at] *= 2
        for at in losses:
            pieces[at] = b""
        for at in noise:
            pieces[at] = self._garbage.randbytes(1) + pieces[at]
        return b"".join(pieces)

    def garbled(self, count: int) -> bytes:
        """What so many bytes look like at a wrong baud rate."""
        return self._garbage.randbytes(count)

    def counts(self) -> dict[str, int]:
        """How often each fault has struck."""
        return {
            "flipped_bits": self._flips.strikes,
            "lost_bytes": self._losses.strikes,
            "doubled_bytes": self._doubles.strikes,
            "invented_bytes": self._noise.strikes,
        }
