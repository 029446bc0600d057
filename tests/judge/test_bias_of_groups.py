"""Calibration errors are raised by chance, most in small groups and in a calibrated model: no PASS of that."""

from dataclasses import replace

import numpy as np

from kit.judge.registry import JUDGES
from kit.records import Verdict
from tests.proofs.certifications.cases import column, rows_of
from tests.proofs.certifications.pools import Pool, said


def sample(rng: np.random.Generator, hurt: np.ndarray) -> Pool:
    """Two classes by calibrated logits; optimized ones are 2.5 times too large in the rows of `hurt`."""
    rows = len(hurt)
    z = 1.2 * rng.standard_normal(rows)
    y = (rng.random(rows) < 1 / (1 + np.exp(-z))).astype(np.int64)
    data = rows_of(y, None, {"g": column(hurt.astype(np.int64), 2)}, ("no", "yes"))
    both = (1 / (1 + np.exp(-z)), 1 / (1 + np.exp(-np.where(hurt, 2.5, 1.0) * z)))
    stacks = [np.stack([1 - p, p], axis=1) for p in both]
    first, second = (said(data, each, each.argmax(axis=1).astype(np.int64), None) for each in stacks)
    return Pool(data, first, second)


def test_a_calibrated_reference_does_not_hide_a_lost_calibration() -> None:
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(40):
        case = sample(rng, np.ones(200, np.bool_)).case("quality.loss", 0.1258, measure="ece")
        wrong += JUDGES["quality.loss"](case)[0].verdict is Verdict.PASS
    assert wrong <= 5  # of 5 %: 2; uncorrected it is 7


def test_a_small_calibrated_group_does_not_hide_a_gap() -> None:
    rng, wrong = np.random.default_rng(2), 0
    hurt = np.arange(1650) < 1500
    for _ in range(25):
        case = sample(rng, hurt).case("fairness.gap", 0.126, measure="ece", by=("g",))
        wrong += JUDGES["fairness.gap"](case)[0].verdict is Verdict.PASS
    assert wrong <= 4  # of 5 %: 1; uncorrected it is more than half


def test_average_precision_of_few_positives_is_not_tested() -> None:
    pool = sample(np.random.default_rng(3), np.zeros(200, np.bool_))
    data = pool.data
    for positives, tested in ((10, False), (20, True)):
        labels = (np.arange(200) < positives).astype(np.int64)
        few = Pool(replace(data, labels=labels), pool.reference, pool.optimized)
        (found,) = JUDGES["quality.value"](
            few.case("quality.value", 0.0, measure="average-precision", direction="at_least")
        )
        assert found.verdict is (Verdict.PASS if tested else Verdict.INCONCLUSIVE)
        assert found.reason.startswith("NOT TESTED") is not tested
