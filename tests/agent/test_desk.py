"""Several hosts at one desk, over real sockets: one master, the lease, its end, and what strangers may do."""

import itertools
import re
import socket
import threading
import time

import numpy as np
import pytest

from kit.agent.cache import ModelCache
from kit.agent.desk import MAX_SESSIONS, Desk
from kit.agent.server import Agent
from kit.digest import digest_bytes
from kit.wire import Decoder, Frame, FrameType, Message, encode_frame, pack_message, unpack_message
from tests import device_kit as kits


class SocketChannel:
    """A channel over one end of a socket pair."""

    def __init__(self, end, name):
        self.name, self._end = name, end

    def read(self):
        try:
            return self._end.recv(1 << 16)
        except OSError:
            return b""

    def write(self, data):
        try:
            self._end.sendall(data)
        except OSError:
            raise BrokenPipeError("gone") from None

    def close(self):
        with self._end.dup() as end:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                return


class Host:
    """A host with a connection to a desk."""

    def __init__(self, desk, name):
        self._mine, theirs = socket.socketpair()
        self._mine.settimeout(20)
        self.name, self._decoder, self._sequences = name, Decoder(), itertools.count(1)
        self._theirs = theirs
        desk.take(SocketChannel(theirs, name))

    def send(self, kind, sequence, payload=b""):
        self._mine.sendall(encode_frame(Frame(kind, sequence, payload)))

    def begin(self, kind, parts=(), **fields):
        sequence = next(self._sequences)
        self.send(FrameType.REQUEST, sequence, pack_message(Message(kind, fields, list(parts))))
        return sequence

    def receive(self):
        while (frame := self._decoder.next_frame()) is None:
            data = self._mine.recv(1 << 16)
            if not data:
                raise ConnectionError("closed")
            self._decoder.feed(data)
        return frame

    def go_ahead(self):
        frame = self.receive()
        assert frame.type is FrameType.PROGRESS
        return unpack_message(frame.payload).integer("done")

    def end(self):
        while True:
            frame = self.receive()
            if frame.type in (FrameType.REPLY, FrameType.ERROR):
                return frame.type is FrameType.REPLY, unpack_message(frame.payload)

    def ask(self, kind, parts=(), **fields):
        self.begin(kind, parts, **fields)
        return self.end()

    def hello(self, token=""):
        return self.ask("hello", protocols=[2], threads=1, host=self.name, token=token)

    def is_closed(self):
        try:
            while self._mine.recv(1 << 16):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def close(self):
        self._mine.close()
        self._theirs.close()


class Running:
    """A desk that runs in a thread, and its hosts."""

    def __init__(self, folder, lease_s):
        self.agent = Agent(ModelCache(folder))
        self.desk, self._hosts = Desk(self.agent, lease_s=lease_s), []
        self._thread = threading.Thread(target=self.desk.run)
        self._thread.start()

    def host(self, name="ada"):
        self._hosts.append(Host(self.desk, name))
        return self._hosts[-1]

    def stop(self):
        self.desk.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()
        kits.wait_until(lambda: not self.desk._sessions)
        for host in self._hosts:
            host.close()
        self.agent.close()


@pytest.fixture
def running(tmp_path):
    desk = Running(tmp_path / "models", lease_s=None)
    yield desk
    desk.stop()


class Clock:
    """Stands for the module `time` in the agent: it stands still until it is moved on."""

    def __init__(self):
        self.now_s, self.perf_counter_ns = 1000.0, time.perf_counter_ns

    def monotonic(self):
        return self.now_s


@pytest.fixture
def leased(tmp_path, monkeypatch):
    clock = Clock()
    for module in ("desk", "lease", "session"):
        monkeypatch.setattr(f"kit.agent.{module}.time", clock)
    desk = Running(tmp_path / "models", lease_s=0.6)
    desk.clock = clock
    yield desk
    desk.stop()


def deployed(running):
    """A model that is there already."""
    model = kits.linear()
    incoming = running.agent.cache.begin(digest_bytes(model), len(model))
    incoming.append(model)
    incoming.finish()
    return digest_bytes(model)


def test_a_second_master_is_refused_with_who_and_until_when(leased):
    first, second = leased.host("ada (process 7)"), leased.host("bob")
    is_reply, hello = first.hello()
    assert is_reply
    assert hello.number("lease_s") == 0.6
    is_reply, message = second.hello()
    assert not is_reply
    assert message.text("reason") == "busy"
    assert "busy with another host: ada (process 7), for 0 s so far" in message.text("what")
    assert re.search(r"its lease ends in 0\.\d s unless", message.text("next_step"))
    assert second.ask("clock")[1].text("reason") == "lease"
    assert first.ask("clock")[0]


def test_a_second_master_is_answered_while_the_first_one_s_request_is_under_way(running):
    first, second = running.host("ada"), running.host("bob")
    first.hello()
    first.begin("busy", [kits.rows(2)], digest=deployed(running), duration_s=60.0)
    time.sleep(0.2)
    start_s = time.monotonic()
    assert second.hello()[1].text("next_step").endswith("its lease ends when it ends")
    assert second.ask("describe")[1].fields["busy"]["host"] == "ada"
    assert time.monotonic() - start_s < 20


@pytest.mark.parametrize("how", ["bye", "close"])
def test_the_lease_is_free_once_the_master_leaves(running, how):
    first, second = running.host("ada"), running.host("bob")
    first.hello()
    if how == "bye":
        assert first.ask("bye")[0]
    else:
        first._mine.close()
    assert kits.wait_until(lambda: second.hello()[0])
    assert second.ask("clock")[0]


def test_a_silent_master_s_lease_expires_and_its_work_is_ended(leased):
    first, second = leased.host("ada"), leased.host("bob")
    first.hello()
    first.begin("busy", [kits.rows(2)], digest=deployed(leased), duration_s=60.0)
    deadline_s = time.monotonic() + 20
    while not second.hello()[0]:
        assert time.monotonic() < deadline_s
        leased.clock.now_s += 0.05
        time.sleep(0.01)
    assert leased.clock.now_s > 1000.6
    assert second.ask("conditions")[0]
    assert first.is_closed()


def test_beats_keep_the_lease(leased):
    first, second = leased.host("ada"), leased.host("bob")
    first.hello()
    for _ in range(4):
        first.send(FrameType.BEAT, 0)
        assert kits.wait_until(lambda: leased.desk._lease_state()["expires_s"] >= 0.6)
        leased.clock.now_s += 0.5
        time.sleep(0.1)  # the lease is looked after more often than that
        assert not second.hello()[0]
    assert first.ask("clock")[0]


def test_a_host_that_comes_again_takes_its_own_place(running):
    first = running.host("ada")
    first.hello("secret")
    first.begin("busy", [kits.rows(2)], digest=deployed(running), duration_s=60.0)
    time.sleep(0.1)
    thief = running.host("eve")
    assert not thief.hello("guess")[0]
    assert not thief.hello("")[0]
    again = running.host("ada")
    start_s = time.monotonic()
    assert again.hello("secret")[0]
    assert time.monotonic() - start_s < 20
    assert again.ask("clock")[0]
    assert first.is_closed()


def test_no_description_tells_the_token(running):
    host = running.host()
    host.hello("top-secret")
    assert "top-secret" not in repr(running.host("eve").ask("describe")[1])


def test_a_refusal_quotes_no_control_characters_of_the_host(running):
    is_done, said = running.host("eve").ask("hello", protocols=[99], release="\x1b[31m1.0\u202e")
    assert not is_done
    assert said.text("what").isprintable()
    assert "1.0" in said.text("what")


def test_a_refused_hello_leaves_the_device_free(running):
    future, now = running.host("future"), running.host("now")
    is_reply, message = future.ask("hello", protocols=[77], threads=1)
    assert not is_reply
    assert "77" in message.text("what")
    assert now.hello()[0]


def test_connections_are_bounded_and_the_oldest_strangers_make_room(running):
    asker, hosts = running.host("asker"), [running.host(str(i)) for i in range(MAX_SESSIONS - 1)]
    assert asker.ask("describe")[0]
    late = [running.host("late"), running.host("later")]
    assert hosts[0].is_closed()
    assert hosts[1].is_closed()
    assert len(running.desk._sessions) == MAX_SESSIONS
    assert asker.ask("describe")[0]
    assert late[1].hello()[0]
    assert hosts[-1].ask("describe")[0]


def test_no_crowd_drives_out_the_master(running):
    master = running.host("ada")
    assert master.hello()[0]
    for i in range(2 * MAX_SESSIONS):
        running.host(str(i)).begin("describe")
    assert master.ask("conditions")[0]


def test_bytes_that_are_no_request_do_not_keep_a_stranger(leased, monkeypatch):
    monkeypatch.setattr("kit.agent.desk._UNKNOWN_S", 0.5)
    stranger, deadline_s = leased.host("stranger"), time.monotonic() + 20
    with pytest.raises(OSError):  # noqa: PT012  # whichever byte it is at
        while time.monotonic() < deadline_s:
            stranger._mine.sendall(b"E")
            leased.clock.now_s += 0.05
            time.sleep(0.01)
    assert leased.clock.now_s > 1000.5


def test_a_transfer_goes_on_over_another_connection(running):
    model = np.random.default_rng(3).bytes(200_000)
    first = running.host("ada")
    first.hello("t")
    sequence = first.begin("put", digest=digest_bytes(model), size_bytes=len(model))
    assert first.go_ahead() == 0
    first.send(FrameType.DATA, sequence, model[:77_777])
    assert kits.wait_until(lambda: running.agent.cache.received_bytes(digest_bytes(model)) >= 77_777)
    first._mine.close()
    second = running.host("ada")
    assert second.hello("t")[0]
    sequence = second.begin("put", digest=digest_bytes(model), size_bytes=len(model))
    assert second.go_ahead() == 77_777
    second.send(FrameType.DATA, sequence, model[77_777:])
    assert second.end()[1].flag("complete")


def test_garbage_of_a_stranger_disturbs_nobody(running):
    master, stranger = running.host("ada"), running.host("eve")
    master.hello()
    for seed in range(20):
        stranger._mine.sendall(np.random.default_rng(seed).bytes(5000))
    stranger.send(FrameType.CANCEL, 1)
    stranger.send(FrameType.DATA, 1, b"x")
    assert master.ask("clock")[0]
    assert stranger.ask("describe")[0] in (True, False)


def test_an_error_given_to_stop_is_raised_by_run(tmp_path):
    desk = Desk(Agent(ModelCache(tmp_path / "models")))
    desk.stop(OSError("the port is gone"))
    with pytest.raises(OSError, match="the port is gone"):
        desk.run()


def test_threads_end_with_their_hosts(running):
    before = threading.active_count()
    for _ in range(10):
        host = running.host()
        host.hello("t")
        host.ask("bye")
    assert kits.wait_until(lambda: threading.active_count() <= before)
