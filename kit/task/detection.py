"""Measures of object detection: mean average precision by pycocotools, and what each image misses."""

import contextlib
import io
from typing import Any

import numpy as np

from kit.errors import MissingExtraError
from kit.records import Float64Array, RaggedRecord
from kit.stats.influence import Influences
from kit.task.base import Losses, Rows, UndefinedError

OVERLAP = 0.5
"""Intersection over union from which a box counts as found, in an image's loss."""

BLOCKS = 100
"""Groups of images that are left out in turn (the delete-a-group jackknife; J. Shao and D. Tu, The Jackknife and
Bootstrap, 1995, 2.3); fewer images are each left out alone."""


def boxes_missed(rows: Rows) -> Losses:
    """1 less the F1 score of each image: boxes of the right class matched at an overlap of 0.5, best scores first.

    An image without boxes of which none is found loses nothing. Predicted boxes of a score under 0.5 do not count
    unless the manifest states another threshold.
    """
    least = 0.5 if rows.rule.threshold is None else rows.rule.threshold
    truth, said = _of_rows(rows.targets, len(rows)), _of_rows(rows.items, len(rows))
    return Losses(np.array([_missed(t, s[s[:, 5] >= least]) for t, s in zip(truth, said, strict=True)], np.float64))


def _missed(truth: Float64Array, said: Float64Array) -> float:
    total = len(truth) + len(said)
    if not total:
        return 0.0
    overlaps = _overlaps(truth, said) * (truth[:, None, 4] == said[None, :, 4])
    hits = 0
    for column in np.argsort(-said[:, 5], kind="stable") if len(truth) else ():
        best = int(overlaps[:, column].argmax())
        if overlaps[best, column] >= OVERLAP:
            hits += 1
            overlaps[best] = 0.0
    return 1.0 - 2.0 * hits / total


def _overlaps(one: Float64Array, other: Float64Array) -> Float64Array:
    """Intersection over union of boxes left, top, right, bottom: float64 [one, other]."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    size = np.clip(np.minimum(one[:, None, 2:4], other[None, :, 2:4]) - low, 0.0, None)
    both = size[..., 0] * size[..., 1]
    joined = _area(one)[:, None] + _area(other)[None] - both
    return np.asarray(np.where(joined > 0.0, both / np.where(joined > 0.0, joined, 1.0), 0.0))


def _area(boxes: Float64Array) -> Float64Array:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _of_rows(of: RaggedRecord | None, rows: int) -> list[Float64Array]:
    assert of is not None
    return [of.values[of.offsets[row] : of.offsets[row + 1]] for row in range(rows)]


def mean_average_precision(rows: Rows, *, only_50: bool = False) -> Influences:
    """COCO's mean average precision (T.-Y. Lin and others, 2014) over classes and IoU 0.50 to 0.95, or at 0.50 alone.

    Influences by leaving out images in groups: (groups - 1) times the fall without the group, shared by its images.
    Raises UndefinedError without boxes in truth, or with weights, MissingExtraError without pycocotools.
    """
    if (rows.weights != rows.weights[0]).any():
        raise UndefinedError("images cannot be weighted in a mean average precision")
    matches = _Matches(rows, only_50)
    everything = np.ones(len(rows), np.bool_)
    whole = matches.precision(everything)
    if whole is None:
        raise UndefinedError("there are no boxes in these images")
    groups = min(BLOCKS, len(rows))
    block = np.arange(len(rows)) % groups
    values = np.zeros(len(rows))
    for group in range(groups) if groups > 1 else ():
        left = matches.precision(block != group)
        fall = 0.0 if left is None else whole - left
        values[block == group] = (groups - 1) * fall
    values -= values.mean()
    truth = rows.targets
    assert truth is not None
    has_boxes = np.diff(truth.offsets) > 0
    reach = len(rows) / max(1, int(has_boxes.sum()))
    low, high = min(float(values.min()), -reach * whole), max(float(values.max()), reach * (1.0 - whole))
    return Influences(whole, values, rows.weights, low, high, values != 0.0, (has_boxes,))


class _Matches:
    """pycocotools' matching of every image, done once; precision of any images is then summed from it."""

    def __init__(self, rows: Rows, only_50: bool) -> None:
        try:
            from pycocotools.coco import COCO  # type: ignore[import-untyped]
            from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]
        except ImportError:
            raise MissingExtraError(
                "mean average precision needs the library pycocotools", next_step='pip install "edgeproof[detection]"'
            ) from None
        self._images = np.arange(1, len(rows) + 1)
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            truth.dataset = {
                "info": {}, "images": [{"id": int(image)} for image in self._images],
                "categories": [{"id": index} for index in range(len(rows.classes))],
                "annotations": _annotations(rows.targets, len(rows)),
            }  # fmt: skip
            truth.createIndex()
            said = COCO()
            said.dataset = {**truth.dataset, "annotations": _annotations(rows.items, len(rows))}
            said.createIndex()
            self._eval: Any = COCOeval(truth, said, "bbox")
            if only_50:
                self._eval.params.iouThrs = np.array([0.5])
            self._eval.params.areaRng = self._eval.params.areaRng[:1]
            self._eval.params.areaRngLbl = ["all"]
            self._eval.params.maxDets = [100]
            self._eval.evaluate()
        self._all = list(self._eval.evalImgs)

    def precision(self, mask: np.ndarray) -> float | None:
        """Mean average precision over the images of `mask`; None where they have no boxes in truth."""
        chosen = self._images[mask]
        if not len(chosen):
            return None
        params, count = self._eval.params, len(self._images)
        params.imgIds = [int(image) for image in chosen]
        self._eval._paramsEval.imgIds = params.imgIds
        self._eval.evalImgs = [
            each for start in range(0, len(self._all), count)
            for each, kept in zip(self._all[start : start + count], mask, strict=True) if kept
        ]  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):
            self._eval.accumulate()
        precision = self._eval.eval["precision"]
        there = precision[precision > -1]
        return float(there.mean()) if there.size else None


def _annotations(of: RaggedRecord | None, rows: int) -> list[dict[str, Any]]:
    """Boxes as COCO writes them: left, top, width, height; ids from 1, in order."""
    found: list[dict[str, Any]] = []
    for image, boxes in enumerate(_of_rows(of, rows), 1):
        for box in boxes:
            left, top, right, bottom = (float(value) for value in box[:4])
            found.append({
                "id": len(found) + 1, "image_id": image, "category_id": int(box[4]), "iscrowd": 0, "ignore": 0,
                "bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top),
                "score": float(box[5]) if len(box) > 5 else 1.0,
            })  # fmt: skip
    return found
