"""What a recipe keeps in float, by name, type and pattern."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from kit.errors import ConversionError, UsageError
from kit.model.quantize import VariantMaker
from kit.model.quantize.selectors import kept_nodes
from kit.model.session import HostSession
from kit.spec.recipe import parse_recipe
from tests.model.nets import mlp, normal

DATA = "sha256:" + "a" * 64


@pytest.fixture(scope="module")
def maker() -> VariantMaker:
    return VariantMaker(mlp(), normal(9, 64, 64), DATA)


@pytest.mark.parametrize(
    ("selector", "kept"),
    [
        ("/body/first", {"/body/first"}),
        ("type:Gemm", {"/body/first", "/head/last"}),
        ("name:/head/*", {"/head/last", "/head/softmax"}),
        ("name:*first", {"/body/first"}),
        ("name:/body/first", {"/body/first"}),
        ("name:/?ody/re*", {"/body/relu"}),
    ],
)
def test_selectors_take_nodes(selector: str, kept: set[str]) -> None:
    assert kept_nodes(mlp().proto.graph, [selector]) == kept


def test_selectors_add_up_and_none_takes_none() -> None:
    graph = mlp().proto.graph
    assert kept_nodes(graph, ["/body/first", "type:Relu"]) == {"/body/first", "/body/relu"}
    assert kept_nodes(graph, []) == frozenset()


@pytest.mark.parametrize(
    ("selector", "help_"),
    [
        ("/body/frist", "/body/first"),
        ("name:/heads/*", "/head/"),
        ("type:Conv", "Gemm, Relu, Softmax"),
        ("type:gemm", "Gemm"),
        ("something else entirely", "/body/first"),
        ("", "/body/first"),
    ],
)
def test_a_selector_that_takes_nothing_is_refused_with_what_is_near(selector: str, help_: str) -> None:
    with pytest.raises(UsageError, match="selects no node") as caught:
        kept_nodes(mlp().proto.graph, [selector], "net.onnx")
    assert help_ in caught.value.next_step
    assert caught.value.where == "net.onnx"


def test_a_node_may_have_a_name_that_looks_like_a_selector() -> None:
    graph = onnx.GraphProto()
    graph.node.add(name="type:Gemm", op_type="Relu")
    graph.node.add(name="other", op_type="Gemm")
    assert kept_nodes(graph, ["type:Gemm"]) == {"type:Gemm", "other"}


@pytest.mark.parametrize("base", ["int8-per-channel", "int8-dynamic", "int8-weights", "fp16"])
def test_every_precision_keeps_what_is_selected(maker: VariantMaker, base: str) -> None:
    recipe = replace(parse_recipe(base), name="kept", keep_float=("name:/body/*",))
    whole, kept = maker.make(parse_recipe(base)), maker.make(recipe)
    assert [line for line in kept.record.left_in_float if "/body/first: the recipe keeps it" in line]
    assert not [line for line in whole.record.left_in_float if "/body/first" in line]
    floats = [tuple(t.dims) for t in kept.model.proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert floats.count((64, 64)) == 1
    assert kept.record.recipe.keep_float == ("name:/body/*",)
    rows = normal(9, 64, 64)
    reference = HostSession(maker.reference.data).predict(rows)
    errors = [np.abs(HostSession(v.data, exact=True).predict(rows) - reference).max() for v in (whole, kept)]
    assert 0 < errors[1] < 0.02


@pytest.mark.parametrize("base", ["int8-per-tensor", "int8-dynamic", "int4-weights"])
def test_keeping_everything_leaves_nothing_to_quantize(maker: VariantMaker, base: str) -> None:
    recipe = replace(parse_recipe(base), keep_float=("type:Gemm",))
    with pytest.raises(
        ConversionError, match=r"nothing can be quantized: (Gemm|MatMul) /body/first: the recipe keeps it"
    ):
        maker.make(recipe)
