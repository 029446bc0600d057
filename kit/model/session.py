"""Run a model on this host, on rows: one place for session options, dtypes, batches and the choice of output."""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.errors import ModelError
from kit.interface import check_input, choose_output
from kit.records import Float32Array, TensorInfo

Array = NDArray[np.generic]
Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""

_BATCH_BYTES = 1 << 20
_BATCH_ROWS = 128
_CONFIG_EXACT = "session.x64quantprecision"
"""Session option of onnxruntime: int8 products without 16-bit saturation on x86, equal to ARM's."""


def quiet_runtime() -> Any:
    """onnxruntime, with its native log off: what fails is raised, and said once."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    return onnxruntime


_NOISE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |/\S+\.(?:cc|cpp|h|hpp):\d+ .*?\) (?=[A-Z])")
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
        ModelError: the runtime refuses the model, or it has more than one input.
    """

    def __init__(self, data: bytes, *, threads: int = 1, exact: bool = False) -> None:
        onnxruntime = quiet_runtime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry(_CONFIG_EXACT, "1" if exact else "0")
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            self.inputs = tuple(_info(value) for value in self._session.get_inputs())
            self.outputs = tuple(_info(value) for value in self._session.get_outputs())
        except Exception as error:
            raise ModelError(
                f"onnxruntime {onnxruntime.__version__} cannot load the model: {reason_of(error)}",
                next_step="export it again, with an older opset if the message speaks of one",
            ) from None
        if len(self.inputs) != 1:
            names = ", ".join(f"{value.name} {list(value.shape)}" for value in self.inputs)
            raise ModelError(
                f"the model has {len(self.inputs)} inputs ({names}); only models with one are run on rows",
                next_step="export it with the other inputs as constants",
            )

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
            ModelError: shape or dtype do not fit, the output is ambiguous, or the runtime fails on a row.
        """
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

    def _scores(self, batch: Array, output: str, first_row: int) -> Float32Array:
        try:
            (scores,) = self._session.run([output], {self.inputs[0].name: batch})
        except Exception as error:
            where = f"rows {first_row} to {first_row + len(batch) - 1}" if len(batch) > 1 else f"row {first_row}"
            raise ModelError(f"the runtime fails: {reason_of(error)}", where=where) from None
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


def as_model_rows(inputs: Array, wanted: TensorInfo) -> Array:
    """`inputs` in the dtype of `wanted`, contiguous, their shape checked; nothing is lost or guessed.

    Raises:
        ModelError: the shape does not fit, or the dtype differs in kind or would lose digits.
    """
    if inputs.ndim == 0 or len(inputs) == 0:
        raise ModelError("there are no rows to run the model on", next_step="check the dataset's parts")
    try:
        check_input([wanted.name], wanted.shape, inputs.shape[1:])
    except ModelError as error:
        cause = _shape_cause(inputs.shape[1:], wanted.shape[1:])
        raise ModelError(error.what + cause, next_step=error.next_step) from None
    if inputs.dtype == wanted.dtype:
        return np.ascontiguousarray(inputs)
    return _same_values(inputs, wanted)


def _same_values(inputs: Array, wanted: TensorInfo) -> Array:
    """`inputs` in another width of the same kind of number, if that changes no value."""
    next_step = f"store the rows as {wanted.dtype}, as the model was trained on them"
    if wanted.dtype not in _NUMBERS or inputs.dtype.kind != np.dtype(wanted.dtype).kind:
        cause = "; raw pixels or counts, not yet scaled?" if inputs.dtype.kind in "iu" else ""
        raise ModelError(f"the rows are {inputs.dtype}, the model wants {wanted.dtype}{cause}", next_step=next_step)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = np.ascontiguousarray(inputs, dtype=wanted.dtype)
    if not np.array_equal(cast, inputs, equal_nan=inputs.dtype.kind == "f"):
        raise ModelError(
            f"the rows are {inputs.dtype} and lose digits as {wanted.dtype}, which the model wants", next_step=next_step
        )
    return cast


_NUMBERS = frozenset({f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)} - {"float8"})


def _shape_cause(got: tuple[int, ...], want: tuple[int | str, ...]) -> str:
    """What a misfit of shapes looks like; empty if like nothing known."""
    sizes = [size for size in want if isinstance(size, int)]
    if len(sizes) < len(want) or got == want:
        return ""
    if sorted(got) == sorted(sizes):
        return "; the sizes are the same in another order: a transpose is missing"
    if math.prod(got) == math.prod(sizes):
        return "; it holds as many values in another shape: a reshape is missing"
    return ""


def batches(rows: Array, wanted: TensorInfo) -> Iterator[Array]:
    """The rows in batches that the model takes: one by one where its batch is fixed to 1."""
    dynamic = not isinstance(wanted.shape[0], int)
    step = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, rows[0].nbytes))) if dynamic else 1
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
