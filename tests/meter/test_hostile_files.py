"""Whatever a device's files hold, whenever they fail: a trace that keeps its promises, or an error for the user."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.errors import EdgeproofError
from kit.files import LocalFiles
from kit.meter import battery, hwmon, nvml, odpm, open_meter, rapl
from kit.spec.text import hidden_character
from kit.spec.types import MeterSpec
from tests.meter.scripted import check_trace, samples_of
from tests.sysfs import Tree

RAIL = hwmon.Channel("r", {"voltage": "v", "current": "c"}, {"voltage": 1e-3, "current": 1e-3}, 0.01)
ENERGY = hwmon.Channel("e", {"energy": "e", "voltage": "v"}, {"energy": 1e-6, "voltage": 1e-3}, 0.01)


def of_battery(*files):
    scales = [battery.SCALES[name] for name in files]
    return lambda samples: battery.trace_of(samples, files, scales)


TRACES = {
    "rapl": (2, lambda samples: rapl.trace_of(samples, (1e6, float("inf")))),
    "readings": (2, lambda samples: hwmon.trace_of(samples, [RAIL])),
    "energy": (2, lambda samples: hwmon.trace_of(samples, [ENERGY])),
    "power": (2, of_battery("power_now", "status")),
    "current": (3, of_battery("current_now", "voltage_now", "status")),
    "charge": (3, of_battery("charge_now", "voltage_now", "status")),
    "odpm": (1, lambda samples: odpm.trace_of(samples, [(0, "A")])),
    "nvml": (1, nvml.energy_trace),
    "nvml power": (1, nvml.power_trace),
}

TEXTS = st.one_of(
    st.none(),
    st.integers(-(10**18) + 1, 10**18 - 1).map(str),
    st.integers(0, 50).map(str),
    st.sampled_from(["", "nan", "inf", "Discharging", "Charging", "Unknown", "9" * 30]),
    st.integers(0, 10**18 - 1).map(lambda value: f"t={value}\nCH0(T=1)[A], {value // 7}"),
    st.text(max_size=12),
)


@pytest.mark.parametrize("name", TRACES)
@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_any_texts(name, data):
    columns, trace_of = TRACES[name]
    count = data.draw(st.integers(1, 12))
    texts = [data.draw(st.lists(TEXTS, min_size=count, max_size=count)) for _ in range(columns)]
    steps = data.draw(st.lists(st.sampled_from([1e-3, 0.01, 0.5, 100.0]), min_size=count, max_size=count))
    with contextlib.suppress(EdgeproofError):
        trace = check_trace(trace_of(samples_of(*texts, t_s=np.cumsum(steps))))
        assert trace.lost_samples >= 0
        assert trace.clock_error_ns >= 0


ATTRIBUTES = {
    "rapl": ("class/powercap/intel-rapl:0", ("name", "energy_uj", "max_energy_range_uj")),
    "ina": ("class/hwmon/hwmon0", ("in1_label", "in1_input", "curr1_input", "update_interval")),
    "jetson": ("bus/i2c/drivers/ina3221/1-0040", ("in1_label", "in1_input", "curr1_input", "rail_name_0")),
    "battery": ("class/power_supply/BAT0", ("status", "power_now", "voltage_now", "current_now")),
    "odpm": ("bus/iio/devices/iio:device0", ("energy_value",)),
    "android-battery": ("class/power_supply/battery", ("status", "voltage_now", "current_now", "charge_counter")),
}
WORDS = st.one_of(
    st.binary(max_size=40), st.integers(-(10**20), 10**20).map(lambda value: str(value).encode()),
    st.just(b"t=1\nCH0(T=1)[\x1b[2J], 5\n"), st.just(b"\x00" * 9), st.just(b"Discharging"), st.just(b"9" * 20_000),
)  # fmt: skip


def told_of(spec, watched):
    """What a meter says of itself, or of why it does not measure."""
    try:
        meter = open_meter(spec, watched)
        meter.start()
        check_trace(meter.stop())
        return meter.describe().description
    except EdgeproofError as error:
        return f"{error} {error.next_step}"


@pytest.mark.parametrize("driver", ATTRIBUTES)
def test_any_tree(driver, tmp_path_factory):
    """Found, described and read once; what a terminal would obey is in no word of it."""

    @given(contents=st.lists(WORDS, min_size=4, max_size=4))
    @settings(max_examples=25, deadline=None)
    def check(contents):
        tree = Tree(tmp_path_factory.mktemp("tree"))
        link, names = ATTRIBUTES[driver]
        place = tree.device(link, f"devices/platform/x/hwmon/{link.rsplit('/', 1)[-1]}", name="ina3221", type="Battery")
        for name, content in zip(names, contents, strict=False):
            (tree.root / place.lstrip("/") / name).write_bytes(content)
        assert not hidden_character(told_of(MeterSpec(driver, {"sample_rate_hz": 500.0}), tree.watched()))

    check()


def test_a_tree_of_loops_ends(tmp_path):
    tree = Tree(tmp_path)
    tree.link("sys/class/hwmon/hwmon0", "../hwmon")
    tree.link("sys/bus/i2c/drivers/ina3221/1-0040", "../ina3221")
    for driver in ("ina", "jetson"):
        with pytest.raises(EdgeproofError):
            open_meter(MeterSpec(driver), tree.watched())
    assert LocalFiles(tmp_path).glob("/sys/class/hwmon/*/*/*/*/*") != []
