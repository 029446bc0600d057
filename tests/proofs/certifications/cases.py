"""Cases for the judge from plain arrays: rows of labels 0, where a decision of 0 is right."""

from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kit.judge.base import Case
from kit.records import ColumnRecord, DatasetRecord, Evidence, Int64Array, PredictionRecord
from kit.spec.types import Metric
from tests.builders import VariantPlan, device, digest_of, evidence, profile, requirement

CLASSES = ("right", "wrong")


@cache
def template() -> Evidence:
    """A small run's evidence, whose rows are replaced."""
    return evidence([VariantPlan("int8", energy_obtained="measured")], rows=60, clusters=12)


def rows_of(
    labels: Int64Array, cluster: Int64Array | None, columns: dict[str, ColumnRecord], classes: tuple[str, ...] = CLASSES
) -> DatasetRecord:
    """A dataset's record; without clusters each row is its own."""
    return replace(
        template().dataset,
        rows=len(labels),
        classes=classes,
        labels=labels,
        cluster_column=None if cluster is None else "recording",
        cluster=np.arange(len(labels)) if cluster is None else cluster,
        columns=columns,
    )


def said(data: DatasetRecord, decisions: Int64Array, digest: str, scores: NDArray[np.float32]) -> PredictionRecord:
    """What a model said of those rows."""
    return PredictionRecord(digest, data.data_digest, "device", "default", scores, decisions, "measured")


def case_of(
    metric: Metric,
    limit: float,
    data: DatasetRecord,
    reference: Int64Array,
    optimized: Int64Array,
    *,
    reference_scores: NDArray[np.float32] | None = None,
    optimized_scores: NDArray[np.float32] | None = None,
    icc_floor: float = 0.05,
    **asked: object,
) -> Case:
    """The case of one requirement on one variant; scores are one-hot where none are given."""
    given = template()
    variant = given.variants[0]
    one_hot = np.eye(len(data.classes), dtype=np.float32)
    before = said(
        data, reference, given.reference.digest, one_hot[reference] if reference_scores is None else reference_scores
    )
    after = said(
        data,
        optimized,
        variant.variant.model.digest,
        one_hot[optimized] if optimized_scores is None else optimized_scores,
    )
    variant = replace(variant, predictions=after)
    whole = replace(given, dataset=data, reference_predictions=before, variants=(variant,))
    wanted = requirement(metric, limit, **asked)  # type: ignore[arg-type]
    return Case(wanted, variant, whole, profile([wanted], icc_floor=icc_floor), device())


def decisions(to_wrong: ArrayLike, to_right: ArrayLike, wrong: ArrayLike, right: ArrayLike) -> tuple[Int64Array, ...]:
    """Decisions of reference and optimized, and cluster, from counts a cluster; 0 is right."""
    counts = np.stack(np.broadcast_arrays(to_wrong, to_right, wrong, right), axis=-1).reshape(-1, 4)
    cells = np.repeat(np.tile(np.arange(4), len(counts)), counts.ravel())
    cluster = np.repeat(np.arange(len(counts)), counts.sum(axis=1))
    return np.array([0, 1, 1, 0])[cells], np.array([1, 0, 1, 0])[cells], cluster.astype(np.int64)


def column(codes: Int64Array, groups: int) -> ColumnRecord:
    """A column of groups named by their numbers."""
    return ColumnRecord(tuple(f"{group}" for group in range(groups)), codes.astype(np.int64))


DIGEST = digest_of("simulated")
