"""What every link must do alike: open, carry bytes, time out, end and close. A new link adds one row to LINKS."""

import threading
import time

import pytest

from kit.device.link import Link
from kit.device.subprocess import SubprocessLink
from kit.errors import LinkError
from tests import device_kit as kits


def through_a_subprocess(peer):
    """A link whose other end is a shell command."""
    return SubprocessLink(kits.device_spec(wrapper=("sh", "-c", peer)))


LINKS = {"subprocess": through_a_subprocess}


@pytest.fixture(params=sorted(LINKS))
def connect(request):
    opened = []

    def open_one(peer):
        opened.append(LINKS[request.param](peer))
        return opened[-1]

    yield open_one
    for link in opened:
        link.close()


def soon(seconds=5.0):
    return time.monotonic() + seconds


def read_exactly(link, size):
    data = b""
    while len(data) < size:
        piece = link.read(soon())
        assert piece, "nothing arrived in time"
        data += piece
    return data


def test_it_is_a_link(connect):
    assert isinstance(connect("cat"), Link)


@pytest.mark.parametrize("size", [1, 4096, 3_000_000])
def test_bytes_arrive_unchanged_and_in_order(connect, size):
    link = connect("cat")
    sent = bytes(i * 7 % 251 for i in range(size))
    writer = threading.Thread(target=link.write, args=(sent, soon(20)))
    writer.start()
    got = read_exactly(link, size)
    writer.join()
    assert got == sent


def test_every_byte_value_passes(connect):
    link = connect("cat")
    link.write(bytes(range(256)), soon())
    assert read_exactly(link, 256) == bytes(range(256))


def test_a_read_returns_what_there_is_at_once(connect):
    link = connect("echo hello; sleep 30")
    start_s = time.monotonic()
    assert link.read(soon(20)) == b"hello\n"
    assert time.monotonic() - start_s < 5


@pytest.mark.parametrize("patience_s", [0.0, 0.2, -1.0])
def test_a_read_returns_nothing_at_its_deadline_and_not_much_later(connect, patience_s):
    link = connect("sleep 30")
    start_s = time.monotonic()
    assert link.read(start_s + patience_s) == b""
    assert max(0, patience_s) * 0.9 <= time.monotonic() - start_s < max(0, patience_s) + 0.5
    assert link.read(start_s) == b""


def test_a_peer_that_does_not_read_is_told_at_the_deadline(connect):
    link = connect("sleep 30")
    start_s = time.monotonic()
    with pytest.raises(LinkError, match="does not take"):
        link.write(bytes(16 << 20), soon(0.3))
    assert 0.2 < time.monotonic() - start_s < 1.5


def test_what_was_said_before_the_end_still_arrives(connect):
    link = connect("echo last words")
    assert read_exactly(link, 11) == b"last words\n"
    with pytest.raises(LinkError):
        link.read(soon())


def test_the_end_of_the_peer_is_a_link_error_for_reader_and_writer(connect):
    link = connect("exit 0")
    with pytest.raises(LinkError) as caught:
        link.read(soon())
    assert caught.value.exit_code == 4
    assert caught.value.next_step
    with pytest.raises(LinkError):
        link.write(bytes(1 << 20), soon())


def test_close_twice_and_close_after_the_end(connect):
    for peer in ("cat", "exit 0", "sleep 30"):
        link = connect(peer)
        start_s = time.monotonic()
        link.close()
        link.close()
        assert time.monotonic() - start_s < 5


def test_close_ends_what_was_started(connect):
    link = connect("trap '' TERM; while true; do sleep 0.05; done")
    process_id = link.process_id()
    link.close()
    assert process_id is None or kits.wait_gone(process_id)


@pytest.mark.parametrize("use", [lambda link: link.read(soon(0.2)), lambda link: link.write(b"x", soon(0.2))])
def test_a_closed_link_is_told(connect, use):
    link = connect("cat")
    link.close()
    with pytest.raises(LinkError):
        use(link)
