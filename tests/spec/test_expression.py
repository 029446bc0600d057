"""Expressions over columns: what they mean, what is refused and where, and nothing that is run."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.errors import SpecError
from kit.records import ColumnRecord, DatasetRecord
from kit.spec.expression import LENGTH_LIMIT, Comparison, parse_expression
from kit.spec.where import numbers_of, rows_where
from tests import builders

SEX = ("F", "M", "F", "M", "", "F")
AGE = ("70", "30", "65", "", "80", "40.5")
HEART = (60.0, np.nan, 90.0, 100.0, 55.0, 70.0)


def column(values: tuple[str, ...]) -> ColumnRecord:
    distinct = tuple(dict.fromkeys(values))
    return ColumnRecord(distinct, np.array([distinct.index(value) for value in values], dtype=np.int64))


def data() -> DatasetRecord:
    plain = builders.dataset(rows=60, clusters=6)
    return replace(
        plain, rows=6, labels=plain.labels[:6], cluster=np.arange(6), cluster_column=None,
        columns={"sex": column(SEX), "age": column(AGE), "heart rate": column(("a",) * 6)},
        numbers={"heart": np.array(HEART)},
    )  # fmt: skip


def where(text: str) -> list[int]:
    return np.flatnonzero(rows_where(parse_expression(text), data())).tolist()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('sex == "F"', [0, 2, 5]),
        ('"F" == sex', [0, 2, 5]),
        ('sex != "F"', [1, 3]),
        ('sex == ""', [4]),
        ('sex != ""', [0, 1, 2, 3, 5]),
        ('sex in ("F", "M")', [0, 1, 2, 3, 5]),
        ('sex in ["F", ""]', [0, 2, 4, 5]),
        ('sex not in ("F",)', [1, 3]),
        ("age >= 65", [0, 2, 4]),
        ("65 <= age", [0, 2, 4]),
        ("65 < age", [0, 4]),
        ("40 < age < 70", [2, 5]),
        ("age == 40.5", [5]),
        ("age in (30, 70)", [0, 1]),
        ('age == "30"', [1]),
        ('age == ""', [3]),
        ("not age >= 65", [1, 5]),
        ('age >= 65 and sex == "F"', [0, 2]),
        ('age >= 65 or sex == "F"', [0, 2, 4, 5]),
        ('not (age >= 65 or sex == "F")', [1]),
        ('not (age >= 65 and sex == "F")', [1, 3, 5]),
        ("heart > 60", [2, 3, 5]),
        ("heart != 60", [2, 3, 4, 5]),
        ("heart > -1", [0, 2, 3, 4, 5]),
        ('heart == ""', [1]),
        ('column("heart rate") == "a"', [0, 1, 2, 3, 4, 5]),
        ('  sex == "F"  ', [0, 2, 5]),
        ('sex < "M"', [0, 2, 5]),
    ],
)
def test_what_an_expression_means(text: str, rows: list[int]) -> None:
    assert where(text) == rows


@pytest.mark.parametrize(
    ("text", "what", "next_step"),
    [
        ("", "not a valid expression", "write it like"),
        ("age >", "not a valid expression", "write it like"),
        ("age = 3", "not a valid expression at column ", "write it like"),
        ("sex", 'at column 1: "sex" is a column, and no condition', 'sex == "yes"'),
        ('age > 3 and "F"', "at column 13: neither a comparison nor and, or, not", "write it like"),
        ("sex == F", 'at column 8: "F" is no value', 'put a text in quotes: "F"'),
        ('é == é2 and sex == "F"', 'at column 6: "é2" is no value', "quotes"),
        ("sex is 3", "at column 1: `is` compares no values", "write == or !="),
        ("3 < 4", "at column 1: no column is compared here", "write it like"),
        ("age > True", "at column 7: True is neither a number nor a text", '"true"'),
        ("age > -True", "neither a number nor a text in quotes", "write it like"),
        ("age > 1 + 2", "at column 7: neither a number nor a text in quotes", "write it like"),
        ('sex in "FM"', "at column 8: after `in` comes a list of values", '("left", "right")'),
        ("sex in ()", "after `in` comes a list of values", '("left", "right")'),
        ('"F" in sex', "at column 1: before `in` comes a column", '("left", "right")'),
        ('sex > ""', "at column 7: an empty text has no order", 'write == ""'),
        ("age > 1e999", "at column 7: the number is too large", ""),
        ("age > 1" + "0" * 400, "the number is too large", ""),
        ('__import__("os").system("true") == 0', "at column 1: no column is compared here", ""),
        ("age.__class__ == 3", "no column is compared here", ""),
        ('column(sex) == "F"', "no column is compared here", ""),
        ("[x for x in age] == 3", "no column is compared here", ""),
        ("lambda: 3", "at column 1: neither a comparison", ""),
        ('"\\400" == sex and 3', "neither a comparison", ""),
        ("(" * 300 + ")" * 300, "not a valid expression", ""),
        ("not " * 60 + "age > 3", "nested more than 32 deep", ""),
        ("-" * 1500 + "3 < age", "", "write it like"),
        ("a" * (LENGTH_LIMIT + 1), "an expression of 2,001 characters", "at most 2,000"),
        ("age > 3\x00", "not a valid expression", ""),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_what_is_none_is_refused_with_its_column(text: str, what: str, next_step: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_expression(text)
    assert what in caught.value.what
    assert next_step in caught.value.next_step


@pytest.mark.parametrize(
    ("text", "what", "next_step"),
    [
        ('sexx == "F"', 'at column 1: there is no column "sexx"', 'did you mean "sex"?'),
        ("age > 3 and hart > 3", 'at column 13: there is no column "hart"', 'did you mean "heart"?'),
        ('sex == "f"', 'sex has no value "f"', 'did you mean "F"?'),
        ("sex > 3", 'sex has texts, such as "F", "M"', "a text in quotes"),
        ('heart == "60"', "heart has numbers", "write 60 without quotes"),
        ('age > "60"', "age has numbers", "write 60 without quotes"),
    ],
)
def test_what_the_data_does_not_have_is_refused(text: str, what: str, next_step: str) -> None:
    with pytest.raises(SpecError) as caught:
        rows_where(parse_expression(text), data())
    assert what in caught.value.what
    assert next_step in caught.value.next_step


def test_a_chain_is_a_junction_of_its_comparisons() -> None:
    condition = parse_expression("18 <= age < 65")
    assert condition.parts == (  # type: ignore[union-attr]
        Comparison("age", ">=", (18.0,), 1),
        Comparison("age", "<", (65.0,), 7),
    )


def test_a_row_of_which_nothing_is_known_is_neither_in_nor_out() -> None:
    for text in ("age > 50", "age <= 50", "not age > 50", "not age <= 50", "age != 50"):
        assert 3 not in where(text)
    assert 3 in where('age > 50 or sex == "M"')
    assert 3 not in where('age > 50 and sex == "M"')


def test_columns_of_numbers_are_those_whose_every_text_is_one() -> None:
    given = data()
    assert numbers_of(given, "sex") is None
    found = numbers_of(given, "age")
    assert found is not None
    assert np.array_equal(found, [70, 30, 65, np.nan, 80, 40.5], equal_nan=True)
    for texts in (("1", "x"), ("", " "), ("1", "inf"), ("nan",)):
        columns = {"c": column((*texts, *texts[:1] * 6)[:6])}
        assert numbers_of(replace(given, columns=columns), "c") is None


SIDES = st.sampled_from(['sex == "F"', "age > 50", "heart <= 70", 'age == ""', "40 < age < 70"])
CONDITIONS = st.recursive(
    SIDES,
    lambda inner: st.one_of(
        inner.map(lambda a: f"not ({a})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(CONDITIONS)
def test_a_condition_and_its_negation_never_share_a_row(text: str) -> None:
    inside, outside = set(where(text)), set(where(f"not ({text})"))
    assert not inside & outside
    assert inside == set(where(f"not (not ({text}))"))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='age sxF"()=<>!,.0123456789-andotri[]{}:\n\\', max_size=40))
def test_any_text_is_an_expression_or_a_spec_error(text: str) -> None:
    try:
        rows = rows_where(parse_expression(text), data())
    except SpecError as refused:
        error = refused
    else:
        assert rows.dtype == np.bool_
        assert rows.shape == (6,)
        return
    assert error.what
    assert "\n" not in error.what


def test_no_rows_are_no_rows() -> None:
    empty = replace(data(), rows=0, columns={"age": ColumnRecord(("3",), np.zeros(0, dtype=np.int64))})
    assert rows_where(parse_expression("age > 2"), empty).shape == (0,)


def test_half_a_character_is_told_for_what_it_is() -> None:
    with pytest.raises(SpecError, match=r"at column 11: half a character \(a lone surrogate\)"):
        parse_expression("  side == '\ud800'"[1:])
