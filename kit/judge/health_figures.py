"""From a health record to one figure a check: what was seen, within which bounds, in words for people."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from kit.records import Float64Array, HealthRecord
from kit.stats.trend import trend
from kit.words import number, quantity

LEAST_TRIPS, LEAST_WINDOWS, LEAST_MOMENTS = 8, 9, 6
SPEED_CONFIDENCE = 0.975
"""Of each of the two bounds that a slowdown is told from, so 95 % together (Bonferroni)."""
HEATING_AHEAD_S = 600.0
"""How far ahead a rising temperature is looked at: ten minutes, about as long as a run measures."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A figure, `lower` and `upper` where it is known only within bounds; None where it cannot be told.

    `next_step` is what to do where it cannot be told.
    """

    value: float | None
    detail: str = ""
    lower: float | None = None
    upper: float | None = None
    next_step: str = ""

    @property
    def least(self) -> float:
        """The least that it may be."""
        return (self.value or 0.0) if self.lower is None else self.lower

    @property
    def most(self) -> float:
        """The most that it may be."""
        return (self.value or 0.0) if self.upper is None else self.upper


def agent_release(record: HealthRecord) -> Seen:
    """0 if the agent's program is that of this host's release, 1 if not."""
    if record.host_agent_digest is None:
        return Seen(None, "no agent answers here")
    same = record.device.agent_digest == record.host_agent_digest
    likeness = "the same as on this host" if same else "not the same as on this host"
    return Seen(float(not same), f"{record.device.agent_version}, {likeness}")


def wrong_bytes(record: HealthRecord) -> Seen:
    """Bytes that came back wrong, of all that were sent there and back."""
    sizes = record.link.echo_sizes_bytes
    if not len(sizes):
        return Seen(None, "nothing was sent there and back")
    detail = f"of {sizes.sum():,} B in {len(sizes)} pieces of {sizes.min():,} to {sizes.max():,} B"
    return Seen(float(record.link.wrong_bytes), detail)


def resent_share(record: HealthRecord) -> Seen:
    """Bytes sent again as a share of all that were sent."""
    link = record.link
    if link.resent_bytes is None or not link.sent_bytes:
        return Seen(None, "no counters: the system makes this link reliable")
    damaged = "" if link.damaged_packets is None else f"{link.damaged_packets} damaged packets; "
    return Seen(link.resent_bytes / link.sent_bytes, f"{damaged}{link.resent_bytes:,} of {link.sent_bytes:,} B")


def round_trip(record: HealthRecord) -> Seen:
    """The 99th percentile of small round trips, s; the largest where there are fewer than 100."""
    trips_ns = record.link.round_trips_ns
    if len(trips_ns) < LEAST_TRIPS:
        return Seen(None, f"{len(trips_ns)} round trips are too few", next_step="test for longer")
    middle_ms = 1e-6 * float(np.median(trips_ns))
    p99_s = 1e-9 * float(np.quantile(trips_ns, 0.99, method="higher"))
    return Seen(p99_s, f"p50 {middle_ms:.3g} ms, {len(trips_ns)} trips")


def goodput_to_device(record: HealthRecord) -> Seen:
    """Payload towards the device as a share of the line's rate."""
    return _goodput(record.link.to_device_bytes_per_s, record.link.nominal_bytes_per_s)


def goodput_from_device(record: HealthRecord) -> Seen:
    """Payload from the device as a share of the line's rate."""
    return _goodput(record.link.from_device_bytes_per_s, record.link.nominal_bytes_per_s)


def _goodput(bytes_per_s: float | None, nominal_bytes_per_s: float | None) -> Seen:
    if bytes_per_s is None:
        return Seen(None, "nothing was timed", next_step="test for longer")
    shown = f"{bytes_per_s / 1e6:.3g} MB/s" if bytes_per_s >= 1e6 else f"{bytes_per_s / 1e3:.3g} kB/s"
    if nominal_bytes_per_s is None:
        return Seen(None, f"{shown}; this link has no rate of its own to hold it to")
    return Seen(bytes_per_s / nominal_bytes_per_s, shown)


def clock_drift(record: HealthRecord) -> Seen:
    """Drift of the device's clock against the host's, ppm, within the bounds that every pair of readings leaves.

    Readings i < j with offsets o and errors e bound the drift by (o_j - o_i -+ (e_i + e_j)) / (t_j - t_i). Where no
    one drift is within all of these, it changed, or the clock jumped: the most that any pair proves is then told.
    """
    t, o, e = (each.tolist() for each in (record.clock_t_ns, record.clock_offset_ns, record.clock_error_ns))
    bounds = [
        (1e6 * (o[j] - o[i] - e[i] - e[j]) / (t[j] - t[i]), 1e6 * (o[j] - o[i] + e[i] + e[j]) / (t[j] - t[i]))
        for i, j in combinations(range(len(t)), 2)
        if t[j] > t[i]
    ]
    if not bounds:
        return Seen(None, "too few readings of its clock", next_step="test for longer")
    lower, upper = max(low for low, _ in bounds), min(high for _, high in bounds)
    if lower > upper:
        proven = max(max(low, -high) for low, high in bounds)
        return Seen(proven, "and not steady: the device was reset, or its clock was set")
    sizes = sorted((abs(lower), abs(upper)))
    least = 0.0 if lower <= 0.0 <= upper else sizes[0]
    detail = f"between {number(lower, 3)} and {number(upper, 3)} ppm, {len(t)} readings"
    return Seen(abs(lower + upper) / 2, detail, least, sizes[1], "test for longer: the bounds narrow with time")


def free_storage(record: HealthRecord) -> Seen:
    """Bytes that models may still take."""
    free = record.device.free_storage_bytes
    return Seen(None, "the device does not tell") if free is None else Seen(float(free), "for models")


def free_memory(record: HealthRecord) -> Seen:
    """The least available memory in the test, as a share of all."""
    values = [each.available_memory_bytes for each in record.conditions if each.available_memory_bytes is not None]
    whole = record.device.memory_bytes
    if not values or not whole:
        return Seen(None, "the device does not tell")
    return Seen(min(values) / whole, f"{min(values) / 1e6:,.0f} of {whole / 1e6:,.0f} MB at the least")


def battery(record: HealthRecord) -> Seen:
    """The battery's lowest level in the test."""
    values = [each.battery_share for each in record.conditions if each.battery_share is not None]
    return Seen(min(values), "at the lowest") if values else Seen(None, "no battery is told")


def temperature(record: HealthRecord) -> Seen:
    """The highest temperature, or what it comes to within ten minutes if it goes on rising as it did."""
    pairs = [
        (s, each.temperature_celsius)
        for s, each in zip(record.moment_s, record.conditions, strict=True)
        if each.temperature_celsius is not None
    ]
    if not pairs:
        return Seen(None, "no thermal zone is told")
    t, celsius = np.array(pairs, np.float64).T
    hottest = float(celsius.max())
    if len(pairs) < LEAST_MOMENTS or np.ptp(t) < 30.0:
        return Seen(hottest, f"hottest of {len(pairs)} readings")
    rise_per_s = round(float(np.polyfit(t, celsius, 1)[0]), 5)  # a millionth of a degree is rounding, not heat
    ahead = hottest + max(0.0, rise_per_s) * HEATING_AHEAD_S
    trend = f"{60 * rise_per_s:+.2f} °C a minute"
    return Seen(ahead, f"hottest {hottest:.1f} °C, {trend}: so much in ten minutes at that pace")


def frequency_drop(record: HealthRecord) -> Seen:
    """How much lower the processor's frequency is in the last third than in the first, both as medians."""
    values = np.array([each.frequency_hz for each in record.conditions if each.frequency_hz is not None], np.float64)
    if len(values) < LEAST_MOMENTS:
        return Seen(None, "the device does not tell" if not len(values) else "too few readings")
    first, last = (float(np.median(part)) for part in _first_and_last(values))
    return Seen(max(0.0, 1.0 - last / first), f"{first / 1e9:.2f} GHz at first, {last / 1e9:.2f} at last")


def wrong_answers(record: HealthRecord) -> Seen:
    """Values of the model of known answer that were not exact."""
    if not record.asked_answers:
        return Seen(None, "no model was run")
    return Seen(float(record.asked_answers - record.right_answers), f"of {record.asked_answers} values")


def slowdown(record: HealthRecord) -> Seen:
    """How much slower the windows became from the first to the last, along a robust line, with its bounds."""
    speeds = _speeds(record)
    if isinstance(speeds, Seen):
        return speeds
    line, middle = trend(speeds, SPEED_CONFIDENCE), float(np.median(speeds))

    def share(change: float) -> float:
        return -change / (middle - change / 2)  # of the speed at the start

    least, most = share(line.upper), share(line.lower)
    detail = f"between {quantity(least, 'share')} and {quantity(most, 'share')}, {len(speeds)} windows"
    return Seen(max(0.0, share(line.change)), detail, least, most, "test for longer, and leave the device alone")


def unevenness(record: HealthRecord) -> Seen:
    """Range of the middle 80 % of the windows' speeds as a share of their median."""
    speeds = _speeds(record)
    if isinstance(speeds, Seen):
        return speeds
    low, middle, high = np.quantile(speeds, (0.1, 0.5, 0.9))
    return Seen(float((high - low) / middle), f"{middle:,.0f} inferences a second, {low:,.0f} to {high:,.0f}")


def _speeds(record: HealthRecord) -> Float64Array | Seen:
    """Inferences a second of each window: float64 [w]; or why there are none to speak of."""
    if not record.timing_is_real:
        return Seen(None, "an emulated processor's times are no speed")
    if len(record.window_s) < LEAST_WINDOWS or not (record.window_inferences > 0).all():
        return Seen(None, f"{len(record.window_s)} windows are too few", next_step="test for longer")
    speeds: Float64Array = record.window_inferences / record.window_s
    return speeds


def _first_and_last(values: Float64Array) -> tuple[Float64Array, Float64Array]:
    third = len(values) // 3
    return values[:third], values[-third:]
