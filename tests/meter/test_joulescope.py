"""Joulescope: blocks in the shape that the maker's driver publishes, ids checked, and how fast they are taken."""

import threading
import time

import numpy as np
import pytest

from kit.errors import MeasurementError, MissingExtraError, SpecError
from kit.meter import Watched, open_meter
from kit.meter.joulescope import JoulescopeMeter
from kit.meter.joulescope_blocks import Blocks
from kit.spec.types import MeterSpec

PATH = "u/js220/001122"
RATE_HZ = 1_000_000


def block(at, values, *, factor=2, sample_rate=2 * RATE_HZ):
    """As a callback gets it: ids count at `sample_rate`."""
    return {"sample_id": at * factor, "sample_rate": sample_rate, "decimate_factor": factor, "data": values}


def current_a(at, count):
    return (0.01 + 0.005 * np.sin((at + np.arange(count)) * 2 * np.pi / 1000)).astype(np.float32)


def voltage_v(at, count):
    return np.full(count, 3.0, np.float32)


def inputs(at, count):
    return np.packbits((at + np.arange(count)) // 5000 % 2 == 1, bitorder="little")


SIGNALS = {"i": current_a, "v": voltage_v, "gpi/0": inputs}


def feed(blocks, at, count, names=("i", "v")):
    for name in names:
        blocks.feed(name, block(at, SIGNALS[name](at, count)), at * 1000)


class TestBlocks:
    @pytest.mark.parametrize("size", [7, 100, 126, 1000, 4096])
    @pytest.mark.parametrize("wanted_hz", [1e6, 1e5, 2e4])
    def test_power_is_the_mean_of_products_whatever_the_blocks(self, size, wanted_hz):
        blocks = Blocks(wanted_hz, has_inputs=False)
        for at in range(0, 50_000, size):
            feed(blocks, at, min(size, 50_000 - at))
        found, group = blocks.samples(), int(1e6 / wanted_hz)
        power_w = (current_a(0, 50_000).astype(np.float64) * 3.0).reshape(-1, group).mean(axis=1)
        np.testing.assert_allclose(found.power_w, power_w, rtol=1e-9)
        np.testing.assert_allclose(found.current_a, power_w / 3, rtol=1e-6)
        assert found.losses == []
        assert (blocks.lost, blocks.rate_hz, blocks.group) == (0, 1e6, group)

    def test_signals_in_blocks_of_other_sizes(self):
        blocks = Blocks(1e5, has_inputs=True)
        for at in range(0, 40_000, 2000):
            blocks.feed("i", block(at, current_a(at, 2000)), at)
            for part in range(at, at + 2000, 400):
                blocks.feed("v", block(part, voltage_v(part, 400)), part)
            blocks.feed("gpi/0", block(at, inputs(at, 2000)), at)
        found = blocks.samples()
        assert len(found.current_a) == 4000
        assert (found.bits == (np.arange(9, 40_000, 10) // 5000 % 2)).all()

    @pytest.mark.parametrize("missing", [("i", "v"), ("i",), ("v",)], ids=["both", "current", "voltage"])
    def test_skipped_ids_are_counted_wherever_they_are_skipped(self, missing):
        blocks = Blocks(1e5, has_inputs=False)
        for at in range(0, 100_000, 1000):
            feed(blocks, at, 1000, [n for n in ("i", "v") if not (at in (30_000, 31_000, 70_000) and n in missing)])
        found = blocks.samples()
        assert blocks.lost == 3000
        assert found.losses == [(3000, 200), (6800, 100)]
        assert len(found.current_a) == 9700

    def test_a_group_with_one_missing_is_left_out_whole(self):
        blocks = Blocks(1e5, has_inputs=False)
        feed(blocks, 0, 1005)
        feed(blocks, 1006, 994)
        found = blocks.samples()
        assert blocks.lost == 1
        assert found.losses == [(100, 1)]
        assert len(found.current_a) == 199

    @pytest.mark.parametrize("signal", ["i", "v"])
    @pytest.mark.parametrize("missing", [np.nan, np.inf])
    def test_a_sample_without_a_value_is_lost_with_its_group(self, signal, missing):
        blocks = Blocks(1e5, has_inputs=True)
        for at in range(0, 10_000, 1005):
            values = {"i": current_a(at, 1005), "v": voltage_v(at, 1005)}
            if at in (0, 2010, 3015):
                values[signal][:3] = missing
            for name in ("i", "v"):
                blocks.feed(name, block(at, values[name]), at)
            blocks.feed("gpi/0", block(at, inputs(at, 1005)), at)
        found = blocks.samples()
        assert blocks.lost == 9
        assert blocks.first_group == 1
        assert found.losses == [(200, 1), (299, 1)]
        assert len(found.bits) == len(found.power_w) == 1005 - 3
        assert np.isfinite([found.power_w, found.current_a, found.voltage_v]).all()

    def test_ids_that_begin_anew_end_it(self):
        blocks = Blocks(2e4, has_inputs=False)
        for at in [*range(0, 50_000, 1000), *range(0, 50_000, 1000)]:
            feed(blocks, at, 1000)
        assert len(blocks.samples().power_w) == 1000
        assert "anew" in blocks.ended

    def test_blocks_that_repeat_ids_are_not_counted_twice(self):
        blocks = Blocks(1e6, has_inputs=False)
        feed(blocks, 0, 1000)
        feed(blocks, 500, 1000)
        assert len(blocks.samples().current_a) == 1500
        assert blocks.lost == 0

    def test_a_rate_that_is_no_whole_part(self):
        blocks = Blocks(300_000.0, has_inputs=False)
        feed(blocks, 0, 10)
        assert "no whole part" in blocks.wrong

    def test_one_signal_alone_does_not_fill_the_memory(self):
        blocks = Blocks(1e6, has_inputs=False)
        for at in range(0, 400_000, 1000):
            feed(blocks, at, 1000, ["i"])
        feed(blocks, 399_000, 1000)
        assert len(blocks.samples().current_a) == 1000
        assert sum(len(waiting) for waiting in blocks._waiting.values()) <= 257

    @pytest.mark.parametrize("size", [1000, 10_000])
    def test_a_million_samples_a_second_with_none_skipped_silently(self, size):
        blocks, count = Blocks(2e4, has_inputs=False), 2_000_000
        parts = [(at, current_a(at, size), voltage_v(at, size)) for at in range(0, count, size)]
        started_s = time.thread_time()
        for at, i, v in parts:
            if at != 500_000:
                blocks.feed("i", block(at, i), at)
                blocks.feed("v", block(at, v), at)
        took_s = time.thread_time() - started_s
        assert count / took_s > RATE_HZ
        assert blocks.lost == size
        assert sum(lost for _, lost in blocks.samples().losses) * 50 == size


class Driver:
    """Speaks as pyjoulescope_driver.Driver does, and streams from a thread of its own as the instrument would."""

    def __init__(self, paths=(PATH,), *, size=2000, skip=(), unplug_at=None, refuse=""):
        self.paths, self.size, self.skip, self.unplug_at, self.refuse = list(paths), size, skip, unplug_at, refuse
        self.published, self.opened, self.handlers = [], [], {}
        self._thread = None

    def device_paths(self):
        return self.paths

    def open(self, path):
        if self.refuse:
            raise RuntimeError(self.refuse)
        self.opened.append(path)

    def close(self, path):
        self.opened.remove(path)

    def finalize(self):
        raise AssertionError("it is not the meter's to finalize")

    def subscribe(self, topic, flags, fn):
        assert flags == "pub"
        self.handlers[topic] = fn

    def unsubscribe(self, topic, fn):
        assert self.handlers.pop(topic) is fn  # the driver looks for the very same object

    def publish(self, topic, value):
        self.published.append((topic, value))
        on = {t.removesuffix("/ctrl") for t, v in self.published if t.endswith("/ctrl") and v}
        if topic.endswith("/ctrl") and value and len(on) == len(self.handlers) - 1:
            self._halt = threading.Event()
            self._thread = threading.Thread(target=self._stream, daemon=True)
            self._thread.start()
        elif topic.endswith("/ctrl") and not value and self._thread:
            self._halt.set()
            self._thread.join()
            self._thread = None

    def _stream(self):
        started_s, at, self.sent = time.monotonic(), 0, 0
        while not self._halt.is_set():
            due = int((time.monotonic() - started_s) * RATE_HZ)
            while at + self.size <= due and not self._halt.is_set():
                if self.unplug_at is not None and at >= self.unplug_at:
                    self.handlers["@/!remove"]("@/!remove", PATH)
                    return
                for topic, fn in list(self.handlers.items()):
                    name = topic.removeprefix(f"{PATH}/s/").removesuffix("/!data")
                    if name in SIGNALS and at not in self.skip:
                        fn(topic, block(at, SIGNALS[name](at, self.size)))
                at = self.sent = at + self.size
            self._halt.wait(0.001)


def open_one(driver, *, serial=None, **numbers):
    return JoulescopeMeter(MeterSpec("joulescope", numbers, {"serial": serial} if serial else {}), Watched(), driver)


def record(meter, duration_s, least=0):
    """A trace of so long, and until the driver has come to sample `least`, which a busy machine's does later."""
    meter.start()
    time.sleep(duration_s)
    deadline_s = time.monotonic() + 20
    while meter._driver.sent < least and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return meter.stop()


class TestMeter:
    def test_the_energy_is_that_which_flowed(self):
        driver = Driver()
        meter = open_one(driver)
        before_ns = time.monotonic_ns()
        trace = record(meter, 0.4)
        meter.close()
        assert driver.opened == []
        assert driver.handlers == {}
        assert trace.lost_samples == 0
        assert before_ns <= trace.t_ns[0]
        np.testing.assert_allclose(np.diff(trace.t_ns), 50_000, atol=2, rtol=0)
        span_s = (trace.t_ns[-1] - trace.t_ns[0]) / 1e9
        assert np.nansum(trace.power_w[1:] * np.diff(trace.t_ns)) / 1e9 == pytest.approx(0.03 * span_s, rel=2e-2)
        assert not trace.ended

    def test_topics_are_those_of_the_driver(self):
        driver = Driver()
        meter = open_one(driver, trigger_line=0.0)
        trace = record(meter, 0.2)
        meter.close()
        assert driver.published == [
            (f"{PATH}/s/i/range/mode", "auto"),
            *[(f"{PATH}/s/{name}/ctrl", 1) for name in ("i", "v", "gpi/0")],
            *[(f"{PATH}/s/{name}/ctrl", 0) for name in ("i", "v", "gpi/0")],
        ]
        assert set(np.unique(trace.trigger)) == {0, 1}

    def test_skipped_ids_are_lost_samples_and_gaps(self):
        meter = open_one(Driver(skip=(20_000, 22_000, 60_000)), sample_rate_hz=1e5)
        trace = record(meter, 0.3, least=80_000)
        meter.close()
        assert trace.lost_samples == 6000
        assert np.diff(trace.gaps_ns, axis=1)[:, 0] == pytest.approx([401e4, 201e4], rel=1e-3)
        assert np.isnan(trace.power_w).sum() == 3

    def test_an_unplugged_one_gives_what_it_gave_until_then(self):
        meter = open_one(Driver(unplug_at=100_000))
        trace = record(meter, 0.4, least=100_000)
        meter.close()
        assert trace.ended == "the meter was unplugged"
        assert len(trace.t_ns) == 2000

    def test_it_can_be_started_again(self):
        meter = open_one(Driver())
        first, second = record(meter, 0.1), record(meter, 0.1)
        meter.start()
        with pytest.raises(MeasurementError, match="before it was stopped"):
            meter.start()
        meter.close()
        meter.close()
        assert first.t_ns[-1] < second.t_ns[0]

    def test_which_of_several(self):
        paths = ["u/js220/001122", "u/js110/000003"]
        with pytest.raises(SpecError, match="several") as caught:
            open_one(Driver(paths))
        assert "001122, 000003" in caught.value.next_step
        with pytest.raises(SpecError, match="none with serial '9'"):
            open_one(Driver(paths), serial="9")
        driver = Driver(paths)
        assert "JS110 000003" in open_one(driver, serial="000003").describe().description
        assert driver.published == [("u/js110/000003/s/i/range/select", "auto")]

    def test_none_there(self):
        with pytest.raises(MeasurementError, match="there is no Joulescope"):
            open_one(Driver([]))

    def test_what_the_driver_raises_is_told(self):
        with pytest.raises(MeasurementError, match="the driver says: in use"):
            open_one(Driver(refuse="in  use"))

    def test_an_injected_driver_is_emulated_and_accuracy_is_the_device_file_s(self):
        said = open_one(Driver(), accuracy_share=0.003).describe()
        assert said.obtained == "emulated"
        assert said.accuracy.gain_share == 0.003
        assert open_one(Driver()).describe().accuracy is None

    def test_a_rate_that_it_cannot_have(self):
        meter = open_one(Driver(), sample_rate_hz=300_000.0)
        meter.start()
        with pytest.raises(MeasurementError, match="no whole part"):
            meter.stop()
        meter.close()

    @pytest.mark.parametrize("line", [4.0, 8.0, 0.5])
    def test_an_input_that_it_has_not(self, line):
        with pytest.raises(SpecError, match="is no input"):
            open_one(Driver(), trigger_line=line)

    def test_stop_before_start(self):
        with pytest.raises(MeasurementError, match="before it was started"):
            open_one(Driver()).stop()


def test_without_its_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyjoulescope_driver", None)
    with pytest.raises(MissingExtraError, match="pyjoulescope-driver") as caught:
        open_meter(MeterSpec("joulescope"), Watched())
    assert "edgeproof[joulescope]" in caught.value.next_step
