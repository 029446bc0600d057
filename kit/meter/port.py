"""A meter's serial port: opened raw, and read by a thread that moves bytes into memory and does nothing else."""

import contextlib
import errno
import os
import termios
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kit.errors import LinkError, MeasurementError
from kit.records import Int64Array
from kit.wire.port import FilePort

MOST_BYTES = 256 << 20
"""What one recording holds: 11 minutes of a PPK2 at its full rate, 22 of an LPM01A. Then it ends, and says so."""

_REST_S, _TICK_S, _FULL_BYTES = 0.002, 0.05, 2048
_SILENCE_S = 0.5


@dataclass(frozen=True, slots=True)
class Recording:
    """What came in, and when: arrivals int64 [reads, 2], host's monotonic ns after a read and the bytes until then.

    sent_ns: when the command to start was sent: nothing here was sampled before. before_stop: bytes that had come when
    it was to stop, at stop_ns. ended: why it ended before that.
    """

    data: bytes | bytearray
    arrivals: Int64Array
    sent_ns: int
    before_stop: int
    stop_ns: int
    ended: str = ""

    def ended_at(self, last_ns: int, period_ns: float) -> str:
        """Why it ended, if its last sample is of `last_ns`: much older than the stop, or no sample came for long."""
        missing_s = (self.stop_ns - last_ns) / 1e9
        if self.ended or missing_s < _SILENCE_S + 5 * period_ns / 1e9:
            return self.ended
        return f"the meter sent nothing of the last {missing_s:.1f} s"


class MeterPort:
    """The port at `path`, ours alone, 8N1; `where` is for messages. Raises MeasurementError if it cannot be opened."""

    def __init__(self, path: str, baud: int, where: str, *, most_bytes: int = MOST_BYTES) -> None:
        self.path, self.where, self._most_bytes = path, where, most_bytes
        self._file = FilePort(_opened(path, baud, where), where)
        self._thread: threading.Thread | None = None
        self.is_open = True

    @property
    def is_emulated(self) -> bool:
        """Whether it is a pseudo terminal: a program is at the other end, and no instrument."""
        return os.path.realpath(self.path).startswith("/dev/pts/")

    def send(self, data: bytes, timeout_s: float = 2.0) -> None:
        """Hand over all of `data`. Raises MeasurementError if the port is gone or takes nothing."""
        deadline_s = time.monotonic() + timeout_s
        while data:
            try:
                data = data[self._file.write(data) :]
            except LinkError as error:
                raise self.gone(error) from None
            if data and time.monotonic() > deadline_s:
                raise MeasurementError("it takes no commands", where=self.where, next_step="unplug it and plug it in")
            if data:
                time.sleep(_REST_S)

    def ask(
        self, command: bytes, is_whole: Callable[[bytes], bool], timeout_s: float, most_bytes: int = 65536
    ) -> bytes:
        """Send `command`; the answer as soon as `is_whole` of it, or what there is of it when the time is up."""
        self.send(command)
        answer, deadline_s = b"", time.monotonic() + timeout_s
        while not is_whole(answer) and len(answer) < most_bytes and (left_s := deadline_s - time.monotonic()) > 0:
            answer += self.read(min(left_s, _TICK_S))
        return answer

    def read(self, timeout_s: float) -> bytes:
        """What has come, as soon as there is any. Raises MeasurementError if the port is gone."""
        try:
            return self._file.read(timeout_s)
        except LinkError as error:
            raise self.gone(error) from None

    def drain(self, quiet_s: float = 0.03, timeout_s: float = 1.0) -> None:
        """Throw away what comes until nothing has come for `quiet_s`: the rest of an earlier run."""
        deadline_s = time.monotonic() + timeout_s
        while self.read(quiet_s) and time.monotonic() < deadline_s:
            pass

    def start(self, command: bytes) -> None:
        """Record from now on, and send `command`."""
        self._halt, self._data, self._marks, self._ended = threading.Event(), bytearray(), array("q"), ""
        self._thread = threading.Thread(target=self._record, daemon=True)
        self._sent_ns = time.monotonic_ns()
        self.send(command)
        self._thread.start()

    def stop(self, command: bytes) -> Recording:
        """Send `command`, take what is still on its way, and end; the recording survives a port that is gone."""
        if self._thread is None:
            raise MeasurementError("the meter was stopped before it was started", where=self.where)
        stop_ns, before_stop = time.monotonic_ns(), len(self._data)
        if not self._ended:
            try:
                self.send(command)
            except MeasurementError as error:
                self._ended = error.what
            time.sleep(_TICK_S)
        self._join()
        arrivals = np.frombuffer(self._marks, np.int64).reshape(-1, 2)
        return Recording(self._data, arrivals, self._sent_ns, before_stop, stop_ns, self._ended)

    @property
    def is_recording(self) -> bool:
        """Whether `start` was called, and `stop` not yet."""
        return self._thread is not None

    def try_send(self, data: bytes) -> None:
        """Hand over `data` if the port is still there."""
        with contextlib.suppress(MeasurementError):
            self.send(data, 0.2)

    def close(self) -> None:
        """Give the port back; never raises, may be called twice."""
        self.is_open = False
        self._join()
        self._file.close()

    def gone(self, error: LinkError) -> MeasurementError:
        """The same, as a meter's error."""
        return MeasurementError(error.what, where=self.where, next_step="plug the meter in again")

    def _record(self) -> None:
        """Short rests gather bytes: a wake-up for each packet would cost more than everything else."""
        while not self._halt.is_set():
            try:
                piece = self._file.read(_TICK_S)
            except LinkError as error:
                self._ended = error.what
                return
            if not piece:
                continue
            self._marks.extend((time.monotonic_ns(), len(self._data) + len(piece)))
            self._data += piece
            if len(self._data) > self._most_bytes:
                self._ended = f"a recording holds {self._most_bytes >> 20} MiB at most"
                return
            if len(piece) < _FULL_BYTES:
                time.sleep(_REST_S)

    def _join(self) -> None:
        if self._thread is not None:
            self._halt.set()
            self._thread.join()
            self._thread = None


def _opened(path: str, baud: int, where: str) -> int:
    """A descriptor of the port, raw and locked."""
    import serial

    try:
        with serial.Serial(path, baud, timeout=0, exclusive=True) as port:
            settings = termios.tcgetattr(port.fileno())
            settings[6][termios.VMIN] = 1  # or an empty port would read like the end of a file
            termios.tcsetattr(port.fileno(), termios.TCSANOW, settings)
            return os.dup(port.fileno())
    except (OSError, ValueError, TypeError, termios.error) as error:
        raise MeasurementError(_reason(path, error), where=where, next_step=_STEP) from None


_STEP = "check `port`, the cable, and that no other program has it; `edgeproof meter list` shows the ports"


def _reason(path: str, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        return f"there is no port {path}"
    if number in (errno.EACCES, errno.EPERM):
        return f"no permission to open {path}: add yourself to the group that `ls -l {path}` names"
    if number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in str(error):
        return f"{path} is in use by another program"
    return f"{path} is no serial port that can be used"
