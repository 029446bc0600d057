"""The names of recipes: a base, then what is changed about it, as in ``int8-per-channel+percentile=99.9+equalize``."""

from collections.abc import Callable, Collection
from dataclasses import replace

from kit.errors import UsageError
from kit.records import Recipe

DEFAULT_PERCENTILE = 99.999
"""Share of values inside the range, in %: onnxruntime's default for percentile calibration."""

BLOCK_SIZE = 32
"""Weights that share a scale in weight-only recipes: what most runtimes have kernels for."""


def _static(name: str, *, per_channel: bool, reduce_range: bool = False, dtypes: str = "u8s8") -> Recipe:
    activation, weight = ("uint8" if kind == "u8" else "int8" for kind in (dtypes[:2], dtypes[2:]))
    return Recipe(name, "int8", per_channel, reduce_range, activation, weight, "minmax")


BASES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("fp32", "fp32"),
        Recipe("fp16", "fp16"),
        _static("int8-per-tensor", per_channel=False),
        _static("int8-per-channel", per_channel=True),
        _static("int8-per-channel-reduced", per_channel=True, reduce_range=True),
        _static("int8-s8s8", per_channel=True, dtypes="s8s8"),
        _static("int8-u8u8", per_channel=False, dtypes="u8u8"),
        Recipe("int8-dynamic", "int8-dynamic", activation_dtype="uint8", weight_dtype="int8"),
        Recipe("int8-weights", "int8-weights", weight_dtype="int8", block_size=BLOCK_SIZE),
        Recipe("int4-weights", "int4-weights", weight_dtype="int4", block_size=BLOCK_SIZE),
    )
}
"""Recipes by name. u8s8: unsigned activations, signed weights. reduced: weights in 7 bits, which no processor's pair
sums can saturate."""

_STATIC = ("int8",)
_QUANTIZED = ("int8", "int8-dynamic")


def _percentile(recipe: Recipe, value: str) -> Recipe:
    try:
        share = float(value or DEFAULT_PERCENTILE)
    except ValueError:
        share = 0.0
    if not 50.0 < share <= 100.0:
        raise UsageError(f"{value!r} is no percentile", next_step="give one above 50 and at most 100, such as 99.9")
    return replace(recipe, calibration="percentile", percentile=share)


def _block(recipe: Recipe, value: str) -> Recipe:
    if value not in ("16", "32", "64", "128", "256"):
        raise UsageError(f"{value!r} is no block size", next_step="give 16, 32, 64, 128 or 256")
    return replace(recipe, block_size=int(value))


MODIFIERS: dict[str, tuple[tuple[str, ...], Callable[[Recipe, str], Recipe]]] = {
    "minmax": (_STATIC, lambda recipe, _: replace(recipe, calibration="minmax", percentile=None)),
    "moving-average": (_STATIC, lambda recipe, _: replace(recipe, calibration="moving-average", percentile=None)),
    "percentile": (_STATIC, _percentile),
    "entropy": (_STATIC, lambda recipe, _: replace(recipe, calibration="entropy", percentile=None)),
    "mse": (_STATIC, lambda recipe, _: replace(recipe, calibration="mse", percentile=None)),
    "reduced": (_QUANTIZED, lambda recipe, _: replace(recipe, reduce_range=True)),
    "per-channel": (_QUANTIZED, lambda recipe, _: replace(recipe, per_channel=True)),
    "equalize": (_STATIC, lambda recipe, _: replace(recipe, equalize=True)),
    "bias": (_STATIC, lambda recipe, _: replace(recipe, correct_bias=True)),
    "block": (("int8-weights", "int4-weights"), _block),
}
"""What may follow a base, the precisions that it holds for, and what it changes."""

_VALUED = ("percentile", "block")


def parse_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UsageError: no such base or modifier, one that this base does not take, or a value that it does not.
    """
    base, *changes = name.split("+")
    if base not in BASES:
        raise UsageError(f"there is no recipe {base!r}", next_step=_nearest(base, BASES))
    recipe = BASES[base]
    for change in changes:
        key, _, value = change.partition("=")
        if key not in MODIFIERS or (value and key not in _VALUED):
            raise UsageError(f"recipe {name!r}: there is no {change!r}", next_step=_nearest(key, MODIFIERS))
        precisions, apply = MODIFIERS[key]
        if recipe.precision not in precisions:
            takes = [each for each, (kinds, _) in MODIFIERS.items() if recipe.precision in kinds]
            means = f"it takes {', '.join(takes)}" if takes else "it takes nothing"
            raise UsageError(f"recipe {name!r}: {base} does not take {key!r}", next_step=means)
        recipe = apply(recipe, value)
    return replace(recipe, name=name)


def _nearest(word: str, known: Collection[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"
