"""The main job, in order: deploy each variant, measure it, judge, certify, report. Each step is journaled."""

from contextlib import closing
from functools import partial

from kit.device import open_device
from kit.device.base import Device
from kit.errors import ConversionError
from kit.measure import measure_energy, measure_latency, measure_memory, predict_part
from kit.meter import open_meter
from kit.model.predict import predict_saturating
from kit.model.quantize import INT8, make_variant
from kit.model.session import runs_exactly
from kit.model.weights import file_sizes
from kit.pipeline.asked import Asked, asked_seconds, asks
from kit.pipeline.evidence import Bundle, load_bundle
from kit.pipeline.frugal import predict_rest, sample_variant
from kit.pipeline.order import Inputs
from kit.pipeline.same_device import require_same_device
from kit.pipeline.watched import watched_on
from kit.pipeline.watcher import waiting_for
from kit.pipeline.work import Watcher, Work
from kit.records import (
    ConversionRecord,
    DeviceRecord,
    EnergyRecord,
    LatencyRecord,
    MemoryRecord,
    PredictionRecord,
    SampleRecord,
    VariantRecord,
)
from kit.store import Run

ON_THE_CLOCK = ("latency", "memory", "energy")
"""What is measured while the device is watched; a check of rows leaves it out."""


def expected_seconds(inputs: Inputs) -> dict[str, float]:
    """The steps of a run and what each may take, s: for the estimate of the time left only."""
    plan = inputs.profile.measure
    each = {
        "variant": 1.0,
        "predictions": 1.0,
        "exact_predictions": 0.7,
        "saturating_predictions": 3.0,
        "latency": plan.latency_min_s + 0.5,
        "memory": 0.3 * plan.memory_sessions,
        "energy": (1.4 * plan.energy_windows + 2) * plan.energy_window_s,
    }
    each |= {"sample": 1.0} if inputs.frugal else {}
    each |= asked_seconds(inputs) | (dict.fromkeys(ON_THE_CLOCK, 0.0) if inputs.rows_only else {})
    steps = {f"{kind}/{name}": seconds for name in inputs.recipes for kind, seconds in each.items()}
    return {"dataset/checks": 1.0, "device/identity": 1.0} | steps


def measure(inputs: Inputs, run: Run, watcher: Watcher) -> Bundle:
    """Do every step that the run has not done yet, and read all of it back.

    Raises:
        DeviceError: the device or its link failed; the steps already done are kept in the run.
    """
    work = Work(inputs, run, watcher)
    _record_inputs(work)
    asked = Asked(work)
    asked.first()
    models = _make_variants(work)
    todo = [name for name in expected_seconds(inputs) if name not in run.steps]
    if todo:
        watcher.start(waiting_for(inputs.device))
        with closing(open_device(inputs.device)) as device:
            _identify(work, device)
            for name, data in models.items():
                _measure_variant(work, asked, device, name, data)
    return load_bundle(run)


def _record_inputs(work: Work) -> None:
    """The plan: inputs and limits are on record before the first sample is taken."""
    inputs, run = work.inputs, work.run
    for name, record in (
        ("plan/profile", inputs.profile),
        ("plan/device", inputs.device),
        ("model/source", inputs.source),
        ("model/reference", inputs.converted.reference),
        ("model/predictions", inputs.reference_predictions),
        ("dataset/test", inputs.dataset.test.record),
    ):
        if name not in run.steps:
            run.put(name, record)
    run.optional_step("model/conversion", ConversionRecord, lambda: inputs.converted.conversion)
    run.put_object(inputs.converted.data)


def _make_variants(work: Work) -> dict[str, bytes]:
    """Every variant that can be made of this model; of one that cannot, the reason is on record."""
    models: dict[str, bytes] = {}
    for name in work.inputs.recipes:
        record = work.step(f"variant/{name}", VariantRecord, partial(_try_variant, work, name))
        if record is not None:
            models[name] = work.run.objects.get(record.model.digest)
    if not models:
        reasons = "; ".join(f"{name}: {work.run.get(f'not-made/{name}', str)}" for name in work.inputs.recipes)
        raise ConversionError(
            f"no variant of the profile can be made of this model: {reasons}",
            where=work.inputs.source.name,
            next_step="add the recipe fp32 to the profile, which every model has",
        )
    return models


def _try_variant(work: Work, name: str) -> VariantRecord | None:
    try:
        return _make_variant(work, name)
    except ConversionError as error:
        work.run.put(f"not-made/{name}", error.what)
        return None


def _make_variant(work: Work, name: str) -> VariantRecord:
    calibration = work.inputs.dataset.calibration
    variant = work.inputs.made.get(name) or make_variant(
        work.inputs.converted.model,
        work.inputs.recipes[name],
        calibration.inputs if calibration else None,
        calibration.record.data_digest if calibration else None,
        work.progress,
    )
    work.run.put_object(variant.data)
    return variant.record


def _identify(work: Work, device: Device) -> None:
    known = work.step("device/identity", DeviceRecord, device.identify)
    require_same_device(known, device.identify(), work.inputs.device.name)


def _measure_variant(work: Work, asked: Asked, device: Device, name: str, data: bytes) -> None:
    inputs, spec = work.inputs, work.inputs.device
    part, plan, rows = inputs.dataset.test, inputs.profile.measure, inputs.dataset.test.inputs
    variant = work.run.get(f"variant/{name}", VariantRecord)
    digest = device.deploy(data)

    def predict(exact: bool) -> PredictionRecord:
        return predict_part(
            device, digest, part, output=inputs.dataset.output_name, exact=exact, spec=spec, progress=work.progress,
            reading=inputs.dataset.output,
        )  # fmt: skip

    def exact() -> PredictionRecord | None:
        quantized = variant.recipe.precision in INT8 or variant.saturation.quantized_nodes > 0
        wanted = not inputs.frugal or asks(inputs, "numerics.")
        return predict(exact=True) if wanted and quantized and runs_exactly(data) else None

    def saturating() -> PredictionRecord | None:
        return predict_saturating(data, inputs.dataset) if variant.saturation.can_saturate else None

    def whole() -> PredictionRecord | None:
        return predict(exact=False) if sample is None else predict_rest(work, device, name, digest, sample)

    sample = None
    if inputs.frugal:
        sample = work.step(f"sample/{name}", SampleRecord, lambda: sample_variant(work, device, name, data, digest))
    said = work.step(f"predictions/{name}", PredictionRecord, whole)
    work.step(f"exact_predictions/{name}", PredictionRecord, lambda: None if said is None else exact())
    work.step(f"saturating_predictions/{name}", PredictionRecord, saturating)
    asked.of(device, name, digest)
    if inputs.rows_only:
        for kind in ON_THE_CLOCK:
            work.run.optional_step(f"{kind}/{name}", object, lambda: None)
        return
    work.step(
        f"latency/{name}", LatencyRecord, lambda: measure_latency(device, spec, digest, rows, plan, work.progress)
    )
    work.step(
        f"memory/{name}", MemoryRecord,
        lambda: measure_memory(device, spec, digest, rows, plan, **file_sizes(data)),
    )  # fmt: skip
    work.step(f"energy/{name}", EnergyRecord, lambda: _energy(work, device, digest))


def _energy(work: Work, device: Device, digest: str) -> EnergyRecord | None:
    spec, inputs = work.inputs.device.meter, work.inputs
    if spec is None:
        return None
    with closing(open_meter(spec, watched_on(device))) as meter:
        return measure_energy(device, meter, digest, inputs.dataset.test.inputs, inputs.profile.measure)
