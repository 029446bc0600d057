"""What every peer's script shares: its task, a metric that counts what it scores, and how the result is told.

Only NumPy and onnxruntime are imported: this runs in environments that do not have ours.
"""

import json
import os
import time
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when onnxruntime is imported

import numpy as np
import onnxruntime

BATCH = 256


class Task:
    """A model's path, rows to calibrate on and rows to select on; how often those were scored."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.model = self.folder / "model.onnx"
        arrays = np.load(self.folder / "rows.npz")
        self.calibration = self._inputs(arrays, "calibrate:")
        self.selection = self._inputs(arrays, "select:")
        self.labels, self.reference, self.slices = arrays["labels"], arrays["reference"], arrays["slices"]
        limits = json.loads((self.folder / "task.json").read_text())
        self.max_drop, self.max_slice_drop = limits["max_drop"], limits["max_slice_drop"]
        self.restart()

    def restart(self):
        """Nothing was scored yet, and the time starts now."""
        self.rows_scored = self.full_evaluations = 0
        self.started_s = time.perf_counter()

    @staticmethod
    def _inputs(arrays, prefix):
        return {name.removeprefix(prefix): arrays[name] for name in arrays.files if name.startswith(prefix)}

    def batches(self, size):
        """The calibration rows, `size` at a time."""
        count = len(next(iter(self.calibration.values())))
        return [{name: rows[at : at + size] for name, rows in self.calibration.items()} for at in range(0, count, size)]

    def right(self, model, rows=None):
        """Whether the serialized model is right, bool [rows], in exact integer arithmetic."""
        rows = np.arange(len(self.labels)) if rows is None else np.asarray(rows)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.x64quantprecision", "1")
        running = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        scores = [
            running.run(None, {name: values[rows[at : at + BATCH]] for name, values in self.selection.items()})[0]
            for at in range(0, len(rows), BATCH)
        ]
        self.rows_scored += len(rows)
        self.full_evaluations += len(rows) == len(self.labels)
        return np.concatenate(scores).argmax(axis=1) == self.labels[rows]

    def margin(self, right, rows=None):
        """The least that any limit leaves, overall and in every slice with such rows; below 0 one is broken."""
        rows = np.arange(len(self.labels)) if rows is None else np.asarray(rows)
        lost = self.reference[rows].astype(float) - right
        slices = [lost[mask[rows]].mean() for mask in self.slices if mask[rows].any()]
        return min(self.max_drop - lost.mean(), *(self.max_slice_drop - loss for loss in slices))

    def finish(self, quantizer_calls, note=""):
        """Write `result.json` beside the task; the peer has written `quantized.onnx`."""
        result = {
            "seconds": time.perf_counter() - self.started_s,
            "full_evaluations": int(self.full_evaluations),
            "rows_scored": int(self.rows_scored),
            "quantizer_calls": quantizer_calls,
            "note": note,
        }
        (self.folder / "result.json").write_text(json.dumps(result))
