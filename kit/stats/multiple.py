"""Several claims at once: Bonferroni for the best of several candidates, Holm for the worst of several slices."""

from collections.abc import Sequence


def candidate_confidence(confidence: float, candidates: int) -> float:
    """Confidence that each of `candidates` claims needs so that picking one that passes keeps `confidence`.

    Bonferroni's inequality: 1 - (1 - confidence) / candidates.
    """
    return 1.0 - (1.0 - confidence) / max(1, candidates)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given; rejecting those at most alpha errs anywhere at most alpha of the time.

    Source: S. Holm, Scandinavian J. of Statistics 6 (1979) 65-70.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
