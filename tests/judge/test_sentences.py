"""Clauses that findings share."""

from kit.judge.sentences import slice_name


def test_a_slice_is_named_in_words() -> None:
    assert slice_name("exercise=row") == "exercise: row"
    assert slice_name("age=75=") == "age: 75="
    assert slice_name("") == ""
