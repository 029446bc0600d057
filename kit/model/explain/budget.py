"""How often models may be run to explain them."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of an explanation.

    repeats: disjoint sets of clusters on each of which importances are found anew, of at most `rows` rows each.
    local_rows rows are attributed, each by `orders` orders of the features. At most `flipped` rows whose decision
    changed are looked at, each with at most `trials` inputs tried.
    """

    repeats: int = 16
    rows: int = 120
    local_rows: int = 10
    orders: int = 20
    flipped: int = 10
    trials: int = 4000

    def within(self, row_s: float, seconds: float, features: int) -> "Budget":
        """The budget cut down, all parts alike, so that a model of `row_s` a row is explained in about `seconds`.

        At least 20 rows a repeat, one row to attribute by two orders and one flipped row are kept.
        """
        importance = 2 * self.repeats * self.rows * features
        local, flips = 2 * self.local_rows * self.orders * (features + 1), self.flipped * self.trials
        share = min(1.0, seconds / max(1e-9, row_s * (importance + local + flips)))
        return replace(
            self,
            rows=max(20, int(self.rows * share)),
            local_rows=max(1, int(self.local_rows * share**0.5)),
            orders=max(2, int(self.orders * share**0.5)),
            flipped=max(1, int(self.flipped * share**0.5)),
            trials=max(200, int(self.trials * share**0.5)),
        )
