"""A transfer on stderr: share, rate and time left; one redrawn line on a terminal, else a line every few seconds."""

import os
import shutil
import sys
import time
from collections import deque
from typing import TextIO

from kit.cli.figures import bytes_text, clock, rate
from kit.cli.progress import BAR_CELLS, REDRAW_S, drawable

LINE_S = 5.0
"""Off a terminal, a line so often: enough to see that it goes on, few enough for a log."""

WINDOW_S = 5.0
"""The rate is that of so many last seconds, so that it follows the line and does not jump with each frame."""


class Transfer:
    """Call it with (bytes there, bytes in all) as they change; `close` removes the line; `done_bytes` were there last.

    Args:
        name: what is sent, in a word.
        stream: where to draw.
        quiet: draw nothing.
    """

    def __init__(self, name: str, *, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._name, self._stream, self._quiet = name, stream or sys.stderr, quiet
        self._live = not quiet and self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._seen: deque[tuple[float, int]] = deque()
        self._drawn_s = 0.0 if self._live else time.monotonic()
        self._had_bytes: int | None = None
        self.done_bytes = 0

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        """So much is there."""
        self.done_bytes = done_bytes
        now_s = time.monotonic()
        if self._had_bytes is None:
            self._begin(done_bytes, total_bytes)
        if not self._seen or done_bytes > self._seen[-1][1]:
            self._seen.append((now_s, done_bytes))
        while len(self._seen) > 2 and now_s - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        if not self._quiet and now_s - self._drawn_s >= (REDRAW_S if self._live else LINE_S):
            self._drawn_s = now_s
            text = drawable(self.line(done_bytes, total_bytes, shutil.get_terminal_size().columns), self._stream)
            self._stream.write(f"\r\x1b[K{text}" if self._live else f"{text}\n")
            self._stream.flush()

    @property
    def has_begun(self) -> bool:
        """Whether the device has said how much is there."""
        return self._had_bytes is not None

    def bytes_per_s(self) -> float | None:
        """The rate over the last few seconds, B/s; None until two moments are known."""
        if len(self._seen) < 2 or self._seen[-1][0] <= self._seen[0][0]:
            return None
        return (self._seen[-1][1] - self._seen[0][1]) / (self._seen[-1][0] - self._seen[0][0])

    def line(self, done_bytes: int, total_bytes: int, width: int) -> str:
        """The line as drawn, at most `width` columns."""
        share = done_bytes / total_bytes if total_bytes else 1.0
        filled = int(share * BAR_CELLS)
        speed = self.bytes_per_s()
        parts = [f"{'█' * filled}{'░' * (BAR_CELLS - filled)} {int(100 * share):3d} %"]
        parts.append(f"{bytes_text(done_bytes)} of {bytes_text(total_bytes)}")
        if speed:
            parts += [rate(speed), f"{clock((total_bytes - done_bytes) / speed)} left"]
        return "  ".join([*parts, self._name])[: max(10, width - 1)]

    def close(self) -> None:
        """Remove the line."""
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
        self._live, self._quiet = False, True

    def _begin(self, had_bytes: int, total_bytes: int) -> None:
        """What an earlier transfer left is told at once, since it explains where the bar starts."""
        self._had_bytes = had_bytes
        if 0 < had_bytes < total_bytes and not self._quiet:
            self._stream.write(f"resumed at {bytes_text(had_bytes)} of {bytes_text(total_bytes)}\n")
            self._stream.flush()
