"""The agent's serial port on real pseudo-terminals: raw, locked, refusing clearly, and back after a hang-up."""

import fcntl
import os
import struct
import termios
import threading
import time
import tty
from pathlib import Path

import pytest

from kit.agent.tty import RATES, TtyPort
from kit.errors import LinkError
from tests.device_kit import wait_until


class Adapter:
    """A pseudo-terminal behind a name that stays, as udev's do; it can be unplugged and plugged in again."""

    def __init__(self, folder):
        self.path = folder / "tty"
        self.plug_in()

    def plug_in(self):
        self.master, slave = os.openpty()
        tty.setraw(self.master)
        self.path.symlink_to(os.ttyname(slave))
        os.close(slave)

    def unplug(self):
        self.path.unlink()
        os.close(self.master)

    def settings(self):
        return termios.tcgetattr(self.master)


@pytest.fixture
def adapter(tmp_path):
    made = Adapter(tmp_path)
    yield made
    if made.path.is_symlink():
        made.unplug()


@pytest.fixture
def port(adapter):
    opened = TtyPort(str(adapter.path), 115200)
    yield opened
    opened.close()


def test_bytes_come_as_soon_as_there_are_any(adapter, port):
    os.write(adapter.master, b"hello")
    start_s = time.monotonic()
    assert port.read(40) == b"hello"
    assert time.monotonic() - start_s < 20


def test_every_byte_value_passes_both_ways(adapter, port):
    everything = bytes(range(256))
    os.write(adapter.master, everything)
    assert port.read(1) == everything
    assert port.write(everything) == 256
    assert os.read(adapter.master, 1000) == everything


@pytest.mark.parametrize("timeout_s", [0.0, 0.1, -1.0])
def test_nothing_comes_of_silence(port, timeout_s):
    start_s = time.monotonic()
    assert port.read(timeout_s) == b""
    assert max(0, timeout_s) * 0.9 <= time.monotonic() - start_s < max(0, timeout_s) + 10


def test_waiting_takes_no_processor_time(port):
    start_s = time.thread_time()
    assert port.read(1.0) == b""
    assert time.thread_time() - start_s < 0.05


def test_a_full_port_takes_nothing_and_says_so(port):
    taken, refused = 0, 0
    while refused < 5:  # the terminal may still be passing on what it holds
        taken += (more := port.write(b"x" * (1 if refused else 4096)))
        assert taken < 1 << 20
        refused = 0 if more else refused + 1
        time.sleep(0.0 if more else 0.05)
    assert taken > 0


@pytest.mark.parametrize("baud", [9600, 115200, 921600, 4000000])
def test_the_rate_is_set_and_the_line_is_raw(adapter, baud):
    port = TtyPort(str(adapter.path), baud)
    iflag, oflag, cflag, lflag, ispeed, ospeed, _ = adapter.settings()
    port.close()
    assert ispeed == ospeed == RATES[baud]
    assert not iflag
    assert not oflag
    assert not lflag
    assert cflag & termios.CSIZE == termios.CS8
    assert not cflag & (termios.PARENB | termios.CSTOPB | termios.CRTSCTS | termios.HUPCL)


@pytest.mark.parametrize("baud", [0, -1, 1, 12345, 115201, 5_000_000])
def test_another_rate_is_refused_and_the_rates_are_named(adapter, baud):
    with pytest.raises(LinkError, match=f"{baud} baud is no rate") as caught:
        TtyPort(str(adapter.path), baud)
    assert "115200" in caught.value.next_step


def test_what_waited_from_before_is_not_taken_for_news(adapter):
    first = TtyPort(str(adapter.path), 115200)
    os.write(adapter.master, b"stale")
    keep = os.open(adapter.path, os.O_RDWR | os.O_NOCTTY)
    assert wait_until(lambda: struct.unpack("i", fcntl.ioctl(keep, termios.FIONREAD, bytes(4))) == (5,))
    first.close()
    second = TtyPort(str(adapter.path), 115200)
    assert second.read(0.1) == b""
    second.close()
    os.close(keep)


@pytest.mark.parametrize(
    ("path", "said"),
    [("/dev/ttyNONE9", "no such port"), ("/dev/null", "no serial port"), ("/", "no serial port")],
    ids=["missing", "null", "folder"],
)
def test_what_is_no_port_is_refused_in_one_line(path, said):
    with pytest.raises(LinkError, match=said) as caught:
        TtyPort(path, 115200)
    assert caught.value.where == path
    assert caught.value.next_step


def test_a_port_in_use_is_refused(adapter, port):
    with pytest.raises(LinkError, match="in use") as caught:
        TtyPort(str(adapter.path), 115200)
    assert "getty" in caught.value.next_step


def test_a_port_that_another_program_has_locked_is_refused(adapter):
    other = os.open(adapter.path, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(LinkError, match="in use"):
        TtyPort(str(adapter.path), 115200)
    os.close(other)


def test_an_adapter_that_is_unplugged_and_comes_back_is_opened_again(adapter, port):
    adapter.unplug()
    start_s = time.monotonic()
    assert port.read(0.3) == b""
    assert time.monotonic() - start_s >= 0.25
    assert port.write(b"to nobody") == 0
    adapter.plug_in()

    def answer():
        assert wait_until(lambda: port._file)  # opening it drops what came before
        os.write(adapter.master, b"back")

    answering = threading.Thread(target=answer)
    answering.start()
    assert port.read(20) == b"back"
    answering.join()
    assert port.write(b"hello") == 5
    assert os.read(adapter.master, 10) == b"hello"
    assert adapter.settings()[4] == RATES[115200]


def test_a_pseudo_terminal_that_hangs_up_is_gone_for_good():
    master, slave = os.openpty()
    port = TtyPort(os.ttyname(slave), 115200)
    os.close(slave)
    os.close(master)
    with pytest.raises(LinkError, match="hung up"):
        port.read(5)
    taken = [os.openpty() for _ in range(3)]  # its name is another's now
    for use in (lambda: port.read(1), lambda: port.write(b"to a stranger")):
        with pytest.raises(LinkError, match="hung up"):
            use()
    for pair in taken:
        os.close(pair[0])
        os.close(pair[1])
    port.close()


def test_an_absent_adapter_is_looked_for_without_hurry(adapter, port):
    adapter.unplug()
    start_s = time.thread_time()
    assert port.read(1.0) == b""
    assert time.thread_time() - start_s < 0.1


@pytest.mark.parametrize("plugged", [True, False])
def test_closing_ends_a_read_under_way(adapter, port, plugged):
    if not plugged:
        adapter.unplug()
    ended = []

    def read():
        try:
            port.read(3600)
        except LinkError as error:
            ended.append(error.what)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.2)
    port.close()
    reader.join(20)
    assert ended == ["the port is closed"]


def test_a_closed_port_says_so_and_may_be_closed_again(port):
    port.close()
    port.close()
    with pytest.raises(LinkError, match="closed"):
        port.read(1)
    with pytest.raises(LinkError, match="closed"):
        port.write(b"x")


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_descriptor_is_left_behind(adapter):
    before = open_descriptors()
    for _ in range(20):
        port = TtyPort(str(adapter.path), 115200)
        adapter.unplug()
        port.read(0.01)
        adapter.plug_in()
        port.close()
    assert open_descriptors() == before
