"""Recipes that variants' files carry: read from the files, made again from the reference, and held against them.

Nothing of such a file is trusted or run: its recipe is data, and the variant that is certified is made here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from kit.errors import UsageError
from kit.model.load import LoadedModel, load_onnx
from kit.model.metadata import PREFIX, properties
from kit.model.quantize import Variant, make_variant
from kit.records import Recipe
from kit.spec.recipe import parse_recipe
from kit.spec.types import Dataset

MAX_RECIPE_CHARS = 1 << 20
"""Longest recipe that is read: one selector for each of thousands of nodes."""

MAX_SELECTORS = 4096
MAX_SELECTOR_CHARS = 1000

_KEPT = re.compile(r"\d{1,6}-[0-9a-f]{6}", re.ASCII)
_AGAIN = "make it again with edgeproof quantize, from this model with this dataset"


@dataclass(frozen=True, slots=True)
class AddedRecipe:
    """A recipe from a variant's file, with the file's name and digest, and what it says of where it comes from.

    It is kept in the order of a run, so that the run goes on where the file is not.
    """

    file: str
    digest: str
    recipe: Recipe
    parent: str
    calibration: str
    tool: str


def read_added(path: Path) -> AddedRecipe:
    """The recipe that the ONNX file at `path` carries.

    Raises:
        ModelError: it is no ONNX model, or a malformed one.
        UsageError: it carries no recipe, or one that this tool has not written.
    """
    model = load_onnx(path)
    said = {key.removeprefix(PREFIX): value for key, value in properties(model.proto).items() if key.startswith(PREFIX)}
    if "recipe" not in said:
        raise UsageError(
            f"it carries no recipe (property {PREFIX}recipe): no variant that edgeproof has made",
            where=str(path),
            next_step="give the best.onnx of edgeproof quantize --search, or what edgeproof quantize has written",
        )
    parent, calibration, tool = (said.get(key, "")[:200] for key in ("parent", "calibration", "tool"))
    return AddedRecipe(path.name, model.record.digest, _recipe(said["recipe"], str(path)), parent, calibration, tool)


def _recipe(text: str, where: str) -> Recipe:
    try:
        if len(text) > MAX_RECIPE_CHARS:
            raise ValueError(f"{len(text)} characters, more than {MAX_RECIPE_CHARS}")
        recipe = msgspec.json.decode(text, type=Recipe)
        check_written_here(recipe)
    except (msgspec.MsgspecError, ValueError, RecursionError, UsageError) as error:
        raise UsageError(
            f"its recipe is malformed: {str(error)[:300]}",
            where=where,
            next_step="make the file again, or leave it out",
        ) from None
    return recipe


def check_written_here(recipe: Recipe) -> None:
    """Check that a recipe is what its name says, save for what it keeps in float. Raises UsageError, ValueError."""
    base, mark, kept = recipe.name.partition("+float=")
    if len(recipe.name) > 200 or (mark and not _KEPT.fullmatch(kept)):
        raise ValueError(f"{recipe.name[:80]!r} is no name of a recipe")
    if recipe != replace(parse_recipe(base), name=recipe.name, keep_float=recipe.keep_float):
        raise ValueError(f"it says something else than its name, {recipe.name!r}")
    if recipe.precision == "fp32":
        raise ValueError("fp32 is the model itself")
    if len(recipe.keep_float) > MAX_SELECTORS or any(len(each) > MAX_SELECTOR_CHARS for each in recipe.keep_float):
        raise ValueError(f"more than {MAX_SELECTORS} selectors, or one of more than {MAX_SELECTOR_CHARS} characters")


def with_added(recipes: dict[str, Recipe], added: Iterable[AddedRecipe]) -> dict[str, Recipe]:
    """`recipes` and those added, by name.

    Raises:
        UsageError: two recipes of one name differ, or an added one is malformed (a run folder may come from anyone).
    """
    merged = dict(recipes)
    for each in added:
        try:
            check_written_here(each.recipe)
        except ValueError as error:
            raise UsageError(
                f"its recipe is malformed: {error}", where=each.file, next_step="start a new run"
            ) from None
        if merged.setdefault(each.recipe.name, each.recipe) != each.recipe:
            raise UsageError(
                f"its recipe has the name of another that competes, {each.recipe.name!r}, but is another",
                where=each.file,
                next_step="leave one of the two out: --variant names which of the profile's compete",
            )
    return merged


def make_added(added: AddedRecipe, reference: LoadedModel, dataset: Dataset) -> Variant:
    """The variant by an added recipe, made again from `reference`; its notes say that its bytes are the file's.

    Raises:
        UsageError: the file was made from another model, or its bytes are not those made here, with the reason.
        ConversionError: the recipe cannot be applied to this model.
    """
    digest, part = reference.record.digest, dataset.calibration
    if added.parent != digest:
        raise UsageError(
            f"it was made from another model: from {_named(added.parent)}, and the reference here is {digest}",
            where=added.file,
            next_step="give the model that it was made from",
        )
    rows, calibration = (part.inputs, part.record.data_digest) if part else (None, None)
    made = make_variant(reference, added.recipe, rows, calibration)
    if made.record.model.digest != added.digest:
        why = _why_different(added, properties(made.model.proto))
        raise UsageError(f"making it again gives other bytes: {why}", where=added.file, next_step=_AGAIN)
    notes = (_same_bytes(added, dataset), *made.record.notes)
    return replace(made, record=replace(made.record, notes=notes))


def _same_bytes(added: AddedRecipe, dataset: Dataset) -> str:
    same = f"the same bytes as {added.file}, made again by its recipe"
    if dataset.selection is not None:
        return same
    return f"{same}; the dataset has no selection part: if rows that are judged here chose the recipe, they flatter it"


def _why_different(added: AddedRecipe, made: dict[str, str]) -> str:
    """What the file and the variant made here say differently of themselves."""
    reasons = []
    if added.calibration != (here := made.get(f"{PREFIX}calibration", "")):
        reasons.append(f"it was calibrated on other rows ({_named(added.calibration)}; here {_named(here)})")
    if added.tool != (tool := made[f"{PREFIX}tool"]):
        reasons.append(f"it was made by {added.tool!r}, and this is {tool!r}")
    return " and ".join(reasons) or "it was changed since it was made, or made on another kind of processor"


def _named(digest: str) -> str:
    return digest if re.fullmatch(r"[\w:]+", digest, re.ASCII) else repr(digest) if digest else "none"
