"""Find the cheapest mixed precision that meets requirements on every slice, with few full evaluations."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

from kit.model.quantize import VariantMaker
from kit.model.search.base import Budget, Evaluate, Evaluation, Objective, Remember, Selection, Target
from kit.model.search.front import choose, pareto_front
from kit.model.search.strategy import Search
from kit.model.search.treatment import everywhere_bases
from kit.records import SearchPoint

__all__ = [
    "Budget",
    "Evaluate",
    "Evaluation",
    "Objective",
    "Remember",
    "SearchOutcome",
    "Selection",
    "Target",
    "everywhere_bases",
    "search",
]

Stopped = Literal["met", "budget", "exhausted", "interrupted"]


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What a search found; the fields are those of `SearchRecord`."""

    points: tuple[SearchPoint, ...]
    front: tuple[int, ...]
    chosen: int | None
    why: str
    full_evaluations: int
    partial_rows: int
    quantizer_calls: int
    seconds: float
    stopped: Stopped


def _nobody(point: SearchPoint, data: bytes) -> None:
    """Remembers nothing."""


def _silent(phase: str, done: int, total: int) -> None:
    """Tells nothing."""


def search(
    maker: VariantMaker,
    selection: Selection,
    evaluate: Evaluate,
    target: Target,
    budget: Budget,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
    remember: Remember = _nobody,
    known: tuple[SearchPoint, ...] = (),
) -> SearchOutcome:
    """The points that a search evaluated, their front, and the chosen one.

    The same arguments give the same points. An interrupt is raised on, after every finished point was remembered.

    Args:
        maker: makes variants of the reference, with calibration rows.
        selection: the rows to select on.
        evaluate: scores a variant on all of them.
        target: its arithmetic decides which recipes are tried.
        budget: full evaluations, known points among them, and seconds.
        seed: of the rows that estimates are made on.
        progress: called with the phase, how much of it is done, and how much there is.
        remember: called with every point that is evaluated, and its variant's bytes.
        known: points of an earlier run, which are not evaluated again.

    Raises:
        EdgeproofError: a variant cannot be made or scored.
    """
    started_s, calls = time.monotonic(), maker.calls
    run = Search(
        maker=maker,
        selection=selection,
        evaluate=evaluate,
        target=target,
        budget=budget,
        seed=seed,
        told=progress or _silent,
        remember=remember,
        known={point.variant.model.digest: point for point in known},
    )
    stopped = run.run()
    chosen, why = choose(run.points)
    why += f"; {run.refused}" if run.refused and not run.grounds else ""
    return SearchOutcome(
        points=tuple(run.points),
        front=pareto_front(run.points),
        chosen=chosen,
        why=why,
        full_evaluations=len(run.points),
        partial_rows=sum(ground.rows_run for ground in run.grounds) + run.estimator.rows_run,
        quantizer_calls=maker.calls - calls,
        seconds=time.monotonic() - started_s,
        stopped=cast(Stopped, stopped),
    )
