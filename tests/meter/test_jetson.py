"""Jetson rails on fake trees: each place and form that a release of Linux for Tegra has used."""

import time

import pytest

from kit.errors import MeasurementError
from kit.files import LocalFiles
from kit.meter import open_meter
from kit.meter.hwmon import paths_of, trace_of
from kit.meter.jetson import find_rails
from kit.spec.types import MeterSpec
from tests.meter.scripted import check_trace, samples_of
from tests.sysfs import Tree

NOW = {
    "name": "ina3221",
    "in1_label": "VDD_IN", "in1_input": 5000, "curr1_input": 1200,
    "in2_label": "VDD_CPU_GPU_CV", "in2_input": 5000, "curr2_input": 400,
    "in3_label": "VDD_SOC", "in3_input": 5000, "curr3_input": 300,
    "in7_label": "Sum of shunt voltages", "in7_input": 90,
}  # fmt: skip
ONCE = {
    "name": "ina3221x",
    "rail_name_0": "VDD_IN", "in_voltage0_input": 5000, "in_current0_input": 1200, "in_power0_input": 6000,
    "rail_name_1": "VDD_CPU", "in_voltage1_input": 5000, "in_current1_input": 400, "in_power1_input": 2000,
}  # fmt: skip


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def add(tree, attributes, *, driver="ina3221", deeper="/hwmon/hwmon3", bus="1-0040"):
    place = f"devices/platform/c240000.i2c/i2c-{bus[0]}/{bus}"
    tree.write(f"sys/{place}/modalias", "i2c:ina3221")
    tree.device(f"bus/i2c/drivers/{driver}/{bus}", place)
    for name, text in attributes.items():
        tree.write(f"sys/{place}{deeper}/{name}", text)


def open_on(tree, part=""):
    return open_meter(MeterSpec("jetson", {}, {"part": part} if part else {}), tree.watched())


@pytest.mark.parametrize("driver", ["ina3221", "ina3221x"])
@pytest.mark.parametrize("deeper", ["", "/hwmon3", "/hwmon/hwmon3", "/hwmon/hwmon3/hwmon4"], ids="depth{}".format)
def test_every_place(tree, driver, deeper):
    add(tree, NOW, driver=driver, deeper=deeper)
    assert [rail.name for rail in find_rails(LocalFiles(tree.root))] == ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]


def test_the_sum_without_a_label_is_no_rail(tree):
    unnamed = {name: text for name, text in NOW.items() if name != "name" and not name.startswith("in7")}
    add(tree, unnamed | {"curr4_input": 1900, "in4_input": 40, "in5_input": 13})
    assert [rail.name for rail in find_rails(LocalFiles(tree.root))] == ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]


def test_power_is_voltage_times_current_as_there_is_no_power_file(tree):
    add(tree, NOW)
    rail = find_rails(LocalFiles(tree.root))[0]
    assert [path.rsplit("/", 1)[-1] for path in paths_of([rail])] == ["in1_input", "curr1_input"]
    trace = check_trace(trace_of(samples_of([5000] * 3, [1200] * 3), [rail]))
    assert trace.power_w[1:] == pytest.approx(6.0)


def test_the_older_form_tells_mw_and_counts_from_0(tree):
    add(tree, ONCE, driver="ina3221x", deeper="/iio:device0")
    rails = find_rails(LocalFiles(tree.root))
    assert [rail.name for rail in rails] == ["VDD_IN", "VDD_CPU"]
    trace = check_trace(trace_of(samples_of([6000] * 3, [5000] * 3, [1200] * 3), rails[:1]))
    assert trace.power_w[1:] == pytest.approx(6.0)
    assert trace.current_a[1:] == pytest.approx(1.2)


def test_the_module_s_input_is_the_default(tree):
    add(tree, NOW)
    assert open_on(tree).describe().description == "Jetson rails: VDD_IN"


def test_a_nano_s_input(tree):
    add(tree, {**NOW, "in1_label": "POM_5V_IN"})
    assert open_on(tree).describe().description == "Jetson rails: POM_5V_IN"


def test_where_no_rail_is_the_input_the_user_chooses(tree):
    add(tree, {**NOW, "in1_label": "VDD_GPU_SOC"})
    with pytest.raises(MeasurementError, match="which rail, of VDD_GPU_SOC, VDD_CPU_GPU_CV, VDD_SOC") as caught:
        open_on(tree)
    assert "do not feed one another" in caught.value.next_step
    assert open_on(tree, "VDD_GPU_SOC+VDD_SOC").describe().parameters["rails"] == 2


def test_two_monitors_and_a_rail_seen_at_two_places_is_one(tree):
    add(tree, NOW)
    add(tree, {**NOW, "in1_label": "VDD_GPU", "in2_label": "NC", "in3_label": "VDD_DDR"}, bus="2-0041")
    names = [rail.name for rail in find_rails(LocalFiles(tree.root))]
    assert names == ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC", "VDD_GPU", "VDD_DDR"]


def test_it_measures(tree):
    add(tree, NOW)
    meter = open_on(tree, "vdd_soc")
    meter.start()
    time.sleep(0.15)
    trace = check_trace(meter.stop())
    assert trace.power_w[1:] == pytest.approx(1.5)


def test_no_jetson(tree):
    with pytest.raises(MeasurementError, match="no INA3221 rails"):
        open_on(tree)
