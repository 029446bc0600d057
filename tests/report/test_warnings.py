"""Warnings: each where it is true, and none where it is not."""

from dataclasses import replace

import numpy as np
import pytest

from kit.judge import judge
from kit.records import Evidence, VariantEvidence
from kit.report.sections.warnings import find_warnings
from tests import builders


def warned(evidence: Evidence) -> list[str]:
    device = builders.device()
    judgement = judge(evidence, builders.profile(), device)
    judged = next(v for v in judgement.variants if v.variant == judgement.chosen)
    return list(find_warnings(evidence, device, judged))


@pytest.fixture
def evidence() -> Evidence:
    return builders.evidence()


def deciding(evidence: Evidence, decisions: np.ndarray, which: str) -> Evidence:
    """The evidence with other decisions, and scores that give them."""
    scores = np.eye(len(evidence.dataset.classes), dtype=np.float32)[decisions]

    def change(record):
        return record and replace(record, decisions=decisions, scores=scores)

    if which == "reference":
        return replace(evidence, reference_predictions=change(evidence.reference_predictions))

    def changed(variant: VariantEvidence) -> VariantEvidence:
        return replace(
            variant,
            predictions=change(variant.predictions),
            exact_predictions=change(variant.exact_predictions),
            saturating_predictions=change(variant.saturating_predictions),
        )

    return replace(evidence, variants=tuple(changed(v) for v in evidence.variants))


def test_ordinary_evidence_has_no_warning_about_answers(evidence: Evidence) -> None:
    assert not [text for text in warned(evidence) if "answer" in text or "float model itself" in text]


def test_a_reference_no_better_than_a_constant(evidence: Evidence) -> None:
    worst = (evidence.dataset.labels + 1) % len(evidence.dataset.classes)
    assert any(
        "that a variant equals it says nothing" in text for text in warned(deciding(evidence, worst, "reference"))
    )


def test_one_answer_for_every_row(evidence: Evidence) -> None:
    same = np.zeros(evidence.dataset.rows, np.int64)
    assert any("every row the same answer" in text for text in warned(deciding(evidence, same, "variants")))


def test_a_float_model_that_decides_otherwise_on_the_device(evidence: Evidence) -> None:
    decisions = evidence.reference_predictions.decisions.copy()
    decisions[:100] = (decisions[:100] + 1) % len(evidence.dataset.classes)
    texts = warned(deciding(evidence, decisions, "variants"))
    assert any("decides 100 rows differently on the device" in text for text in texts)


def test_recipes_that_fail_alike_are_one_warning(evidence: Evidence) -> None:
    texts = warned(replace(evidence, not_made={"a": "no products", "b": "no products", "c": "another reason"}))
    assert "Not made: a and b. no products." in texts
    assert "Not made: c. another reason." in texts
