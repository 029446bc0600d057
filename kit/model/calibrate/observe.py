"""What chosen tensors of a model hold, row by row, while the runtime works on the next row."""

import os
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx

from kit.errors import ModelError
from kit.model.feeds import Feeds, as_feeds, feed_batches, row_count
from kit.model.rows import Array
from kit.model.session import quiet_runtime, reason_of
from kit.records import TensorInfo

_FLOATS = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}

_WORTH_A_THREAD_S = 1e-3
"""Rows that take longer run in threads of their own; shorter ones are done sooner than handed over."""

_MOST_THREADS = 4
"""Rows whose extremes are found in the graph hold little: several run at once."""

_REDUCTIONS = ("ReduceMin", "ReduceMax", "ReduceSum")
"""A row's extremes, and a sum that shows what the runtime's extremes may pass over: NaN."""


class Observer:
    """A model whose float tensors `tensors` can be seen.

    Args:
        proto: the float model; it is not changed.
        tensors: names of inputs or of nodes' outputs in its main graph; those that hold no floats are not observed.
        extremes: lowest and highest values are enough: what can be reduced to them in the graph is.

    Raises:
        ModelError: the runtime refuses the model, it has no inputs, or there is no such tensor.
    """

    def __init__(self, proto: onnx.ModelProto, tensors: Sequence[str], *, extremes: bool = False) -> None:
        wanted = dict.fromkeys(tensors)
        _check_known(proto, wanted)
        self._reduced = _reducible(proto, wanted) if extremes else []
        whole = [name for name in wanted if name not in self._reduced]
        self._session = _session(_augmented(proto, whole, self._reduced))
        self.inputs = tuple(_info(value) for value in self._session.get_inputs())
        if not self.inputs:
            raise ModelError("the model has no inputs, so there are no rows to calibrate on")
        fed, made = ({value.name for value in values if value.type in _FLOATS} for values in self._interface())
        self._from_feed = [name for name in wanted if name in fed]
        self._from_run = [name for name in whole if name in made and name not in fed]
        self._asked = [*self._from_run, *(_reduction(name, kind) for name in self._reduced for kind in _REDUCTIONS)]
        self._threads = min(_MOST_THREADS, len(os.sched_getaffinity(0))) if self._reduced and not self._from_run else 1
        self.tensors = (*self._from_feed, *self._from_run, *self._reduced)

    def _interface(self) -> tuple[Any, Any]:
        return self._session.get_inputs(), self._session.get_outputs()

    def rows(self, feeds: Iterable[Feeds]) -> Generator[dict[str, Array], None, None]:
        """The values of every observed tensor, one row at a time in their order; valid until the next is asked for.

        Of a tensor that is reduced in the graph: its lowest, its highest, and whichever value is not finite.

        Raises:
            ModelError: rows do not fit the model, or the runtime fails on one.
        """
        ahead: deque[Future[dict[str, Array]]] = deque()
        took_s = 0.0
        workers = ThreadPoolExecutor(self._threads, "calibration")  # no thread starts before it is given work
        try:
            for number, feed in enumerate(self._single_rows(feeds)):
                if took_s < _WORTH_A_THREAD_S:
                    started_s = time.perf_counter()
                    row = self._run(feed, number)
                    took_s = time.perf_counter() - started_s if number else 0.0  # the first run prepares the runtime
                    yield row
                    continue
                ahead.append(workers.submit(self._run, feed, number))
                if len(ahead) > self._threads:
                    yield (row := ahead.popleft().result())
                    row.clear()  # before another row is begun
            while ahead:
                yield (row := ahead.popleft().result())
                row.clear()
        finally:
            workers.shutdown(cancel_futures=True)

    def _single_rows(self, feeds: Iterable[Feeds]) -> Iterator[dict[str, Array]]:
        for batch in feeds:
            fitting = as_feeds(batch, self.inputs)
            for row in range(row_count(fitting)):
                yield from feed_batches({name: array[row : row + 1] for name, array in fitting.items()}, self.inputs)

    def _run(self, feed: Mapping[str, Array], number: int) -> dict[str, Array]:
        try:
            values = self._session.run(self._asked, dict(feed)) if self._asked else []
        except Exception as error:
            raise ModelError(f"the runtime fails: {reason_of(error)}", where=f"row {number}") from None
        whole = len(self._from_run)
        seen = {name: feed[name] for name in self._from_feed} | dict(zip(self._from_run, values[:whole], strict=True))
        found = np.array(values[whole:], dtype=np.float32).reshape(-1, len(_REDUCTIONS))
        return seen | {name: _extremes(*each) for name, each in zip(self._reduced, found, strict=True)}


def _check_known(proto: onnx.ModelProto, wanted: Iterable[str]) -> None:
    known = {value.name for value in proto.graph.input} | {name for node in proto.graph.node for name in node.output}
    absent = next((name for name in wanted if name not in known), None)
    if absent is not None:
        raise ModelError(f"there is no tensor {absent!r} in the model's main graph to calibrate")


def _reducible(proto: onnx.ModelProto, wanted: Iterable[str]) -> list[str]:
    """Those that are known to hold at least one float32 for each row."""
    sizes = {dimension.dim_param for value in proto.graph.input for dimension in value.type.tensor_type.shape.dim}

    def holds(value: onnx.ValueInfoProto) -> bool:
        tensor = value.type.tensor_type
        known = all(each.dim_value > 0 or (each.dim_param and each.dim_param in sizes) for each in tensor.shape.dim)
        return bool(tensor.elem_type == onnx.TensorProto.FLOAT and tensor.HasField("shape") and known)

    holding = {value.name for value in (*proto.graph.value_info, *proto.graph.output) if holds(value)}
    made = {name for node in proto.graph.node for name in node.output}
    return [name for name in wanted if name in holding & made]


def _reduction(tensor: str, kind: str) -> str:
    return f"{tensor}/edgeproof/{kind}"


def _extremes(lowest: np.float32, highest: np.float32, total: np.float32) -> Array:
    return np.array([lowest, highest, total if np.isnan(total) else highest], dtype=np.float32)


def _augmented(proto: onnx.ModelProto, wanted: Iterable[str], reduced: Iterable[str]) -> bytes:
    """The model with those tensors, or their reductions, as outputs too; the runtime infers their types."""
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    there = {value.name for value in (*model.graph.output, *model.graph.input)}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in there)
    for name in reduced:
        for kind in _REDUCTIONS:
            model.graph.node.append(onnx.helper.make_node(kind, [name], [_reduction(name, kind)], keepdims=0))
            model.graph.output.append(onnx.ValueInfoProto(name=_reduction(name, kind)))
    data: bytes = model.SerializeToString()
    return data


def _session(data: bytes) -> Any:
    onnxruntime = quiet_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # rows run side by side instead
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # every node as written: the optimizer's kernels round otherwise, and near ties of thresholds would fall elsewhere
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(
            f"onnxruntime {onnxruntime.__version__} cannot calibrate the model: {reason_of(error)}",
            next_step="use a recipe that needs no calibration, or export the model again with an older opset",
        ) from None


def _info(value: Any) -> TensorInfo:
    dtype = _FLOATS.get(value.type, value.type.removeprefix("tensor(").removesuffix(")"))
    return TensorInfo(value.name, dtype, tuple(size if isinstance(size, int) else size or "?" for size in value.shape))
