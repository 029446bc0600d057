"""Records measured on a real agent process, and how each says that it was obtained."""

import dataclasses
import shutil

import numpy as np
import pytest

from kit.device import open_device
from kit.errors import MeasurementError
from kit.measure import measure_energy, measure_latency, measure_memory, predict_part
from kit.measure.obtained import obtained_on, weakest
from kit.meter import Watched, open_meter
from kit.records import DatasetRecord
from kit.spec.types import DatasetPart, MeasurePlan, MeterSpec
from tests import device_kit as kits

PLAN = MeasurePlan(
    latency_inferences=800, latency_min_s=0.1, memory_sessions=2, energy_windows=4, energy_window_s=0.1, seed=0
)
POWERS = {"idle_power_w": 0.05, "active_power_w": 0.4}
SPEC = kits.device_spec()


@pytest.fixture(scope="module")
def device():
    opened = open_device(SPEC)
    yield opened
    opened.close()


def part(inputs, classes=kits.CLASSES):
    count = len(inputs)
    record = DatasetRecord(
        name="d", digest="sha256:" + "d" * 64, data_digest="sha256:" + "e" * 64, rows=count,
        classes=tuple(f"c{i}" for i in range(classes)), labels=np.zeros(count, np.int64), cluster_column=None,
        cluster=np.arange(count), columns={},
    )  # fmt: skip
    return DatasetPart("test", inputs, record)


def meter_of(device, driver, **parameters):
    spec = MeterSpec(driver, POWERS | parameters)
    return open_meter(spec, Watched(device.cpu_time_ns, device.process_id()))


class TestObtained:
    @pytest.mark.parametrize(
        ("emulated", "also", "expected"),
        [
            ((), (), "measured"),
            (("device", "meter", "battery"), (), "emulated"),
            (("processor",), (), "emulated"),
            (("processor (QEMU TCG)",), (), "emulated"),
            (("CPU share",), (), "emulated"),
            (("memory limit",), ("memory",), "emulated"),
            (("memory limit",), ("clock",), "measured"),
            (("meter", "battery"), (), "measured"),
        ],
    )
    def test_which_part_touches_which_figure(self, emulated, also, expected):
        assert obtained_on(emulated, *also) == expected

    def test_the_weaker_origin_wins(self):
        assert weakest("measured", "emulated") == "emulated"
        assert weakest("estimated", "emulated") == "estimated"
        assert weakest("measured", "measured") == "measured"


class TestLatency:
    def test_a_record(self, device):
        told = []
        digest = device.deploy(kits.linear())
        plan = dataclasses.replace(PLAN, latency_min_s=0.5)
        record = measure_latency(device, SPEC, digest, kits.rows(), plan, lambda *each: told.append(each))
        assert record.variant_digest == digest
        assert len(record.samples_ns) >= plan.latency_inferences
        assert 0 <= record.warmup_count <= len(record.samples_ns) / 2
        assert "White" in record.warmup_method
        assert record.obtained == "measured"
        assert record.threads == SPEC.threads
        assert record.load_ns > 0
        assert record.first_run_ns > 0
        assert record.before.utc < record.after.utc
        assert told

    @pytest.mark.parametrize("change", [{"timing_is_real": False}, {"emulated": ("device",)}])
    def test_on_an_emulated_device_it_says_so(self, change):
        spec = kits.device_spec(**change)
        device = open_device(spec)
        try:
            record = measure_latency(device, spec, device.deploy(kits.linear()), kits.rows(), PLAN)
        finally:
            device.close()
        assert record.obtained == "emulated"


class TestMemory:
    def test_a_record(self, device):
        record = measure_memory(device, SPEC, device.deploy(kits.heavy(4 << 20)), kits.rows(), PLAN)
        assert record is not None
        assert record.peak_bytes.shape == record.steady_bytes.shape == (2,)
        assert (record.peak_bytes > 4 << 20).all()
        assert record.baseline_bytes > 0
        assert record.obtained == "measured"

    @pytest.mark.skipif(not shutil.which("qemu-x86_64-static"), reason="needs qemu-x86_64-static")
    def test_an_emulated_processor_has_no_method_and_every_figure_says_emulated(self):
        spec = kits.device_spec(
            wrapper=("qemu-x86_64-static", "-cpu", "Haswell"),
            timeout_s=60.0,
            emulated=("processor",),
            timing_is_real=False,
        )
        device = open_device(spec)
        try:
            digest = device.deploy(kits.linear())
            assert device.identify().emulated == ("processor",)
            assert measure_memory(device, spec, digest, kits.rows(), PLAN) is None
            assert measure_latency(device, spec, digest, kits.rows(), PLAN).obtained == "emulated"
            predicted = predict_part(device, digest, part(kits.rows(10)), output=None, exact=False, spec=spec)
            assert predicted.obtained == "emulated"
        finally:
            device.close()


class TestPredictions:
    @pytest.mark.parametrize("exact", [False, True])
    def test_a_record(self, device, exact):
        inputs = kits.rows(200)
        digest = device.deploy(kits.linear())
        record = predict_part(device, digest, part(inputs), output=None, exact=exact, spec=SPEC)
        np.testing.assert_array_equal(record.decisions, (inputs @ kits.weights()).argmax(axis=1))
        assert record.scores.shape == (200, kits.CLASSES)
        assert record.decisions.dtype == np.int64
        assert record.arithmetic == ("exact" if exact else "default")
        assert (record.model_digest, record.data_digest, record.where) == (digest, "sha256:" + "e" * 64, "local")
        assert record.obtained == "measured"

    def test_scores_that_are_not_finite_name_the_row(self, device):
        inputs = np.abs(kits.rows(30)) + 1
        inputs[17] = 0
        inputs[23] = -1
        with pytest.raises(MeasurementError, match="2 rows have scores that are not finite, first row 17"):
            predict_part(device, device.deploy(kits.logarithm()), part(inputs), output=None, exact=False, spec=SPEC)

    def test_another_number_of_classes(self, device):
        with pytest.raises(MeasurementError, match="gives 3 scores a row, the dataset has 5 classes") as caught:
            predict_part(
                device, device.deploy(kits.linear()), part(kits.rows(), 5), output=None, exact=False, spec=SPEC
            )
        assert caught.value.next_step


class TestEnergy:
    @pytest.mark.parametrize(
        ("driver", "obtained", "traces"), [("estimate", "estimated", 14), ("emulated", "emulated", 2)]
    )
    def test_a_record(self, device, driver, obtained, traces):
        digest, meter = device.deploy(kits.linear()), meter_of(device, driver)
        record = measure_energy(device, meter, digest, kits.rows(), PLAN)
        meter.close()
        assert record.obtained == record.meter.obtained == obtained
        assert record.window_energy_j.shape == record.window_s.shape == record.window_inferences.shape == (4,)
        assert (record.window_inferences > 10).all()
        assert (record.window_s >= 0.1).all()
        # between idle all the time and one core all the time, with the emulated meter's 1 % and noise
        power_w = record.window_energy_j / record.window_s
        assert (power_w > 0.05 * 0.95).all()
        assert (power_w < 0.45 * 1.05).all()
        assert 0.05 * 0.95 < record.idle_power_w < 0.1  # a busy machine's agent may still be at its last answer
        assert len(record.trace_t_ns) == len(record.trace_power_w)
        assert (np.diff(record.trace_t_ns) > 0).all()
        assert np.isnan(record.trace_power_w).sum() == traces
        assert 0 <= record.meter.parameters["lost_samples_share"] < 1
        assert 0 < record.meter.parameters["alignment_error_share"] < 0.2

    def test_energy_is_that_of_the_cpu_time_used(self, device):
        """With an ideal meter, gross energy is idle power times time plus active power times CPU time."""
        digest = device.deploy(kits.linear())
        meter = meter_of(device, "emulated", accuracy_share=0.0, noise_w=0.0, resolution_w=0.0, sample_rate_hz=500.0)
        cpu_ns, run_busy = [], device.run_busy

        class Watched:
            """The same device, noting the CPU time of each window as the agent itself counts it."""

            def __getattr__(self, name):
                return getattr(device, name)

            def run_busy(self, *arguments, **named):
                window = run_busy(*arguments, **named)
                cpu_ns.append(window.cpu_ns)
                return window

        record = measure_energy(Watched(), meter, digest, kits.rows(), PLAN)
        meter.close()
        expected_j = 0.05 * record.window_s + 0.4 * np.array(cpu_ns[1:]) / 1e9
        np.testing.assert_allclose(record.window_energy_j, expected_j, rtol=0.1, atol=0.4 * 0.01)  # a kernel's tick

    def test_an_estimate_on_an_emulated_device_stays_an_estimate(self):
        device = open_device(kits.device_spec(emulated=("device",)))
        try:
            digest = device.deploy(kits.linear())
            record = measure_energy(device, meter_of(device, "estimate"), digest, kits.rows(), PLAN)
        finally:
            device.close()
        assert record.obtained == "estimated"
