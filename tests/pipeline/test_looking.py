"""From files on disk to records: faults that a profile lets in, audits and explanations of a real run's parts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kit.errors import DatasetError
from kit.judge.wellformed_answers import check_dataset
from kit.model.load import load_onnx
from kit.model.predict import predict_on_host
from kit.model.quantize import make_variant
from kit.pipeline.attacking import host_scores, members_of, membership
from kit.pipeline.explaining import explanation
from kit.pipeline.looking import asks_for_data, look, tolerated, with_joined_clusters
from kit.spec import load_dataset
from kit.spec.recipe import parse_recipe
from kit.spec.types import MISSING, Metric
from tests.builders import profile, requirement
from tests.digits_case import Case, write_case
from tests.quality.parts import named
from tests.spec.bundle import Bundle


def limits(*metrics: Metric):
    return profile(tuple(requirement(metric, 0.0) for metric in metrics))


class TestTolerance:
    def test_only_what_a_profile_limits_is_let_in(self):
        assert tolerated(limits("accuracy.drop")) == ()
        assert tolerated(limits("data.shifted", "data.lagged")) == ()
        assert tolerated(limits("data.leaked", "data.missing")) == ("data.missing", "data.leaked")
        assert asks_for_data(limits("data.lagged"))
        assert not asks_for_data(limits("accuracy.drop", "model.size"))

    @pytest.mark.parametrize("kind", ["npz", "csv", "parquet"])
    def test_missing_values(self, tmp_path: Path, kind: str):
        bundle = Bundle(tmp_path, kind)
        bundle.parts["test"]["x"][3, 1] = np.nan
        bundle.parts["test"]["side"][5] = ""
        path = bundle.write()
        with pytest.raises(DatasetError):
            load_dataset(path)
        dataset = load_dataset(path, tolerated(limits("data.missing")))
        assert np.isnan(dataset.test.inputs[3, 1])
        side = dataset.test.record.columns["side"]
        assert side.values[side.codes[5]] == MISSING
        found = look(dataset, limits("data.missing"))
        assert named([c for c in found.checks if c.check == "data.missing"], "not a number").examples == (3,)
        assert named([c for c in found.checks if c.check == "data.missing"], "metadata").examples == (5,)

    @pytest.mark.parametrize("column", ["label", "recording"])
    def test_labels_and_clusters_are_never_missing(self, tmp_path: Path, column: str):
        bundle = Bundle(tmp_path, "csv")
        bundle.parts["test"][column] = bundle.parts["test"][column].astype(object)
        bundle.parts["test"][column][2] = ""
        with pytest.raises(DatasetError):
            load_dataset(bundle.write(), tolerated(limits("data.missing", "data.wrong")))

    def test_infinity_is_no_missing_value(self, tmp_path: Path):
        bundle = Bundle(tmp_path)
        bundle.parts["test"]["x"][3, 1] = np.inf
        with pytest.raises(DatasetError, match="not a finite number"):
            load_dataset(bundle.write(), ("data.missing", "data.wrong"))

    def test_values_out_of_range(self, tmp_path: Path):
        bundle = Bundle(tmp_path)
        bundle.parts["test"]["x"][4, 0] = 99.0
        path = bundle.write()
        with pytest.raises(DatasetError, match="above the maximum"):
            load_dataset(path)
        found = look(load_dataset(path, ("data.wrong",)), limits("data.wrong"))
        assert named(found.checks, "out of the stated range").examples == (4,)

    def test_leaked_rows(self, tmp_path: Path):
        bundle = Bundle(tmp_path)
        bundle.parts["test"]["x"][:2] = bundle.parts["calibration"]["x"][:2]
        path = bundle.write()
        with pytest.raises(DatasetError, match="the same inputs calibrate the model"):
            load_dataset(path)
        found = look(load_dataset(path, ("data.leaked",)), limits("data.leaked"))
        assert named(found.checks, "exact copies in calibration").share == pytest.approx(2 / 12)

    def test_copies_that_are_let_in_join_their_clusters(self, tmp_path: Path):
        bundle = Bundle(tmp_path)
        bundle.parts["test"]["x"][4] = bundle.parts["test"]["x"][0]
        path, wanted = bundle.write(), limits("data.duplicates")
        with pytest.raises(DatasetError, match="the same inputs as a row of another cluster"):
            load_dataset(path)
        dataset = load_dataset(path, tolerated(wanted))
        assert named(look(dataset, wanted).checks, "exact copies").examples == (0, 4)
        joined = with_joined_clusters(dataset, wanted).test.record.cluster
        assert len(set(joined[[0, 1, 4, 5]].tolist())) == 1
        assert len(set(joined.tolist())) == len(set(dataset.test.record.cluster.tolist())) - 1
        assert with_joined_clusters(dataset, limits("data.leaked")) is dataset

    @pytest.mark.parametrize("copies", [0, 2])
    def test_copies_of_rows_without_clusters_are_clusters_of_their_own(self, tmp_path: Path, copies: int):
        bundle = Bundle(tmp_path)
        del bundle.dataset["cluster"]
        bundle.parts["test"]["x"][4 : 4 + copies] = bundle.parts["test"]["x"][0]
        wanted = limits("data.duplicates")
        record = with_joined_clusters(load_dataset(bundle.write(), tolerated(wanted)), wanted).test.record
        check_dataset(record)
        assert len(set(record.cluster.tolist())) == 12 - copies
        assert record.cluster_column == ("distinct input" if copies else None)


TRAINED = {"test": slice(700, 1797), "calibration": slice(0, 200)}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return write_case(tmp_path_factory.mktemp("looking") / "case", parts=TRAINED)


@pytest.fixture(scope="module")
def variant(case: Case) -> bytes:
    dataset = load_dataset(case.data)
    assert dataset.calibration is not None
    made = make_variant(load_onnx(case.model), parse_recipe("int8-per-channel"), dataset.calibration.inputs, "x", None)
    return made.data


def test_an_audit_of_a_real_net_on_the_rows_that_trained_it(case: Case, variant: bytes):
    """The first 700 digits trained the net: here those that also calibrate it stand for the train part."""
    dataset = load_dataset(case.data)
    assert members_of(dataset, 0) is None
    assert dataset.calibration is not None
    dataset = replace(dataset, train=replace(dataset.calibration, role="train"))
    members = members_of(dataset, 0)
    assert members is not None
    assert members.record.rows == len(members.inputs) == len(members.record.labels) == 200
    reference = case.model.read_bytes()
    scores = [host_scores(data, members, None) for data in (reference, variant)]
    predictions = [predict_on_host(data, dataset) for data in (reference, variant)]
    before = membership(dataset, members, scores[0], predictions[0], 0)
    after = membership(dataset, members, scores[1], predictions[1], 0, (scores[0], predictions[0]))
    assert before is not None
    assert after is not None
    assert after.member_cluster.tolist() == before.member_cluster.tolist()
    assert after.model_digest == predictions[1].model_digest != before.model_digest
    assert len(after.member_scores) == 100
    share = (before.member_scores > 0).mean() - (before.other_scores > 0).mean()
    assert 0.0 < share < 0.6


def test_members_are_drawn_within_the_limit_and_by_the_seed(case: Case):
    dataset = load_dataset(case.data)
    few = replace(dataset.test, inputs=dataset.test.inputs[:50], record=replace(dataset.test.record, rows=50))
    dataset = replace(dataset, train=dataset.test, test=few)
    one, two, other = members_of(dataset, 1), members_of(dataset, 1), members_of(dataset, 2)
    assert one is not None
    assert two is not None
    assert other is not None
    assert len(one.inputs) == 50
    assert one.inputs.tolist() == two.inputs.tolist() != other.inputs.tolist()
    assert members_of(replace(dataset, task="regression"), 1) is None


def test_a_real_variant_is_explained_beside_its_reference(case: Case, variant: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kit.pipeline.explaining.SECONDS", 0.3)
    record = explanation(case.model.read_bytes(), variant, "sha256:variant", load_dataset(case.data), 0)
    assert record is not None
    assert record.model_digest == "sha256:variant"
    assert record.features[27] == "input 27"
    assert record.reference_importance.shape == record.optimized_importance.shape == (16, 64)
    assert abs(record.reference_importance - record.optimized_importance).max() > 0
