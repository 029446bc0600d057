"""How many measurements it takes before a figure can have a bound at all."""

import math


def minimum_count(probability: float, confidence: float) -> int:
    """Fewest independent samples whose largest bounds the quantile: 1 - p^n >= confidence (p99 at 95 %: 299).

    Source: H. A. David and H. N. Nagaraja, Order Statistics, 3rd ed. (2003), section 7.1, at the largest rank.
    """
    count = math.ceil(math.log1p(-confidence) / math.log(probability))
    return count if 1.0 - probability**count >= confidence else count + 1
