"""Joulescope JS110 and JS220: current and voltage at 1 to 2 MS/s, through the maker's driver (extra `joulescope`).

Checked against pyjoulescope-driver 2.2.12: `device_paths`, `open`, `publish`, `subscribe(topic, "pub", fn)` and
`unsubscribe(topic, fn)` of `Driver`; topics `s/i/range/mode`, `s/{i,v,gpi/N}/ctrl` and `/!data`; a block's `sample_id`
(at `sample_rate`, before `decimate_factor`) and `data`: float32 values, or digital inputs eight to a byte. Not tried
on an instrument.
"""

import threading
import time
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from kit.errors import MeasurementError, MissingExtraError, SpecError
from kit.meter import instrument, timebase
from kit.meter.base import PowerTrace, Watched
from kit.meter.joulescope_blocks import Blocks
from kit.records import MeterRecord, Obtained
from kit.spec.types import MeterSpec

_DEFAULT_HZ, _FIRST_S = 20_000.0, 5.0
_REMOVED, _INPUTS = "@/!remove", (0, 1, 2, 3, 7)


class Driver(Protocol):
    """What is used of `pyjoulescope_driver.Driver`."""

    def device_paths(self) -> list[str]:
        """`u/js220/001122` and the like."""
        ...

    def open(self, device_prefix: str) -> None:
        """With its defaults."""
        ...

    def close(self, device_prefix: str) -> None:
        """Release the device."""
        ...

    def publish(self, topic: str, value: Any) -> None:
        """Set it."""
        ...

    def subscribe(self, topic: str, flags: str, fn: Any) -> None:
        """Call fn(topic, value) from the driver's own thread."""
        ...

    def unsubscribe(self, topic: str, fn: Any) -> None:
        """Stop that."""
        ...

    def finalize(self) -> None:
        """Release the driver."""
        ...


class JoulescopeMeter:
    """Parameters: optional sample_rate_hz (samples are averaged to it, 20 kHz if left out), trigger_line, accuracy.

    Words: serial, where there are several. `driver` is for tests; the maker's is opened where it is None.
    """

    def __init__(self, spec: MeterSpec, watched: Watched, driver: Driver | None = None) -> None:
        del watched
        self._numbers = instrument.numbers_of(spec, (), ("trigger_line", "sample_rate_hz"))
        line = self._numbers.get("trigger_line")
        if line is not None and line not in _INPUTS:
            what, step = f"trigger {line:g} is no input", "its inputs are 0 to 3, and 7 (the trigger connector)"
            raise SpecError(what, where="meter joulescope", next_step=step)
        self._spec, self._is_ours, self._is_open = spec, driver is None, False
        self._driver = _driver() if driver is None else driver
        self._blocks: Blocks | None = None
        self._drift_ppm: float | None = None
        self._signals = ["i", "v"] + ([] if line is None else [f"gpi/{line:.0f}"])
        try:
            self._path = _chosen(self._driver.device_paths(), spec.words.get("serial", ""))
            self._driver.open(self._path)
            self._is_open = True
            self._driver.publish(f"{self._path}/s/i/range/{'select' if 'js110' in self._path else 'mode'}", "auto")
        except BaseException as error:
            self.close()
            raise _told(error) from None

    def describe(self) -> MeterRecord:
        """See Meter; the accuracy is stated by the device file, from the instrument's certificate."""
        parameters = {"sample_rate_hz": self._numbers.get("sample_rate_hz", _DEFAULT_HZ)}
        if "trigger_line" in self._numbers:
            parameters["trigger_line"] = self._numbers["trigger_line"]
        if self._drift_ppm is not None:
            parameters["clock_drift_ppm"] = self._drift_ppm
        _, model, serial = self._path.split("/")
        obtained: Obtained = "measured" if self._is_ours else "emulated"
        words = f"{'' if self._is_ours else 'emulated '}Joulescope {model.upper()} {serial}"
        return MeterRecord("joulescope", obtained, words, parameters, instrument.accuracy_of(self._spec, None))

    def start(self) -> None:
        """See Meter; returns when blocks of every signal have come."""
        if self._blocks is not None:
            raise MeasurementError("the meter was started before it was stopped", where="meter joulescope")
        wanted_hz = self._numbers.get("sample_rate_hz", _DEFAULT_HZ)
        self._first, self._ended = threading.Event(), ""
        self._blocks, self._sent_ns = Blocks(wanted_hz, len(self._signals) > 2), time.monotonic_ns()
        self._handlers: dict[str, Any] = {f"{self._path}/s/{name}/!data": self._on_block for name in self._signals}
        self._handlers[_REMOVED] = self._on_removed  # kept: to unsubscribe takes the very same object
        for topic, handler in self._handlers.items():
            self._driver.subscribe(topic, "pub", handler)
        self._control(1)
        if not self._first.wait(_FIRST_S):
            self._end()
            raise MeasurementError("it sends no samples", where="meter joulescope", next_step="unplug it, plug it in")

    def stop(self) -> PowerTrace:
        """See Meter. Skipped sample ids are counted; a group of samples with one missing is left out whole."""
        if self._blocks is None:
            raise MeasurementError("the meter was stopped before it was started", where="meter joulescope")
        blocks = self._end()
        if blocks.wrong:
            raise MeasurementError(blocks.wrong, where="meter joulescope", next_step="state another sample_rate")
        samples = blocks.samples()
        if len(samples.current_a) < 2:
            raise MeasurementError(self._ended or "it sent too few samples", where="meter joulescope")
        arrivals = np.array(blocks.arrivals, np.int64)
        base = timebase.fit(arrivals[:, 0], arrivals[:, 1] / blocks.group, blocks.rate_hz / blocks.group, self._sent_ns)
        self._drift_ppm = base.drift_ppm
        first = blocks.first_group + 1 - 1 / blocks.group  # a group is told at its last sample
        shifted = replace(base, start_ns=base.start_ns + first * base.period_ns)
        trace = instrument.lay_out(samples, shifted, ended=self._ended or blocks.ended)
        return replace(trace, lost_samples=blocks.lost)

    def close(self) -> None:
        """See Meter."""
        if self._blocks is not None:
            self._end()
        if self._is_open:
            self._is_open = False
            _quietly(self._driver.close, self._path)
        if self._is_ours:
            _quietly(self._driver.finalize)

    def _on_block(self, topic: str, value: Any) -> None:
        blocks = self._blocks
        if blocks is not None:
            blocks.feed(topic.rsplit("/s/", 1)[1].removesuffix("/!data"), value, time.monotonic_ns())
            if blocks.arrivals or blocks.wrong:
                self._first.set()

    def _on_removed(self, topic: str, value: Any) -> None:
        del topic
        if value == self._path:
            self._ended = "the meter was unplugged"
            self._first.set()

    def _control(self, value: int) -> None:
        for name in self._signals:
            self._driver.publish(f"{self._path}/s/{name}/ctrl", value)

    def _end(self) -> Blocks:
        """No more blocks; works where the device is gone too."""
        blocks, self._blocks = self._blocks, None
        assert blocks is not None
        _quietly(self._control, 0)
        for topic, handler in self._handlers.items():
            _quietly(self._driver.unsubscribe, topic, handler)
        return blocks


def _quietly(do: Any, *values: Any) -> None:
    """For what may fail once a device is gone, of whatever class the driver raises."""
    try:
        do(*values)
    except Exception:
        return


def _driver() -> Driver:
    try:
        from pyjoulescope_driver import Driver as Maker
    except ImportError:
        step = 'pip install "edgeproof[joulescope]"'
        raise MissingExtraError("it needs pyjoulescope-driver", where="meter joulescope", next_step=step) from None
    found: Driver = Maker()
    return found


def _chosen(paths: list[str], serial: str) -> str:
    """The one with that serial number, or the only one."""
    known = ", ".join(path.rsplit("/", 1)[-1] for path in paths)
    if not paths:
        raise MeasurementError("there is no Joulescope", where="meter joulescope", next_step="plug it in")
    matching = [path for path in paths if serial in ("", path.rsplit("/", 1)[-1])]
    if len(matching) != 1:
        what = f"there is none with serial {serial!r}" if serial else "there are several"
        raise SpecError(what, where="meter joulescope", next_step=f"state serial, one of {known}")
    return matching[0]


def _told(error: BaseException) -> BaseException:
    """What the driver raised, as a meter's error."""
    if isinstance(error, (MeasurementError, SpecError)) or not isinstance(error, Exception):
        return error
    line = " ".join(str(error).split())[:160]
    return MeasurementError(f"the driver says: {line}", where="meter joulescope", next_step="unplug it, plug it in")
