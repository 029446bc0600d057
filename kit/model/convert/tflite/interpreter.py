"""TensorFlow Lite's own interpreter, which a converted model is compared with."""

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.errors import ModelError
from kit.model.convert.base import Arrays
from kit.records import TensorInfo


class Interpreter:
    """TensorFlow Lite's own interpreter on a file's bytes, created at the first row."""

    def __init__(self, data: bytes, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]) -> None:
        self._data, self._inputs, self._outputs = data, inputs, outputs
        self._interpreter: Any = None

    def predict(self, arrays: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs by name; a dynamic first dimension is taken row by row."""
        if self._interpreter is None:
            self._interpreter = self._opened()
        if not all(info.shape and isinstance(info.shape[0], str) for info in self._inputs):
            rows = [self._run([arrays[info.name] for info in self._inputs])]
        else:
            total = len(arrays[self._inputs[0].name])
            rows = [self._run([arrays[info.name][row : row + 1] for info in self._inputs]) for row in range(total)]
        columns = zip(*rows, strict=True)
        return {
            info.name: np.concatenate(column) if len(column) > 1 else column[0]
            for info, column in zip(self._outputs, columns, strict=True)
        }

    def _opened(self) -> Any:
        module = importlib.import_module("ai_edge_litert.interpreter")
        try:
            interpreter = module.Interpreter(model_content=self._data, num_threads=1)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"the interpreter refuses it: {reason}", next_step="convert the model again") from None
        return interpreter

    def _run(self, values: list[NDArray[Any]]) -> list[NDArray[Any]]:
        interpreter = self._interpreter
        details = interpreter.get_input_details()
        changed = [each for each, value in zip(details, values, strict=True) if tuple(each["shape"]) != value.shape]
        for each, value in zip(details, values, strict=True):
            if changed:
                interpreter.resize_tensor_input(each["index"], value.shape)
        if changed:
            interpreter.allocate_tensors()
        for each, value in zip(details, values, strict=True):
            interpreter.set_tensor(each["index"], np.ascontiguousarray(value))
        interpreter.invoke()
        return [interpreter.get_tensor(each["index"]).copy() for each in interpreter.get_output_details()]
