"""The board driver against an emulated board, each trap of the protocol by itself, over an emulated line."""

import os
import select
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kit.device import Device, open_device
from kit.device.mlperf_tiny import MlperfTinyDevice
from kit.errors import DeviceError, EdgeproofError, LinkError, MeasurementError
from kit.spec.types import BoardSpec, LineSpec
from tests import device_kit as kits
from tests.emulators.boards import EmulatedBoard
from tests.emulators.dut import MAX_BYTES, Net

FAST = LineSpec(921_600)
NET = Net(120, 12)
ROWS, LABELS = NET.rows(6, noise=20)


def opened(board: EmulatedBoard) -> MlperfTinyDevice:
    device = open_device(board.spec)
    assert isinstance(device, MlperfTinyDevice)
    return device


def scores(device: Device, rows: NDArray[Any] = ROWS) -> NDArray[np.float32]:
    return device.predict("", rows, output=None, exact=False)


def expected(rows: NDArray[Any] = ROWS, net: Net = NET) -> NDArray[np.float32]:
    """What the emulated firmware computes, as it prints it."""
    return np.array([[float(f"{p:.3f}") for p in net.probabilities(row.tobytes())] for row in rows], np.float32)


def unharmed(board: EmulatedBoard) -> bool:
    """Nothing was sent past the end of the buffer, and no bare sign."""
    return not board.events("overflow") and not board.events("bare")


@pytest.fixture(scope="module")
def plain() -> Iterator[tuple[EmulatedBoard, MlperfTinyDevice]]:
    with EmulatedBoard(FAST, inputs=120) as board, closing(opened(board)) as device:
        yield board, device


def test_it_is_a_device_and_tells_who_it_is(plain: tuple[EmulatedBoard, MlperfTinyDevice]) -> None:
    _, device = plain
    assert isinstance(device, Device)
    who = device.identify()
    assert who.board == "EMULATED, model kws01, timestamps in performance mode"
    assert who.system == "ULPMark for tinyML Firmware V0.0.1"
    assert who.emulated == ("device", "link")
    assert who.memory_bytes is None
    assert device.model == "kws01"
    assert device.conditions().temperature_celsius is None
    assert device.measure_memory("", ROWS, sessions=1) is None
    assert device.process_id() is None


def test_scores_are_what_the_firmware_printed(plain: tuple[EmulatedBoard, MlperfTinyDevice]) -> None:
    board, device = plain
    got = scores(device)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, expected())
    counts = device.counts()
    assert (counts.rows, counts.reloads, counts.damaged_replies, counts.reboots) == (6, 0, 0, 0)
    assert counts.read_backs >= 6
    assert counts.window > 1
    assert unharmed(board)


def test_a_row_of_every_length_arrives_whole(plain: tuple[EmulatedBoard, MlperfTinyDevice]) -> None:
    board, device = plain
    for size in (1, 7, 8, 38, 39, 76, 77, 119):
        rows = ROWS[:1, :size]
        np.testing.assert_array_equal(scores(device, rows), expected(rows))
    assert unharmed(board)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda d: d.deploy(b"model"), "part of the board's firmware"),
        (lambda d: d.predict("ic01", ROWS, output=None, exact=False), "has the model kws01"),
        (lambda d: d.predict("", ROWS, output=None, exact=True), "no exact mode"),
        (lambda d: d.predict("", ROWS[:0], output=None, exact=False), "no rows"),
        (lambda d: scores(d, np.zeros((1, MAX_BYTES + 1), np.int8)), "does not fit"),
        (lambda d: scores(d, np.full((1, 4), np.nan, np.float32)), "not finite"),
        (lambda d: d.cpu_time_ns(), "no processor time"),
    ],
    ids=["deploy", "other-model", "exact", "no-rows", "too-long", "nan", "cpu-time"],
)
def test_what_a_board_cannot_do_is_refused(plain: tuple[EmulatedBoard, MlperfTinyDevice], call: Any, says: str) -> None:
    board, device = plain
    with pytest.raises(DeviceError, match=says):
        call(device)
    assert unharmed(board)


def test_latency_is_that_of_the_boards_counter(plain: tuple[EmulatedBoard, MlperfTinyDevice]) -> None:
    _, device = plain
    timed = device.time_inferences("", ROWS, count=20, min_s=0.0)
    assert len(timed.samples_ns) >= 20
    assert timed.samples_ns.min() >= 200_000
    assert timed.first_run_ns >= 200_000
    assert timed.clock_resolution_ns == 1000
    assert "one inference" in timed.clock
    runs = [device.run_busy("", ROWS, duration_s=0.1) for _ in range(5)]
    for busy in runs:  # as many as the board's pace before asks for: fewer where its host was busy then
        assert 1 <= busy.inferences <= 501
        assert busy.inferences * 200_000 - 1000 <= busy.end_ns - busy.start_ns < 10e9
    assert max(busy.inferences for busy in runs) > 20
    idle = device.run_busy("", ROWS, duration_s=0)
    assert (idle.inferences, idle.end_ns - idle.start_ns) == (0, 0)


def test_the_clock_offset_holds_within_its_bound(plain: tuple[EmulatedBoard, MlperfTinyDevice]) -> None:
    _, device = plain
    (first, first_error), (second, second_error) = device.clock_offset_ns(), device.clock_offset_ns()
    assert abs(first - second) <= first_error + second_error + 1_000_000  # and the counter's own drift
    assert min(first_error, second_error) < 500_000_000


def test_a_coarse_counter_gives_means_and_says_so() -> None:
    with EmulatedBoard(FAST, inputs=40, tick_us=1000, latency_us=300) as board, closing(opened(board)) as device:
        timed = device.time_inferences("", ROWS[:, :40], count=5, min_s=0.0)
    assert "the mean of 100 inferences" in timed.clock
    assert "step 1000 us" in timed.clock
    assert timed.clock_resolution_ns == 10_000
    assert 300_000 <= np.median(timed.samples_ns) < 3_000_000


def test_energy_mode_has_results_and_no_latency() -> None:
    with EmulatedBoard(FAST, inputs=120, energy=True) as board, closing(opened(board)) as device:
        assert "energy mode" in str(device.identify().board)
        np.testing.assert_array_equal(scores(device, ROWS[:2]), expected(ROWS[:2]))
        with pytest.raises(DeviceError, match="energy mode"):
            device.time_inferences("", ROWS, count=5, min_s=0.0)
        with pytest.raises(DeviceError, match="no time"):
            device.clock_offset_ns()


@pytest.mark.parametrize(
    "quirk",
    [{"trailing_comma": True}, {"certain": True, "one_prints_as": "0.1000"}, {"certain": True}],
    ids=["trailing-comma", "one-prints-as-a-tenth", "one"],
)
def test_quirks_of_printed_numbers_are_put_right(quirk: dict[str, Any]) -> None:
    with EmulatedBoard(FAST, inputs=120, **quirk) as board, closing(opened(board)) as device:
        got = scores(device, ROWS[:3])
    want = expected(ROWS[:3])
    np.testing.assert_array_equal(got, np.eye(12)[want.argmax(axis=1)] if "certain" in quirk else want)


def test_the_streaming_dialect_and_the_interface_board() -> None:
    with EmulatedBoard(FAST, inputs=120, dialect="streaming") as board, closing(opened(board)) as device:
        np.testing.assert_array_equal(scores(device, ROWS[:2]), expected(ROWS[:2]))
        assert "streaming dialect" in str(device.identify().board)
        assert device.counts().window == 1
        assert unharmed(board)
    spec = BoardSpec("mlperf-tiny", interface_board=True)
    with EmulatedBoard(FAST, inputs=120, board=spec, interface_board=True) as board, closing(opened(board)) as device:
        np.testing.assert_array_equal(scores(device, ROWS[:2]), expected(ROWS[:2]))
        assert device.time_inferences("", ROWS[:1], count=3, min_s=0).samples_ns.min() >= 200_000
        assert unharmed(board)


def test_a_board_that_buffers_nothing_is_fed_one_chunk_at_a_time() -> None:
    with EmulatedBoard(LineSpec(115_200), inputs=120, buffer_bytes=4) as board, closing(opened(board)) as device:
        np.testing.assert_array_equal(scores(device, ROWS[:2]), expected(ROWS[:2]))
        counts = device.counts()
        assert counts.window == 1 or counts.reloads > 0  # chunks that a busy host sends late fit, until one does not
        assert unharmed(board)


@pytest.mark.parametrize("silently", [False, True], ids=["banner", "silent"])
@pytest.mark.parametrize("read_back", ["always", "never"])
@pytest.mark.parametrize("at", ["infer:3", "command:40", "command:47"])
def test_no_result_of_a_rebooted_board_is_accepted(at: str, read_back: Any, silently: bool) -> None:
    spec = BoardSpec("mlperf-tiny", read_back=read_back)
    with (
        EmulatedBoard(FAST, inputs=120, board=spec, reboot_at=at, silently=silently) as board,
        closing(opened(board)) as device,
    ):
        got = scores(device)
        assert len(board.events("boot")) == 2, "the reboot came too late to matter"
        if not silently:
            assert device.counts().reboots == 1
    np.testing.assert_array_equal(got, expected())


def test_a_reboot_while_it_is_timed_ends_the_timing_and_nothing_else() -> None:
    with EmulatedBoard(FAST, inputs=120, reboot_at="infer:20") as board, closing(opened(board)) as device:
        with pytest.raises(MeasurementError, match="rebooted"):
            device.time_inferences("", ROWS, count=40, min_s=0.0)
        np.testing.assert_array_equal(scores(device), expected())


@pytest.mark.parametrize("chatter", [b"m-lap-us-1\r\n", b"\xff" * 100, b"m-ready\r\n"], ids=["laps", "bytes", "ready"])
def test_a_port_that_never_stops_talking_ends_within_its_time_out(chatter: bytes) -> None:
    host, device = os.openpty()
    tty.setraw(device)
    stop = threading.Event()

    def talk() -> None:
        while not stop.is_set():
            if select.select([], [host], [], 0.05)[1]:
                os.write(host, chatter)

    talker = threading.Thread(target=talk)
    talker.start()
    spec = kits.device_spec(link=os.ttyname(device), timeout_s=1.0, board=BoardSpec("mlperf-tiny"))
    started_s = time.monotonic()
    try:
        with pytest.raises(LinkError) as error:
            open_device(spec)
    finally:
        stop.set()
        talker.join()
        os.close(host)
        os.close(device)
    assert error.value.next_step
    assert time.monotonic() - started_s < 20


def test_a_board_that_reboots_over_and_over_ends_in_one_line() -> None:
    at = ",".join(f"infer:{n}" for n in range(2, 40))
    with EmulatedBoard(FAST, inputs=120, reboot_at=at) as board, closing(opened(board)) as device:
        with pytest.raises(DeviceError, match="rebooted 5 times over one row") as error:
            scores(device)
        assert "power" in error.value.next_step


@pytest.mark.parametrize("options", [{"hang_at": 2}, {"deaf_after": 12}], ids=["hangs", "deaf"])
def test_a_board_that_stops_answering_ends_within_its_time_out(options: dict[str, int]) -> None:
    with EmulatedBoard(FAST, inputs=120, timeout_s=2.0, **options) as board, closing(opened(board)) as device:
        with pytest.raises(LinkError, match="stopped answering within 2 s") as error:
            scores(device)
        assert "reset the board" in error.value.next_step


def test_nobody_at_the_line_ends_within_its_time_out() -> None:
    with EmulatedBoard(FAST, timeout_s=1.0, deaf_after=0, hang_at=0) as board:
        board.freeze()
        with pytest.raises(LinkError, match="nothing that speaks the protocol"):
            open_device(board.spec)


def test_numbers_that_cannot_be_are_refused_at_once() -> None:
    spec = BoardSpec("mlperf-tiny", output_order=("a", "b"))
    for options, says in (({"board": spec}, "prints 12 results, 2 are due"), ({"decimals": 0}, "no probabilities")):
        with (
            EmulatedBoard(FAST, inputs=40, **options) as board,
            closing(opened(board)) as device,
            pytest.raises(DeviceError, match=says) as error,
        ):
            scores(device, ROWS[:1, :40])
        assert "[board]" in error.value.next_step


@pytest.mark.parametrize(
    ("line", "name"),
    [(LineSpec(921_600, 0.0, 1.25e-4), "altered"), (LineSpec(921_600, 0.0, 0.0, 1e-3), "lost")],
    ids=["altered", "lost"],
)
def test_a_bad_line_gives_right_results_and_no_latency(line: LineSpec, name: str) -> None:
    with EmulatedBoard(line, inputs=120, seed=3) as board, closing(opened(board)) as device:
        np.testing.assert_array_equal(scores(device), expected())
        assert device.counts().damaged_replies > 0
        with pytest.raises(MeasurementError, match="damaged"):
            device.time_inferences("", ROWS, count=200, min_s=0.0)
        assert not board.events("overflow")


def test_noise_that_no_row_gets_through_ends_with_what_went_wrong() -> None:
    line = LineSpec(921_600, 0.0, 1e-2)
    with EmulatedBoard(line, inputs=490, timeout_s=3.0) as board, pytest.raises(EdgeproofError) as error:
        open_device(board.spec)
    assert error.value.next_step


def test_reading_back_as_a_sample_and_never() -> None:
    for read_back, most in (("sampled", 2), ("never", 1)):
        spec = BoardSpec("mlperf-tiny", read_back=read_back)  # type: ignore[arg-type]
        with EmulatedBoard(FAST, inputs=120, board=spec) as board, closing(opened(board)) as device:
            np.testing.assert_array_equal(scores(device), expected())
            assert 1 <= device.counts().read_backs <= most  # one of them found the window


def test_the_board_can_run_a_real_network(tmp_path: Any) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(kits.linear(batch=1))
    spec = BoardSpec("mlperf-tiny", output_kind="scores")
    rows = np.round(kits.rows(3) * 10).astype(np.int8)
    with (
        EmulatedBoard(FAST, board=spec, onnx=str(path), inputs=kits.FEATURES, classes=kits.CLASSES) as board,
        closing(opened(board)) as device,
    ):
        got = scores(device, rows)
    np.testing.assert_allclose(got, rows.astype(np.float32) @ kits.weights(), atol=6e-4)
