"""Shifts and delays: found where they are planted, and not cried out where rows are merely clustered."""

import numpy as np
import pytest
from scipy import stats

from kit.quality.lag import lagged
from kit.quality.shift import energy_coefficients, ks_distances, shifted, variations
from tests.quality.parts import named, part, share, shift_checks


def rng_of(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("ties", [False, True], ids=["continuous", "ties"])
@pytest.mark.parametrize("seed", range(5))
def test_the_distance_of_one_input_is_scipys(seed, ties):
    rng = rng_of(seed)
    values = rng.integers(0, 6, 80).astype(float) if ties else rng.normal(size=80)
    of_test = rng.random((3, 80)) < 0.4
    expected = [stats.ks_2samp(values[row], values[~row]).statistic for row in of_test]
    assert ks_distances(values, of_test) == pytest.approx(expected, abs=1e-12)


def test_the_distance_of_all_inputs_is_the_energy_coefficient():
    rng = rng_of()
    x, y = rng.normal(size=(30, 2)), rng.normal(0.5, 1, size=(40, 2))
    both = np.concatenate([x, y])
    apart = np.sqrt(((both[:, None] - both[None]) ** 2).sum(axis=2))
    xy, xx, yy = apart[:30, 30:].mean(), apart[:30, :30].mean(), apart[30:, 30:].mean()
    found = energy_coefficients(apart, (np.arange(70) < 30)[None])
    assert found[0] == pytest.approx((2 * xy - xx - yy) / (2 * xy))
    assert energy_coefficients(np.zeros((4, 4)), np.array([[True, True, False, False]]))[0] == 0.0


def test_the_distance_of_kinds_is_total_variation():
    codes = np.array([0, 0, 1, 2, 2, 2])
    assert variations(codes, np.array([[True, True, True, False, False, False]]))[0] == pytest.approx(1.0)
    assert variations(codes, np.array([[True, False, True, True, False, False]]))[0] == pytest.approx(1 / 3)


@pytest.mark.parametrize("subject", ["inputs one by one against calibration", "inputs together against calibration"])
def test_a_shift_is_found(subject):
    found = [named(shift_checks(seed, 2.5), subject) for seed in range(2)]
    assert all(check.share > check.chance for check in found)
    assert "more than chance gives" in found[0].sentence
    assert "no more than" not in found[0].sentence


def test_metadata_is_compared_by_kind_and_by_number_and_names_of_clusters_are_not():
    rng = rng_of()
    parts = []
    for role, left in (("test", 0.9), ("train", 0.4)):
        side = np.where(rng.random(400) < left, "left", "right").tolist()
        columns = {"side": side, "person": [f"{role}{i}" for i in range(400)]}
        parts.append(part(role, rng.normal(size=(400, 2)), columns=columns, numbers={"age": rng.normal(size=400)}))
    checks = shifted(*parts, rng)
    assert named(checks, "column side against train").share > 0.35
    assert named(checks, "column side against train").share > named(checks, "column side against train").chance
    assert named(checks, "column age against train").share <= named(checks, "column age against train").chance
    assert not any("person" in check.subject for check in checks)


def test_too_few_clusters_tell_no_shift():
    rng = rng_of()
    (check,) = shifted(
        part("test", rng.normal(size=(9, 2)), cluster=np.zeros(9)),
        part("train", rng.normal(size=(9, 2)), cluster=np.zeros(9)),
        rng,
    )
    assert check.share is None


def test_inputs_of_another_shape_are_no_reason_to_fail():
    rng = rng_of()
    (check,) = shifted(part("test", rng.normal(size=(9, 2))), part("train", rng.normal(size=(9, 3))), rng)
    assert check.share is None


def recordings(rng: np.random.Generator, clusters: int, delay: int = 0, rows: int = 6, steps: int = 64):
    """Three channels; the second is the first three steps later, the third as well and `delay` steps more."""
    source = rng.normal(size=(clusters * rows, steps + 64))
    for step in range(1, steps + 64):
        source[:, step] += 0.7 * source[:, step - 1]
    at = 40
    channels = [source[:, at - back : at - back + steps] for back in (0, 3, 3 + delay)]
    inputs = np.stack(channels, axis=2) + 0.3 * rng.normal(size=(clusters * rows, steps, 3))
    return inputs.astype(np.float32), np.repeat(np.arange(clusters), rows)


class TestLag:
    def looks(self, seed: int, delay: int, swapped: bool = False):
        rng = rng_of(seed)
        (a, ca), (b, cb) = recordings(rng, 20, delay), recordings(rng, 20)
        if swapped:
            a, b = a.swapaxes(1, 2), b.swapaxes(1, 2)
        return lagged(part("test", a, cluster=ca), part("train", b, cluster=cb), rng)

    @pytest.mark.parametrize("swapped", [False, True], ids=["steps_first", "channels_first"])
    def test_a_delay_is_found_and_measured(self, swapped):
        found = named(self.looks(0, 7, swapped), "channels, all rows")
        assert found.share == pytest.approx(7 / 64, abs=1.01 / 64)
        assert found.share > found.chance
        assert "channel 2 comes" in found.sentence
        assert "steps later" in found.sentence

    def test_no_delay_is_no_more_than_chance(self):
        for seed in range(10):
            found = named(self.looks(seed, 0), "channels, all rows")
            assert found.share <= found.chance + 1e-9, seed

    def test_a_cluster_that_lags_alone(self):
        rng = rng_of(5)
        (a, ca), (late, _), (b, cb) = recordings(rng, 20), recordings(rng, 2, 9), recordings(rng, 20)
        test = part("test", np.concatenate([a, late]), cluster=np.concatenate([ca, np.repeat([20, 21], 6)]))
        found = named(lagged(test, part("train", b, cluster=cb), rng), "channels, by cluster")
        assert found.share == pytest.approx(12 / 132)
        assert found.examples[0] == 120

    @pytest.mark.parametrize(
        "inputs",
        [np.zeros((40, 30, 2)), np.ones((40, 5)), np.ones((40, 30, 1))],
        ids=["silence", "table", "one_channel"],
    )
    def test_where_no_lag_can_be_seen_it_is_said(self, inputs):
        (found,) = lagged(part("test", inputs), part("train", inputs), rng_of())
        assert found.share is None
        assert found.sentence.startswith("Not looked at: ")

    def test_a_time_stamp_that_runs_late(self):
        rng = rng_of()
        times = [np.sort(rng.uniform(0, 1e4, 100)) for _ in range(2)]
        received = [sent + rng.uniform(0.1, 0.2, 100) for sent in times]
        received[0][:25] += 30
        parts = [
            part(role, rng.normal(size=(100, 3)), numbers={"sent_at": sent, "received_at": got, "age": sent})
            for role, sent, got in zip(("test", "train"), times, received, strict=True)
        ]
        (found,) = lagged(*parts, rng)
        assert share([found], found.subject) == 0.25
