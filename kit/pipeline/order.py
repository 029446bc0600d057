"""What is asked for, read and checked before anything is measured or written."""

from dataclasses import dataclass
from pathlib import Path

from kit.errors import UsageError
from kit.model.convert import Converted, Options, reference_of
from kit.model.predict import predict_on_host
from kit.model.quantize import Variant
from kit.pipeline.added import AddedRecipe, make_added, with_added
from kit.pipeline.checks import (
    check_calibration,
    check_cost,
    check_float,
    check_frugal,
    check_looks,
    check_measures,
    check_runs_models,
    check_slices,
    check_trusted,
)
from kit.pipeline.given import given_variants
from kit.pipeline.looking import tolerated, with_joined_clusters
from kit.records import ModelRecord, PredictionRecord, Recipe
from kit.spec import load_dataset, load_device, load_profile
from kit.spec.recipe import parse_recipe
from kit.spec.types import Dataset, DeviceSpec, Profile
from kit.task.answers import LISTED, outputs_asked


@dataclass(frozen=True, slots=True)
class Order:
    """A request to certify: names, or absolute paths so that it can be resumed from anywhere.

    `variants` are those of the profile that compete, all if empty; the recipes `added` compete besides. Where there are
    files `given`, they compete and nothing else is made. `rows_only`: judge what rows show, without timing or metering;
    `frugal`: send rows to the device until the requirements are decided. `trust_measures`: run the profile's own code.
    """

    model: str
    data: str
    profile: str
    device: str
    variants: tuple[str, ...] = ()
    trust_pickle: bool = False
    added: tuple[AddedRecipe, ...] = ()
    given: tuple[str, ...] = ()
    rows_only: bool = False
    frugal: bool = False
    trust_measures: bool = False


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that an order names, read and checked. `made` are the variants that are there already, by name.

    `dataset` is what judges; `as_loaded` is without the changes that tolerated faults ask for.
    """

    profile: Profile
    device: DeviceSpec
    dataset: Dataset
    converted: Converted
    source: ModelRecord
    reference_predictions: PredictionRecord
    recipes: dict[str, Recipe]
    made: dict[str, Variant]
    as_loaded: Dataset
    rows_only: bool = False
    frugal: bool = False


def read_inputs(order: Order) -> Inputs:
    """Read profile, device file, dataset and model, and convert the model; writes nothing.

    Raises:
        EdgeproofError: the first thing that is wrong, with its place.
    """
    profile = load_profile(order.profile)
    device = load_device(order.device)
    check_runs_models(device)
    recipes = _recipes(order, profile)
    check_trusted(profile, trusted=order.trust_measures)
    as_loaded = load_dataset(Path(order.data), tolerated(profile))
    if order.frugal:
        check_frugal(profile, as_loaded)
    dataset = with_joined_clusters(as_loaded, profile)
    check_calibration(recipes, dataset)
    converted = reference_of(
        Path(order.model),
        rows=dataset.test.inputs,
        options=Options(trust_pickle=order.trust_pickle),
        output=outputs_asked(dataset.task, dataset.output_name, dataset.output)[0],
        lists=dataset.task in LISTED,
    )
    source = converted.conversion.source if converted.conversion else converted.reference
    check_float(converted, recipes)
    if not order.rows_only:
        check_cost(profile, device)
    check_slices(profile, dataset)
    check_measures(profile, dataset)
    check_looks(profile, as_loaded)
    made = {each.recipe.name: make_added(each, converted.model, dataset) for each in order.added}
    made |= given_variants(order.given, converted.model, dataset)
    recipes |= {name: variant.record.recipe for name, variant in made.items()}
    predictions = predict_on_host(converted.data, dataset)
    return Inputs(
        profile, device, dataset, converted, source, predictions, recipes, made, as_loaded, order.rows_only,
        order.frugal,
    )  # fmt: skip


def _recipes(order: Order, profile: Profile) -> dict[str, Recipe]:
    """The recipes that compete, by name: the profile's, or those of them that were named, and those added."""
    added = [each.recipe.name for each in order.added]
    known = [*profile.recipes, *(name for name in added if name not in profile.recipes)]
    unknown = [name for name in order.variants if name not in known]
    if unknown:
        raise UsageError(
            f"profile {profile.name} has no variant {unknown[0]!r}", next_step=f"choose among: {', '.join(known)}"
        )
    if order.given:
        return with_added({}, order.added)
    asked = [name for name in profile.recipes if not order.variants or name in order.variants]
    return with_added({name: parse_recipe(name) for name in asked}, order.added)
