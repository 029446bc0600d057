"""An audit is judged by its outputs and by the speed of one row again and again."""

import dataclasses

import numpy as np
import pytest

from kit.judge.audit import FASTER_LIMIT, faster_share, judge_audit
from kit.records import AuditRecord


def scores(rows=6, columns=3, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def times(mean_ns, count=800, noise=0.02, seed=0):
    return (mean_ns * np.random.default_rng(seed).lognormal(0, noise, count)).astype(np.int64)


def record(timed=None, scored=None, varied=None, repeated=None):
    scored = scores() if scored is None else scored
    timed = scored if timed is None else timed
    return AuditRecord(
        variant_digest="sha256:" + "0" * 64,
        rows=np.arange(len(timed)),
        timed_scores=timed,
        scored=scored,
        varied_ns=times(1e6) if varied is None else varied,
        repeated_ns=times(1e6, seed=1) if repeated is None else repeated,
        obtained="measured",
        rounds=16,
    )


def test_equal_outputs_at_equal_speed_pass():
    found = judge_audit(record())
    assert found.state == "passed"
    assert (found.rows_compared, found.rows_different, found.largest_difference) == (6, 0, 0.0)
    assert found.faster_lower < found.faster_share < found.faster_upper < FASTER_LIMIT


class TestOutputs:
    def test_sums_in_another_order_are_equal(self):
        found = judge_audit(record(timed=scores() * np.float32(1 + 3e-6)))
        assert found.state == "passed"
        assert 0 < found.largest_difference < 1e-4

    def test_one_other_row_fails(self):
        timed = scores()
        timed[2, 1] += 0.01
        found = judge_audit(record(timed=timed))
        assert (found.state, found.rows_different) == ("failed", 1)
        assert found.reasons[0] == "1 of 6 rows had other outputs while timing, by up to 0.01"

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_what_is_no_number_equals_itself_alone(self, value):
        both = scores()
        both[0, 0] = value
        assert judge_audit(record(timed=both, scored=both)).state == "passed"
        assert judge_audit(record(timed=both)).state == "failed"
        assert judge_audit(record(scored=both, timed=scores())).state == "failed"

    def test_another_shape_fails(self):
        found = judge_audit(record(timed=scores(columns=4)))
        assert found.state == "failed"
        assert "(4,)" in found.reasons[0]

    def test_none_kept_is_no_pass(self):
        empty = np.empty((0, 0), np.float32)
        found = judge_audit(record(timed=empty, scored=empty))
        assert (found.state, found.largest_difference) == ("undecided", None)
        assert "no outputs were kept" in found.reasons[0]


class TestSpeed:
    @pytest.mark.parametrize(
        ("repeated_ns", "state"), [(0.3e6, "failed"), (0.85e6, "failed"), (0.95e6, "passed"), (1.5e6, "passed")]
    )
    def test_more_than_a_tenth_faster_fails(self, repeated_ns, state):
        found = judge_audit(record(repeated=times(repeated_ns, seed=2)))
        assert found.state == state
        assert found.faster_share == pytest.approx(1 - repeated_ns / 1e6, abs=0.02)

    def test_too_much_noise_is_undecided(self):
        found = judge_audit(
            record(varied=times(1e6, noise=1.5, count=80), repeated=times(1e6, noise=1.5, count=80, seed=5))
        )
        assert found.state == "undecided"
        assert "% faster as far as its samples tell, where 10 % is allowed" in found.reasons[1]

    @pytest.mark.parametrize("count", [0, 1, 47])
    def test_too_few_samples_are_undecided(self, count):
        found = judge_audit(record(varied=times(1e6, count=count)))
        assert (found.state, found.faster_share, found.faster_lower, found.faster_upper) == (
            "undecided",
            None,
            None,
            None,
        )
        assert "too few" in found.reasons[1]

    def test_a_drift_of_the_device_favours_neither(self):
        drift = np.linspace(1, 2, 800)
        estimate, lower, upper = faster_share((1e6 * drift).astype(np.int64), (1e6 * drift).astype(np.int64))
        assert abs(estimate) < 1e-6
        assert lower <= 0 <= upper

    def test_bounds_cover(self):
        """The truth, 5 % faster, is above the upper or below the lower bound in about 1 of 100 each."""
        outside = 0
        for seed in range(300):
            _, lower, upper = faster_share(
                times(1e6, noise=0.2, seed=2 * seed), times(0.95e6, noise=0.2, seed=2 * seed + 1)
            )
            outside += not lower <= 0.05 <= upper
        assert outside <= 15

    @pytest.mark.parametrize(("truth", "wrong"), [(0.9, "passed"), (0.9, "failed")], ids=["passed", "failed"])
    def test_looking_again_while_undecided_errs_no_more_often(self, truth, wrong):
        """At the limit both verdicts are wrong; each in at most 1 of 100 audits of up to five looks, chance apart."""
        wrongs = 0
        for seed in range(200):
            varied, repeated = times(1e6, 16 * 160, 0.3, 2 * seed), times(truth * 1e6, 16 * 160, 0.3, 2 * seed + 1)
            for rounds in (16, 32, 64, 128, 256):
                one = record(varied=varied[: 10 * rounds], repeated=repeated[: 10 * rounds])
                state = judge_audit(dataclasses.replace(one, rounds=rounds)).state
                if state != "undecided":
                    break
            wrongs += state == wrong
        assert wrongs <= 7

    def test_more_rounds_decide_what_few_leave_open(self):
        varied, repeated = times(1e6, 5120, 0.5, 1), times(1e6, 5120, 0.5, 2)
        few = record(varied=varied[:64], repeated=repeated[:64])
        assert judge_audit(few).state == "undecided"
        assert judge_audit(dataclasses.replace(record(varied=varied, repeated=repeated), rounds=256)).state == "passed"
