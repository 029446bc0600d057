"""Nordic Power Profiler Kit II: current at 100 kS/s with eight digital inputs, over a USB serial port."""

import bisect
from dataclasses import replace

import numpy as np

from kit.errors import MeasurementError, SpecError
from kit.meter import instrument, timebase
from kit.meter.base import PowerTrace, Watched
from kit.meter.instrument import Samples
from kit.meter.port import MeterPort, Recording
from kit.meter.ppk2_samples import COUNTS, EVERY_VALUE, RATE_HZ, Calibration, Decoder, parse_calibration
from kit.records import Float64Array, MeterRecord
from kit.spec.types import MeterSpec

_BAUD = 115_200  # any will do: there is no line behind the USB port
_CALIBRATION, _MODE, _VOLTAGE, _POWER, _START, _STOP = b"\x19", b"\x11", b"\x0d", b"\x0c", b"\x06", b"\x07"
_MODES = {"ampere": b"\x01", "source": b"\x02"}
_LEAST_V, _MOST_V, _ANSWER_S, _BLOCK = 0.8, 5.0, 2.0, 1 << 18


class Ppk2Meter:
    """Parameters: voltage_v; optional trigger_line (0 to 7), sample_rate_hz (samples averaged to it), and accuracy.

    Words: port; mode `ampere` (default: the device has its own supply, of voltage_v) or `source` (the PPK2 supplies
    it). Power is current times voltage_v, which the PPK2 sets or is told, and never measures.
    """

    def __init__(self, spec: MeterSpec, watched: Watched) -> None:
        del watched
        numbers = instrument.numbers_of(spec, ("voltage_v",), ("trigger_line", "sample_rate_hz"))
        self._spec, self._mode = spec, instrument.word_of(spec, "mode", tuple(_MODES))
        self._voltage_v, self._line = numbers["voltage_v"], numbers.get("trigger_line")
        _check(self._voltage_v, self._line)
        self._group = instrument.group_of(spec, RATE_HZ)
        self._port = MeterPort(instrument.port_of(spec), _BAUD, "meter ppk2")
        self._top, self._drift_ppm = -1, None
        try:
            self._calibration = self._prepare()
        except BaseException:
            self._port.close()
            raise

    _drift_ppm: float | None

    def describe(self) -> MeterRecord:
        """See Meter; the accuracy is stated by the device file or not at all, as the maker's depends on the unit."""
        parameters = {"voltage_v": self._voltage_v, "sample_rate_hz": RATE_HZ / self._group}
        if self._line is not None:
            parameters["trigger_line"] = self._line
        if self._drift_ppm is not None:
            parameters["clock_drift_ppm"] = self._drift_ppm
        step_w = self._calibration.resolution_a(max(self._top, 0)) * self._voltage_v
        accuracy = instrument.accuracy_of(self._spec, None, step_w)
        is_emulated = self._port.is_emulated
        words = f"{'emulated ' if is_emulated else ''}Nordic PPK2, {self._mode} mode, {_said(self._calibration)}"
        return MeterRecord("ppk2", "emulated" if is_emulated else "measured", words, parameters, accuracy)

    def start(self) -> None:
        """See Meter."""
        if self._port.is_recording:
            raise MeasurementError("the meter was started before it was stopped", where="meter ppk2")
        self._port.drain()
        self._ask_calibration()  # once it is here, everything before has been obeyed
        self._port.start(_START)

    def stop(self) -> PowerTrace:
        """See Meter. Lost samples are told by the counter and, in multiples of 64, by the time that is missing."""
        recording = self._port.stop(_STOP)
        samples, read_index = self._decoded(recording)
        if len(samples.current_a) < 2:
            what = recording.ended or "it sent no samples"
            raise MeasurementError(what, where="meter ppk2", next_step="unplug it, plug it in, and run again")
        index = read_index + instrument.lost_until(samples.losses, read_index)
        for read, lost in timebase.unseen_losses(recording.arrivals[:, 0], index, RATE_HZ, COUNTS):
            _add_loss(samples.losses, int(read_index[read]) + 1, lost)
        index = read_index + instrument.lost_until(samples.losses, read_index)
        base = timebase.fit(recording.arrivals[:, 0], index, RATE_HZ, recording.sent_ns)
        self._drift_ppm = base.drift_ppm
        trace = instrument.lay_out(samples, base, group=self._group)
        return replace(trace, ended=recording.ended_at(int(trace.t_ns[-1]), base.period_ns * self._group))

    def close(self) -> None:
        """See Meter; in source mode the device's supply is turned off."""
        if self._port.is_open and self._mode == "source":
            self._port.try_send(_STOP + _POWER + b"\x00")
        self._port.close()

    def _prepare(self) -> Calibration:
        """Stop what an earlier program left running, read the calibration, and choose mode and voltage."""
        self._port.send(_STOP)
        self._port.drain()
        answer = self._ask_calibration()
        calibration = parse_calibration(answer)
        if b"END" not in answer or len(calibration.absent) == EVERY_VALUE:
            what = "it does not answer as a PPK2 does" if answer else "it does not answer"
            raise MeasurementError(
                what, where="meter ppk2", next_step="check that `port` is the PPK2's, and its switch"
            )
        millivolts = round(self._voltage_v * 1000)
        self._port.send(_MODE + _MODES[self._mode] + _VOLTAGE + millivolts.to_bytes(2, "big") + _POWER + b"\x01")
        self._ask_calibration()
        return calibration

    def _ask_calibration(self) -> bytes:
        return self._port.ask(_CALIBRATION, lambda data: b"END" in data, _ANSWER_S)

    def _decoded(self, recording: Recording) -> tuple[Samples, Float64Array]:
        """Samples as they came, and for each read the number of the last sample in it."""
        decoder, view = Decoder(self._calibration, self._voltage_v), memoryview(recording.data)
        count = len(view) // 4 + 1
        current_a, bits = np.empty(count), np.empty(count, np.uint8)
        losses, pieces, filled = list[tuple[int, int]](), list[tuple[int, int]](), 0
        for at in range(0, len(view), _BLOCK):
            block = decoder.feed(view[at : at + _BLOCK], last=at + _BLOCK >= len(view))
            size = len(block.current_a)
            current_a[filled : filled + size], bits[filled : filled + size] = block.current_a, block.bits
            losses += block.losses
            pieces += block.pieces
            filled += size
            self._top = max(self._top, block.top)
        taken = bits[:filled] if self._line is not None else None
        return Samples(current_a[:filled], self._voltage_v, taken, losses), _index(recording, pieces, filled)


def _index(recording: Recording, pieces: list[tuple[int, int]], count: int) -> Float64Array:
    """Number of the last whole sample of each read, by where in the bytes each run of samples begins."""
    starts = np.array(pieces or [(0, 0)], np.int64)
    until = recording.arrivals[:, 1]
    piece = np.maximum(np.searchsorted(starts[:, 0], until, "right") - 1, 0)
    whole = starts[piece, 1] + np.maximum((until - starts[piece, 0]) // 4, 0)
    most = np.append(starts[1:, 1], count)[piece]
    last: Float64Array = (np.minimum(whole, most) - 1).astype(np.float64)
    return last


def _add_loss(losses: list[tuple[int, int]], at: int, lost: int) -> None:
    """In order; where the counter saw one near, it is the same loss."""
    place = bisect.bisect(losses, (at, 0))
    for near in (place - 1, place):
        if 0 <= near < len(losses) and abs(losses[near][0] - at) <= _NEAR:
            losses[near] = (losses[near][0], losses[near][1] + lost)
            return
    losses.insert(place, (at, lost))


_NEAR = 2000
"""Samples, 20 ms: how near a loss that the clock tells is to one that the counter tells to be the same."""


def _check(voltage_v: float, line: float | None) -> None:
    if not _LEAST_V <= voltage_v <= _MOST_V:
        what = f"voltage of {voltage_v:g} V is not from {_LEAST_V:g} V to {_MOST_V:g} V"
        raise SpecError(what, where="meter ppk2", next_step="state the voltage that the device runs at")
    if line is not None and line not in range(8):
        raise SpecError(
            f"trigger {line:g} is no input", where="meter ppk2", next_step="its inputs are 0 to 7 (D0 to D7)"
        )


def _said(calibration: Calibration) -> str:
    """What there is to say about the calibration."""
    if calibration.absent:
        return f"calibration incomplete: the maker's values for {', '.join(calibration.absent)}"
    return "its own calibration" if calibration.facts.get("Calibrated") != "0" else "not calibrated by its maker"
