"""Treatments: what is done to a model before any precision is given back, and a model to simulate each on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import onnx

from kit.digest import digest_bytes
from kit.errors import ConversionError, ModelError
from kit.model.calibrate import Method
from kit.model.feeds import Feeds
from kit.model.graph import PRODUCTS
from kit.model.quantize import Variant, VariantMaker, method_of
from kit.model.quantize.base import Prepared
from kit.model.search.base import Target
from kit.model.search.cost import CostModel
from kit.model.search.simulate import Setting, Simulation
from kit.records import Float32Array, Recipe
from kit.spec.recipe import parse_recipe

BASES: dict[str, tuple[str, ...]] = {
    "exact": ("int8-per-tensor", "int8-per-channel"),
    "default": ("int8-per-tensor", "int8-per-channel"),
    "saturating": ("int8-u8u8", "int8-per-channel-reduced"),
}
"""Recipes to start from, by the target's arithmetic: for a processor whose pair sums saturate, those that cannot."""

WHOLE = ("fp16", "int8-weights", "int4-weights")
"""Recipes for a whole model, without int8 sums: nothing to calibrate, and nothing that a processor could saturate."""

METHODS = (
    Method("percentile", 99.9),
    Method("minmax"),
    Method("moving-average"),
    Method("percentile", 99.99),
    Method("mse"),
    Method("entropy"),
)
"""Calibrations that are tried; the first is what a simulated model is quantized with."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """A base recipe with a calibration, and with biases corrected or not."""

    base: str
    method: Method
    equalize: bool
    correct_bias: bool

    def recipe(self, kept: frozenset[str] = frozenset()) -> Recipe:
        """Its recipe with `kept` nodes in float."""
        method = f"percentile={self.method.percentile}" if self.method.percentile else self.method.name
        name = f"{self.base}+{method}" + "+equalize" * self.equalize + "+bias" * self.correct_bias
        recipe = parse_recipe(name)
        if not kept:
            return recipe
        selectors = tuple(f"name:{_escaped(each)}" for each in sorted(kept))
        digest = digest_bytes("\n".join(selectors).encode()).rpartition(":")[2]
        return replace(recipe, name=f"{name}+float={len(kept)}-{digest[:6]}", keep_float=selectors)


def _escaped(name: str) -> str:
    """A pattern that takes this name alone."""
    return "".join(f"[{each}]" if each in "*?[" else each for each in name)


def bases_for(target: Target) -> tuple[str, ...]:
    """Recipes to start from on a target: static int8, then those for a whole model."""
    return target.bases or (*BASES[target.arithmetic], *WHOLE)


def everywhere_bases() -> tuple[str, ...]:
    """Recipes to start from for a variant that must decide the same on every processor."""
    return (*BASES["saturating"], *WHOLE)


class Ground:
    """One quantized model, on which every calibration and mixed precision of its base is simulated.

    Args:
        maker: makes it, with one call of the quantizer.
        base: name of the base recipe.
        output: name of the output with scores.
        equalize: whether scales are moved between layers first.

    Raises:
        ConversionError: nothing can be quantized, or int8 cannot be simulated on this model.
    """

    def __init__(self, maker: VariantMaker, base: str, output: str, *, equalize: bool) -> None:
        self.base, self.equalize = base, equalize
        self.first = Treatment(base, METHODS[0], self.equalize, correct_bias=False)
        quantized = maker.quantized(self.first.recipe())
        self.variant: Variant = maker.finished(self.first.recipe(), quantized)
        self._maker = maker
        self._prepared = maker.prepared(self.equalize)
        self._simulation = _simulation(self._prepared, quantized.proto, maker.feeds, output)
        file = onnx.ModelProto.FromString(self.variant.data)
        self._costs = CostModel(self._prepared, file, self.variant.record.model.size_bytes)

    @property
    def rows_run(self) -> int:
        """Rows simulated so far."""
        return self._simulation.rows_run

    def treatments(self) -> Iterator[Treatment]:
        """Every treatment of this base."""
        for method in METHODS:
            for correct_bias in (False, True):
                yield Treatment(self.base, method, self.equalize, correct_bias)

    def scores(self, feeds: Feeds, treatment: Treatment, kept: frozenset[str]) -> Float32Array:
        """Simulated scores of a treatment with `kept` nodes in float."""
        ranges = self._maker.ranges(method_of(treatment.recipe()), self.equalize)
        return self._simulation.scores(feeds, Setting(kept, ranges, treatment.correct_bias))

    def size_bytes(self, kept: frozenset[str]) -> int:
        """Predicted size of the file with `kept` nodes in float."""
        return self._costs.size_bytes(self._simulation.rules.rounded(kept), kept)

    def work(self, kept: frozenset[str]) -> float:
        """Predicted work of a run with `kept` nodes in float, in int8 multiplications."""
        return self._costs.work(kept)

    @cached_property
    def units(self) -> tuple[str, ...]:
        """Nodes that may be kept in float: products, and what else rounds tensors."""
        return self._simulation.rules.units

    @cached_property
    def products(self) -> frozenset[str]:
        """Units that multiply."""
        graph = self._prepared.proto.graph
        return frozenset(node.name for node in graph.node if node.op_type in PRODUCTS) & set(self.units)

    def with_neighbours(self, kept: frozenset[str]) -> frozenset[str]:
        """`kept` and, of the units that do not multiply, those beside a kept product: alone they would only round."""
        return kept | {unit for unit, beside in self._beside.items() if beside & kept}

    @cached_property
    def _beside(self) -> dict[str, frozenset[str]]:
        """By unit that does not multiply: the products next to it, seen through what only passes on."""
        graph = self._prepared.proto.graph
        units = set(self.units)
        sources: dict[str, frozenset[str]] = {}
        beside: dict[str, set[str]] = {name: set() for name in units - self.products}
        for node in graph.node:
            made_by = frozenset().union(*(sources.get(name, frozenset()) for name in node.input))
            for unit in made_by | ({node.name} if node.name in units else frozenset()):
                others = made_by | {node.name} if unit == node.name else frozenset({node.name})
                if unit in beside:
                    beside[unit] |= others & self.products
            own = frozenset({node.name}) if node.name in units else made_by
            sources.update(dict.fromkeys(node.output, own))
        return {unit: frozenset(products) for unit, products in beside.items()}


def _simulation(prepared: Prepared, proto: onnx.ModelProto, feeds: Feeds | None, output: str) -> Simulation:
    try:
        return Simulation(prepared, proto, frozenset(), feeds, output)
    except ModelError as error:
        raise ConversionError(error.what, where=error.where, next_step="make its variants one by one") from None


def equalizations(maker: VariantMaker) -> tuple[bool, ...]:
    """Whether to equalize: both ways where scales can be moved at all. It mends what has uneven channels, and may harm
    what has even ones."""
    plain, moved = (maker.prepared(equalize).proto.SerializeToString() for equalize in (False, True))
    return (False, True) if plain != moved else (False,)
