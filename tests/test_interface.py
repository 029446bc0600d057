"""Which tensor is the input and which are the scores: one rule, with errors that list what there is."""

import pytest

from kit.errors import ModelError
from kit.interface import check_input, choose_output, shape_text


@pytest.mark.parametrize(
    ("names", "dtypes", "ranks", "wanted", "index"),
    [
        (["s"], ["float32"], [2], None, 0),
        (["label", "p"], ["int64", "float32"], [1, 2], None, 1),
        (["label", "map"], ["int64", "seq(map(int64,tensor(float)))"], [1, 0], "map", 1),
        (["a", "b"], ["float32", "float32"], [2, 2], "b", 1),
        (["a", "b"], ["float32", "float32"], [2, 4], None, 0),
        (["a", "b"], ["float64", "int8"], [2, 2], None, 0),
    ],
)
def test_chooses(names, dtypes, ranks, wanted, index):
    assert choose_output(names, dtypes, ranks, wanted) == index


@pytest.mark.parametrize(
    ("names", "dtypes", "ranks", "wanted", "said"),
    [
        (
            ["a", "b"],
            ["float32", "float32"],
            [2, 2],
            None,
            r"several outputs .*a \(float32, rank 2\), b \(float32, rank 2\)",
        ),
        (["a"], ["int64"], [1], None, r"no output could be .*a \(int64, rank 1\)"),
        ([], [], [], None, "none"),
        (["a"], ["float32"], [2], "z", "no output 'z'"),
    ],
)
def test_refuses_and_lists(names, dtypes, ranks, wanted, said):
    with pytest.raises(ModelError, match=said) as caught:
        choose_output(names, dtypes, ranks, wanted)
    assert "output" in caught.value.next_step


@pytest.mark.parametrize("shape", [["batch", 6, 100], [None, 6, 100], [1, 6, 100], ["n", "c", 100], [1, None, None]])
def test_takes_rows_of_its_shape(shape):
    check_input(["x"], shape, (6, 100))


@pytest.mark.parametrize(
    ("shape", "row_shape"),
    [
        ([8, 6, 100], (6, 100)),
        (["n", 6, 100], (6, 99)),
        (["n", 600], (6, 100)),
        ([], (6,)),
        ([6], (6,)),
        ([1, 6, 1], (6,)),
    ],
)
def test_refuses_rows_of_another_shape_and_shows_both(shape, row_shape):
    with pytest.raises(ModelError) as caught:
        check_input(["x"], shape, row_shape)
    assert shape_text(shape) in str(caught.value)
    assert shape_text(row_shape) in str(caught.value)


@pytest.mark.parametrize("names", [[], ["a", "b"]])
def test_one_input_only(names):
    with pytest.raises(ModelError, match="exactly one"):
        check_input(names, ["n", 3], (3,))
