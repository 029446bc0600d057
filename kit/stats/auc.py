"""The area under the ROC curve and its parts a row: placements of scores among those of the other class."""

import numpy as np

from kit.records import Float64Array


def placements(scores: Float64Array, others: Float64Array, weights: Float64Array) -> Float64Array:
    """Share of `others` [m] that each of `scores` [n] is above, ties by half; weights [m] of the others: float64 [n].

    The mean over the positives of their placements among the negatives is the area. Source: E. R. DeLong and others,
    Biometrics 44 (1988) 837-845; with ranks, X. Sun and W. Xu, IEEE Signal Processing Letters 21 (2014).
    """
    order = np.argsort(others, kind="stable")
    ordered, mass = others[order], np.concatenate([[0.0], np.cumsum(weights[order])])
    below = mass[np.searchsorted(ordered, scores, side="left")]
    up_to = mass[np.searchsorted(ordered, scores, side="right")]
    return np.asarray((below + up_to) / (2.0 * mass[-1]))


def area_parts(scores: Float64Array, positive: np.ndarray, weights: Float64Array) -> tuple[float, Float64Array]:
    """The area, and each row's placement float64 [rows]: of a positive the share of negatives below it, of a negative
    the share of positives above it. `positive` bool [rows], both kinds there; weights float64 [rows]."""
    parts = np.empty(len(scores))
    yes, no = scores[positive], scores[~positive]
    parts[positive] = placements(yes, no, weights[~positive])
    parts[~positive] = 1.0 - placements(no, yes, weights[positive])
    return float(np.average(parts[positive], weights=weights[positive])), parts
