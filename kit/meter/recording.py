"""Recorded traces: CSV, JSON and NPZ files of `edgeproof meter record`, and of other tools that name their units."""

import io
import itertools
import json
import os
import stat
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kit.errors import MeasurementError
from kit.meter.columns import Column, column_of, columns_of, in_si, read_table
from kit.meter.series import breaks_of, gaps_at
from kit.records import Float64Array, Int64Array, MeterAccuracy, Obtained
from kit.spec.units import UNITS

MAX_FILE_BYTES = 1 << 30
MOST_W = UNITS["power"].most
_MOST_LOST_PER_S = 1e7  # more samples than any meter here takes
_MAX_LINE = 16 << 20  # our own files have all gaps in one
_DAMAGED: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    ArithmeticError,
    TypeError,
    SyntaxError,
    tokenize.TokenError,
)


@dataclass(frozen=True, slots=True)
class Recording:
    """A trace as a file holds it: t_ns int64 [n] from 0, power_w and the rest float64 [n] (see PowerTrace).

    meter: what recorded it, "" where the file does not say; obtained: "measured" only where it says both.
    """

    t_ns: Int64Array
    power_w: Float64Array
    current_a: Float64Array | None
    voltage_v: Float64Array | None
    trigger: Int64Array | None
    gaps_ns: Int64Array
    lost_samples: int
    meter: str
    obtained: Obtained
    accuracy: MeterAccuracy | None
    ended: str


def read_recording(path: Path, *, voltage_v: float | None = None) -> Recording:
    """A file by its suffix (.csv, .txt, .tsv, .json, .npz); `voltage_v` where it has current alone.

    Raises MeasurementError with the line, or the sample, that is wrong.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        what = f"a trace is {', '.join(_READERS)}, not {path.suffix or 'without a suffix'}"
        raise MeasurementError(what, where=str(path), next_step="name it by what it is")
    try:
        with _opened(path) as stream:
            header, columns = reader(path, stream)
    except OSError as error:
        what = f"the trace cannot be read: {error.strerror}"
        raise MeasurementError(what, where=str(path), next_step="check the path") from None
    return _recording(path, header, columns, voltage_v)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A plain file of at most 1 GiB; opening a pipe does not wait. Raises MeasurementError, OSError."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
        state = os.fstat(stream.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise MeasurementError("it is no plain file", where=str(path), next_step="write the trace to a file first")
        if state.st_size > MAX_FILE_BYTES:
            raise _too_large(path)
        yield stream


def _too_large(path: Path) -> MeasurementError:
    return MeasurementError("it is over 1 GiB", where=str(path), next_step="cut it, or record at a lower rate")


def _recording(
    path: Path, header: Mapping[str, Any], columns: dict[str, Float64Array], voltage_v: float | None
) -> Recording:
    t_ns, where = _times(path, columns["t"]), str(path)
    volts = columns.get("voltage")
    if volts is None and (constant := _number(header.get("voltage_v"), voltage_v)) is not None:
        volts = np.full(len(t_ns), constant)
    power_w = columns.get("power")
    if power_w is None:
        if volts is None:
            step = 'add a column voltage_v, or state the voltage of the supply, such as voltage = "3.3 V"'
            raise MeasurementError("it has a current and no voltage", where=where, next_step=step)
        power_w = columns["current"] * volts
    if np.isinf(power_w).any() or not np.isfinite(power_w[1:]).any():
        raise MeasurementError("its power is nowhere known, or infinite", where=where, next_step="record it again")
    if (highest := float(np.nanmax(np.abs(power_w)))) > MOST_W:
        what = f"its power reaches {highest:.3g} W, and {MOST_W:g} W is the most that is read"
        raise MeasurementError(what, where=where, next_step="check the unit in the column's name")
    states_gaps = isinstance(header.get("gaps_s"), list)  # then what is far apart may be a slow meter's
    is_broken = np.zeros(len(t_ns) - 1, np.bool_) if states_gaps else breaks_of(t_ns)
    lost = _lost(header, t_ns, power_w, is_broken, where)
    power_w = np.concatenate([[np.nan], np.where(is_broken, np.nan, power_w[1:])])
    trigger = columns.get("trigger")
    t_ns, power_w, current_a, volts, trigger = _without_hollow(t_ns, power_w, columns.get("current"), volts, trigger)
    is_gap = np.isnan(power_w[1:])
    meter, obtained = str(header.get("meter") or "")[:100], header.get("obtained")
    return Recording(
        t_ns=t_ns,
        power_w=power_w,
        current_a=_blank(current_a, is_gap),
        voltage_v=_blank(volts, is_gap),
        trigger=None if trigger is None else np.nan_to_num(trigger).astype(np.int64),
        gaps_ns=gaps_at(t_ns, is_gap),
        lost_samples=lost,
        meter=meter,
        obtained=obtained if meter and obtained in ("measured", "emulated") else "estimated",
        accuracy=_accuracy(header.get("accuracy"), meter, where),
        ended=str(header.get("ended") or "")[:500],
    )


def _times(path: Path, t_s: Float64Array) -> Int64Array:
    """int64 [n] in ns from 0. Raises MeasurementError for a time that is not later than the one before."""
    if len(t_s) < 2:
        raise MeasurementError(f"it has {len(t_s)} samples, and two are the least", where=str(path))
    if not np.isfinite(t_s).all() or np.ptp(t_s) > 1e9:
        raise MeasurementError("a time is missing or too large", where=str(path), next_step="give each sample its time")
    t_ns: Int64Array = np.rint((t_s - t_s[0]) * 1e9).astype(np.int64)
    back = np.flatnonzero(np.diff(t_ns) <= 0)
    if len(back):
        at = int(back[0]) + 1
        what = f"sample {at + 1} is at {t_s[at]:g} s, not after the one before it at {t_s[at - 1]:g} s"
        raise MeasurementError(what, where=str(path), next_step="sort it by time, and give time enough digits")
    return t_ns


def _without_hollow(
    t_ns: Int64Array,
    power_w: Float64Array,
    current_a: Float64Array | None,
    voltage_v: Float64Array | None,
    trigger: Float64Array | None,
) -> tuple[Int64Array, Float64Array, Float64Array | None, Float64Array | None, Float64Array | None]:
    """The same without samples that have no power and none after: a hole is one gap, to the last of its samples."""
    is_blank = np.isnan(power_w)
    is_kept = ~(is_blank & np.append(is_blank[1:], False))
    is_kept[0] = True
    current_a, voltage_v, trigger = (
        None if each is None else each[is_kept] for each in (current_a, voltage_v, trigger)
    )
    return t_ns[is_kept], power_w[is_kept], current_a, voltage_v, trigger


def _lost(
    header: Mapping[str, Any], t_ns: Int64Array, power_w: Float64Array, is_broken: NDArray[np.bool_], where: str
) -> int:
    """What the file says was lost, else samples without power and what is missing in its gaps at the usual rate.

    Raises MeasurementError for more than a meter takes in so long.
    """
    stated = header.get("lost_samples")
    if isinstance(stated, int) and not isinstance(stated, bool):
        if not 0 <= stated <= max(1.0, int(t_ns[-1]) / 1e9) * _MOST_LOST_PER_S:
            what = f"lost_samples is {str(stated)[:40]}, and the trace is {int(t_ns[-1]) / 1e9:.3g} s long"
            raise MeasurementError(what, where=where, next_step="write how many samples were lost, or leave it out")
        return stated
    step_ns = np.diff(t_ns)
    missing = np.rint(step_ns[is_broken] / np.median(step_ns) - 1).sum()
    return int(missing + np.isnan(power_w[1:]).sum())


def _blank(values: Float64Array | None, is_gap: NDArray[np.bool_]) -> Float64Array | None:
    return None if values is None else np.concatenate([[np.nan], np.where(is_gap, np.nan, values[1:])])


def _number(*values: object) -> float | None:
    """The first that is a number."""
    for value in values:
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
            return float(value)
    return None


def _accuracy(stated: object, meter: str, where: str) -> MeterAccuracy | None:
    """What the file says of the meter that it names; None where it says nothing whole.

    Raises MeasurementError for what no meter has.
    """
    if not isinstance(stated, dict) or not meter:
        return None
    figures = {name: stated.get(name) for name in ("gain_share", "offset_w", "resolution_w")}
    for name, most in zip(figures, (1.0, MOST_W, MOST_W), strict=True):
        value = _number(figures[name])
        if figures[name] is not None and (value is None or not 0 <= value <= most):
            what = f"accuracy has {name} {str(figures[name])[:40]}, which is not from 0 to {most:g}"
            raise MeasurementError(what, where=where, next_step="write what the meter's maker states, or leave it out")
    gain, offset, step = (_number(value) for value in figures.values())
    if gain is None or offset is None or step is None:
        return None
    return MeterAccuracy(gain, offset, step, str(stated.get("source") or meter)[:200])


Read = tuple[Mapping[str, Any], dict[str, Float64Array]]


def _csv(path: Path, stream: BinaryIO) -> Read:
    """`# key: value` lines, then the names of the columns, then numbers."""
    header: dict[str, Any] = {}
    with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline=None) as text:
        lines = _lines(path, text)
        number, line = 1, next(lines, "")
        while line.startswith("#") or (line and not line.strip()):
            key, _, value = line.lstrip("# ").partition(":")
            header[key.strip()] = _value(value.strip())
            number, line = number + 1, next(lines, "")
        names, values = read_table(path, itertools.chain([line], lines), number)
    known = columns_of(names, f"{path}:{number}")
    return header, in_si(known, lambda name: values[:, names.index(name)])


def _lines(path: Path, text: io.TextIOWrapper) -> Iterator[str]:
    """The lines of a file that may grow. Raises MeasurementError where one, or all, are too long."""
    left = MAX_FILE_BYTES
    for number in itertools.count(1):
        line = text.readline(_MAX_LINE)
        left -= len(line)
        if left < 0:
            raise _too_large(path)
        if len(line) == _MAX_LINE:
            what = f"the line is over {_MAX_LINE >> 20} MiB"
            raise MeasurementError(what, where=f"{path}:{number}", next_step="is it a table? write it again")
        if not line:
            return
        yield line


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _json(path: Path, stream: BinaryIO) -> Read:
    """An object whose arrays are the columns, in itself or in `columns`; null is a value that is not known."""
    try:
        value = json.loads(stream.read(MAX_FILE_BYTES))
    except (ValueError, RecursionError) as error:
        raise MeasurementError(f"it is no JSON: {error}", where=str(path), next_step="write it again") from None
    columns = value.get("columns", value) if isinstance(value, dict) else None
    lists = {k: v for k, v in columns.items() if isinstance(v, list)} if isinstance(columns, dict) else {}
    known = columns_of(lists, str(path))

    def values_of(name: str) -> Float64Array:
        try:
            if not {*map(type, lists[name])} <= {int, float, NoneType}:  # true and "2" are no numbers, if numpy's
                raise TypeError
            return np.array([np.nan if each is None else each for each in lists[name]], np.float64)
        except (TypeError, OverflowError):
            step = "write a list of numbers, null where one is not known"
            raise MeasurementError(f"{name} holds what is no number", where=str(path), next_step=step) from None

    return value, _same_length(known, values_of, path)


def _npz(path: Path, stream: BinaryIO) -> Read:
    """Arrays by the columns' names, and `header`, a JSON object as text."""
    try:
        with zipfile.ZipFile(stream) as archive:
            infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            wanted = {name: info for name, info in infos.items() if name == "header" or column_of(name) is not None}
            if sum(info.file_size for info in wanted.values()) > MAX_FILE_BYTES:
                raise ValueError("it unpacks to more than 1 GiB")
            arrays = {name: _array(archive, info) for name, info in wanted.items()}
    except _DAMAGED as error:
        raise MeasurementError(f"it is no NPZ file: {error}", where=str(path), next_step="write it again") from None
    text = arrays.pop("header", None)
    header = _value(str(text)) if text is not None and text.shape == () else {}
    numeric = {name: array for name, array in arrays.items() if array.ndim == 1 and array.dtype.kind in "iuf"}
    known = columns_of(numeric, str(path))
    columns = _same_length(known, lambda name: numeric[name].astype(np.float64), path)
    return header if isinstance(header, dict) else {}, columns


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """One array, without pickles."""
    with archive.open(info) as member:
        array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(member.read(info.file_size)), allow_pickle=False)
    return array


def _same_length(
    known: Mapping[str, Column], values_of: Callable[[str], Float64Array], path: Path
) -> dict[str, Float64Array]:
    """`in_si` of columns that may differ in length. Raises MeasurementError where they do."""
    values = {name: values_of(name) for name in known}
    if len({each.shape for each in values.values()}) > 1 or any(each.ndim != 1 for each in values.values()):
        told = ", ".join(f"{name} {list(each.shape)}" for name, each in values.items())
        raise MeasurementError(f"its columns differ in length: {told}", where=str(path), next_step="write it again")
    return in_si(known, values.__getitem__)


_READERS: dict[str, Callable[[Path, BinaryIO], Read]] = {
    ".csv": _csv,
    ".txt": _csv,
    ".tsv": _csv,
    ".json": _json,
    ".npz": _npz,
}
