"""Manifests of every task: the truth as records, from each kind of file, and what is refused of it."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kit.errors import DatasetError, EdgeproofError, SpecError
from kit.records import RaggedRecord
from kit.spec.dataset import load_dataset
from kit.spec.types import Dataset
from tests.spec.bundle import Bundle

KINDS = ["npz", "csv", "parquet"]
ROWS = 6


def columns(**more: NDArray[Any]) -> dict[str, NDArray[Any]]:
    x = np.random.default_rng(1).normal(size=(ROWS, 4)).astype(np.float32)
    return {"x": x, "label": np.array(["rest", "walk", "run"] * 2), **more}


def bundle(folder: Path, kind: str, dataset: dict[str, Any], **more: NDArray[Any]) -> Bundle:
    return Bundle(folder, kind, {"test": columns(**more)}, {"name": "small", **dataset})


def load(of: Bundle, output: dict[str, Any] | None = None) -> Dataset:
    manifest = of.write()
    if output:
        lines = ["[output]", *(f"{key} = {json.dumps(value)}" for key, value in output.items())]
        manifest.write_text(manifest.read_text() + "\n" + "\n".join(lines))
    return load_dataset(manifest)


def lists(of: RaggedRecord | None) -> list[Any]:
    assert of is not None
    return [of.values[a:b].squeeze(1).tolist() for a, b in zip(of.offsets, of.offsets[1:], strict=False)]


def refused(of: Bundle, output: dict[str, Any] | None = None) -> EdgeproofError:
    with pytest.raises(EdgeproofError) as caught:
        load(of, output)
    assert caught.value.where
    assert caught.value.next_step
    assert str(caught.value).isprintable()
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
def test_several_labels_from_columns_or_from_a_text(tmp_path: Path, kind: str) -> None:
    truth = np.array([[1, 0], [0, 0], [1, 1], [0, 1], [1, 0], [0, 0]])
    table = {"task": "multilabel", "classes": ["red", "round"]}
    of = bundle(tmp_path, kind, {**table, "labels": ["a", "b"]}, a=truth[:, 0], b=truth[:, 1])
    data = load(of, {"scores": "logits", "threshold": 0.2}).test.record
    assert data.targets is not None
    np.testing.assert_array_equal(data.targets.values, truth)
    assert data.targets.offsets.tolist() == list(range(ROWS + 1))
    assert (data.scores.kind, data.scores.threshold, data.labels.tolist()) == ("logits", 0.2, [0] * ROWS)
    texts = np.array(["red", "", "red|round", "round", "red", ""])
    same = load(bundle(tmp_path, kind, {**table, "label": "tags"}, tags=texts)).test.record
    assert same.targets is not None
    np.testing.assert_array_equal(same.targets.values, truth)
    assert same.data_digest == data.data_digest


@pytest.mark.parametrize("kind", KINDS)
def test_targets_numbers_and_weights(tmp_path: Path, kind: str) -> None:
    y, age = np.linspace(-2, 3, ROWS), np.array([20.5, 31, 44, 60, 71, 18])
    of = bundle(
        tmp_path,
        kind,
        {"task": "regression", "targets": ["y"], "numbers": ["age"], "weight": "w"},
        y=y,
        age=age,
        w=np.array([1, 2.5, 1, 1, 0.5, 3]),
    )
    dataset = load(of)
    data = dataset.test.record
    assert (dataset.task, dataset.classes, data.task) == ("regression", ("y",), "regression")
    assert data.targets is not None
    np.testing.assert_array_equal(data.targets.values[:, 0], y)
    np.testing.assert_array_equal(data.numbers["age"], age)
    assert data.weights is not None
    assert data.weights.tolist() == [1, 2.5, 1, 1, 0.5, 3]


@pytest.mark.parametrize("name", ["y", "age", "w"])
def test_each_number_is_in_the_digest(tmp_path: Path, name: str) -> None:
    of = bundle(
        tmp_path,
        "npz",
        {"task": "regression", "targets": ["y"], "numbers": ["age"], "weight": "w"},
        y=np.arange(6.0),
        age=np.arange(6.0),
        w=np.ones(6),
    )
    before = load(of).test.record.data_digest
    of.parts["test"][name][3] += 0.5
    assert load(of).test.record.data_digest != before


def test_targets_may_be_one_array(tmp_path: Path) -> None:
    y = np.random.default_rng(0).normal(size=(ROWS, 3))
    data = load(bundle(tmp_path, "npz", {"task": "regression", "targets": ["y"]}, y=y)).test.record
    assert data.targets is not None
    np.testing.assert_array_equal(data.targets.values, y)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens(tmp_path: Path, kind: str) -> None:
    said = np.array(["go", "go left", "", "left left go", "stop", "go"])
    table = {"task": "sequence", "classes": ["go", "left", "stop"], "label": "said"}
    dataset = load(bundle(tmp_path, kind, table, said=said), {"decode": "ctc", "blank": "first", "separator": "stop"})
    assert lists(dataset.test.record.targets) == [[0], [0, 1], [], [1, 1, 0], [2], [0]]
    assert (dataset.output.decode, dataset.output.blank, dataset.test.record.scores.separator) == ("ctc", "first", 2)


def test_frames_from_an_array_and_from_texts(tmp_path: Path) -> None:
    table = {"task": "frames", "classes": ["quiet", "speech"], "label": "f"}
    f = np.array([[0, 1, 1], [0, 0, -1], [1, 1, 1], [0, 0, 0], [1, 0, 1], [0, 1, 0]])
    data = load(bundle(tmp_path, "npz", table, f=f)).test.record
    assert lists(data.targets) == f.tolist()
    texts = np.array([" ".join("quiet" if each == 0 else "speech" for each in row) for row in np.abs(f)])
    assert lists(load(bundle(tmp_path, "csv", table, f=texts)).test.record.targets) == np.abs(f).tolist()


def test_boxes_from_arrays_and_from_texts(tmp_path: Path) -> None:
    table = {"task": "detection", "classes": ["cat", "dog"], "boxes": "b"}
    names = {"boxes": "xy", "confidences": "s", "labels": "c", "box_format": "ltwh", "first_class": 1}
    values = np.array([[1, 2, 3.5, 4, 0], [0, 0, 9, 9, 1], [5, 5, 6, 6, 1]])
    offsets = np.array([0, 2, 2, 2, 3, 3, 3])
    dataset = load(bundle(tmp_path, "npz", table, b=values, b_offsets=offsets), names)
    data = dataset.test.record
    assert data.targets is not None
    np.testing.assert_array_equal(data.targets.values, values)
    np.testing.assert_array_equal(data.targets.offsets, offsets)
    assert dataset.output.detection == ("xy", "s", "c")
    assert (dataset.output.box_format, dataset.output.first_class) == ("ltwh", 1)
    texts = np.array(["1 2 3.5 4 cat; 0 0 9 9 dog", "", "", "5 5 6 6 dog", "", ""])
    same = load(bundle(tmp_path, "csv", table, b=texts), names).test.record
    assert same.targets is not None
    np.testing.assert_array_equal(same.targets.values, values)
    assert same.data_digest == data.data_digest


@pytest.mark.parametrize("kind", KINDS)
def test_an_embedding_needs_no_truth_and_an_anomaly_two_classes(tmp_path: Path, kind: str) -> None:
    data = load(bundle(tmp_path, kind, {"task": "embedding"})).test.record
    assert (data.task, data.classes, data.targets, data.labels.tolist()) == ("embedding", (), None, [0] * ROWS)
    state = np.array(["fine", "broken"] * 3)
    table = {"task": "anomaly", "classes": ["fine", "broken"], "label": "state"}
    data = load(bundle(tmp_path, kind, table, state=state), {"scores": "values", "threshold": 2}).test.record
    assert data.labels.tolist() == [0, 1] * 3
    assert (data.scores.kind, data.scores.threshold) == ("values", 2.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_train_part_and_sensitive_columns(tmp_path: Path, kind: str) -> None:
    of = Bundle(tmp_path, kind)
    of.parts["train"] = {name: array[:4].copy() for name, array in of.parts["test"].items()}
    of.parts["train"]["x"] = of.parts["train"]["x"] + 1
    of.dataset["sensitive"] = ["side"]
    dataset = load(of)
    assert dataset.train is not None
    assert (dataset.train.record.rows, dataset.test.record.sensitive) == (4, ("side",))


def test_a_sensitive_column_is_no_input(tmp_path: Path) -> None:
    of = Bundle(tmp_path, "csv")
    of.dataset |= {"slices": ["side", "subject", "ax1"], "sensitive": ["ax1"]}
    error = refused(of)
    assert 'column "ax1" is sensitive, and also an input' in error.what
    of.dataset |= {"slices": ["side"], "sensitive": ["ax1"]}
    assert '"ax1" is sensitive, and not among the slices' in refused(of).what
    arrays = Bundle(tmp_path, "npz")
    arrays.dataset |= {"slices": ["side", "x"], "sensitive": ["x"]}
    assert "the model's input" in refused(arrays).what


MULTI = {"task": "multilabel", "classes": ["a", "b"], "labels": ["p", "q"]}
BITS = {"p": np.array([0, 1] * 3), "q": np.zeros(6)}


@pytest.mark.parametrize(
    ("kind", "dataset", "more", "what", "where"),
    [
        pytest.param(
            "csv",
            MULTI,
            BITS | {"q": np.array([0, 0, 2, 0, 0, 2])},
            "neither 0 nor 1 (2 such rows)",
            "row 2 (from 0), column p",
            id="label-2",
        ),
        pytest.param(
            "npz",
            {**MULTI, "labels": ["p"]},
            BITS,
            "1 columns of labels, and there are 2 classes",
            "test.npz",
            id="one-column",
        ),
        pytest.param(
            "csv",
            {"task": "multilabel", "classes": ["a"], "label": "t"},
            {"t": np.array(["a", "", "a|z", "", "", ""])},
            "'z' is not one of the 1 classes",
            "row 2 (from 0), column t",
            id="unknown-tag",
        ),
        pytest.param(
            "npz",
            {"task": "regression", "targets": ["y"]},
            {"y": np.array([0, 1, np.nan, 3, np.inf, 5])},
            "is not a finite number (2 such rows)",
            "row 2 (from 0), column y",
            id="target-nan",
        ),
        pytest.param(
            "csv",
            {"task": "regression", "targets": ["y"]},
            {"y": np.array(["0", "1", "", "3", "4", "5"])},
            "the value is missing",
            "row 2 (from 0), column y",
            id="target-missing",
        ),
        pytest.param(
            "csv", {"task": "regression", "targets": ["z"]}, {}, 'there is no column "z"', "test.csv", id="no-target"
        ),
        pytest.param(
            "npz",
            {"task": "embedding", "weight": "w"},
            {"w": np.array([1, 1, 0, 1, -2, 1.0])},
            "0 is no weight",
            "row 2 (from 0), column w",
            id="weight-0",
        ),
        pytest.param(
            "npz",
            {"task": "embedding", "weight": "w"},
            {"w": np.array([1, 1, 1, 1.1e6, 1, 2])},
            "a weight of 1.1e+06, and one of 1; the largest is at most 1e+06 times that",
            "row 3 (from 0), column w",
            id="weights-too-uneven",
        ),
        pytest.param(
            "npz",
            {"task": "embedding", "weight": "w"},
            {"w": np.full(6, 1e200)},
            "weights from 1e+200 to 1e+200; they are within 1e-100 and 1e+100",
            "column w",
            id="weights-too-large",
        ),
        pytest.param(
            "npz",
            {"task": "embedding", "weight": "w"},
            {"w": np.full(6, 5e-324)},
            "they are within 1e-100 and 1e+100",
            "column w",
            id="weights-too-small",
        ),
        pytest.param(
            "npz",
            {"task": "embedding", "numbers": ["n"]},
            {"n": np.ones((6, 2))},
            "one number a row",
            "column n",
            id="number-2d",
        ),
        pytest.param(
            "npz",
            {"task": "embedding", "numbers": ["n"]},
            {"n": np.ones(5)},
            "column n has 5 rows",
            "test.npz",
            id="number-short",
        ),
        pytest.param(
            "npz",
            {"task": "frames", "classes": ["a", "b"], "label": "f"},
            {"f": np.full((6, 2), 2)},
            "none of the 2 classes, nor -1",
            "row 0 (from 0), column f",
            id="frame-2",
        ),
        pytest.param(
            "npz",
            {"task": "frames", "classes": ["a", "b"], "label": "f"},
            {"f": np.zeros(6)},
            "frames have [rows, frames]",
            "array f",
            id="frames-flat",
        ),
        pytest.param(
            "csv",
            {"task": "sequence", "classes": ["a"], "label": "s"},
            {"s": np.array(["a", "b", "a", "a", "a", "a"])},
            "'b' is not one of the 1 classes",
            "row 1 (from 0), column s",
            id="token",
        ),
        pytest.param(
            "csv",
            {"task": "sequence", "classes": ["a"], "label": "s"},
            {"s": np.array(["a", "a " * 3000] * 3)},
            "4096 characters or more",
            "row 1 (from 0), column s",
            id="token-long",
        ),
        pytest.param(
            "npz", {"task": "regression", "targets": ["label"]}, {}, "not numbers", "array label", id="target-text"
        ),
    ],
)
def test_what_is_refused_of_rows(
    tmp_path: Path, kind: str, dataset: dict[str, Any], more: dict[str, Any], what: str, where: str
) -> None:
    error = refused(bundle(tmp_path, kind, dataset, **more))
    assert isinstance(error, DatasetError)
    assert what in error.what
    assert where in error.where


BOXES = {"task": "detection", "classes": ["cat"], "boxes": "b"}
NAMES = {"boxes": "xy", "confidences": "s", "labels": "c"}


@pytest.mark.parametrize(
    ("values", "offsets", "what"),
    [
        pytest.param([[0, 0, 1, 1]], [0, 1, 1, 1, 1, 1, 1], "boxes are [boxes, 5]", id="width"),
        pytest.param([[0, 0, 1, 1, 0]], [0, 1, 1], "do not rise from 0 to 1 in 7 steps", id="offsets-few"),
        pytest.param([[0, 0, 1, 1, 0]], [0, 1, 0, 1, 1, 1, 1], "do not rise", id="offsets-fall"),
        pytest.param([[0, 0, 1, 1, 0]], [0, 0, 0, 0, 0, 0, 2], "do not rise", id="offsets-beyond"),
        pytest.param([[2, 0, 1, 1, 0]], [0, 1, 1, 1, 1, 1, 1], "right of its right", id="turned"),
        pytest.param([[0, 0, np.nan, 1, 0]], [0, 1, 1, 1, 1, 1, 1], "no number", id="nan"),
        pytest.param([[0, 0, 1, 1, 1]], [0, 0, 0, 1, 1, 1, 1], "of a class that is none of the 1", id="class"),
    ],
)
def test_what_is_refused_of_boxes(tmp_path: Path, values: list[list[float]], offsets: list[int], what: str) -> None:
    of = bundle(tmp_path, "npz", BOXES, b=np.array(values, float), b_offsets=np.array(offsets))
    assert what in refused(of, NAMES).what


@pytest.mark.parametrize("text", ["1 2 3", "1 2 3 4 dog", "1 2 x 4 cat", "1 2 3 4 cat;"])
def test_what_is_refused_of_boxes_in_a_text(tmp_path: Path, text: str) -> None:
    of = bundle(tmp_path, "csv", BOXES, b=np.array(["", text, "", "", "", ""]))
    error = refused(of, NAMES)
    assert "a box is not written as one" in error.what
    assert "row 1 (from 0), column b" in error.where


@pytest.mark.parametrize(
    ("dataset", "output", "what"),
    [
        ({"task": "classification", "classes": ["a", "b"]}, None, "needs label"),
        ({"task": "classification", "classes": ["a"], "label": "label"}, None, "at least 2 classes, and 1 are named"),
        ({"task": "anomaly", "classes": ["a", "b", "c"], "label": "label"}, None, "at most 2 classes, and 3 are named"),
        ({"task": "regression", "label": "label"}, None, "is no key of the task regression"),
        ({"task": "regression", "targets": ["y"], "classes": ["y"]}, None, "at most 0 classes"),
        ({"task": "multilabel", "classes": ["a"], "labels": ["p"], "label": "t"}, None, "and not both"),
        ({"task": "regression", "targets": ["y", "y"]}, None, '"y" is listed twice'),
        ({"task": "regression", "targets": ["y"]}, {"decode": "ctc"}, "is no key of the task regression"),
        ({"task": "sequence", "classes": ["a"], "label": "s"}, {"separator": "b"}, '"b" is not one of the classes'),
        ({"task": "sequence", "classes": ["a"], "label": "s"}, {"decode": "ctc", "end": "a"}, "has none"),
        ({"task": "detection", "classes": ["a"], "boxes": "b"}, {"boxes": "xy"}, "needs the name"),
        (
            {"task": "detection", "classes": ["a"], "boxes": "b"},
            {"name": "xy", **NAMES},
            "is no key of the task detection",
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_keys_that_do_not_fit_the_task_are_refused_at_their_line(
    tmp_path: Path, dataset: dict[str, Any], output: dict[str, Any] | None, what: str
) -> None:
    error = refused(bundle(tmp_path, "npz", dataset), output)
    assert isinstance(error, SpecError)
    assert what in error.what or what in error.next_step
    assert ":" in error.where


def test_one_target_as_a_text_is_told_as_a_list(tmp_path: Path) -> None:
    error = refused(bundle(tmp_path, "npz", {"task": "regression", "targets": "y"}, y=np.zeros(ROWS, np.float32)))
    assert error.next_step.startswith('write targets = ["NAME"]')


DOCS = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
EXAMPLES = tomllib.loads(DOCS.partition("# tasks\n")[2].partition("```")[0])


@pytest.mark.parametrize(
    "task", ["multilabel", "regression", "anomaly", "sequence", "frames", "embedding", "detection"]
)
def test_the_example_of_each_task_is_what_a_manifest_takes(tmp_path: Path, task: str) -> None:
    said = dict(EXAMPLES[task])
    output = said.pop("output", {})
    truth = {
        "is_red": np.arange(ROWS) % 2, "is_round": np.arange(ROWS) % 3 % 2, "y": np.arange(ROWS) / 2,
        "state": np.array(["normal", "worn"] * (ROWS // 2)), "text": np.array(["h i | h"] * ROWS),
        "mask": np.zeros((ROWS, 3), np.int64), "boxes": np.zeros((0, 5)), "boxes_offsets": np.zeros(ROWS + 1, np.int64),
    }  # fmt: skip
    dataset = load(bundle(tmp_path, "npz", {"task": task, **said}, **truth), output)
    assert dataset.task == task
    assert dataset.output_name == output.get("name")
