"""A run's figures are of one device: who it was when the run began is held against who answers now."""

from dataclasses import replace

from kit.errors import UsageError
from kit.records import DeviceRecord


def require_same_device(known: DeviceRecord | None, now: DeviceRecord, name: str) -> None:
    """Raises UsageError if device `name` has changed in more than what changes by the minute."""
    if known is None or _lasting(known) != _lasting(now):
        raise UsageError(
            f"device {name} is not what it was when this run began: hardware or software changed",
            next_step="start a new run: figures of two devices must not be mixed",
        )


def _lasting(device: DeviceRecord) -> DeviceRecord:
    """Who a device is, without what changes by the minute."""
    return replace(device, free_storage_bytes=None, battery=None)
