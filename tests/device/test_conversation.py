"""Host and real agents over real links that break, stall, fill up or are taken: what is refused, and what goes on."""

import contextlib
import itertools
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

from kit.device import open_device, open_link, transfer
from kit.device.agent import AgentDevice
from kit.device.conversation import RefusedError
from kit.device.patience import LateError
from kit.device.subprocess import cache_folder
from kit.digest import digest_bytes
from kit.errors import DeviceError, LinkError
from tests import device_kit as kits
from tests.signals import heard
from tests.tcp_agent import tcp_agent

AGENT = (sys.executable, "-m", "kit.agent")
MODEL = np.random.default_rng(11).bytes(6 << 20)


def spec_of(name, **changes):
    """A device with a cache of its own."""
    return kits.device_spec(name=name, **changes)


class CutLink:
    """A link that breaks for good once so many bytes were written, in the middle of a frame."""

    def __init__(self, link, left_bytes):
        self._link, self._left_bytes = link, left_bytes

    def __getattr__(self, name):
        return getattr(self._link, name)

    def write(self, data, deadline_s):
        view = memoryview(data)[: max(0, self._left_bytes)]
        self._link.write(view, deadline_s)
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise LinkError("the cable was pulled", next_step="plug it in")


class Cutter:
    """Opens links, each of which breaks after its number of bytes; the last holds."""

    def __init__(self, spec, *cuts):
        self.spec, self._cuts, self.opened = spec, list(cuts), []

    def __call__(self):
        link = open_link(self.spec)
        self.opened.append(CutLink(link, self._cuts.pop(0)) if self._cuts else link)
        return self.opened[-1]

    def sent_bytes(self):
        return sum(link.health().sent_bytes for link in self.opened)


class Clock:
    """Stands for the module `time`: it moves on where one sleeps."""

    def __init__(self):
        self.now_s = 0.0

    def monotonic(self):
        return self.now_s

    def sleep(self, duration_s):
        self.now_s += duration_s


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr("kit.device.transfer.time", made)
    return made


class TestTransfers:
    def test_go_on_over_as_many_links_as_it_takes_and_send_nothing_twice(self):
        connect, told = Cutter(spec_of("cut-often"), 1_000_000, 2_500_000, 800_000, 1_700_000), []
        device = AgentDevice(connect, connect.spec)
        try:
            assert device.deploy(MODEL, lambda *each: told.append(each)) == digest_bytes(MODEL)
            assert len(connect.opened) == 5
            assert told[-1] == (len(MODEL), len(MODEL))
            most_lost = 4 * (256 << 10)  # what was cut off was at most one piece a link
            assert len(MODEL) < connect.sent_bytes() < len(MODEL) + most_lost + 10_000
            assert device.echo(b"still there") == b"still there"
        finally:
            device.close()

    def test_go_on_after_the_agent_was_killed(self):
        spec = spec_of("killed-often")
        device, kills = open_device(spec), []

        def kill_once(done, total):
            if len(kills) < 2 and done < total:  # at each go-ahead
                kills.append(device.process_id())
                os.kill(kills[-1], signal.SIGKILL)

        try:
            assert device.deploy(MODEL, kill_once) == digest_bytes(MODEL)
            assert len(kills) == 2
            assert device.process_id() not in kills
        finally:
            device.close()

    def test_are_given_up_when_nothing_more_arrives(self, monkeypatch):
        made = transfer.Persistence
        monkeypatch.setattr(transfer, "Persistence", lambda _, *of: made(1.0, *of))
        connect = Cutter(spec_of("dead"), *[2000] * 100)
        device = AgentDevice(connect, connect.spec)
        start_s = time.monotonic()
        with pytest.raises(LinkError, match="the cable was pulled during deploy") as caught:
            device.deploy(MODEL)
        assert caught.value.next_step == "plug it in"
        assert time.monotonic() - start_s < 20
        assert 2 <= len(connect.opened) < 20
        device.close()

    def test_a_byte_a_link_is_no_progress_and_ends_them(self, clock):
        patience_s = 0.3
        persistence = transfer.Persistence(patience_s, len(MODEL), 1e6)

        def creep():
            for done in range(1, transfer.Persistence.MAX_BREAKS):
                persistence.note(done)
                persistence.pause(LinkError("cut"))

        with pytest.raises(LinkError, match="cut"):
            creep()
        assert clock.now_s < 2 * patience_s

    def test_a_hundredth_a_link_is_progress(self, clock):
        patience_s = 0.15
        persistence = transfer.Persistence(patience_s, len(MODEL), 1e6)
        while clock.now_s < 3 * patience_s:
            persistence.note(int(len(MODEL) * clock.now_s / patience_s))
            persistence.pause(LinkError("cut"))

    def test_refuse_to_go_on_at_another_device(self, monkeypatch):
        connect = Cutter(spec_of("swapped"), 1_000_000)
        device = AgentDevice(connect, connect.spec)
        object.__setattr__(device._record, "cpu_model", "Another Processor 9000")
        with pytest.raises(DeviceError, match="another device answers now"):
            device.deploy(MODEL)
        device.close()

    def test_a_partial_that_rotted_is_sent_anew(self):
        spec = spec_of("rotten")
        connect = Cutter(spec, 3_000_000)
        device = AgentDevice(connect, spec)
        try:
            device.deploy(b"small")
            put_bytes = connect.sent_bytes()
            with pytest.raises(LinkError):
                transfer.put(device._talk, MODEL, digest_bytes(MODEL), lambda *_: None)
            device.close()
            (partial,) = cache_folder("rotten").glob("*.partial")
            with partial.open("r+b") as stream:
                stream.write(b"rotten")
            device = AgentDevice(connect, spec)
            assert device.deploy(MODEL) == digest_bytes(MODEL)
            assert connect.sent_bytes() > put_bytes + 3_000_000 + len(MODEL)
        finally:
            device.close()

    def test_only_they_are_tried_again(self):
        connect = Cutter(spec_of("once"), 1000)
        device = AgentDevice(connect, connect.spec)
        with pytest.raises(LinkError, match="cable was pulled during echo"):
            device.echo(bytes(5000))
        with pytest.raises(LinkError, match="closed after an earlier failure"):
            device.echo(b"")
        assert len(connect.opened) == 1
        device.close()

    def test_out_of_storage_is_one_line_and_the_device_stays_usable(self):
        device = open_device(spec_of("small-disk", command=(*AGENT, "--cache-bytes", "100000")))
        try:
            with pytest.raises(RefusedError, match=r"refused deploy: a model of 6291456 bytes is over") as caught:
                device.deploy(MODEL)
            assert caught.value.reason == "storage"
            assert "\n" not in str(caught.value)
            assert caught.value.next_step
            assert device.deploy(kits.linear()) == digest_bytes(kits.linear())
        finally:
            device.close()


class TestStaysUsable:
    def test_after_a_time_out(self):
        spec = spec_of("stalls", timeout_s=10.0)
        device = open_device(spec)
        try:
            digest = device.deploy(kits.linear())
            object.__setattr__(spec, "timeout_s", 0.5)
            os.kill(device.process_id(), signal.SIGSTOP)
            with pytest.raises(LateError, match=r"no answer within 0\.5 s during predict") as caught:
                device.predict(digest, kits.rows(3), output=None, exact=False)
            assert caught.value.next_step
            os.kill(device.process_id(), signal.SIGCONT)
            object.__setattr__(spec, "timeout_s", 10.0)
            for count in (1, 5):
                assert device.predict(digest, kits.rows(count), output=None, exact=False).shape == (count, 3)
        finally:
            device.close()

    def test_after_an_interrupt(self):
        device = open_device(spec_of("interrupted"))
        digest = device.deploy(kits.linear())
        main = threading.main_thread().ident
        timer = threading.Timer(0.4, lambda: signal.pthread_kill(main, signal.SIGINT))
        try:
            with heard(signal.SIGINT, signal.default_int_handler):
                with pytest.raises(KeyboardInterrupt):  # noqa: PT012  # whenever it comes
                    timer.start()
                    device.run_busy(digest, kits.rows(), duration_s=60)
                timer.join()
            start_s = time.monotonic()
            assert device.predict(digest, kits.rows(2), output=None, exact=False).shape == (2, 3)
            assert time.monotonic() - start_s < 20
        finally:
            device.close()

    def test_after_it_ran_out_of_memory(self):
        device = open_device(spec_of("hungry"))
        try:
            digest = device.deploy(kits.hungry())
            with pytest.raises(
                RefusedError, match="out of memory: the runtime asked for 140737488355328 bytes"
            ) as caught:
                device.predict(digest, kits.rows(1), output=None, exact=False)
            assert caught.value.reason == "memory"
            assert "smaller variant" in caught.value.next_step
            assert device.echo(b"x") == b"x"
        finally:
            device.close()


class TestForgets:
    def test_a_model_that_was_used(self):
        with contextlib.closing(open_device(spec_of("forgetful"))) as device:
            kept, gone = device.deploy(kits.linear(1)), device.deploy(kits.linear())
            device.predict(gone, kits.rows(), output=None, exact=False)
            assert device.forget(gone)
            assert device.forget(gone)
            with pytest.raises(DeviceError, match="no model"):
                device.predict(gone, kits.rows(), output=None, exact=False)
            assert len(device.predict(kept, kits.rows(2), output=None, exact=False)) == 2
            assert device.deploy(kits.linear()) == gone
            assert len(device.predict(gone, kits.rows(2), output=None, exact=False)) == 2


class TestTells:
    def test_telemetry_until_it_is_read(self):
        device = AgentDevice(lambda: open_link(spec_of("telling")), spec_of("telling"), telemetry_s=0.2)
        try:
            digest = device.deploy(kits.linear())
            window = device.run_busy(digest, kits.rows(), duration_s=1.0)
            device.conditions()
            samples = device.telemetry()
            assert len(samples) >= 2
            clocks_ns = [each.clock_ns for each in samples]
            assert all(later - earlier >= 0.2e9 for earlier, later in itertools.pairwise(clocks_ns))
            assert window.start_ns <= clocks_ns[0]
            assert clocks_ns[-2] <= window.end_ns  # the last may be told after the last inference
            assert all(each.conditions.available_memory_bytes > 0 for each in samples)
            assert device.telemetry() == []
        finally:
            device.close()

    def test_no_telemetry_where_none_is_wanted(self):
        device = AgentDevice(lambda: open_link(spec_of("silent")), spec_of("silent"), telemetry_s=0)
        try:
            device.run_busy(device.deploy(kits.linear()), kits.rows(), duration_s=0.5)
            assert device.telemetry() == []
        finally:
            device.close()

    def test_who_it_is_and_how_its_link_is(self):
        device = open_device(spec_of("who"))
        try:
            assert device.record is device.identify()
            assert device.record.free_storage_bytes > 0
            data = np.random.default_rng(0).bytes(100_000)
            assert device.echo(data) == data
            assert device.health().sent_bytes > 100_000
            assert device.health().received_bytes > 100_000
        finally:
            device.close()

    def test_the_clock_s_bound_leaves_out_the_device_s_own_time_and_holds(self):
        device = open_device(spec_of("clock"))
        try:
            errors_ns = []
            for _ in range(5):
                offset_ns, error_ns = device.clock_offset_ns()
                assert abs(offset_ns) <= error_ns  # one clock on both sides here
                errors_ns.append(error_ns)
            assert min(errors_ns) < 5e6
        finally:
            device.close()


class TestLease:
    def test_a_second_host_is_told_who_is_served(self, tmp_path):
        with tcp_agent(tmp_path) as (url, _):
            first = open_device(spec_of("shared", link=url))
            try:
                with pytest.raises(
                    RefusedError, match=rf"busy with another host: .*\(process {os.getpid()}\)"
                ) as caught:
                    open_device(spec_of("shared", link=url))
                assert caught.value.reason == "busy"
                assert "its lease ends in" in caught.value.next_step
                assert first.echo(b"undisturbed") == b"undisturbed"
            finally:
                first.close()
            second = open_device(spec_of("shared", link=url))
            assert second.echo(b"mine") == b"mine"
            second.close()

    @pytest.mark.parametrize("idle", [True, False], ids=["between requests", "in a request"])
    def test_beats_keep_it_while_nothing_else_is_said(self, tmp_path, idle):
        with tcp_agent(tmp_path, "--lease", "2.0") as (url, _):
            device = open_device(spec_of("beating", link=url))
            try:
                digest = device.deploy(kits.linear())
                if idle:
                    time.sleep(3)
                else:
                    device.run_busy(digest, kits.rows(), duration_s=3.0)
                assert device.echo(b"still mine") == b"still mine"
            finally:
                device.close()

    def test_a_dead_host_s_lease_expires(self, tmp_path):
        with tcp_agent(tmp_path, "--lease", "1.0") as (url, _):
            start_s, heir = time.monotonic(), None
            dead = open_device(spec_of("orphaned", link=url))
            dead._talk._ended.set()  # its beats end; its connection stays, as of a host that lost its network
            while heir is None:
                assert time.monotonic() - start_s < 20
                with contextlib.suppress(RefusedError):
                    heir = open_device(spec_of("orphaned", link=url))
            assert time.monotonic() - start_s > 0.9
            assert heir.echo(b"mine now") == b"mine now"
            with pytest.raises(LinkError):
                dead.echo(b"")
            heir.close()
            dead.close()

    def test_an_agent_that_is_asked_to_terminate_ends(self, tmp_path):
        with tcp_agent(tmp_path) as (url, process):
            device = open_device(spec_of("ending", link=url))
            process.terminate()
            assert process.wait(20) == 128 + signal.SIGTERM
            with pytest.raises(LinkError):
                device.echo(b"")
            device.close()
