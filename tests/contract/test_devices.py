"""What every driver must do alike that takes models and rows. A new one adds a row to OPENERS, or says why not."""

import importlib
import inspect

import numpy as np
import pytest

from kit.device import DRIVERS, Device, open_device
from kit.digest import digest_bytes
from kit.errors import DeviceError, LinkError
from tests import device_kit as kits

OPENERS = {"agent": lambda: open_device(kits.device_spec())}
ELSEWHERE = {"mlperf-tiny"}
"""Drivers of boards whose firmware has one model built in, so that none can be put there: see tests/device."""


def test_every_registered_driver_is_here():
    assert set(OPENERS) | ELSEWHERE == set(DRIVERS)


def test_every_driver_has_what_a_device_has():
    """Whatever it answers: the Protocol's methods, taken by the same names."""
    for place in DRIVERS.values():
        module, name = place.split(":")
        driver = getattr(importlib.import_module(module), name)
        for method in (each for each in vars(Device) if not each.startswith("_")):
            wanted = set(inspect.signature(getattr(Device, method)).parameters)
            assert wanted <= set(inspect.signature(getattr(driver, method)).parameters), f"{name}.{method}"


@pytest.fixture(scope="module", params=sorted(OPENERS))
def device(request):
    opened = OPENERS[request.param]()
    yield opened
    opened.close()


@pytest.fixture
def deployed(device):
    return device.deploy(kits.linear())


def test_it_is_a_device(device):
    assert isinstance(device, Device)


def test_it_says_who_it_is_and_how_it_is(device):
    who = device.identify()
    assert who == device.identify()
    assert who.name
    assert who.link
    assert who.runtime_version
    assert who.logical_cpus >= 1
    assert device.conditions().utc <= device.conditions().utc


def test_models_are_named_by_their_digest(device):
    model = kits.linear(seed=3)
    assert device.deploy(model) == device.deploy(model) == digest_bytes(model)


@pytest.mark.parametrize("exact", [False, True])
def test_predictions_are_float32_rows_by_classes(device, deployed, exact):
    scores = device.predict(deployed, kits.rows(7), output=None, exact=exact)
    assert scores.dtype == np.float32
    assert scores.shape == (7, kits.CLASSES)
    np.testing.assert_allclose(scores, kits.rows(7) @ kits.weights(), rtol=1e-4, atol=1e-5)


def test_predictions_repeat(device, deployed):
    first, second = (device.predict(deployed, kits.rows(7), output=None, exact=False) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_timing_gives_positive_int64_samples_in_number(device, deployed):
    timed = device.time_inferences(deployed, kits.rows(4), count=25, min_s=0)
    assert timed.samples_ns.dtype == np.int64
    assert len(timed.samples_ns) >= 25
    assert (timed.samples_ns >= 0).all()
    assert timed.clock


def test_memory_is_by_session_or_none(device, deployed):
    samples = device.measure_memory(deployed, kits.rows(1), sessions=2)
    assert samples is None or (len(samples.peak_bytes) == 2 and samples.method)


def test_a_busy_window_lasts_as_asked(device, deployed):
    window = device.run_busy(deployed, kits.rows(4), duration_s=0.1)
    assert window.end_ns - window.start_ns >= 0.1e9
    assert window.inferences > 0
    assert device.run_busy(deployed, kits.rows(4), duration_s=0).inferences == 0


def test_clocks_have_an_error_bound(device):
    (first_ns, first_error_ns), (second_ns, second_error_ns) = device.clock_offset_ns(), device.clock_offset_ns()
    assert first_error_ns > 0
    assert abs(first_ns - second_ns) <= first_error_ns + second_error_ns


def test_cpu_time_never_falls(device):
    assert 0 < device.cpu_time_ns() <= device.cpu_time_ns()


def test_an_unknown_digest_is_a_refusal_and_no_failure(device, deployed):
    for request in (
        lambda digest: device.predict(digest, kits.rows(1), output=None, exact=False),
        lambda digest: device.time_inferences(digest, kits.rows(1), count=1, min_s=0),
        lambda digest: device.run_busy(digest, kits.rows(1), duration_s=0),
        lambda digest: device.measure_memory(digest, kits.rows(1), sessions=1),
    ):
        with pytest.raises(DeviceError) as caught:
            request("sha256:" + "1" * 64)
        assert not isinstance(caught.value, LinkError)
        assert caught.value.where
        assert caught.value.next_step
    assert device.predict(deployed, kits.rows(1), output=None, exact=False).shape == (1, kits.CLASSES)


def test_rows_that_do_not_fit_are_refused_with_both_shapes(device, deployed):
    with pytest.raises(DeviceError, match=r"\[rows, 12\].*\[3\]"):
        device.predict(deployed, np.zeros((2, 3), np.float32), output=None, exact=False)


@pytest.mark.parametrize("name", sorted(OPENERS))
def test_closed_is_closed(name):
    opened = OPENERS[name]()
    opened.close()
    opened.close()
    with pytest.raises(LinkError):
        opened.conditions()
