"""Put a model on a device: only what is not there yet, and an account of what it took."""

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from kit.device import open_device
from kit.device.base import Progress
from kit.digest import digest_bytes
from kit.errors import DeviceError
from kit.model.load import load_onnx
from kit.pipeline.checks import check_is_onnx, check_runs_models
from kit.pipeline.identify import link_health
from kit.records import DeviceRecord, ModelRecord
from kit.spec.types import DeviceSpec


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model that is on a device, verified there by its digest.

    `had_bytes` of it were there before (all of them: nothing was sent). `line_bytes` is all that was sent over the
    link, framing and requests included, after compression; None for a link that does not count.
    """

    device: DeviceRecord
    model: ModelRecord
    had_bytes: int
    line_bytes: int | None
    duration_s: float

    @property
    def sent_bytes(self) -> int:
        """Bytes of the model that this deployment brought there."""
        return self.model.size_bytes - self.had_bytes


def deploy(path: Path, spec: DeviceSpec, progress: Progress | None = None) -> Deployment:
    """Check the ONNX model at `path` and put it on the device; `progress` is told (bytes there, size).

    Raises:
        UsageError: a board that runs its own firmware, or a model that would have to be converted.
        ModelError: no ONNX model, or one that is malformed, unsafe or unsupported; nothing is opened then.
        DeviceError, LinkError: the device does not answer, refuses, or has no room.
    """
    check_runs_models(spec)
    check_is_onnx(path)
    model = load_onnx(path)
    seen = _First(progress)
    with closing(open_device(spec)) as device:
        before = link_health(device)
        started_s = time.monotonic()
        digest = device.deploy(model.data, seen)
        duration_s = time.monotonic() - started_s
        after = link_health(device)
        record = device.identify()
    if digest != digest_bytes(model.data):
        raise DeviceError(f"the device has verified another model, {digest[:80]}", where=f"device {spec.name}")
    line_bytes = None if before is None or after is None else after.sent_bytes - before.sent_bytes
    return Deployment(record, model.record, seen.had_bytes, line_bytes, duration_s)


class _First:
    """Passes progress on, and keeps what was there when it was first told."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._is_first, self.had_bytes = progress, True, 0

    def __call__(self, done: int, total: int) -> None:
        if self._is_first:
            self._is_first, self.had_bytes = False, done
        if self._progress is not None:
            self._progress(done, total)
