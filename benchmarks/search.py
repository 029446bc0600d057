"""Mixed precision that holds overall and on every slice: our search beside NNCF, INC and plain static int8.

Every method gets the same calibration rows, the same rows to select on and the same limits, and is judged on other
rows, in exact integer arithmetic (ARM, VNNI), by the same code. A row's ours and peer are file sizes; its note says
whether the peer held its limits on the rows to confirm on, and a size is a goal only beside a peer that did.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import numpy as np
import onnx

from benchmarks.search_cases import MAX_DROP, MAX_SLICE_DROP, Case, Losses, losses, session
from benchmarks.search_peers import CACHE, PEERS, Found, plain_static, run_peer
from benchmarks.table import Row

GOAL_EVALUATIONS = 5.0
OURS = "ours"


@dataclass(frozen=True)
class Judged:
    """A method's model on the rows to confirm on; None where it gave no model."""

    found: Found
    losses: Losses | None
    products_in_float: int
    latency_us: float

    @property
    def holds(self) -> bool:
        """Whether there is a model, and all of its losses are within the limits."""
        return self.losses is not None and self.losses.hold

    @property
    def size_bytes(self) -> float | None:
        """Of the model file."""
        return None if self.found.model is None else float(len(self.found.model))


def run(*, quick: bool) -> list[Row]:
    """Rows of every case; `quick` takes one network, and the peers that need nothing installed."""
    return [row for case in cases(quick=quick) for row in rows_of(case.name, judge(case, methods(quick=quick)))]


def cases(*, quick: bool) -> Iterator[Case]:
    """The three networks of a smartwatch, the speech detector and two easy models, each made when its turn comes."""
    from benchmarks import search_easy, search_nets, search_speech

    folder = CACHE / "search"
    watches = search_nets.prepare(folder)
    if quick:
        yield watches[1]
        return
    yield from watches
    yield search_speech.prepare(folder / "silero", CACHE / "downloads")
    yield search_easy.prepare_digits(folder / "digits")
    yield search_easy.prepare_faces(folder / "faces")


Method = Callable[[Case], Found]


def methods(*, quick: bool) -> list[Method]:
    """Ours first."""
    from benchmarks.search_ours import search_ours

    plain = [partial(plain_static, per_channel=channel) for channel in (False, True)]
    peers = [partial(run_peer, name) for name in PEERS]
    return [search_ours, *plain, *([] if quick else peers)]


def judge(case: Case, chosen: list[Method]) -> list[Judged]:
    """Run every method on the case, then score and time what they gave."""
    found = []
    for method in chosen:
        found.append(_that_loads(method(case)))
        print(f"{case.name}: {found[-1].method}, {found[-1].seconds:.1f} s", file=sys.stderr)
    reference = case.score(case.model).argmax(axis=1)
    latencies = latencies_us([each.model for each in found if each.model is not None], case)
    judged = [_judged(case, each, reference, latencies) for each in found]
    for each in judged:
        print(f"{case.name}: {each.found.method}: {each.size_bytes or 0:.0f} B; {describe(each)}", file=sys.stderr)
    return judged


def _that_loads(found: Found) -> Found:
    """The same, without its model if onnxruntime refuses that."""
    try:
        if found.model is not None:
            session(found.model, exact=True)
    except Exception as error:
        return replace(found, model=None, note=f"onnxruntime refuses its model: {str(error)[:200]}")
    return found


def _judged(case: Case, found: Found, reference: np.ndarray, latencies: Iterator[float]) -> Judged:
    if found.model is None:
        return Judged(found, None, 0, 0.0)
    lost = losses(case, reference, case.score(found.model).argmax(axis=1), ~case.selection)
    return Judged(found, lost, products_in_float(onnx.load_model_from_string(found.model)), next(latencies))


def latencies_us(models: list[bytes], case: Case, rounds: int = 300) -> Iterator[float]:
    """Median time of one row on this host's own kernels, one thread, the models taking turns; µs, in order."""
    row = {name: values[:1] for name, values in case.feeds.items()}
    sessions = [session(model, exact=False) for model in models]
    times: list[list[float]] = [[] for _ in sessions]
    for _ in range(rounds):
        for running, taken in zip(sessions, times, strict=True):
            started_s = time.perf_counter()
            running.run(None, row)
            taken.append(1e6 * (time.perf_counter() - started_s))
    return iter([median(each) for each in times])


_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv", "FusedGemm", "FusedMatMul")
_MOVERS = (
    "Relu",
    "Clip",
    "Reshape",
    "Transpose",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Pad",
    "MaxPool",
    "Slice",
    "Split",
)


def products_in_float(model: onnx.ModelProto) -> int:
    """Convolutions and matrix products that do not get both factors from integers."""
    producers = {name: node for node in model.graph.node for name in node.output}

    def from_integers(name: str) -> bool:
        node = producers.get(name)
        while node is not None and node.op_type in _MOVERS:
            node = producers.get(node.input[0])
        return node is not None and node.op_type == "DequantizeLinear"

    products = [node for node in model.graph.node if node.op_type in _PRODUCTS]
    return sum(not all(from_integers(name) for name in node.input[:2]) for node in products)


def rows_of(case: str, judged: list[Judged]) -> Iterator[Row]:
    """Ours against its goals, then beside each peer."""
    ours, *peers = judged
    points = None if ours.losses is None else 100 * ours.losses.overall
    worst = None if ours.losses is None else 100 * ours.losses.worst[1]
    evaluations = float(ours.found.full_evaluations) if ours.found.model is not None else None
    told = describe(ours)
    yield Row(f"{case}: full evaluations", evaluations, "", None, "", None, GOAL_EVALUATIONS, note=told)
    yield Row(f"{case}: points lost overall", points, "", None, "pt", None, 100 * MAX_DROP)
    yield Row(f"{case}: points lost in the worst slice", worst, "", None, "pt", None, 100 * MAX_SLICE_DROP)
    for peer in peers:
        goal = 1.0 if peer.holds else None
        name, size = peer.found.method, peer.size_bytes
        yield Row(f"{case}: bytes", ours.size_bytes, name, size, "B", goal, note=describe(peer))


def describe(judged: Judged) -> str:
    """One line: does it hold, what it loses where, what it took, what it costs."""
    found = judged.found
    spent = (
        f"{found.full_evaluations} full evaluations, {found.rows_scored} rows scored, "
        f"{found.quantizer_calls} quantizer calls, {found.seconds:.1f} s"
    )
    if judged.losses is None:
        return "; ".join(filter(None, ["no model", spent, found.note]))
    slice_name, worst = judged.losses.worst
    lost = f"loses {100 * judged.losses.overall:.2f} points, {100 * worst:.1f} where {slice_name}"
    cost = f"{judged.products_in_float} products in float, {judged.latency_us:.0f} µs"
    state = "holds" if judged.holds else "DOES NOT HOLD its limits"
    return "; ".join(filter(None, [state, lost, spent, cost, found.note]))
