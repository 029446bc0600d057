"""What judging looks at, and what it says."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from kit.records.base import Obtained
from kit.records.data import ColumnRecord, DatasetRecord
from kit.records.device import DeviceRecord
from kit.records.latency import LatencyRecord
from kit.records.measured import LossRecord, MemoryRecord, PredictionRecord, SampleRecord
from kit.records.model import ConversionRecord, ModelRecord, VariantRecord
from kit.records.power import EnergyRecord
from kit.records.trust import DataRecord, ExplanationRecord, MembershipRecord


@dataclass(frozen=True, slots=True)
class VariantEvidence:
    """All that is known of one variant on one device; what was not obtained is None or missing.

    `losses` has a record a measure. `sample` is there instead of `predictions` where the run stopped early.
    """

    variant: VariantRecord
    latency: LatencyRecord | None
    memory: MemoryRecord | None
    energy: EnergyRecord | None
    predictions: PredictionRecord | None
    exact_predictions: PredictionRecord | None
    saturating_predictions: PredictionRecord | None
    losses: dict[str, LossRecord] = field(default_factory=dict)
    sample: SampleRecord | None = None
    membership: MembershipRecord | None = None
    explanation: ExplanationRecord | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What judging looks at, with a profile: nothing else.

    `not_made` names recipes that could not be applied to this model, and why. `found_columns` are columns that nobody
    named: clusters of the reference's embedding.
    """

    source: ModelRecord
    conversion: ConversionRecord | None
    reference: ModelRecord
    reference_predictions: PredictionRecord
    dataset: DatasetRecord
    device: DeviceRecord
    variants: tuple[VariantEvidence, ...]
    not_made: dict[str, str] = field(default_factory=dict)
    reference_losses: dict[str, LossRecord] = field(default_factory=dict)
    reference_membership: MembershipRecord | None = None
    data: DataRecord | None = None
    found_columns: dict[str, ColumnRecord] = field(default_factory=dict)


class Verdict(StrEnum):
    """PASS: the bound clears the limit. FAIL: the opposite bound does. INCONCLUSIVE: neither, or absent."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class Finding:
    """One requirement judged on one subject (the whole, or one slice).

    estimate, lower, upper and limit are in `unit` (SI: s, B, J, W; a share or a difference of shares is 0 to 1,
    unit "share" or "points"; a count has unit "1"). The interval is [lower, upper]; None where there is none.
    `direction` says on which side of the limit the requirement wants the value. `reason` is one sentence for
    people; `need` says what would decide an INCONCLUSIVE one; `evidence` names the digests that it rests on.
    """

    requirement: str
    metric: str
    subject: str
    verdict: Verdict
    direction: Literal["at_most", "at_least"]
    limit: float
    estimate: float | None
    lower: float | None
    upper: float | None
    unit: str
    confidence: float
    method: str
    rows: int
    clusters: int | None
    obtained: Obtained
    reason: str
    need: str = ""
    evidence: tuple[str, ...] = ()
    details: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VariantJudgement:
    """Every finding on one variant; its verdict is the worst of them (FAIL, then INCONCLUSIVE, then PASS)."""

    variant: str
    digest: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    cost: float
    cost_unit: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """The run's verdict: that of the chosen variant, the cheapest that passes.

    If none passes, `chosen` is the cheapest undecided one, else the one that breaks least.
    """

    verdict: Verdict
    chosen: str
    why_chosen: str
    variants: tuple[VariantJudgement, ...]
    profile_digest: str
