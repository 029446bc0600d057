"""The audit sees a net that knows its rows by heart, not one that learned the rule, and is not fooled by chance."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier

from kit.judge.base import Case
from kit.judge.membership import judge_membership, members_at
from kit.quality.membership import Answers, audit
from kit.records import MembershipRecord, Verdict
from kit.stats.advantage import advantage, area
from tests.builders import VariantPlan, device, evidence, profile, requirement

MEMBERS, OTHERS = slice(0, 700), slice(700, 1400)


def noisy_digits():
    x, y = load_digits(return_X_y=True)
    return x / 16 + np.random.default_rng(0).normal(0, 0.6, x.shape), y


def trained(net: MLPClassifier) -> MLPClassifier:
    x, y = noisy_digits()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return net.fit(x[MEMBERS], y[MEMBERS])


@pytest.fixture(scope="module")
def by_heart() -> MLPClassifier:
    return trained(MLPClassifier((48,), alpha=0.0, solver="lbfgs", max_iter=100, random_state=0))


@pytest.fixture(scope="module")
def by_rule() -> MLPClassifier:
    return trained(MLPClassifier((8,), alpha=100.0, solver="lbfgs", max_iter=50, random_state=0))


def answers(net: MLPClassifier, rows: slice) -> Answers:
    x, y = noisy_digits()
    return Answers(net.predict_proba(x[rows]), y[rows], np.arange(len(y))[rows] // 2)


def audited(net: MLPClassifier, seed: int = 0, **more: object) -> MembershipRecord:
    return audit(
        answers(net, MEMBERS), answers(net, OTHERS), model_digest="net", data_digest="digits", seed=seed, **more
    )  # type: ignore[arg-type]


def advantage_of(record: MembershipRecord):
    return advantage(
        record.member_scores > 0, record.other_scores > 0, record.member_cluster, record.other_cluster, 0.05, 0.95
    )


def test_a_net_that_knows_its_rows_by_heart_is_seen(by_heart, by_rule):
    """Real nets on real digits: the first is right on all it was trained on, and on half of the others."""
    overfitted, sound = advantage_of(audited(by_heart)), advantage_of(audited(by_rule))
    assert overfitted.lower > 0.5
    assert sound.upper < 0.3
    assert sound.estimate < 0.2


def test_halves_share_no_cluster_and_are_those_of_every_model(by_heart, by_rule):
    one, two = audited(by_heart, 3), audited(by_rule, 3)
    assert one.member_cluster.tolist() == two.member_cluster.tolist()
    assert one.other_cluster.tolist() == two.other_cluster.tolist()
    assert len(one.member_scores) == len(one.member_cluster) == 350
    assert (np.unique(one.member_cluster, return_counts=True)[1] == 2).all()
    assert audited(by_heart, 4).member_cluster.tolist() != one.member_cluster.tolist()


def test_one_seed_audits_the_same(by_heart):
    one, two = audited(by_heart, 5), audited(by_heart, 5)
    assert one.attack == two.attack
    assert one.member_scores.tolist() == two.member_scores.tolist()


def random_answers(rng: np.random.Generator, rows: int = 60) -> Answers:
    return Answers(rng.dirichlet(np.ones(4), rows), rng.integers(0, 4, rows), np.arange(rows))


def test_the_best_of_many_attacks_on_nothing_is_nothing():
    """Members that are others: chosen and measured on the same rows the best attack would show an advantage."""
    found, best = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        record = audit(random_answers(rng), random_answers(rng), model_digest="", data_digest="", seed=seed)
        found.append(advantage_of(record))
        best.append(stats.ks_2samp(record.member_scores, record.other_scores).statistic)
    mean = np.mean([each.estimate for each in found])
    assert abs(mean) < 4 * np.std([each.estimate for each in found]) / np.sqrt(150)
    assert np.mean([each.lower > 0 for each in found]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)
    assert np.mean(best) > 0.15  # what measuring on the choosing rows would have claimed


def test_a_variant_that_memorizes_more_than_its_reference_is_attacked_by_both():
    """Outputs that move towards the truth for members only: the gain over the reference tells them."""
    rng = np.random.default_rng(0)
    before = random_answers(rng, 600), random_answers(rng, 600)
    sharper = before[0].probabilities.copy()
    sharper[np.arange(600), before[0].labels] *= 1.3
    after = replace(before[0], probabilities=sharper / sharper.sum(axis=1, keepdims=True)), before[1]
    record = audit(*after, model_digest="", data_digest="", seed=0, reference=before)
    assert record.attack == "gain over the reference"
    assert advantage_of(record).lower > 0.9
    assert advantage_of(audit(*after, model_digest="", data_digest="", seed=0)).estimate < 0.5


@pytest.mark.parametrize(
    "shares", [np.full((40, 3), 1 / 3), np.eye(3)[np.arange(40) % 3], np.zeros((40, 3))], ids=["same", "sure", "zero"]
)
def test_outputs_that_say_nothing_tell_nobody(shares):
    given = Answers(shares, np.arange(40) % 3, np.arange(40))
    found = advantage_of(audit(given, given, model_digest="", data_digest="", seed=1))
    assert np.isfinite([found.lower, found.estimate, found.upper]).all()
    assert found.lower <= 0 <= found.upper


def test_one_cluster_cannot_be_halved():
    given = random_answers(np.random.default_rng(0), 5)
    with pytest.raises(ValueError, match="halved"):
        audit(replace(given, cluster=np.zeros(5, np.int64)), given, model_digest="", data_digest="", seed=0)


@pytest.mark.parametrize("ties", [False, True], ids=["continuous", "ties"])
def test_the_area_is_scikit_learns(ties):
    rng = np.random.default_rng(0)
    one, two = rng.normal(0.4, 1, 80), rng.normal(0, 1, 90)
    if ties:
        one, two = one.round(), two.round()
    found = area(one, two, np.arange(80), np.arange(90), 0.95)
    assert found.estimate == pytest.approx(roc_auc_score(np.repeat([1, 0], [80, 90]), np.concatenate([one, two])))
    assert found.lower < found.estimate < found.upper


@pytest.mark.parametrize("gap", [5.0, -5.0, 0.0], ids=["apart", "reversed", "constant"])
def test_an_area_without_overlap_has_an_interval(gap):
    found = area(np.full(30, gap), np.zeros(30), np.arange(30), np.arange(30), 0.95)
    assert found.estimate == (gap > 0) + 0.5 * (gap == 0)
    assert 0 <= found.lower <= found.estimate <= found.upper <= 1
    assert found.upper - found.lower > 0.05


class TestJudge:
    def judged(self, before: MembershipRecord | None, after: MembershipRecord | None, limit: float = 0.05, **changes):
        asked = requirement("privacy.membership", limit, **changes)
        run = evidence((VariantPlan(),), rows=200, clusters=20)
        variant = replace(run.variants[0], membership=after)
        run = replace(run, variants=(variant,), reference_membership=before)
        (found,) = judge_membership(Case(asked, variant, run, profile((asked,)), device()))
        return found

    def test_a_model_against_itself_passes_and_its_own_leak_is_told(self, by_heart):
        record = audited(by_heart)
        found = self.judged(record, record)
        assert found.verdict is Verdict.PASS
        assert found.estimate == 0.0
        assert found.upper is not None
        assert 0 < found.upper < 0.05
        assert found.details["advantage"] > 0.5
        assert found.details["advantage"] == found.details["reference_advantage"]
        assert found.details["auc_lower"] > 0.7
        assert "tells members with an advantage of" in found.reason

    def test_a_variant_that_leaks_more_fails(self, by_heart, by_rule):
        found = self.judged(audited(by_rule), audited(by_heart))
        assert found.verdict is Verdict.FAIL
        assert "a change of" in found.reason

    def test_a_variant_that_leaks_less_passes(self, by_heart, by_rule):
        assert self.judged(audited(by_heart), audited(by_rule), 0.0).verdict is Verdict.PASS

    def test_what_was_not_attacked_is_absent(self, by_heart):
        for before, after in ((None, None), (audited(by_heart), None), (None, audited(by_heart))):
            found = self.judged(before, after)
            assert found.verdict is Verdict.INCONCLUSIVE
            assert found.obtained == "absent"
            assert found.estimate is None

    def test_other_rows_are_not_compared(self, by_heart):
        found = self.judged(audited(by_heart, 0), audited(by_heart, 1))
        assert found.obtained == "absent"
        assert "different rows" in found.reason

    def test_few_rows_decide_nothing(self, by_heart):
        found = self.judged(audited(by_heart), audited(by_heart), minimum_rows=1000)
        assert found.verdict is Verdict.INCONCLUSIVE
        assert "350 rows of members" in found.reason


def test_members_at_a_low_rate_of_others():
    record = MembershipRecord("", "", "loss", np.arange(100.0) + 50, np.arange(200.0), np.arange(100), np.arange(200))
    share = members_at(record, 0.01)
    threshold = 197.0  # two of 200 others are above
    assert share == np.mean(record.member_scores > threshold)
    assert 0 <= members_at(replace(record, other_scores=np.zeros(3)), 0.01) <= 1
