"""Intel Neural Compressor 2.6, tuned for accuracy; `python inc_tuning.py TASK_FOLDER auto|1`."""

import logging
import sys

import onnx
from common import Task
from neural_compressor import quantization
from neural_compressor.adaptor.onnxrt import ONNXRUNTIMEAdaptor
from neural_compressor.config import AccuracyCriterion, PostTrainingQuantConfig

logging.disable(logging.WARNING)


class Loader:
    """Its data loader: batches of inputs, each with a label that nobody reads."""

    batch_size = 1

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return ((batch if len(batch) > 1 else next(iter(batch.values())), 0) for batch in self.batches)


def main(folder, level):
    """Quantization level `auto` or 1, everything else as it comes, and the same limit as for the others."""
    task, calls = Task(folder), []
    quantize = ONNXRUNTIMEAdaptor.quantize

    def counted(*arguments, **options):
        calls.append(1)
        return quantize(*arguments, **options)

    ONNXRUNTIMEAdaptor.quantize = counted
    config = PostTrainingQuantConfig(
        quant_level="auto" if level == "auto" else int(level),
        accuracy_criterion=AccuracyCriterion(criterion="absolute", tolerable_loss=task.max_drop),
        calibration_sampling_size=[len(task.batches(1))],
    )
    found = quantization.fit(
        onnx.load(task.model),
        config,
        calib_dataloader=Loader(task.batches(1)),
        eval_func=lambda model: task.right(model.SerializeToString()).mean(),
    )
    if found is not None:
        onnx.save(found.model, task.folder / "quantized.onnx")
    task.finish(quantizer_calls=len(calls), note="" if found is not None else "found nothing within the limit")


if __name__ == "__main__":
    main(*sys.argv[1:])
