"""A device written from docs/line.md alone talks with ours, on clean and on bad lines."""

import random

import pytest

from kit.wire.packet import LINE_VERSION, Closed, Open, Opened, PacketDecoder, Reset, cobs_encode
from kit.wire.reliable import Engine, LineSettings, Role, State
from kit.wire.session import Ending
from tests.wire.simulated_line import MS_NS, S_NS, Faults, Line
from tests.wire.small_device import OPEN, SmallDevice, framed, unframed

LINES = {
    "clean": Faults(),
    "bit errors": Faults(bit_flip=1e-4),
    "lost and invented bytes": Faults(byte_loss=1e-3, byte_insert=1e-3),
    "doubled and late": Faults(doubled=0.02, late=0.02),
    "dead for a second": Faults(silences_ns=((S_NS // 2, 3 * S_NS // 2),)),
}


def host(seed: int, now_ns: int = 0) -> Engine:
    rng = random.Random(seed)
    return Engine(Role.HOST, now_ns, lambda: rng.getrandbits(32), LineSettings(11_520.0))


def echoed(engine: Engine, line: Line, data: bytes) -> bytes:
    rest, got = memoryview(data), bytearray()
    while len(got) < len(data):
        rest = rest[engine.offer(rest) :]
        assert line.step(1000 * S_NS)
        got += engine.take()
        assert engine.ended is None
    return bytes(got)


@pytest.mark.parametrize("faults", LINES.values(), ids=LINES)
@pytest.mark.parametrize("seed", range(5))
def test_it_echoes_every_byte(faults: Faults, seed: int) -> None:
    engine = host(seed)
    line = Line(engine, SmallDevice(), latency_ns=2 * MS_NS, faults=faults, seed=seed)
    data = random.Random(seed).randbytes(4000) + bytes(500)
    assert echoed(engine, line, data) == data
    engine.close(line.now_ns, line.now_ns + 5 * S_NS)
    while engine.state is State.OPEN:
        line.step(1000 * S_NS)
    assert engine.ended is Ending.CLOSED


def test_a_second_host_takes_over_and_a_restart_is_told() -> None:
    first, device = host(1), SmallDevice()
    line = Line(first, device)
    assert echoed(first, line, b"one") == b"one"
    line.host = second = host(2, line.now_ns)
    assert echoed(second, line, b"two") == b"two"
    line.device = SmallDevice(first_nonce=1000)
    second.offer(b"three")
    while second.state is State.OPEN:
        assert line.step(line.now_ns + S_NS)
    assert second.ended is Ending.UNKNOWN


def test_both_make_the_same_bytes() -> None:
    assert framed(OPEN, 5, bytes([1, 0, 200, 0, 0, 4, 0, 0])) == Open(5, LINE_VERSION, 200, 1024).encoded()
    for size in (0, 1, 253, 254, 255, 600):
        content = unframed(framed(77, 5, bytes([9]) * size)[:-1])
        assert content is not None
        assert content[5:] == bytes([9]) * size
    assert unframed(cobs_encode(b"no checksum here")) is None


def test_it_refuses_as_the_page_says() -> None:
    device = SmallDevice()
    device.feed(framed(OPEN, 5, b"\2future") + framed(6, 9, bytes(4)), 0)
    assert PacketDecoder().feed(device.to_send(0)) == [Reset(5, 2, 1), Closed(9)]
    device.feed(b"\0noise\0" + Open(6, LINE_VERSION, 100, 100).encoded(), 0)
    (opened,) = PacketDecoder().feed(device.to_send(0))
    assert isinstance(opened, Opened)
