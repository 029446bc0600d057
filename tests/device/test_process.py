"""Real processes behind real pipes: how they start, what they get, what is told of their end, that nothing stays."""

import fcntl
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from kit.device.link import Link
from kit.device.process import AgentProcess, ProcessLink
from kit.device.subprocess import agent_command, agent_environment, cache_folder
from kit.errors import LinkError
from tests import device_kit as kits


@pytest.fixture
def start():
    """Open links and processes that are closed at the end."""
    opened = []

    def start_one(*command, kind=ProcessLink, **options):
        opened.append(kind(command, name="thing", **options))
        return opened[-1]

    yield start_one
    for each in opened:
        each.close()


def soon(seconds=20.0):
    return time.monotonic() + seconds


def read_all(link):
    """What arrives until the end, and the error that told of the end."""
    data = b""
    while True:
        try:
            piece = link.read(soon())
        except LinkError as error:
            return data, error
        assert piece, "nothing arrived in time"
        data += piece


class TestStart:
    def test_it_is_a_link_to_the_command_itself(self, start):
        link = start("sh", "-c", "echo $$")
        assert isinstance(link, Link)
        assert read_all(link)[0] == f"{link.process_id()}\n".encode()

    def test_a_process_group_of_its_own_in_a_neutral_folder(self, start):
        link = start("sh", "-c", "pwd; cat")
        assert link.read(soon()) == b"/\n"
        assert os.getpgid(link.process_id()) == link.process_id() != os.getpgid(0)

    def test_the_environment_is_what_is_given(self, start):
        data, _ = read_all(start("/usr/bin/env", environment={"ONLY": "this"}))
        assert data == b"ONLY=this\n"

    def test_or_ours_where_none_is_given(self, start, monkeypatch):
        monkeypatch.setenv("EDGEPROOF_TEST_MARK", "seen")
        assert b"EDGEPROOF_TEST_MARK=seen\n" in read_all(start("env"))[0]

    def test_arguments_reach_it_unaltered(self, start):
        words = ["two words", "$HOME", "a'b\"c", "*", "", "ü\n"]
        data, _ = read_all(start(sys.executable, "-c", "import sys; print(ascii(sys.argv[1:]))", *words))
        assert data.decode().strip() == ascii(words)

    @pytest.mark.parametrize(
        ("command", "said"),
        [("no-such-command-here", "No such file"), ("/etc", "Permission denied"), ("nul\0byte", "null byte")],
        ids=["missing", "folder", "nul"],
    )
    def test_what_cannot_be_started_is_told_in_one_line(self, command, said):
        for kind in (ProcessLink, AgentProcess):
            with pytest.raises(LinkError, match=said) as caught:
                kind([command], name="thing")
            assert caught.value.where == "device thing"
            assert "wrapper" in caught.value.next_step

    @pytest.mark.skipif(not hasattr(fcntl, "F_GETPIPE_SZ"), reason="Linux tells a pipe's size")
    def test_its_pipes_hold_a_mebibyte(self, start):
        link = start("cat")
        most = int(Path("/proc/sys/fs/pipe-max-size").read_text())
        for fd in (link._in, link._out):
            assert fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) == min(1 << 20, most)


class TestStream:
    def test_both_ways_at_once_more_than_the_pipes_hold(self, start):
        link, sent = start("cat"), np.random.default_rng(0).bytes(20 << 20)
        writer = threading.Thread(target=link.write, args=(sent, soon(30)))
        writer.start()
        got = bytearray()
        while len(got) < len(sent):
            got += link.read(soon())
        writer.join()
        assert got == sent
        assert (link.health().sent_bytes, link.health().received_bytes) == (len(sent), len(sent))

    def test_any_buffer_can_be_written(self, start):
        link, numbers = start("cat"), np.arange(1000, dtype="<i4").reshape(10, 100)
        link.write(memoryview(numbers), soon())
        got = b""
        while len(got) < numbers.nbytes:
            got += link.read(soon())
        np.testing.assert_array_equal(np.frombuffer(got, "<i4").reshape(10, 100), numbers)
        assert link.health().sent_bytes == numbers.nbytes

    def test_nothing_written_is_no_write(self, start):
        link = start("sh", "-c", "exec <&-; sleep 20")
        link.write(b"", soon())
        assert link.health().sent_bytes == 0

    def test_only_what_was_taken_is_counted_and_still_told_after_the_end(self, start):
        link = start("sleep", "30")
        with pytest.raises(LinkError, match="does not take"):
            link.write(bytes(8 << 20), soon(0.2))
        link.close()
        assert 0 < link.health().sent_bytes <= 1 << 20
        assert link.health().resent_bytes is None, "a pipe resends nothing: that is absent, not 0"
        assert link.health().nominal_bytes_per_s is None

    def test_a_flood_of_errors_does_not_block_it(self, start):
        code = "import sys; sys.stderr.write('x' * 5_000_000 + '\\nlast\\n'); print('through')"
        data, error = read_all(start(sys.executable, "-c", code))
        assert data == b"through\n"
        assert error.next_step == "its last words were: last"


class TestDeath:
    @pytest.mark.parametrize(
        ("script", "said"),
        [
            ("exit 0", "agent ended"),
            ("exit 7", "agent exited with status 7"),
            ("kill -9 $$", "agent exited with signal 9"),
            ("exec >&- <&-; sleep 20 2>&-", "agent closed its output"),
        ],
        ids=["ended", "status", "signal", "closed"],
    )
    def test_it_is_told_in_the_kernel_s_words(self, start, script, said):
        _, error = read_all(start("sh", "-c", script))
        assert error.what == said
        assert error.next_step

    @pytest.mark.parametrize(("script", "status"), [("exit 255", 255), ("kill -15 $$", -15), ("exit 0", 0)])
    def test_or_in_those_of_whoever_knows_better(self, start, script, status):
        asked = []

        def explain(*of):
            asked.append(of)
            return "host key verification failed", "compare the key"

        _, error = read_all(start("sh", "-c", f"echo 'first\nHost key' >&2; {script}", explain=explain))
        assert asked == [(status, "first\nHost key\n")]
        assert (error.what, error.next_step) == ("host key verification failed", "compare the key")

    def test_its_last_words_cannot_steer_a_terminal(self, start):
        _, error = read_all(start("sh", "-c", r"printf 'a\033[31mPASS\033[0m\007b\n\n' >&2; exit 1"))
        assert error.next_step == "its last words were: a[31mPASS[0mb"

    def test_writer_and_reader_are_told_alike(self, start):
        link = start("sh", "-c", "echo why >&2; exit 3")
        assert read_all(link)[1].what == "agent exited with status 3"
        with pytest.raises(LinkError, match="exited with status 3") as caught:
            link.write(b"x", soon())
        assert "why" in caught.value.next_step


class TestWithoutAStream:
    def test_it_has_no_input_and_its_output_is_its_last_words(self, start):
        process = start("sh", "-c", "cat; echo on output; exit 4", kind=AgentProcess)
        error = process.death()
        assert (error.what, error.next_step) == ("agent exited with status 4", "its last words were: on output")
        assert not process.running()

    def test_running_until_closed(self, start):
        process = start("sleep", "30", kind=AgentProcess)
        assert process.running()
        assert kits.alive(process.process_id)
        assert process.limits() == ()
        process.close()
        process.close()
        assert not process.running()
        assert kits.wait_gone(process.process_id)

    def test_the_death_of_one_that_lives_waits_only_a_moment(self, start):
        process, start_s = start("sleep", "30", kind=AgentProcess), time.monotonic()
        assert process.death().what == "agent closed its output"
        assert time.monotonic() - start_s < 15


def waits_in_turn(monkeypatch, *patience_s):
    """How long closing waits, so that what is tested is what it waits for, not how fast this machine is."""
    waits, wait = iter(patience_s), AgentProcess._wait
    monkeypatch.setattr(AgentProcess, "_wait", lambda process, _: wait(process, next(waits, 5)))


class TestClose:
    @pytest.mark.parametrize("kind", [ProcessLink, AgentProcess], ids=["link", "process"])
    def test_the_whole_group_ends_even_if_it_ignores_being_asked(self, start, kind):
        script = "trap '' TERM; (trap '' TERM; sleep 60) & (sleep 60) & while true; do sleep 0.05; done"
        opened = start("sh", "-c", script, kind=kind)
        group = opened.process_id() if kind is ProcessLink else opened.process_id
        deadline_s = soon()
        while len(kits.group_members(group)) < 3 and time.monotonic() < deadline_s:
            time.sleep(0.01)
        opened.close()
        deadline_s = soon()
        while kits.group_members(group) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert kits.group_members(group) == []

    def test_one_that_ends_with_its_input_is_given_the_time(self, start, tmp_path, monkeypatch):
        waits_in_turn(monkeypatch, 20)
        link = start("sh", "-c", f"cat; sleep 0.1; echo done > {tmp_path}/end")
        link.close()
        assert (tmp_path / "end").read_text() == "done\n"

    def test_one_that_cleans_up_when_asked_is_given_the_time(self, start, tmp_path, monkeypatch):
        link = start(
            "sh", "-c", f"trap 'echo asked > {tmp_path}/end; exit' TERM; echo up; while :; do sleep 0.02; done"
        )
        assert link.read(soon()) == b"up\n"
        waits_in_turn(monkeypatch, 0.1, 20)
        link.close()
        assert (tmp_path / "end").read_text() == "asked\n"

    def test_no_descriptor_and_no_thread_stays(self, start):
        def held():
            return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

        before = held()
        for _ in range(5):
            for script in ("cat", "exit 1", "echo x; kill -9 $$"):
                start("sh", "-c", script).close()
        deadline_s = soon()  # what a test before this one started may end meanwhile
        while any(now > then for now, then in zip(held(), before, strict=True)) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert all(now <= then for now, then in zip(held(), before, strict=True))

    def test_a_stopped_process_ends_too(self, start):
        link = start("sleep", "60")
        os.kill(link.process_id(), signal.SIGSTOP)
        link.close()
        assert kits.wait_gone(link.process_id())


class TestAgentCommand:
    def test_wrapper_then_agent_then_how_it_is_reached(self):
        command = agent_command(kits.device_spec(wrapper=("qemu", "-cpu", "x")))
        assert command[:7] == ["qemu", "-cpu", "x", sys.executable, "-m", "kit.agent", "--stdio"]
        assert command[7:] == ["--cache", str(cache_folder("local"))]

    def test_a_command_of_the_device_file_and_another_way_to_reach_it(self):
        spec = kits.device_spec(wrapper=("nice",), command=("python3", "agent.pyz"))
        command = agent_command(spec, "--serial", "/dev/pts/7")
        assert command[:5] == ["nice", "python3", "agent.pyz", "--serial", "/dev/pts/7"]
        assert "--stdio" not in command

    def test_each_device_keeps_its_models_in_a_folder_of_its_own(self, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
        assert cache_folder("scanner-emulated") == Path("/cache/edgeproof/agents/scanner-emulated")
        names = ["a/b", "a_b", "../../etc", "A B", "a b", "subprocess:", "x" * 500, "ü"]
        folders = [cache_folder(name) for name in names]
        assert len(set(folders)) == len(names)
        for folder in folders:
            assert folder.parent == Path("/cache/edgeproof/agents")
            assert len(folder.name) < 64

    def test_a_relative_cache_folder_is_ignored(self, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", "here")
        monkeypatch.setenv("HOME", "/home/somebody")
        assert cache_folder("local") == Path("/home/somebody/.cache/edgeproof/agents/local")

    def test_the_environment_hands_on_nothing_secret(self, monkeypatch):
        monkeypatch.setenv("EDGEPROOF_TOKEN", "secret")
        monkeypatch.setenv("PYTHONSTARTUP", "/evil.py")
        environment = agent_environment()
        assert "secret" not in environment.values()
        assert "PYTHONSTARTUP" not in environment
        assert environment["ORT_DISABLE_TELEMETRY"] == "1"
