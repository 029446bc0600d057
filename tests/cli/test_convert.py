"""`edgeproof convert` as its users meet it: what it says, writes, refuses, and leaves behind."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression

from kit.cli.convert import _verified
from kit.digest import digest_file
from kit.errors import UsageError
from kit.pipeline.convert import Request, parse_input, record_path
from kit.records import ConversionRecord, ModelRecord, OutputDifference, TensorInfo
from tests.cli.words import edgeproof, is_for_people, start


@pytest.fixture(scope="module")
def trained() -> tuple[LogisticRegression, np.ndarray]:
    x, y = load_wine(return_X_y=True)
    rows = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    return LogisticRegression().fit(rows, y), rows


@pytest.fixture
def home(tmp_path: Path, trained: tuple[LogisticRegression, np.ndarray]) -> Path:
    joblib.dump(trained[0], tmp_path / "wine.joblib")
    np.savez(tmp_path / "rows.npz", x=trained[1])
    return tmp_path


@pytest.fixture(scope="module")
def converted(
    tmp_path_factory: pytest.TempPathFactory, trained: tuple[LogisticRegression, np.ndarray]
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A conversion that tests only read: its folder, and what the command said."""
    home = tmp_path_factory.mktemp("converted")
    joblib.dump(trained[0], home / "wine.joblib")
    np.savez(home / "rows.npz", x=trained[1])
    return home, edgeproof("convert", "wine.joblib", "--trust-pickle", "--data", "rows.npz", home=home)


def test_what_it_says_and_writes(converted: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    home, done = converted
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("wine.onnx: ")
    assert lines[0].endswith("opset 17")
    assert f"digest   {digest_file(home / 'wine.onnx')}" in lines
    assert any(line.startswith("source   wine.joblib: scikit-learn LogisticRegression, ") for line in lines)
    assert any(line.startswith("made by  skl2onnx ") for line in lines)
    assert "input    x float32 [rows, 13], rows dynamic" in lines
    assert "output   probabilities float32 [rows, 3], rows dynamic" in lines
    assert any(line.startswith("metadata producer edgeproof ") for line in lines)
    assert "classes  0, 1, 2" in lines
    assert "verified on 178 rows: every decision agrees" in lines
    assert any(line.startswith("         probabilities: at most ") for line in lines)
    assert "record   wine.convert.json" in lines
    assert is_for_people(done.stdout)
    record = json.loads((home / "wine.convert.json").read_text())
    assert record["schema"] == "edgeproof/convert/1"
    assert record["file"] == "wine.onnx"
    assert record["conversion"]["model"]["digest"] == digest_file(home / "wine.onnx")
    assert record["conversion"]["source"]["digest"] == digest_file(home / "wine.joblib")
    assert record["conversion"]["decisions_agree"] == 178
    assert record["conversion"]["row_source"] == "dataset"
    assert record["metadata"]["edgeproof.source"] == digest_file(home / "wine.joblib")
    assert sorted(each.name for each in home.iterdir()) == ["rows.npz", "wine.convert.json", "wine.joblib", "wine.onnx"]


def test_nothing_is_overwritten_unasked(home: Path) -> None:
    (home / "wine.onnx").write_text("mine")
    words = ("convert", "wine.joblib", "--trust-pickle", "-q")
    refused = edgeproof(*words, home=home)
    assert refused.returncode == 2
    assert "there is a file of that name" in refused.stderr
    assert "--force" in refused.stderr
    assert (home / "wine.onnx").read_text() == "mine"
    forced = edgeproof(*words, "--force", "--json", home=home)
    assert forced.returncode == 0
    said = json.loads(forced.stdout)
    assert said["files"] == {"model": "wine.onnx", "record": "wine.convert.json"}
    assert said["conversion"]["row_source"] == "generated"
    assert said["conversion"]["model"]["digest"] == digest_file(home / "wine.onnx")
    assert any("generated rows only" in note for note in said["notes"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none.joblib"], "there is no such file"),
        (["wine.joblib"], "a pickle can run any code"),
        (["rows.npz"], "no converter"),
        (["wine.joblib", "--trust-pickle", "--opset", "3"], "opset 3 is not made here"),
        (["wine.joblib", "--trust-pickle", "-o", "no/such/model.onnx"], "there is no such folder"),
        (["wine.joblib", "--trust-pickle", "-o", "wine.joblib"], "would replace the source"),
        (["wine.joblib", "--trust-pickle", "--input", "x=1xq"], "is no dimension"),
        (["wine.joblib", "--trust-pickle", "--data", "none.npz"], "cannot be read"),
        (["wine.joblib", "--trust-pickle", "--data", "wide.npy"], "does not take rows of shape"),
        (["wine.joblib", "--trust-pickle", "--scores", "logits"], "no output 'logits'"),
    ],
)
def test_what_cannot_be_is_one_error_with_what_to_do(home: Path, words: list[str], says: str) -> None:
    np.save(home / "wide.npy", np.zeros((5, 14), np.float32))
    before = sorted(each.name for each in home.iterdir())
    done = edgeproof("convert", *words, "-q", home=home)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "  fix " in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(each.name for each in home.iterdir()) == before


def test_rows_that_do_not_fit_are_named_by_their_own_file(
    home: Path, trained: tuple[LogisticRegression, np.ndarray]
) -> None:
    rows = trained[1].copy()
    rows[5, 3] = np.nan
    np.save(home / "nan.npy", rows)
    np.save(home / "narrow.npy", rows[:, :12])
    for name, code, where in (("narrow.npy", 2, "narrow.npy"), ("nan.npy", 6, "nan.npy: row 5")):
        done = edgeproof("convert", "wine.joblib", "--trust-pickle", "--data", name, "--json", home=home)
        assert done.returncode == code
        error = json.loads(done.stdout)["error"]
        assert error["where"] == where
        assert error["what"].endswith((".", "[12]"))
    assert not (home / "wine.onnx").exists()


def test_what_is_no_model_is_said_before_anything_about_other_files(home: Path) -> None:
    (home / "wine.toml").write_text("[dataset]")
    (home / "wine.onnx").write_text("mine")
    done = edgeproof("convert", "wine.toml", home=home)
    assert done.returncode == 2
    assert "nothing here reads that" in done.stderr
    assert "there is a file of that name" not in done.stderr


def test_an_opset_that_cannot_be_had_is_no_success(
    home: Path, converted: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    shutil.copy(converted[0] / "wine.onnx", home / "net.onnx")
    done = edgeproof("convert", "net.onnx", "-o", "old.onnx", "--opset", "8", home=home)
    assert done.returncode == 6, done.stdout
    assert "cannot be lowered to 8" in done.stderr
    assert not (home / "old.onnx").exists()


def test_a_conversion_that_fails_has_its_own_exit_code(home: Path) -> None:
    joblib.dump(LogisticRegression(), home / "unfit.joblib")
    done = edgeproof("convert", "unfit.joblib", "--trust-pickle", "--json", home=home)
    assert done.returncode == 6
    assert json.loads(done.stdout)["error"]["slug"] == "conversion"
    assert not (home / "unfit.onnx").exists()


def test_an_interrupt_leaves_nothing(home: Path) -> None:
    before = sorted(each.name for each in home.iterdir())
    process = start("convert", "wine.joblib", "--trust-pickle", home=home)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "interrupted" in err
    assert "Traceback" not in err
    assert sorted(each.name for each in home.iterdir()) == before


def test_help_has_examples(tmp_path: Path) -> None:
    done = edgeproof("convert", "--help", home=tmp_path)
    assert done.returncode == 0
    assert "edgeproof convert old.onnx -o new.onnx --opset 17" in done.stdout


@pytest.mark.parametrize(
    ("text", "info"),
    [
        ("image=1x3x224x224:float32", TensorInfo("image", "float32", (1, 3, 224, 224))),
        ("image=1x3x224x224", TensorInfo("image", "float32", (1, 3, 224, 224))),
        ("tokens=batch,length:int64", TensorInfo("tokens", "int64", ("batch", "length"))),
        ("x=?x64:uint8", TensorInfo("x", "uint8", ("?", 64))),
        ("rate=:int64", TensorInfo("rate", "int64", ())),
        ("flag=1:bool", TensorInfo("flag", "bool", (1,))),
        ("a/b:0=batch,3:float16", TensorInfo("a/b:0", "float16", ("batch", 3))),
    ],
)
def test_inputs_as_a_user_writes_them(text: str, info: TensorInfo) -> None:
    assert parse_input(text) == info


@pytest.mark.parametrize("text", ["", "x", "=1x3", "x=0x3", "x=1x-3", "x=1xx3", "x=1x3:float", "x=1,2:object", "x=1;3"])
def test_inputs_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--input") as caught:
        parse_input(text)
    assert "NAME=1x3x224x224:float32" in caught.value.next_step


def test_the_record_lies_beside_the_model() -> None:
    assert record_path(Path("a/net.onnx")) == Path("a/net.convert.json")
    assert record_path(Path("a/net")) == Path("a/net.convert.json")
    assert Request(Path("net.pt2")).output is None


@pytest.mark.parametrize(
    ("agree", "words"),
    [(9, "1 decision differs"), (7, "3 decisions differ"), (10, "every decision agrees")],
    ids=["one", "several", "none"],
)
def test_how_many_decisions_differ_is_said_in_good_english(agree: int, words: str) -> None:
    lines = [text for _, text in _verified(record(agree, OutputDifference("p", 1e-6, 2e-5, 1e-8)))]
    assert lines[0] == f"on 10 rows: {words}"
    assert lines[1] == "p: at most 1e-06 apart (2e-05 of the value), 1e-08 on average"


def test_no_relative_difference_is_said_where_there_is_none() -> None:
    _, (_, near_0) = _verified(record(10, OutputDifference("p", 1e-8, 0.0, 1e-9)))[:2]
    assert near_0 == "p: at most 1e-08 apart, 1e-09 on average"
    _, (_, equal) = _verified(record(10, OutputDifference("p", 0.0, 0.0, 0.0)))[:2]
    assert equal == "p: equal in every value"


def record(agree: int, difference: OutputDifference) -> ConversionRecord:
    model = ModelRecord("m", "sha256:00", 10, "ONNX")
    return ConversionRecord(model, model, "c", "1", 10, 0.0, 0.0, agree, (), (difference,), "dataset")
