"""Put a model on a device by digest: from where it left off, in pieces that suit the link.

Pieces of a third of a second on a slow line, so that progress shows and little is lost when it breaks; 256 KiB on a
fast one, which the processors' caches hold. Compressed where a sample of the model shrinks and the line is slow.
"""

import time
import zlib
from collections.abc import Iterator

from kit.device.base import Progress
from kit.device.conversation import Conversation, RefusedError
from kit.errors import DeviceError, LinkError

MAX_PIECE_BYTES = 256 << 10
_MIN_PIECE_BYTES = 4096
_PIECE_S = 0.35
_SAMPLES, _SAMPLE_BYTES, _WORTHWHILE_SHARE = 8, 16 << 10, 0.95
_MEASURE_S = 1.0
_MEASURED_SLOW_BYTES_PER_S = 4e6


def put(talk: Conversation, model: bytes, digest: str, progress: Progress) -> None:
    """Send what the device lacks of `model`, over one link. Raises LinkError if that fails, DeviceError if refused."""
    pieces = _Pieces(model, talk.nominal_bytes_per_s)
    fields = {"digest": digest, "size_bytes": len(model)}
    try:
        reply = talk.stream("put", fields, pieces.since, progress)
    except RefusedError as error:
        if error.reason != "digest" or not pieces.start:
            raise
        reply = talk.stream("put", fields, pieces.since, progress)  # what was there before was damaged; it is gone now
    if not reply.flag("complete"):
        what = "the device took the whole model and says it is incomplete"
        raise DeviceError(what, where=talk.where, next_step="use the same edgeproof release on host and device")
    progress(len(model), len(model))


class _Pieces:
    """A model in pieces; `start` is where the device wanted to go on."""

    def __init__(self, model: bytes, nominal_bytes_per_s: float | None) -> None:
        self.start = 0
        self._model, self._rate = memoryview(model), nominal_bytes_per_s
        self._shrinks: bool | None = None

    def since(self, start: int) -> Iterator[tuple[memoryview, bool]]:
        """Every piece from there on, and whether it is worth compressing."""
        self.start = start
        begin_s, offset = time.monotonic(), start
        while offset < len(self._model):
            rate, elapsed_s = self._rate, time.monotonic() - begin_s
            if rate is None and elapsed_s > _MEASURE_S:
                rate = (offset - start) / elapsed_s
            is_slow = rate is not None and rate < _MEASURED_SLOW_BYTES_PER_S
            deflate = is_slow and self._is_worth_it()
            size_bytes = MAX_PIECE_BYTES
            if rate is not None:  # a compressed piece is a larger one, so that it compresses well
                size_bytes = int(min(MAX_PIECE_BYTES, max(_MIN_PIECE_BYTES, rate * _PIECE_S * (2 if deflate else 1))))
            yield self._model[offset : offset + size_bytes], deflate
            offset += size_bytes

    def _is_worth_it(self) -> bool:
        """Whether evenly spread samples shrink by more than a twentieth."""
        if self._shrinks is None:
            step = max(1, len(self._model) // _SAMPLES)
            samples = [bytes(self._model[i : i + _SAMPLE_BYTES]) for i in range(0, len(self._model), step)]
            squeezed = sum(len(zlib.compress(sample, 6)) for sample in samples)
            self._shrinks = squeezed < _WORTHWHILE_SHARE * sum(map(len, samples))
        return self._shrinks


class Persistence:
    """How long a transfer that breaks is tried again: until nothing that counts has arrived for `patience_s`.

    What counts is a hundredth of the model, or what its link moves in a second or takes as one piece, if that is less:
    a device that takes a byte a link would keep the host for ever.
    """

    MAX_BREAKS = 1000
    _FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 3.0

    def __init__(self, patience_s: float, size_bytes: int, least_bytes_per_s: float) -> None:
        self._patience_s, self._breaks, self._most = patience_s, 0, 0
        self._step_bytes = max(1, int(min(size_bytes // 100, least_bytes_per_s, MAX_PIECE_BYTES)))
        self._end_s, self._pause_s = time.monotonic() + patience_s, self._FIRST_PAUSE_S

    def note(self, done: int) -> None:
        """So much has arrived."""
        if done >= self._most + self._step_bytes:
            self._most, self._end_s = done, time.monotonic() + self._patience_s
            self._pause_s = self._FIRST_PAUSE_S

    def pause(self, error: LinkError) -> None:
        """Wait a little before the next try; longer every time that nothing arrived. Raises `error` at the end."""
        self._breaks += 1
        if self._breaks > self.MAX_BREAKS or time.monotonic() + self._pause_s > self._end_s:
            raise error
        time.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, self._LONGEST_PAUSE_S)
