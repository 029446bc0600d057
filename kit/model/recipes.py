"""The ways to make a variant, by name."""

from kit.errors import UsageError
from kit.records import Recipe


def _int8(name: str, *, per_channel: bool, reduce_range: bool = False) -> Recipe:
    return Recipe(name, "int8", per_channel, reduce_range, "uint8", "int8", "minmax")


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("fp32", "fp32"),
        _int8("int8-per-tensor", per_channel=False),
        _int8("int8-per-channel", per_channel=True),
        _int8("int8-per-channel-reduced", per_channel=True, reduce_range=True),
    )
}
"""Recipes by name. reduced: weights in 7 bits, which no processor's pair sums can saturate."""


def recipe_named(name: str) -> Recipe:
    """The recipe of that name; raises UsageError that lists those there are."""
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}", next_step=f"choose from {', '.join(RECIPES)}")
    return RECIPES[name]
