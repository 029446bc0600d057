"""A session with its input and outputs bound to buffers that stay: what timed and busy runs call again and again."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.agent.runner import check_rows, run, score_output
from kit.agent.work import RefusalError
from kit.errors import DeviceError, ModelError

MAX_BATCH_BYTES = 64 << 20


class Bound:
    """One call is `run(binding)` on the rows that `write` put into the input; `first_run_ns` is its first inference.

    rows: [n, *shape], taken in turn, `batch` a call. `scores_name` is the output that `scores` reads, None if there is
    none. Raises DeviceError or ModelError if the rows do not fit.
    """

    def __init__(self, session: Any, rows: NDArray[np.generic], batch: int = 1) -> None:
        import onnxruntime as ort

        name = check_rows(session, rows)
        if not len(rows):
            raise DeviceError("no rows to run", next_step="send at least one row of inputs")
        if batch * rows[:1].nbytes > MAX_BATCH_BYTES:
            raise RefusalError(f"a batch of {batch} rows is over {MAX_BATCH_BYTES} bytes", next_step="take fewer rows")
        self.rows, self.batch = len(rows), batch
        self.run, self.binding = session.run_with_iobinding, session.io_binding()
        buffer = np.take(rows, np.arange(batch), axis=0, mode="wrap")
        self._input = ort.OrtValue.ortvalue_from_numpy(buffer)
        start_ns = time.perf_counter_ns()
        outputs = run(session, None, {name: buffer})
        self.first_run_ns = time.perf_counter_ns() - start_ns
        self.binding.bind_ortvalue_input(name, self._input)
        self._scores: Any = None
        self.scores_name = _scores_name(session)
        known = {dimension for each in session.get_inputs() for dimension in each.shape or ()}
        loose: list[str] = []
        for described, value in zip(session.get_outputs(), outputs, strict=True):
            if _may_vary(described.shape, known, np.shape(value)[:1] == (batch,)):
                loose.append(described.name)
                self.scores_name = None if described.name == self.scores_name else self.scores_name
            else:
                self._bind_output(described.name, value)
        if loose:
            self._rebind(loose)
        self.write = self._writer(np.ascontiguousarray(rows), buffer)

    def _rebind(self, loose: list[str]) -> None:
        """Outputs whose size depends on the values, such as boxes, get a buffer from the runtime at every call."""
        run, bind = self.run, self.binding.bind_output

        def fresh(binding: Any) -> None:
            for name in loose:
                bind(name)
            run(binding)

        self.run = fresh

    def scores(self, place: int) -> NDArray[np.float32]:
        """A copy of what the last call gave for one of its rows, float32 [outputs]."""
        return np.asarray(self._scores.numpy()[place].astype(np.float32))

    def _bind_output(self, name: str, value: Any) -> None:
        import onnxruntime as ort

        if not (isinstance(value, np.ndarray) and value.dtype.kind in "fiub"):
            self.binding.bind_output(name)  # sequences and maps have no buffer to bind
            return
        buffer = ort.OrtValue.ortvalue_from_numpy(value)
        self.binding.bind_ortvalue_output(name, buffer)
        if name == self.scores_name and value.ndim == 2 and len(value) == self.batch and value.shape[1]:
            self._scores = buffer
        elif name == self.scores_name:
            self.scores_name = None

    def _writer(self, rows: NDArray[np.generic], buffer: NDArray[np.generic]) -> Callable[[int], None]:
        """What puts the rows of call `index` into the bound input."""
        if self._input.data_ptr() != buffer.ctypes.data:  # this runtime copied it

            def update(index: int) -> None:
                self._input.update_inplace(_taken(rows, index, self.batch))

            return update
        if self.batch > 1:

            def fill(index: int) -> None:
                np.copyto(buffer, _taken(rows, index, self.batch))

            return fill
        target, sources, count = _bytes_of(buffer), [_bytes_of(row) for row in rows], len(rows)

        def write(index: int) -> None:  # a quarter of the time of an assignment in numpy
            target[:] = sources[index % count]

        return write


def _may_vary(shape: Any, known: set[Any], has_rows: bool) -> bool:
    """Whether a dimension is neither a number nor one of the inputs' own; the first one may be that of rows."""
    dimensions = (shape or ())[1 if has_rows else 0 :]
    return any(not isinstance(each, int) and (each is None or each not in known) for each in dimensions)


def _taken(rows: NDArray[np.generic], index: int, batch: int) -> NDArray[np.generic]:
    return np.take(rows, np.arange(index * batch, (index + 1) * batch) % len(rows), axis=0)


def _bytes_of(values: NDArray[np.generic]) -> memoryview:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def _scores_name(session: Any) -> str | None:
    """The score output, else the first one; a caller compares it with what `predict` gives for that name."""
    try:
        return score_output(session, None)[0]
    except ModelError:
        outputs = session.get_outputs()
        return str(outputs[0].name) if outputs else None
