"""Proof: over a line that loses or alters one byte in 1,000, each way, a board's wrong results are never accepted."""

import hashlib
import time
from contextlib import closing

import numpy as np
import pytest

from kit.device import open_device
from kit.device.mlperf_tiny import MlperfTinyDevice
from kit.spec.types import LineSpec
from tests.emulators.boards import EmulatedBoard
from tests.emulators.dut import Net

BAUD = 921_600
LINES = {
    "lost": LineSpec(BAUD, 0.0, byte_loss_rate=1e-3),
    "altered": LineSpec(BAUD, 0.0, bit_error_rate=1 - (1 - 1e-3) ** (1 / 8)),  # eight bits, one byte in 1,000
}
NOISE = 20.0


def prove(kind: str, rows: int, input_bytes: int) -> None:
    """Every row's scores are those of the emulated firmware on that row; says what it took."""
    net = Net(input_bytes, 12)
    inputs, labels = net.rows(rows, noise=NOISE)
    want = np.array([[float(f"{p:.3f}") for p in net.probabilities(row.tobytes())] for row in inputs], np.float32)
    with EmulatedBoard(LINES[kind], inputs=input_bytes, seed=11) as board:
        with closing(open_device(board.spec)) as device:
            assert isinstance(device, MlperfTinyDevice)
            started_s = time.monotonic()
            got = device.predict("", inputs, output=None, exact=False)
            took_s, counts = time.monotonic() - started_s, device.counts()
        ours = {hashlib.sha256(row.tobytes()).hexdigest() for row in inputs}
        strangers = sum(event["sha256"] not in ours for event in board.events("infer"))
        overflows = len(board.events("overflow"))
    wrong = int((got != want).any(axis=1).sum())
    print(
        f"\none byte in 1,000 {kind} each way: {rows} rows of {input_bytes} bytes, {wrong} wrong results accepted; "
        f"the board inferred on {strangers} wrong inputs; {counts.reloads} reloads, {counts.damaged_replies} damaged "
        f"replies, {counts.read_backs} prints; {took_s:.0f} s; right {np.mean(got.argmax(axis=1) == labels):.1%}"
    )
    assert wrong == 0
    assert overflows == 0
    assert counts.rows == rows
    assert counts.reloads > 0, "the line was not bad enough to prove anything"
    assert counts.damaged_replies > 0


@pytest.mark.proof
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", sorted(LINES))
def test_no_wrong_result_of_a_thousand_is_accepted(kind: str) -> None:
    prove(kind, 1000, 490)


@pytest.mark.parametrize("kind", sorted(LINES))
def test_no_wrong_result_is_accepted_quick(kind: str) -> None:
    prove(kind, 15, 200)
