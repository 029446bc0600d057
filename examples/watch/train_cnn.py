"""Train the smartwatch CNN once, fold it, and write `watch-cnn.onnx`; needs PyTorch (the extra `torch`) and seglearn.

    python examples/watch/train_cnn.py OUT.onnx [--seed N]

A depthwise-separable residual 1-D CNN (Howard et al., "MobileNets", 2017, arXiv:1704.04861; He et al., "Deep
residual learning", 2015, arXiv:1512.03385) on the windows of `prepare.py`. Batch normalization is folded into
the convolutions and the input scaling into the first one, so the model takes raw sensor values as firmware
would give them. The result is in the repository: nothing but this script needs PyTorch.
"""

# PyTorch is not in the development environment, so its types are unknown there.
# mypy: disable-error-code="import-not-found,misc,no-any-return"

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

if __package__ in (None, ""):  # run as a script: let the sibling module be found
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.watch.prepare import AXES, WINDOW, Windows, axis_scale, load_windows, split

STEM = 32  # channels after the first convolution
BLOCKS = ((32, 1), (48, 2), (48, 1), (56, 2), (56, 1), (56, 1))  # output channels, stride
KERNEL = 5  # of the depthwise convolutions
PATCH = 2  # samples: the first convolution reads pairs that do not overlap
EPOCHS = 20
BATCH = 64
SEED = 0
OPSET = 17

Array = npt.NDArray[np.float32]


class Separable(nn.Module):
    """Depthwise then pointwise convolution, each normalized and rectified; residual where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(inputs, inputs, KERNEL, stride, KERNEL // 2, groups=inputs, bias=False)
        self.depthwise_norm = nn.BatchNorm1d(inputs)
        self.pointwise = nn.Conv1d(inputs, outputs, 1, bias=False)
        self.pointwise_norm = nn.BatchNorm1d(outputs)
        self.residual = inputs == outputs and stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, inputs, length] to [n, outputs, length/stride]."""
        y = torch.relu(self.depthwise_norm(self.depthwise(x)))
        y = torch.relu(self.pointwise_norm(self.pointwise(y)))
        return x + y if self.residual else y


class Net(nn.Module):
    """Standardized windows [n, 6, 100] to logits [n, classes]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        # No padding: a zero beside scaled values is not a zero beside raw ones, and folding must be exact.
        self.stem = nn.Conv1d(AXES, STEM, PATCH, PATCH, bias=False)
        self.stem_norm = nn.BatchNorm1d(STEM)
        inputs = (STEM, *(width for width, _ in BLOCKS))
        self.blocks = nn.Sequential(*(Separable(i, o, s) for i, (o, s) in zip(inputs, BLOCKS, strict=False)))
        self.head = nn.Linear(inputs[-1], classes)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [n, classes], not normalized."""
        y = self.blocks(torch.relu(self.stem_norm(self.stem(x))))
        logits: torch.Tensor = self.head(self.dropout(y.mean(2)))
        return logits


def train(windows: Windows, seed: int) -> Net:
    """Train from scratch on one thread, so that the same seed gives the same weights."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    mean, std = axis_scale(windows)
    scaled = ((windows.x.reshape(-1, WINDOW, AXES) - mean) / std).astype(np.float32).transpose(0, 2, 1)
    x, y = torch.from_numpy(np.ascontiguousarray(scaled)), torch.from_numpy(windows.y)
    net = Net(len(windows.classes))
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
    steps = EPOCHS * (len(y) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)
    for step in range(steps):
        if step % (len(y) // BATCH) == 0:
            order = torch.randperm(len(y))
        rows = order[(step % (len(y) // BATCH)) * BATCH :][:BATCH]
        optimizer.zero_grad()
        # A watch sits a little differently on every wrist: scale each axis, add a little noise.
        drawn = x[rows] * (1 + 0.1 * torch.randn(BATCH, AXES, 1)) + 0.05 * torch.randn(BATCH, AXES, WINDOW)
        loss_of(net(drawn), y[rows]).backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def fold(conv: nn.Conv1d, norm: nn.BatchNorm1d) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Weights [out, in/groups, kernel] and biases [out] of `norm(conv(x))` as one convolution, in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gamma, beta, mean, variance = (
        tensor.detach().numpy().astype(np.float64)
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    gain = gamma / np.sqrt(variance + norm.eps)
    return conv.weight.detach().numpy().astype(np.float64) * gain[:, None, None], beta - mean * gain


class Graph:
    """An ONNX graph under construction: nodes in order, each reading the one before unless told otherwise."""

    def __init__(self, last: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.last = last

    def add(self, operator: str, name: str, *others: str, **attributes: Any) -> str:
        """Append a node that reads the last output and `others`; its output, named `name`, is the new last."""
        self.nodes.append(helper.make_node(operator, [self.last, *others], [name], name, **attributes))
        self.last = name
        return name

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        """Store an initializer; floats become float32."""
        kept = values.astype(np.float32) if values.dtype.kind == "f" else values
        self.weights.append(numpy_helper.from_array(kept, name))
        return name

    def conv(self, name: str, layer: nn.Conv1d, weight: npt.NDArray[Any], bias: npt.NDArray[Any]) -> str:
        """Append a folded convolution and its rectifier."""
        constants = self.constant(f"{name}.w", weight), self.constant(f"{name}.b", bias)
        pads = [int(layer.padding[0])] * 2
        strides = [layer.stride[0]]
        self.add("Conv", name, *constants, group=layer.groups, pads=pads, strides=strides)
        return self.add("Relu", f"{name}.relu")


def export(net: Net, windows: Windows, seed: int) -> onnx.ModelProto:
    """The folded network: `x` float32 [batch, 600], raw sensor values, to `logits` float32 [batch, 7]."""
    mean, std = axis_scale(windows)
    graph = Graph("x")
    graph.add("Reshape", "samples", graph.constant("shape", np.array([-1, WINDOW, AXES], np.int64)))
    graph.add("Transpose", "channels", perm=[0, 2, 1])
    weight, bias = fold(net.stem, net.stem_norm)
    weight = weight / std[:, None]
    graph.conv("stem", net.stem, weight, bias - np.einsum("oik,i->o", weight, mean))
    for number, block in enumerate(net.blocks):
        assert isinstance(block, Separable)
        before = graph.last
        graph.conv(f"block{number}.depthwise", block.depthwise, *fold(block.depthwise, block.depthwise_norm))
        graph.conv(f"block{number}.pointwise", block.pointwise, *fold(block.pointwise, block.pointwise_norm))
        if block.residual:
            graph.add("Add", f"block{number}.sum", before)
    graph.add("GlobalAveragePool", "pool")
    graph.add("Flatten", "features")
    head = (
        graph.constant("head.w", net.head.weight.detach().numpy()),
        graph.constant("head.b", net.head.bias.detach().numpy()),
    )
    graph.add("Gemm", "logits", *head, transB=1)
    return _model(graph, len(windows.classes), seed)


def _model(graph: Graph, classes: int, seed: int) -> onnx.ModelProto:
    """The checked model around a finished graph."""
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "watch-cnn",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WINDOW * AXES])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
        producer_name="edgeproof examples/watch/train_cnn.py",
        doc_string=f"Seven shoulder exercises from a smartwatch; subjects 1 to 6, seed {seed}.",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Command line: train, fold, write, and say how well the result does on people it never saw."""
    parser = argparse.ArgumentParser(description="Train the smartwatch CNN and write it as ONNX.")
    parser.add_argument("path", type=Path, metavar="OUT.onnx")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    known, held_out = split(load_windows())
    net = train(known, arguments.seed)
    model = export(net, known, arguments.seed)
    arguments.path.write_bytes(model.SerializeToString(deterministic=True))
    mean, std = axis_scale(known)
    scaled = ((held_out.x.reshape(-1, WINDOW, AXES) - mean) / std).astype(np.float32).transpose(0, 2, 1)
    with torch.no_grad():
        right = net(torch.from_numpy(np.ascontiguousarray(scaled))).argmax(1).numpy() == held_out.y
    print(f"{arguments.path}: {arguments.path.stat().st_size} bytes, seed {arguments.seed}, {right.mean():.2%} right")


if __name__ == "__main__":
    main()
