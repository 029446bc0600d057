"""scikit-learn classifiers, regressors and pipelines, pickled or saved with joblib, by skl2onnx.

XGBoost's and LightGBM's estimators are such too, alone or as the last step of a pipeline.
"""

import io
import sys
import warnings
from pathlib import Path
from typing import Any

from kit.errors import ConversionError, ModelError
from kit.model.convert.base import Options, Source, library_versions
from kit.model.convert.estimators import estimator_source, forget_names, refuse_without_extra
from kit.model.convert.tabular import SCORES, VALUES
from kit.model.load import read_limited


class SklearnConverter:
    """The `Converter` of scikit-learn."""

    name = "skl2onnx"
    reads = "scikit-learn models (.joblib, .pkl, .pickle)"
    extra = "sklearn"

    def claims(self, path: Path, start: bytes) -> bool:
        """By suffix: a pickle has many beginnings, and joblib's may be compressed."""
        del start
        return path.suffix.lower() in (".joblib", ".pkl", ".pickle") and not path.is_dir()

    def is_pickle(self, path: Path, start: bytes) -> bool:
        """Always."""
        del path, start
        return True

    def version(self) -> str:
        """Versions of skl2onnx and scikit-learn."""
        libraries = {"skl2onnx": "skl2onnx", "sklearn": "scikit-learn"}
        return library_versions(self.extra, "scikit-learn models", libraries)

    def read(self, path: Path, options: Options) -> Source:
        """Unpickle a fitted estimator: this runs whatever code the file holds."""
        data = read_limited(path)
        model = _unpickled(path, data)
        refuse_without_extra(model)
        forget_names(model)
        output, features = _task(model, path), _features(model, path)
        dropped = "The output of labels was dropped: decisions come from the probabilities."
        notes = (dropped,) if output == SCORES else ()
        described = f"scikit-learn {_described(model)}"
        return estimator_source(path, data, model, described, features, output, options.target_opset, notes)


def _unpickled(path: Path, data: bytes) -> Any:
    import joblib

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = _stop_at_another_version
            return joblib.load(io.BytesIO(data))
    except KeyboardInterrupt:
        raise
    except _AnotherVersionError as other:
        saved, here = other.args
        raise ModelError(
            f"it was saved by scikit-learn {saved}, here is {here}, which may compute something else",
            where=str(path),
            next_step=f"install scikit-learn=={saved}, or save the model again",
        ) from None
    except ModuleNotFoundError as error:
        raise ModelError(
            f"it needs the module {error.name!r}, which is not installed",
            where=str(path),
            next_step=f"install the package that provides {error.name!r}",
        ) from None
    except BaseException as error:  # SystemExit too: its code must not end this command, with 0 at that
        reason = "".join(character if character.isprintable() else " " for character in str(error)).strip()[:200]
        raise ModelError(
            f"it cannot be unpickled: {type(error).__name__}: {reason}",
            where=str(path),
            next_step="check that the file is complete and was written by joblib.dump or pickle.dump",
        ) from None


class _AnotherVersionError(Exception):
    """The versions of scikit-learn that saved the model, and that is here."""


def _stop_at_another_version(message: Any, *_: Any, **__: Any) -> None:
    """In place of `warnings.showwarning`; the library is not imported for its warning, which takes seconds."""
    library = sys.modules.get("sklearn.exceptions")
    if library is not None and isinstance(message, library.InconsistentVersionWarning):
        raise _AnotherVersionError(message.original_sklearn_version, message.current_sklearn_version)


def _described(model: Any) -> str:
    """``Pipeline (StandardScaler, MLPClassifier)``."""
    steps = [type(step).__name__ for _, step in getattr(model, "steps", ())]
    return f"{type(model).__name__} ({', '.join(steps)})" if steps else type(model).__name__


def _task(model: Any, path: Path) -> str:
    """The name of the output of a fitted classifier or regressor."""
    if not hasattr(model, "predict"):
        raise ModelError(
            f"the file holds a {type(model).__name__}, not a scikit-learn model",
            where=str(path),
            next_step="save the fitted model or pipeline itself",
        )
    if not _is_fitted(model):
        raise _unfit(model, "is not fitted", path)
    if hasattr(model, "classes_"):
        if not hasattr(model, "predict_proba"):
            raise _unfit(model, "gives no probabilities (predict_proba)", path)
        if isinstance(model.classes_, list):
            raise _unfit(model, "decides several things at once", path)
        return SCORES
    from sklearn.base import is_regressor

    if is_regressor(model):
        return VALUES
    raise _unfit(model, "is neither a classifier nor a regressor", path)


def _is_fitted(model: Any) -> bool:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    return True


def _unfit(model: Any, why: str, path: Path) -> ConversionError:
    return ConversionError(
        f"{type(model).__name__} {why}",
        where=str(path),
        next_step="save a fitted regressor, or classifier with predict_proba; wrap others in CalibratedClassifierCV",
    )


def _features(model: Any, path: Path) -> int:
    """Number of input columns."""
    if not hasattr(model, "n_features_in_"):
        raise _unfit(model, "does not say how many features it takes (n_features_in_)", path)
    return int(model.n_features_in_)
