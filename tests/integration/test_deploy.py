"""A transfer that is cut off, killed or interrupted goes on where it was; certify works the same over a link's URL."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.device.line import EmulatedLine
from kit.digest import digest_file
from kit.spec.types import LineSpec
from tests import device_kit
from tests.cli.words import device_file, edgeproof, environment, is_for_people, start
from tests.integration.conftest import QUICK_PROFILE
from tests.tcp_agent import tcp_agent

LINE_BYTES_PER_S = 92_160


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a model of 300 kB of random weights, and a device behind a line of 921600 baud."""
    noise = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8)
    (tmp_path / "net.onnx").write_bytes(device_kit.linear(rest=noise))
    lines = ('url = "subprocess:"', "[emulate]", "baud = 921600")
    device_file(tmp_path, "line", *lines, emulated='"device", "link"')
    return tmp_path


def deployed(home: Path, device: str = "line") -> dict[str, Any]:
    done = edgeproof("deploy", "net.onnx", "--device", device, "--json", home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["digest"] == digest_file(home / "net.onnx")
    return said


def wait_until_some_is_there(home: Path, process: "subprocess.Popen[str]", least_bytes: int = 60_000) -> None:
    """Until the device's folder holds so much of the model."""
    end_s = time.monotonic() + 30
    while time.monotonic() < end_s and process.poll() is None:
        sizes = []
        for path in (home / "cache").rglob("*"):
            with contextlib.suppress(OSError):
                sizes.append(path.stat().st_size if path.is_file() else 0)
        if max(sizes, default=0) >= least_bytes:
            return
        time.sleep(0.02)
    pytest.fail(f"nothing arrived (exit code {process.poll()})")


def test_a_killed_host_goes_on_to_the_byte(home: Path) -> None:
    with start("deploy", "net.onnx", "--device", "line", home=home) as process:
        wait_until_some_is_there(home, process)
        process.kill()
        process.communicate(timeout=10)
    time.sleep(0.5)
    again = edgeproof("deploy", "net.onnx", "--device", "line", home=home)
    assert again.returncode == 0, again.stderr
    assert again.stderr.startswith("resumed at ")
    assert ", resumed at " in again.stdout
    assert is_for_people(again.stdout)
    assert deployed(home)["sent_bytes"] == 0


def test_an_interrupt_tells_what_is_there_and_how_to_go_on(home: Path) -> None:
    with start("deploy", "net.onnx", "--device", "line", home=home) as process:
        wait_until_some_is_there(home, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert "error[interrupted]: interrupted" in err
    assert re.search(
        r"(\d bytes|\d kB|arrived) (are|is) on the device; go on with: edgeproof deploy net.onnx --device line", err
    )
    said = deployed(home)
    assert 0 < said["had_bytes"] < said["size_bytes"]
    assert said["sent_bytes"] == said["size_bytes"] - said["had_bytes"]


class CutOnce:
    """A TCP relay that closes its first connection after so many bytes towards the agent."""

    def __init__(self, agent: tuple[str, int], cut_after: int) -> None:
        self._agent, self._left, self.cuts = agent, cut_after, 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                host = self._server.accept()[0]
                agent = socket.create_connection(self._agent)
                for pair in ((host, agent, True), (agent, host, False)):
                    self._threads.append(threading.Thread(target=self._pass_on, args=pair, daemon=True))
                    self._threads[-1].start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, is_counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                if is_counted and not self.cuts:
                    self._left -= len(data)
                    if self._left < 0:
                        self.cuts += 1
                        break
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def agent_url(tmp_path: Path) -> Iterator[str]:
    with tcp_agent(tmp_path) as (url, _):
        yield url


def test_a_link_that_breaks_is_opened_again_and_nothing_is_sent_twice(home: Path, agent_url: str) -> None:
    host, _, port = agent_url.removeprefix("tcp://").rpartition(":")
    relay = CutOnce((host, int(port)), 150_000)
    try:
        said = deployed(home, relay.url)
    finally:
        relay.close()
    assert relay.cuts == 1
    assert said["had_bytes"] == 0
    assert deployed(home, agent_url)["sent_bytes"] == 0


def test_a_device_that_is_unplugged_for_good_is_one_error_within_its_time_out(home: Path) -> None:
    device_file(home, "gone", f'url = "subprocess:"\ntimeout = "3 s"\ncommand = ["{sys.executable}", "-c", "x"]')
    started_s = time.monotonic()
    done = edgeproof("deploy", "net.onnx", "--device", "gone", home=home)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("error[")
    assert time.monotonic() - started_s < 10


def test_an_agent_that_is_killed_in_the_middle_is_one_error_and_keeps_what_it_got(home: Path) -> None:
    (home / "net.onnx").write_bytes(device_kit.heavy(60_000_000))
    with tcp_agent(home) as (url, agent):
        name = device_file(home, "pi", f'url = "{url}"', 'timeout = "3 s"')
        with start("deploy", "net.onnx", "--device", name, home=home) as process:
            wait_until_some_is_there(home, process, 1 << 20)
            os.kill(agent.pid, signal.SIGKILL)
            out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (4, "")
    assert "error[link]" in err
    assert "Traceback" not in err
    with tcp_agent(home) as (url, _):
        assert deployed(home, url)["had_bytes"] >= 1 << 20


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, watch: Path) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    home = tmp_path_factory.mktemp("home")
    (home / "quick.toml").write_text(QUICK_PROFILE)
    with tcp_agent(home) as (url, _):
        done = edgeproof(
            "certify", watch / "watch-mlp.joblib", "--trust-pickle", "--data", watch / "watch.toml",
            "--profile", "quick.toml", "--variant", "fp32", "--device", url, "--json", home=home,
        )  # fmt: skip
        assert done.returncode in (0, 1, 3), done.stdout + done.stderr
        yield home, url, json.loads(done.stdout)


class TestCertifyByUrl:
    """The main job on a device that is only a URL: digests, names, resume, verify."""

    def test_the_device_is_named_by_its_url(self, run: tuple[Path, str, dict[str, Any]]) -> None:
        _, url, said = run
        assert said["conditions"]["device"] == said["conditions"]["link"] == url
        assert said["run"]["command"][-3:] == ["--variant", "fp32", "--trust-pickle"]
        assert url in said["run"]["command"]
        assert said["emulated"] == []

    def test_its_certificate_holds(self, run: tuple[Path, str, dict[str, Any]]) -> None:
        home, url, said = run
        done = edgeproof("verify", home / "runs" / said["run"]["id"], home=home)
        assert done.returncode == 0, done.stdout
        assert url in done.stdout

    def test_a_forged_url_is_found(self, run: tuple[Path, str, dict[str, Any]], tmp_path: Path) -> None:
        home, url, said = run
        stored = home / "runs" / said["run"]["id"] / "objects"
        (path,) = [each for each in stored.rglob("*") if each.is_file() and each.read_bytes() == url.encode()]
        before = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(b"tcp://10.0.0.1:1")
        try:
            assert edgeproof("verify", home / "runs" / said["run"]["id"], home=home).returncode == 1
        finally:
            path.write_bytes(before)

    def test_it_is_resumed_by_its_url_and_repeats_nothing(self, run: tuple[Path, str, dict[str, Any]]) -> None:
        home, url, said = run
        command = ("certify", "--resume", said["run"]["id"], "--trust-pickle", "--json")
        done = edgeproof(*command, home=home)
        assert done.returncode in (0, 1, 3), done.stderr
        assert f"device {url}" in done.stderr
        assert json.loads(done.stdout)["artifacts"] == said["artifacts"]


def test_a_certificate_of_a_port_holds_when_the_port_is_gone(home: Path, watch: Path) -> None:
    """A port by a path of one's own is a link because it is there; a certificate must not depend on that."""
    (home / "quick.toml").write_text(QUICK_PROFILE)
    port = home / "ttyB"
    with contextlib.closing(EmulatedLine(LineSpec(921_600))) as line:
        port.symlink_to(line.host_port)
        agent = [sys.executable, "-m", "kit.agent", "--serial", line.device_port, "--baud", "921600"]
        with subprocess.Popen(agent, env=environment(home), stderr=subprocess.DEVNULL) as process:
            try:
                done = edgeproof(
                    "certify", watch / "watch-mlp.joblib", "--trust-pickle", "--data", watch / "watch.toml", "--json",
                    "--profile", "quick.toml", "--variant", "fp32", "--device", f"{port}?baud=921600", home=home,
                )  # fmt: skip
            finally:
                process.kill()
    assert done.returncode in (0, 1, 3), done.stdout + done.stderr
    port.unlink()
    verified = edgeproof("verify", home / "runs" / json.loads(done.stdout)["run"]["id"], home=home)
    assert verified.returncode == 0, verified.stdout
    assert is_for_people(verified.stdout.replace(f"{port}?baud=921600", "PORT"))


def test_a_key_in_a_url_tells_no_folder_of_this_machine(home: Path, watch: Path) -> None:
    """The command that a report repeats names files, not where they lie here."""
    made = edgeproof("agent", "key", "-o", home / "lab.key", home=home)
    assert made.returncode == 0, made.stderr
    with tcp_agent(home, "--key", str(home / "lab.key")) as (url, _):
        device = f"{url}?key={home / 'lab.key'}"
        shown = json.loads(edgeproof("devices", "show", device, "--json", home=home).stdout)
        refused = edgeproof("devices", "show", url, home=home)
    assert shown["device"]["name"] == f"{url}?key=lab.key"
    assert str(home) not in json.dumps(shown)
    assert refused.returncode == 4


def test_the_environment_of_these_tests_is_their_own(home: Path) -> None:
    assert environment(home)["XDG_CACHE_HOME"].startswith(str(home))
