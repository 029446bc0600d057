"""ST X-NUCLEO-LPM01A: supplies the device and measures its current, as text to 10 kHz or binary to 100 kHz."""

import bisect
from dataclasses import replace

import numpy as np

from kit.errors import MeasurementError, SpecError
from kit.meter import instrument, timebase
from kit.meter.base import PowerTrace, Watched
from kit.meter.instrument import Samples
from kit.meter.lpm01a_samples import MOST_DYNAMIC_A, Decoded, assemble, read_ascii, read_binary
from kit.meter.port import MeterPort, Recording
from kit.records import Float64Array, MeterAccuracy, MeterRecord
from kit.spec.types import MeterSpec

BAUD = 3_686_400
RATES_HZ = tuple(digit * 10.0**power for power in range(6) for digit in (1, 2, 5) if digit * 10**power <= 100_000)
"""What `freq` takes (UM2269 rev 6)."""

_MOST_ASCII_HZ = 10_000.0
_MODES = {"dynamic": b"dyn", "static": b"stat"}
_LEAST_V, _MOST_V, _ANSWER_S = 1.8, 3.3, 2.0
_LEAST_UNSEEN_S = 0.02  # delays of a busy host vary by less
_STATIC = MeterAccuracy(0.02, 0.0, 0.0, "UM2243 rev 2, section 9: static current, better than 2 %")


class Lpm01aMeter:
    """Parameters: voltage_v, which it supplies; optional sample_rate_hz (100 kHz if left out), and accuracy.

    Words: port; mode `dynamic` (default, to 10 mA) or `static`. It sends no voltage: power is current times voltage_v.
    """

    def __init__(self, spec: MeterSpec, watched: Watched) -> None:
        del watched
        numbers = instrument.numbers_of(spec, ("voltage_v",), ("sample_rate_hz",))
        self._spec, self._mode = spec, instrument.word_of(spec, "mode", tuple(_MODES))
        self._voltage_v, self._rate_hz = numbers["voltage_v"], numbers.get("sample_rate_hz", RATES_HZ[-1])
        _check(self._voltage_v, self._rate_hz)
        self._is_binary, self._drift_ppm = self._rate_hz > _MOST_ASCII_HZ, None
        self._port = MeterPort(instrument.port_of(spec), BAUD, "meter lpm01a")
        try:
            self._prepare()
        except BaseException:
            self._port.close()
            raise

    _drift_ppm: float | None

    def describe(self) -> MeterRecord:
        """See Meter; the accuracy of the static mode is the maker's, that of the dynamic one the device file's."""
        parameters = {"voltage_v": self._voltage_v, "sample_rate_hz": self._rate_hz}
        if self._drift_ppm is not None:
            parameters["clock_drift_ppm"] = self._drift_ppm
        accuracy = instrument.accuracy_of(self._spec, _STATIC if self._mode == "static" else None)
        is_emulated = self._port.is_emulated
        form = "binary" if self._is_binary else "text"
        words = f"{'emulated ' if is_emulated else ''}ST X-NUCLEO-LPM01A, {self._mode} mode, {form}"
        return MeterRecord("lpm01a", "emulated" if is_emulated else "measured", words, parameters, accuracy)

    def start(self) -> None:
        """See Meter."""
        if self._port.is_recording:
            raise MeasurementError("the meter was started before it was stopped", where="meter lpm01a")
        self._port.drain()
        self._port.start(b"start\n")

    def stop(self) -> PowerTrace:
        """See Meter. What is missing is told by timestamps, by damaged lines or stretches, by
        saturation and, before the first timestamp and after the last, by the time that is missing."""
        recording = self._port.stop(b"stop\n")
        data = _after_acknowledgement(bytes(recording.data))
        skipped = len(recording.data) - len(data)
        until = recording.before_stop - skipped  # what follows answers `stop`
        events = read_binary(data, until) if self._is_binary else read_ascii(data[: max(0, until)])
        most_a = MOST_DYNAMIC_A if self._mode == "dynamic" else np.inf
        found = assemble(events, self._rate_hz, is_binary=self._is_binary, most_a=most_a)
        if len(found.current_a) < 2:
            raise MeasurementError(
                found.ended or recording.ended or "it sent no samples",
                where="meter lpm01a",
                next_step="reset it, run again",
            )
        index = _index(recording, found, skipped, self._rate_hz)
        base = timebase.fit(recording.arrivals[:, 0], index, self._rate_hz, recording.sent_ns)
        self._drift_ppm = base.drift_ppm
        trace = instrument.lay_out(Samples(found.current_a, self._voltage_v, None, found.losses), base)
        return replace(trace, ended=found.ended or recording.ended_at(int(trace.t_ns[-1]), base.period_ns))

    def close(self) -> None:
        """See Meter; the board takes its buttons back, and goes on supplying the device."""
        if self._port.is_open:
            self._port.try_send(b"stop\nhrc\n")
        self._port.close()

    def _prepare(self) -> None:
        """Take control, then every setting, each acknowledged before the next."""
        self._port.send(b"stop\n")
        self._port.drain()
        form = b"bin_hexa" if self._is_binary else b"ascii_dec"
        for command in (
            b"htc", b"volt %dm" % round(self._voltage_v * 1000), b"freq %s" % _said(self._rate_hz), b"acqtime inf",
            b"acqmode " + _MODES[self._mode], b"funcmode high", b"output current", b"format " + form, b"trigsrc sw",
        ):  # fmt: skip
            answer = self._port.ask(command + b"\n", lambda data: b"ack" in data or b"err" in data, _ANSWER_S)
            if b"ack" not in answer:
                what = f"it refuses `{command.decode()}`" if answer else "it does not answer"
                step = "check that `port` is the LPM01A's, and that it is in host mode"
                raise MeasurementError(what, where="meter lpm01a", next_step=step)


def _after_acknowledgement(data: bytes) -> bytes:
    """What follows the line that acknowledges `start`."""
    end = data.find(b"\n", data.find(b"ack start")) if b"ack start" in data[:200] else -1
    return data[end + 1 :]


def _index(recording: Recording, found: Decoded, skipped: int, rate_hz: float) -> Float64Array:
    """Number of the last sample, lost ones counted, that had arrived at each read.

    Adds to `found.losses` what only the clock tells: what was lost where it is not between two timestamps.
    """
    byte, sample = np.array([(0, 0), *found.pieces], np.float64).T
    until = recording.arrivals[:, 1] - skipped
    last: Float64Array = np.floor(np.interp(until, byte, sample)) - 1
    index = last + instrument.lost_until(found.losses, last)
    some = np.flatnonzero(np.diff(last, prepend=-1.0) > 0)  # reads that brought samples
    first_stamp, last_stamp = found.stamped or (np.inf, -np.inf)
    least = int(np.ceil(_LEAST_UNSEEN_S * rate_hz))
    arrival_ns = recording.arrivals[some, 0]
    for read, lost in timebase.unseen_losses(arrival_ns, index[some], rate_hz, 1, least=least, fine=True):
        place = some[read]
        if until[place] <= first_stamp or until[min(place + 1, len(until) - 1)] > last_stamp:
            bisect.insort(found.losses, (int(last[place]) + 1, lost))
    return last + instrument.lost_until(found.losses, last)


def _said(rate_hz: float) -> bytes:
    """As `freq` wants it: 100k, 500, 1."""
    return b"%dk" % (rate_hz / 1000) if rate_hz >= 1000 else b"%d" % rate_hz


def _check(voltage_v: float, rate_hz: float) -> None:
    if not _LEAST_V <= voltage_v <= _MOST_V:
        what = f"voltage of {voltage_v:g} V is not from {_LEAST_V:g} V to {_MOST_V:g} V"
        raise SpecError(what, where="meter lpm01a", next_step="state a voltage that the board can supply")
    if rate_hz not in RATES_HZ:
        known = ", ".join(f"{rate:g}" for rate in RATES_HZ)
        raise SpecError(
            f"it has no rate of {rate_hz:g} Hz", where="meter lpm01a", next_step=f"choose one of {known} Hz"
        )
