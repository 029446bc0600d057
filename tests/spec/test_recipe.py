"""The grammar of recipe names: a base, then what is changed about it."""

import pytest

from kit.errors import UsageError
from kit.spec.recipe import BASES, BLOCK_SIZE, DEFAULT_PERCENTILE, MODIFIERS, parse_recipe


@pytest.mark.parametrize("name", BASES)
def test_every_base_is_itself(name: str) -> None:
    assert parse_recipe(name) == BASES[name]
    assert BASES[name].name == name


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("int8-per-channel", {"calibration": "minmax", "per_channel": True, "percentile": None}),
        ("int8-per-channel+percentile", {"calibration": "percentile", "percentile": DEFAULT_PERCENTILE}),
        ("int8-per-channel+percentile=99.9", {"calibration": "percentile", "percentile": 99.9}),
        ("int8-per-tensor+percentile=99.9+entropy", {"calibration": "entropy", "percentile": None}),
        ("int8-per-tensor+moving-average", {"calibration": "moving-average"}),
        ("int8-per-tensor+mse", {"calibration": "mse"}),
        ("int8-per-tensor+entropy+minmax", {"calibration": "minmax"}),
        ("int8-per-tensor+reduced", {"reduce_range": True, "per_channel": False}),
        ("int8-per-tensor+per-channel", {"per_channel": True}),
        ("int8-s8s8+equalize+bias", {"equalize": True, "correct_bias": True, "activation_dtype": "int8"}),
        ("int8-u8u8", {"weight_dtype": "uint8", "activation_dtype": "uint8"}),
        ("int8-dynamic+reduced+per-channel", {"reduce_range": True, "per_channel": True, "calibration": ""}),
        ("int8-weights", {"block_size": BLOCK_SIZE, "weight_dtype": "int8"}),
        ("int4-weights+block=128", {"block_size": 128, "weight_dtype": "int4"}),
    ],
)
def test_what_a_name_means(name: str, changed: dict[str, object]) -> None:
    recipe = parse_recipe(name)
    assert recipe.name == name
    assert {key: getattr(recipe, key) for key in changed} == changed


def test_changes_leave_the_rest_as_it_was() -> None:
    base, changed = parse_recipe("int8-per-channel"), parse_recipe("int8-per-channel+bias")
    fields = [f for f in base.__dataclass_fields__ if getattr(base, f) != getattr(changed, f)]
    assert fields == ["name", "correct_bias"]


def test_order_does_not_matter_where_nothing_is_said_twice() -> None:
    one, two = (parse_recipe(f"int8-per-tensor+{changes}") for changes in ("bias+reduced", "reduced+bias"))
    assert (one.correct_bias, one.reduce_range) == (two.correct_bias, two.reduce_range) == (True, True)


@pytest.mark.parametrize(
    ("name", "says", "fix"),
    [
        ("int8-per-chanel", "there is no recipe 'int8-per-chanel'", "did you mean 'int8-per-channel'?"),
        ("bf16", "there is no recipe 'bf16'", "did you mean 'fp16'?"),
        ("zzz", "there is no recipe 'zzz'", "choose from fp32, fp16"),
        ("", "there is no recipe ''", "choose from fp32"),
        ("int8-per-tensor+entorpy", "there is no 'entorpy'", "did you mean 'entropy'?"),
        ("int8-per-tensor+", "there is no ''", "choose from minmax"),
        ("int8-per-tensor+bias=2", "there is no 'bias=2'", "bias"),
        ("int8-per-tensor+percentile=101", "'101' is no percentile", "above 50 and at most 100"),
        ("int8-per-tensor+percentile=50", "'50' is no percentile", "above 50"),
        ("int8-per-tensor+percentile=nan", "'nan' is no percentile", "above 50"),
        ("int8-per-tensor+percentile=many", "'many' is no percentile", "such as 99.9"),
        ("int4-weights+block=31", "'31' is no block size", "16, 32, 64, 128 or 256"),
        ("int4-weights+block", "'' is no block size", "16, 32"),
        ("int8-per-tensor+block=32", "int8-per-tensor does not take 'block'", "it takes minmax"),
        ("fp16+entropy", "fp16 does not take 'entropy'", "it takes nothing"),
        ("int8-dynamic+equalize", "int8-dynamic does not take 'equalize'", "it takes reduced, per-channel"),
        ("int4-weights+bias", "int4-weights does not take 'bias'", "it takes block"),
    ],
)
def test_each_mistake_says_what_is_right(name: str, says: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_recipe(name)
    assert says in caught.value.what
    assert fix in caught.value.next_step


def test_every_modifier_holds_for_some_base() -> None:
    precisions = {recipe.precision for recipe in BASES.values()}
    for name, (kinds, _) in MODIFIERS.items():
        assert precisions.issuperset(kinds), name
