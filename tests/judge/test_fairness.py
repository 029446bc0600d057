"""fairness.gap, fairness.ratio and fairness.gap_change by any measure: known truths, small groups, crossings, harms."""

from dataclasses import replace

import numpy as np
import pytest

from kit.fairness import rates
from kit.judge import judge
from kit.records import ColumnRecord, DatasetRecord, Evidence, Finding, PredictionRecord, Verdict
from kit.spec.measures import HARMS
from kit.spec.types import Metric, Requirement
from kit.stats.cells import cell_counts
from tests.builders import VariantPlan, device, evidence, profile, requirement


def world(
    rows: int = 6000,
    after: dict[str, float] | None = None,
    columns: dict[str, tuple[str, ...]] | None = None,
    shares: dict[str, tuple[float, ...]] | None = None,
    seed: int = 0,
) -> Evidence:
    """Two classes; the reference is right 85 % of the time; `after` flips a share of a column's value to "no".

    `columns` have these values, by default equally often; `shares` says otherwise.
    """
    rng = np.random.default_rng(seed)
    base = evidence([VariantPlan("int8")], rows=rows, clustered=False, seed=seed)
    columns = columns or {"sex": ("F", "M"), "race": ("a", "b", "c")}
    codes = {
        name: rng.choice(len(values), rows, p=(shares or {}).get(name)).astype(np.int64)
        for name, values in columns.items()
    }
    label = (rng.random(rows) < 0.4).astype(np.int64)
    before = np.where(rng.random(rows) < 0.85, label, 1 - label)
    device_made = before.copy()
    for subject, share in (after or {}).items():
        name, _, value = subject.partition("=")
        hit = (codes[name] == columns[name].index(value)) & (rng.random(rows) < share)
        device_made[hit] = 0
    data: DatasetRecord = replace(
        base.dataset, classes=("no", "yes"), labels=label,
        columns={name: ColumnRecord(values, codes[name]) for name, values in columns.items()},
        sensitive=tuple(columns),
    )  # fmt: skip
    variant = base.variants[0]
    assert variant.predictions is not None
    assert variant.exact_predictions is not None
    made = {
        "predictions": deciding(variant.predictions, device_made),
        "exact_predictions": deciding(variant.exact_predictions, device_made),
        "saturating_predictions": None,
    }
    return replace(
        base, dataset=data, reference_predictions=deciding(base.reference_predictions, before),
        variants=(replace(variant, **made),),
    )  # fmt: skip


def deciding(of: PredictionRecord, decisions: np.ndarray) -> PredictionRecord:
    sure = np.where(decisions == 1, 0.8, 0.2)
    scores = np.stack([1 - sure, sure], axis=1).astype(np.float32)
    return replace(of, decisions=decisions.astype(np.int64), scores=scores)


def ask(metric: Metric, limit: float, **changes: object) -> Requirement:
    plain = requirement(metric, limit, by=("sex",))
    return replace(plain, **({"direction": "at_least"} if metric == "fairness.ratio" else {}) | changes)  # type: ignore[arg-type]


def findings(given: Evidence, asked: Requirement, **changes: object) -> tuple[Finding, ...]:
    return judge(given, profile([asked], **changes), device()).variants[0].findings


def only(given: Evidence, asked: Requirement, **changes: object) -> Finding:
    (found,) = findings(given, asked, **changes)
    return found


def table(given: Evidence, column: str = "sex") -> np.ndarray:
    record = given.variants[0].predictions
    assert record is not None
    part = given.dataset.columns[column]
    return cell_counts(
        [part.codes],
        [len(part.values)],
        given.dataset.labels,
        given.reference_predictions.decisions,
        record.decisions,
        1,
    )


@pytest.mark.parametrize("measure", sorted(rates.PARTS))
def test_estimates_are_those_of_the_counts(measure: str) -> None:
    given = world(after={"sex=F": 0.3})
    cells = table(given)
    gap, ratio, change = (
        only(given, ask(metric, 0.5, measure=measure))
        for metric in ("fairness.gap", "fairness.ratio", "fairness.gap_change")  # type: ignore[arg-type]
    )
    now, was = (float(rates.gap(side(cells), measure)) for side in (rates.after, rates.before))
    assert gap.estimate == pytest.approx(now, abs=1e-12)
    assert ratio.estimate == pytest.approx(float(rates.parity(rates.after(cells), measure)), abs=1e-12)
    assert change.estimate == pytest.approx(now - was, abs=1e-12)
    assert change.details["gap_before"] == pytest.approx(was, abs=1e-12)
    for found in (gap, ratio, change):
        assert found.subject == f"sex: {measure}"
        assert found.lower is not None
        assert found.upper is not None
        assert found.estimate is not None
        assert found.lower <= found.estimate <= found.upper


def test_verdicts_of_plain_cases() -> None:
    equal, harmed = world(), world(after={"sex=F": 0.4})
    for metric, good, bad in (("fairness.gap", 0.1, 0.05), ("fairness.gap_change", 0.05, 0.05)):
        assert only(equal, ask(metric, good, measure="demographic-parity")).verdict is Verdict.PASS  # type: ignore[arg-type]
        assert only(harmed, ask(metric, bad, measure="equal-opportunity")).verdict is Verdict.FAIL  # type: ignore[arg-type]
    assert only(equal, ask("fairness.ratio", 0.8, measure="demographic-parity")).verdict is Verdict.PASS
    assert only(harmed, ask("fairness.ratio", 0.8, measure="demographic-parity")).verdict is Verdict.FAIL
    assert only(equal, ask("fairness.gap", 0.001, measure="demographic-parity")).verdict is Verdict.INCONCLUSIVE


def test_a_gap_that_shrinks_is_no_gap_that_grows() -> None:
    """Women were selected more often; they still are, but less."""
    given = world(rows=12_000)
    codes, record = given.dataset.columns["sex"].codes, given.variants[0].predictions
    assert record is not None
    before, after = (
        deciding(given.reference_predictions, np.where((codes == 0) & (np.arange(len(codes)) % every == 0), 1, plain))
        for every, plain in ((2, given.reference_predictions.decisions), (4, record.decisions))
    )
    variant = replace(given.variants[0], predictions=replace(record, decisions=after.decisions, scores=after.scores))
    given = replace(given, reference_predictions=before, variants=(variant,))
    found = only(given, ask("fairness.gap_change", 0.0, measure="demographic-parity"))
    assert found.estimate is not None
    assert found.estimate < -0.1
    assert found.verdict is Verdict.PASS


def test_the_sentence_names_the_two_groups_and_the_rate() -> None:
    found = only(world(after={"sex=F": 0.4}), ask("fairness.gap", 0.05, measure="equalized-odds"))
    assert found.reason.startswith("the gap over sex in equalized odds is ")
    assert "between sex: M (" in found.reason
    assert "in true positive rate of yes; allowed 5.0 points." in found.reason


@pytest.mark.parametrize("harm", sorted(HARMS))
def test_a_harm_is_judged_by_each_of_its_measures(harm: str) -> None:
    found = findings(world(rows=1500), ask("fairness.gap", 0.2, harm=harm))
    assert [f.subject for f in found] == [f"sex: {measure}" for measure in HARMS[harm]]
    assert all(f.obtained == "measured" for f in found)


def test_crossings_are_judged_as_well() -> None:
    given = world()
    found = findings(given, ask("fairness.gap", 0.2, by=("sex", "race"), cross=2, measure="demographic-parity"))
    assert [f.subject.split(": ")[0] for f in found] == ["sex", "race", "sex & race"]
    assert [f.details["groups"] for f in found] == [2, 3, 6]
    assert found[2].estimate is not None
    assert found[0].estimate is not None
    assert found[2].estimate >= found[0].estimate, "finer groups are no closer together"


def test_a_small_group_is_named_and_holds_a_pass_back_but_no_fail() -> None:
    rare = {"race": (0.6, 0.398, 0.002)}
    asked = ask("fairness.gap", 0.2, by=("race",), measure="demographic-parity")
    found = only(world(shares=rare), asked)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason.startswith("NOT TESTED: race: c has ")
    assert "over the other groups, the gap over race in demographic parity is " in found.reason
    assert (found.details["groups"], found.details["groups_not_tested"]) == (2, 1)
    harmed = only(world(shares=rare, after={"race=a": 0.9}), asked)
    assert harmed.verdict is Verdict.FAIL
    assert "Not tested: race: c has " in harmed.reason
    change = only(world(shares=rare, after={"race=a": 0.9}), replace(asked, metric="fairness.gap_change"))
    assert change.verdict is Verdict.INCONCLUSIVE, "the gap before may have been with the group that is not tested"


def test_a_group_without_positives_has_no_true_positive_rate_and_passes_nothing() -> None:
    given = world()
    codes = given.dataset.columns["sex"].codes
    data = replace(given.dataset, labels=np.where(codes == 0, 0, given.dataset.labels))
    found = only(replace(given, dataset=data), ask("fairness.gap", 0.9, measure="equal-opportunity"))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.estimate is None
    assert "sex: F has no rows for the true positive rate of yes" in found.reason


def test_the_positive_class_is_the_last_of_two_unless_it_is_named() -> None:
    given = world(after={"sex=F": 0.2})
    plain, named, other = (
        only(given, ask("fairness.gap", 0.2, measure="equal-opportunity", positive=positive)).estimate
        for positive in ("", "yes", "no")
    )
    assert plain == named != other
    unknown = only(given, ask("fairness.gap", 0.2, measure="equal-opportunity", positive="maybe"))
    assert unknown.obtained == "absent"
    assert "maybe" in unknown.reason


def test_of_many_classes_the_worst_counts() -> None:
    given = evidence([VariantPlan("int8")], clustered=False)
    asked = ask("fairness.gap", 0.2, by=("side",), measure="demographic-parity", minimum_rows=1)
    whole = only(given, asked).estimate
    each = [only(given, replace(asked, positive=name)).estimate for name in given.dataset.classes]
    assert whole == max(value for value in each if value is not None)


def test_weights_count() -> None:
    given = world(after={"sex=F": 0.3})
    twice = replace(given, dataset=replace(given.dataset, weights=np.full(given.dataset.rows, 2.0)))
    asked = ask("fairness.gap", 0.2, measure="equal-opportunity")
    plain, alike = only(given, asked), only(twice, asked)
    assert alike.estimate == pytest.approx(plain.estimate)
    assert alike.upper == pytest.approx(plain.upper, abs=0.01)
    uneven = np.where(np.arange(given.dataset.rows) % 2, 9.0, 1.0)
    wide = only(replace(given, dataset=replace(given.dataset, weights=uneven)), asked)
    assert wide.upper is not None
    assert plain.upper is not None
    assert wide.estimate is not None
    assert plain.estimate is not None
    assert wide.upper - wide.estimate > plain.upper - plain.estimate


def test_clusters_widen_the_bounds() -> None:
    given = world()
    cluster = np.arange(given.dataset.rows) // 100 * 2 + given.dataset.columns["sex"].codes
    clustered = replace(given, dataset=replace(given.dataset, cluster=cluster, cluster_column="town"))
    asked = ask("fairness.gap", 0.2, measure="demographic-parity")
    one, other = only(given, asked), only(clustered, asked)
    assert one.estimate == other.estimate
    assert one.upper is not None
    assert other.upper is not None
    assert other.upper > one.upper
    assert other.clusters == 120


@pytest.mark.parametrize("measure", ["equal-opportunity", "predictive-parity", "demographic-parity", "calibration"])
@pytest.mark.parametrize("metric", ["fairness.gap", "fairness.gap_change"])
def test_clusters_are_those_of_the_rows_that_count(metric: Metric, measure: str) -> None:
    """Of the positives alone, where only those count; groups that share a cluster count it once."""
    given = world(600)
    data, record = given.dataset, given.variants[0].predictions
    assert record is not None
    plain = only(given, ask(metric, 0.2, measure=measure))
    assert plain.clusters == plain.rows
    pairs = replace(given, dataset=replace(data, cluster=np.arange(600) // 2, cluster_column="pair"))
    found = only(pairs, ask(metric, 0.2, measure=measure))
    counted = data.labels == 1 if measure == "equal-opportunity" else np.ones(600, np.bool_)
    if measure == "predictive-parity":
        sides = [record.decisions == 1, given.reference_predictions.decisions == 1]
        groups = [data.columns["sex"].codes == code for code in (0, 1)]
        fewer = [min((side & group for side in sides), key=lambda mask: int(mask.sum())) for group in groups]
        counted = fewer[0] | fewer[1]
    assert (found.rows, found.clusters) == (counted.sum(), len(set((np.flatnonzero(counted) // 2).tolist())))


def test_calibration_is_signed_and_has_no_ratio() -> None:
    given = world()
    found = only(given, ask("fairness.gap", 0.2, measure="calibration"))
    record, codes, labels = given.variants[0].predictions, given.dataset.columns["sex"].codes, given.dataset.labels
    assert record is not None
    errors = [float(record.scores[codes == k, 1].mean() - labels[codes == k].mean()) for k in (0, 1)]
    assert found.estimate == pytest.approx(abs(errors[0] - errors[1]), abs=1e-6)
    assert found.verdict is Verdict.PASS
    none = only(given, ask("fairness.ratio", 0.2, measure="calibration"))
    assert (none.obtained, none.verdict) == ("absent", Verdict.INCONCLUSIVE)


@pytest.mark.parametrize("measure", ["brier", "auc", "f1", "log-loss"])
def test_the_quality_of_service_of_any_measure(measure: str) -> None:
    found = only(world(rows=1200, after={"sex=F": 0.5}), ask("fairness.gap", 0.5, measure=measure))
    assert found.obtained == "measured"
    assert found.estimate is not None
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower <= found.estimate <= found.upper
    assert found.unit == ("1" if measure == "log-loss" else "points")


def test_a_measure_of_another_task_is_absent() -> None:
    found = only(world(rows=300), ask("fairness.gap", 0.5, measure="wer"))
    assert (found.obtained, found.verdict) == ("absent", Verdict.INCONCLUSIVE)
    assert "wer is no measure of the task classification" in found.reason
    own = only(world(rows=300), ask("fairness.gap", 0.5, measure="mine.py:loss"))
    assert "the losses by mine.py:loss were not obtained" in own.reason


def test_too_many_groups_are_refused() -> None:
    columns = {"a": tuple(f"v{k}" for k in range(60)), "b": tuple(f"w{k}" for k in range(60))}
    found = findings(world(columns=columns), ask("fairness.gap", 0.5, by=("a", "b"), cross=2))[-1]
    assert found.obtained == "absent"
    assert "at most 1,000 are compared" in found.reason


def test_nobody_is_selected() -> None:
    given = world(after={"sex=F": 1.1, "sex=M": 1.1})
    assert only(given, ask("fairness.gap", 0.1, measure="demographic-parity")).verdict is Verdict.PASS
    ratio = only(given, ask("fairness.ratio", 0.8, measure="demographic-parity"))
    assert (ratio.obtained, ratio.verdict) == ("absent", Verdict.INCONCLUSIVE)
    precision = only(given, ask("fairness.gap", 0.1, measure="predictive-parity"))
    assert precision.verdict is Verdict.INCONCLUSIVE


def test_groups_that_are_all_alike_are_not_named_twice() -> None:
    given = evidence([VariantPlan("int8", to_wrong=0.0, to_right=0.0)], reference_accuracy=1.0)
    asked = requirement("fairness.gap", 0.2, by=("side",), measure="accuracy")
    (found,) = judge(given, profile([asked]), device()).variants[0].findings
    assert found.estimate == 0.0
    assert "100 % of every group in" in found.reason
    assert "between" not in found.reason
