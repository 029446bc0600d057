"""explanation.agreement: whether the variant looks at the same features as the reference.

On each of several disjoint sets of clusters, features are ranked by what both models lose when they are permuted; the
agreement is the median of Kendall's tau-b over those sets, between two of its order statistics: agreements are bounded
and skewed, and a bound that takes them for normal errs too often. Noise in the ranks lowers agreement, so that it says
less than agreement on endlessly many rows would.
"""

import math

import numpy as np

from kit.judge.base import Case, Measured, absent, certifying, explained, finding
from kit.records import ExplanationRecord, Finding, Float64Array, Verdict
from kit.stats.ranks import kendall_tau_b, top_overlap, weighted_tau
from kit.stats.special import binomial_cdf
from kit.words import fixed, interval, percent, quantity

METHOD = "median of Kendall's tau-b over disjoint sets of clusters, by order statistics (exact binomial)"
TOP = 5


def judge_explanation(case: Case) -> tuple[Finding, ...]:
    """Rank agreement of permutation importances before and after, -1 to 1."""
    record = case.variant.explanation
    if record is None:
        return (absent(case, "share", "the models were not explained.", "explain reference and variant"),)
    if len(record.features) < 2:
        return (absent(case, "share", "one feature has no rank.", "features to rank"),)
    each = agreements(record)
    known = int(np.isfinite(each).sum())
    if known < len(each) or median_bounds(each, case.confidence)[0] is None:
        reason = f"NOT TESTED: features can be ranked on {known} of {len(each)} sets of clusters, too few for a bound."
        return (absent(case, "share", reason, "rows of more clusters on which features matter"),)
    return (certifying(case, _finding(case, record, each)),)


def agreements(record: ExplanationRecord) -> Float64Array:
    """Kendall's tau-b of each repeat: float64 [repeats], NaN where a model ranks nothing."""
    pairs = zip(record.reference_importance, record.optimized_importance, strict=True)
    return np.array([kendall_tau_b(before, after) for before, after in pairs])


def median_bounds(each: Float64Array, confidence: float) -> tuple[float | None, float | None]:
    """Bounds of the median, each one-sided, by order statistics; None where there are too few for this confidence.

    The k-th smallest of n exceeds the median with P(Binomial(n, 1/2) < k). Source: W. R. Thompson, Annals of Math.
    Statistics 7 (1936).
    """
    count, ordered = len(each), np.sort(each)
    allowed = [k for k in range(1, count + 1) if binomial_cdf(k - 1, count, 0.5) <= 1 - confidence]
    if not allowed:
        return None, None
    return float(ordered[allowed[-1] - 1]), float(ordered[count - allowed[-1]])


def _finding(case: Case, record: ExplanationRecord, each: Float64Array) -> Finding:
    lower, upper = median_bounds(each, case.confidence)
    measured = Measured(
        float(np.median(each)), lower, upper, "share", METHOD, case.evidence.dataset.rows, "computed", len(each),
        (record.model_digest, record.data_digest), _details(record),
    )  # fmt: skip
    found = finding(case, measured)
    need = "more rows in more clusters: the ranks of features that hardly matter are noise on few rows"
    return explained(found, _sentence(found, record), need)


def _details(record: ExplanationRecord) -> dict[str, float]:
    before, after = record.reference_importance.mean(axis=0), record.optimized_importance.mean(axis=0)
    top = min(TOP, len(record.features))
    found = {
        "features": float(len(record.features)),
        "repeats": float(len(record.reference_importance)),
        "weighted_tau": weighted_tau(before, after),
        "top_overlap": top_overlap(before, after, top),
        "flipped_rows": float(len(record.flipped)),
        "flipped_back": float(sum(row.distance is not None for row in record.flipped)),
    }
    local = local_agreement(record)
    found |= {} if local is None else {"local_tau": local}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def local_agreement(record: ExplanationRecord) -> float | None:
    """Mean of Kendall's tau-b of the sizes of attributions, over the rows that have them; None where none has."""
    if record.reference_local is None or record.optimized_local is None:
        return None
    pairs = zip(np.abs(record.reference_local), np.abs(record.optimized_local), strict=True)
    each = [value for before, after in pairs if math.isfinite(value := kendall_tau_b(before, after))]
    return float(np.mean(each)) if each else None


def _sentence(found: Finding, record: ExplanationRecord) -> str:
    assert found.estimate is not None
    assert found.lower is not None
    top = min(TOP, len(record.features))
    shared = f"{found.details['top_overlap'] * top:.0f} of the {top} most important features are the same"
    limit = f"limit {quantity(found.limit, 'share')}"
    if found.verdict is Verdict.PASS:
        end = f"(lower end, {percent(found.confidence)} confidence)"
        return f"ranks of features agree by at least {quantity(found.lower, 'share')} {end}; {limit}; {shared}."
    ends = interval(found.lower, found.upper, "share")
    return f"ranks of features agree by {fixed(100 * found.estimate)} % {ends} (Kendall's tau-b); {limit}; {shared}."
