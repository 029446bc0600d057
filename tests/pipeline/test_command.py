"""Commands that are held until they are measured: real processes, their times, their signals, their terminal."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from kit.errors import UsageError
from kit.pipeline.command import HeldCommand, SignalledError, ended_words, passing_on
from tests.signals import heard

SPIN = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass\n"


def spinning(seconds: float) -> list[str]:
    return [sys.executable, "-c", SPIN.format(seconds)]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_it_does_nothing_until_it_is_released(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    held = HeldCommand(["touch", str(mark)])
    time.sleep(0.3)
    assert not mark.exists()
    start_ns = held.release()
    end_ns = held.wait()
    assert held.close() == 0
    assert mark.exists()
    assert start_ns < end_ns <= time.monotonic_ns()


def test_its_length_is_that_of_the_command_and_not_of_what_held_it() -> None:
    """Least of some tries: an interpreter's start alone takes 10 ms and more."""
    lengths = []
    for _ in range(5):
        held = HeldCommand(["true"])
        time.sleep(0.15)
        lengths.append(-held.release() + held.wait())
        held.close()
    assert min(lengths) < 100_000_000


def test_one_that_is_never_released_never_runs_and_leaves_nothing(tmp_path: Path) -> None:
    before, mark = descriptors(), tmp_path / "mark"
    held = HeldCommand(["touch", str(mark)])
    assert held.fate() == "the command was not started"
    assert held.close() == held.close()
    assert not psutil.pid_exists(held.process_id)
    assert descriptors() == before
    assert not mark.exists()


@pytest.mark.parametrize("word", ["/no/such/command", ""], ids=["unknown", "empty"])
def test_no_such_command_is_told(word: str) -> None:
    before = descriptors()
    held = HeldCommand([word])
    with pytest.raises(UsageError, match=f"cannot start '{word}': there is no such command"):
        held.release()
    assert held.fate() == "the command was not started"
    held.close()
    assert descriptors() == before


def test_what_may_not_be_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no program")
    held = HeldCommand([str(tmp_path / "data")])
    with pytest.raises(UsageError, match="Permission denied"):
        held.release()
    held.close()


def test_words_that_no_process_can_have_are_told() -> None:
    with pytest.raises(UsageError, match="cannot start"):
        HeldCommand(["echo", "a\0b"])


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["true"], 0, "ended with status 0"),
        (["sh", "-c", "exit 3"], 3, "ended with status 3"),
        (["sh", "-c", "kill -TERM $$"], -15, "was ended by SIGTERM"),
    ],
)
def test_its_status(words: list[str], status: int, says: str) -> None:
    held = HeldCommand(words)
    held.release()
    held.wait()
    assert held.fate() == f"the command {says}"
    assert held.close() == status
    assert ended_words(status) == says


def test_its_cpu_time_can_still_be_read_when_it_has_ended() -> None:
    with closing(HeldCommand(spinning(0.3))) as held:
        time.sleep(0.1)
        before_ns = held.cpu_time_ns()
        held.release()
        held.wait()
        assert 0.3e9 <= held.cpu_time_ns() - before_ns < 0.8e9


def test_the_cpu_time_of_its_children_counts() -> None:
    """Those that it waited for, and one that runs on behind it: to the kernel's tick each."""
    child = f"{sys.executable} -c '{SPIN.format(0.2)}'"
    with closing(HeldCommand(["sh", "-c", f"{child}; {child}; sleep 0"])) as held:
        time.sleep(0.1)
        before_ns = held.cpu_time_ns()
        held.release()
        held.wait()
        assert 0.4e9 - 0.03e9 <= held.cpu_time_ns() - before_ns < 1.2e9


def test_one_that_runs_on_in_the_background_counts_while_it_lives(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    spin = f"{sys.executable} -c '{SPIN.format(0.25)}'; touch {mark}; exec sleep 30"
    script = f"({spin}) & while [ ! -e {mark} ]; do sleep 0.1; done"
    with closing(HeldCommand(["sh", "-c", script])) as held:
        held.release()
        held.wait()
        used_ns = held.cpu_time_ns()
        held.stop(signal.SIGTERM)
    assert used_ns > 0.22e9


def test_one_that_lost_its_parent_and_ended_counts(tmp_path: Path) -> None:
    """Nobody in its group has waited for it, so that its time is in nobody's; no trace of it stays behind."""
    mark = tmp_path / "mark"
    spin = f"{sys.executable} -c '{SPIN.format(0.3)}'; echo $$ > {mark}"
    script = f'(sh -c "{spin}" &); while [ ! -s {mark} ]; do sleep 0.1; done; sleep 0.3'
    before = {child.pid for child in psutil.Process().children()}
    with closing(HeldCommand(["sh", "-c", script])) as held:
        held.release()
        held.wait()
        used_ns = held.cpu_time_ns()
        adopted = {child.pid for child in psutil.Process().children()} - before - {held.process_id}
    assert used_ns > 0.27e9
    assert len(adopted) == 1, "ours, since an init would reap it, some sooner than others"
    assert not any(psutil.pid_exists(each) for each in adopted)


def test_it_gets_our_environment_and_the_signals_that_a_program_expects() -> None:
    """Python ignores SIGPIPE for itself; a command that inherits that writes on into a closed pipe."""
    program = "grep SigIgn /proc/self/status"
    direct = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=True)
    code = (
        "from kit.pipeline.command import HeldCommand\n"
        f"held = HeldCommand(['sh', '-c', {program!r}])\nheld.release()\nheld.wait()\nheld.close()\n"
    )
    root = Path(__file__).parents[2]
    through = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert through.stdout == direct.stdout


def test_what_it_prints_can_be_kept_from_standard_output() -> None:
    code = (
        "from kit.pipeline.command import HeldCommand\n"
        "held = HeldCommand(['echo', 'words'], to_stderr=True)\nheld.release()\nheld.wait()\nheld.close()\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert (done.stdout, done.stderr) == ("", "words\n")


def test_one_that_is_stopped_goes_on() -> None:
    with closing(HeldCommand(["sleep", "0.5"])) as held:
        held.release()
        os.kill(held.process_id, signal.SIGSTOP)
        start_s = time.monotonic()
        held.wait()
        assert time.monotonic() - start_s < 20
        assert held.close() == 0


class TestStopping:
    def started(self, script: str, *, children: int) -> HeldCommand:
        """A shell that has got so far that it has so many children."""
        held = HeldCommand(["sh", "-c", script])
        held.release()
        deadline_s = time.monotonic() + 30
        while len(psutil.Process(held.process_id).children(recursive=True)) < children:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        return held

    def test_a_signal_is_passed_on_and_heeded(self) -> None:
        with heard(signal.SIGINT):
            held = self.started("sleep 30; true", children=1)
        held.stop(signal.SIGINT)
        assert held.close() == -signal.SIGINT

    def test_its_children_hear_it_too(self) -> None:
        held = self.started("sleep 31 & sleep 30; true", children=2)
        children = psutil.Process(held.process_id).children(recursive=True)
        held.stop(signal.SIGTERM)
        held.close()
        assert not psutil.wait_procs(children, timeout=20)[1]

    def test_one_that_does_not_heed_is_killed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kit.pipeline.command._PATIENCE_S", ((None, 0.2), (signal.SIGTERM, 0.2), (9, 20.0)))
        held = self.started("trap '' INT TERM; while :; do sleep 1; done", children=1)
        held.stop(signal.SIGINT)
        assert held.close() == -signal.SIGKILL


@contextmanager
def held_sleep() -> Iterator[HeldCommand]:
    with closing(HeldCommand(["sleep", "30"])) as held:
        yield held
        held.stop(signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
class TestSignals:
    def test_they_are_raised_while_it_runs_and_as_before_after(self, number: signal.Signals) -> None:
        with heard(number), held_sleep() as held:
            with pytest.raises(SignalledError) as caught, passing_on(held):
                signal.raise_signal(number)
            assert caught.value.number == number
            assert signal.getsignal(number) is signal.SIG_DFL

    def test_a_second_one_does_not_interrupt_the_ending(self, number: signal.Signals) -> None:
        with heard(number), held_sleep() as held, passing_on(held):
            with pytest.raises(SignalledError):
                signal.raise_signal(number)
            signal.raise_signal(number)
            assert not held.has_ended()

    def test_one_that_comes_when_it_has_ended_interrupts_nothing(self, number: signal.Signals) -> None:
        with heard(number), closing(HeldCommand(["true"])) as held, passing_on(held):
            held.release()
            held.wait()
            assert held.has_ended()
            signal.raise_signal(number)
            signal.raise_signal(number)

    def test_one_that_is_ignored_stays_so(self, number: signal.Signals) -> None:
        with heard(number), held_sleep() as held:
            signal.signal(number, signal.SIG_IGN)
            with passing_on(held):
                signal.raise_signal(number)
            assert signal.getsignal(number) is signal.SIG_IGN
