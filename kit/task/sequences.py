"""Measures of sequences of tokens (word error rate) and of frames (a class for each)."""

import numpy as np

from kit.records import Float64Array
from kit.stats.influence import Influences
from kit.task.base import Losses, Rows, UndefinedError, averaged
from kit.task.f1 import f1_influences

NO_FRAME = -1
"""Truth of a frame that is none: padding after the end of a recording."""


def words(values: Float64Array, separator: int | None) -> list[tuple[int, ...]]:
    """Tokens as words: each by itself, or those between two separators together."""
    tokens = [int(value) for value in values.reshape(-1)]
    if separator is None:
        return [(token,) for token in tokens]
    found: list[tuple[int, ...]] = []
    word: list[int] = []
    for token in [*tokens, separator]:
        if token != separator:
            word.append(token)
        elif word:
            found.append(tuple(word))
            word = []
    return found


def edits(reference: list[tuple[int, ...]], said: list[tuple[int, ...]]) -> int:
    """Least substitutions, deletions and insertions between two lists of words.

    Source: V. I. Levenshtein, Soviet Physics Doklady 10 (1966). One row of the table at a time; insertions along a row
    are a running minimum.
    """
    numbers = {word: number for number, word in enumerate(dict.fromkeys([*reference, *said]))}
    across = np.array([numbers[word] for word in said], np.int64)
    steps = np.arange(len(said) + 1)
    row = steps.copy()
    for index, word in enumerate(reference, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (across != numbers[word]))
        row = np.minimum.accumulate(np.concatenate([[index], best]) - steps) + steps
    return int(row[-1])


def word_errors(rows: Rows) -> Losses:
    """Edits of each row, its size being the words that were said in truth; only `rows.largest` bounds insertions."""
    truth, said = rows.targets, rows.items
    assert truth is not None
    assert said is not None
    separator, losses, sizes = rows.rule.separator, np.empty(len(rows)), np.empty(len(rows))
    for row in range(len(rows)):
        reference = words(truth.values[truth.offsets[row] : truth.offsets[row + 1]], separator)
        losses[row] = edits(reference, words(said.values[said.offsets[row] : said.offsets[row + 1]], separator))
        sizes[row] = len(reference)
    return Losses(losses, sizes, 0.0, rows.largest)


def _frames(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, answer and row of every frame that is one: int64 [frames] each."""
    assert rows.targets is not None
    assert rows.items is not None
    truth = rows.targets.values.reshape(-1).astype(np.int64)
    said = rows.items.values.reshape(-1).astype(np.int64)
    row = np.repeat(np.arange(len(rows)), np.diff(rows.targets.offsets))
    there = truth != NO_FRAME
    return truth[there], said[there], row[there]


def frames_wrong(rows: Rows) -> Losses:
    """Frames of another class than in truth, the row's size being its frames."""
    truth, said, row = _frames(rows)
    sizes = np.bincount(row, minlength=len(rows)).astype(np.float64)
    losses = np.bincount(row, weights=truth != said, minlength=len(rows)).astype(np.float64)
    return Losses(losses, sizes, 0.0, float(sizes.max(initial=0.0)))


def frame_f1(rows: Rows) -> Influences:
    """The plain mean over classes of the F1 score of frames; a row's influence is that of its frames together."""
    truth, said, row = _frames(rows)
    there = np.union1d(truth, said)
    if not len(there):
        raise UndefinedError("there are no frames in these rows")
    return averaged([_frame_f1(truth == index, said == index, row, rows.weights) for index in there])


def _frame_f1(true: np.ndarray, said: np.ndarray, row: np.ndarray, weights: Float64Array) -> Influences:
    def by_row(frames: np.ndarray) -> Float64Array:
        return np.bincount(row, weights=frames, minlength=len(weights)).astype(np.float64)

    return f1_influences(by_row(true & said), by_row(true ^ said), weights, by_row(true) > 0)
