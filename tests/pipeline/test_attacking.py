"""Others of a membership audit were not trained on: test rows that copy the train part are left out, and counted."""

from dataclasses import replace

import numpy as np
import pytest

from kit.judge.base import Case
from kit.judge.membership import judge_membership
from kit.pipeline.attacking import members_of, membership
from kit.records import Finding, MembershipRecord, Verdict
from kit.spec.types import Dataset, DatasetPart
from tests.builders import FP32, INT8_CHANNEL, device, evidence, profile, requirement

ROWS = 600


def dataset(copied: int) -> tuple[Dataset, np.ndarray]:
    """Test rows, `copied` of them rows of the train part too; and which rows of the test part were trained on."""
    rng = np.random.default_rng(0)
    record = evidence([FP32], clustered=False, rows=ROWS, clusters=20).dataset
    inputs = rng.normal(size=(2 * ROWS, 3)).astype(np.float32)
    known = rng.permutation(ROWS) < copied
    train = np.concatenate([inputs[:ROWS][known], inputs[ROWS:]])[:ROWS]
    parts = DatasetPart("test", inputs[:ROWS], record), DatasetPart("train", train, record)
    whole = Dataset(
        name="audit", description="", digest="sha256:data", path="audit.toml", task="classification",
        classes=record.classes, slice_columns=(), output_name=None, test=parts[0], calibration=None, train=parts[1],
    )  # fmt: skip
    return whole, known


def scores(labels: np.ndarray, sure: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities float32 [rows, classes]: rows that are `sure` are known by heart."""
    found = np.full((len(labels), classes), 0.4 / (classes - 1))
    found[np.arange(len(labels)), labels] = 0.6
    found[sure] = 0.01 / (classes - 1)
    found[sure, labels[sure]] = 0.99
    return found.astype(np.float32)


def audited(copied: int) -> tuple[MembershipRecord | None, Finding]:
    """A variant that knows the train part by heart, made from a reference that knows nothing, and how it is judged."""
    whole, known = dataset(copied)
    run, classes = evidence([FP32, INT8_CHANNEL], clustered=False, rows=ROWS, clusters=20), len(whole.classes)
    members = members_of(whole, 0)
    assert members is not None
    nobody, all_members = np.zeros(ROWS, np.bool_), np.ones(len(members.inputs), np.bool_)
    mine, theirs = members.record.labels, whole.test.record.labels
    reference = replace(run.reference_predictions, scores=scores(theirs, nobody, classes))
    plain = run.variants[1].predictions
    assert plain is not None
    said = replace(plain, scores=scores(theirs, known, classes))
    before = membership(whole, members, scores(mine, ~all_members, classes), reference, 0)
    after = membership(whole, members, scores(mine, all_members, classes), said, 0)
    asked, variant = requirement("privacy.membership", 0.05), replace(run.variants[1], membership=after)
    case = Case(asked, variant, replace(run, reference_membership=before), profile((asked,)), device())
    (found,) = judge_membership(case)
    return after, found


@pytest.mark.parametrize("copied", [0, 1, 400])
def test_test_rows_that_were_trained_on_are_no_others(copied: int) -> None:
    record, found = audited(copied)
    assert record is not None
    assert record.others_left_out == copied
    assert len(record.other_scores) == (ROWS - copied) - (ROWS - copied) // 2
    assert found.verdict is Verdict.FAIL
    assert found.estimate == pytest.approx(1.0, abs=0.01)
    said = {0: None, 1: "1 test row left out, which copies the train part", 400: "400 test rows left out, which copy"}
    assert ("left out" in found.reason) == (copied > 0)
    assert (said[copied] or "") in found.reason


@pytest.mark.parametrize(
    ("copied", "said"),
    [
        (ROWS, "NOT TESTED: 600 test rows left out, which copy the train part; too few others remain."),
        (ROWS - 1, "NOT TESTED: 599 test rows left out"),
        (ROWS - 10, "5 rows of others (590 test rows left out, which copy the train part)"),
    ],
)
def test_too_few_others_are_no_test(copied: int, said: str) -> None:
    _, found = audited(copied)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert said in found.reason
    assert found.need
