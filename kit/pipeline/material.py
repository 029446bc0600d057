"""What a user gives to quantize: model, data, profile, device and recipes, read and checked before anything is made."""

from dataclasses import dataclass, replace
from pathlib import Path

from kit.digest import digest_bytes
from kit.errors import UsageError
from kit.model.convert.rows import rows_from
from kit.model.feeds import Feeds, as_feeds
from kit.model.load import LoadedModel, load_onnx
from kit.pipeline.checks import check_runs_models
from kit.records import Recipe
from kit.spec import load_dataset, load_device, load_profile
from kit.spec.recipe import parse_recipe
from kit.spec.types import Dataset, DeviceSpec, Profile

DEFAULT_RECIPE = "int8-per-channel"


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks for; names, or paths."""

    model: Path
    data: Path | None = None
    profile: str | None = None
    device: str | None = None
    recipes: tuple[str, ...] = ()
    keep_float: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that a request names, read and checked.

    feeds: typical inputs for calibration, None without any. `dataset` is None where there are only rows, or nothing.
    """

    reference: LoadedModel
    profile: Profile | None
    spec: DeviceSpec | None
    dataset: Dataset | None
    feeds: Feeds | None
    calibration_digest: str | None
    recipes: tuple[Recipe, ...]


def read_request(request: Request) -> Material:
    """Read profile, device file, data and model; nothing is run or written yet.

    Raises:
        EdgeproofError: the first thing that is wrong, with its place.
    """
    profile = load_profile(request.profile) if request.profile else None
    spec = load_device(request.device) if request.device else None
    if spec is not None:
        check_runs_models(spec)
    recipes = _recipes(request, profile)
    reference = load_model(request.model)
    dataset, feeds, digest = _data(request.data, reference)
    _check_feeds(recipes, feeds, request.data)
    return Material(reference, profile, spec, dataset, feeds, digest, recipes)


def load_model(path: Path) -> LoadedModel:
    """The float model at `path`. Raises ModelError, UsageError for a source that must be converted first."""
    from kit.model.saturation import saturation_record

    if path.is_dir() or path.suffix.lower() not in ("", ".onnx"):
        raise UsageError(
            "quantizing starts from ONNX",
            where=str(path),
            next_step=f"convert it first: edgeproof convert {path} -o {path.with_suffix('.onnx').name}",
        )
    model = load_onnx(path)
    quantized = saturation_record(model.proto).quantized_nodes
    if quantized:
        raise UsageError(
            f"the model is already quantized ({quantized} int8 products)",
            where=str(path),
            next_step="give the float model that it was made from",
        )
    return model


def _recipes(request: Request, profile: Profile | None) -> tuple[Recipe, ...]:
    """The recipes asked for, without those that leave the model as it is."""
    names = request.recipes or (profile.recipes if profile else ()) or (DEFAULT_RECIPE,)
    recipes = [replace(parse_recipe(name), keep_float=request.keep_float) for name in dict.fromkeys(names)]
    found = tuple(each for each in recipes if each.precision != "fp32")
    if not found:
        raise UsageError("fp32 is the model itself: there is nothing to make", next_step="name another --recipe")
    return found


def _data(path: Path | None, reference: LoadedModel) -> tuple[Dataset | None, Feeds | None, str | None]:
    """Dataset, typical inputs by name, and the digest of those."""
    if path is None:
        return None, None, None
    inputs, name = reference.record.inputs, reference.record.name
    if path.suffix.lower() == ".toml":
        dataset = load_dataset(path)
        part = dataset.calibration
        as_feeds(dataset.test.inputs, inputs, name)
        return (dataset, None, None) if part is None else (
            dataset, as_feeds(part.inputs, inputs, name), part.record.data_digest,
        )  # fmt: skip
    rows = rows_from(path)
    if isinstance(rows, dict) and {each.name for each in inputs} <= rows.keys():
        rows = {each.name: rows[each.name] for each in inputs}
    feeds = as_feeds(rows, inputs, str(path))
    return None, feeds, digest_of(feeds)


def digest_of(feeds: Feeds) -> str:
    """Digest of the content: name, dtype, shape and bytes of every array, in the order of names."""
    heads = (f"{name} {feeds[name].dtype} {list(feeds[name].shape)}\n".encode() for name in sorted(feeds))
    parts = (head + feeds[name].tobytes() for head, name in zip(heads, sorted(feeds), strict=True))
    return digest_bytes(b"edgeproof rows 1\n" + b"".join(parts))


def _check_feeds(recipes: tuple[Recipe, ...], feeds: Feeds | None, path: Path | None) -> None:
    needing = [each.name for each in recipes if each.precision == "int8"]
    if needing and feeds is None:
        missing = "the dataset has no calibration part" if path else "there is no --data"
        raise UsageError(
            f"{needing[0]} needs typical inputs to find its ranges, and {missing}",
            where=str(path or ""),
            next_step='add a [[part]] with role = "calibration"'
            if path
            else "give --data: a manifest, .npz or .npy; or a recipe that needs none, such as int8-dynamic or fp16",
        )
