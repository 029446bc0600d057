"""Explanations of a run: the reference against each variant, on this host in the device's arithmetic."""

import time

from kit.model.explain import Budget, explain, features_of
from kit.model.session import HostSession, Progress
from kit.records import ExplanationRecord
from kit.spec.types import Dataset

SECONDS = 60.0
"""About how long a variant's explanation may take; a slower model is explained on fewer rows."""

_PACE_ROWS = 64


def explanation(
    reference: bytes, variant: bytes, digest: str, dataset: Dataset, seed: int, progress: Progress | None = None
) -> ExplanationRecord | None:
    """What reference and variant (ONNX files) look at on the test part; None for a task that is not explained.

    int8 sums are exact, as on ARM and on x86 with VNNI. Raises ModelError where a model fails on a row.
    """
    if dataset.task != "classification":
        return None
    sessions = HostSession(reference), HostSession(variant, exact=True)
    pace_s = max(_pace_s(session, dataset) for session in sessions)
    budget = Budget().within(pace_s, SECONDS, len(features_of(dataset.test.inputs)))
    return explain(
        *sessions,
        dataset.test,
        model_digest=digest,
        output=dataset.output_name,
        seed=seed,
        budget=budget,
        progress=progress,
    )


def _pace_s(session: HostSession, dataset: Dataset) -> float:
    rows = dataset.test.inputs[:_PACE_ROWS]
    start_s = time.perf_counter()
    session.predict(rows, dataset.output_name)
    return (time.perf_counter() - start_s) / len(rows)
