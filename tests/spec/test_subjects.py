"""Names of slices: made of columns and values, told in words, whatever characters a column's name has."""

import pytest

from kit.spec.subjects import JOINED, in_words, named_part, values_of


@pytest.mark.parametrize(
    ("column", "value", "subject", "words"),
    [
        ("side", "left", "side=left", "side: left"),
        ("heart rate", "a=b", "heart rate=a=b", "heart rate: a=b"),
        ("k&=1", "-", '"k&=1"=-', '"k&=1": -'),
        ("income>=50K", "yes", '"income>=50K"=yes', '"income>=50K": yes'),
        ("a & b", "1", '"a & b"=1', '"a & b": 1'),
        ('"=', "1", '"""="=1', '"""=": 1'),
        ('5" tall', "1", '5" tall=1', '5" tall: 1'),
        ("", "1", "=1", ": 1"),
    ],
)
def test_a_part_says_where_its_column_ends(column: str, value: str, subject: str, words: str) -> None:
    assert named_part(column, value) == subject
    assert in_words(subject) == words
    assert values_of(subject) == value
    crossed = JOINED.join([named_part("sex", "F"), subject, named_part("day", "2")])
    assert in_words(crossed) == f"sex: F & {words} & day: 2"
    assert values_of(crossed) == f"F & {value} & 2"


@pytest.mark.parametrize(
    ("value", "subject", "words"),
    [
        ("x & b=y", 'a="x & b=y"', 'a: "x & b=y"'),
        ('"x', 'a="""x"', 'a: """x"'),
        ('"', 'a=""""', 'a: """"'),
        ('say " & "', 'a="say "" & """', 'a: "say "" & """'),
    ],
)
def test_a_value_says_where_it_ends(value: str, subject: str, words: str) -> None:
    """Else it could have the name of a crossing, and be judged by the rows of that."""
    assert named_part("a", value) == subject
    assert in_words(subject) == words
    crossed = JOINED.join([named_part("sex", "F"), subject, named_part("day", "2")])
    assert in_words(crossed) == f"sex: F & {words} & day: 2"
    assert values_of(crossed) == f"F & {subject[2:]} & 2"


@pytest.mark.parametrize("subject", ["", "all", "old & left"])
def test_a_name_of_a_user_s_own_stays(subject: str) -> None:
    assert in_words(subject) == values_of(subject) == subject
