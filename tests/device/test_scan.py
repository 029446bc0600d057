"""What a scan finds of what is really there: a pseudo-terminal in use, real agents, an adb server, and impostors."""

import contextlib
import os
import pty
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from serial.tools import list_ports

from kit.device import open_device
from kit.device.adb_server import Server
from kit.device.keys import make_key
from kit.device.scan import _MAX_AGENTS, SCAN_S, Found, agents, androids, port_users, scan, serial_ports
from kit.wire import Frame, FrameType, Message, encode_frame, pack_message
from tests import device_kit as kits
from tests.emulators.adb_server import AdbServer
from tests.tcp_agent import tcp_agent


def soon(seconds=20.0):
    return time.monotonic() + seconds


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Whoever answers does so at once; only this machine may be slow."""
    monkeypatch.setattr("kit.device.scan._ASK_S", 10)


def at(url, found):
    """The one thing that was found there."""
    (only,) = [each for each in found if each.url == url]
    return only


class TestSerial:
    def test_they_are_this_machine_s_own(self):
        found = serial_ports(soon())
        assert [each.url for each in found] == sorted(port.device for port in list_ports.comports())
        for each in found:
            assert each.kind == "serial"
            assert each.state in ("free", "busy", "unusable")
            assert (each.state == "free") == (not each.detail)

    def test_who_has_a_port_open_is_told(self):
        controller, terminal = pty.openpty()
        path = os.ttyname(terminal)
        os.close(terminal)
        assert port_users([path], soon()) == {}
        with open(path, "rb+", buffering=0) as port, subprocess.Popen(["sleep", "30"], stdin=port) as user:  # noqa: PTH123
            os.set_blocking(controller, False)
            port.close()
            assert port_users([path], soon()) == {path: f"sleep (process {user.pid})"}
            user.kill()
        assert port_users([path], soon()) == {}
        os.close(controller)

    def test_a_name_that_is_a_link_is_the_port_that_it_means(self, tmp_path):
        controller, terminal = pty.openpty()
        (tmp_path / "scanner").symlink_to(os.ttyname(terminal))
        assert str(os.getpid()) in port_users([str(tmp_path / "scanner")], soon())[str(tmp_path / "scanner")]
        os.close(controller)
        os.close(terminal)

    def test_it_looks_no_longer_than_it_may(self):
        assert port_users(["/dev/null"], time.monotonic() - 1) == {}


class TestAgents:
    def test_one_is_found_and_says_who_it_is(self, tmp_path):
        with tcp_agent(tmp_path) as (url, process):
            found = at(url, agents(soon()))
        assert (found.kind, found.state, found.detail) == ("agent", "free", "")
        assert "onnxruntime" in found.description
        assert f"process {process.pid}" in found.description
        assert url not in [each.url for each in agents(soon())]

    def test_asking_does_not_disturb_its_master(self, tmp_path):
        with (
            tcp_agent(tmp_path) as (url, _),
            contextlib.closing(open_device(kits.device_spec(link=url))) as device,
        ):
            found = at(url, agents(soon()))
            assert found.state == "busy"
            assert found.detail.startswith("with ")
            assert device.conditions().utc

    def test_with_a_key_it_is_not_asked(self, tmp_path):
        make_key(tmp_path / "scanner.key")
        with tcp_agent(tmp_path, "--key", str(tmp_path / "scanner.key"), host="0.0.0.0") as (url, _):
            found = at(url.replace("0.0.0.0", "127.0.0.1"), agents(soon()))
        assert found.state == "needs a key"
        assert "?key=FILE" in found.detail

    def test_what_it_finds_can_be_opened(self, tmp_path):
        with tcp_agent(tmp_path) as (url, _):
            device = open_device(kits.device_spec(link=at(url, scan()).url))
            assert device.identify().runtime == "onnxruntime"
            device.close()


IMPOSTOR = """
import socket, sys, time
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
said, opened = bytes.fromhex(sys.stdin.readline()), []
while True:
    connection = listening.accept()[0]
    opened.append(connection)
    if said:
        connection.recv(4096)
        connection.sendall(said)
"""


@contextlib.contextmanager
def impostor(said=b""):
    """A process that looks like an agent and answers with these bytes; its url."""
    words = [sys.executable, "-c", IMPOSTOR, "-m", "kit.agent", "--tcp", "127.0.0.1:0"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            process.stdin.write(said.hex() + "\n")
            process.stdin.flush()
            yield f"tcp://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def says(kind, fields):
    return encode_frame(Frame(kind, 1, pack_message(Message("describe", fields))))


WHO = dict.fromkeys(("agent_version", "system", "architecture", "runtime", "runtime_version"), "x")
STEERING = "\x1b[2J\u202eevil\n"


class TestImpostors:
    @pytest.mark.parametrize(
        ("said", "state"),
        [
            (b"", "no answer"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "no answer"),
            (b"EDGP" + bytes(4000), "no answer"),
            (says(FrameType.REPLY, {}), "no answer"),
            (says(FrameType.REPLY, WHO | {"system": 7}), "no answer"),
            (says(FrameType.REPLY, WHO), "unusable"),
            (says(FrameType.REPLY, WHO | {"protocols": [9999]}), "unusable"),
            (says(FrameType.REPLY, WHO | {"protocols": [[]]}), "unusable"),
            (says(FrameType.REPLY, WHO | {"protocols": [2], "busy": "yes"}), "busy"),
            (says(FrameType.REPLY, WHO | {"protocols": [2], "busy": {"host": STEERING * 99}}), "busy"),
            (says(FrameType.REPLY, WHO | {"protocols": [2], "system": STEERING}), "free"),
            (says(FrameType.ERROR, {"what": STEERING, "next_step": ""}), "no answer"),
            (says(FrameType.ERROR, {"what": STEERING, "reason": "busy"}), "busy"),
        ],
        ids=["silent", "ssh", "noise", "empty", "wrong type", "no protocols", "unknown protocol", "nested protocol",
             "busy text", "steering host", "steering system", "steering refusal", "full"],
    )  # fmt: skip
    def test_what_they_say_is_bounded_in_time_and_harmless(self, said, state, monkeypatch):
        if state == "no answer":
            monkeypatch.setattr("kit.device.scan._ASK_S", 1)
        with impostor(said) as url:
            start_s = time.monotonic()
            found = at(url, agents(soon(30)))
            assert time.monotonic() - start_s < 15
        assert found.state == state
        for text in (found.url, found.description, found.detail):
            assert text.isprintable()
            assert len(text) < 500

    def test_many_silent_ones_cost_no_more_time(self, tmp_path, monkeypatch):
        monkeypatch.setattr("kit.device.scan._ASK_S", 3)
        monkeypatch.setattr("kit.device.scan.SCAN_S", 60)
        with contextlib.ExitStack() as stack:
            urls = {stack.enter_context(impostor()) for _ in range(4)}
            start_s = time.monotonic()
            found = scan(Server("127.0.0.1", 1))
            assert time.monotonic() - start_s < 8  # 12 s one by one
        assert len(urls & {each.url for each in found}) == min(4, _MAX_AGENTS)


class TestAndroid:
    def test_what_the_server_has(self):
        with AdbServer({"BOARD": "device", "LOCKED": "unauthorized", "GONE": "offline", "ODD": "recovery"}) as server:
            found = scan(Server("127.0.0.1", server.port))
        known = {each.url: each for each in found if each.kind == "android"}
        assert {url: each.state for url, each in known.items()} == {
            "adb:BOARD": "free", "adb:LOCKED": "unusable", "adb:GONE": "unusable", "adb:ODD": "unusable",
        }  # fmt: skip
        assert "confirm" in known["adb:LOCKED"].detail
        assert "recovery" in known["adb:ODD"].detail

    def test_no_server_is_nothing(self):
        assert androids(Server("127.0.0.1", 1), soon()) == []

    def test_a_silent_server_does_not_hold_it_up(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            start_s = time.monotonic()
            scan(Server(*silent.getsockname()))
            assert time.monotonic() - start_s < SCAN_S + 5


def test_all_of_it_takes_about_two_seconds_at_most_and_leaves_nothing():
    before, start_s = threads_and_descriptors(), time.monotonic()
    found = scan()
    assert time.monotonic() - start_s < SCAN_S + 5
    assert all(isinstance(each, Found) for each in found)
    deadline_s = soon()
    while threads_and_descriptors() > before and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert threads_and_descriptors() <= before


def threads_and_descriptors():
    return threading.active_count() + len(list(Path("/proc/self/fd").iterdir()))


def test_a_search_that_breaks_hides_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr("kit.device.scan.serial_ports", lambda due_s: Path("/no/such/folder").stat())
    monkeypatch.setattr("kit.device.scan.SCAN_S", 60)
    with tcp_agent(tmp_path) as (url, _):
        assert at(url, scan()).state == "free"
