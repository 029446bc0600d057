"""Measures that a requirement can name: which way is better, how a limit on them is written, and for which tasks."""

from dataclasses import dataclass
from typing import Literal

from kit.records import TaskName

LABELLED: tuple[TaskName, ...] = ("classification", "anomaly")


@dataclass(frozen=True, slots=True)
class MeasureRule:
    """A measure's words and unit: a "share" is 0 to 1, a "number" is in the target's own unit (or nats).

    has_end: whether something bounds what one row can lose; if not, only a requirement's `largest` does. is_mean:
    whether it is a mean over rows, so that where it fell can be searched for.
    """

    subject: str
    better: Literal["higher", "lower"]
    kind: Literal["share", "number"]
    tasks: tuple[TaskName, ...]
    has_end: bool = True
    is_mean: bool = False


MEASURES: dict[str, MeasureRule] = {
    "accuracy": MeasureRule("an accuracy", "higher", "share", ("classification", "multilabel"), is_mean=True),
    "balanced-accuracy": MeasureRule("a balanced accuracy", "higher", "share", ("classification",)),
    "f1": MeasureRule("an F1 score", "higher", "share", LABELLED),
    "f1-macro": MeasureRule("a macro-averaged F1 score", "higher", "share", ("classification", "multilabel")),
    "f1-micro": MeasureRule("a micro-averaged F1 score", "higher", "share", ("multilabel",)),
    "hamming-loss": MeasureRule("a Hamming loss", "lower", "share", ("multilabel",), is_mean=True),
    "log-loss": MeasureRule("a log loss", "lower", "number", ("classification", "multilabel"), is_mean=True),
    "brier": MeasureRule("a Brier score", "lower", "share", ("classification", "multilabel"), is_mean=True),
    "ece": MeasureRule("an expected calibration error", "lower", "share", ("classification",)),
    "auc": MeasureRule("an area under the ROC curve", "higher", "share", LABELLED),
    "average-precision": MeasureRule("an average precision", "higher", "share", LABELLED),
    "eer": MeasureRule("an equal error rate", "lower", "share", LABELLED),
    "miss-rate-at-1%": MeasureRule("a miss rate at 1 % false alarms", "lower", "share", LABELLED),
    "mae": MeasureRule("a mean absolute error", "lower", "number", ("regression",), has_end=False, is_mean=True),
    "rmse": MeasureRule("a root mean square error", "lower", "number", ("regression",), has_end=False),
    "r2": MeasureRule("a coefficient of determination", "higher", "share", ("regression",), has_end=False),
    "wer": MeasureRule("a word error rate", "lower", "share", ("sequence",), has_end=False, is_mean=True),
    "frame-accuracy": MeasureRule("a frame accuracy", "higher", "share", ("frames",), is_mean=True),
    "frame-f1": MeasureRule("a frame F1 score", "higher", "share", ("frames",)),
    "cosine": MeasureRule("a cosine similarity to the reference", "higher", "share", ("embedding",), is_mean=True),
    "neighbours": MeasureRule("a share of nearest neighbours kept", "higher", "share", ("embedding",), is_mean=True),
    "map": MeasureRule("a mean average precision at IoU 0.50 to 0.95", "higher", "share", ("detection",)),
    "map-50": MeasureRule("a mean average precision at IoU 0.50", "higher", "share", ("detection",)),
}
"""By name; ``file.py:function`` names a user's own."""

USUAL_MEASURES: dict[TaskName, str] = {
    "multilabel": "hamming-loss",
    "regression": "r2",
    "anomaly": "auc",
    "frames": "frame-accuracy",
    "embedding": "cosine",
    "detection": "map-50",
}
"""What is looked at where nobody says what: a share, by task; of the others accuracy."""

SEARCHED = ", ".join([*(name for name, rule in MEASURES.items() if rule.is_mean), "file.py:function"])
"""What `slices.found` can look for, told to people."""

FAIRNESS_MEASURES = (
    "accuracy",
    "demographic-parity",
    "equalized-odds",
    "equal-opportunity",
    "predictive-parity",
    "error-rate",
    "false-positive-rate",
    "false-negative-rate",
    "calibration",
)
"""What can differ between groups, beside every row of `MEASURES`."""

HARMS: dict[str, tuple[str, ...]] = {
    "allocation": ("demographic-parity", "equalized-odds", "equal-opportunity", "predictive-parity"),
    "quality-of-service": ("accuracy", "error-rate", "calibration"),
    "representation": ("demographic-parity", "false-positive-rate", "false-negative-rate"),
}
"""Kinds of harm (K. Crawford, NIPS 2017 keynote; S. Bird and others, Fairlearn, 2020), and what shows each."""


def has_end(measure: str) -> bool:
    """Whether something bounds what a row can lose under `measure`; nothing does under a function of the user's."""
    return ".py:" not in measure and (measure not in MEASURES or MEASURES[measure].has_end)
