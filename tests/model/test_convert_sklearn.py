"""scikit-learn models: pickles that are not opened unasked, what cannot be converted, and what can, on real data."""

import json
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from kit.errors import ConversionError, MissingExtraError, ModelError, UsageError
from kit.model.convert import Options, convert
from kit.model.convert.sklearn import SklearnConverter
from kit.model.load import load_onnx_bytes
from kit.model.metadata import properties
from kit.model.session import HostSession

TRUSTED = Options(trust_pickle=True)


def read(path: Path) -> Any:
    """As the converter's process does, in this one."""
    return SklearnConverter().read(path, TRUSTED)


class Bomb:
    """Unpickling it writes a file: what a hostile pickle does."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".joblib", ".PKL"])
def test_a_pickle_is_not_opened_unless_trusted(suffix: str, tmp_path: Path, digits) -> None:
    path, trace = tmp_path / f"model{suffix}", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(UsageError, match="can run any code") as caught:
        convert(path, rows=digits.test)
    assert "--trust-pickle" in caught.value.next_step
    assert not trace.exists()
    with pytest.raises(ModelError, match="not a scikit-learn model"):
        convert(path, rows=digits.test, options=TRUSTED)
    assert trace.exists()  # the case is real: it would have run


def test_a_pickle_named_onnx_is_not_opened_either(tmp_path: Path, digits) -> None:
    path, trace = tmp_path / "model.onnx", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(ModelError, match="but a pickle"):
        convert(path, rows=digits.test, options=TRUSTED)
    assert not trace.exists()


@pytest.mark.parametrize("cut", [1, 10, 500, 5000, -1])
def test_a_cut_pickle_is_one_clear_error(cut: int, pickles, tmp_path: Path) -> None:
    path = tmp_path / "cut.joblib"
    path.write_bytes(pickles["mlp"].read_bytes()[:cut])
    with pytest.raises(ModelError, match="cannot be unpickled") as caught:
        read(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("content", [b"<html>", b"\x80\x04garbage", b"PK\x03\x04", b"\0" * 100])
def test_a_garbled_pickle_is_one_clear_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "garbled.pkl"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"cannot be unpickled|not a scikit-learn model"):
        read(path)


class Code:
    """Unpickling it runs a line of Python."""

    def __init__(self, line: str) -> None:
        self.line = line

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self.line,)


@pytest.mark.parametrize("line", ["raise SystemExit(0)", "raise GeneratorExit", "import sys; sys.exit('\\x1b[2Jbye')"])
def test_a_pickle_cannot_end_the_command(line: str, tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Code(line)))
    with pytest.raises(ModelError, match=r"cannot be unpickled: \w+Exit") as caught:
        read(tmp_path / "m.pkl")
    assert caught.value.what.isprintable()


def test_what_a_pickle_prints_or_asks_is_no_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = "import os; print('{}'); os.system('echo forged'); assert input.__name__; print(open(0).read() + 'end')"
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Code(code)))
    with pytest.raises(ModelError, match="holds a NoneType"):
        convert(tmp_path / "m.pkl", options=TRUSTED)
    assert capfd.readouterr() == ("", "")


def test_what_a_talkative_model_prints_is_no_output(tmp_path: Path, digits, capfd: pytest.CaptureFixture[str]) -> None:
    forest = RandomForestClassifier(3, random_state=0, verbose=1).fit(digits.train, digits.train_labels)
    joblib.dump(forest, tmp_path / "m.joblib")
    capfd.readouterr()
    convert(tmp_path / "m.joblib", rows=digits.test, options=TRUSTED)
    assert capfd.readouterr().out == ""


def test_a_module_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "foreign.pkl"
    path.write_bytes(b"cno_such_package.models\nNet\n.")
    with pytest.raises(ModelError, match="needs the module 'no_such_package'"):
        read(path)


def test_a_model_of_another_scikit_learn_is_refused(tmp_path: Path, fitted: dict[str, Any]) -> None:
    path = tmp_path / "old.pkl"
    old = pickle.loads(pickle.dumps(fitted["softmax"]))
    data = pickle.dumps(old)
    version = data.split(b"_sklearn_version")[1]
    import sklearn

    own = sklearn.__version__.encode()
    assert own in version
    path.write_bytes(data.replace(own, b"0" + own[1:]))
    with pytest.raises(ModelError, match=r"saved by scikit-learn 0") as caught:
        read(path)
    assert "install scikit-learn==0" in caught.value.next_step


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (KMeans(3, n_init=1), "neither a classifier nor a regressor"),
        (StandardScaler(), "not a scikit-learn model"),
        (RidgeClassifier(), "no probabilities"),
        (LogisticRegression(), "not fitted"),
        (LinearRegression(), "not fitted"),
        ({"weights": [1, 2]}, "holds a dict"),
    ],
    ids=["clusters", "transformer", "no-scores", "unfit-classifier", "unfit-regressor", "dict"],
)
def test_what_cannot_be_converted_is_refused(model: Any, message: str, tmp_path: Path, digits) -> None:
    if isinstance(model, KMeans | RidgeClassifier | StandardScaler):
        model.fit(digits.train, digits.train_labels)
    joblib.dump(model, tmp_path / "m.joblib")
    with pytest.raises((ConversionError, ModelError), match=message):
        read(tmp_path / "m.joblib")


def test_several_decisions_at_once_are_refused(tmp_path: Path, digits) -> None:
    forest = RandomForestClassifier(3).fit(digits.train, np.stack([digits.train_labels % 2, digits.train_labels], 1))
    joblib.dump(forest, tmp_path / "m.joblib")
    with pytest.raises(ConversionError, match="decides several things at once"):
        read(tmp_path / "m.joblib")


def test_a_converter_reads_what_it_wrote(pickles, digits) -> None:
    source = read(pickles["forest"])
    assert source.record.format == "scikit-learn RandomForestClassifier"
    assert source.predict({"x": digits.test})["probabilities"].shape == (len(digits.test), 10)
    assert load_onnx_bytes(source.export(), "forest").record.outputs[0].name == "probabilities"
    assert read(pickles["pipeline"]).record.format == "scikit-learn Pipeline (StandardScaler, MLPClassifier)"
    assert any("labels was dropped" in note for note in source.notes)


def test_the_label_branch_is_gone(converted) -> None:
    operators = {node.op_type for node in converted["mlp"].model.proto.graph.node}
    assert not operators & {"ArgMax", "ArrayFeatureExtractor", "ZipMap"}


def test_classes_that_are_words_and_two_classes_convert(tmp_path: Path, digits) -> None:
    words = np.array(["low", "high"])[(digits.train_labels > 4).astype(int)]
    model = LogisticRegression(max_iter=200).fit(digits.train / 16, words)
    joblib.dump(model, tmp_path / "two.pkl")
    done = convert(tmp_path / "two.pkl", rows=digits.test / 16, options=TRUSTED)
    assert json.loads(properties(done.model.proto)["edgeproof.classes"]) == ["high", "low"]
    np.testing.assert_allclose(
        HostSession(done.data).predict(digits.test / 16), model.predict_proba(digits.test / 16), atol=1e-5
    )


def columns() -> Any:
    """Columns scaled in two ways, and a linear model: one float input, chosen by index."""
    scaled = ColumnTransformer([("a", StandardScaler(), [0, 1, 2]), ("b", MinMaxScaler(), slice(3, 13))])
    return make_pipeline(scaled, LogisticRegression())


CASES = {
    "linear": (LinearRegression(), load_diabetes, "prediction", 1),
    "histogram-regressor": (HistGradientBoostingRegressor(max_iter=8), load_diabetes, "prediction", 1),
    "histogram-classifier": (HistGradientBoostingClassifier(max_iter=8), load_wine, "probabilities", 3),
    "columns": (columns(), load_wine, "probabilities", 3),
    "two-histograms": (HistGradientBoostingClassifier(max_iter=8), load_breast_cancer, "probabilities", 2),
}


@pytest.mark.parametrize("name", CASES)
def test_real_models_convert_and_agree(name: str, tmp_path: Path) -> None:
    model, load, output, width = CASES[name]
    x, y = load(return_X_y=True)
    rows = x.astype(np.float32)
    model.fit(rows, y)
    joblib.dump(model, tmp_path / "m.joblib")
    done = convert(tmp_path / "m.joblib", rows=rows, options=TRUSTED)
    assert done.conversion is not None
    assert [(each.name, each.shape) for each in done.reference.outputs] == [(output, ("rows", width))]
    expected = model.predict_proba(rows) if output == "probabilities" else model.predict(rows)[:, None]
    np.testing.assert_allclose(HostSession(done.data).run(rows)[output], expected, rtol=2e-5, atol=1e-5)
    assert done.conversion.decisions_agree == (len(rows) if output == "probabilities" else None)


def test_a_conversion_that_skl2onnx_gets_wrong_is_refused(tmp_path: Path) -> None:
    """skl2onnx folds two targets into one column: a real mistake of a converter, found by running both."""
    x, y = load_diabetes(return_X_y=True)
    model = MLPRegressor(hidden_layer_sizes=(8,), max_iter=5000, tol=1e-2).fit(x, np.stack([y, -y], 1) / 100)
    joblib.dump(model, tmp_path / "m.joblib")
    with pytest.raises(ConversionError, match="not one value a row"):
        convert(tmp_path / "m.joblib", rows=x.astype(np.float32), options=TRUSTED)


def test_a_booster_without_its_extra_gives_the_install_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    lightgbm = pytest.importorskip("lightgbm")
    x, y = load_wine(return_X_y=True)
    model = make_pipeline(StandardScaler(), lightgbm.LGBMClassifier(n_estimators=2, verbose=-1)).fit(x, y)
    joblib.dump(model, tmp_path / "m.joblib")
    monkeypatch.setitem(sys.modules, "onnxmltools", None)
    with pytest.raises(MissingExtraError, match="lightgbm models need onnxmltools") as caught:
        read(tmp_path / "m.joblib")
    assert caught.value.next_step == "pip install 'edgeproof[lightgbm]'"
