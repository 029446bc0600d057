"""What can be tried of a board that runs its own firmware: round trips of its name, and bytes read back."""

import time

import numpy as np

from kit.device import open_device
from kit.device.mlperf.dialogue import Dialogue
from kit.device.mlperf.grammar import DamagedError
from kit.device.mlperf.loading import Loader
from kit.device.serial import open_port
from kit.pipeline.watcher import Watcher, waiting_for
from kit.records import HealthRecord, Int64Array, LinkTrial
from kit.spec.types import BoardSpec, DeviceSpec

_NOT_TOLD, _SCORE = "not in the protocol", "edgeproof score tells, on a dataset"
NOT_DONE = {
    "clock drift": _SCORE,
    "free storage": _NOT_TOLD,
    "free memory": _NOT_TOLD,
    "battery": _NOT_TOLD,
    "temperature": _NOT_TOLD,
    "processor frequency": _NOT_TOLD,
    "known answers": _SCORE,
    "steady speed": _SCORE,
    "even speed": _SCORE,
}
"""Checks that such a board cannot answer, and why or where else they are made."""

BOARD_PHASES = {"round trips": 1 / 3, "bytes there and back": 2 / 3}
"""As `kit.pipeline.check.PHASES`, of such a board."""

_LOAD_BYTES, _MOST_TRIPS = 256, 1000


def check_board(spec: DeviceSpec, duration_s: float, seed: int, watcher: Watcher) -> HealthRecord:
    """Round trips of `name` for a third of the time, loads of random bytes read back for the rest.

    What was not read back right in two tries is wrong bytes: the protocol itself has no checksum. Raises LinkError.
    """
    started_s = time.monotonic()
    watcher.start(waiting_for(spec))
    device = open_device(spec)
    identity = device.identify()
    device.close()
    board = spec.board or BoardSpec("mlperf-tiny")
    dialogue = Dialogue(open_port(spec), spec.baud, spec.timeout_s, f"device {spec.name}",
                        interface_board=board.interface_board)  # fmt: skip
    try:
        dialogue.open()
        watcher.start("round trips")
        trips_ns = _trips(dialogue, duration_s * BOARD_PHASES["round trips"], watcher)
        watcher.finish("round trips")
        watcher.start("bytes there and back")
        sizes, wrong_bytes = _read_back(dialogue, board, started_s + duration_s, seed, watcher)
        watcher.finish("bytes there and back")
        damage = dialogue.damage
    finally:
        dialogue.close()
    none = np.array([], np.int64)
    return HealthRecord(
        device=identity, protocol="mlperf-tiny", duration_s=time.monotonic() - started_s, timeout_s=spec.timeout_s,
        timing_is_real=spec.timing_is_real, host_agent_digest=None,
        link=LinkTrial(trips_ns, sizes, wrong_bytes, None, None, spec.baud / 10, None, None, damage),
        clock_t_ns=none, clock_offset_ns=none, clock_error_ns=none, asked_answers=0, right_answers=0,
        window_s=np.array([]), window_inferences=none, moment_s=np.array([]), conditions=(), not_done=NOT_DONE,
    )  # fmt: skip


def _trips(dialogue: Dialogue, budget_s: float, watcher: Watcher) -> Int64Array:
    """Round trips of `name`, ns: int64 [n]; one that was damaged is none."""
    trips: list[int] = []
    started_s = time.monotonic()
    while (spent_s := time.monotonic() - started_s) < budget_s and len(trips) < _MOST_TRIPS:
        watcher.update(int(1e3 * spent_s), int(1e3 * budget_s))
        sent_ns = time.monotonic_ns()
        try:
            dialogue.ask("name")
        except DamagedError:
            dialogue.recover()
        else:
            trips.append(time.monotonic_ns() - sent_ns)
    return np.array(trips, np.int64)


def _read_back(
    dialogue: Dialogue, board: BoardSpec, end_s: float, seed: int, watcher: Watcher
) -> tuple[Int64Array, int]:
    """Sizes of the random loads, int64 [n], and the bytes of those that did not read back as they were sent."""
    rng, loader = np.random.default_rng(seed), Loader(dialogue, board.window)
    if not loader.window:
        loader.probe(rng.bytes(_LOAD_BYTES))
    dialogue.damage = 0  # probing fails by design
    sizes: list[int] = []
    wrong_bytes, started_s = 0, time.monotonic()
    while not sizes or time.monotonic() < end_s:
        watcher.update(int(1e3 * (time.monotonic() - started_s)), max(1, int(1e3 * (end_s - started_s))))
        data = rng.bytes(int(rng.integers(1, _LOAD_BYTES + 1)))
        sizes.append(len(data))
        if not any(_is_there(dialogue, loader, data) for _ in range(2)):  # once may be a late reply of a busy host
            wrong_bytes += len(data)
    return np.array(sizes, np.int64), wrong_bytes


def _is_there(dialogue: Dialogue, loader: Loader, data: bytes) -> bool:
    """Whether `data` was loaded and read back as it was sent."""
    try:
        loader.load(data)
        loader.read_back(data)
    except DamagedError:
        dialogue.recover()
        return False
    return True
