"""The converter's process: what crashes, hangs, prints or lies does so there, and nothing of it is left behind."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import psutil
import pytest

from kit.errors import ConversionError, ModelError
from kit.model.convert.base import Options
from kit.model.convert.onnx import OnnxConverter
from kit.model.convert.pipe import MAX_BODY_BYTES, BrokenMessageError, Message, receive, send
from kit.model.convert.process import LIMIT_S, QUIET_ENVIRONMENT, opened
from kit.model.convert.sklearn import SklearnConverter
from kit.model.convert.worker import shortened
from tests import device_kit

TRUSTED = Options(trust_pickle=True)


class Code:
    """Unpickling it runs a line of Python."""

    def __init__(self, line: str) -> None:
        self.line = line

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self.line,)


def pickled(folder: Path, line: str) -> Path:
    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(Code(line)))
    return path


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, to see what is left."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("import os; os.abort()", r"being read when its process was ended by SIGABRT"),
        ("import os; os.kill(os.getpid(), 9)", r"ended by SIGKILL \(out of memory\?\)"),
        ("import os; os._exit(0)", "its process ended with code 0"),
        ("import os, sys; os.write(2, b'free(): invalid\\n\\x1b[2J'); os._exit(3)", r"code 3; it had printed: free"),
        ("import ctypes; ctypes.string_at(0)", "ended by SIGSEGV"),
    ],
    ids=["abort", "kill", "exit", "last-words", "segfault"],
)
def test_a_death_is_one_error_with_its_cause(line: str, says: str, tmp_path: Path, scratch: Path) -> None:
    path, before = pickled(tmp_path, line), children()
    with pytest.raises(ModelError, match=says) as caught, opened(SklearnConverter(), path, TRUSTED):
        pass
    assert caught.value.where == str(path)
    assert caught.value.what.isprintable()
    assert children() == before
    assert list(scratch.iterdir()) == []


def test_what_takes_for_ever_is_ended(tmp_path: Path, scratch: Path) -> None:
    path, before, started_s = pickled(tmp_path, "while True: pass"), children(), time.monotonic()
    with (
        pytest.raises(ModelError, match=r"when its 3 s were over"),
        opened(SklearnConverter(), path, TRUSTED, limit_s=3.0),
    ):
        pass
    assert time.monotonic() - started_s < 15
    assert children() == before
    assert list(scratch.iterdir()) == []
    assert LIMIT_S >= 600


def test_what_it_started_and_wrote_goes_with_it(tmp_path: Path, scratch: Path) -> None:
    line = (
        "import subprocess, sys, tempfile, os; subprocess.Popen(['sleep', '300']);"
        "tempfile.mkstemp(); open(os.environ['XDG_CACHE_HOME'] + '/cache', 'w').close()"
    )
    before = children()
    with (
        pytest.raises(ModelError, match="holds a NoneType"),
        opened(SklearnConverter(), pickled(tmp_path, line), TRUSTED),
    ):
        pass
    assert children() == before
    assert not [each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["sleep", "300"]]
    assert list(scratch.iterdir()) == []


def test_a_flood_of_output_is_not_kept(tmp_path: Path) -> None:
    line = "import os\nfor _ in range(2000): os.write(2, b'x' * 65536 + b'\\n')\nos._exit(1)"
    with (
        pytest.raises(ModelError, match="code 1") as caught,
        opened(SklearnConverter(), pickled(tmp_path, line), TRUSTED),
    ):
        pass
    assert len(caught.value.what) < 1000


def test_its_environment_is_quiet_and_alone(tmp_path: Path) -> None:
    line = "import os, json; open({!r}, 'w').write(json.dumps(dict(os.environ) | {{'cwd': os.getcwd()}}))"
    with (
        pytest.raises(ModelError, match="NoneType"),
        opened(SklearnConverter(), pickled(tmp_path, line.format(str(tmp_path / "env"))), TRUSTED),
    ):
        pass
    found = json.loads((tmp_path / "env").read_text())
    assert QUIET_ENVIRONMENT.items() <= found.items()
    assert found["TMPDIR"] == found["KERAS_HOME"] == found["XDG_CACHE_HOME"] != tempfile.gettempdir()
    assert found["cwd"] == str(Path.cwd())


def test_a_source_is_asked_many_times(pickles, digits, fitted) -> None:
    seen: list[tuple[int, int]] = []
    with opened(SklearnConverter(), pickles["mlp"], TRUSTED) as source:
        assert source.record.format == "scikit-learn MLPClassifier"
        first = source.predict({"x": digits.test}, lambda done, total: seen.append((done, total)))
        halved = source.predict({"x": digits.test / 2})
        assert source.export() == source.export()
    for found, rows in ((first, digits.test), (halved, digits.test / 2)):
        np.testing.assert_allclose(found["probabilities"], fitted["mlp"].predict_proba(rows), atol=1e-6)
    assert seen[-1] == (len(digits.test), len(digits.test))
    assert len(seen) == -(-len(digits.test) // 128)


def test_a_failure_of_the_library_on_rows_is_an_error_and_not_the_end(pickles, digits) -> None:
    with opened(SklearnConverter(), pickles["mlp"], TRUSTED) as source:
        with pytest.raises(
            ConversionError, match="the source model fails on these rows: ValueError: X has 63"
        ) as caught:
            source.predict({"x": digits.test[:, 1:]})
        assert caught.value.where == str(pickles["mlp"])
        assert source.predict({"x": digits.test[:3]})["probabilities"].shape == (3, 10)


def test_errors_keep_their_class_place_and_fix(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"<html>")
    with (
        pytest.raises(ModelError, match="HTML or XML") as caught,
        opened(OnnxConverter(), tmp_path / "bad.onnx", Options()),
    ):
        pass
    assert caught.value.where == str(tmp_path / "bad.onnx")
    assert caught.value.next_step == "download the file itself"


def test_an_interrupt_in_the_middle_leaves_nothing(tmp_path: Path, scratch: Path) -> None:
    before = children()
    path = pickled(tmp_path, "import time; time.sleep(60)")
    timer = threading.Timer(2.0, os.kill, [os.getpid(), signal.SIGINT])  # to the process: its main thread is woken
    timer.start()
    with pytest.raises(KeyboardInterrupt), opened(SklearnConverter(), path, TRUSTED):
        pass
    timer.join()
    assert children() == before
    assert list(scratch.iterdir()) == []


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    path = pickled(
        tmp_path, f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    script = (
        "from pathlib import Path; from kit.model.convert.process import opened;"
        "from kit.model.convert.base import Options;"
        "from kit.model.convert.sklearn import SklearnConverter;"
        f"opened(SklearnConverter(), Path({str(path)!r}), Options(trust_pickle=True)).__enter__()"
    )
    root = str(Path(__file__).parents[2])
    parent = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": root})
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert parent.poll() is None
        time.sleep(0.05)
    worker = int((tmp_path / "pid").read_text())
    parent.kill()
    parent.wait()
    deadline_s = time.monotonic() + 10
    while psutil.pid_exists(worker) and time.monotonic() < deadline_s:
        if psutil.Process(worker).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.05)
    assert not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE


def test_inputs_without_a_batch_go_row_by_row(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(device_kit.linear())
    with opened(OnnxConverter(), tmp_path / "net.onnx", Options()) as source:
        (wanted,) = source.record.inputs
        shape = tuple(size for size in wanted.shape[1:] if isinstance(size, int))
        rows = np.random.default_rng(0).normal(size=(300, *shape)).astype(wanted.dtype)
        (output,) = source.predict({wanted.name: rows}).values()
    assert len(output) == 300


class TestMessages:
    def test_they_come_back_as_they_were(self) -> None:
        arrays = {
            "x": np.arange(6, dtype=np.float32).reshape(2, 3),
            "empty": np.zeros((0, 4), np.int8),
            "scalar": np.array(3.5),
            "flags": np.array([True, False]),
            "strided": np.arange(20)[::2],
        }
        stream = io.BytesIO()
        send(stream, Message({"ask": "x", "text": "é\n"}, arrays, b"model"))
        send(stream, Message({}))
        stream.seek(0)
        first, second, third = receive(stream), receive(stream), receive(stream)
        assert first is not None
        assert first.values == {"ask": "x", "text": "é\n"}
        assert first.data == b"model"
        for name, array in arrays.items():
            assert first.arrays[name].dtype == array.dtype
            np.testing.assert_array_equal(first.arrays[name], array)
        assert second == Message({})
        assert third is None

    @pytest.mark.parametrize("array", [np.array(["text"]), np.array([object()]), np.array([1j]), np.zeros(2, "i4,i4")])
    def test_anything_but_numbers_is_refused(self, array: np.ndarray) -> None:
        with pytest.raises(ConversionError, match="cannot be compared"):
            send(io.BytesIO(), Message({}, {"x": array}))

    @pytest.mark.parametrize(
        "data",
        [
            b"not json\n",
            b"[]\n",
            b'{"values": {}, "arrays": []}\n',
            b'{"values": [], "arrays": [], "size": 0}\n',
            b'{"values": {}, "arrays": [], "size": -1}\n',
            b'{"values": {}, "arrays": [], "size": 10}\nshort',
            b'{"values": {}, "arrays": [["x", "|O", [1]]], "size": 0}\n' + bytes(8),
            b'{"values": {}, "arrays": [["x", "<f4", [-1, -4]]], "size": 0}\n',
            b'{"values": {}, "arrays": [["x", "<f4", [4]]], "size": 0}\n' + bytes(15),
            b'{"values": {}, "arrays": [["x", "<f4", [1e999]]], "size": 0}\n',
            b"[" * 100_000 + b"\n",
            b"x" * (2 << 20),
        ],
        ids=[
            "text",
            "list",
            "no-size",
            "values",
            "negative",
            "cut",
            "object",
            "shape",
            "array",
            "huge",
            "deep",
            "long",
        ],
    )
    def test_what_is_no_message_is_refused(self, data: bytes) -> None:
        with pytest.raises(BrokenMessageError):
            receive(io.BytesIO(data))

    def test_nothing_is_allocated_for_a_claim(self) -> None:
        header = {"values": {}, "arrays": [["x", "<f8", [MAX_BODY_BYTES]]], "size": 0}
        with pytest.raises(BrokenMessageError, match="at most"):
            receive(io.BytesIO(json.dumps(header).encode() + b"\n"))


def test_a_worker_that_talks_nonsense_is_an_error(tmp_path: Path) -> None:
    """Native code may write to any descriptor: what is no message ends the conversation."""
    line = (
        "import os\nfor fd in range(3, 30):\n  try: os.write(fd, b'hello world')\n  except OSError: pass\nos._exit(0)"
    )
    with (
        pytest.raises(ModelError, match="being read when"),
        opened(SklearnConverter(), pickled(tmp_path, line), TRUSTED),
    ):
        pass


def test_a_fitted_model_survives_the_way(tmp_path: Path, fitted) -> None:
    joblib.dump(fitted["softmax"], tmp_path / "m.joblib", compress=3)
    with opened(SklearnConverter(), tmp_path / "m.joblib", TRUSTED) as source:
        assert source.record.outputs[0].shape == ("rows", 10)


@pytest.mark.parametrize(
    ("text", "most", "found"),
    [
        ("two\n words ", 20, "two words"),
        ("One sentence. Another that is long", 30, "One sentence."),
        ("no sentence that ends in time", 16, "no sentence …"),
        ("x" * 40, 10, "x" * 8 + " …"),
    ],
    ids=["short", "sentence", "words", "one-word"],
)
def test_a_library_s_message_is_cut_between_words(text: str, most: int, found: str) -> None:
    assert shortened(text, most) == found
    assert len(found) <= most
