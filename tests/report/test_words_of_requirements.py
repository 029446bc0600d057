"""What the reader is told of a requirement: its measure by name, the worst of all slices, looks as looks."""

from dataclasses import replace

import pytest

from kit.judge import judge
from kit.records import Finding, Judgement, SampleRecord, VariantJudgement, Verdict
from kit.report.sections.numerics import _depends
from kit.report.sections.remedies import sampling_text
from kit.report.sections.requirements import build_requirements, label_of, slices_text, subject_of
from kit.report.sections.slices import build_slices
from kit.report.sections.variants import build_variants
from kit.report.sections.warnings import find_warnings
from kit.report.text import _measured
from kit.spec.types import Profile
from tests import builders
from tests.report.scenes import finding


def _judged(*findings: Finding) -> VariantJudgement:
    return VariantJudgement("int8", builders.digest_of("int8"), Verdict.FAIL, findings, 1.0, "B")


@pytest.mark.parametrize(
    ("metric", "measure", "label"),
    [
        ("quality.loss", "auc", "auc lost"),
        ("quality.loss", "log-loss", "log-loss increase"),
        ("quality.loss", "cost.py:weighted", "weighted increase"),
        ("quality.value", "f1-macro", "f1-macro"),
        ("slices.found", "brier", "worst slice found, brier"),
        ("fairness.gap", "equalized-odds", "gap of groups, equalized-odds"),
        ("fairness.gap", "accuracy", "gap of groups"),
        ("fairness.gap_change", "", "fairness gap"),
    ],
)
def test_a_label_names_the_measure(metric: str, measure: str, label: str) -> None:
    asked = replace(builders.requirement("accuracy.drop", 0.02), metric=metric, measure=measure)  # type: ignore[arg-type]
    assert label_of(finding(metric=metric), 1, asked) == label
    worst = f"worst slice, {label}" if metric.startswith("quality.") else label
    assert label_of(finding(metric=metric, subject="side=left"), 3, asked) == worst


def test_looks_are_counted_as_looks_and_nothing_found_has_no_worst() -> None:
    looks = [finding(metric="data.missing", subject=each, estimate=0.0) for each in ("empty", "not a number")]
    assert slices_text(looks) == "2 of 2 looks pass"
    assert subject_of(looks[0]) == ""
    assert subject_of(replace(looks[0], estimate=0.1)) == "empty"
    assert slices_text([finding(metric="accuracy.drop", subject=each) for each in "ab"]) == "2 of 2 slices pass"


def test_the_headline_names_the_worst_of_all_requirements() -> None:
    lost = {"metric": "accuracy.drop", "unit": "points", "verdict": Verdict.FAIL, "limit": 0.01}
    long = "device=" + "a" * 60 + " & side=left & exercise=row"
    findings = (
        finding(**lost, requirement="slices", subject="side=left", estimate=0.033),
        finding(**lost | {"metric": "slices.found", "limit": 0.12}, requirement="found", subject=long, estimate=0.157),
    )
    view = build_slices(builders.evidence(), _judged(*findings), builders.profile())
    assert view is not None
    assert f"The worst is {long.replace('=', ': ')}: lost 15.7 points" in view.headline
    assert view.worst[0].startswith("device: aaa")
    assert view.worst[1].startswith("side: left: lost 3.3 points")


def test_what_is_no_slice_is_not_counted_as_one_that_has_too_few_rows() -> None:
    small = {"verdict": Verdict.INCONCLUSIVE, "estimate": None}
    judged = _judged(
        finding(**small, metric="accuracy.drop", subject="side=left"),
        finding(**small, metric="fairness.gap", subject="side"),
        finding(**small, metric="data.lagged", subject="features"),
    )
    assert "1 slice had too few rows to be tested." in find_warnings(builders.evidence(), builders.device(), judged)


def test_a_sample_is_told_with_what_it_leaves_open_and_its_estimate() -> None:
    evidence = builders.evidence()
    known = evidence.variants[0]
    assert known.predictions is not None
    all_of = known.predictions
    sample = SampleRecord(
        all_of.model_digest, all_of.data_digest, "local", 0, all_of.decisions[:0], all_of.scores[:0],
        all_of.decisions[:0], "measured", None, "what rows can decide is decided",
    )  # fmt: skip
    name = known.variant.recipe.name
    lost = finding(
        requirement="drop", metric="accuracy.drop", unit="points", estimate=0.02, verdict=Verdict.INCONCLUSIVE
    )
    judged = replace(_judged(lost), variant=name)
    known = replace(known, predictions=None, sample=sample)
    text = sampling_text(evidence, known, judged)
    assert text.endswith("what rows can decide is decided, and drop stays undecided.")
    assert sampling_text(evidence, replace(known, predictions=all_of), judged).endswith(
        "until what some rows can decide was decided; then the others, for what needs every row."
    )
    broken = replace(judged, findings=(*judged.findings, replace(lost, verdict=Verdict.FAIL, subject="side=left")))
    assert sampling_text(evidence, known, broken).endswith("what rows can decide is decided; drop is broken.")
    told = replace(evidence, variants=(known,))
    judgement = replace(judge(evidence, builders.profile(), builders.device()), variants=(judged,), chosen=name)
    (row,) = build_variants(told, judgement, builders.profile()).rows
    assert row.accuracy.startswith("≈ ")
    assert row.change_text == "≈ −2.0 pp"


def test_groups_are_named_where_the_label_has_the_measure() -> None:
    row = build_requirements(*_of_groups())[0]
    assert _measured(row).endswith(" side")
    assert row.label.endswith("error-rate")


def _of_groups() -> tuple[Judgement, Profile, str]:
    found = finding(requirement="gap", metric="fairness.gap", subject="side: error-rate", unit="points")
    asked = replace(builders.requirement("fairness.gap", 0.3, id="gap", by=("side",)), measure="error-rate")
    return (
        Judgement(Verdict.PASS, "int8", "the only one", (_judged(found),), builders.digest_of("profile")),
        builders.profile([asked]),
        "int8",
    )


def test_a_proof_needs_no_computation() -> None:
    saturation = builders.evidence().variants[0].variant.saturation
    assert _depends(None, replace(saturation, can_saturate=True)) == ("INCONCLUSIVE", "not computed")
    assert _depends(None, replace(saturation, can_saturate=False)) == ("PASS", "none, by proof")
