"""What every judge function shares: the case before it, and how an interval becomes a finding."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from kit.records import Evidence, Finding, Obtained, PredictionRecord, VariantEvidence, Verdict
from kit.spec.types import DeviceSpec, Profile, Requirement
from kit.stats.multiple import candidate_confidence
from kit.words import percent

POWER = 0.8
"""Chance of deciding at which `need` is sized, if the estimate holds."""

_RANK = {Verdict.PASS: 0, Verdict.INCONCLUSIVE: 1, Verdict.FAIL: 2}


@dataclass(frozen=True, slots=True)
class Case:
    """One requirement on one variant. `candidates`: how many variants compete to be picked (1: no competition)."""

    requirement: Requirement
    variant: VariantEvidence
    evidence: Evidence
    profile: Profile
    device: DeviceSpec
    candidates: int = 1

    @property
    def confidence(self) -> float:
        """Confidence of each bound: the requirement's, raised because the cheapest of several candidates is picked."""
        return candidate_confidence(self.requirement.confidence, self.candidates)

    @property
    def competition(self) -> str:
        """A clause for a method that says why the confidence is above the requirement's."""
        asked = percent(self.requirement.confidence)
        return f"; {asked} over {self.candidates} candidates (Bonferroni)" if self.candidates > 1 else ""

    @property
    def emulated_device(self) -> bool:
        """Whether the device file says that a part of the device is emulated: the run is then a rehearsal."""
        return bool(self.device.emulated)

    def digests(self, *records: PredictionRecord | None) -> tuple[str, ...]:
        """The variant's file, then the data and models of `records`, each once."""
        found = [self.variant.variant.model.digest]
        for record in records:
            found += [] if record is None else [record.model_digest, record.data_digest]
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure with its bounds and what it rests on, before it is held against a limit."""

    estimate: float
    lower: float | None
    upper: float | None
    unit: str
    method: str
    rows: int
    obtained: Obtained
    clusters: int | None = None
    evidence: tuple[str, ...] = ()
    details: dict[str, float] = field(default_factory=dict)


def compare(
    direction: Literal["at_most", "at_least"], limit: float, lower: float | None, upper: float | None
) -> Verdict:
    """PASS where the whole interval is on the wanted side of the limit, FAIL where none of it is."""
    if direction == "at_least":
        lower, upper, limit = _negated(upper), _negated(lower), -limit
    if upper is not None and upper <= limit:
        return Verdict.PASS
    if lower is not None and lower > limit:
        return Verdict.FAIL
    return Verdict.INCONCLUSIVE


def _negated(value: float | None) -> float | None:
    return None if value is None else -value


def finding(case: Case, measured: Measured, *, subject: str = "", reason: str = "", need: str = "") -> Finding:
    """`measured` against the requirement's limit; `reason` and `need` may be filled in later by `explained`."""
    asked = case.requirement
    return Finding(
        requirement=asked.id,
        metric=asked.metric,
        subject=subject,
        verdict=compare(asked.direction, asked.limit, measured.lower, measured.upper),
        direction=asked.direction,
        limit=asked.limit,
        estimate=measured.estimate,
        lower=measured.lower,
        upper=measured.upper,
        unit=measured.unit,
        confidence=case.confidence,
        method=measured.method + case.competition,
        rows=measured.rows,
        clusters=measured.clusters,
        obtained=measured.obtained,
        reason=reason,
        need=need,
        evidence=measured.evidence or case.digests(),
        details=measured.details,
    )


def explained(of: Finding, reason: str, need: str = "") -> Finding:
    """The finding with its sentence; `need` is kept only where it is undecided."""
    return replace(of, reason=reason, need=need if of.verdict is Verdict.INCONCLUSIVE else "")


def undecided(of: Finding, reason: str, need: str) -> Finding:
    """The finding held back from a verdict, whatever its numbers."""
    return replace(of, verdict=Verdict.INCONCLUSIVE, reason=reason, need=need)


def absent(case: Case, unit: str, reason: str, need: str, subject: str = "") -> Finding:
    """A requirement whose figure was not obtained: INCONCLUSIVE, without numbers."""
    asked = case.requirement
    return Finding(
        requirement=asked.id, metric=asked.metric, subject=subject, verdict=Verdict.INCONCLUSIVE,
        direction=asked.direction, limit=asked.limit, estimate=None, lower=None, upper=None, unit=unit,
        confidence=case.confidence, method="not judged", rows=0, clusters=None, obtained="absent",
        reason=reason, need=need, evidence=case.digests(),
    )  # fmt: skip


def has_stopped_early(case: Case) -> bool:
    """Whether some rows were run, and the others were not."""
    return case.variant.sample is not None and case.variant.predictions is None


def unpredicted(case: Case) -> tuple[str, str]:
    """Why there are no predictions of all rows, as a sentence, and what to do about it."""
    if not has_stopped_early(case):
        return "the device's predictions were not obtained.", "run the dataset on the device"
    reason = "not all rows were run: those that were already break another requirement."
    return reason, "mend what is broken, or run all rows: leave out --frugal"


def certifying(case: Case, of: Finding) -> Finding:
    """Hold back a verdict that its source cannot carry.

    An estimate informs and never decides; an emulated figure decides only where the device is declared emulated.
    """
    if of.obtained == "estimated":
        return undecided(of, f"{of.reason} This is an estimate, and an estimate certifies nothing.", "attach a meter")
    if of.obtained == "emulated" and not case.emulated_device:
        return undecided(
            of,
            f"{of.reason} The figure is emulated and the device is real, so it certifies nothing.",
            "measure on the device, or declare what is emulated in the device file",
        )
    return of


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """FAIL outranks INCONCLUSIVE, which outranks PASS; nothing judged is INCONCLUSIVE."""
    return max(verdicts, key=_RANK.__getitem__, default=Verdict.INCONCLUSIVE)
