"""The memory that the agent tells is what it may have, whatever machine it is on."""

import subprocess
import sys
from pathlib import Path

import pytest

import kit
from kit.agent import allowance
from kit.device.limits import Limits, groups

MIB = 1 << 20
ROOT = Path(kit.__file__).parents[1]
SAYS = "from kit.agent import allowance as a; hog = bytearray({}); print(a.memory_bytes(), a.available_bytes())"
HAS_GROUP = groups.places_for(["memory"])["memory"] is not None


@pytest.fixture
def machine(tmp_path):
    """A /proc of 1000 MiB, 600 of them available, and what a test adds to it."""
    (tmp_path / "self").mkdir()
    (tmp_path / "meminfo").write_text(f"MemTotal: {1000 << 10} kB\nMemFree: 1 kB\nMemAvailable: {600 << 10} kB\n")
    return tmp_path


def mount(machine, kind, own, *, root="/", options="rw,memory"):
    """A memory hierarchy mounted in the machine; returns its mount point."""
    point = machine / kind
    controller = "" if kind == "cgroup2" else "memory"
    with (machine / "self" / "cgroup").open("a") as file:
        file.write(f"1:cpu,cpuacct:/elsewhere\n0:{controller}:{own}\n")
    with (machine / "self" / "mountinfo").open("a") as file:
        file.write(f"31 23 0:28 {root} {point} rw,relatime shared:1 - {kind} {kind} {options}\n")
    return point


def group(folder, kind, limit, used_bytes=0, idle_bytes=0):
    folder.mkdir(parents=True, exist_ok=True)
    limit_name, used_name, idle_name = allowance._FILES[kind]
    (folder / limit_name).write_text(f"{limit}\n")
    (folder / used_name).write_text(f"{used_bytes}\n")
    (folder / "memory.stat").write_text(f"cache 7\n{idle_name} {idle_bytes}\n")


def told(machine):
    return allowance.memory_bytes(machine), allowance.available_bytes(machine)


class TestGroups:
    def test_without_any_it_is_the_machine_s(self, machine):
        assert told(machine) == (1000 * MIB, 600 * MIB)

    @pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
    def test_its_own_group_s_limit_and_what_is_left_of_it(self, machine, kind):
        point = mount(machine, kind, "/small")
        group(point / "small", kind, 256 * MIB, used_bytes=100 * MIB, idle_bytes=30 * MIB)
        assert told(machine) == (256 * MIB, 186 * MIB)

    @pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
    def test_a_group_above_binds_too(self, machine, kind):
        point = mount(machine, kind, "/outer/inner")
        group(point / "outer/inner", kind, 500 * MIB, used_bytes=10 * MIB)
        group(point / "outer", kind, 300 * MIB, used_bytes=290 * MIB)
        assert told(machine) == (300 * MIB, 10 * MIB)

    @pytest.mark.parametrize(("kind", "none"), [("cgroup", "9223372036854771712"), ("cgroup2", "max")])
    def test_no_limit_is_the_machine_s(self, machine, kind, none):
        group(mount(machine, kind, "/free") / "free", kind, none, used_bytes=5 * MIB)
        assert told(machine) == (1000 * MIB, 600 * MIB)

    def test_a_limit_over_the_machine_s_memory_is_no_more_memory(self, machine):
        group(mount(machine, "cgroup2", "/g") / "g", "cgroup2", 5000 * MIB, used_bytes=4800 * MIB)
        assert told(machine) == (1000 * MIB, 200 * MIB)

    def test_over_its_limit_nothing_is_available(self, machine):
        group(mount(machine, "cgroup", "/g") / "g", "cgroup", 10 * MIB, used_bytes=11 * MIB)
        assert told(machine) == (10 * MIB, 0)

    def test_in_a_container_the_group_is_below_the_mount_s_root(self, machine):
        point = mount(machine, "cgroup", "/docker/abc", root="/docker/abc")
        group(point, "cgroup", 64 * MIB, used_bytes=MIB)
        assert told(machine) == (64 * MIB, 63 * MIB)

    @pytest.mark.parametrize("own", ["/../../other", "/not/of/this/root"])
    def test_a_group_outside_of_what_is_mounted(self, machine, own):
        group(mount(machine, "cgroup2", own, root="/lxc/7"), "cgroup2", 64 * MIB)
        assert told(machine) == (64 * MIB, 64 * MIB)

    def test_another_controller_s_hierarchy_does_not_count(self, machine):
        group(mount(machine, "cgroup", "/g", options="rw,cpu") / "g", "cgroup", 5)
        assert told(machine) == (1000 * MIB, 600 * MIB)

    @pytest.mark.parametrize("name", ["meminfo", "self/cgroup", "self/mountinfo", "cgroup/g/memory.stat"])
    @pytest.mark.parametrize("content", [b"", b"\xff\0:::\n - \n:\n", b"MemTotal: \n1 2 3 - x\ninactive_file\n" * 3])
    def test_damaged_files_raise_nothing(self, machine, name, content):
        group(mount(machine, "cgroup", "/g") / "g", "cgroup", 64 * MIB)
        (machine / name).write_bytes(content)
        assert all(each is None or each >= 0 for each in told(machine))

    @pytest.mark.parametrize("limit", ["", "-1", "many", "²", "9" * 5000])
    def test_a_limit_that_is_none(self, machine, limit):
        group(mount(machine, "cgroup2", "/g") / "g", "cgroup2", limit)
        assert told(machine) == (1000 * MIB, 600 * MIB)

    def test_nothing_tells(self, tmp_path):
        assert told(tmp_path / "nowhere") == (None, None)


class TestReal:
    def run(self, command):
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        return tuple(map(int, done.stdout.split()))

    @pytest.mark.skipif(not HAS_GROUP, reason="this user may make no control group")
    def test_within_a_group(self):
        limits = Limits(memory_bytes=256 * MIB)
        try:
            free = [self.run(limits.around([sys.executable, "-c", SAYS.format(size)])) for size in (0, 100 * MIB)]
        finally:
            limits.close()
        assert [total for total, _ in free] == [256 * MIB] * 2
        assert 200 * MIB < free[0][1] < 256 * MIB
        assert free[0][1] - free[1][1] == pytest.approx(100 * MIB, rel=0.1)

    @pytest.mark.parametrize("option", ["-d", "-v"])
    def test_within_an_rlimit(self, option):
        shell = f'ulimit {option} {512 << 10}; exec "$@"'
        free = [self.run(["sh", "-c", shell, "sh", sys.executable, "-c", SAYS.format(n)]) for n in (0, 100 * MIB)]
        assert [total for total, _ in free] == [512 * MIB] * 2
        assert 0 < free[1][1] < free[0][1] < 512 * MIB
        assert free[0][1] - free[1][1] == pytest.approx(100 * MIB, rel=0.1)

    def test_of_this_process_it_is_no_more_than_the_machine_s(self):
        total = allowance.kib_line(Path("/proc/meminfo"), "MemTotal")
        assert 0 < allowance.available_bytes() < allowance.memory_bytes() <= total
