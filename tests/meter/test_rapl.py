"""RAPL on fake trees: wraps by the raw register, domains never added twice, and what to do where only root reads."""

import os
import threading
import time

import numpy as np
import pytest

from kit.errors import MeasurementError, SpecError
from kit.meter import Watched, open_meter
from kit.meter.rapl import modulus_uj, trace_of
from kit.spec.types import MeterSpec
from tests.meter.scripted import check_trace, energy_j, samples_of
from tests.sysfs import Tree
from tests.test_files import as_nobody

RANGES = {14: 262143328850, 16: 65532610987}


@pytest.fixture
def tree(tmp_path):
    """Two sockets with cores and memory, a platform domain, and the same package again by its other registers."""
    tree = Tree(tmp_path)
    for place, name, value in (
        ("intel-rapl:0", "package-0", 1_000_000),
        ("intel-rapl:0:0", "core", 400_000),
        ("intel-rapl:0:1", "dram", 200_000),
        ("intel-rapl:1", "package-1", 7_000_000),
        ("intel-rapl:1:0", "core", 300_000),
        ("intel-rapl:1:1", "dram", 100_000),
        ("intel-rapl:2", "psys", 9_000_000),
        ("intel-rapl-mmio:0", "package-0", 1_000_000),
    ):
        add(tree, place, name, value)
    return tree


def add(tree, place, name, value):
    attributes = {"name": name, "energy_uj": value, "max_energy_range_uj": RANGES[14]}
    tree.device(f"class/powercap/{place}", f"devices/virtual/powercap/{place.split(':')[0]}/{place}", **attributes)


def put(tree, place, value):
    tree.write(f"sys/devices/virtual/powercap/{place.split(':')[0]}/{place}/energy_uj", value)


def open_on(tree, part="", **parameters):
    return open_meter(MeterSpec("rapl", parameters, {"part": part} if part else {}), tree.watched())


class TestWraps:
    @pytest.mark.parametrize(("bits", "unit_uj"), [(14, 61.035), (16, 15.258)])
    def test_the_modulus_is_one_unit_above_the_range(self, bits, unit_uj):
        assert modulus_uj(RANGES[bits]) - RANGES[bits] == pytest.approx(unit_uj, abs=1e-4)

    @pytest.mark.parametrize(("bits", "unit_nj"), [(14, 61035), (16, 15258)])
    def test_the_raw_register_s_energy_is_found_through_a_wrap(self, bits, unit_nj):
        """The kernel shows a 32-bit register times its unit in nJ, cut to whole uJ."""
        step = 2_000_000_000 // unit_nj  # about 2 J of 1 W over a reading each 2 s
        raw = 2**32 - 5 * step + step * np.arange(11)
        shown_uj = (raw % 2**32) * unit_nj // 1000
        assert (np.diff(shown_uj) < 0).sum() == 1
        trace = check_trace(trace_of(samples_of(shown_uj, period_s=2.0), (modulus_uj(RANGES[bits]),)))
        assert energy_j(trace) == pytest.approx(10 * step * unit_nj / 1e9, abs=3e-6)
        assert not len(trace.gaps_ns)

    def test_a_reset_far_from_the_top_is_no_wrap(self):
        trace = check_trace(trace_of(samples_of([10**6, 2 * 10**6, 5, 10**6]), (modulus_uj(RANGES[14]),)))
        assert len(trace.gaps_ns) == 1

    def test_too_few_readings_for_a_wrap_are_a_gap(self):
        """65.5 kJ at 2 kW last 33 s: what happened in 20 s without a reading may hold a wrap."""
        t_s = [0, 1, 2, 22, 23, 24]
        uj = np.array([0, 1, 2, 22, 23, 24]) * 10**6
        trace = check_trace(trace_of(samples_of(uj, t_s=t_s), (modulus_uj(RANGES[16]),)))
        assert len(trace.gaps_ns) == 1
        assert energy_j(trace) == pytest.approx(4.0)


class TestDomains:
    @pytest.mark.parametrize(
        ("part", "names", "counters"),
        [
            ("", "package-0 + package-1 + dram + dram", 4),
            ("package", "package-0 + package-1", 2),
            ("package-1", "package-1", 1),
            ("core", "core + core", 2),
            ("dram", "dram + dram", 2),
            ("psys", "psys", 1),
        ],
    )
    def test_which_are_added(self, tree, part, names, counters):
        record = open_on(tree, part).describe()
        assert record.description == f"RAPL energy counters: {names}"
        assert record.parameters["counters"] == counters
        assert record.obtained == "measured"
        assert record.accuracy is None

    def test_memory_mapped_registers_where_there_are_no_others(self, tmp_path):
        tree = Tree(tmp_path)
        add(tree, "intel-rapl-mmio:0", "package-0", 5)
        assert open_on(tree).describe().parameters["counters"] == 1

    def test_an_unknown_domain_lists_those_here(self, tree):
        with pytest.raises(MeasurementError, match="no RAPL domain 'gpu'") as caught:
            open_on(tree, "gpu")
        assert caught.value.next_step == "here are: package-0, core, dram, package-1, psys"

    def test_none_at_all(self, tmp_path):
        with pytest.raises(MeasurementError, match="no RAPL counters") as caught:
            open_on(Tree(tmp_path))
        assert "virtual machine" in caught.value.next_step

    def test_a_device_without_files(self):
        with pytest.raises(MeasurementError, match="lets none be read") as caught:
            open_meter(MeterSpec("rapl"), Watched())
        assert "another meter" in caught.value.next_step


class TestRights:
    def test_root_only(self, tree):
        place = tree.root / "sys/devices/virtual/powercap/intel-rapl/intel-rapl:0/energy_uj"
        place.chmod(0o400)
        for folder in (tree.root, *tree.root.parents):  # pytest's folders are the user's alone
            if folder.stat().st_uid == os.geteuid() and folder != folder.parent:
                folder.chmod(folder.stat().st_mode | 0o055)
        with as_nobody():
            if os.geteuid() != 65534:
                place.chmod(0)
            with pytest.raises(MeasurementError, match="Permission denied") as caught:
                open_on(tree, "package-0")
        assert "run as root" in caught.value.next_step
        assert "udev" in caught.value.next_step


class TestMeter:
    def test_a_known_power_is_recovered(self, tree):
        stop, began, put_s = threading.Event(), time.monotonic(), []

        def draw():
            while not stop.wait(0.002):
                put_s.append(time.monotonic() - began)
                put(tree, "intel-rapl:0", 1_000_000 + int(put_s[-1] * 25e6))

        thread = threading.Thread(target=draw)
        thread.start()
        try:
            meter = open_on(tree, "package-0", sample_rate_hz=50.0)
            meter.start()
            time.sleep(0.8)
            trace = check_trace(meter.stop())
            meter.close()
        finally:
            stop.set()
            thread.join()
        span_s = (trace.t_ns[-1] - trace.t_ns[0]) / 1e9
        assert span_s > 0.6
        behind_s = np.diff(put_s).max() + trace.clock_error_ns / 1e9  # of a counter that a busy machine puts late
        assert energy_j(trace) / span_s == pytest.approx(25, rel=0.05 + 2 * behind_s / span_s)
        assert trace.clock_error_ns > 0

    def test_stopped_before_it_was_started_and_closed_twice(self, tree):
        meter = open_on(tree)
        with pytest.raises(MeasurementError, match="before it was started"):
            meter.stop()
        meter.start()
        meter.close()
        meter.close()

    def test_an_idle_counter_names_the_meter(self, tree):
        meter = open_on(tree)
        meter.start()
        with pytest.raises(MeasurementError, match="moved 0 times") as caught:
            meter.stop()
        assert caught.value.where == "meter rapl"

    def test_what_its_user_states_is_its_accuracy(self, tree):
        stated = open_on(tree, accuracy_share=0.05, offset_w=0.1).describe().accuracy
        assert (stated.gain_share, stated.offset_w, stated.resolution_w) == (0.05, 0.1, 0.0)
        assert "user" in stated.source

    def test_an_offset_without_a_gain_is_no_accuracy(self, tree):
        with pytest.raises(SpecError, match="without accuracy"):
            open_on(tree, offset_w=0.1)

    @pytest.mark.parametrize("rate", [0.0, 1001.0])
    def test_a_rate_that_files_are_not_read_at(self, tree, rate):
        with pytest.raises(SpecError, match="times a second"):
            open_on(tree, sample_rate_hz=rate)
