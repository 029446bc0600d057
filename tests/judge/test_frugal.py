"""Verdicts from rows that were run until they were decided: replay, orders, slices, twins, samples that are none."""

from dataclasses import replace

import numpy as np
import pytest

from kit.errors import MeasurementError
from kit.judge import judge
from kit.judge.base import Case
from kit.judge.follow import Follow
from kit.judge.frugal import judge_sample
from kit.records import (
    ColumnRecord,
    Evidence,
    Finding,
    Float32Array,
    Int64Array,
    PredictionRecord,
    SampleRecord,
    VariantEvidence,
    Verdict,
)
from kit.spec.types import MeasurePlan, Metric, Requirement
from kit.stats.orders import next_look, random_order
from tests.builders import VariantPlan, device, evidence, predictions, profile, requirement, with_changes

CALM = VariantPlan("int8", to_wrong=0.002, to_right=0.002)
BROKEN = VariantPlan("int8", to_wrong=0.2, to_right=0.0)
DROP = requirement("accuracy.drop", 0.03)


def sample_of(given: Evidence, rows: Int64Array, seed: int, twin: PredictionRecord | None = None) -> SampleRecord:
    record = given.variants[0].predictions
    assert record is not None
    return SampleRecord(
        record.model_digest, record.data_digest, record.where, seed, rows, record.scores[rows], record.decisions[rows],
        record.obtained, twin, "",
    )  # fmt: skip


def case_of(given: Evidence, asked: Requirement, sample: SampleRecord | None = None, seed: int = 0) -> Case:
    variant = replace(given.variants[0], predictions=None, sample=sample)
    return Case(asked, variant, given, profile([asked], measure=MeasurePlan(seed=seed)), device())


def run(
    given: Evidence, *asked: Requirement, seed: int = 0, twin: PredictionRecord | None = None
) -> tuple[SampleRecord, Follow]:
    """What `sample_part` does, with the device's answers at hand."""
    order = random_order(given.dataset.rows, seed)
    follow = Follow([case_of(given, each, seed=seed) for each in asked])
    rows, position = order[:0], 0
    while (wanted := follow(sample_of(given, rows, seed, twin))).any():
        rest = order[position:]
        more = rest[wanted[rest]][: next_look(len(rows)) - len(rows)]
        assert len(more)
        rows = np.concatenate([rows, more])
        position = int(np.flatnonzero(order == more[-1])[0]) + 1
    return sample_of(given, rows, seed, twin), follow


def findings(given: Evidence, asked: Requirement, sample: SampleRecord) -> tuple[Finding, ...]:
    return judge_sample(case_of(given, asked, sample))


@pytest.mark.parametrize("clustered", [False, True], ids=["rows", "recordings"])
@pytest.mark.parametrize(
    ("plan", "asked", "expected"),
    [
        pytest.param(CALM, DROP, Verdict.PASS, id="calm-drop"),
        pytest.param(BROKEN, DROP, Verdict.FAIL, id="broken-drop"),
        pytest.param(CALM, requirement("accuracy.value", 0.6), Verdict.PASS, id="calm-value"),
        pytest.param(BROKEN, requirement("accuracy.value", 0.9), Verdict.FAIL, id="broken-value"),
        pytest.param(CALM, requirement("agreement.flips", 0.05), Verdict.PASS, id="calm-flips"),
        pytest.param(BROKEN, requirement("agreement.flips", 0.02), Verdict.FAIL, id="broken-flips"),
    ],
)
def test_what_is_plain_is_decided_early_and_rightly(
    plan: VariantPlan, asked: Requirement, expected: Verdict, clustered: bool
) -> None:
    given = evidence([plan], clustered=clustered)
    sample, follow = run(given, asked)
    (found,) = findings(given, asked, sample)
    assert found.verdict is expected
    assert found.lower is not None
    assert found.upper is not None
    assert found.estimate is not None
    assert found.lower <= found.estimate <= found.upper
    assert len(sample.order) < given.dataset.rows
    assert found.rows == len(sample.order)
    assert f"stopped after {len(sample.order):,} of 2,008 rows" in found.method
    assert ("effective counts" in found.method) == clustered
    assert follow.told == f"{asked.id} decided after {len(sample.order):,} rows"


def test_the_verdict_is_that_of_the_record_alone() -> None:
    """The whole judge takes the sample where there are no predictions, and says the same each time."""
    given = evidence([CALM])
    sample, _ = run(given, DROP)
    variant = replace(given.variants[0], predictions=None, sample=sample)
    first, second = (
        judge(replace(given, variants=(variant,)), profile([DROP]), device()).variants[0].findings for _ in range(2)
    )
    assert first == second
    assert first[0].verdict is Verdict.PASS


def test_rows_that_were_run_beyond_the_verdict_do_not_undo_it() -> None:
    """Whoever goes on for another requirement does not put a decided one at risk: bounds only tighten."""
    given = evidence([CALM], clustered=False)
    sample, _ = run(given, DROP)
    order = random_order(given.dataset.rows, 0)
    for count in range(len(sample.order), given.dataset.rows, 171):
        (found,) = findings(given, DROP, sample_of(given, order[:count], 0))
        assert found.verdict is Verdict.PASS


def test_slices_that_are_decided_are_passed_over() -> None:
    """One side is harmed: rows of that side are asked for longest, and the verdict names it."""
    plan = VariantPlan("int8", to_wrong=0.0, to_right=0.0, slices={"side=left": (0.03, 0.0)})
    given = evidence([plan], rows=6000, clustered=False)
    asked = requirement("accuracy.drop", 0.06, by=("side",))
    sample, follow = run(given, asked)
    left, right = findings(given, asked, sample)
    assert (left.subject, left.verdict, right.verdict) == ("side=left", Verdict.PASS, Verdict.PASS)
    codes = given.dataset.columns["side"].codes[sample.order]
    assert (codes == 0).sum() > 1.5 * (codes == 1).sum()
    assert follow.told.startswith("accuracy-drop decided")
    assert left.rows == (codes == 0).sum(), "every row of the undecided slice counts"


def test_one_broken_slice_ends_the_run() -> None:
    plan = VariantPlan("int8", to_wrong=0.0, to_right=0.0, slices={"exercise=row": (0.5, 0.0)})
    given = evidence([plan], clustered=False)
    asked = requirement("accuracy.drop", 0.05, by=("exercise",))
    sample, _ = run(given, asked)
    found = {each.subject: each.verdict for each in findings(given, asked, sample)}
    assert found["exercise=row"] is Verdict.FAIL
    assert len(sample.order) < 0.7 * given.dataset.rows


def test_slices_that_no_row_could_still_pass_are_not_waited_for() -> None:
    """Eight recordings cannot show a drop below 6 points even if nothing flips: a pilot is run, and no more."""
    given = evidence([VariantPlan("int8", to_wrong=0.0, to_right=0.0)])
    asked = requirement("accuracy.drop", 0.06, by=("exercise", "side"))
    sample, follow = run(given, asked)
    found = {each.subject: each.verdict for each in findings(given, asked, sample)}
    assert found["side=left"] is found["side=right"] is Verdict.PASS
    assert found["exercise=row"] is Verdict.INCONCLUSIVE
    assert len(sample.order) < 0.6 * given.dataset.rows
    assert "no row that is left could show that it holds" in follow.told


def test_slices_that_seem_broken_are_run_on_though_they_cannot_pass() -> None:
    plan = VariantPlan("int8", to_wrong=0.0, to_right=0.0, slices={"exercise=row": (0.5, 0.0)})
    given = evidence([plan])
    asked = requirement("accuracy.drop", 0.06, by=("exercise",))
    sample, _ = run(given, asked)
    codes = given.dataset.columns["exercise"].codes
    run_of = np.bincount(codes[sample.order])
    assert run_of[codes.max()] > 1.3 * run_of[: codes.max()].mean()


def test_slices_that_are_too_small_are_not_waited_for() -> None:
    given = evidence([CALM])
    asked = requirement("accuracy.drop", 0.5, by=("side", "exercise"), minimum_rows=500, minimum_clusters=2)
    sample, follow = run(given, asked)
    found = findings(given, asked, sample)
    assert {each.subject for each in found if "NOT TESTED" not in each.reason} <= {"side=left", "side=right"}
    assert "exercise" not in follow.told


def test_several_requirements_are_followed_at_once() -> None:
    given = evidence([CALM], clustered=False)
    asked = (requirement("accuracy.value", 0.5), requirement("accuracy.drop", 0.01), requirement("model.size", 1e6))
    sample, follow = run(given, *asked)
    first, second = follow.told.split("; ")
    assert first.startswith("accuracy-value decided after")
    assert "accuracy-drop" in second
    assert "model" not in follow.told
    assert all(findings(given, each, sample)[0].verdict is not Verdict.FAIL for each in asked[:2])


def test_what_stays_undecided_says_what_is_missing() -> None:
    plan = VariantPlan("int8", to_wrong=0.03, to_right=0.01)
    given = evidence([plan], clustered=False, rows=700)
    sample, follow = run(given, requirement("accuracy.drop", 0.02))
    (found,) = findings(given, requirement("accuracy.drop", 0.02), sample)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert len(sample.order) == 700
    assert "half of the chance of error kept for the test at the end" in found.method
    assert "all rows are spent" in follow.told
    assert found.need


def test_a_twin_that_agrees_spares_rows() -> None:
    """5 % of decisions flip: the twin tells of all rows that they balance, and few need to be run."""
    plan = VariantPlan("int8", to_wrong=0.025, to_right=0.025)
    given = evidence([plan], clustered=False, rows=20_000)
    record = given.variants[0].predictions
    assert record is not None
    asked = requirement("accuracy.drop", 0.01)
    alone, _ = run(given, asked)
    beside, _ = run(given, asked, twin=replace(record, where="host"))
    (found,) = findings(given, asked, beside)
    assert found.verdict is Verdict.PASS
    assert len(beside.order) < len(alone.order) / 2
    assert found.details["differing_from_twin"] == 0
    assert "twin" in found.method
    assert "0 of them decided otherwise than by its twin" in found.reason


def test_a_twin_that_flatters_does_not_deceive() -> None:
    """The twin is the reference itself; the device loses a fifth."""
    given = evidence([BROKEN], clustered=False)
    twin = replace(given.reference_predictions, model_digest=given.variants[0].variant.model.digest)
    sample, _ = run(given, DROP, twin=twin)
    assert findings(given, DROP, sample)[0].verdict is Verdict.FAIL


def hostile(sample: SampleRecord, kind: str) -> SampleRecord:
    rows = sample.order
    twin = PredictionRecord(sample.model_digest, sample.data_digest, "host", "exact", sample.scores, rows, "computed")
    return {
        "other-rows": replace(sample, data_digest="sha256:0"),
        "picked": replace(sample, order=rows[::-1].copy()),
        "twice": replace(sample, order=np.repeat(rows[:1], len(rows))),
        "beyond": replace(sample, order=rows + 10**6),
        "negative": replace(sample, order=-1 - rows),
        "other-seed": replace(sample, seed=99),
        "another-seed-s": replace(sample, seed=7, order=random_order(2000, 7)[: len(rows)]),
        "short": replace(sample, decisions=sample.decisions[:-1]),
        "twin-of-few-rows": replace(sample, twin=twin),
        "twin-of-another": replace(sample, twin=replace(twin, model_digest="sha256:1")),
    }[kind]


HOSTILE = ["other-rows", "picked", "twice", "beyond", "negative", "other-seed", "another-seed-s", "short"]
HOSTILE += ["twin-of-few-rows", "twin-of-another"]


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_sample_that_is_none_of_the_seed_s_judges_nothing(kind: str) -> None:
    """Who picks the rows picks the verdict: absent, and while it runs an error."""
    given = evidence([CALM])
    sample = hostile(sample_of(given, random_order(given.dataset.rows, 0)[:400], 0), kind)
    (found,) = findings(given, DROP, sample)
    assert (found.verdict, found.obtained, found.estimate) == (Verdict.INCONCLUSIVE, "absent", None)
    with pytest.raises(MeasurementError):
        Follow([case_of(given, DROP)])(sample)


def test_no_row_is_absent_and_few_rows_are_too_few() -> None:
    given = evidence([CALM])
    order = random_order(given.dataset.rows, 0)
    assert findings(given, DROP, sample_of(given, order[:0], 0))[0].obtained == "absent"
    assert "too few rows" in findings(given, DROP, sample_of(given, order[:8], 0))[0].reason
    by = requirement("accuracy.drop", 0.03, by=("exercise", "subject"))
    found = findings(given, by, sample_of(given, order[:3], 0))
    assert len(found) == 11
    assert {each.verdict for each in found} == {Verdict.INCONCLUSIVE}


def test_a_gap_in_a_subject_s_rows_ends_what_counts() -> None:
    """Rows that were passed over could have been passed over for what they say; what follows is not used."""
    given = evidence([CALM], clustered=False)
    order = random_order(given.dataset.rows, 0)
    (found,) = findings(given, DROP, sample_of(given, np.delete(order, 100)[:600], 0))
    assert found.rows == 100


def test_an_emulated_device_s_sample_certifies_nothing_of_a_real_one() -> None:
    given = evidence([CALM])
    sample, _ = run(given, DROP)
    (found,) = findings(given, DROP, replace(sample, obtained="emulated"))
    assert found.verdict is Verdict.INCONCLUSIVE


def test_weights_count() -> None:
    """All that flips weighs nothing: the drop is 0; all that weighs flips: it fails."""
    plan = VariantPlan("int8", to_wrong=0.1, to_right=0.0)
    plain = evidence([plan], clustered=False)
    record = plain.variants[0].predictions
    assert record is not None
    flips = record.decisions != plain.reference_predictions.decisions
    verdicts = []
    for weights in (np.where(flips, 1e-6, 1.0), np.where(flips, 5.0, 1.0)):
        given = replace(plain, dataset=replace(plain.dataset, weights=weights))
        sample, _ = run(given, requirement("accuracy.drop", 0.05))
        verdicts.append(findings(given, requirement("accuracy.drop", 0.05), sample)[0].verdict)
    assert verdicts == [Verdict.PASS, Verdict.FAIL]


def test_nothing_to_follow_wants_nothing() -> None:
    given = evidence([CALM])
    follow = Follow([case_of(given, requirement("model.size", 1e6))])
    assert not follow(sample_of(given, random_order(10, 0)[:0], 0)).any()
    assert follow.told == "nothing to decide"
    assert isinstance(given.variants[0], VariantEvidence)


def with_sample(**changes: object) -> Evidence:
    """Evidence of a frugal run, its sample changed."""
    given = evidence([VariantPlan("fp32"), CALM])
    (first, second), order = given.variants, random_order(given.dataset.rows, 0)
    record = second.predictions
    assert record is not None
    rows = order[:400]
    sample = SampleRecord(
        record.model_digest, record.data_digest, record.where, 0, rows, record.scores[rows], record.decisions[rows],
        record.obtained, None, "",
    )  # fmt: skip
    return replace(given, variants=(first, replace(second, predictions=None, sample=replace(sample, **changes))))


def scores(value: float) -> Float32Array:
    plain = with_sample().variants[1].sample
    assert plain is not None
    found = plain.scores.copy()
    found[3, 2] = value
    return found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scores": scores(0.0)[:10]}, r"scores is float32 \[10, 7\]"),
        ({"scores": scores(np.nan)}, "no finite numbers"),
        ({"scores": np.zeros_like(scores(0.0))}, "is not the largest of its scores"),
        ({"decisions": np.full(400, 99)}, "there are 7"),
        ({"order": np.arange(400).reshape(20, 20)}, "order is int64"),
        ({"order": np.zeros(400, np.int64)}, "names a row twice"),
        ({"order": np.arange(400) + 10**6}, "order: row 0 is 1000000"),
        ({"model_digest": "sha256:1"}, "of another model"),
        ({"obtained": "computed"}, "this one is computed"),
    ],
)
def test_a_sample_that_cannot_be_is_refused_as_predictions_are(changes: dict[str, object], said: str) -> None:
    asked = profile([DROP])
    judge(with_sample(), asked, device())
    with pytest.raises(MeasurementError, match=said):
        judge(with_sample(**changes), asked, device())


def test_a_value_that_reads_as_a_crossing_has_rows_of_its_own() -> None:
    """Column a has the value "x & b=y", which is not the crossing of a=x and b=y: that one is broken."""
    given = evidence([CALM], rows=6000, clustered=False, reference_accuracy=1.0)
    a, b = np.zeros(6000, np.int64), np.zeros(6000, np.int64)
    a[:3000], a[3000:], b[:3000] = 0, 1, 1
    columns = {"a": ColumnRecord(("x & b=y", "x"), a), "b": ColumnRecord(("y", "n"), b)}
    data, record = replace(given.dataset, columns=columns), given.variants[0].predictions
    assert record is not None
    decisions = data.labels.copy()
    decisions[3000:4500] = (decisions[3000:4500] + 1) % 7
    answers = replace(record, decisions=decisions, scores=np.eye(7, dtype=np.float32)[decisions])
    given = replace(given, dataset=data, variants=(replace(given.variants[0], predictions=answers),))
    asked = requirement("accuracy.drop", 0.05, by=("a", "b"), cross=2)
    found = {each.subject: each.verdict for each in findings(given, asked, sample_of(given, random_order(6000, 0), 0))}
    assert found['a="x & b=y"'] is Verdict.PASS
    assert found["a=x & b=y"] is Verdict.FAIL


def test_a_share_above_the_reference_s_own_is_not_given_up() -> None:
    """The optimized model may be the better one."""
    given = evidence(
        [VariantPlan("int8", to_wrong=0.0, to_right=0.9)], rows=4000, clustered=False, reference_accuracy=0.6
    )
    asked = requirement("accuracy.value", 0.9)
    sample, follow = run(given, asked)
    assert findings(given, asked, sample)[0].verdict is Verdict.PASS, follow.told


def whole(**changes: object) -> Evidence:
    """Evidence of a frugal run whose other rows were run too; its predictions changed."""
    first, second = with_sample().variants
    record = evidence([VariantPlan("fp32"), CALM]).variants[1].predictions
    assert record is not None
    return replace(with_sample(), variants=(first, replace(second, predictions=replace(record, **changes))))


GROUPS = requirement("fairness.gap_change", 0.2, by=("side",))


def test_what_needs_every_row_is_judged_on_every_row_and_the_rest_by_the_sample() -> None:
    judged = judge(whole(), profile([DROP, GROUPS]), device()).variants[1]
    drop, groups = judged.findings
    assert (drop.rows, "betting bound" in drop.method) == (2008, True)
    assert "half of the chance of error kept for the test at the end" in drop.method
    assert (groups.rows, groups.obtained) == (2008, "measured")
    plain = judge(evidence([VariantPlan("fp32"), CALM]), profile([DROP, GROUPS]), device()).variants[1]
    assert groups == plain.findings[1]
    assert drop != plain.findings[0]


@pytest.mark.parametrize(
    "asked",
    [GROUPS, requirement("slices.found", 0.2), requirement("quality.loss", 0.2, measure="brier"),
     requirement("fairness.gap", 0.2, by=("side",), measure="accuracy"),
     requirement("numerics.processor_flips", 0.0)],
    ids=lambda asked: asked.metric,
)  # fmt: skip
def test_what_needs_every_row_says_why_there_are_not_all(asked: Requirement) -> None:
    (found,) = judge(with_sample(), profile([asked]), device()).variants[1].findings
    assert found.verdict is Verdict.INCONCLUSIVE
    assert (found.obtained, found.estimate) == ("absent", None)
    assert found.reason == "not all rows were run: those that were already break another requirement."
    assert "leave out --frugal" in found.need


def of_whole(name: str) -> np.ndarray:
    record = evidence([VariantPlan("fp32"), CALM]).variants[1].predictions
    assert record is not None
    return np.array(getattr(record, name))


def test_predictions_beside_a_sample_are_the_sample_s_on_its_rows() -> None:
    asked, row = profile([DROP]), int(random_order(2008, 0)[7])
    scores, decisions = of_whole("scores"), of_whole("decisions")
    scores[row] = np.roll(scores[row], 1)
    decisions[row] = scores[row].argmax()
    with pytest.raises(MeasurementError, match="are not those of the sample"):
        judge(whole(scores=scores, decisions=decisions), asked, device())
    with pytest.raises(MeasurementError, match="are emulated, and the sample is measured"):
        judge(whole(obtained="emulated"), asked, device())
    outside = int(random_order(2008, 0)[-1])
    scores, decisions = of_whole("scores"), of_whole("decisions")
    scores[outside] = np.roll(scores[outside], 1)
    decisions[outside] = scores[outside].argmax()
    judge(whole(scores=scores, decisions=decisions), asked, device())


@pytest.mark.parametrize(("limit", "wrong"), [(1.0, 0.0), (1.0, 0.05), (0.999999, 0.0)])
def test_what_is_told_while_rows_come_is_what_the_verdict_says_at_the_edge(limit: float, wrong: float) -> None:
    """No rows show that all are right: that is given up, and said so; one that is wrong decides."""
    plan = VariantPlan("int8", to_wrong=wrong, to_right=0.0)
    given = evidence([plan], rows=3000, clustered=False, reference_accuracy=1.0)
    asked = requirement("accuracy.value", limit)
    sample, follow = run(given, asked)
    verdict = findings(given, asked, sample)[0].verdict
    assert verdict is (Verdict.FAIL if wrong else Verdict.INCONCLUSIVE)
    assert ("decided after" in follow.told) == bool(wrong)
    assert ("no row that is left could show that it holds" in follow.told) == (not wrong)
    assert wrong or len(sample.order) == 64


@pytest.mark.parametrize("wrong", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_limit_of_nothing_lost_is_broken_as_soon_as_it_is_told(wrong: float, seed: int) -> None:
    """Bets against 0 itself are longer than those against anything above it."""
    plan = VariantPlan("int8", to_wrong=wrong, to_right=0.0)
    given = evidence([plan], rows=2000, clustered=False, reference_accuracy=1.0, seed=seed)
    asked = requirement("accuracy.drop", 0.0)
    sample, follow = run(given, asked)
    assert "decided after" in follow.told
    assert len(sample.order) < 200
    found = findings(given, asked, sample)[0]
    assert found.verdict is Verdict.FAIL
    assert found.lower is not None
    assert 0.0 < found.lower < 0.9
    assert "[0.0," in found.reason or wrong == 1.0


@pytest.mark.parametrize("metric", ["agreement.flips", "accuracy.value", "accuracy.drop"])
def test_an_estimate_lies_within_its_interval_and_that_within_what_there_is(metric: Metric) -> None:
    """A twin that differs where the device does not makes their sum fall outside at times."""
    for seed in range(12):
        given = evidence(
            [VariantPlan("int8", to_wrong=0.0, to_right=0.0)], rows=300, clustered=False, seed=seed,
            reference_accuracy=1.0 if metric == "accuracy.value" else 0.8,
        )  # fmt: skip
        record, random = given.variants[0].predictions, np.random.default_rng(seed)
        assert record is not None
        changed = with_changes(record.decisions, 0.03, random)
        twin = predictions(given.variants[0].variant.model, given.dataset, changed, where="host", obtained="computed")
        asked = requirement(metric, 0.98 if metric == "accuracy.value" else 0.02)
        sample, _ = run(given, asked, twin=twin)
        (found,) = findings(given, asked, sample)
        assert found.estimate is not None
        assert found.lower is not None
        assert found.upper is not None
        least = -1.0 if metric == "accuracy.drop" else 0.0
        assert least <= found.lower <= found.estimate <= found.upper <= 1.0


def test_slices_that_are_all_too_small_are_not_tested_where_no_row_was_asked_for() -> None:
    given = evidence([CALM])
    asked = requirement("accuracy.drop", 0.1, by=("side",), minimum_rows=5000)
    sample, _ = run(given, asked)
    assert not len(sample.order)
    found = findings(given, asked, sample)
    assert len(found) == 2
    assert all(each.reason.startswith("NOT TESTED") for each in found)
    (whole,) = findings(given, requirement("accuracy.drop", 0.1), sample)
    assert whole.reason == "no row was run on the device."


def test_without_the_rest_there_is_no_attack_on_members() -> None:
    asked = requirement("privacy.membership", 0.2)
    (found,) = judge(with_sample(), profile([asked]), device()).variants[1].findings
    assert found.reason == "not all rows were run: those that were already break another requirement."


def test_figures_of_a_run_with_a_twin_add_up() -> None:
    """Reference, variant and what was lost are all of the rows that there are, not of those that were run."""
    given = evidence([VariantPlan("int8", to_wrong=0.3, to_right=0.0)], rows=2000, clustered=False)
    record = given.variants[0].predictions
    assert record is not None
    twin = predictions(
        given.variants[0].variant.model, given.dataset, record.decisions, where="host", obtained="computed"
    )
    asked = requirement("accuracy.drop", 0.02)
    sample, _ = run(given, asked, twin=twin)
    (found,) = findings(given, asked, sample)
    assert len(sample.order) < 1000
    details = found.details
    right = float((given.reference_predictions.decisions == given.dataset.labels).mean())
    assert details["reference_accuracy"] == pytest.approx(right)
    assert found.estimate == pytest.approx(details["reference_accuracy"] - details["optimized_accuracy"])


def test_a_slice_that_was_given_up_is_not_called_small() -> None:
    """The whole is broken at once; no slice has its minimum by then."""
    given = evidence([VariantPlan("int8", to_wrong=0.9, to_right=0.0)])
    by_side = requirement("accuracy.drop", 0.1, id="sides", by=("side",), minimum_rows=900)
    sample, _ = run(given, requirement("accuracy.drop", 0.02), by_side)
    found = findings(given, by_side, sample)
    unrun = [each for each in found if each.reason.startswith("NOT TESTED")]
    assert unrun
    for each in unrun:
        assert "too few were run: " in each.reason
        assert each.need == "all of its rows: leave out --frugal"
