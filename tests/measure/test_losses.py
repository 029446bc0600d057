"""Losses by name, and by a user's own function beside the profile."""

from pathlib import Path

import numpy as np
import pytest

from kit.errors import UsageError
from kit.measure.losses import losses_of
from kit.records import LossRecord
from tests import builders

EVIDENCE = builders.evidence((builders.FP32, builders.INT8_REDUCED), rows=300)
OPTIMIZED = EVIDENCE.variants[1].predictions


def losses(folder: Path, *measures: str) -> dict[str, LossRecord]:
    assert OPTIMIZED is not None
    return losses_of(EVIDENCE.dataset, EVIDENCE.reference_predictions, OPTIMIZED, measures, folder=folder)


def write(folder: Path, body: str) -> str:
    (folder / "mine.py").write_text(f"import numpy as np\n\n\ndef loss(truth, predictions, rows):\n    {body}\n")
    return "mine.py:loss"


def test_a_loss_a_row_of_what_is_defined(tmp_path: Path) -> None:
    found = losses(tmp_path, "accuracy", "auc", "accuracy")
    assert list(found) == ["accuracy", "auc"]
    assert OPTIMIZED is not None
    wrong = OPTIMIZED.decisions != EVIDENCE.dataset.labels
    np.testing.assert_array_equal(found["accuracy"].losses, wrong.astype(float))
    assert found["accuracy"].model_digest == OPTIMIZED.model_digest
    assert (found["accuracy"].low, found["accuracy"].high) == (0.0, 1.0)


def test_a_function_of_the_user_s(tmp_path: Path) -> None:
    name = write(tmp_path, "return 2.0 * (predictions.argmax(axis=1) != truth) + 0 * rows.weights")
    record = losses(tmp_path, name)[name]
    assert set(record.losses.tolist()) == {0.0, 2.0}
    assert (record.measure, record.high) == (name, None)
    assert not list(tmp_path.glob("__pycache__"))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("return truth[:3]", r"it gives \[3\], not a loss for each of 300 rows"),
        ("return truth / np.where(truth == 3, np.nan, 1.0)", "the loss of row"),
        ("raise RuntimeError('no such thing')", "it fails: RuntimeError: no such thing"),
        ("raise SystemExit(3)", "it fails: SystemExit: 3"),
        ("return ['a'] * len(truth)", "it fails: ValueError"),
    ],
    ids=["short", "nan", "raises", "exits", "text"],
)
def test_what_a_function_may_not_do(tmp_path: Path, body: str, what: str) -> None:
    name = write(tmp_path, body)
    with pytest.raises(UsageError, match=what) as caught:
        losses(tmp_path, name)
    assert caught.value.where == name
    assert caught.value.next_step


def test_only_a_function_of_a_file_beside_the_profile_is_run(tmp_path: Path) -> None:
    folder = tmp_path / "profile"
    folder.mkdir()
    write(tmp_path, "return truth")
    for name, what in (("../mine.py:loss", "there is no file"), ("gone.py:loss", "there is no file")):
        with pytest.raises(UsageError, match=what):
            losses(folder, name)
    with pytest.raises(UsageError, match="has no function 'other'"):
        losses(tmp_path, "mine.py:other")
    (tmp_path / "broken.py").write_text("def loss(:\n")
    with pytest.raises(UsageError, match="it fails: SyntaxError"):
        losses(tmp_path, "broken.py:loss")
