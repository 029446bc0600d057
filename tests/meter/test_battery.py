"""Battery gauges on fake trees: units, both families, both signs, mains, and Android's own habits."""

import time

import numpy as np
import pytest

from kit.errors import MeasurementError
from kit.files import LocalFiles
from kit.meter import open_meter
from kit.meter.battery import SCALES, choose_gauge, trace_of
from kit.spec.types import MeterSpec
from tests.meter.scripted import Reads, check_trace, energy_j, samples_of, wait_read
from tests.sysfs import Tree

LAPTOP = {
    "type": "Battery", "status": "Discharging", "power_now": 8_500_000, "voltage_now": 11_400_000,
    "energy_now": 40_000_000,
}  # fmt: skip
PHONE = {
    "type": "Battery", "status": "Discharging", "voltage_now": 3_850_000, "current_now": -420_000,
    "charge_counter": 2_500_000,
}  # fmt: skip


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def add(tree, name="BAT0", **attributes):
    return tree.device(f"class/power_supply/{name}", f"devices/platform/soc/power_supply/{name}", **attributes)


def open_on(tree, driver="battery", words=None, **parameters):
    return open_meter(MeterSpec(driver, parameters, words or {}), tree.watched())


def files_read(tree, driver="battery", **words):
    return choose_gauge(MeterSpec(driver, {}, words), LocalFiles(tree.root)).files[:-1]


def traced(files, *columns, status="Discharging", full=np.nan, **options):
    names = (*files, "status")
    statuses = status if isinstance(status, list) else [status] * len(columns[0])
    samples = samples_of(*columns, statuses, **options)
    return check_trace(trace_of(samples, names, [SCALES[name] for name in names], full))


class TestUnits:
    def test_uw(self):
        assert traced(["power_now"], [8_500_000] * 4).power_w[1:] == pytest.approx(8.5)

    def test_ua_and_uv(self):
        trace = traced(["current_now", "voltage_now"], [420_000] * 4, [3_850_000] * 4)
        assert trace.power_w[1:] == pytest.approx(1.617)
        assert trace.current_a[1:] == pytest.approx(0.42)
        assert trace.voltage_v[1:] == pytest.approx(3.85)

    def test_uwh(self):
        left = [40_000_000 - 1000 * k for k in range(20)]  # 1 mWh = 3.6 J each s
        trace = traced(["energy_now"], left, period_s=1.0)
        assert trace.power_w[1:] == pytest.approx(3.6)

    @pytest.mark.parametrize("name", ["charge_now", "charge_counter"])
    def test_uah(self, name):
        left = [2_500_000 - 100 * k for k in range(20)]  # 0.36 C each s
        trace = traced([name, "voltage_now"], left, [4_000_000] * 20, period_s=1.0)
        assert trace.current_a[1:] == pytest.approx(0.36)
        assert trace.power_w[1:] == pytest.approx(1.44)
        assert trace.voltage_v[1:] == pytest.approx(4.0)

    def test_charge_times_the_voltage_of_each_interval(self):
        left, volts = [1000 - 100 * k for k in range(4)], [4_000_000, 3_900_000, 3_800_000, 3_700_000]
        trace = traced(["charge_now", "voltage_now"], left, volts, period_s=1.0)
        assert trace.voltage_v[1:] == pytest.approx([3.95, 3.85, 3.75])


class TestFamilies:
    def test_power_is_preferred(self, tree):
        add(tree, **LAPTOP)
        assert files_read(tree) == ("power_now",)

    def test_then_current_with_voltage(self, tree):
        add(tree, **PHONE)
        assert files_read(tree) == ("current_now", "voltage_now")

    @pytest.mark.parametrize(
        ("attributes", "files"),
        [
            ({"energy_now": 5, "voltage_now": 5}, ("energy_now",)),
            ({"charge_now": 5, "voltage_now": 5}, ("charge_now", "voltage_now")),
            ({"charge_counter": 5, "voltage_now": 5}, ("charge_counter", "voltage_now")),
        ],
        ids=["energy", "charge", "counter"],
    )
    def test_then_what_is_left_in_it(self, tree, attributes, files):
        add(tree, type="Battery", status="Discharging", **attributes)
        assert files_read(tree) == files

    def test_a_mode_that_was_asked_for(self, tree):
        add(tree, **LAPTOP)
        assert files_read(tree, mode="counter") == ("energy_now",)
        with pytest.raises(MeasurementError, match="no mode 'fast'"):
            files_read(tree, mode="fast")

    def test_charge_without_voltage_tells_no_power(self, tree):
        add(tree, type="Battery", status="Discharging", charge_now=5)
        with pytest.raises(MeasurementError, match="tells neither power nor current"):
            files_read(tree)


class TestSigns:
    """The ABI's negative current discharges; many drivers' positive does."""

    @pytest.mark.parametrize("sign", [-1, 1])
    def test_the_magnitude_is_taken(self, sign):
        trace = traced(["current_now", "voltage_now"], [sign * 420_000] * 4, [3_850_000] * 4)
        assert trace.power_w[1:] == pytest.approx(1.617)
        assert traced(["power_now"], [sign * 10**6] * 4).power_w[1:] == pytest.approx(1.0)

    @pytest.mark.parametrize("status", ["Charging", "Full", "Not charging"])
    def test_on_mains_it_tells_nothing_of_the_device(self, tree, status):
        add(tree, **{**LAPTOP, "status": status})
        with pytest.raises(MeasurementError, match=f"its status is {status}") as caught:
            open_on(tree)
        assert caught.value.next_step == "unplug the charger"

    def test_a_charger_that_comes_mid_run_is_a_gap(self):
        status = ["Discharging"] * 10 + ["Charging"] * 3 + ["Discharging"] * 10
        trace = traced(["power_now"], [10**6] * 10 + [20 * 10**6] * 3 + [10**6] * 10, status=status)
        assert len(trace.gaps_ns) == 1
        assert np.nanmax(trace.power_w) == 1.0
        assert trace.lost_samples == 3

    def test_and_one_that_stays_ends_it(self):
        status = ["Discharging"] * 10 + ["Charging"] * 3
        trace = traced(["power_now"], [10**6] * 13, status=status)
        assert "did not discharge" in trace.ended
        assert len(trace.t_ns) == 10

    def test_a_counter_is_not_read_through_a_charger(self):
        with pytest.raises(MeasurementError, match="did not discharge"):
            traced(["energy_now"], range(10), status="Charging")

    def test_a_counter_that_rises_is_a_gap(self):
        trace = traced(["energy_now"], [1000, 990, 980, 2000, 1990, 1980], period_s=1.0)
        assert len(trace.gaps_ns) == 1
        assert energy_j(trace) == pytest.approx(40 * 3.6e-3)

    def test_what_a_counter_told_before_the_charger_came_is_kept(self):
        left, status = [3_000_000 - 140 * k for k in range(200)], ["Discharging"] * 199 + ["Full"]
        trace = traced(["charge_now", "voltage_now"], left, [4_000_000] * 200, status=status, period_s=1.0)
        assert "did not discharge" in trace.ended
        assert trace.gaps_ns.tolist() == [[10**12 + 198 * 10**9, 10**12 + 199 * 10**9]]
        assert energy_j(trace) == pytest.approx(140 * 198 * 3.6e-3 * 4)

    def test_a_counter_through_a_charger_is_a_gap(self):
        left, status = [10**6 - 100 * k for k in range(20)], ["Discharging"] * 20
        status[9] = "Charging"
        trace = traced(["energy_now"], left, status=status, period_s=1.0)
        assert trace.gaps_ns.tolist() == [[10**12 + 8 * 10**9, 10**12 + 10 * 10**9]]
        assert energy_j(trace) == pytest.approx(100 * 17 * 3.6e-3)
        assert not trace.ended

    @pytest.mark.parametrize("name", ["power_now", "energy_now"])
    def test_a_status_that_is_gone_ends_it(self, name):
        values, status = [10**6 - 100 * k for k in range(20)], ["Discharging"] * 12 + [None] * 8
        trace = traced([name], values, status=status, period_s=1.0)
        assert "status could not be read" in trace.ended
        assert trace.t_ns[-1] == 10**12 + 11 * 10**9

    def test_a_status_that_was_never_there_is_not_missed(self):
        assert not traced(["power_now"], [10**6] * 3, status=None).ended

    @pytest.mark.parametrize("status", ["Unknown", ""])
    def test_a_driver_that_knows_no_status_is_believed(self, status):
        assert traced(["power_now"], [10**6] * 3, status=status).power_w[1:] == pytest.approx(1.0)


class TestZero:
    """Drivers tell 0 where they do not know: a device that runs on its battery draws more."""

    def test_a_power_of_0_gives_way_to_current_and_voltage(self, tree):
        add(tree, **{**LAPTOP, "power_now": 0, "current_now": 1_000_000, "voltage_now": 4_000_000})
        assert files_read(tree) == ("current_now", "voltage_now")
        meter = open_on(tree, sample_rate_hz=100.0)
        meter.start()
        time.sleep(0.06)
        assert check_trace(meter.stop()).power_w[1:] == pytest.approx(4.0)

    def test_and_a_current_of_0_to_what_is_left_in_it(self, tree):
        add(tree, **{**PHONE, "current_now": 0})
        assert files_read(tree) == ("charge_counter", "voltage_now")

    @pytest.mark.parametrize(
        "attributes",
        [{"power_now": 0}, {"current_now": 0, "voltage_now": 4_000_000}, {"power_now": 0, "current_now": 10**6}],
        ids=["power", "current", "no voltage"],
    )
    def test_alone_it_is_refused(self, tree, attributes):
        add(tree, type="Battery", status="Discharging", **attributes)
        with pytest.raises(MeasurementError, match="told 0, which is not known"):
            open_on(tree)

    def test_a_full_battery_at_0_is_full(self, tree):
        add(tree, type="Battery", status="Full", power_now=0)
        with pytest.raises(MeasurementError, match="its status is Full"):
            open_on(tree)

    def test_in_a_run_it_is_a_gap(self):
        trace = traced(["power_now"], [10**6] * 10 + [0] * 3 + [10**6] * 10)
        assert len(trace.gaps_ns) == 1
        assert trace.lost_samples == 3
        assert np.nanmin(trace.power_w) == 1.0

    def test_at_the_end_it_ends_it(self):
        trace = traced(["current_now", "voltage_now"], [10**6] * 10 + [0] * 3, [4_000_000] * 13)
        assert "told 0" in trace.ended
        assert np.nanmin(trace.power_w) == pytest.approx(4.0)

    def test_all_along_it_is_no_trace(self):
        with pytest.raises(MeasurementError, match="told 0"):
            traced(["power_now"], [0] * 10)

    @pytest.mark.parametrize("volts", [4000, 0, -5], ids=["mV", "0", "negative"])
    def test_a_voltage_that_no_battery_has(self, tree, volts):
        add(tree, type="Battery", status="Discharging", current_now=1_000_000, voltage_now=volts)
        with pytest.raises(MeasurementError, match=r"V, which is no battery's"):
            open_on(tree)

    def test_an_empty_bay_is_no_battery(self, tree):
        add(tree, "BAT1", **LAPTOP, present=0)
        with pytest.raises(MeasurementError, match="there is no battery"):
            open_on(tree)
        add(tree, "BAT0", **LAPTOP, present=1)
        assert "BAT0" in open_on(tree).describe().description


class TestRecalibration:
    """A gauge that corrects what it believes to be left has not measured a draw."""

    @pytest.mark.parametrize("every", [1, 5], ids="each {} s".format)
    def test_a_jump_is_a_gap(self, every):
        left = 3_000_000 - np.arange(200) // every * every * 140
        left[120:] -= 300_000
        trace = traced(["charge_now", "voltage_now"], left, [4_000_000] * 200, period_s=1.0, full=3_000_000 * 3.6e-3)
        assert len(trace.gaps_ns) == 1
        assert trace.power_w[np.isfinite(trace.power_w)] == pytest.approx(2.016)

    def test_of_energy_too(self):
        left = 40_000_000 - np.arange(100) * 2000
        left[50:] -= 3_000_000
        trace = traced(["energy_now"], left, period_s=1.0)
        assert len(trace.gaps_ns) == 1
        assert np.nanmax(trace.power_w) == pytest.approx(7.2)

    def test_what_a_small_battery_cannot_give_is_told_by_what_it_holds(self, tree):
        left = 300_000 - np.arange(60) * 140
        left[30:] -= 5000  # 18 C in a second, of a battery of 300 mAh
        columns = ["charge_now", "voltage_now"], left, [4_000_000] * 60
        assert not len(traced(*columns, period_s=1.0).gaps_ns)
        assert len(traced(*columns, period_s=1.0, full=300_000 * 3.6e-3).gaps_ns) == 1

    def test_its_capacity_is_read(self, tree, monkeypatch):
        reads = Reads(monkeypatch)
        place = add(tree, type="Battery", status="Discharging", charge_now=300_000, charge_full=300_000,
                    voltage_now=4_000_000)  # fmt: skip
        meter = open_on(tree, sample_rate_hz=100.0)
        meter.start()
        (path,) = {each for each in reads.reads if each.endswith("charge_now")}
        for left in (299_990, 299_980, 200_000, 199_990, 199_980):
            wait_read(reads, path)
            tree.write(f"{place}/charge_now", left)
        wait_read(reads, path)
        assert len(check_trace(meter.stop()).gaps_ns) == 1

    def test_a_burst_after_rest_is_none(self):
        left = [10**6] * 60 + [10**6 - 3000 * k for k in range(1, 60)]  # 10.8 A
        trace = traced(["charge_now", "voltage_now"], left, [4_000_000] * 119, period_s=1.0, full=3_000_000 * 3.6e-3)
        assert not len(trace.gaps_ns)


class TestWhich:
    def test_none(self, tree):
        add(tree, "AC", type="Mains", online=1)
        with pytest.raises(MeasurementError, match="there is no battery"):
            open_on(tree)

    def test_a_mouse_s_battery_is_not_the_machine_s(self, tree):
        add(tree, "hid-mouse", **LAPTOP, scope="Device")
        add(tree, "BAT0", **LAPTOP)
        assert "BAT0" in open_on(tree).describe().description

    def test_two_are_never_added_unasked(self, tree):
        add(tree, "BAT0", **LAPTOP)
        add(tree, "BAT1", **LAPTOP)
        with pytest.raises(MeasurementError, match="which battery, of BAT0, BAT1"):
            open_on(tree)
        assert "BAT1" in open_on(tree, words={"part": "BAT1"}).describe().description
        with pytest.raises(MeasurementError, match="one battery is read at a time"):
            open_on(tree, words={"part": "BAT0+BAT1"})


class TestAge:
    """A gauge tells nothing of how old its reading is, so that is taken from how long it stays the same."""

    def test_slow_updates(self):
        values = np.repeat(np.arange(10) + 10**6, 20)  # each 2 s
        assert traced(["power_now"], values, period_s=0.1).clock_error_ns == 1000 + 2_000_000_000

    def test_one_that_never_changed_may_be_as_old_as_the_trace(self):
        assert traced(["power_now"], [10**6] * 11, period_s=0.1).clock_error_ns == 1000 + 1_000_000_000


class TestMeter:
    def test_slow_updates_of_a_counter_give_the_mean_between_them(self):
        left = np.repeat([1000 - 10 * k for k in range(6)], 30)  # an update each 3 s, read ten times a second
        trace = traced(["energy_now"], left, period_s=0.1)
        assert trace.power_w[1:] == pytest.approx(0.012)
        assert len(trace.t_ns) == 5

    def test_it_measures_and_vanishes(self, tree):
        place = add(tree, **LAPTOP)
        meter = open_on(tree, sample_rate_hz=200.0)
        meter.start()
        time.sleep(0.1)
        for name in LAPTOP:
            tree.remove(f"{place}/{name}")
        time.sleep(0.1)
        trace = check_trace(meter.stop())
        meter.close()
        assert trace.power_w[1:] == pytest.approx(8.5)
        assert trace.ended
        assert trace.gaps_ns[-1][0] == trace.t_ns[-1]
        assert meter.describe().accuracy is None
        assert meter.describe().obtained == "measured"

    def test_a_gauge_that_was_not_updated_in_the_run_says_so(self, tree):
        place = add(tree, **LAPTOP)
        meter = open_on(tree, sample_rate_hz=100.0)
        before = meter.describe()
        meter.start()
        time.sleep(0.1)
        meter.stop()
        assert "may be from before this run" in meter.describe().description
        meter.start()
        for power in range(8, 28):
            time.sleep(0.03)
            tree.write(f"{place}/power_now", power * 10**6)
        meter.stop()
        assert meter.describe() == before


class TestAndroid:
    def test_current_and_voltage(self, tree):
        add(tree, "battery", **PHONE)
        meter = open_on(tree, "android-battery", sample_rate_hz=100.0)
        meter.start()
        time.sleep(0.08)
        assert check_trace(meter.stop()).power_w[1:] == pytest.approx(1.617)

    def test_the_charge_counter(self, tree):
        place = add(tree, "battery", **PHONE)
        meter = open_on(tree, "android-battery", {"mode": "counter"}, sample_rate_hz=100.0)
        meter.start()
        for step in range(1, 11):
            time.sleep(0.03)
            tree.write(f"{place}/charge_counter", 2_500_000 - step)
        time.sleep(0.05)
        steps = energy_j(check_trace(meter.stop())) / (3.6e-3 * 3.85)  # 1 uAh each
        assert steps == pytest.approx(round(steps)), "from an update to another: which, a busy machine decides"
        assert 1 <= round(steps) <= 10

    def test_mv_are_told_by_the_figure(self, tree):
        add(tree, "battery", **{**PHONE, "voltage_now": 3850})
        meter = open_on(tree, "android-battery", sample_rate_hz=100.0)
        meter.start()
        time.sleep(0.05)
        assert check_trace(meter.stop()).voltage_v[1:] == pytest.approx(3.85)

    def test_a_current_that_may_be_ma_is_refused_until_its_unit_is_stated(self, tree):
        add(tree, "battery", **{**PHONE, "current_now": 420})
        with pytest.raises(MeasurementError, match="less than 5 mA") as caught:
            open_on(tree, "android-battery")
        assert 'current_unit = "mA"' in caught.value.next_step
        meter = open_on(tree, "android-battery", {"current_unit": "mA"}, sample_rate_hz=100.0)
        meter.start()
        time.sleep(0.05)
        assert check_trace(meter.stop()).current_a[1:] == pytest.approx(0.42)

    @pytest.mark.parametrize(
        ("changes", "words", "why"),
        [
            ({}, {"current_unit": "A"}, "uA or mA"),
            ({"voltage_now": 3}, {}, "no voltage"),
            ({"voltage_now": "x"}, {}, "no voltage"),
            ({}, {"mode": "fast"}, "no mode"),
            ({"status": "Charging"}, {}, "status is Charging"),
        ],
        ids=["unit", "volts", "text", "mode", "mains"],
    )
    def test_what_is_wrong_is_said(self, tree, changes, words, why):
        add(tree, "battery", **PHONE | changes)
        with pytest.raises(MeasurementError, match=why):
            open_on(tree, "android-battery", words)

    def test_a_charger_is_no_battery(self, tree):
        add(tree, "usb", **{**PHONE, "type": "USB_PD", "current_now": 2_000_000})
        with pytest.raises(MeasurementError, match="no battery below"):
            open_on(tree, "android-battery")
        add(tree, "gauge", **PHONE)
        assert "gauge" in open_on(tree, "android-battery").describe().description

    def test_none(self, tree):
        with pytest.raises(MeasurementError, match="no battery below") as caught:
            open_on(tree, "android-battery")
        assert "odpm" in caught.value.next_step
