"""What could be done without retraining, and what it would cost: thresholds by group, recalibration, another variant.

Nothing here changes a verdict: certified is what ran. What has to be fitted is fitted on one half of the dataset's
clusters and told from the other, so that no figure is of rows that it was fitted on.
"""

from kit.fairness.halves import fitting_half
from kit.fairness.paired import CRITERIA, gap
from kit.judge.front import CONFIDENCE, all_rows, criterion_of, front, rows_by
from kit.judge.mitigate_calibration import recalibrations
from kit.judge.mitigate_thresholds import thresholds
from kit.judge.mitigation_base import (
    Change,
    Given,
    Mitigation,
    accuracy_of,
    asked_of_groups,
    column_of_groups,
    gap_of,
    tried,
)
from kit.records import Evidence, VariantEvidence
from kit.spec.types import Profile
from kit.words import quantity

__all__ = ["Change", "Mitigation", "mitigations"]


def mitigations(evidence: Evidence, variant: VariantEvidence, profile: Profile) -> tuple[Mitigation, ...]:
    """Everything that can be tried on `variant` without retraining, each with its figures before and after.

    Thresholds by group: for two classes, over the column of the profile's first fairness requirement or the dataset's
    first sensitive column. Recalibration: for scores that are probabilities or logits. Another variant: those that are
    better in something, and that none surely dominates. Equal arguments give equal answers.
    """
    found, data = variant.predictions, evidence.dataset
    is_classified = data.task == "classification" and data.targets is None and len(data.classes) > 1
    if found is None or found.obtained == "absent" or not is_classified or len(found.decisions) != data.rows:
        return ()
    given = Given(evidence, variant, profile, found, fitting_half(data.cluster, profile.measure.seed))
    return (*thresholds(given), *recalibrations(given), *_variants(given))


def _variants(given: Given) -> tuple[Mitigation, ...]:
    """Other variants that are better in something and not surely dominated, against this one on all rows."""
    found, own = front(given.evidence, None, given.profile), given.variant.variant.recipe.name
    if found is None:
        return ()
    there = {each.variant.recipe.name: each for each in given.evidence.variants}
    names = [each.variant for each in found.points if each.standing in ("front", "doubtful") and each.variant != own]
    tried_all = (_variant(given, there[name]) for name in names)
    return tuple(each for each in tried_all if any(_helps(change) for change in each.changes))


def _helps(change: Change) -> bool:
    """Whether there is less of a gap, or more accuracy, as far as estimates go."""
    return change.after > change.before if change.what == "accuracy" else change.after < change.before


def _variant(given: Given, other: VariantEvidence) -> Mitigation:
    data, name, column = given.evidence.dataset, other.variant.recipe.name, column_of_groups(given)
    assert other.predictions is not None
    before, after = given.found.decisions, other.predictions.decisions
    changes = [accuracy_of(all_rows(given.evidence, given.profile), before, after)]
    criterion = criterion_of(asked_of_groups(given.profile))
    if column is not None and criterion in CRITERIA:
        grouped = rows_by(given.evidence, given.profile, data.columns[column], asked_of_groups(given.profile))
        if gap(grouped, criterion, before, CONFIDENCE) is not None:
            changes.insert(0, gap_of(grouped, criterion, before, after))
    sizes = float(given.variant.variant.model.size_bytes), float(other.variant.model.size_bytes)
    made = tried(given, "variant", name, changes, (), "")
    more = f" Its file has {quantity(sizes[1], 'B')}, this one's {quantity(sizes[0], 'B')}."
    return Mitigation("variant", name, made.changes, (), 0, data.rows, other.predictions.obtained,
                      "both variants on all rows, nothing is fitted", made.sentence + more)  # fmt: skip
