"""Rows run until verdicts are known, on a real agent: as many as need be, killed and gone on with, refused."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from kit.device import open_device
from kit.device.base import Device
from kit.errors import MeasurementError
from kit.judge.base import Case
from kit.judge.follow import Follow
from kit.judge.frugal import judge_sample
from kit.measure import predict_part
from kit.measure.frugal import DECIDED, SPENT, UNDER_WAY, run_rest, sample_part
from kit.model.session import HostSession
from kit.records import DatasetRecord, Evidence, PredictionRecord, SampleRecord, Verdict
from kit.spec.types import DatasetPart, DeviceSpec, MeasurePlan
from kit.stats.orders import random_order
from tests import builders
from tests.device_kit import CLASSES, linear, rows, weights

COUNT, SEED = 1500, 5
SPEC = DeviceSpec("near", "", "", "", "subprocess:")
DROP = builders.requirement("accuracy.drop", 0.02)
INPUTS = rows(COUNT)
LABELS = (INPUTS @ weights()).argmax(axis=1).astype(np.int64)
DATA = DatasetRecord(
    name="linear", digest="sha256:d", data_digest="sha256:r", rows=COUNT, classes=("a", "b", "c"), labels=LABELS,
    cluster_column=None, cluster=np.arange(COUNT), columns={},
)  # fmt: skip
PART = DatasetPart("test", INPUTS, DATA)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    with closing(open_device(SPEC)) as opened:
        yield opened


def predicted(model: bytes, digest: str) -> PredictionRecord:
    scores = HostSession(model).predict(INPUTS)
    return PredictionRecord(digest, DATA.data_digest, "host", "default", scores, scores.argmax(axis=1), "measured")


def case() -> Case:
    """The reference is right everywhere; the variant is what `device` answers."""
    plain = builders.evidence([builders.VariantPlan("int8")])
    given = Evidence(
        plain.source, None, plain.reference, predicted(linear(), plain.reference.digest), DATA, plain.device,
        plain.variants,
    )  # fmt: skip
    asked = builders.profile([DROP], measure=MeasurePlan(seed=SEED))
    return Case(DROP, replace(plain.variants[0], predictions=None), given, asked, builders.device())


def sample(device: Device, model: bytes, **changes: object) -> SampleRecord:
    options: dict[str, object] = {"output": None, "spec": SPEC, "seed": SEED, "wanted": Follow([case()]), **changes}
    return sample_part(device, device.deploy(model), PART, **options)  # type: ignore[arg-type]


def verdict(of: SampleRecord) -> Verdict:
    return judge_sample(replace(case(), variant=replace(case().variant, sample=of)))[0].verdict


def test_a_model_that_holds_is_decided_after_a_part_of_the_rows(device: Device) -> None:
    told: list[tuple[int, int]] = []
    found = sample(device, linear(), progress=lambda done, of: told.append((done, of)))
    assert verdict(found) is Verdict.PASS
    assert found.stopped == DECIDED
    assert found.obtained == "measured"
    assert 150 < len(found.order) < 350
    assert told[-1] == (len(found.order), COUNT)
    assert (found.order == random_order(COUNT, SEED)[: len(found.order)]).all()
    assert (found.decisions == LABELS[found.order]).all(), "each answer stands beside its row"
    np.testing.assert_allclose(found.scores, (INPUTS @ weights())[found.order], rtol=1e-4, atol=1e-5)


def test_a_model_that_breaks_is_decided_sooner(device: Device) -> None:
    found = sample(device, linear(seed=9))
    assert verdict(found) is Verdict.FAIL
    assert len(found.order) < 60


def test_all_rows_are_spent_where_nothing_else_decides(device: Device) -> None:
    """Asked for whatever came: the sample ends with the rows, each once."""
    found = sample(device, linear(), wanted=lambda _: np.ones(COUNT, np.bool_))
    assert found.stopped == SPENT
    assert sorted(found.order) == list(range(COUNT))
    assert verdict(found) is Verdict.PASS


def test_what_is_not_wanted_does_not_cross_the_link(device: Device) -> None:
    odd = np.arange(COUNT) % 2 == 1
    found = sample(device, linear(), wanted=lambda so_far: odd & (len(so_far.order) < 100))
    assert (found.order % 2 == 1).all()
    assert 100 <= len(found.order) < 130
    assert len(sample(device, linear(), wanted=lambda _: np.zeros(COUNT, np.bool_)).order) == 0


@pytest.mark.parametrize("batches", [1, 4])
def test_a_killed_run_goes_on_where_it_was(device: Device, batches: int) -> None:
    """The same record as of a run that nothing disturbed, and no row is run twice."""
    whole, kept = sample(device, linear()), list[SampleRecord]()

    def keep(so_far: SampleRecord) -> None:
        kept.append(so_far)
        if len(kept) == batches:
            raise Killed

    with pytest.raises(Killed):
        sample(device, linear(), keep=keep)
    assert kept[-1].stopped == UNDER_WAY
    run_again = list[NDArray[np.int64]]()
    found = sample(device, linear(), so_far=kept[-1], keep=lambda so_far: run_again.append(so_far.order))
    assert len(run_again[0]) > len(kept[-1].order)
    assert (found.order == whole.order).all()
    assert (found.scores == whole.scores).all()
    assert (found.stopped, found.seed) == (whole.stopped, whole.seed)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"seed": 6}, id="other-seed"),
        pytest.param({"model_digest": "sha256:other"}, id="other-model"),
        pytest.param({"data_digest": "sha256:other"}, id="other-rows"),
        pytest.param({"order": np.array([3, 2, 1])}, id="picked"),
        pytest.param({"order": np.array([0, COUNT, 1])}, id="beyond"),
        pytest.param({"scores": np.zeros((1, CLASSES), np.float32)}, id="scores-missing"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused(device: Device, change: dict[str, object]) -> None:
    first = sample(device, linear(), wanted=lambda so_far: np.full(COUNT, len(so_far.order) < 3))
    short = replace(first, order=first.order[:3], scores=first.scores[:3], decisions=first.decisions[:3])
    with pytest.raises(MeasurementError, match="another"):
        sample(device, linear(), so_far=replace(short, **change))  # type: ignore[arg-type]


def test_scores_that_are_not_finite_name_the_row(device: Device) -> None:
    spoiled = INPUTS.copy()
    spoiled[random_order(COUNT, SEED)[20]] = np.nan
    options = {"output": None, "spec": SPEC, "seed": SEED, "wanted": Follow([case()])}
    with pytest.raises(MeasurementError, match="not finite") as told:
        sample_part(device, device.deploy(linear()), replace(PART, inputs=spoiled), **options)  # type: ignore[arg-type]
    assert f"row {random_order(COUNT, SEED)[20]}" in str(told.value)


def test_other_classes_are_refused(device: Device) -> None:
    four = replace(PART, record=replace(DATA, classes=("a", "b", "c", "d")))
    options = {"output": None, "spec": SPEC, "seed": SEED, "wanted": lambda _: np.ones(COUNT, np.bool_)}
    with pytest.raises(MeasurementError, match="4 classes"):
        sample_part(device, device.deploy(linear()), four, **options)  # type: ignore[arg-type]


def test_an_empty_part_is_spent_at_once(device: Device) -> None:
    nothing = replace(PART, inputs=INPUTS[:0])
    options = {"output": None, "spec": SPEC, "seed": SEED, "wanted": lambda _: np.ones(0, np.bool_)}
    found = sample_part(device, device.deploy(linear()), nothing, **options)  # type: ignore[arg-type]
    assert len(found.order) == 0
    assert found.stopped == SPENT


def test_the_rest_is_only_what_the_sample_lacks(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    some, digest, sent = sample(device, linear()), device.deploy(linear()), []
    predict = device.predict

    def counted(digest: str, inputs: NDArray[np.generic], **options: object) -> NDArray[np.float32]:
        sent.append(len(inputs))
        return predict(digest, inputs, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(device, "predict", counted)
    told: list[tuple[int, int]] = []
    found = run_rest(
        device, digest, PART, some, output=None, spec=SPEC, progress=lambda done, of: told.append((done, of))
    )
    assert sent == [COUNT - len(some.order)]
    assert told[-1] == (sent[0], sent[0])
    whole = predict_part(device, digest, PART, output=None, exact=False, spec=SPEC)
    for field in fields(PredictionRecord):
        assert_array_equal(getattr(found, field.name), getattr(whole, field.name))


def test_of_a_sample_that_has_every_row_nothing_is_left(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    every = sample(device, linear(), wanted=lambda _: np.ones(COUNT, dtype=np.bool_))
    assert every.stopped == SPENT
    digest = device.deploy(linear())
    monkeypatch.setattr(device, "predict", lambda *_, **__: pytest.fail("asked for rows"))
    found = run_rest(device, digest, PART, every, output=None, spec=SPEC)
    assert (found.decisions == LABELS).all()
    assert found.scores.shape == (COUNT, CLASSES)
