"""What the makers of variants share: a prepared model in, a quantized one out."""

from dataclasses import dataclass, field
from typing import Protocol

import onnx

from kit.model.calibrate.base import Ranges
from kit.records import Recipe, TensorInfo


@dataclass(frozen=True, slots=True)
class Prepared:
    """A float model made ready: shapes inferred, constants folded, every node with a name of its own.

    `where` names it in messages. `head` are nodes that make scores and stay in float. `skipped` says which steps of
    the preparation could not be done, and why, a sentence each.
    """

    proto: onnx.ModelProto = field(repr=False)
    where: str
    inputs: tuple[TensorInfo, ...]
    head: frozenset[str]
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quantized:
    """A quantized model; what stayed in float, each as ``operator name: why``; and what else to say of it."""

    proto: onnx.ModelProto = field(repr=False)
    left_in_float: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Maker(Protocol):
    """Applies one precision. `kept` are the nodes that the recipe's selectors keep in float."""

    def __call__(self, prepared: Prepared, recipe: Recipe, kept: frozenset[str], ranges: Ranges | None) -> Quantized:
        """The quantized model; ConversionError with the reason where nothing can be quantized."""
        ...
