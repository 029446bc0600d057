"""What is asked for, read and checked before anything is measured or written."""

from dataclasses import dataclass
from pathlib import Path

from kit.errors import UsageError
from kit.model.convert import Converted, Options, reference_of
from kit.model.predict import predict_on_host
from kit.pipeline.checks import check_calibration, check_cost, check_float, check_runs_models, check_slices
from kit.records import ModelRecord, PredictionRecord
from kit.spec import load_dataset, load_device, load_profile
from kit.spec.types import Dataset, DeviceSpec, Profile


@dataclass(frozen=True, slots=True)
class Order:
    """A request to certify: names, or absolute paths so that it can be resumed from anywhere."""

    model: str
    data: str
    profile: str
    device: str
    variants: tuple[str, ...] = ()
    trust_pickle: bool = False


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that an order names, read and checked."""

    profile: Profile
    device: DeviceSpec
    dataset: Dataset
    converted: Converted
    source: ModelRecord
    reference_predictions: PredictionRecord
    recipes: tuple[str, ...]


def read_inputs(order: Order) -> Inputs:
    """Read profile, device file, dataset and model, and convert the model; writes nothing.

    Raises:
        EdgeproofError: the first thing that is wrong, with its place.
    """
    profile = load_profile(order.profile)
    device = load_device(order.device)
    check_runs_models(device)
    recipes = _recipes(order, profile)
    dataset = load_dataset(Path(order.data))
    check_calibration(recipes, dataset)
    converted = reference_of(
        Path(order.model),
        rows=dataset.test.inputs,
        options=Options(trust_pickle=order.trust_pickle),
        output=dataset.output_name,
    )
    source = converted.conversion.source if converted.conversion else converted.reference
    check_float(converted, recipes)
    check_cost(profile, device)
    check_slices(profile, dataset)
    return Inputs(profile, device, dataset, converted, source, predict_on_host(converted.data, dataset), recipes)


def _recipes(order: Order, profile: Profile) -> tuple[str, ...]:
    unknown = [name for name in order.variants if name not in profile.recipes]
    if unknown:
        raise UsageError(
            f"profile {profile.name} has no variant {unknown[0]!r}",
            next_step=f"choose among: {', '.join(profile.recipes)}",
        )
    return tuple(name for name in profile.recipes if not order.variants or name in order.variants)
