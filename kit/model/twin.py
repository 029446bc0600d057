"""The host twin: the same file on this host, in the arithmetic that the device computes in, as far as that is known."""

import numpy as np

from kit.digest import digest_bytes
from kit.model.predict import predict_saturating
from kit.model.session import HostSession, Progress
from kit.records import PredictionRecord
from kit.spec.types import Dataset


def host_twin(
    data: bytes, dataset: Dataset, *, saturating: bool, progress: Progress | None = None
) -> PredictionRecord | None:
    """Scores and decisions of a file on every row of the test part, by this host; nothing is sent to a device.

    Args:
        data: the variant's ONNX file, as it is deployed.
        saturating: the device adds pairs of int8 products in 16 bits (x86 without VNNI, see `kit.pipeline.target`)
            and the file's products can exceed them; else sums are exact, as on ARM and on x86 with VNNI.

    Returns:
        None where saturation is asked for and an operator of the file is not modelled. How far the device agrees with
        its twin is not known from here: it is measured, on the rows that are run on both.

    Raises:
        ModelError: the runtime refuses the model or fails on a row.
    """
    if saturating:
        return predict_saturating(data, dataset)
    scores = HostSession(data, exact=True).predict(dataset.test.inputs, dataset.output_name, progress)
    return PredictionRecord(
        model_digest=digest_bytes(data),
        data_digest=dataset.test.record.data_digest,
        where="host",
        arithmetic="exact",
        scores=scores,
        decisions=scores.argmax(axis=1).astype(np.int64),
        obtained="computed",
    )
