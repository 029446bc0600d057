"""Files read and sampled below a root: on a grid, in bounded memory, and honest about what was late or missing."""

import contextlib
import os
import threading
import time

import numpy as np
import pytest

from kit.errors import MeasurementError
from kit.files import MAX_TEXT_BYTES, Files, LocalFiles, Sampler


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "sys/class/hwmon/hwmon1").mkdir(parents=True)
    (tmp_path / "sys/class/hwmon/hwmon0").mkdir()
    for name in ("hwmon0", "hwmon1"):
        (tmp_path / f"sys/class/hwmon/{name}/name").write_text(f"{name} chip\n")
    return tmp_path


@contextlib.contextmanager
def as_nobody():
    """Without root's rights, which read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


class TestReading:
    def test_paths_are_absolute_sorted_and_below_the_root(self, tree):
        files = LocalFiles(tree)
        assert isinstance(files, Files)
        assert files.glob("/sys/class/hwmon/*/name") == [f"/sys/class/hwmon/hwmon{n}/name" for n in (0, 1)]
        assert files.glob("/sys/class/nothing/*") == []

    def test_links_are_followed_as_sysfs_has_them(self, tree):
        (tree / "sys/class/power").mkdir()
        (tree / "sys/class/power/zone").symlink_to("../hwmon/hwmon1")
        assert LocalFiles(tree).read("/sys/class/power/zone/name") == "hwmon1 chip"
        assert LocalFiles(tree).glob("/sys/class/power/*/name") == ["/sys/class/power/zone/name"]

    def test_the_newline_at_the_end_is_not_text(self, tree):
        (tree / "many").write_text("t=1\nCH0, 2\n")
        assert LocalFiles(tree).read("/many") == "t=1\nCH0, 2"

    def test_a_long_file_is_cut(self, tree):
        (tree / "long").write_text("9" * 100_000)
        assert len(LocalFiles(tree).read("/long")) == MAX_TEXT_BYTES

    def test_bytes_that_are_no_text_do_no_harm(self, tree):
        (tree / "bytes").write_bytes(b"\xff\xfe12")
        assert LocalFiles(tree).read("/bytes").endswith("12")

    def test_what_is_not_there_is_told(self, tree):
        with pytest.raises(MeasurementError, match="/nothing: cannot be read: No such file") as caught:
            LocalFiles(tree).read("/nothing")
        assert caught.value.next_step == "check the path"

    def test_what_is_not_to_be_read_says_what_to_do(self, tree):
        (tree / "secret").write_text("1")
        (tree / "secret").chmod(0)
        with as_nobody(), pytest.raises(MeasurementError, match="Permission denied") as caught:
            LocalFiles(tree).read("/secret")
        assert "run as root" in caught.value.next_step

    def test_a_folder_or_a_pipe_is_no_file_and_does_not_block(self, tree):
        os.mkfifo(tree / "pipe")
        for name in ("/pipe", "/sys"):
            with pytest.raises(MeasurementError, match="cannot be read"):
                LocalFiles(tree).read(name)


class TestSampling:
    def test_times_lie_within_and_on_the_grid(self, tree):
        before_ns = time.monotonic_ns()
        sampling = LocalFiles(tree).sample(["/sys/class/hwmon/hwmon0/name"], period_s=0.01)
        time.sleep(0.3)
        samples = sampling.stop()
        after_ns = time.monotonic_ns()
        assert before_ns < samples.t_ns[0] < samples.t_ns[-1] < after_ns
        assert (np.diff(samples.t_ns) > 0).all()
        assert samples.t_ns.dtype == np.int64
        assert len(samples.texts) == len(samples.t_ns)
        assert set(samples.texts) == {("hwmon0 chip",)}
        assert 28 <= len(samples.t_ns) + samples.late <= 40  # a grid point is a reading, or late
        assert 0 < samples.error_ns < 50_000_000

    def test_values_follow_the_file(self, tree):
        place = tree / "counter"
        place.write_text("0")
        sampling = LocalFiles(tree).sample(["/counter"], period_s=0.002)
        for value in range(1, 6):
            time.sleep(0.02)
            (tree / "new").write_text(str(value))
            (tree / "new").replace(place)
        time.sleep(0.02)
        values = [int(row[0]) for row in sampling.stop().texts]
        assert values == sorted(values)
        assert set(values) == set(range(6))

    def test_one_that_vanishes_is_none_from_then_on(self, tree):
        (tree / "one").write_text("1")
        sampling = LocalFiles(tree).sample(["/one", "/sys/class/hwmon/hwmon0/name"], period_s=0.002)
        time.sleep(0.02)
        (tree / "one").unlink()
        time.sleep(0.02)
        texts = [row[0] for row in sampling.stop().texts]
        gone = texts.index(None)
        assert texts[:gone] == ["1"] * gone
        assert texts[gone:] == [None] * (len(texts) - gone)

    def test_nothing_to_read_is_told_at_once(self, tree):
        with pytest.raises(MeasurementError, match=r"cannot be read: .*/a, .*/b"):
            LocalFiles(tree).sample(["/a", "/b"], period_s=0.01)

    def test_a_clock_of_ones_own(self, tree):
        files = LocalFiles(tree, clock_ns=lambda: time.monotonic_ns() + 10**15)
        samples = files.sample(["/sys/class/hwmon/hwmon0/name"], period_s=0.01).stop()
        assert samples.t_ns[0] > 10**15


class TestSampler:
    def test_a_slow_source_is_late_and_nothing_is_made_up(self):
        def read():
            time.sleep(0.03)
            return ("1",)

        start_s = time.monotonic()
        sampler = Sampler(read, 0.01)
        time.sleep(0.3)
        samples = sampler.stop()
        took_s = time.monotonic() - start_s
        assert len(samples.texts) <= took_s / 0.03
        assert samples.late >= len(samples.texts)
        assert samples.error_ns >= 15_000_000

    @staticmethod
    def sampled(interrupted, seconds):
        """What was read, each reading telling its number, where one of them took long."""
        calls = []

        def read():
            calls.append(1)
            time.sleep(0.2 if len(calls) == interrupted else 0.002)
            return (str(len(calls)),)

        sampler = Sampler(read, 0.01)
        time.sleep(seconds)
        return sampler.stop()

    def test_a_reading_that_was_interrupted_is_left_out_and_counted(self):
        samples = self.sampled(interrupted=6, seconds=0.5)
        assert ("6",) not in samples.texts
        assert samples.late >= 1 + 15  # itself, and those due meanwhile
        assert samples.error_ns < 50_000_000

    def test_a_first_reading_that_was_interrupted_is_taken_again(self):
        samples = self.sampled(interrupted=2, seconds=0.1)
        assert samples.texts[0] in {("3",), ("4",)}
        assert samples.error_ns < 50_000_000

    def test_memory_is_bounded_and_the_whole_time_stays_covered(self):
        counter = iter(range(10**9))
        sampler = Sampler(lambda: (f"{next(counter):0100}",), 1e-3, kept_bytes=20_000)
        time.sleep(0.4)
        samples = sampler.stop()
        assert 15 <= len(samples.texts) <= 60
        assert samples.late >= 50  # those that were let go
        assert samples.t_ns[-1] - samples.t_ns[0] >= 0.35e9
        assert [int(row[0]) for row in samples.texts] == sorted(int(row[0]) for row in samples.texts)

    def test_what_is_the_same_is_kept_once(self):
        sampler = Sampler(lambda: ("".join(["same"] * 1000),), 1e-3)
        time.sleep(0.05)
        assert len({id(row) for row in sampler.stop().texts}) == 1

    def test_its_thread_ends(self):
        before = threading.active_count()
        sampler = Sampler(lambda: ("1",), 0.01)
        assert threading.active_count() == before + 1
        sampler.stop()
        assert threading.active_count() == before

    def test_a_period_below_the_least_is_the_least(self):
        sampler = Sampler(lambda: ("1",), 0.0)
        time.sleep(0.1)
        assert len(sampler.stop().texts) <= 130
