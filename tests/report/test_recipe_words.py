"""Recipes in words, as reports name them."""

from dataclasses import replace

import pytest

from kit.records import VariantEvidence
from kit.report.sections.variants import made_of
from kit.spec.recipe import BASES, parse_recipe
from tests import builders


def words(name: str, *kept: str) -> str:
    known: VariantEvidence = builders.evidence().variants[0]
    recipe = replace(parse_recipe(name), keep_float=kept)
    return made_of(replace(known, variant=replace(known.variant, recipe=recipe)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fp32", "fp32"),
        ("fp16", "fp16 inside, float32 at the interface"),
        ("int8-per-tensor", "int8, per tensor"),
        ("int8-per-channel-reduced", "int8, per channel, reduced range"),
        ("int8-s8s8", "int8, per channel, signed activations"),
        ("int8-u8u8", "int8, per tensor, unsigned weights"),
        ("int8-per-channel+percentile=99.9", "int8, per channel, ranges by percentile 99.9"),
        ("int8-per-tensor+mse+equalize+bias", "int8, per tensor, ranges by mse, equalized, biases corrected"),
        ("int8-dynamic", "int8 weights, ranges of activations found at run time"),
        ("int8-weights", "int8 weights of matrix products, blocks of 32"),
        ("int4-weights+block=64", "int4 weights of matrix products, blocks of 64"),
    ],
)
def test_a_recipe_is_said_in_words(name: str, said: str) -> None:
    assert words(name) == said


def test_what_is_kept_in_float_is_counted() -> None:
    assert words("int8-per-tensor", "a") == "int8, per tensor, 1 selector of nodes kept in float"
    assert words("fp16", "a", "type:Conv").endswith(", 2 selectors of nodes kept in float")


def test_every_base_has_words_of_its_own() -> None:
    said = [words(name) for name in BASES]
    assert len(set(said)) == len(said)
