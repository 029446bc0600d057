"""What every link must do alike: open, carry bytes, time out, end, close and leave nothing behind."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from kit.device import LINKS, Link
from kit.device.link import LinkHealth
from kit.errors import LinkError
from tests import device_kit as kits
from tests.contract.peers import PEERS

MEGABYTES = bytes(i * 7 % 251 for i in range(3_000_000))


def test_every_registered_link_is_here():
    assert {name.split()[0] for name in PEERS} == set(LINKS)


@pytest.fixture(scope="module", params=sorted(PEERS))
def other_end(request, tmp_path_factory):
    with PEERS[request.param](tmp_path_factory.mktemp("peers")) as connect:
        yield connect


@pytest.fixture
def connect(other_end):
    with contextlib.ExitStack() as opened:

        def open_one(peer):
            link = other_end(peer)
            opened.callback(link.close)
            return link

        yield open_one


def soon(seconds=25.0):
    return time.monotonic() + seconds


def read_exactly(link, size):
    data = b""
    while len(data) < size:
        piece = link.read(soon())
        assert piece, f"nothing arrived in time after {len(data)} bytes"
        data += piece
    return data


def read_to_the_end(link):
    """What arrives, and the error that ends it."""
    data = b""
    while True:
        try:
            piece = link.read(soon())
        except LinkError as error:
            return data, error
        assert piece, "neither bytes nor an end in time"
        data += piece


def write_to_the_end(link):
    """The error that ends writing; a system may take some bytes for a peer that is gone."""
    deadline_s = soon()
    while True:
        try:
            link.write(bytes(1 << 20), deadline_s)
        except LinkError as error:
            return error


def caught_in_a_thread(action):
    """Run it in a thread; its LinkErrors are put into the list."""
    caught = []

    def run():
        try:
            action()
        except LinkError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, caught


class TestBytes:
    def test_it_is_a_link(self, connect):
        assert isinstance(connect("cat"), Link)

    @pytest.mark.parametrize("size", [1, 4096, len(MEGABYTES)])
    def test_they_arrive_unchanged_and_in_order(self, connect, size):
        link = connect("cat")
        writer, failed = caught_in_a_thread(lambda: link.write(MEGABYTES[:size], soon(20)))
        got = read_exactly(link, size)
        writer.join()
        assert got == MEGABYTES[:size]
        assert not failed

    def test_every_value_passes_in_both_directions(self, connect):
        link = connect("cat")
        for _ in range(3):
            link.write(bytes(range(256)) * 4, soon())
            assert read_exactly(link, 1024) == bytes(range(256)) * 4

    def test_small_messages_go_back_and_forth(self, connect):
        link = connect("cat")
        for i in range(100):
            link.write(bytes([i]), soon())
            assert link.read(soon()) == bytes([i])

    def test_any_view_of_bytes_can_be_written(self, connect):
        link = connect("cat")
        link.write(memoryview(bytearray(b"xxabcd"))[2:], soon())
        link.write(b"", soon())
        assert read_exactly(link, 4) == b"abcd"

    def test_what_was_said_before_the_end_still_arrives(self, connect):
        said, error = read_to_the_end(connect("head -c 200000 /dev/zero; echo last words"))
        assert said == bytes(200_000) + b"last words\n"
        assert error.next_step


class TestTime:
    def test_a_read_returns_what_there_is_at_once(self, connect):
        link = connect("echo hello; sleep 30")
        start_s = time.monotonic()
        assert link.read(soon()) == b"hello\n"
        assert time.monotonic() - start_s < 12

    @pytest.mark.parametrize("patience_s", [0.0, 0.2, -1.0])
    def test_a_read_returns_nothing_at_its_deadline_and_not_much_later(self, connect, patience_s):
        link = connect("echo; sleep 30")
        assert link.read(soon()) == b"\n"
        start_s = time.monotonic()
        assert link.read(start_s + patience_s) == b""
        assert max(0, patience_s) * 0.9 <= time.monotonic() - start_s < max(0, patience_s) + 10
        assert link.read(start_s) == b""

    def test_a_write_whose_deadline_has_passed_does_not_wait(self, connect):
        link = connect("echo; sleep 30")
        assert link.read(soon()) == b"\n"
        start_s = time.monotonic()
        with pytest.raises(LinkError, match=r"does not take|in the time given"):
            link.write(bytes(16 << 20), start_s - 1)
        assert time.monotonic() - start_s < 10

    def test_a_peer_that_does_not_read_is_told_at_the_deadline(self, connect):
        link = connect("echo; sleep 30")
        assert link.read(soon()) == b"\n"
        start_s = time.monotonic()
        with pytest.raises(LinkError, match=r"does not take|in the time given"):
            link.write(bytes(32 << 20), soon(0.5))
        assert 0.4 < time.monotonic() - start_s < 10

    def test_a_peer_that_reads_late_gets_everything(self, connect):
        link = connect("echo; sleep 0.5; cat")
        assert link.read(soon()) == b"\n"
        writer, failed = caught_in_a_thread(lambda: link.write(MEGABYTES[:1_000_000], soon(20)))
        assert read_exactly(link, 1_000_000) == MEGABYTES[:1_000_000]
        writer.join()
        assert not failed

    def test_a_host_that_reads_late_gets_everything(self, connect):
        link = connect("echo; head -c 2000000 /dev/zero; echo end; cat")
        time.sleep(0.5)
        assert read_exactly(link, 2_000_005) == b"\n" + bytes(2_000_000) + b"end\n"


class TestEnd:
    def test_reader_and_writer_are_told_what_happened_and_what_to_do(self, connect):
        link = connect("exit 0")
        _, at_reading = read_to_the_end(link)
        for error in (at_reading, write_to_the_end(link), read_to_the_end(link)[1]):
            assert error.exit_code == 4
            assert error.what
            assert error.next_step
            assert "\n" not in error.what + error.next_step

    def test_a_peer_that_is_killed_is_an_end(self, connect):
        start_s = time.monotonic()
        said, error = read_to_the_end(connect("echo started; kill -9 $$"))
        assert (said, bool(error.next_step)) == (b"started\n", True)
        assert time.monotonic() - start_s < 8

    def test_a_writer_that_waits_is_woken_by_the_end(self, connect):
        link = connect("echo; sleep 0.5")
        assert link.read(soon()) == b"\n"
        start_s = time.monotonic()
        assert write_to_the_end(link).next_step
        assert time.monotonic() - start_s < 8


class TestClose:
    @pytest.mark.parametrize("peer", ["cat", "exit 0", "sleep 30"])
    def test_twice_and_after_the_end(self, connect, peer):
        link = connect(peer)
        start_s = time.monotonic()
        link.close()
        link.close()
        assert time.monotonic() - start_s < 12

    @pytest.mark.parametrize("use", [lambda link: link.read(soon()), lambda link: link.write(b"x", soon())])
    def test_it_is_told_to_who_goes_on(self, connect, use):
        link = connect("cat")
        link.close()
        with pytest.raises(LinkError, match="closed") as caught:
            use(link)
        assert caught.value.next_step

    @pytest.mark.parametrize(
        "use", [lambda link: link.read(soon(30)), lambda link: link.write(bytes(64 << 20), soon(30))]
    )
    def test_it_wakes_who_waits_in_another_thread(self, connect, use):
        link = connect("echo; sleep 30")
        assert link.read(soon()) == b"\n"
        thread, caught = caught_in_a_thread(lambda: use(link))
        time.sleep(0.3)
        start_s = time.monotonic()
        link.close()
        thread.join(20)
        assert time.monotonic() - start_s < 12
        assert len(caught) == 1

    def test_it_ends_a_peer_that_reads(self, connect):
        link = connect("echo $$; exec cat")
        said = b""
        while not said.endswith(b"\n"):
            said += read_exactly(link, 1)
        process_id = int(said)
        link.close()
        assert kits.wait_gone(process_id)

    def test_it_ends_what_was_started_here_even_if_that_resists(self, connect):
        link = connect("trap '' TERM HUP; echo $$; while true; do sleep 0.05; done")
        said = b""
        while not said.endswith(b"\n"):
            said += read_exactly(link, 1)
        process_id = link.process_id()
        link.close()
        try:
            assert process_id is None or kits.wait_gone(process_id)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(said), signal.SIGKILL)  # what a server started, the link cannot end


class TestState:
    def test_health_counts_and_is_told_after_the_close(self, connect):
        link = connect("cat")
        assert isinstance(link.health(), LinkHealth)
        link.write(bytes(5000), soon())
        read_exactly(link, 5000)
        link.close()
        assert link.health().sent_bytes >= 5000
        assert link.health().received_bytes >= 5000

    def test_limits_are_words_and_a_process_is_one_of_ours(self, connect):
        link = connect("cat")
        assert all(isinstance(each, str) for each in link.limits())
        process_id = link.process_id()
        assert process_id is None or process_id in {child.pid for child in psutil.Process().children()}

    def test_nothing_is_left_behind(self, connect):
        def use():
            link = connect("cat")
            link.write(b"x", soon())
            assert link.read(soon()) == b"x"
            link.close()

        use()
        before = held_at_rest()
        for _ in range(4):
            use()
        assert held_at_rest(until=before) <= before


def held_at_rest(until=0, rest_s=1.0, within_s=20.0):
    """Threads, descriptors and children of this process, when they have been as many for a while or are few enough."""
    deadline_s, since_s, last = time.monotonic() + within_s, time.monotonic(), None
    while True:
        count = threading.active_count() + len(list(Path("/proc/self/fd").iterdir()))
        count += len(psutil.Process().children(recursive=True))
        now_s = time.monotonic()
        if count != last:
            since_s, last = now_s, count
        if count <= until or now_s > deadline_s or (not until and now_s - since_s > rest_s):
            return count
        time.sleep(0.05)
