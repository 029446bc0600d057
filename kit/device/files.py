"""A device's files, through its agent; their times are brought to the host's clock."""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kit.device.conversation import RefusedError
from kit.errors import DeviceError, MeasurementError
from kit.files import MAX_PATHS, FileSamples, Row
from kit.records import Int64Array
from kit.spec.text import shown
from kit.wire import Message, Part

Ask = Callable[[str, Mapping[str, object], list[Part]], Message]
Offset = Callable[[], tuple[int, int]]
"""Device's clock less the host's time.monotonic_ns, and its error bound, ns."""

_MAX_SAMPLES = 1 << 22
_SLACK_NS = 100_000_000
_MOST_DRIFT = 1e-3  # of a clock that keeps time at all


class DeviceFiles:
    """Files (see kit.files) of a device whose agent answers `ask`. Raises DeviceError for an answer that cannot be."""

    def __init__(self, ask: Ask, offset_ns: Offset, where: str) -> None:
        self._ask, self._offset_ns, self._where = ask, offset_ns, where

    def is_there(self) -> bool:
        """Whether the agent knows these requests; one of an earlier release does not."""
        try:
            self._ask("file_glob", {"pattern": "/sys/class/power_supply/*"}, [])
        except RefusedError as error:
            if error.reason == "kind":
                return False
            raise
        return True

    def glob(self, pattern: str) -> list[str]:
        """See Files; only what meters need is told. Raises DeviceError for another place."""
        found = self._ask("file_glob", {"pattern": pattern}, []).blob().decode(errors="replace").split("\0")
        return sorted(path for path in found[:MAX_PATHS] if path and path == shown(path, 512))

    def read(self, path: str) -> str:
        """See Files. Raises MeasurementError where the device cannot, DeviceError for a place that it refuses."""
        return _clean(self._measured("file_read", {"path": path}).blob().decode(errors="replace"))

    def sample(self, paths: Sequence[str], *, period_s: float) -> "DeviceSampling":
        """See Files; a thread of the agent reads them while it works."""
        return DeviceSampling(self, paths, period_s)

    def offset_ns(self) -> tuple[int, int]:
        """See Offset."""
        return self._offset_ns()

    def begin(self, paths: Sequence[str], period_s: float) -> None:
        """Have the agent begin to sample; what was being sampled is dropped."""
        self._measured("file_sample", {"period_s": period_s}, "\0".join(paths).encode())

    def end(self, files: int) -> FileSamples:
        """Have it end, and everything since `begin`, in the device's own time."""
        t_ns, texts, left = [], list[Row](), 1
        while left:
            reply = self._measured("file_samples", {})
            left = reply.integer("left", 0, _MAX_SAMPLES)
            times, rows = self._part(reply, files)
            t_ns.append(times)
            texts += rows
            if len(texts) > _MAX_SAMPLES or not rows:
                raise self._wrong(f"{len(texts)} samples, and {left} left")
        return FileSamples(np.concatenate(t_ns), tuple(texts), reply.integer("error_ns"), reply.integer("late"))

    def check(self, samples: FileSamples, began_ns: int, ended_ns: int) -> None:
        """Raises DeviceError for times out of order, or outside of [began_ns, ended_ns] of the same clock."""
        t_ns = samples.t_ns
        if (np.diff(t_ns) <= 0).any():
            raise self._wrong("samples that are not in order")
        if t_ns[0] < began_ns - _SLACK_NS or t_ns[-1] > ended_ns + _SLACK_NS:
            raise self._wrong("samples of another time than it was asked for")

    def _part(self, reply: Message, files: int) -> tuple[Int64Array, list[Row]]:
        t_ns, index = reply.tensor(0), reply.tensor(1)
        texts = [_clean(text) for text in reply.blob(2).decode(errors="replace").split("\0")]
        if t_ns.dtype != np.int64 or index.dtype != np.int32 or index.shape != (t_ns.size, files) or t_ns.ndim != 1:
            raise self._wrong(f"samples of {t_ns.dtype} {t_ns.shape}, {index.dtype} {index.shape}")
        numbers = index.astype(np.int64)
        if numbers.min(initial=0) < -1 or numbers.max(initial=-1) >= len(texts):
            raise self._wrong("samples of texts that it does not tell")
        table = [*texts, None]  # -1 is the last: none
        return t_ns.astype(np.int64), [tuple(table[number] for number in row) for row in numbers.tolist()]

    def _measured(self, kind: str, fields: Mapping[str, object], blob: bytes | None = None) -> Message:
        """A reply; what a file's state is to blame for is a MeasurementError."""
        try:
            return self._ask(kind, fields, [] if blob is None else [blob])
        except RefusedError as error:
            if error.reason != "file":
                raise
            raise MeasurementError(error.what, where=self._where, next_step=error.next_step) from None

    def _wrong(self, what: str) -> DeviceError:
        step = "use the same edgeproof release on host and device"
        return DeviceError(f"it tells {what}", where=self._where, next_step=step)


class DeviceSampling:
    """Files being sampled by an agent.

    The clocks' offset is taken at both ends and in a straight line between them, as a steady drift leaves it.
    """

    def __init__(self, files: DeviceFiles, paths: Sequence[str], period_s: float) -> None:
        self._files, self._count = files, len(paths)
        self._offset_ns, self._error_ns = files.offset_ns()
        self._began_ns = time.monotonic_ns()
        files.begin(paths, period_s)

    def stop(self) -> FileSamples:
        """See Sampling."""
        samples = self._files.end(self._count)
        ended_ns = time.monotonic_ns()
        offset_ns, error_ns = self._files.offset_ns()
        moved_ns, bounds_ns = offset_ns - self._offset_ns, error_ns + self._error_ns
        if abs(moved_ns) > bounds_ns + _MOST_DRIFT * (ended_ns - self._began_ns):
            what = f"the device's clock moved by {abs(moved_ns) / 1e6:.3g} ms against the host's while files were read"
            raise MeasurementError(
                what, next_step="check that nothing sets it or restarts the device, then measure again"
            )
        self._files.check(samples, self._began_ns + self._offset_ns, ended_ns + offset_ns)
        passed = (samples.t_ns - samples.t_ns[0]) / max(1, int(samples.t_ns[-1] - samples.t_ns[0]))
        t_ns = samples.t_ns - self._offset_ns - np.rint(passed * moved_ns).astype(np.int64)
        if (np.diff(t_ns) <= 0).any():
            t_ns = samples.t_ns - self._offset_ns  # read in less time than the clocks are known to
        bound_ns = samples.error_ns + max(error_ns, self._error_ns) + 1
        return FileSamples(t_ns, samples.texts, bound_ns, samples.late)


def _clean(text: str) -> str:
    """Lines of a device that may be hostile: what would steer a terminal is replaced."""
    return "\n".join(shown(line, 4096) for line in text.split("\n")[:1024])
