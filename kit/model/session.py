"""Run a model on this host, on rows: one place for session options, dtypes, batches and the choice of output."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from kit.errors import ModelError
from kit.interface import choose_any_output, choose_output
from kit.model.feeds import Feeds, as_feeds, batch_rows, feed_batches, joined_rows, row_count
from kit.model.rows import Array, as_model_rows, batches
from kit.records import Float32Array, Int64Array, TensorInfo

__all__ = ["Array", "HostSession", "Progress", "as_model_rows", "quiet_runtime", "reason_of", "score_output"]

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""

_CONFIG_EXACT = "session.x64quantprecision"
"""Session option of onnxruntime: int8 products without 16-bit saturation on x86, equal to ARM's."""


def quiet_runtime() -> Any:
    """onnxruntime, with its native log off: what fails is raised, and said once."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    return onnxruntime


_SIGNATURE = r"[\w:<].{0,600}?\)(?: const)?(?: \[with [^\]]*\])? "
_NOISE = re.compile(rf"\[ONNXRuntimeError\] : \d+ : \w+ : |/\S+\.(?:cc|cpp|cxx|h|hpp):\d+ (?:{_SIGNATURE})?")
"""Error codes, and places in the runtime's own source, which say nothing about the model."""


def reason_of(error: Exception) -> str:
    """What a runtime's message says, as one line of at most 300 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return _NOISE.sub("", text)[:300]


class HostSession:
    """A model on onnxruntime's CPU provider.

    Args:
        data: a serialized ONNX model.
        threads: threads inside an operator.
        exact: integer sums without saturation, what ARM and VNNI compute; False is the processor's default.

    Raises:
        ModelError: the runtime refuses the model.
    """

    def __init__(self, data: bytes, *, threads: int = 1, exact: bool = False) -> None:
        try:
            self._session = _start_exactly(data, threads) if exact else _start(data, threads, exact=False)
            self.inputs = tuple(_info(value) for value in self._session.get_inputs())
            self.outputs = tuple(_info(value) for value in self._session.get_outputs())
        except Exception as error:
            raise ModelError(
                f"onnxruntime {quiet_runtime().__version__} cannot load the model: {reason_of(error)}",
                next_step="export it again, with an older opset if the message speaks of one",
            ) from None

    def run(self, feeds: Array | Feeds, progress: Progress | None = None, *, flat: bool = False) -> dict[str, Array]:
        """Every output of every row, any number of inputs and outputs.

        Args:
            feeds: rows by input name, as `as_feeds` takes them; one array goes to the only input.
            progress: called after every batch.
            flat: give each output's values one after another, [values], so that its shape may differ between rows.

        Returns:
            By output name: [rows, *shape].

        Raises:
            ModelError: rows do not fit, the runtime fails on one, or an output has other shapes for some rows.
        """
        rows = as_feeds(feeds, self.inputs)
        total, counts = row_count(rows), list[int]()
        parts: list[list[Array]] = []
        for batch in feed_batches(rows, self.inputs):
            counts.append(batch_rows(batch, self.inputs))
            done = sum(counts)
            parts.append(self._run(None, batch, _rows(done - counts[-1], counts[-1])))
            if progress is not None:
                progress(done, total)
        columns = zip(*parts, strict=True)
        if flat:
            return {
                each.name: np.concatenate([np.ravel(p) for p in c])
                for each, c in zip(self.outputs, columns, strict=True)
            }
        return {each.name: joined_rows(c, counts, each) for each, c in zip(self.outputs, columns, strict=True)}

    def predict(
        self, inputs: Array, output: str | None = None, progress: Progress | None = None, *, one_by_one: bool = False
    ) -> Float32Array:
        """Scores of every row: float32 [rows, classes].

        Args:
            inputs: [rows, *shape] of the model's dtype, or one that converts without loss.
            output: name of the output that holds the scores; None takes the single float output of rank 2.
            progress: called after every batch.
            one_by_one: a batch is one row, as on a device: rows then cannot influence each other.

        Raises:
            ModelError: more than one input, shape or dtype do not fit, the output is ambiguous, or the runtime fails.
        """
        if len(self.inputs) != 1:
            names = ", ".join(f"{value.name} {list(value.shape)}" for value in self.inputs)
            raise ModelError(
                f"the model has {len(self.inputs)} inputs ({names}); only models with one are scored on rows",
                next_step="export it with the other inputs as constants",
            )
        rows = as_model_rows(inputs, self.inputs[0])
        chosen = score_output(self.outputs, output)
        parts: list[Float32Array] = []
        done = 0
        for batch in batches(rows, self.inputs[0]) if not one_by_one else np.split(rows, len(rows)):
            parts.append(self._scores(batch, chosen, done))
            done += len(batch)
            if progress is not None:
                progress(done, len(rows))
        if len({part.shape[1] for part in parts}) > 1:
            raise ModelError(
                f"output {chosen!r} has another number of scores for some rows",
                next_step="name the output that holds the scores of the classes",
            )
        return np.concatenate(parts)

    def every_output(
        self, inputs: Array, output: str | None = None, progress: Progress | None = None
    ) -> tuple[Float32Array, Int64Array]:
        """Every value of one output of any shape, row by row as on a device: float32 [sum of counts], int64 [rows].

        Args:
            inputs, progress: as in `predict`.
            output: its name; None takes the only output, or the scores.

        Raises:
            ModelError: shape or dtype do not fit, the output is ambiguous or no tensor of numbers, the runtime fails.
        """
        if len(self.inputs) != 1:
            raise ModelError(f"the model has {len(self.inputs)} inputs; only models with one are scored on rows")
        rows, names = as_model_rows(inputs, self.inputs[0]), [each.name for each in self.outputs]
        ranks = [len(each.shape) for each in self.outputs]
        chosen = names[choose_any_output(names, [each.dtype for each in self.outputs], ranks, output)]
        found = list[Float32Array]()
        for row in range(len(rows)):
            (value,) = self._run([chosen], {self.inputs[0].name: rows[row : row + 1]}, f"row {row}")
            if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
                raise ModelError(f"output {chosen!r} is no tensor of numbers", where=f"row {row}")
            found.append(value.astype(np.float32).reshape(-1))
            if progress is not None:
                progress(row + 1, len(rows))
        return np.concatenate(found), np.array([len(each) for each in found], np.int64)

    def _scores(self, batch: Array, output: str, first_row: int) -> Float32Array:
        (scores,) = self._run([output], {self.inputs[0].name: batch}, _rows(first_row, len(batch)))
        if not isinstance(scores, np.ndarray) or scores.ndim != 2 or len(scores) != len(batch):
            got = getattr(scores, "shape", type(scores).__name__)
            raise ModelError(
                f"output {output!r} gives {got} for {len(batch)} rows, not one row of scores for each",
                next_step="name the output that holds the scores of the classes",
            )
        finite = np.isfinite(scores).all(axis=1)
        if not finite.all():
            row = first_row + int(np.argmin(finite))
            raise ModelError(
                f"output {output!r} is not finite", where=f"row {row}", next_step="look at this row's inputs"
            )
        return scores.astype(np.float32, copy=False)

    def _run(self, outputs: list[str] | None, feed: Feeds, where: str) -> list[Any]:
        try:
            values: list[Any] = self._session.run(outputs, dict(feed))
        except Exception as error:
            raise ModelError(
                f"the runtime fails: {reason_of(error)}", where=where, next_step="look at the operator that it names"
            ) from None
        return values


def _start(data: bytes, threads: int, exact: bool) -> Any:
    onnxruntime = quiet_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry(_CONFIG_EXACT, "1" if exact else "0")
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _start_exactly(data: bytes, threads: int) -> Any:
    """The exact x86 kernels refuse int8 weights that two products share: each then gets its own, in memory."""
    try:
        return _start(data, threads, exact=True)
    except Exception:
        import onnx

        from kit.model.graph import unshare_weights  # with onnx, which few sessions need

        model = onnx.ModelProto.FromString(data)
        unshare_weights(model.graph)
        return _start(model.SerializeToString(), threads, exact=True)


def _rows(first: int, count: int) -> str:
    return f"rows {first} to {first + count - 1}" if count > 1 else f"row {first}"


def runs_exactly(data: bytes) -> bool:
    """Whether the runtime loads the model as it is with exact integer sums, which its x86 kernels refuse some."""
    try:
        _start(data, 1, exact=True)
    except Exception:
        return False
    return True


_DTYPES = {"float": "float32", "double": "float64"}


def _info(value: Any) -> TensorInfo:
    name = value.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else size or "?" for size in value.shape)
    return TensorInfo(value.name, _DTYPES.get(name, name), shape)


def score_output(outputs: tuple[TensorInfo, ...], wanted: str | None) -> str:
    """Name of the output that holds the scores, by the rule that the agent uses too; raises ModelError."""
    names = [value.name for value in outputs]
    index = choose_output(names, [value.dtype for value in outputs], [len(value.shape) for value in outputs], wanted)
    return names[index]
