"""Which measure is computed how: one row for each name of `kit.spec.measures.MEASURES`."""

from math import inf

from kit.task.base import Measure
from kit.task.classify import (
    MOST_LOG_LOSS,
    balanced_accuracy,
    balanced_wrong,
    brier,
    calibration_error,
    labels_wrong,
    log_loss,
    misplaced_confidence,
    wrong,
)
from kit.task.detection import boxes_missed, mean_average_precision
from kit.task.embedding import cosine_lost, neighbours_lost
from kit.task.f1 import f1, f1_macro, f1_micro
from kit.task.ranking import auc, average_precision, equal_error_rate, misranked, miss_rate
from kit.task.regression import (
    absolute_error,
    determination,
    greatest_error,
    mean_square,
    root_mean_square,
    squared_error,
)
from kit.task.sequences import frame_f1, frames_wrong, word_errors

MEASURES_BY_NAME: dict[str, Measure] = {
    "accuracy": Measure(wrong, is_share_right=True),
    "balanced-accuracy": Measure(balanced_wrong, balanced_accuracy),
    "f1": Measure(wrong, f1),
    "f1-macro": Measure(wrong, f1_macro),
    "f1-micro": Measure(labels_wrong, f1_micro),
    "hamming-loss": Measure(labels_wrong),
    "log-loss": Measure(log_loss, range=(0.0, MOST_LOG_LOSS)),
    "brier": Measure(brier),
    "ece": Measure(misplaced_confidence, calibration_error, is_biased=True),
    "auc": Measure(misranked, auc),
    "average-precision": Measure(misranked, average_precision, is_biased=True),
    "eer": Measure(misranked, equal_error_rate, is_biased=True),
    "miss-rate-at-1%": Measure(misranked, miss_rate, is_biased=True),
    "mae": Measure(absolute_error, range=(0.0, inf)),
    "rmse": Measure(squared_error, root_mean_square, range=(0.0, inf), bounded=greatest_error, square=mean_square),
    "r2": Measure(squared_error, determination, range=(-inf, 1.0), bounded=greatest_error),
    "wer": Measure(word_errors, range=(0.0, inf)),
    "frame-accuracy": Measure(frames_wrong, is_share_right=True),
    "frame-f1": Measure(frames_wrong, frame_f1),
    "cosine": Measure(cosine_lost, is_share_right=True, range=(-1.0, 1.0)),
    "neighbours": Measure(neighbours_lost, is_share_right=True),
    "map": Measure(boxes_missed, lambda rows: mean_average_precision(rows)),
    "map-50": Measure(boxes_missed, lambda rows: mean_average_precision(rows, only_50=True)),
}
