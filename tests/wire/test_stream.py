"""The reliable stream on real ports: pseudo-terminals, sockets, an emulated UART with faults, pyserial's loopback."""

import contextlib
import os
import random
import socket
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit.device.line import EmulatedLine, LineFaults
from kit.errors import LinkError
from kit.spec.types import LineSpec
from kit.wire.packet import LINE_VERSION, PacketDecoder, Reset
from kit.wire.port import FilePort, Port
from kit.wire.stream import ReliableStream

PATIENCE_S = 60.0


def soon(seconds: float = PATIENCE_S) -> float:
    return time.monotonic() + seconds


@dataclass
class Ends:
    """The two ends of a line, as ports."""

    host: Port
    device: Port


def terminals() -> Ends:
    master, slave = os.openpty()
    for each in (master, slave):
        tty.setraw(each)
    return Ends(FilePort(master, "host end"), FilePort(slave, "device end"))


def sockets() -> Ends:
    one, other = socket.socketpair()
    return Ends(FilePort(one.detach(), "host end"), FilePort(other.detach(), "device end"))


@contextlib.contextmanager
def closing(ends: Ends) -> Iterator[Ends]:
    try:
        yield ends
    finally:
        ends.host.close()
        ends.device.close()


@pytest.fixture(params=[terminals, sockets], ids=["terminals", "sockets"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    with closing(request.param()) as made:
        yield made


@dataclass
class Pair:
    """A host's stream and a device's, with a session between them."""

    host: ReliableStream
    device: ReliableStream


@contextlib.contextmanager
def session(ends: Ends, rate: float | None = None) -> Iterator[Pair]:
    device = ReliableStream.listen(ends.device, nominal_bytes_per_s=rate)
    try:
        host = ReliableStream.connect(ends.host, nominal_bytes_per_s=rate, deadline_s=soon())
        try:
            assert device.accept()
            yield Pair(host, device)
        finally:
            host.close()
    finally:
        device.close()


@contextlib.contextmanager
def background(work: Callable[[], object]) -> Iterator[None]:
    """Run `work` in a thread; what it raises is raised here."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def all_of(stream: ReliableStream, size: int, seconds: float = PATIENCE_S) -> bytes:
    got, deadline_s = bytearray(), soon(seconds)
    while len(got) < size and (piece := stream.read(deadline_s)):
        got += piece
    return bytes(got)


def test_bytes_cross_both_ways_unaltered(ends: Ends) -> None:
    up, down = random.Random(1).randbytes(300_000), random.Random(2).randbytes(200_000)
    with session(ends) as pair:

        def device_side() -> None:
            assert all_of(pair.device, len(up)) == up
            pair.device.write(down, soon())

        with background(device_side):
            pair.host.write(memoryview(up), soon())
            assert all_of(pair.host, len(down)) == down
        assert pair.host.counters.damaged_packets == 0


def test_an_echo_is_quick_and_then_nobody_wakes(ends: Ends) -> None:
    """A device that measures must not be disturbed: no thread runs while nothing is outstanding."""
    with session(ends) as pair:
        for size in (1, 50, 900):
            pair.host.write(bytes(size), soon())
            assert all_of(pair.device, size) == bytes(size)
            pair.device.write(bytes(size), soon())
            assert all_of(pair.host, size) == bytes(size)
        before, deadline_s = (-1, -1), soon()
        while before != (now := (thread_switches(), pair.host.counters.sent_packets)):  # until the last is acknowledged
            assert time.monotonic() < deadline_s
            before = now
            time.sleep(0.3)
        time.sleep(1.0)
        assert thread_switches() - before[0] <= 4, "this thread's own, at most"
        assert pair.host.counters.sent_packets == before[1]


def thread_switches() -> int:
    """How often threads of this process named after the line have given up the processor of their own accord."""
    total = 0
    for thread in threading.enumerate():
        if thread.name.startswith("line ") and thread.native_id is not None:
            status = Path(f"/proc/self/task/{thread.native_id}/status").read_text(encoding="ascii").splitlines()
            total += next(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt_switches"))
    return total


def test_reading_ends_at_the_deadline_with_nothing(ends: Ends) -> None:
    with session(ends) as pair:
        begin_s = time.monotonic()
        assert pair.host.read(begin_s + 0.2) == b""
        assert 0.15 < time.monotonic() - begin_s < 10
        assert pair.host.read(begin_s) == b""


def test_writing_to_one_who_does_not_read_ends_at_the_deadline(ends: Ends) -> None:
    with session(ends) as pair:
        with pytest.raises(LinkError, match=r"the line took \d+ of 5000000 bytes"):
            pair.host.write(bytes(5_000_000), soon(0.5))
        assert 0 < all_of(pair.device, 65_536, 0.5).count(0) <= 65_536 * 2


def test_the_other_side_s_end_is_told_after_its_last_bytes(ends: Ends) -> None:
    with session(ends) as pair:
        pair.host.write(b"last words", soon())
        pair.host.close()
        assert all_of(pair.device, 10) == b"last words"
        with pytest.raises(LinkError, match="the other side has closed the session"):
            pair.device.read(soon())
        with pytest.raises(LinkError, match="has closed"):
            pair.device.write(b"anyone?", soon())


def test_a_closed_stream_says_so_and_closing_twice_is_fine(ends: Ends) -> None:
    with session(ends) as pair:
        for _ in range(2):
            pair.host.close()
        for work in (lambda: pair.host.read(None), lambda: pair.host.write(b"x", None)):
            with pytest.raises(LinkError, match="closed"):
                work()
        assert pair.host.counters.sent_packets > 0


def test_closing_wakes_whoever_reads_or_accepts(ends: Ends) -> None:
    device = ReliableStream.listen(ends.device, nominal_bytes_per_s=None)

    def accepts() -> None:
        assert device.accept() is False

    with background(accepts):
        time.sleep(0.1)
        device.close()


FIRST_HOST = """
import os, sys, time, tty
from kit.wire.port import FilePort
from kit.wire.stream import ReliableStream
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
tty.setraw(descriptor)
port = FilePort(descriptor, "line")
stream = ReliableStream.connect(port, nominal_bytes_per_s=None, deadline_s=time.monotonic() + 10)
stream.write(b"first", None)
time.sleep(60)
"""


def test_a_host_that_is_killed_is_replaced_by_the_next_one() -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    device = ReliableStream.listen(FilePort(master, "device end"), nominal_bytes_per_s=None)
    first = subprocess.Popen([sys.executable, "-c", FIRST_HOST, os.ttyname(slave)])
    try:
        assert device.accept()
        assert all_of(device, 5) == b"first"
        first.kill()
        first.wait(PATIENCE_S)
        second = ReliableStream.connect(FilePort(slave, "host end"), nominal_bytes_per_s=None, deadline_s=soon())
        try:
            with pytest.raises(LinkError, match="another host"):
                device.read(soon())
            assert device.accept()
            second.write(b"second", soon())
            assert all_of(device, 6) == b"second"
        finally:
            second.close()
    finally:
        first.kill()
        first.wait(PATIENCE_S)
        device.close()


def test_nobody_at_all(ends: Ends) -> None:
    begin_s = time.monotonic()
    with pytest.raises(LinkError, match="not one byte arrived") as caught:
        ReliableStream.connect(ends.host, nominal_bytes_per_s=None, deadline_s=soon(0.5), where="/dev/ttyX")
    assert "power" in caught.value.next_step
    assert caught.value.where == "/dev/ttyX"
    assert time.monotonic() - begin_s < 10


def test_something_that_is_no_device(ends: Ends) -> None:
    ends.device.write(b"U-Boot 2026.01\r\n=> ")
    with pytest.raises(LinkError, match="19 bytes arrived, and no packet was among them") as caught:
        ReliableStream.connect(ends.host, nominal_bytes_per_s=None, deadline_s=soon(0.5))
    assert "baud rate" in caught.value.next_step


def test_a_device_of_another_version_is_told_from_a_dead_one(ends: Ends) -> None:
    def old_device() -> None:
        decoder = PacketDecoder()
        while not (packets := decoder.feed(ends.device.read(PATIENCE_S))):
            pass
        ends.device.write(Reset(packets[0].session, 2, LINE_VERSION + 1).encoded())

    with background(old_device), pytest.raises(LinkError, match="another version"):
        ReliableStream.connect(ends.host, nominal_bytes_per_s=None, deadline_s=soon())


def test_a_port_that_goes_away_ends_everything(ends: Ends) -> None:
    device = ReliableStream.listen(ends.device, nominal_bytes_per_s=None)
    try:
        host = ReliableStream.connect(ends.host, nominal_bytes_per_s=None, deadline_s=soon())
        try:
            assert device.accept()
            ends.device.close()
            with pytest.raises(LinkError):
                device.read(soon())
            assert device.accept() is False
            with pytest.raises(LinkError, match="gone"):
                host.read(soon())
        finally:
            begin_s = time.monotonic()
            host.close()
            assert time.monotonic() - begin_s < 1
    finally:
        device.close()


def test_closing_to_nobody_takes_bounded_time(ends: Ends) -> None:
    device = ReliableStream.listen(ends.device, nominal_bytes_per_s=None)
    host = ReliableStream.connect(Filter(ends.host), nominal_bytes_per_s=None, deadline_s=soon())
    try:
        assert device.accept()
        Filter.deaf = True
        begin_s = time.monotonic()
        host.write(b"into the void", soon())
        host.close()
        assert 1 < time.monotonic() - begin_s < 15
    finally:
        Filter.deaf = False
        device.close()


class Filter:
    """A port that may stop carrying what is written, as an unplugged cable does."""

    deaf = False

    def __init__(self, port: Port) -> None:
        self._port = port

    def read(self, timeout_s: float) -> bytes:
        return self._port.read(timeout_s)

    def write(self, data: bytes) -> int:
        return len(data) if Filter.deaf else self._port.write(data)

    def close(self) -> None:
        self._port.close()


class Narrow(Filter):
    """A port that takes a few bytes at a time, and often none."""

    def __init__(self, port: Port) -> None:
        super().__init__(port)
        self._rng = random.Random(1)

    def write(self, data: bytes) -> int:
        return self._port.write(data[: self._rng.choice((0, 1, 100, 5000))])


def test_a_port_that_takes_little_at_a_time() -> None:
    data = random.Random(1).randbytes(100_000)
    with closing(sockets()) as ends, session(Ends(Narrow(ends.host), Narrow(ends.device))) as pair:

        def device_side() -> None:
            assert all_of(pair.device, len(data)) == data

        with background(device_side):
            pair.host.write(data, soon())
        assert pair.host.counters.resent_bytes < len(data) / 2  # of what was slow, not of what was not taken


def opened(name: str) -> FilePort:
    descriptor = os.open(name, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(descriptor)
    return FilePort(descriptor, name)


UARTS = {
    "clean": (LineSpec(921_600, 0.001), LineFaults(), 0.3),
    "bit errors": (LineSpec(921_600, 0.001, 1e-4), LineFaults(), 0.2),
    "lost, doubled and invented bytes": (
        LineSpec(921_600, 0.008, 0.0, 1e-4),
        LineFaults(duplication_rate=1e-4, noise_rate=1e-4),
        0.15,
    ),
    "stalls and disconnects": (
        LineSpec(921_600, 0.001),
        LineFaults(stall_rate=1e-5, stall_s=0.2, disconnect_rate=1e-5, disconnect_s=0.2),
        0.0,
    ),
}


@pytest.mark.parametrize(("line", "faults", "least"), UARTS.values(), ids=UARTS)
def test_an_emulated_uart(line: LineSpec, faults: LineFaults, least: float) -> None:
    """In real time and on shared processors, so the shares asked for are modest; test_reliable.py asks for more."""
    data, rate = random.Random(1).randbytes(200_000), line.baud / 10
    uart = EmulatedLine(line, faults, seed=3)
    try:
        with session(Ends(opened(uart.host_port), opened(uart.device_port)), rate) as pair:
            begin_s = time.monotonic()

            def device_side() -> None:
                assert all_of(pair.device, len(data)) == data
                pair.device.write(b"thanks", soon())

            with background(device_side):
                pair.host.write(data, soon())
                assert all_of(pair.host, 6) == b"thanks"
            share = len(data) / (time.monotonic() - begin_s) / rate
            print(f"{share:.3f} of the line; {pair.host.counters}")
            assert share >= least
            if least < 0.3:
                assert pair.host.counters.resent_bytes > 0
    finally:
        uart.close()


def test_file_ports_behave_as_ports_should() -> None:
    with closing(sockets()) as ends:
        begin_s = time.monotonic()
        assert ends.host.read(0.1) == b""
        assert time.monotonic() - begin_s > 0.05
        assert ends.device.write(b"hello") == 5
        assert ends.host.read(PATIENCE_S) == b"hello"
        taken = 0
        while count := ends.host.write(bytes(65_536)):
            taken += count
            assert taken < 100 << 20
        ends.host.close()
        ends.host.close()
        for work in (lambda: ends.host.read(0), lambda: ends.host.write(b"x")):
            with pytest.raises(LinkError, match="closed"):
                work()
        while taken > 0:
            taken -= len(ends.device.read(0.1))
        with pytest.raises(LinkError, match="gone"):
            ends.device.read(0.1)


def test_closing_a_port_ends_a_read_under_way() -> None:
    with closing(terminals()) as ends:

        def reads() -> None:
            with pytest.raises(LinkError, match="closed"):
                ends.host.read(60)

        with background(reads):
            time.sleep(0.1)
            begin_s = time.monotonic()
            ends.host.close()
            assert time.monotonic() - begin_s < 20
