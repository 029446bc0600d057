"""XGBoost's and LightGBM's models, in files of their own and in pickles, trained in the test on real data."""

import re
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kit.errors import ConversionError, ModelError
from kit.model.convert import Options, convert, converter_for
from kit.model.convert.lightgbm import LightGBMConverter
from kit.model.convert.xgboost import XGBoostConverter
from kit.model.metadata import properties
from kit.model.session import HostSession

xgboost = pytest.importorskip("xgboost", reason="xgboost is not installed: make converters")
lightgbm = pytest.importorskip("lightgbm", reason="lightgbm is not installed: make converters")
pytest.importorskip("onnxmltools", reason="onnxmltools is not installed: make converters")

DATA = {"wine": load_wine, "cancer": load_breast_cancer, "diabetes": load_diabetes}


def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = DATA[name](return_X_y=True)
    return x.astype(np.float32), y


def xgboost_file(path: Path, name: str, **params: Any) -> Any:
    """A booster with features that have names, as a user's have."""
    x, y = data(name)
    names = [f"column {index}" for index in range(x.shape[1])]
    booster = xgboost.train({"max_depth": 3, "seed": 0} | params, xgboost.DMatrix(x, y, feature_names=names), 8)
    booster.save_model(path)
    booster.feature_names = None
    return booster


def lightgbm_file(path: Path, name: str, **params: Any) -> Any:
    x, y = data(name)
    booster = lightgbm.train({"verbose": -1, "seed": 0, "num_leaves": 7} | params, lightgbm.Dataset(x, y), 8)
    booster.save_model(str(path))
    return booster


XGBOOST = {
    "two.json": ("cancer", {"objective": "binary:logistic"}, 2),
    "three.ubj": ("wine", {"objective": "multi:softprob", "num_class": 3}, 3),
    "count.ubj": ("diabetes", {"objective": "count:poisson"}, 1),
}


@pytest.mark.parametrize("name", XGBOOST)
def test_xgboosts_own_files_convert(name: str, tmp_path: Path) -> None:
    source, params, width = XGBOOST[name]
    booster = xgboost_file(tmp_path / name, source, **params)
    rows, _ = data(source)
    expected = booster.predict(xgboost.DMatrix(rows)).reshape(len(rows), -1)
    expected = np.hstack([1 - expected, expected]) if width == 2 else expected
    done = convert(tmp_path / name, rows=rows)
    assert done.conversion is not None
    (scores,) = HostSession(done.data).run(rows).values()
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    assert done.conversion.source.format == f"XGBoost {params['objective']}"
    assert "xgboost" in done.conversion.converter_version
    assert done.conversion.decisions_agree == (len(rows) if width > 1 else None)
    assert done.reference.opset == 17


LIGHTGBM = {
    "two.txt": ("cancer", {"objective": "binary"}, 2),
    "three.lgb": ("wine", {"objective": "multiclass", "num_class": 3}, 3),
    "value.model": ("diabetes", {"objective": "regression"}, 1),
}


@pytest.mark.parametrize("name", LIGHTGBM)
def test_lightgbms_own_files_convert(name: str, tmp_path: Path) -> None:
    source, params, width = LIGHTGBM[name]
    booster = lightgbm_file(tmp_path / name, source, **params)
    rows, _ = data(source)
    expected = booster.predict(rows).reshape(len(rows), -1)
    expected = np.hstack([1 - expected, expected]) if width == 2 else expected
    done = convert(tmp_path / name, rows=rows)
    assert done.conversion is not None
    (scores,) = HostSession(done.data).run(rows).values()
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    assert done.conversion.source.format == f"LightGBM {params['objective']}"
    assert ("edgeproof.classes" in properties(done.model.proto)) is (width > 1)


@pytest.mark.parametrize("kind", ["xgboost", "lightgbm"])
def test_boosters_convert_inside_pickled_pipelines(kind: str, tmp_path: Path) -> None:
    rows, labels = data("wine")
    booster = (
        xgboost.XGBClassifier(n_estimators=5, max_depth=3)
        if kind == "xgboost"
        else lightgbm.LGBMClassifier(n_estimators=5, verbose=-1)
    )
    model = make_pipeline(StandardScaler(), booster).fit(rows, labels)
    joblib.dump(model, tmp_path / "m.joblib")
    done = convert(tmp_path / "m.joblib", rows=rows, options=Options(trust_pickle=True))
    assert done.conversion is not None
    assert done.conversion.decisions_agree == len(rows)
    np.testing.assert_allclose(HostSession(done.data).predict(rows), model.predict_proba(rows), atol=1e-5)


def test_a_conversion_that_onnxmltools_gets_wrong_is_refused(tmp_path: Path) -> None:
    """It gives margins for reg:logistic, and divides random forests by 100: real mistakes, found by running both."""
    rows, _ = data("cancer")
    xgboost_file(tmp_path / "m.json", "cancer", objective="reg:logistic")
    with pytest.raises(ConversionError, match=r"rows differ by more than rounding.*row 0: 0"):
        convert(tmp_path / "m.json", rows=rows)
    lightgbm_file(tmp_path / "m.txt", "cancer", objective="binary", boosting="rf", bagging_freq=1, bagging_fraction=0.7)
    with pytest.raises(ConversionError, match="rows differ by more than rounding"):
        convert(tmp_path / "m.txt", rows=rows)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"objective": "multi:softmax", "num_class": 3}, "objective 'multi:softmax' has no form"),
        ({"objective": "multi:softprob", "num_class": 3, "booster": "dart"}, "booster is 'dart'"),
        ({"objective": "multi:softprob", "num_class": 3, "booster": "gblinear", "max_depth": None}, "is 'gblinear'"),
    ],
    ids=["softmax", "dart", "linear"],
)
def test_what_xgboost_model_has_no_form_says_why(params: dict[str, Any], says: str, tmp_path: Path) -> None:
    kept = {key: value for key, value in ({"max_depth": 3} | params).items() if value is not None}
    x, y = data("wine")
    xgboost.train(kept, xgboost.DMatrix(x, y), 3).save_model(tmp_path / "m.json")
    with pytest.raises(ConversionError, match=says) as caught:
        XGBoostConverter().read(tmp_path / "m.json", Options())
    assert caught.value.next_step


def test_a_ranking_has_no_form(tmp_path: Path) -> None:
    x, y = data("wine")
    ranked = lightgbm.Dataset(x, y, group=[89, 89])
    lightgbm.train({"objective": "lambdarank", "verbose": -1}, ranked, 2).save_model(str(tmp_path / "m.txt"))
    with pytest.raises(ConversionError, match="objective 'lambdarank' has no form"):
        LightGBMConverter().read(tmp_path / "m.txt", Options())


def test_the_old_binary_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "m.xgb").write_bytes(b"\0\0\0?" + bytes(200))
    (tmp_path / "m.bin").write_bytes(b"binf" + bytes(200))
    for name in ("m.xgb", "m.bin"):
        with pytest.raises(ModelError, match="old binary format") as caught:
            XGBoostConverter().read(tmp_path / name, Options())
        assert "save it as .json or .ubj" in caught.value.next_step
        assert isinstance(converter_for(tmp_path / name), XGBoostConverter)


@pytest.mark.parametrize("cut", [20, 200, -20])
def test_cut_files_are_one_clear_error(cut: int, tmp_path: Path) -> None:
    xgboost_file(tmp_path / "m.json", "wine", objective="multi:softprob", num_class=3)
    (tmp_path / "cut.json").write_bytes((tmp_path / "m.json").read_bytes()[:cut])
    with pytest.raises(ModelError, match="XGBoost cannot load it") as caught:
        XGBoostConverter().read(tmp_path / "cut.json", Options())
    assert len(caught.value.what) < 300


def test_a_cut_text_file_is_one_clear_error(tmp_path: Path) -> None:
    lightgbm_file(tmp_path / "m.txt", "wine", objective="multiclass", num_class=3)
    text = (tmp_path / "m.txt").read_text()
    for content in ("tree\n", text[: text.index("Tree=1")], text[: text.index("split_feature") + 30]):
        (tmp_path / "cut.txt").write_text(content)
        with pytest.raises(ModelError, match="it is cut"):
            LightGBMConverter().read(tmp_path / "cut.txt", Options())
    (tmp_path / "cut.txt").write_text("tree\nversion=v4\nnum_class=many\nend of trees\n")
    with pytest.raises(ModelError, match="LightGBM cannot load it"):
        LightGBMConverter().read(tmp_path / "cut.txt", Options())


def test_a_file_that_crashes_the_library_does_so_elsewhere(tmp_path: Path) -> None:
    """LightGBM reads past the end of a tree that lacks its arrays: a real crash, of the converter's process alone."""
    lightgbm_file(tmp_path / "m.txt", "wine", objective="multiclass", num_class=3)
    text = (tmp_path / "m.txt").read_text()
    (tmp_path / "bad.txt").write_text(text[: text.index("split_feature=") + 20] + "\n\nend of trees\n")
    with pytest.raises(ModelError) as caught:
        convert(tmp_path / "bad.txt")
    assert re.search(r"being read when its process was ended by SIG|LightGBM cannot load it", caught.value.what)
    assert caught.value.where == str(tmp_path / "bad.txt")


def test_files_are_told_apart_by_what_is_in_them(tmp_path: Path) -> None:
    xgboost_file(tmp_path / "x.json", "wine", objective="multi:softprob", num_class=3)
    (tmp_path / "x.json").rename(tmp_path / "x.model")
    lightgbm_file(tmp_path / "l.model", "wine", objective="multiclass", num_class=3)
    assert isinstance(converter_for(tmp_path / "x.model"), XGBoostConverter)
    assert isinstance(converter_for(tmp_path / "l.model"), LightGBMConverter)
