"""On-device rail monitors: their text, our own differences, and updates placed by the device's own time of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.errors import MeasurementError
from kit.meter import open_meter
from kit.meter.odpm import parse, trace_of
from kit.spec.types import MeterSpec
from tests.meter.scripted import Reads, check_trace, energy_j, samples_of, wait_read
from tests.sysfs import Tree

RAIL = "S2M_VDD_CPUCL2"


def text(t_ms, *energies_uws, names=(RAIL, "VSYS_PWR_DISPLAY")):
    lines = [
        f"CH{k}(T={t_ms})[{name}], {value}" for k, (name, value) in enumerate(zip(names, energies_uws, strict=False))
    ]
    return "\n".join([f"t={t_ms}", *lines])


def add(tree, number=0, **options):
    name = f"iio:device{number}"
    return tree.device(f"bus/iio/devices/{name}", f"devices/platform/odpm{number}/{name}", **options)


def open_on(tree, part="", **parameters):
    return open_meter(MeterSpec("odpm", parameters, {"part": part} if part else {}), tree.watched())


class TestText:
    def test_as_the_driver_writes_it(self):
        reading = parse("t=16086645\nCH0(T=16086645)[S10M_VDD_TPU], 3316\nCH3(T=16086645)[S2M_VDD_CPUCL2], 124265856")
        assert reading.t_ms == 16086645
        assert reading.energies_j == pytest.approx({"S10M_VDD_TPU": 0.003316, RAIL: 124.265856})

    @pytest.mark.parametrize("line", ["", "t=", "CH3(T=1)[], 5", "CH3(T=1)[A], -5", "CH3[A], 5", "CH3(T=1)[A], nan"])
    def test_other_lines_are_passed_over(self, line):
        assert parse(f"{line}\nCH0(T=1)[B], 5").energies_j == {"B": pytest.approx(5e-6)}

    def test_none(self):
        assert parse(None).energies_j == {}
        assert np.isnan(parse(None).t_ms)

    @given(st.text(max_size=300))
    @settings(max_examples=200, deadline=None)
    def test_whatever_comes(self, words):
        parse(words)


class TestTrace:
    def test_differences_are_ours_in_uws(self):
        samples = samples_of([text(100 * k, 50_000 * k, 7) for k in range(20)], period_s=0.1)
        trace = check_trace(trace_of(samples, [(0, RAIL)]))
        assert trace.power_w[1:] == pytest.approx(0.5)

    def test_large_counters_lose_nothing(self):
        """A 32-bit float, as dumpsys has it, would step by 8192 uWs here."""
        start = 10**11
        samples = samples_of([text(100 * k, start + 3 * k) for k in range(20)], period_s=0.1)
        assert energy_j(check_trace(trace_of(samples, [(0, RAIL)]))) == pytest.approx(57e-6, rel=1e-3)

    def test_updates_are_placed_closer_than_they_were_read(self):
        """Updates at irregular moments, 250 ms apart or so, read each 50 ms: placed within the stated error."""
        rng = np.random.default_rng(5)
        true_s = np.cumsum(rng.uniform(0.2, 0.3, 40)) - 0.1
        read_s = np.arange(0, 9, 0.05) + rng.uniform(0, 0.01, 180)
        boot_ms = 16_086_645
        last = np.searchsorted(true_s, read_s) - 1
        texts = [text(boot_ms + int(1000 * true_s[k]), 10**6 + 100_000 * k) if k >= 0 else text(boot_ms - 300, 10**6 - 100_000) for k in last]  # fmt: skip  # noqa: E501
        samples = samples_of(texts, t_s=read_s)
        trace = check_trace(trace_of(samples, [(0, RAIL)]))
        placed_s = (trace.t_ns - 10**12) / 1e9
        off_s = [np.abs(true_s - each).min() for each in placed_s]
        assert max(off_s) * 1e9 <= trace.clock_error_ns < 15_000_000
        assert energy_j(trace) == pytest.approx(0.1 * (len(trace.t_ns) - 1))

    def test_a_gap_is_placed_with_its_samples(self):
        energies = [10**6 * (k // 5) for k in range(60)] + [10**6 * (k // 5) for k in range(60)]
        stamps = [250 * (k // 5) for k in range(120)]
        texts = [text(t_ms, uws) for t_ms, uws in zip(stamps, energies, strict=True)]
        trace = check_trace(trace_of(samples_of(texts, period_s=0.05), [(0, RAIL)]))
        assert len(trace.gaps_ns) == 1
        assert trace.clock_error_ns < 40_000_000
        assert energy_j(trace) == pytest.approx(21)

    def test_a_stamp_that_runs_otherwise_is_not_used(self):
        texts = [text(k // 5 * 9000, 1000 * (k // 5)) for k in range(100)]
        trace = check_trace(trace_of(samples_of(texts), [(0, RAIL)]))
        assert np.isin(trace.t_ns, samples_of(texts).t_ns).all()
        assert energy_j(trace) == pytest.approx(0.018)

    def test_rails_of_two_monitors(self):
        one = [text(100 * k, 50_000 * k) for k in range(20)]
        other = [text(100 * k, 1, 30_000 * k, names=("A", "B")) for k in range(20)]
        trace = check_trace(trace_of(samples_of(one, other, period_s=0.1), [(0, RAIL), (1, "B")]))
        assert trace.power_w[1:] == pytest.approx(0.8)

    def test_a_rail_that_is_gone_from_the_text(self):
        texts = [text(100 * k, 50_000 * k) for k in range(10)] + ["t=1000"] * 5
        trace = check_trace(trace_of(samples_of(texts, period_s=0.1), [(0, RAIL)]))
        assert trace.ended
        assert energy_j(trace) == pytest.approx(0.45)


class TestMeter:
    @pytest.fixture
    def tree(self, tmp_path):
        tree = Tree(tmp_path)
        self.place = add(tree, name="s2mpg10-odpm", energy_value=text(1, 10, 20))
        add(tree, 1, name="s2mpg11-odpm", energy_value=text(1, 30, names=("S8S_VDD_GPU",)))
        return tree

    def test_several_rails_are_never_added_unasked(self, tree):
        with pytest.raises(MeasurementError, match=f"which rail, of {RAIL}, VSYS_PWR_DISPLAY, S8S_VDD_GPU"):
            open_on(tree)

    def test_it_measures(self, tree, monkeypatch):
        reads = Reads(monkeypatch)
        meter = open_on(tree, RAIL, sample_rate_hz=100.0)
        meter.start()
        (path,) = {each for each in reads.reads if each.endswith("energy_value")}
        for step in range(1, 8):
            wait_read(reads, path)
            tree.write(f"{self.place}/energy_value", text(1 + 30 * step, 10 + 30_000 * step, 20))
        wait_read(reads, path)
        trace = check_trace(meter.stop())
        meter.close()
        assert energy_j(trace) == pytest.approx(0.18)  # six of the seven updates: the first one's age is not known

    def test_rails_of_both_are_read_where_both_are_asked_for(self, tree):
        assert open_on(tree, f"{RAIL}+S8S_VDD_GPU").describe().parameters["rails"] == 2

    def test_none(self, tmp_path):
        with pytest.raises(MeasurementError, match="energy_value") as caught:
            open_on(Tree(tmp_path / "bare"))
        assert "android-battery" in caught.value.next_step

    def test_a_text_without_rails(self, tmp_path):
        tree = Tree(tmp_path / "other")
        add(tree, energy_value="hello")
        with pytest.raises(MeasurementError, match="lists no rail"):
            open_on(tree)
