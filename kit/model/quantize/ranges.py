"""Ranges of a prepared model's tensors, for every method that is asked for, in one pass over the rows."""

from collections.abc import Sequence

import numpy as np

from kit.errors import ConversionError
from kit.model.calibrate.base import Method, Ranges
from kit.model.feeds import Feeds, feed_batches, row_count
from kit.model.quantize.base import Prepared
from kit.model.session import HostSession, Progress


def find_ranges(
    prepared: Prepared, tensors: Sequence[str], feeds: Feeds, methods: Sequence[Method], progress: Progress | None
) -> dict[Method, Ranges]:
    """By method: the range of each of `tensors` over all rows."""
    try:
        from kit.model.calibrate import calibrate
    except ImportError:
        return _minmax(prepared, tensors, feeds, methods, progress)
    return dict(calibrate(prepared.proto, tensors, feeds, methods, progress))


def _minmax(
    prepared: Prepared, tensors: Sequence[str], feeds: Feeds, methods: Sequence[Method], progress: Progress | None
) -> dict[Method, Ranges]:
    if [each.name for each in methods] != ["minmax"]:
        raise ConversionError(f"calibration by {methods[0].name!r} is not made yet", where=prepared.where)
    proto = type(prepared.proto).FromString(prepared.proto.SerializeToString())
    values = {v.name: v for v in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output)}
    present = {v.name for v in proto.graph.output}
    proto.graph.output.extend(values[name] for name in tensors if name not in present)
    session = HostSession(proto.SerializeToString())
    lows: dict[str, float] = {}
    highs: dict[str, float] = {}
    done = 0
    for batch in feed_batches(feeds, prepared.inputs):
        out = session._run(list(tensors), batch, f"row {done}")
        for name, value in zip(tensors, out, strict=True):
            if value.size:
                lows[name] = min(lows.get(name, np.inf), float(value.min()))
                highs[name] = max(highs.get(name, -np.inf), float(value.max()))
            if value.size and not np.isfinite(value).all():
                lows[name] = np.nan
        done += max(1, len(next(iter(batch.values()))))
        if progress is not None:
            progress(min(done, row_count(feeds)), row_count(feeds))
    return {methods[0]: {name: (lows[name], highs[name]) for name in lows}}
