"""NNCF's quantization with accuracy control; `python nncf_control.py TASK_FOLDER overall|slices`."""

import logging
import sys

import nncf
import onnx
from common import Task
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, QuantizationParameters
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

logging.disable(logging.WARNING)

PER_TENSOR = AdvancedQuantizationParameters(activations_quantization_params=QuantizationParameters(per_channel=False))


def main(folder, metric):
    """`overall` is the method as it comes; `slices` returns the smallest margin of any limit as its metric."""
    task = Task(folder)

    def validate(model, items):
        rows = list(items)
        right = task.right(model.SerializeToString(), rows)
        return (task.margin(right, rows) if metric == "slices" else right.mean()), right.astype(float).tolist()

    def quantize(advanced):
        return nncf.quantize_with_accuracy_control(
            onnx.load(task.model),
            calibration_dataset=nncf.Dataset(task.batches(1)),
            validation_dataset=nncf.Dataset(list(range(len(task.labels)))),
            validation_fn=validate,
            max_drop=task.max_drop,
            advanced_quantization_parameters=advanced,
        )

    note = ""
    try:
        quantized = quantize(None)
    except Fail:
        # It gives a depthwise layer's input a scale a channel, and onnxruntime has no kernel for a sum of such.
        note = "activations set to one scale a tensor: onnxruntime refuses its default"
        task.restart()
        quantized = quantize(PER_TENSOR)
    onnx.save(quantized, task.folder / "quantized.onnx")
    task.finish(quantizer_calls=1, note=note)


if __name__ == "__main__":
    main(*sys.argv[1:])
