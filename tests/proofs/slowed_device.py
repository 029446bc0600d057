"""A real device that becomes slower while it works: a local agent in a control group whose quota is cut on the way."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from kit.device.base import Device
from kit.device.limits import groups
from kit.measure.warmup import METHOD, warmup_count
from kit.records import LatencyRecord
from tests import device_kit as kits

PERIOD_US, LEAST_QUOTA_US = 10_000, 1000
KEPT_SHARE = 2 / 3
"""Of the processor's time that it had so far, an agent that is held back keeps this: 1.5 times as long for as much."""

PLACE = groups.places_for(["cpu"])["cpu"]
"""Where a control group with a CPU quota can be made here, if anywhere."""

_CHANNELS, _SIDE = 64, 16


def convolutions(layers: int = 30) -> bytes:
    """A model of a few milliseconds that stays in the processor's caches: 3 x 3 convolutions of 64 channels."""
    rng = np.random.default_rng(0)
    pixels = _CHANNELS * _SIDE**2
    kernel = (rng.normal(size=(_CHANNELS, _CHANNELS, 3, 3)) / 24).astype(np.float32)
    constants: dict[str, NDArray[np.generic]] = {
        "spread": rng.normal(size=(kits.FEATURES, pixels)).astype(np.float32),
        "shape": np.array([1, _CHANNELS, _SIDE, _SIDE], np.int64),
        "kernel": kernel,
        "flat": np.array([1, _CHANNELS], np.int64),
        "gather": rng.normal(size=(_CHANNELS, kits.CLASSES)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "spread"], ["wide"]),
        helper.make_node("Reshape", ["wide", "shape"], ["h0"]),
    ]
    for layer in range(layers):
        nodes.append(helper.make_node("Conv", [f"h{layer}", "kernel"], [f"c{layer}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Tanh", [f"c{layer}"], [f"h{layer + 1}"]))
    nodes.append(helper.make_node("GlobalAveragePool", [f"h{layers}"], ["mean"]))
    nodes.append(helper.make_node("Reshape", ["mean", "flat"], ["channels"]))
    nodes.append(helper.make_node("MatMul", ["channels", "gather"], ["scores"]))
    inputs, outputs = [kits.tensor("x", [1, kits.FEATURES])], [kits.tensor("scores", [1, kits.CLASSES])]
    return kits.graph_bytes(nodes, inputs, outputs, constants)


class Throttle:
    """A control group of an agent's own, whose quota `hold` cuts and `release` lifts."""

    def __init__(self, place: groups.Place, process_id: int) -> None:
        self._version, self._process_id, self._is_held = place.version, process_id, False
        self._group = groups.make(place, {})
        (self._group / "cgroup.procs").write_text(str(process_id))

    def start(self) -> None:
        """Begin to see what share of a processor the agent has: on a busy machine it is not all of one."""
        self._began_s, self._used_s = time.monotonic(), self._cpu_s()

    def hold(self) -> None:
        """From now on the agent has two thirds of the share that it had since `start`; a second time does nothing."""
        if self._is_held:
            return
        share = (self._cpu_s() - self._used_s) / (time.monotonic() - self._began_s)
        quota_us = max(LEAST_QUOTA_US, round(KEPT_SHARE * min(share, 1.0) * PERIOD_US))
        self._set(str(quota_us))
        self._is_held = True

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self._process_id}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def release(self) -> None:
        """From now on it may have all."""
        self._set("-1" if self._version == 1 else "max")
        self._is_held = False

    def _set(self, quota_us: str) -> None:
        """Linux, scheduler/sched-bwc.rst and cgroup-v2.rst."""
        if self._version == 2:
            (self._group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
            return
        (self._group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (self._group / "cpu.cfs_quota_us").write_text(quota_us)

    def close(self) -> None:
        """Remove the group, and end what is left in it."""
        groups.remove(self._group)


@contextlib.contextmanager
def throttled_device() -> Iterator[tuple[Device, Throttle, str]]:
    """A local agent that tells its state every 0.1 s, its throttle, and the digest of the model that it has."""
    from kit.device.agent import AgentDevice
    from kit.device.local import open_local

    assert PLACE is not None
    spec = kits.device_spec()
    with contextlib.closing(AgentDevice(lambda: open_local(spec), spec, telemetry_s=0.1)) as device:
        process_id = device.process_id()
        assert process_id is not None
        throttle = Throttle(PLACE, process_id)
        try:
            yield device, throttle, device.deploy(convolutions())
        finally:
            device.close()
            throttle.close()


def timed(device: Device, throttle: Throttle, digest: str, inferences: int, *, slower: bool) -> LatencyRecord:
    """A record of two seconds or more of back-to-back inferences, held back from about the middle on if `slower`."""
    device.telemetry()
    before = device.conditions()
    throttle.start()

    def half(done: int, total: int) -> None:
        if slower and done >= total / 2:
            throttle.hold()

    try:
        samples = device.time_inferences(digest, kits.rows(8), count=inferences, min_s=2.0, progress=half)
    finally:
        throttle.release()
    return LatencyRecord(
        variant_digest=digest, samples_ns=samples.samples_ns, warmup_count=warmup_count(samples.samples_ns),
        warmup_method=METHOD, scenario="single stream", threads=1, clock=samples.clock,
        clock_resolution_ns=samples.clock_resolution_ns, load_ns=samples.load_ns, first_run_ns=samples.first_run_ns,
        before=before, after=device.conditions(), obtained="measured", starts_ns=samples.starts_ns,
        telemetry=tuple(device.telemetry()),
    )  # fmt: skip
