"""What our timing costs: the agent's loop beside a bare bound loop, MLPerf's loadgen, and onnxruntime's own perf tool.

Two models, of about 10 us and 1 ms, on one thread. Ours and the bare loop share a session and take turns in one
process; loadgen and the perf tool are processes of their own, in turn with them. A sample is one inference as a method
tells it; the loop is what an inference costs altogether: ours also writes the next row, keeps the sample and its
start, and tells progress and telemetry, as it does on a device.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.search_peers import CACHE, SCRIPTS
from benchmarks.table import Row
from kit.agent.runner import TimedSession, load
from kit.agent.series import Goal
from kit.agent.telemetry import Telemetry
from kit.agent.work import Work
from kit.agent.workloads import Workload, time_session
from kit.wire import FrameType, Message, pack_message

MODELS = {"10 us": (10e3, 32, 1), "1 ms": (1e6, 256, 32)}
"""What an inference is to take in ns, and the width and rows of the products it is made of."""

LOADGEN, PERF_TOOL = "loadgen's Python binding", "onnxruntime_perf_test"
ROWS, BLOCK_NS = 64, 2e5
PROCESS_TURNS, PROCESS_S = 3, 1.0
"""A process of its own has a turn after so many of the others, and lasts so long."""

STEADY_SHARE = 0.05

SINGLE_STREAM = Workload("single stream", 1, 1, 1, 1)


class Outlet:
    """Packs what the agent tells meanwhile, and sends it nowhere."""

    def send(self, kind: FrameType, sequence: int, message: Message) -> None:
        """Pack a message."""
        del kind, sequence
        pack_message(message)


@dataclass
class Times:
    """ns an inference, one value a turn: as told for one, of the whole loop, and between one and the next."""

    sample: list[float] = field(default_factory=list)
    loop: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)


def model(width: int, height: int, layers: int) -> bytes:
    """x [1, width] added to a constant of `height` rows, then so many products with [width, width]; scores [1, 8]."""
    random = np.random.default_rng(0)
    constants = {
        "c": np.zeros((height, width), np.float32),
        "from": np.array([0, 0]), "to": np.array([1, 8]),
    }  # fmt: skip
    nodes = [helper.make_node("Add", ["x", "c"], ["h0"])]
    for layer in range(layers):
        constants[f"w{layer}"] = (random.normal(size=(width, width)) / width**0.5).astype(np.float32)
        nodes.append(helper.make_node("MatMul", [f"h{layer}", f"w{layer}"], [f"h{layer + 1}"]))
    nodes.append(helper.make_node("Slice", [f"h{layers}", "from", "to"], ["scores"]))
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, width]), ("scores", [1, 8]))
    ]
    graph = helper.make_graph(nodes, "harness", ends[:1], ends[1:], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def sized(folder: Path, target_ns: float, width: int, height: int) -> Path:
    """A model of as many layers as take about `target_ns` here."""
    layers = 2
    for _ in range(3):
        path = folder / f"{width}-{layers}.onnx"
        path.write_bytes(model(width, height, layers))
        took_ns, _ = Bare(load(path, 1, exact=False), rows_of(width)).timed(0.1)
        layers = max(1, round(layers * target_ns / took_ns))
    return path


def rows_of(width: int) -> NDArray[np.float32]:
    """float32 [ROWS, width]."""
    return np.random.default_rng(1).normal(size=(ROWS, width)).astype(np.float32)


class Bare:
    """What anyone would write: a session with one input buffer and its outputs bound, and its call in a loop."""

    def __init__(self, session: Any, rows: NDArray[np.float32]) -> None:
        import onnxruntime

        self.rows, self.buffer, name = rows, rows[:1].copy(), session.get_inputs()[0].name
        self.run, self.binding = session.run_with_iobinding, session.io_binding()
        self.binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(self.buffer))
        outputs = session.run(None, {name: self.buffer})
        for output, value in zip(session.get_outputs(), outputs, strict=True):
            self.binding.bind_ortvalue_output(output.name, onnxruntime.OrtValue.ortvalue_from_numpy(value))

    def timed(self, duration_s: float) -> tuple[float, float]:
        """One inference, and what is between two, where the loop writes a row and reads the clock twice, ns."""
        run, binding, clock, rows, buffer = self.run, self.binding, time.perf_counter_ns, self.rows, self.buffer
        samples, starts, end_ns = list[int](), list[int](), clock() + int(1e9 * duration_s)
        index = after_ns = 0
        while after_ns < end_ns:
            np.copyto(buffer, rows[index % ROWS])
            before_ns = clock()
            run(binding)
            after_ns = clock()
            samples.append(after_ns - before_ns)
            starts.append(before_ns)
            index += 1
        between_ns = np.diff(starts) - samples[:-1]
        return low(samples), float(np.median(between_ns))

    def untimed(self, duration_s: float, one_ns: float) -> float:
        """A call of the loop that has nothing but the call in it, ns."""
        run, binding, clock, blocks = self.run, self.binding, time.perf_counter_ns, list[float]()
        count, end_ns = max(1, round(BLOCK_NS / one_ns)), clock() + int(1e9 * duration_s)
        while (start_ns := clock()) < end_ns:
            for _ in range(count):
                run(binding)
            blocks.append((clock() - start_ns) / count)
        return low(blocks)


def ours(session: Any, rows: NDArray[np.float32], duration_s: float) -> tuple[float, float, float]:
    """One inference, one turn of the loop, and what is between two inferences, of the agent's own timing, ns."""
    work = Work(Outlet(), 1, time.perf_counter_ns(), Message("time"))
    goal = Goal(1, int(1e9 * duration_s))
    timing = time_session(TimedSession(session, 0), rows, SINGLE_STREAM, goal, Telemetry(work).tick)
    one_ns = low(timing.samples_ns)
    block = max(1, round(BLOCK_NS / one_ns))
    between_ns = timing.starts_ns[1:] - timing.starts_ns[:-1] - timing.samples_ns[:-1]
    return one_ns, low(np.diff(timing.starts_ns[::block]) / block), float(np.median(between_ns))


def low(times_ns: Any) -> float:
    """The lower quartile, which other processes disturb less than the median."""
    return float(np.quantile(times_ns, 0.25))


def loadgen(python: Path, path: Path, rows: Path, duration_s: float) -> tuple[float, float]:
    """Median sample and loop time of loadgen, ns."""
    command = [str(python), str(SCRIPTS / "loadgen_stream.py"), str(path), str(rows), str(duration_s)]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)
    return said["sample_ns"], said["loop_ns"]


def perf_tool(tool: str, path: Path, duration_s: float) -> float:
    """Mean time an inference in ns, as onnxruntime_perf_test tells it, with generated and bound inputs."""
    command = [tool, "-I", "-m", "duration", "-t", str(max(1, round(duration_s))), "-x", "1", "-y", "1", str(path)]
    surroundings = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env=surroundings).stdout
    found = re.search(r"Average inference time cost[^:]*: ([\d.e-]+) ms", said)
    if found is None:
        raise RuntimeError(f"{tool} does not tell its time: {said[-300:]}")
    return 1e6 * float(found[1])


def run(*, quick: bool) -> list[Row]:
    """Every method in turn, on both models."""
    import onnxruntime

    from benchmarks.environments import environment

    turns, duration_s = (6, 0.25) if quick else (24, 0.25)
    try:
        wanted = ("mlcommons-loadgen==6.0.17", f"onnxruntime=={onnxruntime.__version__}")
        python: Path | None = environment(CACHE / "loadgen", wanted)
        absent = ""
    except SystemExit as error:
        python, absent = None, str(error)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, (target_ns, width, height) in MODELS.items():
            path, inputs = sized(Path(temporary), target_ns, width, height), rows_of(width)
            rows += _compared(name, path, inputs, turns, duration_s, python, absent)
    return rows


def _compared(
    name: str, path: Path, inputs: NDArray[np.float32], turns: int, duration_s: float, python: Path | None, absent: str
) -> list[Row]:
    """Ours between two runs of the loop of nothing but calls; a turn in which those differ is none."""
    session, tool = load(path, 1, exact=False), shutil.which(PERF_TOOL)
    bare, times = Bare(session, inputs), {each: Times() for each in ("bare", "ours", LOADGEN, PERF_TOOL)}
    target_ns = MODELS[name][0]
    np.save(path.with_suffix(".npy"), inputs)

    for turn in range(turns):
        first_ns = bare.untimed(duration_s / 4, target_ns)
        own, (sample_ns, between_ns) = ours(session, inputs, duration_s), bare.timed(duration_s / 2)
        last_ns = bare.untimed(duration_s / 4, target_ns)
        if abs(last_ns - first_ns) <= STEADY_SHARE * first_ns:
            _note(times["ours"], own)
            _note(times["bare"], (sample_ns, (first_ns + last_ns) / 2, between_ns))
        if python is not None and turn % PROCESS_TURNS == 0:
            _note(times[LOADGEN], loadgen(python, path, path.with_suffix(".npy"), PROCESS_S))
        if tool is not None and turn % PROCESS_TURNS == 0:
            times[PERF_TOOL].loop.append(perf_tool(tool, path, PROCESS_S))
    return _rows(name, times, turns, absent)


def _note(times: Times, found: tuple[float, ...]) -> None:
    for kept, value in zip((times.sample, times.loop, times.between), found, strict=False):
        kept.append(value)


def _rows(name: str, times: dict[str, Times], turns: int, absent: str) -> list[Row]:
    """In us; ratio and added time are medians over the steady turns, each against the bare loops of the same turn."""
    own, plain = times["ours"], times["bare"]
    if not own.sample:
        unsteady = f"the machine changed its speed by over {STEADY_SHARE:.0%} in each of {turns} turns"
        return [Row(f"{name}: one inference", None, "bare bound loop", None, "us", 1.02, note=unsteady)]
    ratio = median(mine / other for mine, other in zip(own.sample, plain.loop, strict=True))
    added_us = median(mine - other for mine, other in zip(own.between, plain.between, strict=True)) / 1e3
    between_us, bare_between_us = median(own.between) / 1e3, median(plain.between) / 1e3
    sample_us, loop_us, plain_us = (median(each) / 1e3 for each in (own.sample, own.loop, plain.loop))
    told = (
        f"lower quartile a turn, median ratio of {len(own.sample)} steady turns of {turns}; the bare loop has nothing "
        f"but the call in it, {median(plain.sample) / 1e3:.4g} us where it reads the clock"
    )
    loops = (
        f"between two calls {between_us:.3g} us with the next row written, {bare_between_us:.3g} us in a bare loop "
        f"that writes it and reads the clock; the whole loop {loop_us:.4g} us, {plain_us:.4g} us with nothing but calls"
    )
    rows = [
        Row(f"{name}: one inference", ratio * plain_us, "bare bound loop", plain_us, "us", 1.02, note=told),
        Row(f"{name}: added a call", added_us, "", None, "us", None, 1.0, note=loops),
    ]
    reasons = {LOADGEN: absent, PERF_TOOL: "it is not on the path, and the wheel of onnxruntime ships none"}
    for peer in (LOADGEN, PERF_TOOL):
        loop, sample = times[peer].loop, times[peer].sample
        if not loop:
            rows.append(Row(f"{name}: the whole loop", loop_us, peer, None, "us", note=reasons[peer]))
            continue
        note = f"one inference: ours {sample_us:.4g} us, it tells {median(sample) / 1e3:.4g} us" if sample else ""
        rows.append(Row(f"{name}: the whole loop", loop_us, peer, median(loop) / 1e3, "us", note=note))
    return rows
