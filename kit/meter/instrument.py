"""What instruments share: samples laid out in time with their gaps, averaged on request, and accuracy as declared."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kit.errors import SpecError
from kit.meter.base import PowerTrace
from kit.meter.model import read_parameters
from kit.meter.timebase import TimeBase
from kit.records import Float64Array, Int64Array, MeterAccuracy
from kit.spec.types import MeterSpec

STATED = ("accuracy_share", "offset_w", "resolution_w")


@dataclass
class Samples:
    """Evenly sampled values with holes: losses are (k, lost): so many are missing before sample k, in order of k.

    Those before the first sample and after the last are no holes, but count: sample 0 is then not the meter's first.

    current_a: float64 [n]; voltage_v: float64 [n] or one constant; bits: integers [n], the digital inputs, or None.
    power_w: float64 [n] where it is not the product of the two: each a mean of its own.
    """

    current_a: Float64Array
    voltage_v: Float64Array | float
    bits: NDArray[np.integer] | None = None
    losses: list[tuple[int, int]] = field(default_factory=list)
    power_w: Float64Array | None = None


def lay_out(samples: Samples, base: TimeBase, *, group: int = 1, ended: str = "") -> PowerTrace:
    """Samples on the host's clock; each `group` of them between gaps averaged into one, which keeps the energy.

    Takes the samples over: a run of 10 minutes at 100 kS/s is not copied once more than it must be.

    The first sample and each first one after a gap have none before them: NaN, and they are no part of a group.
    """
    count = len(samples.current_a)
    losses = [(at, lost) for at, lost in samples.losses if 0 < at < count and lost]
    t_ns = np.ones(count)
    t_ns[:1] = sum(lost for at, lost in samples.losses if at <= 0)
    for at, lost in losses:
        t_ns[at] += lost
    np.cumsum(t_ns, out=t_ns)
    t_ns *= base.period_ns
    t_ns += base.start_ns
    heads = sorted({0, *(at for at, _ in losses)}) if count else []
    times = np.rint(t_ns, out=t_ns).astype(np.int64)
    del t_ns
    gaps = np.array([(times[at - 1], times[at]) for at in heads if at], np.int64).reshape(-1, 2)
    current_a = samples.current_a
    power_w = current_a * samples.voltage_v if samples.power_w is None else samples.power_w
    power_w[heads] = current_a[heads] = np.nan
    voltage_v = np.broadcast_to(np.asarray(samples.voltage_v, np.float64), count)
    bits = None if samples.bits is None else samples.bits.astype(np.int64)
    if group > 1 and count:
        starts = _starts(heads, count, group)
        last = np.append(starts[1:], count) - 1
        sizes = (last - starts + 1).astype(np.float64)
        times, bits = times[last], None if bits is None else bits[last]
        power_w, current_a = np.add.reduceat(power_w, starts) / sizes, np.add.reduceat(current_a, starts) / sizes
        if np.ndim(samples.voltage_v):
            voltage_v = np.add.reduceat(voltage_v, starts) / sizes
        else:
            voltage_v = voltage_v[: len(starts)]
    lost = sum(lost for _, lost in samples.losses)
    return PowerTrace(times, power_w, lost, current_a, voltage_v, bits, gaps, base.error_ns, ended)


def lost_until(losses: list[tuple[int, int]], index: Float64Array) -> Float64Array:
    """How many samples are missing before each of the samples `index`."""
    if not losses:
        return np.zeros(len(index))
    at, lost = np.array(losses, np.int64).T
    before: Float64Array = np.append(0.0, np.cumsum(lost))[np.searchsorted(at, index, "right")]
    return before


def _starts(heads: Sequence[int], count: int, group: int) -> Int64Array:
    """Where groups begin: a head alone, then `group` at a time; what is left before the next head is one more."""
    ends = [*heads[1:], count]
    pieces = [np.append([head], np.arange(head + 1, end, group)) for head, end in zip(heads, ends, strict=True)]
    return np.concatenate(pieces).astype(np.int64)


def numbers_of(spec: MeterSpec, required: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, float]:
    """The meter's parameters that were declared. Raises SpecError for one that is missing, unknown or no number."""
    read_parameters(spec, required, dict.fromkeys((*optional, *STATED), 0.0))
    return {name: float(value) for name, value in spec.parameters.items()}


def word_of(spec: MeterSpec, name: str, known: Sequence[str]) -> str:
    """A word of the device file, the first of `known` if it is left out. Raises SpecError for another."""
    word = spec.words.get(name, known[0])
    if word not in known:
        what, step = f"{name} is {word!r}", f"{name} is one of {', '.join(known)}"
        raise SpecError(what, where=f"meter {spec.driver}", next_step=step)
    return word


def port_of(spec: MeterSpec) -> str:
    """The port that it is at. Raises SpecError where none is named."""
    if not spec.words.get("port"):
        raise SpecError("it has no port", where=f"meter {spec.driver}", next_step='add port = "/dev/ttyACM0"')
    return spec.words["port"]


def group_of(spec: MeterSpec, rate_hz: float) -> int:
    """How many samples are averaged into one, for the declared sample_rate_hz. Raises SpecError if none fits."""
    wanted_hz = spec.parameters.get("sample_rate_hz", rate_hz)
    group = round(rate_hz / wanted_hz) if wanted_hz else 0
    if group < 1 or abs(rate_hz / group - wanted_hz) > 1e-6 * wanted_hz:
        what = f"sample_rate of {wanted_hz:g} Hz is no whole part of {rate_hz:g} Hz"
        raise SpecError(what, where=f"meter {spec.driver}", next_step=f"state {rate_hz:g} Hz, or a whole part of it")
    return group


def accuracy_of(spec: MeterSpec, known: MeterAccuracy | None, resolution_w: float = 0.0) -> MeterAccuracy | None:
    """As the device file states it, from a calibration certificate, say; else as the maker does; else not known."""
    stated = {name: spec.parameters[name] for name in STATED if name in spec.parameters}
    if "accuracy_share" not in stated:
        return known
    return MeterAccuracy(
        stated["accuracy_share"],
        stated.get("offset_w", 0.0),
        stated.get("resolution_w", known.resolution_w if known else resolution_w),
        "the device file",
    )
