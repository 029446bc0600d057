"""Inputs to the board: hex in chunks, several under way where the board buffers them, and read back."""

import time
from dataclasses import dataclass

from kit.device.mlperf.dialogue import Dialogue
from kit.device.mlperf.grammar import DamagedError, RebootedError, buffer_lines, expecting, payload

CHUNK_BYTES, PASSED_ON_CHUNK_BYTES, STREAMING_CHUNK_BYTES = 38, 26, 256
"""Bytes a chunk: `db `, 76 digits and `%` just fit 80 characters. Through an interface board 26, as the public runner
sends with a power manager; the streaming dialect takes 1028 characters."""

WINDOWS = (16, 8, 4, 2, 1)
"""Chunks under way at once, as they are probed."""

_PRINTS = 6
_FAILURES_BEFORE_SLOWER = 8


@dataclass(slots=True)
class LoadCounts:
    """What loading took: loads begun, chunks' bytes that were in loads that held, and the seconds of those."""

    loads: int = 0
    read_backs: int = 0
    loaded_bytes: int = 0
    loading_s: float = 0.0


class Loader:
    """Loads one input at a time; `window` is how many chunks may be under way, 0 until it was probed."""

    def __init__(self, dialogue: Dialogue, window: int) -> None:
        self._dialogue, self.counts = dialogue, LoadCounts()
        one_by_one = dialogue.interface_board or dialogue.is_streaming
        self.window = 1 if one_by_one else window
        self._chunk_bytes = CHUNK_BYTES
        if one_by_one:
            self._chunk_bytes = PASSED_ON_CHUNK_BYTES if dialogue.interface_board else STREAMING_CHUNK_BYTES
        self._failures = 0

    def probe(self, data: bytes) -> None:
        """Find the largest window at which `data` arrives whole, by reading it back. Raises LinkError.

        A window that fails is tried once more, since the line may be to blame; at 1 there is nothing left to learn.
        """
        for window in WINDOWS:
            for _ in range(2):
                self.window = window
                try:
                    self.load(data)
                    self.read_back(data)
                except DamagedError:
                    self._dialogue.recover()
                    continue
                return

    def load(self, data: bytes) -> bool:
        """Send `data` once; whether every reply was as it must be (if not, only a read-back can tell what is there).

        Raises DamagedError for a load that did not end on its last chunk, RebootedError, LinkError.
        """
        started_s = time.monotonic()
        self.counts.loads += 1
        try:
            is_clean = self._windowed(data) if self.window > 1 else self._one_by_one(data)
        except DamagedError:
            self._slow_down()
            raise
        self._failures = 0
        self.counts.loaded_bytes += len(data)
        self.counts.loading_s += time.monotonic() - started_s
        return is_clean

    def read_back(self, data: bytes) -> None:
        """Compare the board's buffer with `data`; where the line is known to alter bytes, every line twice.

        A line of the print that was damaged is looked at again in the next print. Raises DamagedError if the buffer
        is not `data` or cannot be read.
        """
        expected = buffer_lines(data)
        right, wrong = [0] * len(expected), [0] * len(expected)
        for _ in range(_PRINTS):
            self.counts.read_backs += 1
            for index, (have, want) in enumerate(zip(self._printed(len(data)), expected, strict=False)):
                right[index] += have == want
                wrong[index] += have != want and len(have) == len(want)
            if min(right) >= (2 if self._dialogue.damage else 1):
                return
            if any(bad > 1 and not good for bad, good in zip(wrong, right, strict=True)):
                raise DamagedError("the board's buffer is not what was sent")
        raise DamagedError("the board's buffer could not be read back")

    def _printed(self, size: int) -> list[str]:
        """The lines of one `db print`; none if it was damaged so that they cannot be told apart."""
        lines = -(-size // 8)
        try:
            have = self._dialogue.ask("db print", reply_chars=lines * len("m-buffer-00-00-00-00-00-00-00-00\r\n"))
        except RebootedError:
            raise
        except DamagedError:
            self._dialogue.recover()
            return []
        have = have[:-1] if len(have) == lines + 1 and not have[-1] else have  # one line end too many in the reference
        if len(have) != lines:
            self._dialogue.damage += 1
            return []
        return [payload(line) for line in have]

    def _chunks(self, data: bytes) -> list[str]:
        """Commands; the first is the short one, so that a few digits too many can never run past the end.

        The firmware drops what is left of a chunk once it has its N bytes, and writes a later one past its buffer.
        """
        first = len(data) % self._chunk_bytes or self._chunk_bytes
        starts = [0, *range(first, len(data), self._chunk_bytes)]
        return [f"db {data[at:end].hex()}" for at, end in zip(starts, [*starts[1:], len(data)], strict=True)]

    def _one_by_one(self, data: bytes) -> bool:
        expecting(self._dialogue.ask(f"db load {len(data)}"), len(data))
        chunks = self._chunks(data)
        for chunk in chunks[:-1]:
            if lines := self._dialogue.ask(chunk):
                raise DamagedError(f"a chunk was answered with {lines[0]!r}", lines)
        lines = [payload(line) for line in self._dialogue.ask(chunks[-1])]
        if lines != ["load-done"]:
            raise DamagedError(f"the last chunk was answered with {lines!r}", lines)
        return True

    def _windowed(self, data: bytes) -> bool:
        """Keep `window` chunks under way; a reply that is lost is waited for once, and spoils the clean bill.

        Nothing is sent before the board has said how many bytes it expects: else some could run past its buffer.
        """
        due_s = self._dialogue.send([f"db load {len(data)}"])
        line = self._dialogue.line(due_s)
        expecting([] if line is None else [line], len(data))
        chunks, sent, answered = self._chunks(data), 0, -1  # the reply to `db load` has its end still to come
        is_done, is_clean = False, True
        while answered < len(chunks):
            if sent < len(chunks) and sent - max(answered, 0) < self.window:
                until = min(max(answered, 0) + self.window, len(chunks))
                due_s = max(due_s, time.monotonic()) + (self._dialogue.send(chunks[sent:until]) - time.monotonic())
                sent = until
            line = self._dialogue.line(due_s)
            if line is None:
                answered, is_clean = sent, False
            elif line == "m-ready":
                answered += 1
            elif line == "m-load-done" and sent == len(chunks) and not is_done:
                is_done, is_clean = True, is_clean and answered == len(chunks) - 1
            elif line == "m-load-done" or line.startswith("e-["):
                raise DamagedError(f"a chunk was answered with {line!r}", [line])
            else:
                is_clean = False
        if not is_done:
            raise DamagedError("the board did not say that the load is done")
        self._dialogue.damage += not is_clean
        return is_clean

    def _slow_down(self) -> None:
        """After several failures on end, fewer at once: a board that drops bytes looks like a line that does."""
        self._failures += 1
        if self._failures >= _FAILURES_BEFORE_SLOWER and self.window > 1:
            self.window, self._failures = max(1, self.window // 2), 0
