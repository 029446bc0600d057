"""NVML by an injected library: counter and power, slow updates, losses, and what is refused."""

import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from kit.errors import MeasurementError
from kit.meter import Watched
from kit.meter.nvml import NvmlMeter, energy_trace, power_trace
from kit.spec.types import MeterSpec
from tests.meter.scripted import check_trace, energy_j, samples_of


class NVMLError(Exception):
    """As pynvml's."""


class Library(SimpleNamespace):
    """One processor that draws `power_w` and updates its counter each `update_s`; names and errors as pynvml's."""

    NVMLError = NVMLError

    def __init__(self, power_w=250.0, update_s=0.05, has_counter=True, has_driver=True):
        super().__init__(power_w=power_w, update_s=update_s, has_counter=has_counter, has_driver=has_driver)
        self.began_s, self.opened, self.is_gone = time.monotonic(), 0, False

    def nvmlInit(self):
        if not self.has_driver:
            raise NVMLError("Driver Not Loaded")
        self.opened += 1

    def nvmlShutdown(self):
        self.opened -= 1

    def nvmlDeviceGetCount(self):
        return 1

    def nvmlDeviceGetHandleByIndex(self, index):
        return f"handle {index}"

    def nvmlDeviceGetName(self, handle):
        return b"Tesla \x1b[2JT4"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if self.is_gone or not self.has_counter:
            raise NVMLError("GPU is lost" if self.is_gone else "Not Supported")
        return self.counted_mj(time.monotonic())

    def counted_mj(self, at_s):
        updates = int((at_s - self.began_s) / self.update_s)
        return int(updates * self.update_s * self.power_w * 1000)

    def nvmlDeviceGetPowerUsage(self, handle):
        return int(self.power_w * 1000)


class Punctual:
    """Readings of a library's counter, each when it was due, from now until it is stopped."""

    def __init__(self, library, period_s):
        self.library, self.period_s, self.began_s = library, period_s, time.monotonic()

    def stop(self):
        t_s = np.arange(self.began_s, time.monotonic(), self.period_s)
        return samples_of([self.library.counted_mj(each) for each in t_s], t_s=t_s, start_ns=0)


def open_on(library, **parameters):
    return NvmlMeter(MeterSpec("nvml", parameters), Watched(), library)


class TestMeter:
    def test_a_known_power_through_slow_updates(self):
        library = Library(update_s=0.05)
        meter = open_on(library)
        meter.start()
        time.sleep(0.5)
        trace = check_trace(meter.stop())
        meter.close()
        span_s = (trace.t_ns[-1] - trace.t_ns[0]) / 1e9
        assert energy_j(trace) / span_s == pytest.approx(250, rel=0.02 + 2 * trace.clock_error_ns / 1e9 / span_s)
        assert (trace.power_w[1:] > 100).all()  # no zeros between updates
        assert trace.clock_error_ns >= 4_000_000  # when an update came is known to a reading
        assert library.opened == 0

    def test_windows_lie_within_what_was_updated(self, monkeypatch):
        """Read on time, which a busy machine may not do, it begins and ends with updates outside of the window."""
        library = Library(update_s=0.1)
        monkeypatch.setattr("kit.meter.nvml.Sampler", lambda read, period_s, what: Punctual(library, period_s))
        meter = open_on(library)
        meter.start()
        begun_ns = time.monotonic_ns()
        time.sleep(0.3)
        ended_ns = time.monotonic_ns()
        trace = check_trace(meter.stop())
        meter.close()
        assert trace.t_ns[0] <= begun_ns < ended_ns <= trace.t_ns[-1]

    def test_one_that_is_lost_mid_run(self):
        library = Library(update_s=0.02)
        meter = open_on(library)
        meter.start()
        time.sleep(0.2)
        library.is_gone = True
        trace = check_trace(meter.stop())
        meter.close()
        assert "could not be read any more" in trace.ended
        assert trace.lost_samples >= 3
        assert trace.gaps_ns[-1][0] == trace.t_ns[-1]

    def test_power_where_there_is_no_counter(self):
        meter = open_on(Library(has_counter=False, power_w=70.0))
        assert "power as its driver tells it" in meter.describe().description
        meter.start()
        trace = check_trace(meter.stop())
        meter.close()
        assert trace.power_w[1:] == pytest.approx(70.0)

    def test_what_it_says_of_itself(self):
        meter = open_on(Library())
        record = meter.describe()
        meter.close()
        assert record.description == "Tesla [2JT4, its energy counter"
        assert record.obtained == "measured"
        assert record.accuracy is None
        assert record.parameters["index"] == 0

    def test_closed_twice_and_while_it_samples(self):
        library, before = Library(), threading.active_count()
        meter = open_on(library)
        meter.start()
        meter.close()
        meter.close()
        assert library.opened == 0
        assert threading.active_count() == before


class TestRefusals:
    def test_no_driver(self):
        with pytest.raises(MeasurementError, match="Driver Not Loaded") as caught:
            open_on(Library(has_driver=False))
        assert "nvidia-smi" in caught.value.next_step

    def test_no_such_processor(self):
        library = Library()
        with pytest.raises(MeasurementError, match="no processor 3") as caught:
            open_on(library, index=3.0)
        assert caught.value.next_step == "index is from 0 to 0"
        assert library.opened == 0

    def test_without_the_library(self):
        """In a process where the module cannot be imported, whether or not it is installed here."""
        code = (
            "import sys; sys.modules['pynvml'] = None\n"
            "from kit.errors import MissingExtraError\n"
            "from kit.meter import Watched, open_meter\n"
            "from kit.spec.types import MeterSpec\n"
            "try: open_meter(MeterSpec('nvml'), Watched())\n"
            "except MissingExtraError as error: print(error.next_step)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == 'pip install "edgeproof[nvml]"'


class TestTrace:
    def test_mj_between_updates(self):
        counter = [1000 * (k // 10) for k in range(100)]  # 1 J each 0.1 s
        assert check_trace(energy_trace(samples_of(counter))).power_w[1:] == pytest.approx(10.0)

    @pytest.mark.parametrize("updates", [0, 1, 3])
    def test_a_window_of_few_updates_is_refused(self, updates):
        counter = np.minimum(np.arange(50) // 10, updates) * 1000
        with pytest.raises(MeasurementError, match=f"moved {updates} times .* 4 are the least") as caught:
            energy_trace(samples_of(counter))
        assert "measure longer" in caught.value.next_step

    def test_a_driver_that_was_loaded_again(self):
        trace = check_trace(energy_trace(samples_of([5000, 6000, 7000, 0, 1000, 2000, 3000], period_s=0.1)))
        assert len(trace.gaps_ns) == 1
        assert energy_j(trace) == pytest.approx(5.0)

    def test_mw(self):
        trace = check_trace(power_trace(samples_of([70_000] * 4)))
        assert trace.power_w[1:] == pytest.approx(70.0)
        assert trace.clock_error_ns >= 1_000_000_000  # it may be a mean over a second
