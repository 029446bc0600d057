"""A device's files through its agent: meters work on them unchanged, on the host's clock, whatever it answers."""

import sys
import threading
import time

import numpy as np
import pytest

from kit.device import open_device
from kit.device.conversation import RefusedError
from kit.device.files import DeviceFiles
from kit.errors import DeviceError, MeasurementError
from kit.files import Files
from kit.meter import Watched, open_meter
from kit.pipeline.watched import watched_on
from kit.spec.types import MeterSpec
from kit.wire import Message
from tests import device_kit as kits
from tests.meter.scripted import check_trace, energy_j
from tests.sysfs import Tree

COUNTER = "/sys/class/powercap/intel-rapl:0/energy_uj"
PLACE = "devices/virtual/powercap/intel-rapl/intel-rapl:0"
AGENT = "import sys; from pathlib import Path; import kit.agent.files as f; f.ROOT = Path(sys.argv.pop(1))\n{}from kit.agent.__main__ import main; main()"  # fmt: skip  # noqa: E501
OLD = "from kit.agent.server import Agent; old = Agent.__init__\n" \
      "def new(self, cache): old(self, cache); [self._handlers.pop(k) for k in list(self._handlers) if 'file' in k]\n" \
      "Agent.__init__ = new\n"  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    tree = Tree(tmp_path_factory.mktemp("root"))
    tree.device("class/powercap/intel-rapl:0", PLACE, name="package-0", energy_uj=0, max_energy_range_uj=262143328850)
    tree.device("class/power_supply/EVIL", "devices/virtual/power_supply/EVIL", type="\x1b[2J\u202eBattery")
    tree.write("etc/passwd", "secret")
    return tree


def agent_of(tree, patch="", name="with-files"):
    command = (sys.executable, "-c", AGENT.format(patch), str(tree.root), "--stdio")
    return kits.device_spec(name=name, command=command)


@pytest.fixture(scope="module")
def device(tree):
    opened = open_device(agent_of(tree))
    yield opened
    opened.close()


@pytest.fixture
def files(device):
    return device.files()


class TestReading:
    def test_as_files_of_this_machine(self, files):
        assert isinstance(files, Files)
        assert files.glob("/sys/class/powercap/*/name") == ["/sys/class/powercap/intel-rapl:0/name"]
        assert files.read("/sys/class/powercap/intel-rapl:0/name") == "package-0"

    def test_what_is_not_there_is_a_measurement_s_error(self, files):
        with pytest.raises(MeasurementError, match="No such file") as caught:
            files.read("/sys/class/powercap/gone")
        assert caught.value.next_step

    def test_what_is_none_of_a_meter_s_is_refused(self, files):
        with pytest.raises(DeviceError, match="no file of a sensor"):
            files.read("/etc/passwd")

    def test_texts_cannot_steer_a_terminal(self, files):
        assert files.read("/sys/class/power_supply/EVIL/type") == "\ufffd[2J\ufffdBattery"


class TestSampling:
    def test_times_are_the_host_s(self, files):
        before_ns = time.monotonic_ns()
        sampling = files.sample([COUNTER], period_s=0.01)
        time.sleep(0.2)
        samples = sampling.stop()
        after_ns = time.monotonic_ns()
        assert before_ns - samples.error_ns <= samples.t_ns[0] < samples.t_ns[-1] <= after_ns + samples.error_ns
        assert samples.error_ns < 200_000_000
        but_the_last_ns = samples.t_ns[-2] - samples.t_ns[0]
        assert len(samples.texts) + samples.late >= but_the_last_ns / 10_000_000

    def test_the_agent_works_meanwhile_and_a_meter_sees_it(self, device, tree):
        digest = device.deploy(kits.linear())
        stop, began, written_s = threading.Event(), time.monotonic(), []

        def draw():
            while not stop.wait(0.005):
                written_s.append(time.monotonic() - began)
                tree.write(f"sys/{PLACE}/energy_uj", int(written_s[-1] * 12e6))

        thread = threading.Thread(target=draw)
        thread.start()
        try:
            meter = open_meter(MeterSpec("rapl", {"sample_rate_hz": 50.0}), watched_on(device))
            meter.start()
            time.sleep(0.1)  # a reading that was interrupted is let go, be it the first
            offset_ns, error_ns = device.clock_offset_ns()
            window = device.run_busy(digest, kits.rows(), duration_s=0.5)
            time.sleep(0.1)
            trace = check_trace(meter.stop())
            meter.close()
        finally:
            stop.set()
            thread.join()
        assert window.inferences > 100
        assert trace.t_ns[0] <= window.start_ns - offset_ns + error_ns
        assert window.end_ns - offset_ns - error_ns <= trace.t_ns[-1]
        duration_s, longest_s = (trace.t_ns[-1] - trace.t_ns[0]) / 1e9, np.diff(written_s).max()
        least = 0.1 + 2 * longest_s / duration_s  # what a counter is behind that a busy machine did not write
        assert energy_j(trace) / duration_s == pytest.approx(12, rel=least)

    def test_nothing_to_sample(self, files):
        with pytest.raises(MeasurementError, match="cannot be read"):
            files.sample(["/sys/class/powercap/intel-rapl:0/gone"], period_s=0.1)


def test_an_agent_of_an_earlier_release_has_no_files(tree):
    device = open_device(agent_of(tree, OLD, "old-agent"))
    try:
        assert device.files() is None
        assert watched_on(device).files is None
        with pytest.raises(MeasurementError, match="lets none be read") as caught:
            open_meter(MeterSpec("rapl"), watched_on(device))
        assert "this release" in caught.value.next_step
    finally:
        device.close()


class Scripted:
    """Answers as a device would, on a clock that is ahead of ours and drifts."""

    def __init__(self, ahead_ns=10**15, drift=0.0, error_ns=1000, **changes):
        self.ahead_ns, self.drift, self.error_ns, self.changes = ahead_ns, drift, error_ns, changes
        self.began_ns = time.monotonic_ns()

    def now_ns(self):
        passed = time.monotonic_ns() - self.began_ns
        return self.began_ns + self.ahead_ns + passed + int(self.drift * passed)

    def offset_ns(self):
        return self.now_ns() - time.monotonic_ns(), self.error_ns

    def ask(self, kind, fields, parts):
        if kind != "file_samples":
            return Message(kind)
        t_ns = self.now_ns() - np.arange(5, dtype=np.int64)[::-1] * 1_000_000
        parts = [t_ns, np.zeros((5, 1), np.int32), b"7"]
        reply = {"late": 0, "error_ns": 10, "left": 0}
        for name, value in self.changes.items():
            if isinstance(name, str) and name.startswith("part"):
                parts[int(name[4])] = value(t_ns) if callable(value) else value
            else:
                reply[name] = value
        return Message(kind, reply, parts)

    def sampled(self):
        sampling = DeviceFiles(self.ask, self.offset_ns, "device scripted").sample(["/x"], period_s=0.01)
        time.sleep(0.05)
        return sampling.stop()


class TestClock:
    @pytest.mark.parametrize("ahead_ns", [10**15, -(10**12), 0])
    def test_an_offset_is_taken_off(self, ahead_ns):
        device, begun_ns = Scripted(ahead_ns), time.monotonic_ns()
        samples = device.sampled()
        assert begun_ns <= samples.t_ns[-1] <= time.monotonic_ns()
        assert samples.error_ns == 10 + 1000 + 1

    def test_a_drift_is_taken_in_a_straight_line(self):
        device, begun_ns = Scripted(10**12, drift=9e-4), time.monotonic_ns()
        samples = device.sampled()
        assert begun_ns <= samples.t_ns[-1] <= time.monotonic_ns() + samples.error_ns
        assert (np.diff(samples.t_ns) > 0).all()

    @pytest.mark.parametrize("drift", [0.05, -0.05, -2.0])
    def test_one_that_keeps_no_time_is_told(self, drift):
        with pytest.raises(MeasurementError, match="clock moved by"):
            Scripted(10**12, drift=drift).sampled()


class TestHostile:
    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"part0": lambda t: t[::-1].copy()}, "not in order"),
            ({"part0": lambda t: t + 10**12}, "another time"),
            ({"part0": lambda t: t - 10**12}, "another time"),
            ({"part0": lambda t: t.astype(np.float64)}, "samples of float64"),
            ({"part0": lambda t: t[:4]}, "samples of int64"),
            ({"part0": lambda t: t.reshape(1, 5)}, "samples of int64"),
            ({"part1": np.full((5, 1), 1, np.int32)}, "texts that it does not tell"),
            ({"part1": np.full((5, 1), -2, np.int32)}, "texts that it does not tell"),
            ({"part1": np.zeros((5, 2), np.int32)}, "samples of int64"),
            ({"part1": np.zeros((5, 1), np.int64)}, "samples of int64"),
            ({"left": -1}, "left"),
            ({"left": 1 << 40}, "left"),
            ({"late": "many"}, "late"),
            ({"late": -1}, "late"),
        ],
        ids=range(14),
    )
    def test_answers_that_cannot_be(self, changes, why):
        with pytest.raises(DeviceError, match=why):
            Scripted(**changes).sampled()

    def test_one_that_never_ends(self):
        with pytest.raises(DeviceError, match="left"):
            Scripted(left=5, part0=np.empty(0, np.int64), part1=np.empty((0, 1), np.int32)).sampled()

    def test_a_refusal_of_another_kind_is_told_as_it_is(self):
        def ask(kind, fields, parts):
            raise RefusedError("refused", where="device x", next_step="", reason="memory")

        with pytest.raises(RefusedError):
            DeviceFiles(ask, lambda: (0, 0), "device x").is_there()


def test_a_meter_without_files_says_so():
    with pytest.raises(MeasurementError, match="lets none be read"):
        open_meter(MeterSpec("jetson"), Watched())
