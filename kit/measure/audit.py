"""Whether what is timed is what is scored: outputs kept while timing, and one row again and again against many.

After the compliance tests of MLPerf Inference (TEST01: accuracy in performance mode; TEST04: no cached answers).
"""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kit.device.base import Device
from kit.measure.obtained import obtained_on
from kit.records import AuditRecord, Int64Array
from kit.spec.types import DeviceSpec, MeasurePlan

ROUNDS, COMPARED = 16, 16
LEAST_A_ROUND, MOST_A_ROUND = 3, 5000


def audit(
    device: Device,
    spec: DeviceSpec,
    digest: str,
    inputs: NDArray[np.generic],
    plan: MeasurePlan,
    *,
    output: str | None = None,
    is_decided: Callable[[AuditRecord], bool] | None = None,
    most_s: float = 0.0,
) -> AuditRecord:
    """Time inputs [rows, *shape] as they are, score what was kept meanwhile, then time both ways in turn.

    Both ways run in the same session, in the order ABBA, so that a drift favours neither; 16 rounds (8 of a slow model)
    last about `plan.latency_min_s`. While `is_decided` says no, as many rounds again are taken, where `most_s` from the
    beginning allows for them. `output` names the scores for a device that does not say which output it kept. A device
    that keeps none leaves `rows` empty. Raises DeviceError or LinkError from the device.
    """
    begun_s, round_s = time.monotonic(), plan.latency_min_s / (2 * ROUNDS)
    spread = np.linspace(0, len(inputs) - 1, min(len(inputs), COMPARED)).astype(np.int64)
    first = device.time_inferences(digest, inputs[spread], count=2 * COMPARED, min_s=round_s)
    fitting = 1e9 * round_s / max(1.0, float(np.median(first.samples_ns)))
    count = int(np.clip(fitting, LEAST_A_ROUND, MOST_A_ROUND))
    rounds = ROUNDS if fitting >= LEAST_A_ROUND else ROUNDS // 2

    def taken(rows: NDArray[np.generic]) -> Int64Array:
        return device.time_inferences(digest, rows, count=count, min_s=0.0, fresh=False).samples_ns

    compared, timed_scores = np.empty(0, np.int64), np.empty((0, 0), np.float32)
    if first.sampled_rows is not None and first.sampled_scores is not None:
        compared, timed_scores = spread[first.sampled_rows], first.sampled_scores
    scored = timed_scores
    if len(compared):
        scored = device.predict(digest, inputs[compared], output=first.sampled_output or output, exact=False)
    emulated = obtained_on(device.identify().emulated)
    varied, repeated = list[Int64Array](), list[Int64Array]()
    while True:
        for turn in range(max(rounds, len(varied))):
            pair = [(varied, inputs), (repeated, inputs[:1])]
            for kept, rows in pair if turn % 2 == 0 else pair[::-1]:
                kept.append(taken(rows))
        record = AuditRecord(
            variant_digest=digest,
            rows=compared,
            timed_scores=timed_scores,
            scored=scored,
            varied_ns=np.concatenate(varied),
            repeated_ns=np.concatenate(repeated),
            obtained=emulated if spec.timing_is_real else "emulated",
            rounds=len(varied),
        )
        took_s = time.monotonic() - begun_s
        if is_decided is None or is_decided(record) or 2 * took_s > most_s:
            return record
