"""Conversion on real scikit-learn models: verified row by row, and a broken one is caught."""

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.neural_network import MLPClassifier

from kit.digest import digest_file
from kit.errors import ConversionError, MissingExtraError, ModelError, UsageError
from kit.model.convert import CONVERTERS, Converted, Options, _verified, convert, reference_of
from kit.model.convert.base import Source
from kit.model.convert.sklearn import SklearnConverter
from kit.model.convert.verify import TOLERANCE, compare, likely_cause
from kit.model.load import load_onnx_bytes
from kit.model.metadata import properties
from kit.model.session import HostSession

TRUSTED = Options(trust_pickle=True)
NAMES = ["mlp", "softmax", "forest", "pipeline"]


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_computes_what_the_source_does(
    name: str, converted: dict[str, Converted], fitted: dict[str, Any], digits
) -> None:
    probabilities = fitted[name].predict_proba(digits.test)
    scores = HostSession(converted[name].data).predict(digits.test)
    np.testing.assert_allclose(scores, probabilities, atol=1e-5)
    record = converted[name].conversion
    assert record is not None
    assert record.rows == len(digits.test) == record.decisions_agree
    assert record.differing_rows == ()
    assert record.max_abs_difference == pytest.approx(np.abs(scores.astype(float) - probabilities).max())
    assert 0 < record.max_abs_difference < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_names_opset_and_batch_are_deliberate(name: str, converted: dict[str, Converted], pickles) -> None:
    record, conversion = converted[name].reference, converted[name].conversion
    assert [(tensor.name, tensor.shape) for tensor in record.inputs] == [("x", ("rows", 64))]
    assert [(tensor.name, tensor.shape) for tensor in record.outputs] == [("probabilities", ("rows", 10))]
    assert record.opset == 17
    assert conversion.source.digest == digest_file(pickles[name])
    assert conversion.model == record
    assert "skl2onnx" in conversion.converter_version
    assert json.loads(properties(converted[name].model.proto)["edgeproof.classes"]) == [str(n) for n in range(10)]


@pytest.mark.parametrize("name", NAMES)
def test_converting_twice_gives_the_same_bytes(name: str, converted: dict[str, Converted], pickles, digits) -> None:
    again = convert(pickles[name], rows=digits.test[:50], options=TRUSTED)
    assert again.data == converted[name].data


def test_the_label_branch_is_gone(converted: dict[str, Converted]) -> None:
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
def test_a_cut_pickle_is_one_clear_error(cut: int, pickles, tmp_path: Path, digits) -> None:
    path = tmp_path / "cut.joblib"
    path.write_bytes(pickles["mlp"].read_bytes()[:cut])
    with pytest.raises(ModelError, match="cannot be unpickled") as caught:
        convert(path, rows=digits.test, options=TRUSTED)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("content", [b"<html>", b"\x80\x04garbage", b"PK\x03\x04", b"\0" * 100])
def test_a_garbled_pickle_is_one_clear_error(content: bytes, tmp_path: Path, digits) -> None:
    path = tmp_path / "garbled.pkl"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"cannot be unpickled|not a scikit-learn model"):
        convert(path, rows=digits.test, options=TRUSTED)


class Code:
    """Unpickling it runs a line of Python."""

    def __init__(self, line: str) -> None:
        self.line = line

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self.line,)


@pytest.mark.parametrize("line", ["raise SystemExit(0)", "raise GeneratorExit", "import sys; sys.exit('\\x1b[2Jbye')"])
def test_a_pickle_cannot_end_the_command(line: str, tmp_path: Path, digits) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Code(line)))
    with pytest.raises(ModelError, match=r"cannot be unpickled: \w+Exit") as caught:
        convert(tmp_path / "m.pkl", rows=digits.test, options=TRUSTED)
    assert caught.value.what.isprintable()


def test_what_a_pickle_prints_is_no_output(tmp_path: Path, digits, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Code("import os; print('{}'); os.system('echo forged')")))
    with pytest.raises(ModelError, match="holds a NoneType"):
        convert(tmp_path / "m.pkl", rows=digits.test, options=TRUSTED)
    print("ours")
    out, err = capfd.readouterr()
    assert out == "ours\n"
    assert "forged" in err
    assert "{}" in err


def test_what_a_talkative_model_prints_is_no_output(tmp_path: Path, digits, capfd: pytest.CaptureFixture[str]) -> None:
    forest = RandomForestClassifier(3, random_state=0, verbose=1).fit(digits.train, digits.train_labels)
    joblib.dump(forest, tmp_path / "m.joblib")
    capfd.readouterr()
    convert(tmp_path / "m.joblib", rows=digits.test, options=TRUSTED)
    assert capfd.readouterr().out == ""


def test_a_module_that_is_missing_is_named(tmp_path: Path, digits) -> None:
    path = tmp_path / "foreign.pkl"
    path.write_bytes(b"cno_such_package.models\nNet\n.")
    with pytest.raises(ModelError, match="needs the module 'no_such_package'"):
        convert(path, rows=digits.test, options=TRUSTED)


def test_a_model_of_another_scikit_learn_is_refused(tmp_path: Path, fitted: dict[str, Any], digits) -> None:
    path = tmp_path / "old.pkl"
    old = pickle.loads(pickle.dumps(fitted["softmax"]))
    data = pickle.dumps(old)
    version = data.split(b"_sklearn_version")[1]
    import sklearn

    own = sklearn.__version__.encode()
    assert own in version
    path.write_bytes(data.replace(own, b"0" + own[1:]))
    with pytest.raises(ModelError, match=r"saved by scikit-learn 0") as caught:
        convert(path, rows=digits.test, options=TRUSTED)
    assert "install scikit-learn==0" in caught.value.next_step


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LinearRegression(), "is no classifier"),
        (RidgeClassifier(), "no probabilities"),
        (LogisticRegression(), "not fitted"),
        ({"weights": [1, 2]}, "holds a dict"),
    ],
)
def test_what_cannot_be_a_classifier_is_refused(model: Any, message: str, tmp_path: Path, digits) -> None:
    if isinstance(model, LinearRegression | RidgeClassifier):
        model.fit(digits.train, digits.train_labels)
    joblib.dump(model, tmp_path / "m.joblib")
    with pytest.raises((ConversionError, ModelError), match=message):
        convert(tmp_path / "m.joblib", rows=digits.test, options=TRUSTED)


def test_rows_of_another_width_are_refused_before_conversion(pickles, digits) -> None:
    with pytest.raises(ConversionError, match=r"\[64\], the dataset's have \[63\]"):
        convert(pickles["mlp"], rows=digits.test[:, 1:], options=TRUSTED)


def test_an_unknown_suffix_lists_the_known_ones(tmp_path: Path, digits) -> None:
    with pytest.raises(UsageError, match=r"no converter for \.h5") as caught:
        convert(tmp_path / "net.h5", rows=digits.test)
    for suffix in (".onnx", ".joblib", ".pkl", ".pickle"):
        assert suffix in caught.value.next_step


def test_without_the_library_the_install_command_is_given(monkeypatch: pytest.MonkeyPatch, pickles, digits) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(MissingExtraError) as caught:
        convert(pickles["mlp"], rows=digits.test, options=TRUSTED)
    assert caught.value.next_step == "pip install 'edgeproof[sklearn]'"


def test_suffixes_of_converters_do_not_clash() -> None:
    suffixes = [suffix for converter in CONVERTERS for suffix in converter.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in suffixes)


def test_an_onnx_file_is_its_own_reference(rnet_path: Path) -> None:
    faces = np.zeros((4, 24, 24, 3), np.float32)
    done = convert(rnet_path, inputs=faces, output="softmax_1")
    assert done.conversion is None
    assert done.data == rnet_path.read_bytes()
    assert done.reference.digest == digest_file(rnet_path)
    with pytest.raises(ModelError, match=r"dense_2.*softmax_1") as caught:
        convert(rnet_path, inputs=faces)
    assert caught.value.where == str(rnet_path)


def tampered(data: bytes, change: float) -> bytes:
    """One weight of the first layer moved by `change`."""
    model = onnx.ModelProto.FromString(data)
    tensor = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    weights = numpy_helper.to_array(tensor).copy()
    weights[36, :] += change
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    return bytes(model.SerializeToString())


def source_of(converted: Converted, fitted: Any, exported: bytes) -> Source:
    """The real source with an export that is not what it should be."""
    return Source(converted.conversion.source, fitted.predict_proba, lambda: exported)


def test_a_conversion_that_computes_something_else_is_caught(
    converted: dict[str, Converted], fitted: dict[str, Any], digits
) -> None:
    wrong = source_of(converted["mlp"], fitted["mlp"], tampered(converted["mlp"].data, 0.05))
    with pytest.raises(ConversionError, match="rows differ by more") as caught:
        _verified(Path("mlp.joblib"), wrong, "skl2onnx", "test", digits.test)
    assert caught.value.where == "mlp.joblib"
    assert "row " in caught.value.what
    sound = source_of(converted["mlp"], fitted["mlp"], tampered(converted["mlp"].data, 0.0))
    assert _verified(Path("mlp.joblib"), sound, "skl2onnx", "test", digits.test).conversion.rows == len(digits.test)


def scaled_input(data: bytes, factor: float) -> bytes:
    """The same network that multiplies its input first: a preprocessing bug."""
    model = onnx.ModelProto.FromString(data)
    model.graph.initializer.append(numpy_helper.from_array(np.float32(factor), "factor"))
    for node in model.graph.node:
        node.input[:] = ["x_scaled" if name == "x" else name for name in node.input]
    model.graph.node.insert(0, onnx.helper.make_node("Mul", ["x", "factor"], ["x_scaled"], "scale"))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(("factor", "hint"), [(1 / 255, "divided by 255"), (255.0, "multiplied by 255")])
def test_a_scaling_bug_is_named(factor: float, hint: str, converted, fitted, digits) -> None:
    wrong = source_of(converted["mlp"], fitted["mlp"], scaled_input(converted["mlp"].data, factor))
    with pytest.raises(ConversionError, match=hint) as caught:
        _verified(Path("mlp.joblib"), wrong, "skl2onnx", "test", digits.test)
    assert "preprocessing" in caught.value.next_step


def test_no_cause_is_invented(converted, fitted, digits) -> None:
    other = HostSession(tampered(converted["mlp"].data, 0.05)).predict(digits.test)
    assert likely_cause(fitted["mlp"].predict_proba, digits.test, other) == ""


def test_layouts_and_channel_order_are_recognized() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3 * 4 * 5, 3))
    images = rng.normal(size=(30, 3, 4, 5)).astype(np.float32)

    def predict(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1) @ weights

    last = predict(np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
    assert "layout" in likely_cause(predict, images, last)
    assert "reversed order" in likely_cause(predict, images, predict(np.ascontiguousarray(images[..., ::-1])))


def test_comparison_counts_decisions_and_forgives_only_ties() -> None:
    source = np.array([[0.5, 0.5 - 1e-6], [0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    other = source.astype(np.float32)
    other[0] = [0.5 - 1e-6, 0.5]
    other[3] = [0.4, 0.6]
    found = compare(source, other)
    assert found.rows == 4
    assert found.differing_rows.tolist() == [0, 3]
    assert found.beyond_rounding.tolist() == [3]
    assert found.max_abs_difference == pytest.approx(0.2, abs=1e-6)
    assert found.max_rel_difference == pytest.approx(0.5, abs=1e-5)


def test_a_score_off_by_more_than_the_tolerance_is_no_rounding() -> None:
    source = np.array([[0.9, 0.1], [0.8, 0.2]])
    other = source + np.array([[2 * TOLERANCE, 0], [TOLERANCE / 2, 0]])
    assert compare(source, other).beyond_rounding.tolist() == [0]


@pytest.mark.parametrize("other", [np.zeros((2, 3)), np.zeros(2), np.array([[np.nan, 0], [0, 1]])])
def test_scores_that_cannot_be_compared_are_an_error(other: np.ndarray) -> None:
    with pytest.raises(ConversionError):
        compare(np.array([[1.0, 0.0], [0.0, 1.0]]), other)


def test_a_converter_reads_what_it_wrote(pickles, digits) -> None:
    source = SklearnConverter().read(pickles["forest"], pickles["forest"].read_bytes())
    assert source.record.format == "scikit-learn RandomForestClassifier"
    assert source.predict(digits.test).shape == (len(digits.test), 10)
    assert load_onnx_bytes(source.export(), "forest").record.outputs[0].name == "probabilities"


def test_training_warnings_do_not_leak(tmp_path: Path, digits) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MLPClassifier((4,), max_iter=3, random_state=0).fit(digits.train, digits.train_labels)
    joblib.dump(model, tmp_path / "small.joblib")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(tmp_path / "small.joblib", rows=digits.test, options=TRUSTED)
