"""The search equals brute force on random tables; what is pruned was not worth seeing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.records import ColumnRecord
from kit.slicing.scan import scan
from kit.slicing.table import outcomes, tabulate
from kit.slicing.worst import worst
from tests.slicing.brute_force import all_slices, masks


def random_columns(rng: np.random.Generator, rows: int, cardinalities: list[int]) -> dict[str, ColumnRecord]:
    return {
        f"c{number}": ColumnRecord(
            tuple(f"v{value}" for value in range(values)),
            np.minimum(rng.integers(0, values, rows), rng.integers(0, values, rows)).astype(np.int64),
        )
        for number, values in enumerate(cardinalities)
    }


@st.composite
def cases(draw: st.DrawFn) -> dict[str, object]:
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    rows = draw(st.integers(1, 120))
    columns = random_columns(rng, rows, draw(st.lists(st.integers(1, 5), min_size=1, max_size=5)))
    kind = draw(st.sampled_from(["flips", "losses", "ties", "none"]))
    differences = {
        "flips": rng.choice([-1.0, 0.0, 1.0], rows, p=[0.1, 0.7, 0.2]),
        "losses": rng.normal(0.1, 1.0, rows),
        "ties": np.ones(rows),
        "none": np.zeros(rows),
    }[kind]
    return {
        "columns": columns,
        "differences": differences,
        "weights": rng.choice([0.5, 1.0, 3.0], rows) if draw(st.booleans()) else None,
        "minimum_rows": draw(st.integers(1, 20)),
        "limit": draw(st.sampled_from([0.0, 0.1, -0.2])),
        "depth": draw(st.integers(1, 4)),
        "count": draw(st.integers(1, 30)),
    }


@settings(max_examples=120, deadline=None)
@given(cases())
def test_the_worst_are_those_of_brute_force(case: dict[str, object]) -> None:
    """Ties, constant columns, one column, one row and weights among them."""
    weights = case["weights"] if case["weights"] is not None else np.ones(len(case["differences"]))  # type: ignore[arg-type]
    asked = {key: value for key, value in case.items() if key != "count"}
    expected = all_slices(**(asked | {"weights": weights}))  # type: ignore[arg-type]
    found = worst(**case)  # type: ignore[arg-type]
    assert len(found) == min(case["count"], len(expected))  # type: ignore[call-overload]
    by_name = {each.where: each for each in expected}
    for place, each in enumerate(found):
        truth = by_name[each.where]
        assert each.statistic == pytest.approx(expected[place].statistic, abs=1e-9)
        assert each.rows == truth.rows
        assert each.statistic == pytest.approx(truth.statistic, abs=1e-9)
        assert each.mean == pytest.approx(truth.mean, abs=1e-9)
    assert len({each.where for each in found}) == len(found)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.booleans())
def test_a_scan_sees_every_conjunction_with_enough_rows(seed: int, minimum: int, sparse: bool) -> None:
    rng = np.random.default_rng(seed)
    columns = random_columns(rng, 90, [2, 40 if sparse else 3, 30 if sparse else 2, 3])
    values = rng.normal(size=90)
    table = tabulate(columns, [values], minimum)
    seen = {}
    for cells in scan(table, 3, minimum):
        for at in range(cells.codes.shape[1]):
            where = tuple(
                (table.names[c], table.values[c][v]) for c, v in zip(cells.columns, cells.codes[:, at], strict=True)
            )
            assert where not in seen
            seen[where] = tuple(cells.sums[:, at])
    expected = (
        {
            where: (float(mask.sum()), float(values[mask].sum()))
            for where, mask in masks({name: columns[name] for name in table.names}, 3)
            if mask.sum() >= minimum
        }
        if table.names
        else {}
    )
    assert seen.keys() == expected.keys()
    for where, sums in seen.items():
        assert sums == pytest.approx(expected[where], abs=1e-9)


def test_of_equal_slices_the_shorter_comes_first() -> None:
    columns = {
        name: ColumnRecord(("no", "yes"), np.array([0, 0, 1, 1], dtype=np.int64)) for name in ("first", "second")
    }
    found = worst(columns, np.array([0.0, 0.0, 1.0, 1.0]), minimum_rows=1)
    assert [each.where for each in found[:3]] == [
        (("first", "yes"),),
        (("second", "yes"),),
        (("first", "yes"), ("second", "yes")),
    ]


def test_tiny_and_empty_tables_give_nothing_to_see() -> None:
    empty = {"side": ColumnRecord(("left", "right"), np.zeros(0, dtype=np.int64))}
    assert worst(empty, np.zeros(0)) == ()
    assert worst({}, np.ones(50)) == ()
    constant = {"side": ColumnRecord(("left", "right"), np.zeros(50, dtype=np.int64))}
    assert worst(constant, np.ones(50)) == ()
    names = {"row": ColumnRecord(tuple(map(str, range(50))), np.arange(50))}
    assert worst(names, np.ones(50), minimum_rows=2) == ()


@pytest.mark.parametrize("few", [True, False], ids=["few outcomes", "many outcomes"])
def test_outcomes_are_counted_or_summed(few: bool) -> None:
    rng = np.random.default_rng(0)
    first = rng.choice([-1.0, 0.0, 0.25], 700) if few else rng.normal(size=700)
    second = first**2
    state, terms = outcomes([first, second])
    assert (state is None) is not few
    assert terms.shape == ((3, 3) if few else (3, 700))
    of_rows = terms if state is None else terms[:, state]
    assert np.array_equal(of_rows, np.array([np.ones(700), first, second]))


def test_an_outcome_that_comes_late_is_seen() -> None:
    """The first thousand rows do not speak for the rest."""
    values = np.zeros(5000)
    values[4000:] = np.arange(1000) % 7
    state, terms = outcomes([values])
    assert state is not None
    assert np.array_equal(terms[1][state], values)
    assert outcomes([np.arange(5000) // 1000 * np.r_[np.zeros(4000), np.arange(1000)]])[0] is None


def test_pruning_visits_less() -> None:
    """Columns of many values are searched one set at a time; one value has all the harm: others are not extended."""
    rng = np.random.default_rng(1)
    columns = random_columns(rng, 5000, [20] * 6)
    differences = ((columns["c0"].codes == 3) & (rng.random(5000) < 0.5)).astype(np.float64)
    table = tabulate(columns, [differences, differences**2, differences], 10)
    visited = sum(cells.codes.shape[1] for cells in scan(table, 3, 10))
    best = worst(columns, differences, count=1, minimum_rows=10)[0].statistic
    pruned = sum(cells.codes.shape[1] for cells in scan(table, 3, 10, lambda sums: np.sqrt(sums[3]) >= best))
    assert pruned < visited / 2
