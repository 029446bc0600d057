"""Progress on stderr: one redrawn line on a terminal, else a line now and then."""

import os
import shutil
import sys
import time
from typing import TextIO

REDRAW_S = 0.1
QUIET_LINE_S = 30.0
BAR_CELLS = 20


class Progress:
    """Shows which step runs, how far the whole is and how long it will take.

    Args:
        expected_s: seconds that each step is expected to take, by name; the estimate of the time left scales them
            by how long the finished ones took against what was expected of them.
        ends_after_s: where the work itself ends after so long, s: the clock then tells what is left.
        stream: where to draw.
        quiet: draw nothing.
    """

    def __init__(
        self,
        expected_s: dict[str, float],
        *,
        ends_after_s: float | None = None,
        stream: TextIO | None = None,
        quiet: bool = False,
    ) -> None:
        self._expected_s, self._ends_after_s = dict(expected_s), ends_after_s
        self._stream = stream or sys.stderr
        self._live = not quiet and self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._quiet = quiet
        self._finished_s = 0.0
        self._started = time.monotonic()
        self._last_draw = 0.0 if self._live else self._started
        self._step = ""
        self._share = 0.0
        self._skipped_s = 0.0

    def start(self, step: str) -> None:
        """Begin a step."""
        self._step, self._share = step, 0.0
        self._draw()

    def update(self, done: int, total: int) -> None:
        """Within a step: `done` of `total` in whatever unit it has."""
        self._share = min(1.0, done / total) if total > 0 else 0.0
        self._draw()

    def finish(self, step: str, *, reused: bool = False) -> None:
        """End a step; one that was `reused` from an earlier run took no time and says nothing about the rest."""
        seconds = self._expected_s.pop(step, 0.0)
        if reused:
            self._skipped_s += seconds
        else:
            self._finished_s += seconds
        self._step, self._share = step, 0.0
        self._draw()

    def close(self) -> None:
        """Remove the line."""
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
        self._live = False
        self._quiet = True

    def left_s(self) -> float | None:
        """Estimated seconds left; None until there is something to go by."""
        elapsed_s = time.monotonic() - self._started
        if self._ends_after_s is not None:
            return max(0.0, self._ends_after_s - elapsed_s)
        current_s = self._share * self._expected_s.get(self._step, 0.0)
        done_s = self._finished_s + current_s
        if done_s <= 0.0:
            return None
        pace = elapsed_s / done_s
        return max(0.0, sum(self._expected_s.values()) - current_s) * pace

    def line(self, width: int) -> str:
        """The line as drawn, at most `width` columns."""
        left_s = self.left_s()
        remaining_s = sum(self._expected_s.values())
        whole_s = self._skipped_s + self._finished_s + remaining_s
        done_s = whole_s - remaining_s + self._share * self._expected_s.get(self._step, 0.0)
        share = done_s / whole_s if whole_s else 0.0
        filled = round(share * BAR_CELLS)
        bar = "█" * filled + "░" * (BAR_CELLS - filled)
        left = "" if left_s is None else f"  {_clock(left_s)} left"
        return f"{bar} {share:4.0%}{left}  {self._step}"[: max(10, width - 1)]

    def _draw(self) -> None:
        now = time.monotonic()
        if self._quiet or now - self._last_draw < (REDRAW_S if self._live else QUIET_LINE_S):
            return
        self._last_draw = now
        text = drawable(self.line(shutil.get_terminal_size().columns), self._stream)
        self._stream.write(f"\r\x1b[K{text}" if self._live else f"{text}\n")
        self._stream.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def drawable(text: str, stream: TextIO) -> str:
    """`text` with a bar of signs that the stream's encoding has."""
    return text if _can_encode(text, stream) else text.replace("█", "#").replace("░", ".").replace("µ", "u")


def _can_encode(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
