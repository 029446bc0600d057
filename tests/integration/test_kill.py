"""Killing things at any time: exit code 4 or 130, a clear line, nothing that was done is lost, no process is left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import ROOT, Edgeproof

CNN = ROOT / "examples/watch/watch-cnn.onnx"
SLOW = ('latency_time = "0.1 s"', 'latency_time = "3 s"')


def start(few: Path, folder: Path, profile: Path) -> subprocess.Popen[str]:
    profile.write_text(profile.read_text().replace(*SLOW))
    words = ["certify", CNN, "--data", few / "watch.toml"]
    return subprocess.Popen(
        [sys.executable, "-m", "kit", *map(str, words), "--profile", str(profile), "--device", "watch-emulated"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
        env=os.environ | {"NO_COLOR": "1", "PYTHONPATH": str(ROOT)},
    )


def wait_for(what: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def journal(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("runs/*/journal.jsonl"))


def agents_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [child for child in children if "kit.agent" in " ".join(child.cmdline())]


@pytest.fixture
def busy(few: Path, tmp_path: Path, quick_profile: Path) -> subprocess.Popen[str]:
    """A run that is in the middle of timing its first variant."""
    process = start(few, tmp_path, quick_profile)
    wait_for(lambda: "saturating_predictions/fp32" in journal(tmp_path) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    wait_for(lambda: agents_of(process))
    return process


def test_a_killed_agent_gives_exit_code_4_and_keeps_the_steps(
    busy: subprocess.Popen[str], tmp_path: Path, edgeproof: Edgeproof
) -> None:
    (agent,) = agents_of(busy)
    agent.send_signal(signal.SIGKILL)
    out, err = busy.communicate(timeout=60)
    assert busy.returncode == 4, err
    assert out == ""
    assert "Traceback" not in err
    assert "signal 9" in err
    assert "watch-emulated" in err
    assert "certify --resume" in err
    done = [json.loads(line)["step"] for line in journal(tmp_path).splitlines()]
    assert "predictions/fp32" in done
    (run,) = (tmp_path / "runs").iterdir()
    assert not (run / "report.html").exists()
    again = edgeproof("certify", "--resume", run.name, "--json", cwd=tmp_path)
    assert again.returncode in (0, 1, 3), again.stdout + again.stderr
    steps = [json.loads(line)["step"] for line in journal(tmp_path).splitlines()]
    assert steps[: len(done)] == done
    assert len(steps) == len(set(steps))


def test_ctrl_c_leaves_no_process_and_nothing_half_written(busy: subprocess.Popen[str], tmp_path: Path) -> None:
    (agent,) = agents_of(busy)
    os.killpg(busy.pid, signal.SIGINT)
    out, err = busy.communicate(timeout=60)
    assert busy.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "interrupted" in err
    assert "certify --resume" in err
    wait_for(lambda: not agent.is_running() or agent.status() == psutil.STATUS_ZOMBIE)
    (run,) = (tmp_path / "runs").iterdir()
    assert {p.name for p in run.iterdir()} == {"run.json", "journal.jsonl", "objects"}
    assert not list(run.rglob(".part-*"))


def test_a_killed_host_leaves_no_agent_and_can_be_resumed(
    busy: subprocess.Popen[str], tmp_path: Path, edgeproof: Edgeproof
) -> None:
    (agent,) = agents_of(busy)
    busy.send_signal(signal.SIGKILL)
    busy.communicate(timeout=60)
    wait_for(lambda: not agent.is_running() or agent.status() == psutil.STATUS_ZOMBIE)
    (run,) = (tmp_path / "runs").iterdir()
    again = edgeproof("certify", "--resume", run.name[:13], "--json", cwd=tmp_path)
    assert again.returncode in (0, 1, 3), again.stdout + again.stderr


def test_a_second_process_on_the_same_run_is_refused(
    busy: subprocess.Popen[str], tmp_path: Path, edgeproof: Edgeproof
) -> None:
    (run,) = (tmp_path / "runs").iterdir()
    second = edgeproof("certify", "--resume", run.name, cwd=tmp_path)
    busy.kill()
    busy.communicate(timeout=60)
    assert second.returncode == 2
    assert "another process" in second.stderr
