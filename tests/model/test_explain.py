"""Explanations of real nets, and of functions whose explanations are known."""

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from kit.judge.base import Case
from kit.judge.explanation import agreements, judge_explanation, median_bounds
from kit.model.explain import Budget, explain, features_of
from kit.model.explain.features import MOST_FEATURES
from kit.model.explain.flips import Search
from kit.model.explain.importance import disjoint_repeats, importances
from kit.model.explain.shapley import shapley
from kit.model.session import HostSession
from kit.records import ExplanationRecord, Verdict
from tests.builders import VariantPlan, device, evidence, profile, requirement
from tests.digits_case import net, weights
from tests.quality.parts import part

SMALL = Budget(repeats=6, rows=40, local_rows=3, orders=4, flipped=4, trials=1500)


def ignore(_: int) -> None:
    """Nobody watches."""


@pytest.mark.parametrize(("shape", "count"), [
    ((5,), 5), ((64,), 64), ((65,), 32), ((4, 4), 16), ((100, 6), 30), ((6, 100), 30), ((100, 40), 40),
    ((28, 28, 1), 36), ((3, 32, 32), 36), ((32, 32), 36), ((10, 10, 10, 10), 32), ((1, 70), 32),
])  # fmt: skip
def test_every_value_belongs_to_one_feature(shape, count):
    features = features_of(np.zeros((2, *shape)))
    assert len(features) == count <= MOST_FEATURES
    assert features.of_value.shape == (math.prod(shape),)
    assert set(features.of_value) == set(range(count))
    assert len(set(features.names)) == count


def test_features_are_where_their_names_say():
    recording = features_of(np.zeros((1, 100, 6)))
    where = np.zeros((100, 6), bool)
    where[0:20, 2] = True
    assert (recording.of_value.reshape(100, 6)[where] == recording.names.index("channel 2, steps 0 to 19")).all()
    image = features_of(np.zeros((1, 3, 12, 12))).of_value.reshape(3, 12, 12)
    assert (image[:, 2:4, 4:6] == image[0, 2, 4]).all()
    assert image[0, 2, 4] == features_of(np.zeros((1, 3, 12, 12))).names.index("rows 2 to 3, columns 4 to 5")


def test_repeats_share_no_cluster():
    cluster = np.random.default_rng(0).integers(0, 25, 400)
    repeats = disjoint_repeats(cluster, 6, 30, np.random.default_rng(0))
    seen = [set(cluster[rows]) for rows in repeats]
    assert len(repeats) == 6
    assert all(len(rows) <= 30 for rows in repeats)
    assert sum(len(each) for each in seen) == len(set.union(*seen))
    assert len(disjoint_repeats(np.zeros(9, np.int64), 6, 30, np.random.default_rng(0))) == 1


def test_importance_is_the_loss_that_a_feature_spares():
    """The loss |y - x0|, with y = x0: permuting x0 costs the mean distance between rows, other features nothing."""
    inputs = np.random.default_rng(0).normal(size=(500, 3))
    losses = lambda rows, numbers: np.abs(rows[:, 0] - inputs[numbers, 0])  # noqa: E731
    found = importances((losses, losses), inputs, np.arange(500), features_of(inputs), np.random.default_rng(1), ignore)
    assert found[0] == pytest.approx(found[1])
    assert found[0, 0] == pytest.approx(2 / math.sqrt(math.pi), abs=0.12)
    assert found[0, 1:] == pytest.approx(0.0)


def exact_shapley(score, row, start):
    """Over every order of the features."""
    orders = list(permutations(range(len(row))))
    found = np.zeros(len(row))
    for order in orders:
        at = start.copy()
        for feature in order:
            before = score(at[None])[0]
            at[feature] = row[feature]
            found[feature] += score(at[None])[0] - before
    return found / len(orders)


def test_attributions_are_shapley_values():
    rng = np.random.default_rng(0)
    row, start = rng.normal(size=4), rng.normal(size=4)
    score = lambda rows: rows[:, 0] * rows[:, 1] + rows[:, 2] ** 2 + 0 * rows[:, 3]  # noqa: E731
    found = shapley((score,), row, start[None], features_of(row[None]), 4000, rng, ignore)[0]
    assert found == pytest.approx(exact_shapley(score, row, start), abs=0.05)
    assert found.sum() == pytest.approx(score(row[None])[0] - score(start[None])[0])
    assert found[3] == 0.0


class TestFlips:
    def search(self, decide, row, dtype=np.float64, trials=4000, spread=1.0) -> Search:
        size = len(row)
        return Search(
            decide, np.asarray(row, float), np.full(size, spread), np.full(size, -5.0), np.full(size, 5.0), (size,),
            np.dtype(dtype), trials,
        )  # fmt: skip

    def test_the_nearest_change_of_a_plane_is_found_to_its_distance(self):
        """x0 > 1 wanted, from x0 = 0: one standard deviation."""
        search = self.search(lambda rows: rows[:, 0] - 1.0, [0.0, 0.0, 0.0])
        found = search.nearest(features_of(np.zeros((1, 3))), np.zeros((0, 3)))
        assert found is not None
        assert search.distance(found) == pytest.approx(1.0, abs=0.01)
        assert found[1:].tolist() == [0.0, 0.0]
        assert search.decide(search.real(found[None]))[0] > 0

    def test_other_rows_lead_where_no_single_value_does(self):
        """Ten values have to move together; the way to a row that is decided so is gone back as far as can be."""
        wide = np.zeros((1, 100))
        search = self.search(lambda rows: (rows[:, :10] > 1).all(axis=1) - 0.5, [0.0] * 100)
        found = search.nearest(features_of(wide), np.full((1, 100), 3.0))
        assert found is not None
        assert search.distance(found) < 0.6 * math.sqrt(100 * 1.0**2)
        assert (found != 0).sum() <= 15

    def test_none_within_the_budget_is_an_answer(self):
        for decide, trials in ((lambda rows: np.full(len(rows), -1.0), 4000), (lambda rows: rows[:, 0] - 1, 3)):
            search = self.search(decide, [0.0, 0.0], trials=trials)
            assert search.nearest(features_of(np.zeros((1, 2))), np.ones((3, 2))) is None

    def test_the_budget_is_kept(self):
        tried = 0

        def decide(rows):
            nonlocal tried
            tried += len(rows)
            return np.sin(7 * rows.sum(axis=1)) - 0.9

        self.search(decide, [0.1] * 20, trials=500).nearest(features_of(np.zeros((1, 20))), np.ones((5, 20)))
        assert 0 < tried <= 500

    def test_whole_numbers_stay_whole(self):
        search = self.search(lambda rows: rows[:, 0].astype(float) - 1.4, [0.0, 0.0], dtype=np.int64)
        found = search.nearest(features_of(np.zeros((1, 2))), np.zeros((0, 2)))
        assert found is not None
        assert found.tolist() == [2.0, 0.0]

    def test_what_does_not_vary_is_not_changed(self):
        search = self.search(lambda rows: rows[:, 0] - 1.0, [0.0, 0.0], spread=0.0)
        assert search.nearest(features_of(np.zeros((1, 2))), np.full((1, 2), 4.0)) is None


def digits_part(rows: slice = slice(700, 1100)):
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    cluster = np.arange(len(y))[rows] // 10
    return part("test", x[rows].astype(np.float32), labels=y[rows], cluster=cluster, classes=10)


@pytest.fixture(scope="module")
def nets() -> tuple[bytes, bytes]:
    """A net, and one of another seed that was trained on the same digits."""
    return net(weights()), net(weights(seed=1))


@pytest.fixture(scope="module")
def other_net(nets) -> ExplanationRecord:
    found = explain(HostSession(nets[0]), HostSession(nets[1]), digits_part(), model_digest="b", budget=SMALL)
    assert found is not None
    return found


def test_a_net_looks_at_what_it_looks_at(nets):
    seen: list[tuple[int, int]] = []
    record = explain(
        HostSession(nets[0]), HostSession(nets[0]), digits_part(), model_digest="a", budget=SMALL,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert record is not None
    assert agreements(record) == pytest.approx(1.0)
    assert record.reference_local is not None
    assert record.reference_local.tolist() == record.optimized_local.tolist()
    assert record.flipped == ()
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert all(done <= total for done, total in seen)


def test_flips_back_are_verified_by_running_the_variant(nets, other_net):
    """Each changed input, put together from the record, is decided as the reference decided the row."""
    given, session = digits_part(), HostSession(nets[1])
    assert len(other_net.flipped) == SMALL.flipped
    for flip in other_net.flipped:
        row = given.inputs[flip.row : flip.row + 1].copy()
        assert HostSession(nets[0]).predict(row).argmax() == flip.reference
        assert session.predict(row).argmax() == flip.optimized
        for name, before, after in zip(flip.features, flip.from_values, flip.to_values, strict=True):
            value = other_net.features.index(name)
            assert row[0, value] == before
            row[0, value] = after
        assert session.predict(row).argmax() == flip.reference
        assert flip.distance is not None
        assert 0 < flip.distance < 10


def test_one_seed_explains_the_same(nets, other_net):
    again = explain(HostSession(nets[0]), HostSession(nets[1]), digits_part(), model_digest="b", budget=SMALL)
    assert again is not None
    assert again.optimized_importance.tolist() == other_net.optimized_importance.tolist()
    assert again.flipped == other_net.flipped


def test_scores_that_are_no_probabilities_are_not_explained(nets):
    given = digits_part()
    rule = replace(given.record.scores, kind="values")
    values = replace(given, record=replace(given.record, scores=rule))
    assert explain(HostSession(nets[0]), HostSession(nets[0]), values, model_digest="a", budget=SMALL) is None
    other = replace(given, record=replace(given.record, task="regression"))
    assert explain(HostSession(nets[0]), HostSession(nets[0]), other, model_digest="a", budget=SMALL) is None


@pytest.mark.parametrize("rows", [1, 2])
def test_the_smallest_parts_are_explained(nets, rows):
    given = digits_part(slice(700, 700 + rows))
    record = explain(HostSession(nets[0]), HostSession(nets[1]), given, model_digest="a", budget=SMALL)
    assert record is not None
    assert np.isfinite(record.reference_importance).all()


def test_a_slow_model_has_a_smaller_budget():
    whole = Budget()
    assert whole.within(1e-6, 60, 64) == whole
    small = whole.within(0.1, 60, 64)
    assert small.rows == 20
    assert 1 <= small.flipped < whole.flipped
    assert small.orders >= 2


class TestJudge:
    def judged(self, record: ExplanationRecord | None, limit: float = 0.9):
        asked = requirement("explanation.agreement", limit, direction="at_least")
        run = evidence((VariantPlan(),), rows=200, clusters=20)
        run = replace(run, variants=(replace(run.variants[0], explanation=record),))
        (found,) = judge_explanation(Case(asked, run.variants[0], run, profile((asked,)), device()))
        return found

    def made(self, noise: float, repeats: int = 8, features: int = 12, seed: int = 0) -> ExplanationRecord:
        rng = np.random.default_rng(seed)
        before = np.arange(features) + 0.1 * rng.normal(size=(repeats, features))
        after = before + noise * rng.normal(size=before.shape)
        names = tuple(f"input {i}" for i in range(features))
        return ExplanationRecord("m", "d", names, before, after, np.empty(0, np.int64), None, None, (), 0)

    def test_verdicts(self):
        assert self.judged(self.made(0.1)).verdict is Verdict.PASS
        assert self.judged(self.made(30.0)).verdict is Verdict.FAIL
        middle = float(np.median(agreements(self.made(1.5))))
        assert self.judged(self.made(1.5), limit=middle).verdict is Verdict.INCONCLUSIVE
        found = self.judged(self.made(30.0))
        assert "of the 5 most important features" in found.reason
        assert "Kendall's tau-b" in found.reason

    def test_of_a_real_net_against_another(self, other_net):
        found = self.judged(other_net)
        assert found.verdict is Verdict.FAIL
        assert found.estimate is not None
        assert 0 < found.estimate < 0.9
        assert found.details["flipped_back"] == found.details["flipped_rows"] == 4
        assert 0 < found.details["local_tau"] < 1

    @pytest.mark.parametrize("repeats", [0, 1, 4])
    def test_few_repeats_decide_nothing(self, repeats):
        assert self.judged(self.made(0.0, repeats)).obtained == "absent"

    def test_nothing_to_rank(self):
        assert self.judged(None).obtained == "absent"
        assert self.judged(self.made(0.0, features=1)).obtained == "absent"
        flat = self.made(0.0)
        flat.optimized_importance[:] = 0.0
        found = self.judged(flat)
        assert found.obtained == "absent"
        assert found.verdict is Verdict.INCONCLUSIVE

    @pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
    @pytest.mark.parametrize("count", [5, 8, 10, 16])
    def test_bounds_err_at_most_as_often_as_they_say(self, confidence, count):
        """Agreements as they come: bounded and skewed. Bounds of fewer sets than suffice are refused."""
        rng = np.random.default_rng(0)
        draws = 1 - 0.1 * rng.beta(2, 5, size=(2000, count))
        truth = 1 - 0.1 * stats.beta(2, 5).median()
        bounds = [median_bounds(row, confidence) for row in draws]
        if 0.5**count > 1 - confidence:
            assert set(bounds) == {(None, None)}
            return
        found = np.array(bounds, float)
        error = 3 * np.sqrt(confidence * (1 - confidence) / 2000)
        assert np.mean(found[:, 0] > truth) <= 1 - confidence + error
        assert np.mean(found[:, 1] < truth) <= 1 - confidence + error
        assert (found[:, 0] <= np.median(draws, axis=1)).all()
