"""What the rows that have crossed the link say: each subject's rows in the seed's order, counted at every look.

Rows are asked for in one random order, and those that no undecided subject needs are passed over. A subject's rows are
trusted as far as they came without a gap: they are then the first of its own random order, whatever was decided about
others meanwhile.
"""

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Literal

import numpy as np

from kit.judge.base import Case, compare
from kit.judge.rows import BoolArray, Outcomes, Sample, outcomes
from kit.records import Int64Array, PredictionRecord, SampleRecord, Verdict
from kit.spec.types import Metric
from kit.stats.betting import Trail, trail_of
from kit.stats.orders import looks, random_order
from kit.stats.proportions import PairedCounts, Successes
from kit.stats.sequential import ON_THE_WAY, Figures, Sequential

SAMPLED: tuple[Metric, ...] = ("accuracy.drop", "accuracy.value", "agreement.flips")
"""Metrics that can be decided before all rows have been run."""

Of = Literal["device", "twin", "audit"]
"""What is counted: the device's rows, the twin's, or by how much the device's are worse than the twin's."""

Memory = dict[tuple[Metric, Of, bytes], Sample]
"""Counts by metric and the digest of the numbers of rows: rows that come later do not change them."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One requirement's view of a sample. order: int64 [rows] of the dataset; came: [rows], which were run.

    exact: every row of the dataset is its own cluster and counts alike, so that bets on them are exact.
    """

    case: Case
    order: Int64Array
    came: BoolArray
    exact: bool
    outcomes: dict[Of, Outcomes]
    memory: Memory

    def rows(self, mask: BoolArray) -> Int64Array:
        """Numbers of the subject's rows that came without a gap, in order."""
        own = self.order[mask[self.order]]
        missing = np.flatnonzero(~self.came[own])
        return own[: missing[0]] if len(missing) else own

    def sample(self, mask: BoolArray) -> Sample:
        """Counts of the subject's rows so far, at least one: `counts` are `Sequential`, `rows` are those that count."""
        came, total = self.rows(mask), int(mask.sum())
        spent, has_twin = len(came) == total, "twin" in self.outcomes
        steps = looks(len(came), last=spent)
        now = self._counted("device", came)
        twin = self._counted("twin", np.flatnonzero(mask)) if has_twin else None
        audit = self._counted("audit", came) if has_twin else None
        lowers = twin is not None and self.case.requirement.metric == "accuracy.value"
        estimate, details = now.counts.estimate, now.details | {"rows_in_all": float(total)}
        if twin is not None and audit is not None:
            corrected = twin.counts.estimate + (-1 if lowers else 1) * audit.counts.estimate
            estimate = estimate if spent else corrected
            differing = audit.details["decisions_changed"]
            details |= {"twin_estimate": twin.counts.estimate, "differing_from_twin": differing}
            if not spent and "reference_accuracy" in twin.details:  # of all rows, as the estimate is
                details["reference_accuracy"] = twin.details["reference_accuracy"]
                details["optimized_accuracy"] = twin.details["reference_accuracy"] - corrected
        counts = Sequential(
            estimate=estimate,
            least=-1.0 if self.case.requirement.metric == "accuracy.drop" else 0.0,
            trail=self._trail("device", came, steps),
            twin=None if twin is None else _figures(twin),
            audit=self._trail("audit", came, steps) if has_twin else None,
            end=_figures(now) if spent else None,
            sign=-1 if lowers else 1,
            rows=now.counts.rows,
        )
        return replace(now, counts=counts, details=details)

    def can_still_hold(self, mask: BoolArray) -> bool:
        """Whether the test at the end would pass if all rows that did not come were decided as well as may be.

        That is right, where a share right is asked for; else as by the reference.
        """
        device = self.outcomes["device"]
        best = True if self.case.requirement.metric == "accuracy.value" else device.reference_right
        right = np.where(self.came, device.optimized_right, best)
        rest = replace(device, optimized_right=right, decision_changed=device.decision_changed & self.came)
        counts = self._count("device", _taken(rest, np.flatnonzero(mask))).counts
        asked = self.case.requirement
        lower, upper = counts.bounds(1.0 - (1.0 - ON_THE_WAY) * (1.0 - self.case.confidence))
        return compare(asked.direction, asked.limit, lower, upper) is Verdict.PASS

    def _trail(self, of: Of, came: Int64Array, steps: list[int]) -> Trail:
        """Few clusters do not tell how alike their rows are; rows that are independent tell from the first."""
        seen = [self._counted(of, came[:count]) for count in steps]
        enough = 0 if self.exact else max(2, self.case.requirement.minimum_clusters)
        return trail_of([_figures(each) for each in seen if each.clusters >= enough], exact=self.exact)

    def _counted(self, of: Of, rows: Int64Array) -> Sample:
        key = (self.case.requirement.metric, of, blake2b(rows.tobytes(), digest_size=16).digest())
        if key not in self.memory:
            self.memory[key] = self._count(of, _taken(self.outcomes[of], rows))
        return self.memory[key]

    def _count(self, of: Of, rows: Outcomes) -> Sample:
        if self.case.requirement.metric == "accuracy.drop" or of == "audit":
            return rows.drop()
        if self.case.requirement.metric == "accuracy.value":
            return rows.accuracy(rows.optimized_right)
        return rows.accuracy(rows.decision_changed)


def sampled(case: Case, record: SampleRecord, memory: Memory | None = None) -> Sampled | str:
    """The case's view of `record`, or why it is none, as a clause. `memory` may be shared by views of a growing sample.

    The order is made again from the seed, and the rows must lie in it: who picks rows decides verdicts. Where the other
    rows were run too, all have come: what was not decided on the way has the test at the end.
    """
    data, twin = case.evidence.dataset, record.twin
    rows, count = record.order, len(record.order)
    if record.seed != case.profile.measure.seed:
        return f"the sample's order is of seed {record.seed}, and the profile's is {case.profile.measure.seed}"
    if record.data_digest != data.data_digest or (twin and twin.data_digest != data.data_digest):
        return "the sample is of other rows than the dataset's"
    if twin and (twin.model_digest != record.model_digest or len(twin.decisions) != data.rows):
        return "the twin is another model, or was not run on every row"
    if len(record.decisions) != count or count > data.rows or (count and not 0 <= rows.min() <= rows.max() < data.rows):
        return "the sample names rows that the dataset does not have"
    if len(case.evidence.reference_predictions.decisions) != data.rows or record.scores.ndim != 2:
        return f"only what names a class for each row can stop early, and the task is {data.task}"
    order = _order(data.rows, record.seed)
    rank = np.empty_like(order)
    rank[order] = np.arange(data.rows)
    if (np.diff(rank[rows]) <= 0).any():
        return "the sampled rows are not in the random order of their seed"
    if (whole := case.variant.predictions) is not None:
        came, device = np.ones(data.rows, dtype=np.bool_), whole.decisions
    else:
        came, device = np.zeros(data.rows, dtype=np.bool_), np.full(data.rows, -1, dtype=np.int64)
        came[rows], device[rows] = True, record.decisions
    seen: dict[Of, Outcomes] = {"device": outcomes(case, whole or _predicted(record, device))}
    if twin is not None:
        seen["twin"] = outcomes(case, twin)
        seen["audit"] = _audit(case, seen, device != twin.decisions)
    exact = data.weights is None and len(np.unique(data.cluster)) == data.rows
    return Sampled(case, order, came, exact, seen, {} if memory is None else memory)


@lru_cache(maxsize=2)
def _order(rows: int, seed: int) -> Int64Array:
    """A growing sample asks for the same order at every look."""
    order = random_order(rows, seed)
    order.setflags(write=False)
    return order


def _audit(case: Case, seen: dict[Of, Outcomes], differs: BoolArray) -> Outcomes:
    """The twin before, the device after; right is to decide as the reference does, where that is what is asked."""
    twin, device = seen["twin"], seen["device"]
    if case.requirement.metric == "agreement.flips":
        before, after = ~twin.decision_changed, ~device.decision_changed
    else:
        before, after = twin.optimized_right, device.optimized_right
    return replace(device, reference_right=before, optimized_right=after, decision_changed=differs)


def _predicted(record: SampleRecord, decisions: Int64Array) -> PredictionRecord:
    """The sample as predictions of all rows, of which those that were not run decide nothing that there is."""
    scores = np.zeros((len(decisions), record.scores.shape[1]), dtype=np.float32)
    scores[record.order] = record.scores
    return PredictionRecord(
        record.model_digest, record.data_digest, record.where, "default", scores, decisions, record.obtained
    )


def _taken(rows: Outcomes, index: Int64Array) -> Outcomes:
    taken: dict[str, Any] = {
        each.name: value[index] if isinstance(value := getattr(rows, each.name), np.ndarray) else value
        for each in fields(rows)
    }
    return Outcomes(**taken)


def _figures(sample: Sample) -> Figures:
    """The sample's counts, which are of rows: a share, or a difference of shares."""
    assert isinstance(sample.counts, (PairedCounts, Successes))
    return sample.counts
