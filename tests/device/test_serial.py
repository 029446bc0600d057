"""Serial ports and the link over them, on real pseudo-terminals, emulated lines and sockets."""

import os
import re
import socket
import threading
import time
import tty
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import serial
import serial.rfc2217

from kit.agent.tty import TtyPort
from kit.device import LINKS, open_link
from kit.device.line import EmulatedLine, LineFaults
from kit.device.link import Link
from kit.device.serial import SerialLink, open_port
from kit.errors import LinkError, SpecError
from kit.spec.types import LineSpec
from kit.wire.port import FilePort
from kit.wire.stream import ReliableStream
from tests.device_kit import device_spec

BAUD = 3_000_000


def soon(seconds=5.0):
    return time.monotonic() + seconds


def at(url, baud=BAUD, timeout_s=5.0):
    return device_spec(name="board", link=url, baud=baud, timeout_s=timeout_s)


def some_bytes(size):
    return bytes(i * 7 % 251 for i in range(size))


class Echo:
    """The device's end: every host's bytes go back to it."""

    def __init__(self, port, nominal_bytes_per_s=BAUD / 10):
        self._stream = ReliableStream.listen(port, nominal_bytes_per_s=nominal_bytes_per_s)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while self._stream.accept():
            try:
                while True:
                    self._stream.write(self._stream.read(None), None)
            except LinkError:
                continue

    def close(self):
        self._stream.close()
        self._thread.join()


@contextmanager
def echo_behind(line=None, faults=None, seed=1):
    """The host's port of a line, with an echo at its far end."""
    wires = EmulatedLine(line or LineSpec(BAUD), faults, seed=seed)
    echo = Echo(TtyPort(wires.device_port, wires_baud(line)), wires_baud(line) / 10)
    try:
        yield wires.host_port
    finally:
        echo.close()
        wires.close()


def wires_baud(line):
    return line.baud if line else BAUD


@contextmanager
def pty_pair():
    """A master's descriptor and the name of its slave, which stays there as long as the block."""
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    name = os.ttyname(slave)
    os.close(slave)
    try:
        yield master, name
    finally:
        os.close(master)


def through(link, data, patience_s=20.0):
    """What comes back of `data`."""
    writer = threading.Thread(target=link.write, args=(data, soon(patience_s)))
    writer.start()
    got, end_s = b"", soon(patience_s)
    while len(got) < len(data) and time.monotonic() < end_s:
        got += link.read(end_s)
    writer.join()
    return got


def talk_for_ever(link):
    """Until the link says that it is over, or for 20 s."""
    end_s = soon(20)
    while time.monotonic() < end_s:
        link.write(b"hello?", soon())
        link.read(soon(0.1))


# --- the link ---------------------------------------------------------------------------------------------------------


def test_it_is_a_link_and_registered():
    with echo_behind() as port:
        link = open_link(at(port))
        assert isinstance(link, SerialLink)
        assert isinstance(link, Link)
        assert link.process_id() is None
        assert link.limits() == ()
        link.close()
    assert "serial" in LINKS


@pytest.mark.parametrize("size", [1, 4096, 300_000])
def test_bytes_arrive_unchanged_and_in_order(size):
    with echo_behind() as port:
        link = SerialLink(at(port))
        assert through(link, some_bytes(size)) == some_bytes(size)
        link.close()


@pytest.mark.parametrize(
    ("line", "faults"),
    [
        (LineSpec(BAUD, 0.001, bit_error_rate=1e-4), None),
        (LineSpec(BAUD, 0.001, byte_loss_rate=1e-3), None),
        (LineSpec(BAUD), LineFaults(duplication_rate=1e-3, noise_rate=1e-3)),
        (LineSpec(BAUD), LineFaults(stall_rate=3e-5, stall_s=0.2)),
        (LineSpec(BAUD), LineFaults(disconnect_rate=2e-5, disconnect_s=0.2)),
    ],
    ids=["flips", "losses", "doubles-and-noise", "stalls", "disconnects"],
)
def test_whatever_the_line_does_the_bytes_are_right(line, faults):
    with echo_behind(line, faults) as port:
        link = SerialLink(at(port))
        assert through(link, some_bytes(60_000), 60) == some_bytes(60_000)
        health = link.health()
        link.close()
    if faults is None:
        assert health.resent_bytes > 0


def test_health_is_what_crossed_the_line_and_is_told_after_the_end():
    with echo_behind() as port:
        link = SerialLink(at(port))
        through(link, some_bytes(10_000))
        link.close()
        health = link.health()
    assert 10_000 < health.sent_bytes < 11_000 + 2 * health.resent_bytes
    assert 10_000 < health.received_bytes < 20_000  # what the other end sent again is among them
    assert health.nominal_bytes_per_s == BAUD / 10
    assert health.damaged_packets == 0
    assert health.round_trip_s > 0


@pytest.mark.parametrize("patience_s", [0.0, 0.2, -1.0])
def test_a_read_returns_nothing_at_its_deadline(patience_s):
    with echo_behind() as port:
        link = SerialLink(at(port))
        start_s = time.monotonic()
        assert link.read(start_s + patience_s) == b""
        assert max(0, patience_s) * 0.9 <= time.monotonic() - start_s < max(0, patience_s) + 10
        link.close()


def test_a_closed_link_is_told_and_gives_its_port_back():
    with echo_behind() as port:
        for _ in range(3):
            link = SerialLink(at(port))
            assert through(link, b"again") == b"again"
            link.close()
            link.close()
            with pytest.raises(LinkError):
                link.read(soon(0.2))
            with pytest.raises(LinkError):
                link.write(b"x", soon(0.2))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("line")]


def test_a_device_that_starts_anew_ends_the_session_and_takes_the_next():
    wires = EmulatedLine(LineSpec(BAUD))
    echo = Echo(TtyPort(wires.device_port, BAUD))
    link = SerialLink(at(wires.host_port))
    assert through(link, b"before") == b"before"
    echo.close()
    echo = Echo(TtyPort(wires.device_port, BAUD))
    with pytest.raises(LinkError):
        talk_for_ever(link)
    link.close()
    link = SerialLink(at(wires.host_port))
    assert through(link, b"anew") == b"anew"
    link.close()
    echo.close()
    wires.close()


def test_nobody_answers():
    wires = EmulatedLine(LineSpec(BAUD))
    start_s = time.monotonic()
    with pytest.raises(LinkError, match="nobody answers") as caught:
        SerialLink(at(wires.host_port, timeout_s=0.5))
    assert 0.4 < time.monotonic() - start_s < 10
    assert f"board on {wires.host_port} at {BAUD} baud" in str(caught.value)
    assert "agent" in caught.value.next_step
    wires.close()


def test_a_console_answers_and_no_agent():
    with pty_pair() as (master, name):
        stop = threading.Event()

        def talk():
            while not stop.wait(0.05):  # opening the port drops what came before
                os.write(master, b"login: root\r\nPassword: \r\nLogin incorrect\r\n")

        talking = threading.Thread(target=talk)
        talking.start()
        with pytest.raises(LinkError, match="no packet was among them") as caught:
            SerialLink(at(name, timeout_s=0.6))
        stop.set()
        talking.join()
    assert "baud rate" in caught.value.next_step


def test_a_wrong_baud_rate_is_named_as_a_cause():
    wires = EmulatedLine(LineSpec(115200))
    echo = Echo(TtyPort(wires.device_port, 115200), 11520)
    chatter = threading.Timer(0.1, lambda: None)
    with pytest.raises(LinkError) as caught:
        SerialLink(at(wires.host_port, baud=9600, timeout_s=1.0))
    assert "9600 baud" in str(caught.value)
    chatter.cancel()
    echo.close()
    wires.close()


def test_an_adapter_that_is_unplugged_is_named():
    master, slave = os.openpty()
    tty.setraw(slave)
    echo = Echo(FilePort(master, "master"))
    link = SerialLink(at(os.ttyname(slave)))
    os.close(slave)
    assert through(link, b"hello") == b"hello"
    echo.close()  # the master goes: the slave hangs up
    with pytest.raises(LinkError) as caught:
        talk_for_ever(link)
    assert "\n" not in str(caught.value)
    assert "unplugged" in caught.value.what or "closed the session" in caught.value.what
    link.close()


# --- the port ---------------------------------------------------------------------------------------------------------


def test_the_bare_port_reads_writes_and_closes():
    with pty_pair() as (master, name):
        port = open_port(at(name))
        os.write(master, b"m-ready\r\n")
        assert port.read(20) == b"m-ready\r\n"
        assert port.write(b"name%") == 5
        assert os.read(master, 10) == b"name%"
        start_s = time.monotonic()
        assert port.read(0.1) == b""
        assert 0.09 < time.monotonic() - start_s < 10
        port.close()
        port.close()
        for use in (lambda: port.read(0.1), lambda: port.write(b"x"), lambda: port.send(b"x", soon())):
            with pytest.raises(LinkError, match="closed"):
                use()


def test_a_port_that_hangs_up_says_so():
    with pty_pair() as (_, name):
        port = open_port(at(name))
    with pytest.raises(LinkError, match="unplugged or hung up") as caught:
        port.read(1)
    assert "plug it in" in caught.value.next_step
    port.close()


def test_a_port_that_takes_nothing_says_so_at_the_deadline():
    with pty_pair() as (_, name):
        port = open_port(at(name))
        start_s = time.monotonic()
        with pytest.raises(LinkError, match="does not take"):
            port.send(bytes(1 << 20), soon(0.3))
        assert 0.2 < time.monotonic() - start_s < 10
        port.close()


def test_closing_ends_a_read_under_way():
    with pty_pair() as (_, name):
        port, ended = open_port(at(name)), []

        def read():
            with pytest.raises(LinkError, match="closed"):
                port.read(60)
            ended.append(True)

        reader = threading.Thread(target=read)
        reader.start()
        time.sleep(0.1)
        port.close()
        reader.join(20)
    assert ended


def test_a_port_is_ours_alone():
    with pty_pair() as (_, name):
        port = open_port(at(name))
        with pytest.raises(LinkError, match="in use by another program") as caught:
            open_port(at(name))
        assert name in caught.value.next_step
        port.close()
        open_port(at(name)).close()


def test_a_port_without_permission_names_the_group():
    with pty_pair() as (_, name):
        Path(name).chmod(0o000)
        was = os.geteuid()
        if was == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(LinkError, match="no permission") as caught:
                open_port(at(name))
        finally:
            os.seteuid(was)
    assert "dialout" in caught.value.next_step


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/dev/ttyNONE7", "there is no port"),
        ("/dev/null", "no serial port"),
        ("hwgrep://no-such-adapter", "there is no port"),
        ("spy:///dev/ttyNONE7", "there is no port"),
        ("socket://127.0.0.1:1", "Connection refused"),
        ("rfc2217://127.0.0.1:1", "Connection refused"),
        ("loop://?x=1", "has an option that loop: does not know"),
        ("nonsense://x", "unknown kind"),
        ("alt:///dev/null?class=Nothing", "has an option that alt: does not know"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_line(url, said):
    with pytest.raises(LinkError, match=said) as caught:
        open_port(at(url))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert caught.value.next_step
    assert caught.value.where == "device board"


@pytest.mark.parametrize(
    ("url", "said", "step"),
    [
        ("socket://", "names no host and port", "socket://HOST:PORT"),
        ("socket://127.0.0.1", "names no host and port", "socket://HOST:PORT"),
        ("socket://127.0.0.1:99999999", "Port out of range", "socket://HOST:PORT"),
        ("rfc2217://[", "Invalid IPv6 URL", "rfc2217://HOST:PORT"),
        ("hwgrep://(", "the pattern does not compile, missing ", "regular expression"),
    ],
)
def test_what_cannot_be_a_port_is_refused_before_it_is_opened(url, said, step):
    with pytest.raises(SpecError, match=re.escape(f"{url} is no port: ") + ".*" + said) as caught:
        open_port(at(url))
    assert step in caught.value.next_step
    assert caught.value.where == "device board"


# --- pyserial's other ports -------------------------------------------------------------------------------------------


class PtySerial(serial.Serial):
    """A port without modem lines, which a pseudo-terminal has not and RFC 2217 reports."""

    cts = dsr = ri = cd = property(lambda _: True)

    def _update_dtr_state(self):
        pass

    _update_rts_state = _update_break_state = _update_dtr_state


class SerialServer:
    """Puts a port on the network for one client, bare or by RFC 2217, as pyserial's example server does."""

    def __init__(self, port, rfc2217):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._serial = PtySerial(port, BAUD, timeout=0.02)
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(rfc2217,))
        self._thread.start()

    def _serve(self, rfc2217):
        self._connection, _ = self._listener.accept()
        with self._connection:
            manager = serial.rfc2217.PortManager(self._serial, self) if rfc2217 else None
            reader = threading.Thread(target=self._give_back, args=(manager,))
            reader.start()
            while data := self._connection.recv(1024):
                self._serial.write(b"".join(manager.filter(data)) if manager else data)
            self._ended.set()
            reader.join()

    def _give_back(self, manager):
        while not self._ended.is_set():
            if data := self._serial.read(1):
                data += self._serial.read(self._serial.in_waiting)
                self.write(b"".join(manager.escape(data)) if manager else data)

    def write(self, data):
        with self._lock, suppress(OSError):
            self._connection.sendall(data)

    def close(self):
        self._thread.join(10)
        self._listener.close()
        self._serial.close()


@pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")  # pyserial's own, in rfc2217.py
@pytest.mark.parametrize("scheme", ["socket", "rfc2217"])
def test_a_port_on_another_machine_carries_a_session(scheme):
    with echo_behind() as host_port:
        server = SerialServer(host_port, scheme == "rfc2217")
        link = SerialLink(at(f"{scheme}://{server.address}", timeout_s=10))
        assert through(link, some_bytes(30_000)) == some_bytes(30_000)
        nominal_bytes_per_s = link.health().nominal_bytes_per_s
        link.close()
        server.close()
    assert nominal_bytes_per_s == (None if scheme == "socket" else BAUD / 10)


def test_a_serial_server_that_goes_away_is_a_hang_up():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = open_port(at(f"socket://127.0.0.1:{listener.getsockname()[1]}"))
        connection, _ = listener.accept()
        connection.sendall(b"bye")
        connection.close()
        assert port.read(20) == b"bye"
        with pytest.raises(LinkError, match="hung up"):
            port.read(20)
        port.close()


def test_a_spy_prints_what_it_sees(capsys):
    with echo_behind() as port:
        link = SerialLink(at(f"spy://{port}"))
        assert through(link, b"A" * 64) == b"A" * 64
        link.close()
    assert capsys.readouterr().err.count("A" * 16) >= 4


def test_a_loop_gives_back_what_it_gets():
    port = open_port(at("loop://"))
    assert port.write(b"round") == 5
    assert port.read(20) == b"round"
    for timeout_s in (0.0, 0.01, 0.2):
        start_s = time.monotonic()
        assert port.read(timeout_s) == b""
        assert timeout_s * 0.9 <= time.monotonic() - start_s < timeout_s + 10
    port.close()
    with pytest.raises(LinkError, match="closed"):
        port.read(0.1)
