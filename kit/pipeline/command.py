"""A command that is measured: held until the meter runs, in a process group of its own, whole with its children."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from kit.errors import InterruptError, UsageError

_HOLD = """
import errno, os, signal, sys
go, told = map(int, sys.argv[1:3])
for each in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(each, signal.SIG_DFL)
os.set_inheritable(told, False)
os.write(told, b"+")
if not os.read(go, 1):
    sys.exit()
os.close(go)
try:
    os.execvp(sys.argv[3], sys.argv[3:])
except (OSError, ValueError) as error:  # a ValueError: an empty word
    os.write(told, str(getattr(error, "errno", errno.ENOENT)).encode())
"""
"""Waits for a byte, then becomes the command: what Python ignores for itself must not be ignored by it."""

_TERMINAL = 0
_PATIENCE_S = ((None, 3.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0))
_TICK_S = 0.01
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SignalledError(InterruptError):
    """A signal came that is to be passed on."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number


class HeldCommand:
    """A process that becomes `words` when it is released; it has our terminal, folder and streams.

    `to_stderr`: what it prints goes there, since standard output is kept for one JSON object.
    """

    def __init__(self, words: Sequence[str], *, to_stderr: bool = False) -> None:
        go, self._go = os.pipe()
        self._told, told = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _HOLD, str(go), str(told), *words],
                pass_fds=(go, told), process_group=0, stdout=2 if to_stderr else None,
            )  # fmt: skip
        except (OSError, ValueError) as error:  # too long a command line, or a NUL in it
            self._close(self._go, self._told)
            raise UsageError(f"cannot start {words[0]!r}: {error}", next_step="check the command after --") from None
        finally:
            self._close(go, told)
        os.read(self._told, 1)  # it is there, and computes nothing any more
        _adopt_orphans(True)
        self._words, self._is_released = words, False
        self._status: int | None = None
        self.process_id = self._process.pid
        """The process that becomes the command, which leads its group."""

    def release(self) -> int:
        """Let it become the command; host's monotonic ns just before. Raises UsageError if there is no such command."""
        start_ns, self._is_released = time.monotonic_ns(), True
        os.write(self._go, b"1")
        reason = os.read(self._told, 16)  # ends when the command has begun
        if reason:
            self._is_released, number = False, int(reason)
            what = "there is no such command" if number == errno.ENOENT else os.strerror(number)
            raise UsageError(f"cannot start {self._words[0]!r}: {what}", next_step="check the command after --")
        return start_ns

    def wait(self) -> int:
        """Until it has ended, which is not yet told to the kernel, so that its times can be read; host's monotonic ns.

        One that is stopped goes on: time that it does not run would be measured as if it did.
        """
        while True:
            found = os.waitid(os.P_PID, self.process_id, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
            if found is None or found.si_code != os.CLD_STOPPED:
                return time.monotonic_ns()
            os.waitid(os.P_PID, self.process_id, os.WSTOPPED | os.WNOHANG)
            self._signal(signal.SIGCONT)
            time.sleep(_TICK_S)

    def has_ended(self) -> bool:
        """Whether there is nothing left of it to wait for."""
        return os.waitid(os.P_PID, self.process_id, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def stop(self, number: int) -> int:
        """Pass a signal on to all of its group, and end those who do not heed it; host's monotonic ns of the end."""
        for each, patience_s in _PATIENCE_S:
            self._signal(number if each is None else each)
            deadline_s = time.monotonic() + patience_s
            while time.monotonic() < deadline_s:
                if self.has_ended():
                    return time.monotonic_ns()
                time.sleep(_TICK_S)
        return time.monotonic_ns()

    def cpu_time_ns(self) -> int:
        """CPU time of the command with its children: those that it waited for, and all of its group, ended or not.

        One whose parent is gone is ours, and is kept until `close`. To the ns for the command itself; its children's
        is counted in ticks of the kernel's, 10 ms (proc(5), stat).
        """
        own_ns = time.clock_gettime_ns((~self.process_id << 3) | 2)  # the clock of a process (clock_getcpuclockid(3))
        ticks = 0
        for folder in Path("/proc").iterdir():
            times = _ticks(folder, self.process_id) if folder.name.isdecimal() else None
            if times is not None:
                ticks += sum(times[2:] if int(folder.name) == self.process_id else times)
        return own_ns + ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")

    def close(self) -> int:
        """End it with its group if it still is there; its exit status, -n for signal n. What it left behind stays."""
        if self._status is None:
            if self._process.poll() is None:
                self._signal(signal.SIGKILL)
            self._status = self._process.wait()
            _adopt_orphans(False)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-self.process_id, os.WNOHANG)[0]:
                    pass
            self._close(self._go, self._told)
        return self._status

    def fate(self) -> str:
        """What became of the command, in words; it is ended if it has not yet."""
        return f"the command {ended_words(self.close())}" if self._is_released else "the command was not started"

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process_id, number)

    @staticmethod
    def _close(*descriptors: int) -> None:
        for each in descriptors:
            os.close(each)


@contextlib.contextmanager
def passing_on(command: HeldCommand) -> Iterator[None]:
    """While inside, the first signal that would end us is raised as SignalledError if `command` has not ended by then.

    One that comes later interrupts nothing: what is left to do takes seconds, and is what all was measured for. One
    that we were started to ignore, as by nohup, stays ignored.
    """

    def told(number: int, _: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        if not command.has_ended():
            raise SignalledError(number)

    before = {each: handler for each in _PASSED_ON if (handler := signal.getsignal(each)) != signal.SIG_IGN}
    for each in before:
        signal.signal(each, told)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def terminal_of(command: HeldCommand) -> Iterator[None]:
    """While inside, our terminal, if there is one, is the command's."""
    own_group = _given(command.process_id)
    try:
        yield
    finally:
        if own_group is not None:
            _given(own_group)


def ended_words(status: int) -> str:
    """An exit status (-n: signal n) in words."""
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _given(group: int) -> int | None:
    """Give our terminal to a process group, which then reads from it and hears Ctrl-C; the group that had it."""
    try:
        had = os.tcgetpgrp(_TERMINAL)
        if had not in (os.getpgrp(), group) and group != os.getpgrp():
            return None
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        try:
            os.tcsetpgrp(_TERMINAL, group)
        finally:
            signal.signal(signal.SIGTTOU, before)
    except OSError:
        return None
    return had


def _adopt_orphans(is_on: bool) -> None:
    """Whether those who lose their parent below us become our children, not init's: so their times can be read."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(is_on), 0, 0, 0)


def _ticks(folder: Path, group: int) -> tuple[int, int, int, int] | None:
    """utime, stime, cutime, cstime of a process in `group`; None for another, and one that is gone."""
    try:
        values = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if int(values[2]) != group:
        return None
    user, system, child_user, child_system = map(int, values[11:15])
    return user, system, child_user, child_system
