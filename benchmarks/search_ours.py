"""Our search on a case of the benchmark, by the function that `edgeproof quantize --search` calls."""

import time

import numpy as np
import numpy.typing as npt

from benchmarks.search_cases import MAX_DROP, MAX_SLICE_DROP, Case, Labels, run, session
from benchmarks.search_peers import Found
from kit.digest import digest_bytes
from kit.model.load import load_onnx
from kit.model.quantize import Variant, VariantMaker
from kit.model.search import search
from kit.model.search.base import Budget, Evaluation, Selection, Target
from kit.records import SearchGap, SearchPoint

SEED = 0


def search_ours(case: Case) -> Found:
    """The chosen variant, or None where none holds on the rows to select on. The cost is the size of the file."""
    started_s = time.perf_counter()
    digest = digest_bytes(b"".join(rows.tobytes() for rows in case.calibration.values()))
    maker = VariantMaker(load_onnx(case.folder / "model.onnx"), case.calibration, digest)
    requirements = _Requirements(case)
    made: dict[str, bytes] = {}

    def remember(point: SearchPoint, data: bytes) -> None:
        made[point.variant.model.digest] = data

    target = Target("exact", "a processor with exact int8 sums")
    outcome = search(
        maker, requirements.selection(), requirements.evaluate, target, Budget(), SEED, lambda *_: None, remember, ()
    )
    chosen = None if outcome.chosen is None else made[outcome.points[outcome.chosen].variant.model.digest]
    scored = outcome.full_evaluations * int(case.selection.sum()) + outcome.partial_rows
    return Found(
        "ours", chosen, time.perf_counter() - started_s, outcome.full_evaluations, scored, maker.calls, outcome.why
    )


class _Requirements:
    """The benchmark's limits, as a search asks for them."""

    def __init__(self, case: Case) -> None:
        self._case, rows = case, case.selection
        self._feeds = {name: values[rows] for name, values in case.feeds.items()}
        self._reference = case.score(case.model)[rows]
        self._labels = case.labels[rows]
        self._right = self._reference.argmax(axis=1) == self._labels
        self._slices = {name: mask[rows] for name, mask in case.slices.items()}

    def selection(self) -> Selection:
        """The rows to select on."""
        strata = np.unique(np.stack(list(self._slices.values())), axis=1, return_inverse=True)[1]
        output = load_onnx(self._case.folder / "model.onnx").record.outputs[0].name
        labels, strata = self._labels, strata.reshape(-1).astype(np.int64)
        return Selection(self._feeds, output, labels, self._reference, strata, self.gaps)

    def gaps(self, decisions: Labels, rows: Labels) -> tuple[SearchGap, ...]:
        """Overall, and in every slice that has such rows."""
        lost = self._right[rows].astype(np.float64) - (decisions == self._labels[rows])
        overall = _gap("accuracy", "overall", lost, MAX_DROP)
        slices = [
            _gap("slices", name, lost[mask[rows]], MAX_SLICE_DROP)
            for name, mask in self._slices.items()
            if mask[rows].any()
        ]
        return (overall, *slices)

    def evaluate(self, variant: Variant) -> Evaluation:
        """The variant's scores in exact integer arithmetic, its gaps and its size."""
        scores = run(session(variant.data, exact=True), self._feeds)
        gaps = self.gaps(scores.argmax(axis=1), np.arange(len(scores)))
        return Evaluation(scores, gaps, float(len(variant.data)), "B")


def _gap(requirement: str, subject: str, lost: npt.NDArray[np.float64], allowed: float) -> SearchGap:
    spread = float(lost.std() / len(lost) ** 0.5)
    return SearchGap(requirement, subject, float(lost.mean()), allowed, "points", spread)
