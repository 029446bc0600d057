"""Small real networks of PyTorch, trained in seconds, and written in every format that is converted.

`main` is called in a process of its own. The file is a factory file too: ``torch_nets.py:watch_gru``.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Rows = dict[str, NDArray[Any]]


class DigitsCnn(nn.Module):
    """Convolution, batch norm and dropout on 8 x 8 images; one output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.drop, self.head = nn.Dropout(0.2), nn.Linear(16 * 16, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.max_pool2d(torch.relu(self.norm1(self.conv1(image))), 2)
        x = torch.relu(self.norm2(self.conv2(x))).flatten(1)
        return self.head(self.drop(x))


class CancerMlp(nn.Module):
    """Standardized features through two layers; a dict of two outputs."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(30))
        self.register_buffer("scale", torch.ones(30))
        self.hidden, self.head = nn.Linear(30, hidden), nn.Linear(hidden, 2)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.head(torch.relu(self.hidden((x - self.mean) / self.scale)))
        return {"scores": scores, "probabilities": torch.softmax(scores, 1)}


class WatchGru(nn.Module):
    """Two seconds of a wrist's motion at 5 Hz, 10 x 6, through a GRU; a tuple of scores and the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(6, 24, batch_first=True), nn.Linear(24, 7)

    def forward(self, motion: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states, last = self.gru(motion)
        return self.head(states.mean(1)), last[-1]


class DigitsAttention(nn.Module):
    """A transformer layer over the eight lines of an image, each scaled by a second input; two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(8, 16), nn.Linear(16, 10)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.place = nn.Parameter(torch.zeros(8, 16))

    def forward(self, lines: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.embed(lines * gain[:, None, None]) + self.place).mean(1))


def digits_cnn() -> nn.Module:
    return DigitsCnn()


def cancer_mlp() -> nn.Module:
    return CancerMlp()


def wide_cancer_mlp() -> nn.Module:
    return CancerMlp(20)


def watch_gru() -> nn.Module:
    return WatchGru()


def digits_attention() -> nn.Module:
    return DigitsAttention()


def failing() -> nn.Module:
    raise RuntimeError("no such layer today")


def leaving() -> nn.Module:
    sys.exit(0)


def no_module() -> dict[str, int]:
    return {"layers": 3}


class Counting(nn.Module):
    """Counts its calls in a buffer, and adds the count to what it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.add_(1.0)
        return x + self.calls


class Branching(nn.Module):
    """Which branch it takes depends on the values, and the example inputs take the first."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.abs().max() < 100.0):
            return x * 2.0
        return x * 3.0


class Writing(nn.Module):
    """TorchScript that writes a file where it is told to."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, self.path)
        return x


def _cut(rows: Rows, labels: NDArray[Any], rest: int = 3) -> tuple[Rows, NDArray[Any], Rows, NDArray[Any]]:
    held = np.arange(len(labels)) % rest == 0
    return {k: v[~held] for k, v in rows.items()}, labels[~held], {k: v[held] for k, v in rows.items()}, labels[held]


def _digits(as_lines: bool) -> tuple[Rows, NDArray[Any]]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    if not as_lines:
        return {"image": x.reshape(-1, 1, 8, 8)}, y
    gain = np.random.default_rng(0).uniform(0.5, 2.0, len(x)).astype(np.float32)
    return {"lines": x.reshape(-1, 8, 8), "gain": gain}, y


def _cancer() -> tuple[Rows, NDArray[Any]]:
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    return {"x": x.astype(np.float32)}, y


def _watch() -> tuple[Rows, NDArray[Any]]:
    from examples.watch.prepare import load_windows

    windows = load_windows()
    return {"motion": np.ascontiguousarray(windows.x.reshape(-1, 100, 6)[::4, ::10])}, windows.y[::4]


def _train(model: nn.Module, rows: Rows, labels: NDArray[Any], epochs: int) -> nn.Module:
    model.train()
    if isinstance(model, CancerMlp):
        model.mean.copy_(torch.tensor(rows["x"].mean(0)))
        model.scale.copy_(torch.tensor(rows["x"].std(0)))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    inputs, wanted = [torch.tensor(each) for each in rows.values()], torch.tensor(labels)
    for _ in range(epochs):
        for batch in torch.randperm(len(wanted)).split(64):
            found = model(*(each[batch] for each in inputs))
            found = found["scores"] if isinstance(found, dict) else found[0] if isinstance(found, tuple) else found
            optimizer.zero_grad()
            nn.functional.cross_entropy(found, wanted[batch]).backward()
            optimizer.step()
    return model.eval()


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Rows, NDArray[Any]]], int, tuple[str, ...]]] = {
    "cnn": (digits_cnn, lambda: _digits(as_lines=False), 6, ("pt2", "traced", "weights")),
    "mlp": (cancer_mlp, _cancer, 20, ("scripted", "weights")),
    "gru": (watch_gru, _watch, 8, ("pt2", "traced")),
    "attention": (digits_attention, lambda: _digits(as_lines=True), 8, ("pt2", "scripted")),
}
"""How each network is made, on which rows, for how many epochs, and in which formats it is written."""


def _write(folder: Path, name: str, model: nn.Module, rows: Rows, formats: tuple[str, ...]) -> None:
    examples = tuple(torch.tensor(each[:5]) for each in rows.values())
    if "pt2" in formats:
        batch = torch.export.Dim("batch")
        shapes = tuple({0: batch} for _ in examples)
        torch.export.save(torch.export.export(model, examples, dynamic_shapes=shapes), folder / f"{name}.pt2")
    if "traced" in formats:
        torch.jit.trace(model, examples).save(str(folder / f"{name}-traced.pt"))
    if "scripted" in formats:
        torch.jit.script(model).save(str(folder / f"{name}-scripted.pt"))
    if "weights" in formats:
        torch.save(model.state_dict(), folder / f"{name}-weights.pth")


def _write_odd(folder: Path, cnn: nn.Module) -> None:
    """What a user may give besides: wrapped, whole, older, in training mode, with state, with branches."""
    weights, image = cnn.state_dict(), torch.zeros(2, 1, 8, 8)
    torch.save({"epoch": 3, "model_state_dict": weights, "optimizer": {"lr": 0.1}}, folder / "checkpoint.pt")
    torch.save({f"module.{name}": value for name, value in weights.items()}, folder / "parallel.pt")
    torch.save({"epoch": 3}, folder / "no-weights.pt")
    torch.save(cnn, folder / "whole.pt")
    torch.save(weights, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.jit.script(digits_cnn().train()).save(str(folder / "training-scripted.pt"))
    torch.jit.trace(digits_cnn().train(), image, check_trace=False).save(str(folder / "training-traced.pt"))
    torch.export.save(torch.export.export(digits_cnn().train(), (image,)), folder / "training.pt2")
    torch.export.save(torch.export.export(digits_cnn().eval(), (image[:1],)), folder / "fixed.pt2")
    torch.export.save(torch.export.export(Counting(), (torch.zeros(2, 3),)), folder / "counting.pt2")
    torch.jit.script(Branching()).save(str(folder / "branching.pt"))
    torch.jit.script(Writing(str(folder / "written-by-script"))).save(str(folder / "writing.pt"))


def main(folder: Path) -> None:
    """Train every network, and write it with held-out rows and its accuracy on them."""
    torch.set_num_threads(1)
    accuracy, trained = {}, {}
    for name, (make, load, epochs, formats) in NETS.items():
        torch.manual_seed(0)
        rows, labels, held_rows, held_labels = _cut(*load())
        model = trained[name] = _train(make(), rows, labels, epochs)
        with torch.no_grad():
            found = model(*(torch.tensor(each) for each in held_rows.values()))
        scores = found["scores"] if isinstance(found, dict) else found[0] if isinstance(found, tuple) else found
        accuracy[name] = float((scores.argmax(1).numpy() == held_labels).mean())
        np.savez(folder / f"{name}.npz", **held_rows)
        _write(folder, name, model, held_rows, formats)
    _write_odd(folder, trained["cnn"])
    (folder / "accuracy.json").write_text(json.dumps(accuracy))
