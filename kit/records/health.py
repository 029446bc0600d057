"""Health of a device and its link."""

from dataclasses import dataclass, field
from typing import Literal

from kit.records.base import Float64Array, Int64Array
from kit.records.device import Conditions, DeviceRecord
from kit.records.judged import Verdict


@dataclass(frozen=True, slots=True)
class LinkTrial:
    """What a link did while it was tried.

    round_trips_ns: int64 [n], of the smallest request, host clock. echo_sizes_bytes: int64 [m], payloads that were
    sent, returned and compared; `wrong_bytes` of them came back altered or not at all. Goodput is payload, not what
    framing adds; `nominal_bytes_per_s` is the line's own limit each way. Resent bytes and damaged packets are None
    where the system makes the stream reliable, and tells of neither.
    """

    round_trips_ns: Int64Array
    echo_sizes_bytes: Int64Array
    wrong_bytes: int
    to_device_bytes_per_s: float | None
    from_device_bytes_per_s: float | None
    nominal_bytes_per_s: float | None
    sent_bytes: int | None
    resent_bytes: int | None
    damaged_packets: int | None


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """What was seen of a device and its link in a test of `duration_s`; what was not obtained is None or empty.

    clock_t_ns, clock_offset_ns, clock_error_ns: int64 [k], host time, device clock less host's, and its error bound.
    window_s: float64 [w] and window_inferences: int64 [w] are windows of back-to-back inferences of one small model,
    in order; moment_s: float64 [c], since the start, of each of `conditions`. `right_answers` of `asked_answers`
    values of a model of known answer were exact. `host_agent_digest` is that of the agent in this host's release.
    `not_done` says why a check cannot be made on this device, by the check's name.
    """

    device: DeviceRecord
    protocol: str
    duration_s: float
    timeout_s: float
    timing_is_real: bool
    host_agent_digest: str | None
    link: LinkTrial
    clock_t_ns: Int64Array
    clock_offset_ns: Int64Array
    clock_error_ns: Int64Array
    asked_answers: int
    right_answers: int
    window_s: Float64Array
    window_inferences: Int64Array
    moment_s: Float64Array
    conditions: tuple[Conditions, ...]
    not_done: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HealthFinding:
    """One check of a device: what was seen (`value`, in `unit`: s, B, share, ppm, celsius, "1"), held to a limit.

    Unit "" is of what is right (0) or wrong (1).

    "cannot tell" is not "ok": a required check that cannot be told leaves the whole undecided. `why` says why it
    matters and where the limit is from; `follows_from` names bad checks that explain this one.
    """

    name: str
    status: Literal["ok", "bad", "cannot tell"]
    required: bool
    direction: Literal["at_most", "at_least"]
    value: float | None
    limit: float
    unit: str
    detail: str
    why: str
    next_step: str
    follows_from: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HealthJudgement:
    """FAIL if a check is bad, else INCONCLUSIVE if a required one cannot be told, else PASS; causes come first."""

    verdict: Verdict
    findings: tuple[HealthFinding, ...]
