"""Is a device and its link fit to be measured? Each check with its limit, where that is from, and what to do.

Checks are in the order of cause and effect: damage on the line explains slow transfers, heat explains slow inferences.
What cannot be told is not well: a required check without a figure leaves the verdict undecided.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from kit.judge import health_figures as seen
from kit.judge.health_figures import Seen
from kit.records import HealthFinding, HealthJudgement, HealthRecord, Verdict

ROUND_TRIP_TIMEOUT_SHARE = 0.1
RESENT_SHARE = 0.05
GOODPUT_SHARE = 0.8
DRIFT_PPM = 500.0
FREE_STORAGE_BYTES = float(16 << 20)
FREE_MEMORY_SHARE = 0.1
HOTTEST_CELSIUS = 80.0
FREQUENCY_DROP_SHARE = 0.1
BATTERY_SHARE = 0.2
SLOWDOWN_SHARE = 0.1
UNEVEN_SHARE = 0.25
SPEEDS = ("steady speed", "even speed")
BUSY_HOST = "end other programs on this host, since this device is a process here"


@dataclass(frozen=True, slots=True)
class Check:
    """A check: how its figure is had from the record, on which side of which limit it must be, and what it is for.

    `protocols`: what is spoken where it can be made. Unit "" is of what is right (0) or wrong (1).
    """

    name: str
    look: Callable[[HealthRecord], Seen]
    direction: Literal["at_most", "at_least"]
    limit: Callable[[HealthRecord], float]
    unit: str
    why: str
    next_step: str
    required: bool = True
    protocols: tuple[str, ...] = ("agent",)
    follows_from: tuple[str, ...] = ()


CHECKS = (
    Check(
        "agent release", seen.agent_release, "at_most", lambda _: 0.0, "",
        "an agent of another release may measure otherwise, so its figures are not comparable",
        "put this release's agent on the device: edgeproof agent pack -o agent.pyz",
    ),
    Check(
        "echoed bytes", seen.wrong_bytes, "at_most", lambda _: 0.0, "B",
        "every byte must come back as it was sent; one that does not got past all checksums",
        "use this link for nothing; look for a bug or a bad adapter, and report it with the output of --json",
    ),
    Check(
        "bytes read back", seen.wrong_bytes, "at_most", lambda _: 0.0, "B",
        "the protocol has no checksum: what is lost or altered shows only when the board's buffer is read back",
        "use a shorter cable or a lower baud rate; and keep read_back = \"always\", which accepts no wrong result",
        protocols=("mlperf-tiny",),
    ),
    Check(
        "resent", seen.resent_share, "at_most", lambda _: RESENT_SHARE, "share",
        "a bit error rate of 1e-5 damages 2 % of packets of 250 bytes; over 5 % the line is bad, not noisy",
        "use a shorter or shielded cable, a common ground or a lower baud rate",
        required=False,
    ),
    Check(
        "round trip, p99", seen.round_trip, "at_most", lambda of: ROUND_TRIP_TIMEOUT_SHARE * of.timeout_s, "s",
        "a tenth of the time-out in the device file, so that a slow answer is not taken for a dead device",
        "look for load on device and network; for a USB adapter set its latency timer to 1 ms; or raise `timeout`",
        protocols=("agent", "mlperf-tiny"), follows_from=("resent",),
    ),
    Check(
        "goodput to the device", seen.goodput_to_device, "at_least", lambda _: GOODPUT_SHARE, "share",
        "a sound line carries over 95 % of its rate as payload, and 85 % at a bit error rate of 1e-5",
        "look at what else uses the line, the processor load at both ends, and the baud rate that is really set",
        required=False, follows_from=("resent", "round trip, p99"),
    ),
    Check(
        "goodput from the device", seen.goodput_from_device, "at_least", lambda _: GOODPUT_SHARE, "share",
        "as towards the device",
        "look at what else uses the line, the processor load at both ends, and the baud rate that is really set",
        required=False, follows_from=("resent", "round trip, p99"),
    ),
    Check(
        "clock drift", seen.clock_drift, "at_most", lambda _: DRIFT_PPM, "ppm",
        "latency is told by this clock; 500 ppm is the most that NTP corrects (RFC 5905), crystals stay within 100",
        "look at the device's clock source; if it jumped, the device was reset during the test",
    ),
    Check(
        "free storage", seen.free_storage, "at_least", lambda _: FREE_STORAGE_BYTES, "B",
        "16 MiB, the largest message: room for a model and its transfer",
        "remove what is not needed from the device's storage",
    ),
    Check(
        "free memory", seen.free_memory, "at_least", lambda _: FREE_MEMORY_SHARE, "share",
        "below 10 % a system starts to swap or to end programs (earlyoom's default)",
        "end other programs on the device",
    ),
    Check(
        "battery", seen.battery, "at_least", lambda _: BATTERY_SHARE, "share",
        "at 20 % phones and tablets offer to save power, and then compute more slowly",
        "charge the device",
        required=False,
    ),
    Check(
        "temperature", seen.temperature, "at_most", lambda _: HOTTEST_CELSIUS, "celsius",
        "at 80 °C a Raspberry Pi begins to slow down (its documentation), and others near it",
        "cool the device, or let it rest, and keep it so while you measure",
        required=False,
    ),
    Check(
        "processor frequency", seen.frequency_drop, "at_most", lambda _: FREQUENCY_DROP_SHARE, "share",
        "a frequency that falls under load is throttling, by heat, power supply or governor",
        "cool the device, use a stronger power supply, or fix the governor",
        required=False, follows_from=("temperature", "battery"),
    ),
    Check(
        "known answers", seen.wrong_answers, "at_most", lambda _: 0.0, "1",
        "a small model of whole numbers has one exact answer on every processor",
        "do not use this device: its runtime, memory or processor computes wrongly; install the runtime again",
        follows_from=("echoed bytes",),
    ),
    Check(
        "steady speed", seen.slowdown, "at_most", lambda _: SLOWDOWN_SHARE, "share",
        "a device that slows down by 10 % in the test has no one latency to certify",
        "cool the device or let it settle, and test again",
        follows_from=("temperature", "processor frequency", "battery", "free memory"),
    ),
    Check(
        "even speed", seen.unevenness, "at_most", lambda _: UNEVEN_SHARE, "share",
        "windows of the same work that differ by 25 % are disturbed by something else that runs there",
        "end other programs on the device, and test again",
        follows_from=("temperature", "processor frequency", "free memory", "steady speed"),
    ),
)  # fmt: skip
"""Every check, causes before effects."""


def judge_health(record: HealthRecord) -> HealthJudgement:
    """Hold a test's record to every check; pure, so the same record gives the same verdict for ever."""
    findings: list[HealthFinding] = []
    for check in CHECKS:
        if record.protocol not in check.protocols and check.name not in record.not_done:
            continue
        bad = {each.name for each in findings if each.status == "bad"}
        found = _finding(check, record)
        if found.status == "bad":
            found = replace(found, follows_from=tuple(name for name in check.follows_from if name in bad))
        findings.append(found)
    return HealthJudgement(_verdict(findings), tuple(findings))


def _finding(check: Check, record: HealthRecord) -> HealthFinding:
    required = check.required and check.name not in record.not_done and not _needs_real_time(check, record)
    shown = Seen(None, record.not_done[check.name]) if check.name in record.not_done else check.look(record)
    limit = check.limit(record)
    status = _status(check, shown, limit)
    next_step = (shown.next_step if status == "cannot tell" else "") or check.next_step
    if check.name in SPEEDS and record.device.link.startswith("subprocess:"):
        next_step = f"{BUSY_HOST}; {next_step}"
    return HealthFinding(
        name=check.name, status=status, required=required, direction=check.direction,
        value=shown.value, limit=limit, unit=check.unit, detail=shown.detail, why=check.why,
        next_step=next_step,
    )  # fmt: skip


def _needs_real_time(check: Check, record: HealthRecord) -> bool:
    """Whether the check is of speed, on a processor whose times are no speed."""
    return check.name in SPEEDS and not record.timing_is_real


def _status(check: Check, shown: Seen, limit: float) -> Literal["ok", "bad", "cannot tell"]:
    """Ok or bad where every value that the figure may have is on one side of the limit."""
    if shown.value is None:
        return "cannot tell"
    least, most = shown.least, shown.most
    if check.direction == "at_least":
        least, most, limit = -most, -least, -limit
    return "ok" if most <= limit else "bad" if least > limit else "cannot tell"


def _verdict(findings: list[HealthFinding]) -> Verdict:
    if any(each.status == "bad" for each in findings):
        return Verdict.FAIL
    undecided = any(each.status == "cannot tell" and each.required for each in findings)
    return Verdict.INCONCLUSIVE if undecided else Verdict.PASS
