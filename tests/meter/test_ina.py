"""INA monitors on fake trees: units, chips with energy, with power, with current alone, and which rail is meant."""

import time

import pytest

from kit.errors import MeasurementError
from kit.files import LocalFiles
from kit.meter import open_meter
from kit.meter.hwmon import trace_of
from kit.meter.ina import choose_channels, find_channels
from kit.spec.types import MeterSpec
from tests.meter.scripted import check_trace, energy_j, samples_of
from tests.sysfs import Tree

INA219 = {"name": "ina219", "in0_input": 12, "in1_input": 5012, "curr1_input": 401, "power1_input": 2_010_000}


def add(tree, number=0, **attributes):
    return tree.device(f"class/hwmon/hwmon{number}", f"devices/platform/i2c-1/1-004{number}/hwmon/hwmon{number}",
                       **attributes)  # fmt: skip


def channels(tree, part="", **parameters):
    spec = MeterSpec("ina", parameters, {"part": part} if part else {})
    return choose_channels(spec, find_channels(LocalFiles(tree.root)))


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


class TestUnits:
    def test_mv_ma_and_uw(self, tree):
        add(tree, **INA219)
        found = channels(tree)
        assert found[0].quantities == ("power", "voltage", "current")
        samples = samples_of([2_010_000] * 3, [5012] * 3, [401] * 3)
        trace = check_trace(trace_of(samples, found))
        assert trace.power_w[1:] == pytest.approx(2.01)
        assert trace.voltage_v[1:] == pytest.approx(5.012)
        assert trace.current_a[1:] == pytest.approx(0.401)

    def test_power_has_the_current_s_sign(self, tree):
        add(tree, **INA219)
        samples = samples_of([2_500_000] * 3, [5000] * 3, [500, -500, 500])
        assert trace_of(samples, channels(tree)).power_w[1:].tolist() == [-2.5, 2.5]

    def test_a_sum_of_currents_and_the_shunts_voltages_are_no_rail(self, tree):
        add(tree, name="ina3221", curr4_input=1200, in4_input=40, in5_input=40, in7_input=120,
            **{f"{what}{k}_input": 5000 for what in ("in", "curr") for k in (1, 2, 3)})  # fmt: skip
        found = find_channels(LocalFiles(tree.root))
        assert [each.name for each in found] == ["ina3221", "ina3221 2", "ina3221 3"]

    def test_a_fourth_rail_of_another_chip_is_one(self, tree):
        add(tree, name="ina4230", curr4_input=1200, in4_input=5000)
        assert [each.name for each in find_channels(LocalFiles(tree.root))] == ["ina4230 4"]

    def test_without_a_power_file_it_is_voltage_times_current(self, tree):
        add(tree, name="ina226", in1_input=5000, curr1_input=100)
        trace = check_trace(trace_of(samples_of([5000] * 3, [100] * 3), channels(tree)))
        assert trace.power_w[1:] == pytest.approx(0.5)

    @pytest.mark.parametrize("chip", ["ina228", "ina780"])
    def test_an_energy_counter_is_preferred(self, tree, chip):
        add(tree, name=chip, in1_input=5000, curr1_input=100, power1_input=500_000, energy1_input=10**6)
        found = channels(tree)
        assert found[0].quantities == ("energy", "voltage")
        samples = samples_of([10**6 + 5000 * k for k in range(50)], [5000] * 50)
        trace = check_trace(trace_of(samples, found))
        assert trace.power_w[1:] == pytest.approx(0.5)
        assert trace.voltage_v[1:] == pytest.approx(5.0)
        assert energy_j(trace) == pytest.approx(0.245)

    def test_an_energy_counter_that_was_cleared(self, tree):
        add(tree, name="ina228", energy1_input=0)
        trace = check_trace(trace_of(samples_of([900, 950, 0, 50, 100]), channels(tree)))
        assert len(trace.gaps_ns) == 1
        assert energy_j(trace) == pytest.approx(150e-6)

    def test_the_shunt_s_voltage_is_not_the_rail_s(self, tree):
        add(tree, name="ina219", in0_input=12, power1_input=10)
        assert channels(tree)[0].quantities == ("power",)


class TestAge:
    """A reading is that of the last conversion, which may be as old as the driver says."""

    @pytest.mark.parametrize(("attributes", "age_ns"), [({"update_interval": 140}, 140_000_000), ({}, 10_000_000)])
    def test_it_is_part_of_the_clock_s_error(self, tree, attributes, age_ns):
        add(tree, name="ina226", power1_input=5, **attributes)
        assert trace_of(samples_of([5] * 3), channels(tree)).clock_error_ns == 1000 + age_ns

    def test_a_counter_s_updates_are_seen(self, tree):
        add(tree, name="ina228", energy1_input=5, update_interval=140)
        counted = trace_of(samples_of([k // 14 for k in range(100)]), channels(tree))
        assert counted.clock_error_ns == 1000 + 10_000_000


class TestCurrentAlone:
    def test_it_needs_the_rail_s_voltage(self, tree):
        add(tree, name="ina139", curr1_input=250)
        with pytest.raises(MeasurementError, match="measures the current alone") as caught:
            channels(tree)
        assert 'voltage = "5 V"' in caught.value.next_step

    def test_and_says_that_it_was_stated(self, tree):
        add(tree, name="ina139", curr1_input=250)
        trace = check_trace(trace_of(samples_of([250] * 4), channels(tree, voltage_v=3.3)))
        assert trace.power_w[1:] == pytest.approx(0.825)
        record = open_meter(MeterSpec("ina", {"voltage_v": 3.3}), tree.watched()).describe()
        assert record.parameters["voltage_v"] == 3.3
        assert "at a stated voltage" in record.description


class TestWhich:
    def test_no_monitor(self, tree):
        add(tree, name="coretemp", temp1_input=40000)
        with pytest.raises(MeasurementError, match="no power monitor"):
            open_meter(MeterSpec("ina"), tree.watched())

    def test_several_are_never_added_unasked(self, tree):
        add(tree, 0, **INA219)
        add(tree, 1, name="ina226", in1_input=1, curr1_input=1, in1_label="VDD_CORE")
        with pytest.raises(MeasurementError, match="which rail, of ina219, VDD_CORE") as caught:
            channels(tree)
        assert 'part = "ina219"' in caught.value.next_step
        assert [each.name for each in channels(tree, "vdd_core")] == ["VDD_CORE"]

    def test_a_sum_that_was_asked_for(self, tree):
        add(tree, 0, **INA219)
        add(tree, 1, name="ina226", in1_input=1, curr1_input=1, in1_label="VDD_CORE")
        found = channels(tree, "ina219 + VDD_CORE")
        samples = samples_of([2_000_000] * 3, [5000] * 3, [400] * 3, [1000] * 3, [500] * 3)
        trace = check_trace(trace_of(samples, found))
        assert trace.power_w[1:] == pytest.approx(2.5)
        assert trace.current_a is None

    @pytest.mark.parametrize(("part", "why"), [("ina999", "no rail 'ina999'"), ("ina219+ina219", "twice")])
    def test_a_part_that_is_none(self, tree, part, why):
        add(tree, **INA219)
        with pytest.raises(MeasurementError, match=why) as caught:
            channels(tree, part)
        assert caught.value.next_step == "here are: ina219"

    def test_two_of_one_name_are_told_apart(self, tree):
        add(tree, 0, **INA219)
        add(tree, 1, **INA219)
        assert [each.name for each in channels(tree, "ina219 hwmon1")] == ["ina219 hwmon1"]

    def test_counters_and_readings_are_not_added(self, tree):
        add(tree, 0, **INA219)
        add(tree, 1, name="ina228", energy1_input=5)
        found = channels(tree, "ina219+ina228")
        with pytest.raises(MeasurementError, match="are not added"):
            trace_of(samples_of(*[[1, 2, 3]] * 4), found)


def test_it_measures_what_its_files_say(tree):
    add(tree, **INA219)
    meter = open_meter(MeterSpec("ina", {"sample_rate_hz": 200.0}), tree.watched())
    meter.start()
    time.sleep(0.1)
    trace = check_trace(meter.stop())
    meter.close()
    assert trace.power_w[1:] == pytest.approx(2.01)
    assert meter.describe().parameters["current_step_a"] == 0.001


def test_one_that_vanishes_mid_run(tree):
    place = add(tree, **INA219)
    meter = open_meter(MeterSpec("ina", {"sample_rate_hz": 200.0}), tree.watched())
    meter.start()
    time.sleep(0.1)
    for name in INA219:
        tree.remove(f"{place}/{name}")
    time.sleep(0.1)
    trace = check_trace(meter.stop())
    assert "could not be read any more" in trace.ended
    assert trace.power_w[1:] == pytest.approx(2.01)
    assert trace.gaps_ns[-1][0] == trace.t_ns[-1]
