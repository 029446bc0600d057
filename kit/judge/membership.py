"""privacy.membership: by how much the variant tells better than the reference who was trained on.

Both models are attacked by their outputs on the same rows: members of the train part, and test rows that were not
trained on. The claim is about the attacks that were tried, the best of them on rows that did not choose it; an audit
bounds leaks from below, and a better attack may find more.
"""

import numpy as np

from kit.judge.base import Case, Measured, absent, explained, finding, has_stopped_early, undecided, unpredicted
from kit.records import Finding, MembershipRecord, Verdict
from kit.stats.advantage import BoolArray, Bounded, advantage, advantage_change, area
from kit.words import count, interval, percent, quantity

METHOD = "paired change of guesses of members less that of others, score bounds joined by MOVER, by cluster"
_NEED = "give the dataset a part with the role train, of rows that the model was trained on"

LOW_RATE = 0.01
"""Share of others guessed to be members at which that of members is shown as well (N. Carlini and others, 2022)."""


def judge_membership(case: Case) -> tuple[Finding, ...]:
    """Advantage of an attack on the variant less that on the reference, in points."""
    before, after = case.evidence.reference_membership, case.variant.membership
    if after is None and has_stopped_early(case):
        return (absent(case, "points", *unpredicted(case)),)
    if before is None or after is None:
        return (absent(case, "points", "no membership attack was made.", _NEED),)
    if not _same_rows(before, after):
        return (absent(case, "points", "the attacks were measured on different rows.", "make both on the same rows"),)
    if not len(after.member_scores) or not len(after.other_scores):
        reason = f"NOT TESTED: {_left_out(after) or 'too few rows'}; too few others remain."
        return (absent(case, "points", reason, "test rows that the model was not trained on"),)
    found = _finding(case, before, after)
    if small := _too_small(case, after):
        return (undecided(found, f"too few rows to judge: {small}.", "more rows of the train or test part"),)
    return (found,)


def _left_out(record: MembershipRecord) -> str:
    """How many test rows were trained on; empty if none."""
    rows = record.others_left_out
    return f"{count(rows, 'test row')} left out, which cop{'ies' if rows == 1 else 'y'} the train part" if rows else ""


def _same_rows(one: MembershipRecord, two: MembershipRecord) -> bool:
    pairs = ((one.member_cluster, two.member_cluster), (one.other_cluster, two.other_cluster))
    lengths = len(two.member_scores) == len(two.member_cluster) and len(two.other_scores) == len(two.other_cluster)
    return lengths and all(np.array_equal(first, second) for first, second in pairs)


def _too_small(case: Case, record: MembershipRecord) -> str:
    asked = case.requirement
    for name, cluster in (("members", record.member_cluster), ("others", record.other_cluster)):
        clusters = len(np.unique(cluster))
        if len(cluster) < max(1, asked.minimum_rows) or clusters < max(2, asked.minimum_clusters):
            least = f"minimum {asked.minimum_rows:,} in {asked.minimum_clusters:,}"
            less = f" ({_left_out(record)})" if name == "others" and record.others_left_out else ""
            return f"{count(len(cluster), 'row')} of {name}{less} in {count(clusters, 'cluster')}; {least}"
    return ""


def _guesses(record: MembershipRecord) -> tuple[BoolArray, BoolArray]:
    return record.member_scores > 0, record.other_scores > 0


def _finding(case: Case, before: MembershipRecord, after: MembershipRecord) -> Finding:
    clusters = (after.member_cluster, after.other_cluster)
    floor, level = case.profile.icc_floor, case.confidence
    change = advantage_change(_guesses(after), _guesses(before), *clusters, floor, level)
    itself = advantage(*_guesses(after), *clusters, floor, level)
    before_itself = advantage(*_guesses(before), *clusters, floor, level)
    measured = Measured(
        change.estimate, change.lower, change.upper, "points", METHOD,
        len(after.member_scores) + len(after.other_scores), "computed",
        sum(len(np.unique(each)) for each in clusters),
        tuple(dict.fromkeys((after.model_digest, before.model_digest, after.data_digest))),
        _details(after, itself, before_itself, area(after.member_scores, after.other_scores, *clusters, level)),
    )  # fmt: skip
    found = finding(case, measured)
    need = "more rows of the train and test parts: the width of the interval falls with the root of their number"
    return explained(found, _sentence(found, before, after, itself, before_itself), need)


def _details(record: MembershipRecord, itself: Bounded, before: Bounded, area: Bounded) -> dict[str, float]:
    return {
        "advantage": itself.estimate,
        "advantage_lower": itself.lower,
        "advantage_upper": itself.upper,
        "reference_advantage": before.estimate,
        "reference_advantage_lower": before.lower,
        "reference_advantage_upper": before.upper,
        "auc": area.estimate,
        "auc_lower": area.lower,
        "auc_upper": area.upper,
        "members_at_1_percent_of_others": members_at(record, LOW_RATE),
        "members": float(len(record.member_scores)),
        "others": float(len(record.other_scores)),
        **({"others_left_out": float(record.others_left_out)} if record.others_left_out else {}),
    }


def members_at(record: MembershipRecord, rate: float) -> float:
    """Share of members above the score that at most `rate` of others exceed."""
    ordered = np.sort(record.other_scores)
    threshold = ordered[len(ordered) - 1 - int(rate * len(ordered))]
    return float((record.member_scores > threshold).mean())


def _sentence(
    found: Finding, before: MembershipRecord, after: MembershipRecord, itself: Bounded, before_itself: Bounded
) -> str:
    assert found.estimate is not None
    attack = (
        f"the best attack ({after.attack}) tells members with an advantage of {quantity(itself.estimate, 'points')} "
        f"{interval(itself.lower, itself.upper, 'points')}, on the reference ({before.attack}) "
        f"{quantity(before_itself.estimate, 'points')}"
    )
    less = f"; {_left_out(after)}" if after.others_left_out else ""
    allowed = f"allowed {quantity(found.limit, 'points')} more{less}"
    if found.verdict is Verdict.PASS and found.upper is not None:
        end = f"(upper end, {percent(found.confidence)} confidence)"
        return f"{attack}: at most {quantity(found.upper, 'points')} more {end}; {allowed}."
    change = quantity(found.estimate, "points")
    return f"{attack}: a change of {change} {interval(found.lower, found.upper, 'points')}; {allowed}."
