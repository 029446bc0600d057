"""Rows with values that are not there or cannot be right are found, and sound ones are not."""

import numpy as np
import pytest

from kit.quality.missing import missing, stands_for_none
from kit.quality.wrong import wrong
from kit.spec.types import MISSING
from tests.quality.parts import named, part, share


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


class TestMissing:
    def test_sound_rows_have_nothing_missing(self, rng):
        checks = missing(part("test", rng.normal(size=(50, 4)), columns={"side": ["left", "right"] * 25}))
        assert {check.share for check in checks} == {0.0}
        assert {check.check for check in checks} == {"data.missing"}

    def test_not_a_number_is_counted_by_row_and_shown(self, rng):
        inputs = rng.normal(size=(50, 4)).astype(np.float32)
        inputs[7] = np.nan
        inputs[9, 2] = np.inf
        found = named(missing(part("test", inputs)), "not a number")
        assert found.share == 2 / 50
        assert found.examples == (7, 9)
        assert "rows 7, 9 (from 0)" in found.sentence

    def test_a_number_that_stands_for_none(self, rng):
        inputs = rng.normal(size=(50, 4))
        inputs[10:15, 2] = -999
        found = named(missing(part("test", inputs)), "a number for none")
        assert found.share == 0.1
        assert "input 2 is -999" in found.sentence

    @pytest.mark.parametrize("values", [
        np.repeat([97.0, 98.0, 99.0, 100.0], 5),
        np.array([1.0, 2.0, 99.0, 3.0]),
        np.full(9, 999.0),
        np.repeat([0.0, 65535.0], 5),
    ], ids=["within", "once", "always", "both_ends"])  # fmt: skip
    def test_a_number_that_may_be_meant(self, values):
        """Among its like, too rare to be a habit, or the only one there is; two values are far from each other too."""
        assert stands_for_none(values) is None or len(np.unique(values)) == 2

    def test_an_image_of_one_value_and_a_table_row_of_one_value(self, rng):
        inputs = rng.integers(0, 255, (20, 6, 6, 3)).astype(np.uint8)
        inputs[3] = 0
        assert named(missing(part("test", inputs)), "nothing but one value").examples == (3,)
        assert share(missing(part("test", np.zeros((20, 3)))), "nothing but one value") == 0.0

    def test_metadata(self, rng):
        given = part(
            "test", rng.normal(size=(4, 2)), columns={"side": ["left", MISSING, "right", "left"]},
            numbers={"age": np.array([30.0, 40.0, np.nan, 20.0])},
        )  # fmt: skip
        found = named(missing(given), "metadata")
        assert found.share == 0.5
        assert "side, age" in found.sentence


class TestWrong:
    def test_sound_rows_are_right(self, rng):
        test, train = part("test", rng.normal(size=(200, 4))), part("train", rng.normal(size=(400, 4)))
        assert all(check.share == 0.0 for check in wrong(test, train))

    def test_what_could_not_be_looked_at_has_no_share(self, rng):
        checks = wrong(part("test", rng.normal(size=(200, 4))), None)
        assert named(checks, "far out of range").share is None
        assert named(checks, "stuck").share is None
        assert "Not looked at" in named(checks, "far out of range").sentence

    def test_far_out_of_range(self, rng):
        inputs = rng.uniform(0, 1, (100, 3))
        inputs[4, 1], inputs[5, 2] = 5.0, 1.5
        found = named(wrong(part("test", inputs), part("train", rng.uniform(0, 1, (100, 3)))), "far out of range")
        assert found.examples == (4,)
        assert found.chance == 0.0

    def test_heavy_tails_are_told_from_faults_by_chance(self, rng):
        """What lies far out in one half of the training rows too is no fault of the test rows."""
        test, train = (part(role, rng.standard_cauchy((300, 4))) for role in ("test", "train"))
        found = named(wrong(test, train), "far out of range")
        assert found.chance is not None
        assert found.chance > 0

    def test_the_stated_range(self, rng):
        inputs = rng.uniform(0, 1, (10, 3))
        inputs[2, 0] = -3
        assert share(wrong(part("test", inputs), None, minimum=0.0), "out of the stated range") == 0.1
        assert not any(check.subject == "out of the stated range" for check in wrong(part("test", inputs), None))

    def test_a_sensor_that_is_stuck_in_one_recording(self, rng):
        cluster = np.repeat(np.arange(10), 20)
        inputs = rng.normal(size=(200, 3))
        inputs[cluster == 4, 1] = 0.25
        found = named(wrong(part("test", inputs, cluster=cluster), None), "stuck")
        assert found.share == 0.1
        assert "input 1" in found.sentence

    def test_what_describes_a_person_or_is_rare_is_not_stuck(self, rng):
        cluster = np.repeat(np.arange(10), 20)
        inputs = rng.normal(size=(200, 3))
        inputs[:, 1] = rng.normal(size=10)[cluster]
        inputs[:, 2] = (np.arange(200) == 3) * 1.0
        assert share(wrong(part("test", inputs, cluster=cluster), None), "stuck") == 0.0

    def test_an_input_that_is_stuck_everywhere(self, rng):
        inputs = rng.normal(size=(50, 3))
        inputs[:, 2] = 1.0
        assert share(wrong(part("test", inputs), part("train", rng.normal(size=(80, 3)))), "stuck") == 1.0

    def test_a_channel_that_is_flat(self, rng):
        inputs = rng.normal(size=(30, 40, 3))
        inputs[6, :, 1] = 2.0
        assert named(wrong(part("test", inputs), None), "flat channels").examples == (6,)

    def test_impossible_labels(self, rng):
        labels = np.zeros(30)
        labels[3], labels[4] = 3, -1
        assert share(wrong(part("test", rng.normal(size=(30, 2)), labels=labels), None), "impossible labels") == 2 / 30

    def test_one_input_with_two_labels(self, rng):
        inputs, labels = rng.normal(size=(30, 2)), np.zeros(30)
        inputs[9], inputs[11], inputs[20] = inputs[2], inputs[3], inputs[2]
        labels[9] = 1
        assert named(wrong(part("test", inputs, labels=labels), None), "one input, two labels").examples == (2, 9, 20)
