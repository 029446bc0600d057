"""data.lagged: a delay that training did not have, of one sensor's channel against others or of a time stamp.

Two channels that belong together have a cross-correlation with a shape; a delay between them moves it along. The shape
is learned from the calibration (or train) part, and the move that fits best is found, of all test rows together and of
each of their clusters.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.quality.parts import BoolArray, channels_last, clusters, drawn, examples
from kit.records import DataCheck, DatasetRecord, Float64Array, Int64Array
from kit.spec.types import DatasetPart

MOST_ROWS, MOST_STEPS, MOST_PAIRS = 2000, 1024, 64
"""Rows that are drawn of each part, steps from the middle of a longer row, pairs drawn of more."""

MOST_VALUES = 1 << 23
"""Cross-correlations that are kept; clusters are put together where they would have more."""

LEAST_CORRELATION, STEADY_SHARE = 0.1, 0.1
"""Channels belong together whose mean cross-correlation somewhere is at least the first, and moves between random
halves of the usual groups by less than the second, as a share of a row's length."""

GROUPS = 20
"""Where rows have no clusters, they are put into so many groups: one row is too short to show a delay."""

LEAST_GROUPS = 4
SPLITS = 200
"""What chance gives is the largest move between so many random halves of the usual groups."""

_TIME = re.compile(r"(^|_)(t|ts|time|timestamp|date|datetime|at|ms|us|ns)(_|$)", re.IGNORECASE)


def lagged(test: DatasetPart, other: DatasetPart, rng: np.random.Generator) -> tuple[DataCheck, ...]:
    """Delays between channels, and between columns of time stamps, that `other` does not have."""
    stamps = _stamps(test.record, other)
    channels = _channels(test, other, rng)
    return (*channels, *stamps) if channels[0].share is not None or not stamps else stamps


def nothing_to_look_at(test: DatasetPart, other: DatasetPart | None) -> str:
    """Why no delay could be seen whatever the rows hold, as a clause; empty where one might be."""
    if other is None:
        return "there is no train or calibration part to show what is usual"
    if _recordings(test, other) is not None or len(_stamp_names(test.record, other)) > 1:
        return ""
    return f"{_NO_CHANNELS}, nor have two time stamps"


_NO_CHANNELS = "rows are not recordings of two or more channels"


def _recordings(test: DatasetPart, other: DatasetPart) -> tuple[NDArray[np.generic], NDArray[np.generic]] | None:
    """Rows of both parts as [rows, steps, channels], two channels or more; None where they are no such recordings."""
    ours, theirs = channels_last(test.inputs), channels_last(other.inputs)
    if ours is None or theirs is None or ours.shape[1:] != theirs.shape[1:] or ours.shape[2] < 2:
        return None
    return ours, theirs


def _unseen(test: DatasetPart, why: str) -> tuple[DataCheck, ...]:
    return (DataCheck("data.lagged", "channels", None, test.record.rows, (), f"Not looked at: {why}."),)


@dataclass(frozen=True, slots=True)
class _Shapes:
    """Cross-correlations: float64 [groups, pairs, lags]; `group` int64 [rows drawn] and their row numbers."""

    mean: Float64Array
    group: Int64Array
    rows: Int64Array


def _channels(test: DatasetPart, other: DatasetPart, rng: np.random.Generator) -> tuple[DataCheck, ...]:
    both = _recordings(test, other)
    if both is None:
        return _unseen(test, _NO_CHANNELS)
    ours, theirs = both
    pairs = _pairs(ours.shape[2], rng)
    usual = _shapes(theirs, other.record, pairs, rng)
    if len(usual.mean) < LEAST_GROUPS:
        return _unseen(test, f"the {other.role} part has fewer than {LEAST_GROUPS} clusters to show what is usual")
    chance = _between_halves(usual, rng)
    kept = _belonging(usual, chance)
    if not len(kept):
        return _unseen(test, "no two channels have a cross-correlation that is steady enough to see a delay by")
    usual, pairs = _Shapes(usual.mean[:, kept], usual.group, usual.rows), pairs[kept]
    found = _shapes(ours, test.record, pairs, rng)
    return _whole(found, usual, chance[kept], pairs, other), _each(found, usual, pairs, other, test)


def _whole(found: _Shapes, usual: _Shapes, chance: Float64Array, names: Int64Array, other: DatasetPart) -> DataCheck:
    """The move of all test rows together that exceeds chance most, as a share of a row's length."""
    steps = found.mean.shape[2] - 1
    moves = _moves(found.mean.mean(axis=0)[None], usual.mean.mean(axis=0))[0]
    pair = int((np.abs(moves) - chance).argmax())
    sentence = (
        f"All {len(found.rows):,} rows looked at together: {_said(names[pair], float(moves[pair]))} than in the "
        f"{other.role} part, whose halves differ by up to {chance[pair]:g} of {steps} steps."
    )
    share, explained = float(abs(moves[pair])) / steps, float(chance[pair]) / steps
    return DataCheck("data.lagged", "channels, all rows", share, len(found.rows), (), sentence, explained)


def _between_halves(usual: _Shapes, rng: np.random.Generator) -> Float64Array:
    """The largest move of each pair between random halves of the usual groups: float64 [pairs], in steps."""
    moves = np.zeros(usual.mean.shape[1])
    for _ in range(SPLITS):
        order, middle = rng.permutation(len(usual.mean)), len(usual.mean) // 2
        one, two = (usual.mean[part].mean(axis=0) for part in (order[:middle], order[middle:]))
        moves = np.maximum(moves, np.abs(_moves(one[None], two))[0])
    return moves


def _said(pair: Int64Array, move: float) -> str:
    """A move of the pair's shape in words: a second channel that comes later moves it down."""
    return f"channel {pair[1]} comes {abs(move):g} steps {'later' if move < 0 else 'earlier'} against channel {pair[0]}"


def _each(found: _Shapes, usual: _Shapes, names: Int64Array, other: DatasetPart, test: DatasetPart) -> DataCheck:
    """Rows of test groups that moved farther than any of the usual ones, and what halves of the usual show."""
    moves = _moves(found.mean, usual.mean.mean(axis=0))
    most = np.abs(_moves(usual.mean, usual.mean.mean(axis=0))).max(axis=0)
    late = (np.abs(moves) > most + 1).any(axis=1)
    rows = np.zeros(test.record.rows, dtype=np.bool_)
    rows[found.rows[late[found.group]]] = True
    share = float(late[found.group].mean())
    pair = int(np.abs(moves).max(axis=0).argmax())
    typical = float(np.median(moves[late, pair])) if late.any() else float(np.median(moves[:, pair]))
    what = _said(names[pair], typical)
    usual_moves = f"in the {other.role} part it moves by {most[pair]:g} at most"
    sentence = (
        f"{100 * share:.1f} % of {len(found.rows):,} rows looked at are of clusters that lag: {what}; {usual_moves}."
        if late.any()
        else f"No cluster of {len(found.rows):,} rows looked at lags by more steps than those of the {other.role} part "
        f"do (up to {most.max():g})."
    )
    return DataCheck(
        "data.lagged", "channels, by cluster", share, len(found.rows), examples(rows), sentence, _chance(usual)
    )


def _chance(usual: _Shapes) -> float:
    """The share of one half of the usual groups that lag, by what the other half shows."""
    half = np.arange(len(usual.mean)) % 2 == 0
    shape = usual.mean[half].mean(axis=0)
    most = np.abs(_moves(usual.mean[half], shape)).max(axis=0)
    return float((np.abs(_moves(usual.mean[~half], shape)) > most + 1).any(axis=1).mean())


def _pairs(channels: int, rng: np.random.Generator) -> Int64Array:
    pairs = np.stack(np.triu_indices(channels, k=1), axis=1).astype(np.int64)
    return pairs[drawn(len(pairs), MOST_PAIRS, rng)]


def _belonging(usual: _Shapes, chance: Float64Array) -> Int64Array:
    """Numbers of the pairs whose cross-correlation has a peak, at a steady place."""
    peak = np.abs(usual.mean.mean(axis=0)).max(axis=1)
    return np.flatnonzero((peak >= LEAST_CORRELATION) & (chance < STEADY_SHARE * (usual.mean.shape[2] - 1)))


def _shapes(series: NDArray[np.generic], data: DatasetRecord, pairs: Int64Array, rng: np.random.Generator) -> _Shapes:
    """Mean cross-correlation of the pairs [pairs, 2] in every cluster of `series` [rows, steps, channels].

    Lags go from -steps / 2 to steps / 2; a feature of the second channel that comes later lies at a lower lag.
    """
    rows = drawn(len(series), MOST_ROWS, rng)
    if series.shape[1] > MOST_STEPS:
        start = (series.shape[1] - MOST_STEPS) // 2
        series = series[:, start : start + MOST_STEPS]
    most = max(LEAST_GROUPS, MOST_VALUES // (len(pairs) * series.shape[1] + 1))
    code = clusters(data)[rows] % most if data.cluster_column else rng.permutation(len(rows)) % GROUPS
    group = np.asarray(np.unique(code, return_inverse=True)[1], np.int64).reshape(-1)
    steps, reach = series.shape[1], series.shape[1] // 2
    total = np.zeros((int(group.max(initial=-1)) + 1, len(pairs), 2 * reach + 1))
    for number, row in enumerate(rows):
        spectrum = np.fft.rfft(_standardized(series[row]), 2 * steps, axis=0)
        cross = spectrum[:, pairs[:, 0]] * np.conj(spectrum[:, pairs[:, 1]])
        correlation = np.fft.irfft(cross, 2 * steps, axis=0) / steps
        total[group[number]] += np.concatenate([correlation[-reach:], correlation[: reach + 1]]).T
    return _Shapes(total / np.bincount(group)[:, None, None], group, rows)


def _standardized(row: NDArray[np.generic]) -> Float64Array:
    """Channels of [steps, channels] with mean 0 and variance 1; one that does not vary is 0."""
    values = row.astype(np.float64)
    values = np.where(np.isfinite(values), values, 0.0)
    centred, spread = values - values.mean(axis=0), values.std(axis=0)
    return np.asarray(np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0))


def _moves(shapes: Float64Array, usual: Float64Array) -> Float64Array:
    """By how many steps each group's shape [groups, pairs, lags] is moved from the usual one [pairs, lags]."""
    lags = shapes.shape[2]
    spectrum = np.fft.rfft(shapes, 2 * lags, axis=2) * np.conj(np.fft.rfft(usual, 2 * lags, axis=1))
    fit = np.fft.irfft(spectrum, 2 * lags, axis=2)
    reach = lags // 4
    near = np.concatenate([fit[..., -reach:], fit[..., : reach + 1]], axis=2)
    return np.asarray(near.argmax(axis=2) - reach, np.float64)


def _stamps(test: DatasetRecord, other: DatasetPart) -> tuple[DataCheck, ...]:
    """Columns of time stamps: how late one is against another, held against the other part."""
    usual, names = other.record.numbers, _stamp_names(test, other)
    checks = []
    for index, one in enumerate(names):
        for two in names[index + 1 :]:
            ours, theirs = test.numbers[two] - test.numbers[one], usual[two] - usual[one]
            if len(theirs) >= LEAST_GROUPS and np.isfinite(theirs).any():
                checks.append(_late(one, two, ours, theirs, other))
    return tuple(checks)


def _stamp_names(test: DatasetRecord, other: DatasetPart) -> list[str]:
    """Columns of numbers, of both parts, whose names say that they are times."""
    return sorted(name for name in test.numbers.keys() & other.record.numbers.keys() if _TIME.search(name))


def _late(one: str, two: str, ours: Float64Array, theirs: Float64Array, other: DatasetPart) -> DataCheck:
    """Rows whose difference lies beyond the other part's by more than the width that it has there."""
    known = theirs[np.isfinite(theirs)]
    low, high = float(known.min()), float(known.max())
    late: BoolArray = (ours > high + (high - low)) | (ours < low - (high - low))
    usual = f"in the {other.role} part {two} comes {low:g} to {high:g} after {one}"
    sentence = f"{int(late.sum()):,} of {len(ours):,} rows lie far beyond what is usual: {usual}."
    return DataCheck("data.lagged", f"{two} after {one}", float(late.mean()), len(ours), examples(late), sentence)
