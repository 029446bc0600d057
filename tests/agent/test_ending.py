"""An agent that is asked to end does so, whatever its threads are at."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import kit
from kit.agent.ending import TERMINATED
from kit.cli.agent import run
from kit.device.subprocess import agent_environment
from tests import signals

AGENT = """
import signal, sys, threading, time
from kit.agent import __main__ as agent
from kit.agent.server import Agent
{change}
sys.argv = ["agent", "--tcp", "127.0.0.1:0", "--cache", {cache!r}]
agent.main()
"""
HANGS = 'Agent.close = lambda self: (print("closing", flush=True), time.sleep(60))'
TELLS = 'Agent.close = lambda self: print("closing", flush=True)'
CHANGES = {
    "closing hangs": HANGS,
    "the main thread hears no signal": """
from kit.agent.desk import Desk
begin = Desk.__init__
def deaf(self, *arguments, **options):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    begin(self, *arguments, **options)
Desk.__init__ = deaf
""",
}
TAKEN_BY_ANOTHER = f"""
{TELLS}
def take():
    sys.stdin.readline()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
threading.Thread(target=take, daemon=True).start()
"""


def started(change, tmp_path):
    program = AGENT.format(change=change, cache=str(tmp_path))
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen([sys.executable, "-c", program], text=True, **pipes)
    assert "127.0.0.1" in process.stderr.readline()
    time.sleep(0.3)  # until its main thread waits
    return process


def test_the_status_is_a_shells():
    assert TERMINATED == 143


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_it_ends_within_seconds_whatever_hangs(tmp_path, change):
    with started(change, tmp_path) as process:
        process.terminate()
        assert process.wait(30) == TERMINATED


def test_a_signal_that_another_thread_takes_wakes_the_main_one(tmp_path):
    with started(TAKEN_BY_ANOTHER, tmp_path) as process:
        process.stdin.write("now\n")
        process.stdin.flush()
        assert process.stdout.readline() == "closing\n"
        assert process.wait(30) == TERMINATED


def test_closing_is_not_interrupted_by_more_of_them(tmp_path):
    change = 'Agent.close = lambda self: (print("closing", flush=True), time.sleep(1), print("closed", flush=True))'
    with started(change, tmp_path) as process:
        process.terminate()
        assert process.stdout.readline() == "closing\n"
        for _ in range(3):
            process.terminate()
            time.sleep(0.05)
        assert process.stdout.readline() == "closed\n"
        assert process.wait(30) == TERMINATED


def test_another_signal_does_not_end_it(tmp_path):
    with started(f"{TELLS}\nsignal.signal(signal.SIGUSR1, lambda *_: None)", tmp_path) as process:
        process.send_signal(signal.SIGUSR1)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.terminate()
        assert process.stdout.readline() == "closing\n"
        assert process.wait(30) == TERMINATED


@pytest.fixture
def heard():
    """What this process starts ignores no SIGINT, which a test run in the background does."""
    with signals.heard(signal.SIGINT):
        yield


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, TERMINATED)], ids=str)
def test_one_that_came_before_it_was_loaded_ends_it_and_says_nothing(tmp_path, number, status):
    """The signal waits, blocked, as `edgeproof agent run` leaves it, until there is an agent to take it."""
    words = [sys.executable, "-m", "kit.agent", "--tcp", "127.0.0.1:0", "--cache", str(tmp_path)]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [number])  # a child begins with what its parent blocks
    try:
        process = subprocess.Popen(words, env=agent_environment(), stderr=subprocess.PIPE, text=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with process:
        process.send_signal(number)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
        assert (process.returncode, said) == (status, "")


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, TERMINATED)], ids=str)
def test_one_that_comes_while_it_is_loaded_ends_it_and_says_nothing(tmp_path, number, status):
    """A numpy whose import is as far as it gets stands for any module that is being imported."""
    (tmp_path / "numpy.py").write_text(f"import os\nos.kill(os.getpid(), {int(number)})\nraise ImportError('too late')")
    environment = agent_environment() | {"PYTHONPATH": f"{tmp_path}:{Path(kit.__file__).parents[1]}"}
    words = [sys.executable, "-m", "kit.agent", "--tcp", "127.0.0.1:0", "--cache", str(tmp_path / "cache")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (status, "")


def test_the_command_leaves_them_to_the_agent(monkeypatch):
    def waiting(*_):
        raise OSError(str(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))))

    monkeypatch.setattr("os.execve", waiting)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with pytest.raises(OSError, match=str(sorted([signal.SIGINT, signal.SIGTERM])).replace("[", r"\[")):
        run.main(["--tcp", "127.0.0.1:0"], standalone_mode=False)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
