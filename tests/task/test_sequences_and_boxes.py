"""Word errors equal jiwer's, mean average precision pycocotools', regression scikit-learn's; the rest by hand."""

import contextlib
import io
from typing import Any

import jiwer
import numpy as np
import pytest
from sklearn import metrics

from kit.records import ScoreRule
from kit.task import MEASURES_BY_NAME, Rows, UndefinedError
from tests.task.tables import matrix, ragged, rows


def figure(name: str, of: Rows) -> float:
    return MEASURES_BY_NAME[name].of(of).estimate


def said(truth: list[list[int]], answer: list[list[int]], separator: int | None = None) -> Rows:
    empty = np.empty((len(truth), 0))
    return rows(
        np.zeros(len(truth)), empty, task="sequence", targets=ragged(truth), items=ragged(answer), classes=6,
        rule=ScoreRule(separator=separator),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_word_error_rate(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = [rng.integers(0, 5, rng.integers(1, 12)).tolist() for _ in range(40)]
    answer = [
        [int(t) if rng.random() < 0.8 else int(rng.integers(5)) for t in row if rng.random() < 0.9] for row in truth
    ]
    answer[0] = [*truth[0], 1, 2, 3]
    spoken, heard = ([" ".join(f"w{t}" for t in row) for row in lists] for lists in (truth, answer))
    assert figure("wer", said(truth, answer)) == pytest.approx(jiwer.wer(spoken, heard), abs=1e-12)
    losses = MEASURES_BY_NAME["wer"].losses(said(truth, answer))
    assert losses.sizes is not None
    assert losses.sizes.tolist() == [len(row) for row in truth]


def test_words_are_what_stands_between_separators() -> None:
    """Letters a, b, c with a blank as class 3: "ab c" against "ab b" is one wrong word of two."""
    assert figure("wer", said([[0, 1, 3, 2]], [[0, 1, 3, 3, 1]], separator=3)) == 0.5


def test_silence_is_no_error_and_cannot_be_all() -> None:
    assert figure("wer", said([[], [1, 2]], [[], [1]])) == 0.5
    assert figure("wer", said([[], [1, 2]], [[4], [1, 2]])) == 0.5
    with pytest.raises(UndefinedError):
        figure("wer", said([[], []], [[], [1]]))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("targets", [1, 3])
def test_regression(targets: int, weighted: bool) -> None:
    rng = np.random.default_rng(targets)
    y = rng.normal(size=(70, targets)) * 3
    p = (y + rng.normal(size=(70, targets))).astype(np.float32)
    w = rng.uniform(0.5, 2, 70) if weighted else None
    of = rows(np.zeros(70), p, w, task="regression", targets=matrix(y))
    assert figure("mae", of) == pytest.approx(metrics.mean_absolute_error(y, p, sample_weight=w), rel=1e-12)
    assert figure("rmse", of) == pytest.approx(metrics.root_mean_squared_error(y, p, sample_weight=w), rel=1e-12)
    assert figure("r2", of) == pytest.approx(metrics.r2_score(y, p, sample_weight=w), rel=1e-12)


def test_a_constant_target_explains_nothing_and_no_error_has_no_slope() -> None:
    y = np.full((5, 1), 2.0)
    of = rows(np.zeros(5), y, task="regression", targets=matrix(y))
    assert figure("rmse", of) == 0.0
    with pytest.raises(UndefinedError, match="the same in every row"):
        figure("r2", of)


def test_frames() -> None:
    rng = np.random.default_rng(2)
    truth = [rng.integers(-1, 3, 20).tolist() for _ in range(15)]
    answer = [[t if rng.random() < 0.7 and t >= 0 else int(rng.integers(3)) for t in row] for row in truth]
    of = rows(
        np.zeros(15), np.empty((15, 0)), task="frames", targets=ragged(truth), items=ragged(answer), classes=3
    )  # fmt: skip
    there = np.concatenate([truth]).ravel() >= 0
    y, p = np.array(truth).ravel()[there], np.array(answer).ravel()[there]
    assert figure("frame-accuracy", of) == pytest.approx(metrics.accuracy_score(y, p), abs=1e-12)
    assert figure("frame-f1", of) == pytest.approx(metrics.f1_score(y, p, average="macro"), abs=1e-12)


def test_embeddings_agree_with_the_reference() -> None:
    rng = np.random.default_rng(4)
    reference = rng.normal(size=(60, 8))
    own = reference + 0.3 * rng.normal(size=(60, 8))
    of = rows(np.zeros(60), own, task="embedding", reference=reference, classes=1)
    cosine = metrics.pairwise.cosine_similarity(own.astype(np.float32), reference.astype(np.float32))
    assert figure("cosine", of) == pytest.approx(float(np.diag(cosine).mean()), abs=1e-6)
    kept = []
    for row in range(60):
        near = [
            set(np.argsort(-metrics.pairwise.cosine_similarity(v[row : row + 1], v)[0])[1:11]) for v in (own, reference)
        ]
        kept.append(len(near[0] & near[1]) / 10)
    assert figure("neighbours", of) == pytest.approx(float(np.mean(kept)), abs=1e-9)
    same = rows(np.zeros(60), reference, task="embedding", reference=reference, classes=1)
    assert [figure("cosine", same), figure("neighbours", same)] == pytest.approx([1.0, 1.0])


def test_a_vector_without_length_and_one_row() -> None:
    none = np.zeros((2, 3))
    of = rows(np.zeros(2), np.array([[0, 0, 0], [1, 0, 0]]), task="embedding", reference=none, classes=1)
    assert MEASURES_BY_NAME["cosine"].losses(of).losses.tolist() == [0.0, 1.0]
    assert figure("neighbours", rows(np.zeros(1), np.ones((1, 3)), task="embedding", classes=1)) == 1.0


def detected(seed: int, images: int = 30, classes: int = 3) -> Rows:
    rng = np.random.default_rng(seed)
    truth, answer = [], []
    for _ in range(images):
        count = int(rng.integers(0, 5))
        low = rng.uniform(0, 80, (count, 2))
        boxes = np.column_stack([low, low + rng.uniform(5, 30, (count, 2)), rng.integers(0, classes, count)])
        truth.append(boxes)
        found = boxes[rng.random(count) < 0.8].copy()
        found[:, :4] += rng.normal(size=(len(found), 4))
        more = np.column_stack([rng.uniform(0, 50, (2, 2)), rng.uniform(51, 99, (2, 2)), rng.integers(0, classes, 2)])
        every = np.concatenate([found, more])
        answer.append(np.column_stack([every, np.round(rng.random(len(every)), 1) + 0.05]))
    return rows(
        np.zeros(images), np.empty((images, 0)), task="detection", targets=ragged(truth, 5), items=ragged(answer, 6),
        classes=classes,
    )  # fmt: skip


def coco(of: Rows) -> tuple[float, float]:
    """Mean average precision and that at 0.50, the way pycocotools' own users call it."""
    from pycocotools.coco import COCO  # type: ignore[import-untyped]
    from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]

    assert of.targets is not None
    assert of.items is not None
    with contextlib.redirect_stdout(io.StringIO()):
        truth: Any = COCO()
        truth.dataset = {"info": {}, "images": [{"id": i} for i in range(len(of))], "categories": [], "annotations": []}
        truth.dataset["categories"] = [{"id": k} for k in range(len(of.classes))]
        lists: list[list[dict[str, Any]]] = [truth.dataset["annotations"], []]
        for kind, record in enumerate((of.targets, of.items)):
            for image in range(len(of)):
                for b in record.values[record.offsets[image] : record.offsets[image + 1]]:
                    box = [b[0], b[1], b[2] - b[0], b[3] - b[1]]
                    one = {"image_id": image, "category_id": int(b[4]), "bbox": box, "area": box[2] * box[3]}
                    lists[kind].append(
                        {**one, "iscrowd": 0, "id": len(lists[kind]) + 1} if kind == 0 else {**one, "score": b[5]}
                    )
        truth.createIndex()
        said = truth.loadRes(lists[1])
        judge = COCOeval(truth, said, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[0]), float(judge.stats[1])


@pytest.mark.parametrize("seed", range(3))
def test_mean_average_precision(seed: int) -> None:
    of = detected(seed)
    whole, at_half = coco(of)
    assert figure("map", of) == pytest.approx(whole, abs=1e-12)
    assert figure("map-50", of) == pytest.approx(at_half, abs=1e-12)


def test_influences_of_images_are_what_leaving_each_out_changes() -> None:
    of = detected(7)
    found = MEASURES_BY_NAME["map"].of(of)
    left = np.arange(len(of)) != 4
    fall = found.estimate - figure("map", of.take(left))
    other = found.estimate - figure("map", of.take(np.arange(len(of)) != 9))
    assert found.values[4] - found.values[9] == pytest.approx((len(of) - 1) * (fall - other), abs=1e-9)


def test_no_boxes_in_truth_have_no_precision_and_an_image_its_own_loss() -> None:
    box = [[0, 0, 10, 10, 0]]
    of = rows(
        np.zeros(3), np.empty((3, 0)), task="detection", classes=1, targets=ragged([box, box, []], 5),
        items=ragged([[[0, 0, 10, 9, 0, 0.9]], [[0, 0, 10, 9, 0, 0.2]], []], 6),
    )  # fmt: skip
    assert MEASURES_BY_NAME["map"].losses(of).losses.tolist() == [0.0, 1.0, 0.0]
    with pytest.raises(UndefinedError, match="no boxes"):
        figure("map", of.take(np.array([False, False, True])))
