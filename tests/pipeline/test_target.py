"""Whose arithmetic a variant is tried in: exact or saturating as asked, never what this host happens to compute."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from kit.device import open_device
from kit.errors import ModelError
from kit.model.load import load_onnx_bytes
from kit.model.quantize import Variant, VariantMaker
from kit.model.saturation import predict_on_saturating_x86
from kit.pipeline.target import (
    DeviceBench,
    HostBench,
    host_target,
    saturates,
    saturating_scores,
    this_host,
)
from kit.records import DeviceRecord
from kit.spec import load_dataset, load_device, load_profile
from kit.spec.recipe import parse_recipe
from kit.spec.types import Dataset, Profile
from tests import builders
from tests.digits_case import net, rescaled, weights, write_case


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    write_case(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return load_dataset(folder / "digits.toml")


@pytest.fixture
def profile(folder: Path) -> Profile:
    return load_profile(folder / "desk.toml")


@pytest.fixture(scope="module")
def maker(dataset: Dataset) -> VariantMaker:
    assert dataset.calibration is not None
    reference = load_onnx_bytes(net(rescaled(weights(), 2.0)), "net.onnx")
    return VariantMaker(reference, dataset.calibration.inputs, dataset.calibration.record.data_digest)


@pytest.fixture(scope="module")
def risky(maker: VariantMaker) -> Variant:
    """A variant whose sums can saturate."""
    variant = maker.make(parse_recipe("int8-per-channel"))
    assert variant.record.saturation.can_saturate
    return variant


@pytest.mark.parametrize(
    ("architecture", "sets", "expected"),
    [
        ("x86_64", ("sse4_1", "avx", "fma", "avx2"), True),
        ("x86_64", ("avx2", "avx512f", "avx512bw"), True),
        ("AMD64", ("sse4_1",), True),
        ("x86_64", ("avx2", "avx512bw", "avx512_vnni"), False),
        ("x86_64", ("avx2", "avx_vnni"), False),
        ("x86_64", ("avx512bw", "amx_int8"), False),
        ("aarch64", ("asimd",), False),
        ("aarch64", ("asimd", "asimddp", "i8mm"), False),
        ("armv7l", (), False),
        ("riscv64", (), False),
    ],
)
def test_x86_without_vnni_saturates_and_nothing_else(architecture: str, sets: tuple[str, ...], expected: bool) -> None:
    device = replace(builders.device_record(), architecture=architecture, instruction_sets=sets)
    assert saturates(device) is expected


def test_this_host_is_described_as_an_agent_on_it_would() -> None:
    with closing(open_device(load_device("local"))) as device:
        told = device.identify()
    ours = this_host()
    assert (ours.architecture, ours.cpu_model, ours.instruction_sets) == (
        told.architecture, told.cpu_model, told.instruction_sets,
    )  # fmt: skip
    assert (ours.runtime_version, ours.name, ours.emulated) == (told.runtime_version, "this host", ())


def test_without_a_device_the_target_is_exact_unless_all_processors_must_agree_or_it_is_asked_otherwise() -> None:
    assert host_target(None, everywhere=False).arithmetic == "exact"
    assert host_target(None, everywhere=True).arithmetic == "saturating"
    assert host_target("exact", everywhere=True).arithmetic == "exact"
    assert host_target("saturating", everywhere=False).arithmetic == "saturating"


def test_exact_and_saturating_scores_are_those_of_the_arithmetic_and_not_of_this_host(
    risky: Variant, dataset: Dataset
) -> None:
    part = dataset.test
    exact = HostBench(host_target("exact", everywhere=False), None).scores(risky, part)
    saturating = HostBench(host_target("saturating", everywhere=False), None).scores(risky, part)
    proto = onnx.ModelProto.FromString(risky.data)
    np.testing.assert_array_equal(saturating, predict_on_saturating_x86(proto, part.inputs).outputs)
    np.testing.assert_allclose(exact, predict_on_saturating_x86(proto, part.inputs, saturate=False).outputs, atol=1e-3)
    assert (exact.argmax(axis=1) != saturating.argmax(axis=1)).any()


def test_what_cannot_saturate_scores_alike_in_both(maker: VariantMaker, dataset: Dataset) -> None:
    safe = maker.make(parse_recipe("int8-per-channel-reduced"))
    both = [
        HostBench(host_target(arithmetic, everywhere=False), None).scores(safe, dataset.test)
        for arithmetic in ("exact", "saturating")
    ]
    np.testing.assert_array_equal(both[0], both[1])


def test_an_operator_of_unknown_arithmetic_is_refused_or_run_where_the_host_itself_saturates(
    risky: Variant, dataset: Dataset
) -> None:
    proto = onnx.ModelProto.FromString(risky.data)
    proto.graph.output[0].name = "logits"
    proto.graph.node.append(onnx.helper.make_node("Trilu", ["scores"], ["logits"], domain="com.microsoft"))
    if not any(each.domain == "com.microsoft" for each in proto.opset_import):
        proto.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    other = Variant(proto.SerializeToString(), risky.record)
    host = this_host()
    exact_host = replace(host, architecture="aarch64")
    with pytest.raises(ModelError, match="is not known") as caught:
        saturating_scores(other, dataset.test, None, exact_host)
    assert "reduced" in caught.value.next_step
    if saturates(host):
        assert saturating_scores(other, dataset.test, None, host).shape == (1097, 10)


def test_evidence_on_this_host_has_no_time_and_no_energy(risky: Variant, dataset: Dataset, profile: Profile) -> None:
    evidence = HostBench(host_target(None, everywhere=False), None).evidence(risky, dataset.test, profile)
    assert (evidence.latency, evidence.memory, evidence.energy) == (None, None, None)
    assert (evidence.exact_predictions, evidence.saturating_predictions) == (None, None)
    assert evidence.predictions is not None
    assert evidence.predictions.arithmetic == "exact"
    assert evidence.predictions.model_digest == risky.record.model.digest


def test_flips_are_looked_at_where_the_profile_asks(risky: Variant, dataset: Dataset, profile: Profile) -> None:
    asked = replace(profile, requirements=(builders.requirement("numerics.processor_flips", 0.0),))
    evidence = HostBench(host_target(None, everywhere=True), None).evidence(risky, dataset.test, asked)
    assert evidence.predictions is not None
    assert evidence.exact_predictions is not None
    assert evidence.saturating_predictions is not None
    assert (evidence.predictions.arithmetic, evidence.predictions.obtained) == ("saturating", "computed")
    np.testing.assert_array_equal(evidence.predictions.decisions, evidence.saturating_predictions.decisions)
    assert (evidence.exact_predictions.decisions != evidence.saturating_predictions.decisions).any()


@pytest.fixture(scope="module")
def attached() -> Iterator[DeviceBench]:
    spec = load_device("local")
    with closing(open_device(spec)) as device:
        yield DeviceBench(device, spec, None)


def test_on_a_device_its_own_kernels_decide_and_its_own_clock_times(
    attached: DeviceBench, risky: Variant, dataset: Dataset, profile: Profile
) -> None:
    record: DeviceRecord = attached.device
    assert attached.target.arithmetic == ("saturating" if saturates(record) else "exact")
    assert attached.target.described.startswith("local (")
    evidence = attached.evidence(risky, dataset.test, profile)
    assert evidence.latency is not None
    assert len(evidence.latency.samples_ns) >= 300
    assert evidence.latency.variant_digest == risky.record.model.digest
    assert evidence.predictions is not None
    np.testing.assert_array_equal(evidence.predictions.scores, attached.scores(risky, dataset.test))
    host = HostBench(host_target(attached.target.arithmetic, everywhere=False), None).scores(risky, dataset.test)
    assert (evidence.predictions.decisions == host.argmax(axis=1)).mean() > 0.99


def test_an_emulated_device_is_named_so_in_the_target(risky: Variant) -> None:
    spec = replace(load_device("local"), emulated=("device",))
    with closing(open_device(spec)) as device:
        assert "EMULATED: device" in DeviceBench(device, spec, None).target.described


def test_what_must_decide_alike_everywhere_starts_from_recipes_that_cannot_saturate(maker: VariantMaker) -> None:
    with closing(open_device(load_device("local"))) as device:
        bases = DeviceBench(device, load_device("local"), None, everywhere=True).target.bases
    static = [parse_recipe(name) for name in bases if parse_recipe(name).precision == "int8"]
    assert static
    assert not any(maker.make(recipe).record.saturation.can_saturate for recipe in static)
