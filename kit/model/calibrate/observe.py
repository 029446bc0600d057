"""What chosen tensors of a model hold, row by row, while the runtime works on the next row."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import onnx

from kit.errors import ModelError
from kit.model.feeds import Feeds, as_feeds, feed_batches, row_count
from kit.model.rows import Array
from kit.model.session import quiet_runtime, reason_of
from kit.records import TensorInfo

_FLOATS = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}

_WORTH_A_THREAD_BYTES = 1 << 20
"""Rows of at least so much are looked at while the runtime works on the next; less is done sooner than handed over."""


class Observer:
    """A model whose float tensors `tensors` can be seen.

    Args:
        proto: the float model; it is not changed.
        tensors: names of inputs or of nodes' outputs in its main graph; those that hold no floats are not observed.
        threads: threads inside an operator.

    Raises:
        ModelError: the runtime refuses the model, it has no inputs, or there is no such tensor.
    """

    def __init__(self, proto: onnx.ModelProto, tensors: Sequence[str], *, threads: int = 1) -> None:
        wanted = dict.fromkeys(tensors)
        _check_known(proto, wanted)
        self._session = _session(_augmented(proto, wanted), threads)
        self.inputs = tuple(_info(value) for value in self._session.get_inputs())
        if not self.inputs:
            raise ModelError("the model has no inputs, so there are no rows to calibrate on")
        fed, made = ({value.name for value in values if value.type in _FLOATS} for values in self._interface())
        self._from_feed = [name for name in wanted if name in fed]
        self._from_run = [name for name in wanted if name in made and name not in fed]
        self.tensors = (*self._from_feed, *self._from_run)

    def _interface(self) -> tuple[Any, Any]:
        return self._session.get_inputs(), self._session.get_outputs()

    def rows(self, feeds: Iterable[Feeds]) -> Generator[dict[str, Array], None, None]:
        """The values of every observed tensor, one row at a time; valid until the next is asked for.

        Raises:
            ModelError: rows do not fit the model, or the runtime fails on one.
        """
        ahead: dict[str, Array] | None = None
        with ThreadPoolExecutor(1, "calibration") as worker:  # its thread starts with the first large row
            for number, feed in enumerate(self._single_rows(feeds)):
                large = ahead is not None and sum(values.nbytes for values in ahead.values()) > _WORTH_A_THREAD_BYTES
                running = worker.submit(self._run, feed, number) if large else None
                if ahead is not None:
                    yield ahead
                ahead = running.result() if running else self._run(feed, number)
            if ahead is not None:
                yield ahead

    def _single_rows(self, feeds: Iterable[Feeds]) -> Iterator[dict[str, Array]]:
        for batch in feeds:
            fitting = as_feeds(batch, self.inputs)
            for row in range(row_count(fitting)):
                yield from feed_batches({name: array[row : row + 1] for name, array in fitting.items()}, self.inputs)

    def _run(self, feed: Mapping[str, Array], number: int) -> dict[str, Array]:
        try:
            values = self._session.run(self._from_run, dict(feed)) if self._from_run else []
        except Exception as error:
            raise ModelError(f"the runtime fails: {reason_of(error)}", where=f"row {number}") from None
        seen = {name: feed[name] for name in self._from_feed}
        return seen | dict(zip(self._from_run, values, strict=True))


def _check_known(proto: onnx.ModelProto, wanted: Iterable[str]) -> None:
    known = {value.name for value in proto.graph.input} | {name for node in proto.graph.node for name in node.output}
    absent = next((name for name in wanted if name not in known), None)
    if absent is not None:
        raise ModelError(f"there is no tensor {absent!r} in the model's main graph to calibrate")


def _augmented(proto: onnx.ModelProto, wanted: Iterable[str]) -> bytes:
    """The model with those tensors as outputs too; the runtime infers their types."""
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    there = {value.name for value in (*model.graph.output, *model.graph.input)}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in there)
    data: bytes = model.SerializeToString()
    return data


def _session(data: bytes, threads: int) -> Any:
    onnxruntime = quiet_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
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
