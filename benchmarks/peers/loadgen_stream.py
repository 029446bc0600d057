"""A single stream of MLPerf's loadgen through its Python binding; `python loadgen_stream.py MODEL ROWS.npy SECONDS`.

Only NumPy, onnxruntime and loadgen are imported: this runs in an environment that does not have ours.
"""

import json
import os
import re
import sys
import tempfile
import time
from array import array
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when onnxruntime is imported

import mlperf_loadgen as loadgen
import numpy as np
import onnxruntime

BLOCK_NS = 2e5


def bound(model, rows):
    """The session's bound call, and the buffer that its input is."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding, name, buffer = session.io_binding(), session.get_inputs()[0].name, rows[:1].copy()
    binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(buffer))
    for output, value in zip(session.get_outputs(), session.run(None, {name: buffer}), strict=True):
        binding.bind_ortvalue_output(output.name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
    return lambda: session.run_with_iobinding(binding), buffer


def main(model, rows_path, seconds):
    """Print loadgen's median latency, and what a query takes from start to start: lower quartile of blocks; ns."""
    rows = np.load(rows_path)
    run, buffer = bound(model, rows)
    starts, clock = array("q"), time.perf_counter_ns

    def issue(queries):
        for query in queries:
            starts.append(clock())
            np.copyto(buffer, rows[query.index : query.index + 1])
            run()
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(query.id, 0, 0)])

    settings, logs, outputs = loadgen.TestSettings(), loadgen.LogSettings(), loadgen.LogOutputSettings()
    settings.scenario, settings.mode = loadgen.TestScenario.SingleStream, loadgen.TestMode.PerformanceOnly
    settings.single_stream_expected_latency_ns = 5000  # it prepares as many queries as fit into the time
    settings.min_duration_ms, settings.min_query_count = int(1000 * float(seconds)), 100
    with tempfile.TemporaryDirectory() as folder:
        outputs.outdir, outputs.copy_summary_to_stdout, logs.enable_trace = folder, False, False
        logs.log_output = outputs
        tested = loadgen.ConstructSUT(issue, lambda: None)
        library = loadgen.ConstructQSL(len(rows), len(rows), lambda _: None, lambda _: None)
        loadgen.StartTestWithLogSettings(tested, library, settings, logs, "")
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(tested)
        said = Path(folder, "mlperf_log_summary.txt").read_text()
    sample_ns = float(re.search(r"50.00 percentile latency \(ns\)\s*: (\d+)", said)[1])
    block = max(1, round(BLOCK_NS / sample_ns))
    loop_ns = np.quantile(np.diff(np.array(starts)[::block]) / block, 0.25)
    print(json.dumps({"loop_ns": float(loop_ns), "sample_ns": sample_ns}))


if __name__ == "__main__":
    main(*sys.argv[1:])
