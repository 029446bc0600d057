"""Attacks that tell who was trained on from a model's outputs alone: chosen on one half of rows, measured on the other.

An attack gives every row a score, the higher the more likely a member, and guesses "member" above a threshold. Which
attack and which threshold do best is found on one half of the clusters; the other half, which chose nothing, then says
how well they do: otherwise the best of several would look good by chance. Advantage: share of members guessed to be
members less share of others guessed so (S. Yeom and others, CSF 2018).
"""

from dataclasses import dataclass

import numpy as np

from kit.quality.parts import BoolArray
from kit.records import Float64Array, Int64Array, MembershipRecord

_TINY = 1e-300
LEAST_CLASS_ROWS = 5
"""A class with fewer rows in the choosing half shares the offset of all."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says of rows: probabilities float64 [rows, classes], labels and clusters int64 [rows]."""

    probabilities: Float64Array
    labels: Int64Array
    cluster: Int64Array

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, rows: BoolArray) -> "Answers":
        """Those of some rows."""
        return Answers(self.probabilities[rows], self.labels[rows], self.cluster[rows])


@dataclass(frozen=True, slots=True)
class _Both:
    """Members first, then others: answers, which are members, and which half chooses (all bool [rows])."""

    probabilities: Float64Array
    labels: Int64Array
    member: BoolArray
    choosing: BoolArray


def audit(
    members: Answers,
    others: Answers,
    *,
    model_digest: str,
    data_digest: str,
    seed: int,
    reference: tuple[Answers, Answers] | None = None,
) -> MembershipRecord:
    """The attack that does best on one half, and its scores on the other half less its threshold: "member" is above 0.

    Args:
        members: rows that the model was trained on.
        others: rows that it was not trained on; rows of one cluster stay in one half.
        model_digest, data_digest: what is attacked, with which data.
        seed: draws the halves; equal seeds and clusters give equal halves, so that two models meet the same rows.
        reference: the same rows' answers by the model that this one was made from, where an attacker has both.

    Raises:
        ValueError: members or others have fewer than 2 clusters, so that there are no halves.
    """
    halves = [_half(answers.cluster, seed + index) for index, answers in enumerate((members, others))]
    both = _joined(members, others, np.concatenate(halves))
    scores = attacks(both)
    if reference is not None:
        before = _joined(*reference, np.concatenate(halves))
        moved = _log_odds(both) - _log_odds(before)
        scores |= {"gain over the reference": moved, "distance from the reference": -np.abs(moved)}
    chosen = {name: _best_threshold(values, both) for name, values in scores.items()}
    attack = max(chosen, key=lambda name: chosen[name][1])
    measured = scores[attack] - chosen[attack][0]
    keep_members, keep_others = ~halves[0], ~halves[1]
    return MembershipRecord(
        model_digest,
        data_digest,
        attack,
        measured[: len(members)][keep_members],
        measured[len(members) :][keep_others],
        members.cluster[keep_members],
        others.cluster[keep_others],
    )


def _half(cluster: Int64Array, seed: int) -> BoolArray:
    """Rows of a random half of the clusters."""
    names, code = np.unique(cluster, return_inverse=True)
    if len(names) < 2:
        raise ValueError("fewer than 2 clusters cannot be halved")
    chosen = np.zeros(len(names), dtype=np.bool_)
    chosen[np.random.default_rng(seed).permutation(len(names))[: len(names) // 2]] = True
    return np.asarray(chosen[code.reshape(-1)])


def _joined(members: Answers, others: Answers, choosing: BoolArray) -> _Both:
    return _Both(
        np.concatenate([members.probabilities, others.probabilities]),
        np.concatenate([members.labels, others.labels]),
        np.repeat([True, False], [len(members), len(others)]),
        choosing,
    )


def attacks(both: _Both) -> dict[str, Float64Array]:
    """Scores of every attack on one model's outputs: float64 [rows] by name.

    Loss, confidence, entropy and being right: S. Yeom and others (CSF 2018), A. Salem and others (NDSS 2019); with
    thresholds by class and the modified entropy: L. Song and P. Mittal (USENIX Security 2021).
    """
    odds, shares = _log_odds(both), both.probabilities
    logs = np.log(np.maximum(shares, _TINY))
    entropy = (shares * logs).sum(axis=1)
    ordered = np.sort(shares, axis=1)
    right = (shares.argmax(axis=1) == both.labels).astype(np.float64)
    each = {
        "being right": right,
        "loss": odds,
        "confidence": ordered[:, -1],
        "margin": ordered[:, -1] - ordered[:, -2],
        "entropy": entropy,
        "modified entropy": _modified_entropy(both),
    }
    by_class = {f"{name} by class": _by_class(each[name], both) for name in ("loss", "entropy", "modified entropy")}
    return each | by_class


def _of_label(values: Float64Array, labels: Int64Array) -> Float64Array:
    return np.asarray(values[np.arange(len(labels)), labels])


def _log_odds(both: _Both) -> Float64Array:
    """log p / (1 - p) of the true class, 1 - p as the sum of the others so that nothing is lost near 1."""
    true = _of_label(both.probabilities, both.labels)
    rest = both.probabilities.copy()
    rest[np.arange(len(true)), both.labels] = 0.0
    return np.asarray(np.log(np.maximum(true, _TINY)) - np.log(np.maximum(rest.sum(axis=1), _TINY)))


def _modified_entropy(both: _Both) -> Float64Array:
    """Less is more sure of the truth; negated, so that members score higher (Song and Mittal, equation 8)."""
    shares = np.clip(both.probabilities, 0.0, 1.0)
    rest = np.log(np.maximum(1.0 - shares, _TINY)) * shares
    true = _of_label(shares, both.labels)
    own = (1.0 - true) * np.log(np.maximum(true, _TINY))
    return np.asarray(own + rest.sum(axis=1) - _of_label(rest, both.labels))


def _by_class(values: Float64Array, both: _Both) -> Float64Array:
    """Values less the middle between members' and others' medians of the row's class, in the choosing half."""
    centred = values.copy()
    for label in np.unique(both.labels):
        of_class = both.labels == label
        sides = [values[of_class & both.choosing & (both.member == side)] for side in (True, False)]
        if min(len(side) for side in sides) < LEAST_CLASS_ROWS:
            sides = [values[both.choosing & (both.member == side)] for side in (True, False)]
        centred[of_class] -= 0.5 * (float(np.median(sides[0])) + float(np.median(sides[1])))
    return centred


def _best_threshold(values: Float64Array, both: _Both) -> tuple[float, float]:
    """The threshold above which "member" is guessed that does best in the choosing half, and its advantage there."""
    yes, no = (np.sort(values[both.choosing & (both.member == side)]) for side in (True, False))
    at = np.unique(np.concatenate([yes, no]))
    above_yes = 1.0 - np.searchsorted(yes, at, side="right") / len(yes)
    above_no = 1.0 - np.searchsorted(no, at, side="right") / len(no)
    best = int((above_yes - above_no).argmax())
    following = at[best + 1] if best + 1 < len(at) else at[best]
    return 0.5 * (float(at[best]) + float(following)), float(above_yes[best] - above_no[best])
