"""Datasets: the rows that a verdict rests on."""

from dataclasses import dataclass, field
from typing import Literal

from kit.records.base import Float64Array, Int64Array

TaskName = Literal[
    "classification", "multilabel", "regression", "anomaly", "sequence", "frames", "embedding", "detection"
]
"""What a model does. anomaly: two classes, the second being what is looked for, by one score. sequence: tokens, as many
as there are. frames: a class for each frame. embedding: a vector, with or without labels. detection: boxes."""


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """How a model's scores are read, as the manifest says. kind "": not said, so that it is guessed from the values.

    threshold: scores from it on are a yes (multilabel, anomaly); None: 0.5 of probabilities, 0 of logits, and of other
    values no decision. separator: the class that stands between two words (sequence), None where each token is one.
    """

    kind: Literal["", "probabilities", "logits", "values"] = ""
    threshold: float | None = None
    separator: int | None = None


@dataclass(frozen=True, slots=True)
class ColumnRecord:
    """A metadata column: codes int64 [rows] into `values`."""

    values: tuple[str, ...]
    codes: Int64Array


@dataclass(frozen=True, slots=True)
class RaggedRecord:
    """A list of vectors for each row: values float64 [items, width], those of row i at offsets[i] to offsets[i + 1].

    offsets: int64 [rows + 1], from 0, never falling. What a vector is depends on the task. multilabel: 0 or 1 a class;
    regression: the targets (one vector a row). sequence, frames: the token or class (width 1). detection: left, top,
    right, bottom, class; a prediction has its score after those.
    """

    values: Float64Array
    offsets: Int64Array


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """The rows that a verdict rests on, without their inputs: labels, metadata columns and clusters.

    labels: int64 [rows] into `classes`, all 0 where the task's truth is in `targets`; cluster: int64 [rows], equal for
    rows that are not independent. `cluster_column` is None where every row is its own cluster. `numbers`: metadata
    float64 [rows] that is sliced by bins or by an expression. `weights`: float64 [rows], how many rows of the
    population each stands for; None where all count alike. `sensitive` names the columns of people's groups.
    """

    name: str
    digest: str
    data_digest: str
    rows: int
    classes: tuple[str, ...]
    labels: Int64Array
    cluster_column: str | None
    cluster: Int64Array
    columns: dict[str, ColumnRecord]
    description: str = ""
    task: TaskName = "classification"
    targets: RaggedRecord | None = None
    numbers: dict[str, Float64Array] = field(default_factory=dict)
    weights: Float64Array | None = None
    sensitive: tuple[str, ...] = ()
    scores: ScoreRule = ScoreRule()
