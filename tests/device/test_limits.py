"""What the kernel holds a process to, measured on real processes; where it cannot be held, that is refused."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from kit.device import open_device
from kit.device.limits import Limits, groups, limits_of, size_text
from kit.device.process import AgentProcess, ProcessLink
from kit.errors import DeviceError, LinkError
from kit.spec.types import EmulateSpec, LineSpec
from tests import device_kit as kits

ROOT = Path(__file__).parents[2]
PLACES = groups.places_for(("memory", "cpu"))
MIB = 1 << 20
HOG = "b = bytearray(300 << 20); b[::4096] = bytes(len(b) // 4096); print('got it all')"


@pytest.fixture
def limit():
    """Limits that are released at the end, and that leave no group behind."""
    made = []

    def make(**how):
        made.append(Limits(**how))
        return made[-1]

    yield make
    kept = [group for each in made for group in each._groups]
    for each in made:
        each.close()
    assert not any(group.exists() for group in kept)


def finish(limits, *command):
    """Output and status of a command within limits, and what is told of its end."""
    link = ProcessLink(command, name="limited", limits=limits)
    said = b""
    try:
        while True:
            said += link.read(time.monotonic() + 30)
    except LinkError as error:
        return said.decode(), error
    finally:
        link.close()


def burnt(limits, code):
    """What the code prints, each line a share of a core, and how many periods used up their quota in all."""
    link = ProcessLink(python(textwrap.dedent(code), "input()"), name="limited", limits=limits)
    try:
        lines = b""
        while lines.count(b"\n") < 2:
            lines += link.read(time.monotonic() + 30)
        return [float(line) for line in lines.splitlines()], throttled(limits)
    finally:
        link.close()


def throttled(limits):
    """Periods in which the group used up its quota: others may want the same cores, so a share is a limit only."""
    counters = [dict(map(str.split, (g / "cpu.stat").read_text().splitlines())) for g in limits._groups
                if (g / "cpu.stat").exists()]  # fmt: skip
    return max(int(each.get("nr_throttled", 0)) for each in counters)


def python(*code):
    return sys.executable, "-c", "\n".join(code)


class TestMemory:
    def test_a_process_within_its_limit_is_left_alone(self, limit):
        said, error = finish(limit(memory_bytes=512 * MIB), *python(HOG))
        assert said == "got it all\n"
        assert error.what == "agent ended"

    def test_one_that_wants_more_ends_and_is_told_what_and_what_next(self, limit):
        limits = limit(memory_bytes=64 * MIB)
        said, error = finish(limits, *python(HOG))
        assert said == ""
        if PLACES["memory"]:
            assert error.what == "out of memory: over its 64 MiB"
            assert error.next_step == "choose a smaller model or raise memory in [emulate]"
        else:
            assert "MemoryError" in error.next_step

    def test_its_children_are_held_too_and_together(self, limit):
        parent = (
            "import subprocess as s, sys; pipes = dict.fromkeys(('stdin', 'stdout'), s.PIPE); "
            "c = [s.Popen([sys.executable, '-c', sys.argv[1]], **pipes) for _ in '123']; "
            "[p.stdout.readline() for p in c]; [p.stdin.close() for p in c]; print(sorted(p.wait() for p in c))"
        )
        child = "b = bytearray(60 << 20); b[::4096] = bytes(len(b) // 4096); print(flush=True); open(0).read()"
        link = [sys.executable, "-c", parent, child]
        said, _ = finish(limit(memory_bytes=1024 * MIB), *link)
        assert said == "[0, 0, 0]\n"
        if PLACES["memory"]:
            said, _ = finish(limit(memory_bytes=120 * MIB), *link)
            assert "-9" in said

    def test_swap_is_no_more_memory(self, limit):
        limits = limit(memory_bytes=64 * MIB)
        for name in ("memory.memsw.limit_in_bytes", "memory.swap.max"):
            for file in (group / name for group in limits._groups):
                if file.exists():
                    assert file.read_text().strip() == ("0" if name.endswith("max") else str(64 * MIB))

    def test_another_end_is_not_called_out_of_memory(self, limit):
        for script, said in (("exit 3", "status 3"), ("kill -9 $$", "signal 9")):
            _, error = finish(limit(memory_bytes=64 * MIB), "sh", "-c", script)
            assert said in error.what
            assert "out of memory" not in error.what


class TestProcessorTime:
    @pytest.mark.parametrize("share", [0.1, 0.5])
    def test_the_share_is_held_within_5_percent(self, limit, share):
        if not PLACES["cpu"]:
            with pytest.raises(DeviceError):
                Limits(cpu_share=share)
            return
        code = """
            import time
            def burn(until):
                while time.perf_counter() < until: pass
            burn(time.perf_counter() + 0.2)
            for _ in range(2):
                start, used = time.perf_counter(), time.process_time()
                burn(start + 1)
                print((time.process_time() - used) / (time.perf_counter() - start), flush=True)
        """
        shares, full_periods = burnt(limit(cpu_share=share), code)
        assert max(shares) < share * 1.05
        assert full_periods > 0 or share > 0.1, "a tenth is to be had however many want the core"
        if full_periods > 100:  # of 110: nobody else wanted the core
            assert max(shares) > share * 0.95

    def test_processes_share_it(self, limit):
        if not PLACES["cpu"]:
            with pytest.raises(DeviceError):
                Limits(cpu_share=0.5)
            return
        code = """
            import os, time
            for _ in range(2):
                pid = os.fork()
                start = time.perf_counter()
                while time.perf_counter() < start + 1: pass
                if not pid: os._exit(0)
                before = sum(os.times()[2:4])
                os.wait()
                print(sum(os.times()[2:4]) - before, flush=True)
        """
        shares, _ = burnt(limit(cpu_share=0.5), code)
        assert 0 < max(shares) < 0.45, "the child's part alone, about half of it"

    def test_the_least_share_that_a_device_file_can_ask_for(self, limit):
        if PLACES["cpu"]:
            assert finish(limit(cpu_share=0.01), "echo", "slow")[0] == "slow\n"


class TestWords:
    def test_what_is_held_and_by_what(self, limit):
        memory = PLACES["memory"]
        by = f"of memory (cgroup v{memory.version})" if memory else "of writable address space (rlimit RLIMIT_DATA)"
        assert limit(memory_bytes=256 * MIB).words == (f"256 MiB {by}",)
        if PLACES["cpu"]:
            words = limit(memory_bytes=256 * MIB, cpu_share=0.5).words
            assert words[0] == f"256 MiB {by}"
            assert words[1].startswith("0.5 of a core (cgroup v")

    def test_a_link_tells_them(self, limit):
        link = ProcessLink(["cat"], name="limited", limits=limit(memory_bytes=64 * MIB))
        assert link.limits()[0].startswith("64 MiB of ")
        link.close()
        assert link.limits()[0].startswith("64 MiB of ")

    @pytest.mark.parametrize(
        ("size_bytes", "text"),
        [(1 << 30, "1 GiB"), (3 << 29, "1536 MiB"), (256 << 20, "256 MiB"), (1 << 10, "1 KiB"), (1000, "1000 bytes")],
    )
    def test_sizes(self, size_bytes, text):
        assert size_text(size_bytes) == text

    @pytest.mark.parametrize(
        "emulate",
        [None, EmulateSpec(), EmulateSpec(storage_bytes=MIB, line=LineSpec(9600))],
        ids=["none", "no", "other"],
    )
    def test_nothing_asked_for_is_nothing_made(self, emulate):
        assert limits_of(emulate) is None


@pytest.mark.skipif(not PLACES["memory"] and os.environ.get("CI") != "true", reason="no control groups for this user")
class TestGroups:
    """These hold wherever a group can be made; where none can, there is none to leave behind."""

    def test_the_first_instruction_runs_inside(self, limit):
        if not PLACES["memory"]:
            return
        limits = limit(memory_bytes=64 * MIB)
        (group,) = limits._groups
        said, _ = finish(limits, "cat", "/proc/self/cgroup")
        assert group.name in said

    def test_a_group_goes_with_its_processes_even_those_that_left_the_process_group(self, limit):
        if not PLACES["memory"]:
            return
        limits = limit(memory_bytes=64 * MIB)
        (group,) = limits._groups
        code = "import subprocess; print(subprocess.Popen(['sleep', '60'], start_new_session=True).pid, flush=True)"
        link = ProcessLink(python(code), name="limited", limits=limits)
        runaway = int(link.read(time.monotonic() + 30))
        assert kits.alive(runaway)
        link.close()
        link.close()
        assert not group.exists()
        assert kits.wait_gone(runaway)

    def test_a_command_that_cannot_be_started_leaves_none(self):
        limits = Limits(memory_bytes=64 * MIB)
        made = list(limits._groups)
        _, error = finish(limits, "no-such-command-here")
        assert "127" in error.what
        assert "not found" in error.next_step
        with pytest.raises(LinkError):
            AgentProcess(["nul\0byte"], name="limited", limits=(other := Limits(memory_bytes=64 * MIB)))
        assert not any(group.exists() for group in [*made, *other._groups])

    def test_what_a_killed_host_left_is_removed_by_the_next(self, limit):
        if not PLACES["memory"]:
            return
        host = python(
            "from kit.device.limits import Limits",
            "from kit.device.process import AgentProcess",
            "limits = Limits(memory_bytes=64 << 20)",
            "process = AgentProcess(['sleep', '60'], name='left', limits=limits)",
            "print(process.process_id, *limits._groups, flush=True)",
            "import time; time.sleep(60)",
        )
        with subprocess.Popen(host, stdout=subprocess.PIPE, text=True, cwd=ROOT) as running:
            agent, *left = running.stdout.readline().split()
            limit(memory_bytes=64 * MIB)
            assert all(Path(group).exists() for group in left), "its owner lives"
            running.send_signal(signal.SIGKILL)
        assert kits.alive(int(agent))
        limit(memory_bytes=64 * MIB)
        assert not any(Path(group).exists() for group in left)
        assert kits.wait_gone(int(agent))

    def test_also_what_it_left_in_the_group_of_another_session(self, limit):
        if not PLACES["memory"]:
            return
        session = PLACES["memory"].folder / f"another-session-{os.getpid()}"
        left = session / f"edgeproof-{groups._pid_namespace()}-4194399-77-0"
        session.mkdir()
        try:
            left.mkdir()
            groups.sweep(PLACES["memory"].folder / "ours")
            assert not left.exists()
        finally:
            session.rmdir()

    def test_only_ours_whose_owner_is_gone_are_removed(self, limit):
        if not PLACES["memory"]:
            return
        parent = PLACES["memory"].folder
        here, me = groups._pid_namespace(), os.getpid()
        kept = [parent / name for name in ("edgeproof-", "edgeproof-x", f"edgeproof-1-{me}-0-0", "other-1-1-1-1")]
        gone = [parent / f"edgeproof-{here}-{me}-1-0", parent / f"edgeproof-{here}-4194399-77-0"]
        try:
            for folder in kept + gone:
                folder.mkdir()
            limit(memory_bytes=64 * MIB)
            assert all(folder.exists() for folder in kept)
            assert not any(folder.exists() for folder in gone), "a process id is used again, its start time is not"
        finally:
            for folder in kept + gone:
                if folder.exists():
                    folder.rmdir()


UNPRIVILEGED = """
import os, sys
from kit.device.limits import Limits
from kit.device.process import ProcessLink
from kit.errors import EdgeproofError
if os.getuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
for how in ({"memory_bytes": 64 << 20}, {"cpu_share": 0.5}, {"memory_bytes": 64 << 20, "cpu_share": 0.5}):
    try:
        limits = Limits(**how)
    except EdgeproofError as error:
        print("refused", error, error.next_step, sep="|")
        continue
    print(*limits.words, limits._groups, sep="|")
    link = ProcessLink(["sh", "-c", "head -c 300m /dev/zero | tail | wc -c"], name="limited", limits=limits)
    try:
        print(link.read(__import__("time").monotonic() + 20).decode().strip(), link._process.death().next_step, sep="|")
    except EdgeproofError as error:
        print(error)
    link.close()
"""


@pytest.mark.skipif(os.geteuid() != 0 and bool(PLACES["cpu"]), reason="this user has delegated control groups")
def test_a_user_without_control_groups_gets_an_rlimit_and_no_share_of_a_core():
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    words, held, *refused = done.stdout.splitlines()
    assert words == "64 MiB of writable address space (rlimit RLIMIT_DATA)|[]"
    size, _, last_words = held.partition("|")
    assert size == "0"
    assert "memory exhausted" in last_words
    assert len(refused) == 2
    for line in refused:
        assert line.startswith("refused|[emulate]: the kernel does not let this user limit processor time|run as root")


class TestWhereGroupsAre:
    def test_below_one_s_own(self):
        assert groups._below("/sys/fs/cgroup", "/", "/user.slice/a") == Path("/sys/fs/cgroup/user.slice/a")
        assert groups._below("/sys/fs/cgroup", "/box", "/box") == Path("/sys/fs/cgroup")
        assert groups._below("/sys/fs/cgroup", "/box", "/box/b") == Path("/sys/fs/cgroup/b")

    def test_a_group_that_is_not_mounted_here_is_the_mount_point(self):
        assert groups._below("/sys/fs/cgroup", "/", "/../../other") == Path("/sys/fs/cgroup")
        assert groups._below("/sys/fs/cgroup", "/box", "/another") == Path("/sys/fs/cgroup")

    def test_the_nearest_ancestor_that_hands_all_of_them_down(self, tmp_path):
        own = tmp_path / "user.slice" / "app.slice" / "scope"
        own.mkdir(parents=True)
        for folder, handed_down in ((own.parent, "memory pids\n"), (own.parent.parent, "cpu memory pids\n")):
            (folder / "cgroup.subtree_control").write_text(handed_down)
            (folder / "cgroup.procs").write_text("")
        assert groups._delegated(tmp_path, own, ["memory"]) == groups.Place(own.parent, 2)
        (own.parent / "cgroup.subtree_control").unlink()
        assert groups._delegated(tmp_path, own, ["memory", "cpu"]) == groups.Place(own.parent.parent, 2)
        (own.parent.parent / "cgroup.subtree_control").unlink()
        assert groups._delegated(tmp_path, own, ["memory", "cpu"]) is None

    def test_of_every_controller_something_is_said(self):
        assert set(groups.places_for(("memory", "cpu", "no-such-controller"))) == {
            "memory",
            "cpu",
            "no-such-controller",
        }
        assert groups.places_for(("no-such-controller",)) == {"no-such-controller": None}


class TestTheAgent:
    WATCH = (ROOT / "examples/watch/watch-cnn.onnx").read_bytes()

    def test_a_small_device_runs_the_watch_s_model(self):
        emulate = EmulateSpec(memory_bytes=256 * MIB, cpu_share=0.5 if PLACES["cpu"] else None)
        device = open_device(kits.device_spec(emulate=emulate))
        try:
            rows = np.random.default_rng(0).normal(size=(40, 600)).astype(np.float32)
            digest = device.deploy(self.WATCH)
            assert device.predict(digest, rows, output=None, exact=False).shape == (40, 7)
            if PLACES["cpu"]:
                window = device.run_busy(digest, rows, duration_s=2)
                assert window.cpu_ns / (window.end_ns - window.start_ns) < 0.525
        finally:
            device.close()

    def test_a_model_too_large_for_it_is_told_and_the_next_one_works(self):
        spec = kits.device_spec(emulate=EmulateSpec(memory_bytes=80 * MIB))
        device = open_device(spec)
        try:
            digest = device.deploy(kits.heavy(100 * MIB))
            with pytest.raises(DeviceError) as caught:
                device.predict(digest, kits.rows(1), output=None, exact=False)
        finally:
            device.close()
        if PLACES["memory"]:
            assert "out of memory: over its 80 MiB during predict" in caught.value.what
            assert caught.value.next_step == "choose a smaller model or raise memory in [emulate]"
        again = open_device(spec)
        try:
            digest = again.deploy(kits.linear())
            assert again.predict(digest, kits.rows(3), output=None, exact=False).shape == (3, kits.CLASSES)
        finally:
            again.close()
