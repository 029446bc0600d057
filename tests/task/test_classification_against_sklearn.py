"""Figures of classification equal scikit-learn's, on random tables with ties, weights and classes without rows."""

import warnings

import numpy as np
import pytest
from sklearn import metrics

from kit.spec.measures import MEASURES
from kit.task import MEASURES_BY_NAME, Rows, UndefinedError
from tests.task.tables import classified, multilabelled, rows

TABLES = [
    pytest.param(seed, classes, ties, weighted, id=f"{seed}-{classes}-{'ties' if ties else 'apart'}-{weighted}")
    for seed, classes, ties, weighted in [(1, 2, False, False), (2, 2, True, False), (3, 2, True, True),
                                          (4, 4, False, False), (5, 4, True, True), (6, 7, True, False)]
]  # fmt: skip


def figure(name: str, of: Rows) -> float:
    return MEASURES_BY_NAME[name].of(of).estimate


def test_every_measure_of_a_profile_has_an_implementation_and_no_other() -> None:
    assert list(MEASURES_BY_NAME) == list(MEASURES)


def test_what_is_searched_for_is_a_mean_over_rows() -> None:
    """On any rows it is then what these rows lose on average, which is what a search adds up."""
    assert [name for name, rule in MEASURES.items() if rule.is_mean] == [
        name for name, measure in MEASURES_BY_NAME.items() if measure.figure is None
    ]


@pytest.mark.parametrize(("seed", "classes", "ties", "weighted"), TABLES)
def test_decisions(seed: int, classes: int, ties: bool, weighted: bool) -> None:
    of = classified(seed, classes=classes, ties=ties, weighted=weighted)
    y, said, w = of.labels, of.decisions, of.weights
    assert figure("accuracy", of) == pytest.approx(metrics.accuracy_score(y, said, sample_weight=w), abs=1e-12)
    balanced = metrics.balanced_accuracy_score(y, said, sample_weight=w)
    assert figure("balanced-accuracy", of) == pytest.approx(balanced, abs=1e-12)
    average = "binary" if classes == 2 else "macro"
    assert figure("f1", of) == pytest.approx(metrics.f1_score(y, said, average=average, sample_weight=w), abs=1e-12)
    macro = metrics.f1_score(y, said, average="macro", sample_weight=w)
    assert figure("f1-macro", of) == pytest.approx(macro, abs=1e-12)


@pytest.mark.parametrize(("seed", "classes", "ties", "weighted"), TABLES)
def test_probabilities(seed: int, classes: int, ties: bool, weighted: bool) -> None:
    of = classified(seed, classes=classes, ties=ties, weighted=weighted)
    y, p, w = of.labels, of.scores, of.weights
    assert figure("log-loss", of) == pytest.approx(metrics.log_loss(y, p, sample_weight=w), rel=2e-6)
    half = metrics.brier_score_loss(y, p if classes > 2 else p[:, 1], sample_weight=w, scale_by_half=True)
    assert figure("brier", of) == pytest.approx(half, rel=1e-6)


@pytest.mark.parametrize(("seed", "classes", "ties", "weighted"), TABLES)
def test_rankings(seed: int, classes: int, ties: bool, weighted: bool) -> None:
    of = classified(seed, classes=classes, ties=ties, weighted=weighted)
    y, p, w = of.labels, of.scores, of.weights
    scores = p if classes > 2 else p[:, 1]
    area = metrics.roc_auc_score(y, scores, multi_class="ovr", sample_weight=w)
    assert figure("auc", of) == pytest.approx(area, abs=1e-12)
    one_hot = np.eye(classes)[y]
    precision = metrics.average_precision_score(one_hot if classes > 2 else y, scores, average="macro", sample_weight=w)
    assert figure("average-precision", of) == pytest.approx(precision, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_trade_off_of_misses_and_false_alarms(seed: int) -> None:
    of = classified(seed, 300, 2, ties=seed % 2 == 0, weighted=seed > 1)
    alarms, hits, _ = metrics.roc_curve(of.labels, of.scores[:, 1], sample_weight=of.weights, drop_intermediate=False)
    assert figure("miss-rate-at-1%", of) == pytest.approx(float((1 - hits)[alarms <= 0.01].min()), abs=1e-12)
    crossing = np.interp(0.0, alarms - (1 - hits), alarms)
    assert figure("eer", of) == pytest.approx(float(crossing), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_several_labels_a_row(seed: int) -> None:
    of, truth, p = multilabelled(seed)
    said = p >= 0.5
    assert figure("accuracy", of) == pytest.approx(metrics.accuracy_score(truth, said), abs=1e-12)
    assert figure("hamming-loss", of) == pytest.approx(metrics.hamming_loss(truth, said), abs=1e-12)
    assert figure("f1-micro", of) == pytest.approx(metrics.f1_score(truth, said, average="micro"), abs=1e-12)
    there = np.flatnonzero((truth | said).any(axis=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        macro = metrics.f1_score(truth[:, there], said[:, there], average="macro")
    assert figure("f1-macro", of) == pytest.approx(macro, abs=1e-12)
    each = [metrics.log_loss(truth[:, k], p[:, k], labels=[False, True]) for k in range(truth.shape[1])]
    assert figure("log-loss", of) == pytest.approx(float(np.mean(each)), rel=1e-6)
    squares = [metrics.brier_score_loss(truth[:, k], p[:, k], pos_label=True) for k in range(truth.shape[1] - 1)]
    assert figure("brier", of) == pytest.approx((sum(squares) + float((p[:, -1] ** 2).mean())) / 4, rel=1e-6)


def test_logits_are_turned_into_probabilities_and_say_so_by_their_values() -> None:
    of = classified(1)
    logits = rows(of.labels, np.log(of.scores) + 3.0)
    for name in ("log-loss", "brier", "ece", "auc"):
        assert figure(name, logits) == pytest.approx(figure(name, of), abs=1e-5)


def test_the_calibration_error_is_the_mean_gap_of_fifteen_bins() -> None:
    of = classified(9, 500)
    confidence, right = of.scores.max(axis=1).astype(float), of.decisions == of.labels
    total = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            total += abs(confidence[inside].sum() - right[inside].sum())
    assert figure("ece", of) == pytest.approx(total / 500, abs=1e-9)


@pytest.mark.parametrize("name", ["auc", "average-precision", "eer", "miss-rate-at-1%"])
@pytest.mark.parametrize("label", [0, 1])
def test_a_ranking_of_one_kind_of_rows_is_not_defined(name: str, label: int) -> None:
    with pytest.raises(UndefinedError, match="rows of the class c1"):
        figure(name, rows(np.full(8, label), np.tile([[0.3, 0.7]], (8, 1))))


def test_a_named_class_is_told_from_all_others() -> None:
    of = classified(3, classes=4)
    named = rows(of.labels, of.scores, positive="c2")
    assert figure("f1", named) == pytest.approx(metrics.f1_score(of.labels == 2, of.decisions == 2), abs=1e-12)
    assert figure("auc", named) == pytest.approx(metrics.roc_auc_score(of.labels == 2, of.scores[:, 2]), abs=1e-12)
    with pytest.raises(UndefinedError, match="'nobody' is not one of the dataset's"):
        figure("auc", rows(of.labels, of.scores, positive="nobody"))


def test_few_negatives_cannot_show_one_per_cent() -> None:
    with pytest.raises(UndefinedError, match="fewer than 100 rows that are no alarm"):
        figure("miss-rate-at-1%", classified(1, 150, 2))


def test_all_scores_tied_rank_nothing() -> None:
    of = rows(np.arange(240) % 2, np.full((240, 2), 0.5))
    assert figure("auc", of) == 0.5
    assert figure("average-precision", of) == pytest.approx(0.5)
    assert figure("eer", of) == 0.5
    assert figure("miss-rate-at-1%", of) == 1.0
