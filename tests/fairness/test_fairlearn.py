"""The numbers of Fairlearn and scikit-learn, to 1e-12, on four known datasets and on random tables."""

import numpy as np
import pandas as pd
import pytest
from fairlearn import metrics as fairlearn
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sklearn

from kit.fairness import rates
from kit.stats.cells import cell_counts
from tests.fairness.datasets import DATASETS, Decided

THEIRS = {
    "selection-rate": fairlearn.selection_rate,
    "true-positive-rate": fairlearn.true_positive_rate,
    "false-negative-rate": fairlearn.false_negative_rate,
    "false-positive-rate": fairlearn.false_positive_rate,
    "true-negative-rate": fairlearn.true_negative_rate,
    "precision": lambda y_true, y_pred: sklearn.precision_score(y_true, y_pred, zero_division=np.nan),
    "accuracy": sklearn.accuracy_score,
    "error-rate": sklearn.zero_one_loss,
}
FUNCTIONS = {
    "demographic-parity": "demographic_parity",
    "equalized-odds": "equalized_odds",
    "equal-opportunity": "equal_opportunity",
}
QUICK = ("adult-sex", "compas-sex", "german-housing-sex")
CASES = [
    pytest.param(name, columns, id=f"{name}-{'-'.join(columns)}", marks=[] if short else [pytest.mark.proof])
    for name, (_, groupings) in DATASETS.items()
    for columns in groupings
    for short in [f"{name}-{'-'.join(columns)}" in QUICK]
]


def frame(of: Decided, columns: tuple[str, ...], decisions: NDArray[np.int64]) -> fairlearn.MetricFrame:
    return fairlearn.MetricFrame(
        metrics=THEIRS, y_true=of.label, y_pred=decisions, sensitive_features=of.columns[list(columns)]
    )


def close(ours: object, theirs: object) -> None:
    np.testing.assert_allclose(np.asarray(ours, float), np.asarray(theirs, float), rtol=0, atol=1e-12, equal_nan=True)


def seen(name: str, table: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Groups in which a rate is defined: where it is not, Fairlearn's is 0 (or NaN for precision) and ours is NaN."""
    return ~np.isnan(rates.RATES[name](table))


@pytest.mark.parametrize(("name", "columns"), CASES)
@pytest.mark.parametrize("side", [pytest.param("before", marks=pytest.mark.proof), "after"])
def test_every_rate_difference_and_ratio_is_that_of_metric_frame(
    name: str, columns: tuple[str, ...], side: str
) -> None:
    of = DATASETS[name][0]()
    codes, sizes, values = of.codes(*columns)
    cells = cell_counts(codes, sizes, of.label, of.reference, of.optimized, 1)
    table = (rates.before if side == "before" else rates.after)(cells)
    theirs = frame(of, columns, of.reference if side == "before" else of.optimized)
    found = theirs.by_group.loc[values if len(columns) > 1 else [value for (value,) in values]]
    for rate, function in rates.RATES.items():
        ours, there = function(table), seen(rate, table)
        close(ours[there], found[rate].to_numpy()[there])
        close(function(table.sum(axis=0)), theirs.overall[rate])
        if there.all():
            close(rates.difference(ours), theirs.difference()[rate])
            close(rates.ratio(ours), theirs.ratio()[rate])
            overall = function(table.sum(axis=0))
            close(rates.difference(ours, overall), theirs.difference(method="to_overall")[rate])
            close(rates.ratio(ours, overall), theirs.ratio(method="to_overall")[rate])
            close([ours.min(), ours.max()], [theirs.group_min()[rate], theirs.group_max()[rate]])


def test_the_survey_with_a_real_models_predictions() -> None:
    """All 277,677 rows; the other rates and groupings of them are proofs, since Fairlearn takes its time."""
    of = DATASETS["employment"][0]()
    codes, sizes, values = of.codes("sex")
    table = rates.before(cell_counts(codes, sizes, of.label, of.reference, of.optimized, 1))
    assert table.sum() == 277_677
    names = ("selection-rate", "accuracy")
    theirs = fairlearn.MetricFrame(
        metrics={name: THEIRS[name] for name in names}, y_true=of.label, y_pred=of.reference,
        sensitive_features=of.columns["sex"],
    )  # fmt: skip
    for name in names:
        close(rates.RATES[name](table), theirs.by_group[name].loc[[value for (value,) in values]])
        close(rates.difference(rates.RATES[name](table)), theirs.difference()[name])


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        pytest.param("compas", ("sex",), id="compas-sex", marks=pytest.mark.proof),
        pytest.param("german", ("housing", "sex"), id="german-housing-sex"),
        pytest.param("adult", ("race", "sex"), id="adult-race-sex", marks=pytest.mark.proof),
    ],
)
@pytest.mark.parametrize("measure", FUNCTIONS)
@pytest.mark.parametrize("against", ["groups", "overall"])
def test_the_named_gaps_are_fairlearns(name: str, columns: tuple[str, ...], measure: str, against: str) -> None:
    of = DATASETS[name][0]()
    codes, sizes, _ = of.codes(*columns)
    table = rates.after(cell_counts(codes, sizes, of.label, of.reference, of.optimized, 1))
    assert all(seen(rate, table).all() for rate in rates.PARTS[measure]), "every group has both classes"
    asked = {
        "sensitive_features": of.columns[list(columns)],
        "method": "between_groups" if against == "groups" else "to_overall",
    }
    for mean in (False, True) if measure == "equalized-odds" else (False,):
        more = {"agg": "mean" if mean else "worst_case"} if measure == "equalized-odds" else {}
        for end, ours in (("difference", rates.gap), ("ratio", rates.parity)):
            theirs = getattr(fairlearn, f"{FUNCTIONS[measure]}_{end}")(of.label, of.optimized, **asked, **more)
            close(ours(table, measure, mean, "groups" if against == "groups" else "overall"), theirs)


rows = st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), min_size=2, max_size=40)


@settings(max_examples=15, deadline=None)
@given(rows)
def test_random_tables_agree_wherever_a_rate_is_defined(drawn: list[tuple[int, bool, bool]]) -> None:
    group, label, decision = (np.array(column, dtype=np.int64) for column in zip(*drawn, strict=True))
    table = rates.after(cell_counts([group], [4], label, decision, decision, 1))
    names = ("selection-rate", "true-positive-rate", "false-positive-rate", "accuracy")
    theirs = fairlearn.MetricFrame(
        metrics={name: THEIRS[name] for name in names},
        y_true=label,
        y_pred=decision,
        sensitive_features=pd.Series(group),
    )
    for name in names:
        ours = rates.RATES[name](table)
        for code, value in enumerate(ours):
            if not table[code].any():
                assert np.isnan(value), "an empty group has no rate"
                assert code not in theirs.by_group.index
            elif np.isnan(value):
                assert theirs.by_group[name][code] == 0, "Fairlearn says 0 of no rows, and we say that there is no rate"
            else:
                close(value, theirs.by_group[name][code])
        if seen(name, table)[np.unique(group)].all():
            close(rates.difference(ours), theirs.difference()[name])
            close(rates.ratio(ours), theirs.ratio()[name])


def test_where_fairlearn_says_zero_of_a_group_without_positives_there_is_no_gap_to_speak_of() -> None:
    group, label, decision = np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]), np.array([1, 1, 0, 1])
    table = rates.after(cell_counts([group], [2], label, decision, decision, 1))
    asked = {"sensitive_features": group}
    assert fairlearn.equal_opportunity_difference(label, decision, **asked) == 1.0
    np.testing.assert_array_equal(rates.true_positive_rate(table), [1.0, np.nan])
    assert rates.gap(table, "equal-opportunity") == 0, "one group is left, which differs from none"


def test_a_table_of_one_value_everywhere_has_no_gap_and_ratio_one() -> None:
    table = np.full((5, 2, 2), 7)
    for measure in rates.PARTS:
        assert rates.gap(table, measure) == 0
        assert rates.parity(table, measure) == 1


def test_nobody_selected_has_no_ratio() -> None:
    table = np.array([[[5, 0], [5, 0]], [[9, 0], [1, 0]]])
    assert rates.gap(table, "demographic-parity") == 0
    assert np.isnan(rates.parity(table, "demographic-parity"))
    theirs = fairlearn.demographic_parity_ratio
    labels, groups = np.repeat([0, 1, 0, 1], [5, 5, 9, 1]), pd.Series(np.repeat([0, 1], 10))
    assert np.isnan(theirs(labels, np.zeros(20, int), sensitive_features=groups))
