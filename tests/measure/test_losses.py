"""Losses by name, and by a user's own function beside the profile."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kit.errors import UsageError
from kit.measure import own
from kit.measure.losses import losses_of
from kit.records import LossRecord, RaggedRecord
from kit.task import rows_of
from tests import builders
from tests.signals import heard

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


def test_losses_may_be_right_or_wrong(tmp_path: Path) -> None:
    name = write(tmp_path, "return predictions.argmax(axis=1) != truth")
    assert set(losses(tmp_path, name)[name].losses.tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("return truth[:3]", r"it gives \[3\], not a loss for each of 300 rows"),
        ("return truth / np.where(truth == 3, np.nan, 1.0)", "the loss of row"),
        ("raise RuntimeError('no such thing')", "it fails: RuntimeError: no such thing"),
        ("raise SystemExit(3)", "it fails: SystemExit: 3"),
        ("return ['a'] * len(truth)", "it gives values of type <U1, not real numbers"),
        ("return truth * 1j", "it gives values of type complex128, not real numbers"),
        ("return truth.astype(object)", "it gives values of type object, not real numbers"),
        ("return truth.astype('datetime64[s]')", r"it gives values of type datetime64\[s\], not real numbers"),
        ("return [truth[:2], truth[:1]]", "it fails: ValueError"),
        ("return [1e308] * len(truth)", r"the loss of row 0 \(from 0\) is 1e\+308, beyond 1e\+100"),
        ("raise KeyboardInterrupt", "it fails: KeyboardInterrupt"),
        ("import os; os._exit(0)", r"it ended its process \(exit code 0\)"),
        ("import os; os.abort()", "its process was ended by SIGABRT"),
        ("return np.ones(1 << 40)", r"it needs more than 307\d MiB"),
        ("return loss(truth, predictions, rows)", "it fails: RecursionError"),
    ],
    ids=lambda said: said[:24],
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


def test_what_a_function_prints_is_not_its_answer(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    name = write(tmp_path, 'print(\'{"what": "no"}\', flush=True); return truth')
    np.testing.assert_array_equal(losses(tmp_path, name)[name].losses, EVIDENCE.dataset.labels)
    assert capfd.readouterr().out == ""


def test_truth_and_answers_of_lists_reach_the_function(tmp_path: Path) -> None:
    targets = RaggedRecord(np.arange(5.0)[:, None], np.array([0, 2, 2, 5]))
    items = RaggedRecord(np.arange(12.0).reshape(6, 2), np.array([0, 1, 4, 6]))
    rows = replace(
        rows_of(EVIDENCE.dataset, EVIDENCE.reference_predictions, EVIDENCE.reference_predictions),
        task="detection", targets=targets, items=items, weights=np.ones(3),
    )  # fmt: skip
    name = write(tmp_path, "return [one.sum() + 100 * two.shape[0] for one, two in zip(truth, predictions)]")
    assert own.own_losses(name, tmp_path, rows).tolist() == [101.0, 300.0, 209.0]


SLEEPS = "import os, time; open('ID', 'w').write(str(os.getpid())); time.sleep(60)"


def gone(file: Path) -> bool:
    """Whether the process that writes its number into `file` ends, or did before it had come so far."""
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        try:
            os.kill(int(file.read_text()), 0)
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.01)
    return False


def test_a_function_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "LIMIT_S", 1.5)
    name = write(tmp_path, SLEEPS.replace("ID", str(tmp_path / "id")))
    with pytest.raises(UsageError, match=r"it takes more than 1.5 s"):
        losses(tmp_path, name)
    assert gone(tmp_path / "id")


def test_an_interrupt_ends_the_function(tmp_path: Path) -> None:
    name = write(tmp_path, SLEEPS.replace("ID", str(tmp_path / "id")))

    def interrupt() -> None:
        while not (tmp_path / "id").exists() or not (tmp_path / "id").read_text():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    interrupted = pytest.raises(KeyboardInterrupt)
    with heard(signal.SIGINT, signal.default_int_handler), interrupted:
        threading.Thread(target=interrupt, daemon=True).start()
        losses(tmp_path, name)
    assert gone(tmp_path / "id")
