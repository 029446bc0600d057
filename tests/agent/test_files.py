"""The agent's files: what a meter needs is read and sampled, and nothing else of the device."""

import socket
import threading
import time

import numpy as np
import pytest

from kit.agent import files as agent_files
from kit.agent.cache import ModelCache
from kit.agent.desk import Desk
from kit.agent.files import FileRequests
from kit.agent.server import Agent
from tests import device_kit as kits
from tests.agent.raw_agent import MAIN, RawAgent
from tests.agent.test_desk import SocketChannel
from tests.sysfs import Tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    tree = Tree(tmp_path_factory.mktemp("root"))
    tree.device("class/powercap/intel-rapl:0", "devices/virtual/powercap/intel-rapl/intel-rapl:0",
                name="package-0", energy_uj=1000, max_energy_range_uj=262143328850)  # fmt: skip
    tree.device("bus/i2c/drivers/ina3221/1-0040", "devices/platform/c240000.i2c/i2c-1/1-0040", eeprom="secret")
    tree.write("sys/devices/platform/c240000.i2c/i2c-1/1-0040/hwmon/hwmon3/in1_label", "VDD_IN")
    tree.device("bus/iio/devices/iio:device0", "devices/platform/odpm/iio:device0", name="s2mpg10-odpm")
    tree.write("etc/shadow", "root:secret")
    tree.write("sys/kernel/debug/key", "secret")
    tree.link("sys/class/powercap/way-out", "../../../etc")
    tree.link("sys/class/hwmon/hwmon9", "../../../etc")
    return tree


TELLING = """
from pathlib import Path
import kit.agent.files, kit.files
kit.agent.files.ROOT = Path({root!r})
take = kit.files.Sampler._take
def telling(self):
    take(self)
    Path({root!r}, "taken").write_text(f"{{len(self._rows)}} {{self._rows[-1][2][0]}}.")
kit.files.Sampler._take = telling
"""


@pytest.fixture(scope="module")
def agent(tree, tmp_path_factory):
    code = TELLING.format(root=str(tree.root)) + MAIN
    raw = RawAgent(tmp_path_factory.mktemp("cache"), code=code)
    yield raw
    raw.stop()


COUNTER = "/sys/class/powercap/intel-rapl:0/energy_uj"
LABEL = "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/in1_label"


class TestReading:
    @pytest.mark.parametrize(
        ("path", "text"),
        [
            (COUNTER, b"1000"),
            ("/sys/devices/virtual/powercap/intel-rapl/intel-rapl:0/name", b"package-0"),
            (LABEL, b"VDD_IN"),
            ("/sys/bus/iio/devices/iio:device0/name", b"s2mpg10-odpm"),
        ],
        ids=["class", "devices", "i2c", "iio"],
    )
    def test_what_a_meter_needs(self, agent, path, text):
        agent.answered("file_read", path=path)
        assert agent.ask("file_read", path=path)[1].blob() == text

    def test_globs(self, agent):
        reply = agent.ask("file_glob", pattern="/sys/class/powercap/*/energy_uj")[1]
        assert reply.blob() == COUNTER.encode()
        assert agent.ask("file_glob", pattern="/sys/class/thermal/*")[1].blob() == b""

    def test_a_glob_leaves_out_what_may_not_be_read(self, agent):
        assert agent.ask("file_glob", pattern="/sys/bus/i2c/drivers/*/1-0040/*")[1].blob() == b""
        assert agent.ask("file_glob", pattern="/sys/bus/i2c/drivers/*/1-0040/*/*/in*")[1].blob() == LABEL.encode()

    def test_what_is_not_there_has_a_reason_of_its_own(self, agent):
        reply = agent.refused("file_read", path="/sys/class/powercap/intel-rapl:0/gone")
        assert reply.text("reason") == "file"
        assert "No such file" in reply.text("what")


class TestRefusals:
    @pytest.mark.parametrize(
        "path",
        [
            "/etc/shadow",
            "etc/shadow",
            "/sys/kernel/debug/key",
            "/sys/class/powercap/../../../etc/shadow",
            "/sys/class/powercap/intel-rapl:0/../../../../etc/shadow",
            "/sys/bus/i2c/drivers/ina3221/1-0040/eeprom",
            "/sys/class/powercap/way-out",
            "/sys/class/powercap/way-out/shadow",
            "/sys/class/hwmon/hwmon9/shadow",
            "/sys/class/powercap/a\0b",
            "/proc/self/environ",
            "",
        ],
    )
    def test_no_other_file_is_read_or_sampled(self, agent, path):
        assert "no file of a sensor" in agent.refused("file_read", path=path).text("what")
        assert "no file of a sensor" in agent.refused("file_sample", [path.encode()], period_s=0.1).text("what")

    @pytest.mark.parametrize("kind", ["file_read", "file_glob"])
    def test_half_a_surrogate_pair_is_no_place(self, agent, kind):
        place = "/sys/class/hwmon/\ud800"
        assert "no file of a sensor" in agent.refused(kind, path=place, pattern=place).text("what")
        agent.answered("echo", [b"still there"])

    @pytest.mark.parametrize("pattern", ["/etc/*", "/*", "/sys/class/hwmon/../../../etc/*", "/sys/*/*/*", "/home/*"])
    def test_no_other_place_is_searched(self, agent, pattern):
        assert "no file of a sensor" in agent.refused("file_glob", pattern=pattern).text("what")

    @pytest.mark.parametrize("pattern", ["/sys/devices/**", "/sys/devices/*/*/*/*/*"])
    def test_no_search_is_without_end(self, agent, pattern):
        assert "too wide" in agent.refused("file_glob", pattern=pattern).text("what")

    def test_a_link_that_leads_out_is_not_found(self, tree):
        requests = FileRequests(tree.root)
        assert requests.is_allowed(COUNTER)
        assert not requests.is_allowed("/sys/class/powercap/way-out/shadow")

    def test_too_many_files(self, agent):
        blob = "\0".join([COUNTER] * 33).encode()
        assert "too many" in agent.refused("file_sample", [blob], period_s=0.1).text("what")

    @pytest.mark.parametrize("period_s", [-1, 1e9, "often", None])
    def test_a_period_that_is_none(self, agent, period_s):
        agent.refused("file_sample", [COUNTER.encode()], period_s=period_s)
        agent.answered("echo", [b"still there"])

    def test_samples_before_sampling(self, agent):
        assert "no files are being sampled" in agent.refused("file_samples").text("what")


def samples_of(agent):
    """All parts of the answer: t_ns, texts by row."""
    t_ns, rows, left = [], [], 1
    while left:
        reply = agent.ask("file_samples")[1]
        left, texts = reply.integer("left"), reply.blob(2).decode().split("\0")
        t_ns += reply.tensor(0).tolist()
        rows += [[None if each < 0 else texts[each] for each in row] for row in reply.tensor(1).tolist()]
    return np.array(t_ns), rows


def taken_often(tree, text, times=5):
    """Wait until a text was read so many times, since a reading that was interrupted is let go."""
    deadline_s, seen = time.monotonic() + 20, set()
    while len(seen) < times:
        assert time.monotonic() < deadline_s
        count, _, last = (tree.root / "taken").read_text().partition(" ")
        if last == f"{text}.":
            seen.add(count)
        time.sleep(0.001)


class TestSampling:
    def test_while_requests_are_answered(self, agent, tree):
        agent.answered("file_sample", [f"{COUNTER}\0{LABEL}".encode()], period_s=0.005)
        taken_often(tree, 1000)
        begun_ns = agent.ask("clock")[1].integer("clock_ns")
        for value in range(2000, 2005):
            tree.write("sys/devices/virtual/powercap/intel-rapl/intel-rapl:0/energy_uj", value)
            taken_often(tree, value)
        ended_ns = agent.ask("clock")[1].integer("clock_ns")
        taken_often(tree, 2004)
        t_ns, rows = samples_of(agent)
        assert (np.diff(t_ns) > 0).all()
        assert t_ns[0] < begun_ns < ended_ns < t_ns[-1]
        values = [int(row[0]) for row in rows if row[0]]
        assert values == sorted(values)
        assert set(values) == {1000, *range(2000, 2005)}
        assert {row[1] for row in rows} == {"VDD_IN"}

    def test_long_answers_come_in_parts(self, agent, monkeypatch, tree):
        monkeypatch.setattr(agent_files, "_PART_ROWS", 10)
        requests = FileRequests(tree.root)
        requests._sampler = agent_files.Sampler(lambda: ("1", None), 1e-3)
        assert kits.wait_until(lambda: len(requests._sampler._rows) >= 40)

        class Direct:
            def ask(self, kind):
                return None, requests.handlers[kind](None)

        t_ns, rows = samples_of(Direct())
        assert len(t_ns) == len(rows) > 10
        assert rows == [["1", None]] * len(rows)

    def test_a_new_sampling_ends_the_one_before_and_so_does_hello(self, agent):
        agent.answered("file_sample", [COUNTER.encode()], period_s=0.005)
        agent.answered("file_sample", [LABEL.encode()], period_s=0.005)
        assert {tuple(row) for row in samples_of(agent)[1]} == {("VDD_IN",)}
        agent.answered("file_sample", [LABEL.encode()], period_s=0.005)
        agent.answered("hello", protocols=[2], threads=1, host="test", token="t")
        agent.refused("file_samples")

    def test_nothing_to_sample(self, agent):
        reply = agent.refused("file_sample", [b"/sys/class/powercap/intel-rapl:0/gone"], period_s=0.1)
        assert reply.text("reason") == "file"

    def test_a_host_that_is_gone_has_nothing_sampled_for_it(self, tree, tmp_path):
        """Over TCP the agent lives on; its thread for that host's meter does not."""
        before = threading.active_count()
        requests = FileRequests(tree.root)
        requests._sampler = agent_files.Sampler(lambda: ("1",), 1e-3)
        agent = Agent(ModelCache(tmp_path / "models"))
        agent._files = requests
        desk, (ours, theirs) = Desk(agent), socket.socketpair()
        with ours:
            desk.take(SocketChannel(theirs, "host"))
            assert threading.active_count() >= before + 1
        kits.wait_until(lambda: threading.active_count() <= before)
        theirs.close()
        assert threading.active_count() == before
        agent.close()
