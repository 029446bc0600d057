"""Memory records from a real agent, from an old one that knows no phases, and from one that lies."""

from dataclasses import fields

import numpy as np
import pytest

from kit.device import open_device
from kit.device.base import MemorySamples
from kit.errors import EdgeproofError
from kit.measure import measure_memory
from kit.records import MemoryRecord
from kit.spec.types import MeasurePlan
from tests import device_kit as kits

MB = 1_000_000
PLAN = MeasurePlan(memory_sessions=2)
PHASES = ("load_peak_bytes", "first_run_peak_bytes", "steady_proportional_bytes", "arena_bytes")


def test_a_record_holds_every_phase_and_the_file_s_sizes():
    spec = kits.device_spec()
    device = open_device(spec)
    try:
        digest = device.deploy(kits.heavy(20 * MB))
        record = measure_memory(device, spec, digest, kits.rows(), PLAN, model_bytes=20 * MB + 9, weight_bytes=20 * MB)
    finally:
        device.close()
    assert isinstance(record, MemoryRecord)
    assert (record.model_bytes, record.weight_bytes) == (20 * MB + 9, 20 * MB)
    for name in ("peak_bytes", "steady_bytes", *PHASES):
        values = getattr(record, name)
        assert values.dtype == np.int64, name
        assert values.shape == (2,), name
        # a proportional set moves with whoever else opens the same libraries
        assert (values > (8 if "proportional" in name else 20) * MB).all(), name
    assert (record.load_peak_bytes > 39 * MB).all()
    assert (record.load_peak_bytes <= record.peak_bytes).all()
    for words in ("clear_refs", "Pss", "mem_arena_held", "MALLOC_MMAP_THRESHOLD_=65536"):
        assert words in record.method


def reply(monkeypatch, fields_told, parts):
    """What the host makes of an agent's reply: a real agent, whose own answer is changed on its way."""
    from kit.device.conversation import Conversation
    from kit.wire import Message

    request = Conversation.request

    def changed(self, kind, *args, **kwargs):
        if kind != "memory":
            return request(self, kind, *args, **kwargs)
        return Message("memory", {"method": "VmHWM", "baseline_bytes": 1} | fields_told, parts)

    monkeypatch.setattr(Conversation, "request", changed)
    device = open_device(kits.device_spec())
    try:
        return device.measure_memory("sha256:0", kits.rows(), sessions=2)
    finally:
        device.close()


TWO = np.array([5, 6], np.int64)


def test_an_old_agent_tells_peak_and_steady_alone(monkeypatch):
    samples = reply(monkeypatch, {}, [TWO, TWO - 1])
    assert isinstance(samples, MemorySamples)
    assert samples.peak_bytes.tolist() == [5, 6]
    assert samples.steady_bytes.tolist() == [4, 5]
    assert all(getattr(samples, name) is None for name in PHASES)


def test_a_newer_agent_s_further_figures_are_skipped_in_their_place(monkeypatch):
    samples = reply(monkeypatch, {"more": ["swap_bytes", "arena_bytes"]}, [TWO, TWO, TWO + 100, TWO + 7])
    assert samples.arena_bytes.tolist() == [12, 13]
    assert "swap_bytes" not in {each.name for each in fields(samples)}


@pytest.mark.parametrize(
    ("told", "parts"),
    [
        ({"more": "arena_bytes"}, [TWO, TWO, TWO]),
        ({"more": ["arena_bytes"]}, [TWO, TWO]),
        ({"more": ["arena_bytes"]}, [TWO, TWO, TWO[:1]]),
        ({"more": ["arena_bytes"]}, [TWO, TWO, -TWO]),
        ({"more": ["arena_bytes"]}, [TWO, TWO, TWO.astype(np.float64)]),
        ({"more": ["arena_bytes"]}, [TWO, TWO, b"blob"]),
        ({"more": ["arena_bytes"] * 99}, [TWO, TWO, TWO]),
        ({"more": [7]}, [TWO, TWO, TWO]),
        ({}, [TWO]),
        ({}, [TWO, TWO[:1]]),
        ({"baseline_bytes": "many"}, [TWO, TWO]),
        ({"method": 7}, [TWO, TWO]),
    ],
)
def test_a_reply_that_is_none_is_refused(monkeypatch, told, parts):
    with pytest.raises(EdgeproofError) as caught:
        reply(monkeypatch, told, parts)
    assert caught.value.exit_code == 4
