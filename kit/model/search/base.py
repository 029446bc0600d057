"""What a search is given and asks for. Nothing here knows of profiles or devices: the pipeline supplies both."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from kit.model.feeds import Feeds
from kit.model.quantize import Variant
from kit.records import Arithmetic, Float32Array, Int64Array, SearchGap, SearchPoint


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A variant scored on every selection row under the target's arithmetic, and what it costs there.

    scores: float32 [rows, classes]. `cost` is what the search makes small, in `cost_unit` ("B", "s" or "J").
    """

    scores: Float32Array = field(repr=False)
    gaps: tuple[SearchGap, ...]
    cost: float
    cost_unit: str
    latency_s: float | None = None
    energy_j: float | None = None


class Objective(Protocol):
    """The requirements on some rows."""

    def __call__(self, decisions: Int64Array, rows: Int64Array) -> tuple[SearchGap, ...]:
        """Every gap of `decisions` [n] on the selection rows `rows` [n]; slices too small to tell are left out."""
        ...


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows that a search selects on. labels: int64 [rows]; reference: scores float32 [rows, classes] of the float
    model; strata: int64 [rows], equal for rows in the same named slices (a subset takes from each).
    """

    feeds: Feeds = field(repr=False)
    output: str
    labels: Int64Array
    reference: Float32Array = field(repr=False)
    strata: Int64Array
    objective: Objective


class Evaluate(Protocol):
    """Scores a real variant on every selection row (on the host, or on a device that is attached)."""

    def __call__(self, variant: Variant) -> Evaluation:
        """Raises EdgeproofError where it cannot be scored."""
        ...


@dataclass(frozen=True, slots=True)
class Budget:
    """What a search may spend: full evaluations, and seconds of wall clock (None: no limit)."""

    evaluations: int = 5
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The processor that the variant is for. `arithmetic`: exact or saturating int8 pair sums.

    `bases` are the recipes to start from: static int8, of which nodes may be kept in float, and fp16; empty for those
    that suit the arithmetic.
    """

    arithmetic: Arithmetic
    described: str
    bases: tuple[str, ...] = ()


Remember = Callable[[SearchPoint, bytes], None]
"""Called with each evaluated point and its variant's bytes: the pipeline keeps them, so that a search resumes."""
