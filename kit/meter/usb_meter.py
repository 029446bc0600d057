"""USB meters UM24C, UM25C and UM34C (RDTech): voltage and current at the plug, asked for five times a second.

The fields of the 130 bytes are as in libsigrok's rdtech-um driver and its users' notes. Their figures are of one
moment: a load that changes between two of them is not seen, and the sampling uncertainty says so.
"""

import threading
import time
from dataclasses import dataclass

import numpy as np

from kit.errors import MeasurementError
from kit.meter import instrument
from kit.meter.base import PowerTrace, Watched
from kit.meter.port import MeterPort
from kit.records import MeterRecord
from kit.spec.types import MeterSpec

BAUD = 9600
_REQUEST, _LENGTH, _PERIOD_S, _ANSWER_S, _LATE_S = b"\xf0", 130, 0.2, 1.0, 1.0
_MOST_READINGS = 1_000_000
_XOR: list[int] = [1, 3, 7, 9, 15, 17, 19, 23, 31, 39, 41, 45, 49, 53, 55, 57, 59, 63, 67, 69, 73, 79, 83, 89, 97, 99]
_XOR += [109, 111, 113, 119, 121, 127]


@dataclass(frozen=True, slots=True)
class Model:
    """A model's name, and its steps in V and A."""

    name: str
    volt: float
    ampere: float


MODELS = {
    0x0963: Model("UM24C", 0.01, 0.001),
    0x09C9: Model("UM25C", 0.001, 0.0001),
    0x0D4C: Model("UM34C", 0.01, 0.001),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer: the accumulators are of the group that is shown, in mAh and mWh."""

    model: Model
    voltage_v: float
    current_a: float
    power_w: float
    group: int
    charge_mah: int
    energy_mwh: int


def parse(answer: bytes) -> Reading | None:
    """Of 130 bytes; None if they are not one undamaged answer."""
    if len(answer) != _LENGTH or not (model := MODELS.get(_word(answer, 0))) or not _is_whole(model, answer):
        return None
    group = _word(answer, 14)
    if group > 9:
        return None
    accumulators = 16 + 8 * group
    return Reading(
        model,
        _word(answer, 2) * model.volt,
        _word(answer, 4) * model.ampere,
        int.from_bytes(answer[6:10], "big") / 1000,
        group,
        int.from_bytes(answer[accumulators : accumulators + 4], "big"),
        int.from_bytes(answer[accumulators + 4 : accumulators + 8], "big"),
    )


def _is_whole(model: Model, answer: bytes) -> bool:
    """UM24C and UM25C end in FFF1; UM34C in the exclusive or of some of its bytes."""
    if model.name != "UM34C":
        return answer[-2:] == b"\xff\xf1"
    found = 0
    for place in _XOR:
        found ^= answer[place]
    return found == answer[-1]


def _word(answer: bytes, at: int) -> int:
    return int.from_bytes(answer[at : at + 2], "big")


class UsbMeter:
    """Words: port. Parameters: accuracy, offset and resolution as the device file states them."""

    def __init__(self, spec: MeterSpec, watched: Watched) -> None:
        del watched
        instrument.numbers_of(spec, (), ())
        self._spec, self._thread = spec, None
        self._port = MeterPort(instrument.port_of(spec), BAUD, "meter usb-meter")
        self._found: dict[str, float] = {}
        try:
            self._model = self._recognised()
        except BaseException:
            self._port.close()
            raise

    _thread: threading.Thread | None

    def describe(self) -> MeterRecord:
        """See Meter; after a run, the energy by the meter's own accumulator too, in steps of 1 mWh."""
        is_emulated = self._port.is_emulated
        words = f"{'emulated ' if is_emulated else ''}{self._model.name} USB meter, 5 readings a second"
        parameters = {"sample_rate_hz": 1 / _PERIOD_S} | self._found
        accuracy = instrument.accuracy_of(self._spec, None, self._model.ampere * 5)
        return MeterRecord("usb-meter", "emulated" if is_emulated else "measured", words, parameters, accuracy)

    def start(self) -> None:
        """See Meter."""
        if self._thread is not None:
            raise MeasurementError("the meter was started before it was stopped", where="meter usb-meter")
        self._port.drain()
        self._halt, self._readings, self._lost, self._ended = threading.Event(), [], 0, ""
        self._holes: list[int] = []
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    _readings: list[tuple[int, int, Reading]]

    def stop(self) -> PowerTrace:
        """See Meter. A reading holds from the one before; its time is half way between request and answer."""
        if self._thread is None:
            raise MeasurementError("the meter was stopped before it was started", where="meter usb-meter")
        self._join()
        if len(self._readings) < 2:
            what = self._ended or "it did not answer twice"
            raise MeasurementError(what, where="meter usb-meter", next_step="measure for a second at least")
        begun, ended, _ = (np.array(column) for column in zip(*self._readings, strict=True))
        readings = [reading for _, _, reading in self._readings]
        t_ns = (begun + ended) // 2
        voltage_v = np.array([reading.voltage_v for reading in readings])
        current_a = np.array([reading.current_a for reading in readings])
        heads = [at for at in self._holes if 0 < at < len(readings)]
        gaps = np.array([(t_ns[at - 1], t_ns[at]) for at in heads], np.int64).reshape(-1, 2)
        power_w = voltage_v * current_a
        for values in (power_w, current_a):
            values[[0, *heads]] = np.nan
        self._found = _accumulated(readings)
        error_ns = int(np.max(ended - begun)) // 2 + 1
        return PowerTrace(t_ns, power_w, self._lost, current_a, voltage_v, None, gaps, error_ns, self._ended)

    def close(self) -> None:
        """See Meter."""
        self._join()
        self._port.close()

    def _recognised(self) -> Model:
        self._port.drain()
        for _ in range(3):
            answer = self._port.ask(_REQUEST, lambda data: len(data) >= _LENGTH, _ANSWER_S)
            if reading := parse(answer[:_LENGTH]):
                return reading.model
            self._port.drain()
        what = "it does not answer as a UM24C, UM25C or UM34C does" if answer else "it does not answer"
        raise MeasurementError(what, where="meter usb-meter", next_step="bind its Bluetooth port, and name that one")

    def _poll(self) -> None:
        """Ask on a fixed grid; a question without an answer is a lost reading, and so is a point of time missed."""
        due_s = time.monotonic()
        while not self._halt.wait(max(0.0, due_s - time.monotonic())) and len(self._readings) < _MOST_READINGS:
            missed = int((time.monotonic() - due_s) / _PERIOD_S)
            due_s += (missed + 1) * _PERIOD_S
            try:
                self._port.drain(quiet_s=0.0)  # what comes late answers no later question
                begun_ns = time.monotonic_ns()
                answer = self._port.ask(_REQUEST, lambda data: len(data) >= _LENGTH, _ANSWER_S, _LENGTH)
                reading = parse(answer)
                if reading is None:
                    self._port.drain(quiet_s=_LATE_S if len(answer) < _LENGTH else 0.03)
            except MeasurementError as error:
                self._ended = error.what
                return
            if reading is None or missed:
                self._lost += missed + (reading is None)
                self._holes = sorted({*self._holes, len(self._readings)})
            if reading is not None:
                self._readings.append((begun_ns, time.monotonic_ns(), reading))
        if not self._halt.is_set():
            self._ended = f"a recording holds {_MOST_READINGS} readings at most"

    def _join(self) -> None:
        if self._thread is not None:
            self._halt.set()
            self._thread.join()
            self._thread = None


def _accumulated(readings: list[Reading]) -> dict[str, float]:
    """What the meter itself added up, where its group stayed the same and was not cleared."""
    first, last = readings[0], readings[-1]
    if first.group != last.group or last.energy_mwh < first.energy_mwh:
        return {}
    charge_mah = last.charge_mah - first.charge_mah
    return {
        "accumulated_energy_j": (last.energy_mwh - first.energy_mwh) * 3.6,
        "accumulated_charge_c": charge_mah * 3.6,
    }
