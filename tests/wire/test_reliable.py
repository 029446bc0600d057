"""The engine: opening, moving bytes both ways, losing nothing, ending, and bearing whatever arrives."""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.wire.estimate import LineEstimate
from kit.wire.packet import LINE_VERSION, Ack, Close, Closed, Data, Open, Opened, PacketDecoder, Probe, Reset
from kit.wire.ranges import Ranges
from kit.wire.receiver import Receiver, unwrapped
from kit.wire.reliable import Engine, LineSettings, Role, State
from kit.wire.sender import Sender
from kit.wire.session import Ending, Session, Terms
from tests.wire.simulated_line import MS_NS, S_NS, End, Faults, Line

RATES = {"9600": 960.0, "115200": 11_520.0, "921600": 92_160.0}


def engine(role: Role, seed: int = 0, given: LineSettings | None = None, now_ns: int = 0) -> Engine:
    rng = random.Random(f"{role} {seed}")
    return Engine(role, now_ns, lambda: rng.getrandbits(32), given)


@dataclass
class Pair:
    """A host and a device on a simulated line."""

    bytes_per_s: float = 92_160.0
    latency_ns: int = MS_NS
    faults: Faults = field(default_factory=Faults)
    host_settings: LineSettings | None = None
    device_settings: LineSettings | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self.host = engine(Role.HOST, self.seed, self.host_settings)
        self.device = engine(Role.DEVICE, self.seed, self.device_settings)
        self.line = Line(
            self.host,
            self.device,
            bytes_per_s=self.bytes_per_s,
            latency_ns=self.latency_ns,
            faults=self.faults,
            seed=self.seed,
        )

    def until(self, done: Callable[[], bool], limit_ns: int = 1000 * S_NS) -> None:
        while not done():
            assert self.line.step(limit_ns) or done(), "this does not come to an end"

    def opened(self) -> "Pair":
        self.until(lambda: self.device.accept())
        assert self.host.state is State.OPEN
        return self

    def moved(self, source: Engine, sink: Engine, data: bytes) -> bytes:
        """What `sink` gives for what `source` is offered."""
        rest, got = memoryview(data), bytearray()

        def done() -> bool:
            nonlocal rest
            rest = rest[source.offer(rest) :]
            got.extend(sink.take())
            return len(got) >= len(data)

        self.until(done)
        return bytes(got)

    def settled(self) -> None:
        """Let everything that is outstanding come to rest."""
        ends = (self.host, self.device)
        pipes = (self.line.to_device, self.line.to_host)
        self.until(lambda: all(e.due_ns() is None for e in ends) and all(p.next_ns() is None for p in pipes))


def goodput(rate: float, latency_ms: int, faults: Faults, size_bytes: int, *, told: bool) -> float:
    """Share of the line's rate at which random bytes cross, opening included."""
    nominal = LineSettings(rate if told else None)
    pair = Pair(rate, latency_ms * MS_NS, faults, nominal, nominal, seed=3)
    data = random.Random(1).randbytes(size_bytes)
    assert pair.opened().moved(pair.host, pair.device, data) == data
    return size_bytes / (pair.line.now_ns / S_NS) / rate


@pytest.mark.parametrize("told", [True, False], ids=["nominal rate told", "not told"])
@pytest.mark.parametrize("latency_ms", [1, 16])
@pytest.mark.parametrize("baud", ["115200", "921600"])
def test_a_clean_line_is_used_to_95_percent(baud: str, latency_ms: int, told: bool) -> None:
    share = goodput(RATES[baud], latency_ms, Faults(), 1_000_000, told=told)
    print(f"{baud} baud, {latency_ms} ms: {share:.3f} of the line")
    assert share >= 0.95


@pytest.mark.parametrize(("bit_errors", "least"), [(1e-5, 0.85), (1e-4, 0.65)])
@pytest.mark.parametrize("latency_ms", [1, 16])
@pytest.mark.parametrize("baud", ["115200", "921600"])
def test_a_noisy_line_is_used_well(baud: str, latency_ms: int, bit_errors: float, least: float) -> None:
    share = goodput(RATES[baud], latency_ms, Faults(bit_flip=bit_errors), 500_000, told=True)
    print(f"{baud} baud, {latency_ms} ms, {bit_errors} bit errors: {share:.3f} of the line")
    assert share >= least


def test_the_queue_before_the_line_stays_short() -> None:
    """A small message in the same direction waits behind it."""
    pair = Pair(11_520.0, 16 * MS_NS, host_settings=LineSettings(11_520.0)).opened()
    pair.moved(pair.host, pair.device, bytes(200_000))
    assert pair.line.to_device.queued_ns < 500 * MS_NS


def test_nothing_is_resent_on_a_clean_line_however_slow() -> None:
    pair = Pair(120.0, 100 * MS_NS, host_settings=LineSettings(120.0)).opened()
    data = bytes(range(256)) * 20
    assert pair.moved(pair.host, pair.device, data) == data
    assert pair.host.counters.resent_bytes == 0
    assert pair.device.counters.duplicates == 0


def test_small_messages_go_out_at_once_and_then_it_is_quiet() -> None:
    pair = Pair(latency_ns=MS_NS).opened()
    pair.settled()
    for number in range(20):
        begin_ns, sent = pair.line.now_ns, pair.host.counters.sent_packets
        assert pair.moved(pair.host, pair.device, bytes([number]) * 10) == bytes([number]) * 10
        assert pair.line.now_ns - begin_ns < 2 * MS_NS
        pair.settled()
        assert pair.line.now_ns - begin_ns < 4 * MS_NS, "an acknowledgement that was asked for is not kept back"
        assert pair.host.counters.sent_packets == sent + 1
    assert pair.host.due_ns() is pair.device.due_ns() is None


def test_both_ways_at_once() -> None:
    pair = Pair(11_520.0, faults=Faults(bit_flip=1e-5)).opened()
    up, down = random.Random(1).randbytes(60_000), random.Random(2).randbytes(50_000)
    got: dict[str, bytearray] = {"up": bytearray(), "down": bytearray()}
    rest = {"up": memoryview(up), "down": memoryview(down)}

    def done() -> bool:
        for way, source, sink in (("up", pair.host, pair.device), ("down", pair.device, pair.host)):
            rest[way] = rest[way][source.offer(rest[way]) :]
            got[way] += sink.take()
        return len(got["up"]) == len(up) and len(got["down"]) == len(down)

    pair.until(done)
    assert (got["up"], got["down"]) == (up, down)
    share = len(up) / 11_520 / (pair.line.now_ns / S_NS)
    print(f"both ways at once: {share:.3f} of each")
    assert share > 0.6, "acknowledgements wait behind the other way's data, but not for long"


def test_a_reader_that_does_not_read_stops_the_sender_and_costs_one_window() -> None:
    settings_ = LineSettings(window_bytes=2048)
    pair = Pair(device_settings=settings_).opened()
    data = random.Random(1).randbytes(50_000)
    rest = memoryview(data)[pair.host.offer(data) :]
    while pair.line.now_ns < 30 * S_NS:
        pair.line.step(30 * S_NS)
        assert pair.device.held_bytes() <= 2048 + 4200
    assert pair.host.state is State.OPEN, "it answers, so it is alive"
    assert pair.host.counters.sent_packets < 60, "it is asked seldom"
    got = bytearray()

    def done() -> bool:
        nonlocal rest
        rest = rest[pair.host.offer(rest) :]
        got.extend(pair.device.take())
        return len(got) == len(data)

    begin_ns = pair.line.now_ns
    pair.until(done)
    assert bytes(got) == data
    assert pair.line.now_ns - begin_ns < 3 * S_NS, "the open window was told"


@pytest.mark.parametrize("largest", [32, 100, 241, 4096])
@pytest.mark.parametrize("window", [32, 256, 1000])
def test_small_devices_take_part(largest: int, window: int) -> None:
    small = LineSettings(None, largest, window)
    pair = Pair(11_520.0, faults=Faults(bit_flip=3e-5), device_settings=small).opened()
    data = random.Random(1).randbytes(5000)
    assert pair.moved(pair.host, pair.device, data) == data
    assert pair.moved(pair.device, pair.host, data) == data


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from(sorted(RATES)),
    st.integers(0, 50),
    st.sampled_from([0.0, 1e-5, 1e-4]),
    st.lists(st.integers(1, 3000), min_size=1, max_size=5),
)
def test_any_messages_arrive_over_any_line(
    seed: int, baud: str, latency_ms: int, errors: float, sizes: list[int]
) -> None:
    faults = Faults(bit_flip=errors, byte_loss=errors, byte_insert=errors, doubled=0.02, late=0.02)
    pair = Pair(RATES[baud], latency_ms * MS_NS, faults, seed=seed).opened()
    for index, size in enumerate(sizes):
        data = random.Random(f"{seed} {index}").randbytes(size)
        source, sink = (pair.host, pair.device) if index % 2 else (pair.device, pair.host)
        assert pair.moved(source, sink, data) == data


def test_an_end_in_order_leaves_everything_readable() -> None:
    pair = Pair().opened()
    pair.host.offer(b"last words")
    pair.host.close(pair.line.now_ns, pair.line.now_ns + S_NS)
    assert pair.host.offer(b"no more") == 0
    pair.until(lambda: pair.host.ended is not None)
    assert pair.host.ended is Ending.CLOSED
    assert pair.device.ended is Ending.BY_PEER
    assert pair.device.take() == b"last words"
    assert not pair.device.accept()
    pair.settled()
    assert pair.line.now_ns < S_NS


def test_the_device_may_close_too() -> None:
    pair = Pair().opened()
    pair.device.close(pair.line.now_ns, pair.line.now_ns + S_NS)
    pair.until(lambda: pair.device.ended is not None)
    assert (pair.host.ended, pair.device.ended) == (Ending.BY_PEER, Ending.CLOSED)


def test_both_may_close_at_once() -> None:
    pair = Pair().opened()
    for end in (pair.host, pair.device):
        end.close(pair.line.now_ns, pair.line.now_ns + S_NS)
    pair.until(lambda: pair.host.ended is not None and pair.device.ended is not None)
    assert pair.line.now_ns < S_NS


def test_an_end_that_cannot_wait_is_told_as_cut_off() -> None:
    pair = Pair(960.0).opened()
    pair.host.offer(bytes(4000))
    pair.host.close(pair.line.now_ns, pair.line.now_ns + S_NS)
    pair.until(lambda: pair.device.ended is not None)
    assert pair.host.ended is Ending.CLOSED
    assert pair.device.ended is Ending.CUT_OFF
    assert 0 < len(pair.device.take()) < 4000


def test_closing_to_nobody_ends_at_the_deadline() -> None:
    pair = Pair().opened()
    pair.line.device = Deaf()
    pair.host.offer(b"hello")
    pair.host.close(pair.line.now_ns, pair.line.now_ns + S_NS)
    begin_ns = pair.line.now_ns
    pair.until(lambda: pair.host.ended is not None)
    assert pair.line.now_ns - begin_ns <= S_NS + 2 * MS_NS


class Deaf(End):
    """Nobody: takes all, says nothing."""

    def feed(self, data: bytes, now_ns: int) -> None:
        pass

    def to_send(self, now_ns: int) -> bytes:
        return b""

    def due_ns(self) -> int | None:
        return None


def test_a_silent_peer_is_noticed_only_while_something_is_outstanding() -> None:
    given_ = LineSettings(dead_after_ns=3 * S_NS)
    pair = Pair(host_settings=given_).opened()
    pair.settled()
    pair.line.device = Deaf()
    while pair.line.step(100 * S_NS):
        pass
    assert pair.host.state is State.OPEN
    pair.host.offer(b"anyone?")
    while pair.line.step(102 * S_NS):
        pass
    assert pair.host.state is State.OPEN
    pair.until(lambda: pair.host.ended is not None, 104 * S_NS)
    assert pair.host.ended is Ending.SILENT
    assert pair.host.due_ns() is None


def test_a_reboot_is_noticed_within_a_round_trip() -> None:
    pair = Pair().opened()
    pair.settled()
    pair.line.device = pair.device = engine(Role.DEVICE, 99)
    pair.host.offer(b"still there?")
    begin_ns = pair.line.now_ns
    pair.until(lambda: pair.host.ended is not None)
    assert pair.host.ended is Ending.UNKNOWN
    assert pair.line.now_ns - begin_ns < 5 * MS_NS
    assert pair.device.take() == b""
    assert not pair.device.accept()


def test_a_new_host_replaces_the_old_one_and_the_device_is_told() -> None:
    pair = Pair().opened()
    pair.host.offer(b"from the first")
    pair.until(lambda: pair.device.ready() > 0)
    pair.line.host = second = engine(Role.HOST, 7, now_ns=pair.line.now_ns)
    pair.until(lambda: pair.device.ended is not None)
    assert pair.device.ended is Ending.REPLACED
    assert pair.device.take() == b"from the first"
    assert pair.device.offer(b"to nobody") == 0
    assert pair.device.accept()
    pair.host = second
    assert pair.moved(second, pair.device, b"from the second") == b"from the second"
    old = Data(pair_session(Pair().opened()), 5, 14, b"late").encoded()
    pair.device.feed(old, pair.line.now_ns)
    assert pair.device.take() == b""


def pair_session(pair: Pair) -> int:
    """The number of a pair's session, as seen on the line."""
    pair.host.offer(b"x")
    (packet,) = PacketDecoder().feed(pair.host.to_send(pair.line.now_ns))
    return packet.session


def answers(
    device: Engine, *packets: Open | Data | Ack | Probe | Close | Closed | Reset, now_ns: int = 0
) -> list[object]:
    """What an engine answers at once."""
    for packet in packets:
        device.feed(packet.encoded(), now_ns)
    return list(PacketDecoder().feed(device.to_send(now_ns)))


def test_an_old_open_does_not_disturb_the_session() -> None:
    """A duplicate that was on its way for long is answered, and changes nothing."""
    pair = Pair().opened()
    given_ = answers(pair.device, Open(12345, LINE_VERSION, 100, 100), now_ns=pair.line.now_ns)
    assert [packet.session for packet in given_ if isinstance(packet, Opened)] == [12345]
    assert pair.device.state is State.OPEN
    assert pair.moved(pair.host, pair.device, b"goes on") == b"goes on"


def test_the_same_open_gets_the_same_answer_and_another_one_another() -> None:
    device = engine(Role.DEVICE)
    first, second = Open(1, LINE_VERSION, 100, 100), Open(2, LINE_VERSION, 100, 100)
    given_ = answers(device, first, second, first, second)
    assert given_[:2] == given_[2:]
    assert len({packet.device_nonce for packet in given_ if isinstance(packet, Opened)}) == 2


def test_a_device_remembers_only_so_many_opens() -> None:
    device = engine(Role.DEVICE)
    for nonce in range(1000):
        device.feed(Open(nonce, LINE_VERSION, 100, 100).encoded(), 0)
    assert len(PacketDecoder().feed(device.to_send(0))) <= 8


@pytest.mark.parametrize("sizes", [(31, 1000), (1000, 31), (0, 0)])
def test_an_open_with_sizes_of_no_use_is_not_answered(sizes: tuple[int, int]) -> None:
    assert answers(engine(Role.DEVICE), Open(1, LINE_VERSION, *sizes)) == []


@pytest.mark.parametrize("stranger", [Data(9, 1, 0, b"x"), Probe(9, 1), Ack(9, 1, 0, 1)], ids=["data", "probe", "ack"])
def test_a_stranger_is_reset(stranger: Data | Probe | Ack) -> None:
    assert answers(engine(Role.DEVICE), stranger) == [Reset(9, 1, LINE_VERSION)]


def test_endings_are_not_answered_with_endings_for_ever() -> None:
    device = engine(Role.DEVICE)
    assert answers(device, Close(9, 0)) == [Closed(9)]
    assert answers(device, Reset(9, 1, 1), Closed(9)) == []


def test_another_version_is_told_ours() -> None:
    assert answers(engine(Role.DEVICE), Open(9, LINE_VERSION + 1, 0, 0)) == [Reset(9, 2, LINE_VERSION)]


def test_a_host_that_is_refused_says_so_and_asks_no_more() -> None:
    host = engine(Role.HOST)
    (opening,) = PacketDecoder().feed(host.to_send(0))
    host.feed(Reset(opening.session, 2, 9).encoded(), 0)
    assert (host.state, host.ended) == (State.CLOSED, Ending.VERSION)
    assert host.due_ns() is None
    assert host.to_send(10 * S_NS) == b""


def test_an_answer_to_somebody_else_opens_nothing() -> None:
    host = engine(Role.HOST)
    (opening,) = PacketDecoder().feed(host.to_send(0))
    host.feed(Opened(opening.session ^ 1, LINE_VERSION, 100, 100, 5).encoded(), 0)
    host.feed(Opened(opening.session, LINE_VERSION + 1, 100, 100, 5).encoded(), 0)
    host.feed(Opened(opening.session, LINE_VERSION, 1, 1, 5).encoded(), 0)
    assert host.state is State.OPENING
    host.feed(Opened(opening.session, LINE_VERSION, 100, 100, 5).encoded(), 0)
    assert host.state is State.OPEN


def test_opening_is_tried_again_ever_more_slowly() -> None:
    host = engine(Role.HOST)
    times_ns = []
    now_ns = 0
    while now_ns < 10 * S_NS:
        if host.to_send(now_ns):
            times_ns.append(now_ns)
        due_ns = host.due_ns()
        assert due_ns is not None
        now_ns = max(due_ns, now_ns + 1)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times_ns)]
    assert gaps == sorted(gaps)
    assert gaps[0] <= 200 * MS_NS
    assert gaps[-1] == S_NS


small, any32 = st.integers(0, 3), st.integers(0, 2**32 - 1)
some_ranges = st.lists(st.tuples(any32, st.integers(0, 99)), max_size=4).map(tuple)
hostile = st.one_of(
    st.binary(max_size=200),
    st.one_of(
        st.builds(Data, small, st.integers(0, 9), st.integers(0, 99), st.binary(min_size=1, max_size=50)),
        st.builds(Ack, small, st.integers(0, 9), any32, any32, some_ranges),
        st.builds(Open, small, st.integers(0, 2), st.integers(0, 200), st.integers(0, 999)),
        st.builds(Opened, small, st.just(1), st.integers(0, 200), st.integers(0, 999), small),
        st.builds(Probe, small, st.integers(0, 9)),
        st.builds(Close, small, st.integers(0, 9)),
        st.builds(Reset, small, small, small),
    ).map(lambda packet: packet.encoded()),
)


@settings(deadline=None)
@given(
    st.sampled_from(Role),
    st.lists(
        hostile,
        max_size=30,
    ),
)
def test_an_engine_takes_anything_in_any_state(role: Role, pieces: list[bytes]) -> None:
    """Session numbers are small here, so that hostile packets do hit the session."""
    numbers = iter(range(1, 1000))
    end = Engine(role, 0, lambda: next(numbers) % 4, LineSettings(window_bytes=200))
    for now_ns, piece in enumerate(pieces):
        end.feed(piece, now_ns * MS_NS)
        end.accept()
        end.offer(bytes(100))
        sent = end.to_send(now_ns * MS_NS)
        assert len(sent) < 200_000
        assert end.held_bytes() <= 200 + 5000 + 70_000
        end.due_ns()


# The halves by themselves.


@given(st.integers(0, 2**40), st.integers(-(2**31) + 1, 2**31 - 1))
def test_wrapped_numbers_unwrap_near(near: int, distance: int) -> None:
    assert unwrapped((near + distance) & 0xFFFFFFFF, near) == near + distance


@pytest.mark.parametrize("start", [2**32 - 3000, 2**32 - 1, 2**33 - 7, 5 * 2**32])
def test_offsets_wrap(start: int) -> None:
    """A stream of over 4 GiB: bytes and acknowledgements go on across the wrap, also with losses."""
    terms = Terms(100, 5000, 5000, None, 10 * S_NS)
    one, other = (Session(5, terms, 0, first_offset=start) for _ in range(2))
    data, rng = random.Random(start).randbytes(20_000), random.Random(1)
    rest, got, now_ns = memoryview(data), bytearray(), 0
    while len(got) < len(data):
        now_ns += 10 * MS_NS
        assert now_ns < 500 * S_NS
        rest = rest[one.sender.offer(rest) :]
        for source, sink in ((one, other), (other, one)):
            for packet in PacketDecoder().feed(b"".join(source.encoded(now_ns, 3000))):
                if rng.random() > 0.1:
                    sink.handle(packet, now_ns)
        got += other.receiver.take(now_ns)
    assert bytes(got) == data
    assert other.receiver.next == start + len(data)


def test_numbers_of_transmissions_wrap() -> None:
    sender = Sender(1, LineEstimate(None, 64), 10_000)
    receiver = Receiver(1, 10_000)
    for round_ in range(70_000):
        sender.offer(b"x")
        for packet in PacketDecoder().feed(b"".join(sender.encoded(round_, 1000))):
            assert isinstance(packet, Data)
            receiver.on_data(packet, round_)
        assert receiver.take(round_) == b"x"
        sender.on_ack(receiver.ack(), round_)
    assert sender.idle()
    assert not sender.outstanding()
    assert sender.resent_bytes == 0
    assert sender.packets == 70_000


@given(
    st.binary(min_size=1, max_size=400),
    st.lists(st.tuples(st.integers(0, 399), st.integers(1, 400)), max_size=60),
    st.integers(100, 500),
)
def test_a_receiver_puts_any_pieces_in_order(data: bytes, pieces: list[tuple[int, int]], window: int) -> None:
    """Overlapping, doubled, out of order, beyond the window: only a prefix of the data ever comes out."""
    receiver = Receiver(1, window)
    got = bytearray()
    for number, (start, size) in enumerate(pieces):
        payload = data[start : start + size]
        if payload:
            receiver.on_data(Data(1, number + 1, start, payload), 0)
        assert receiver.held_bytes() <= window
        got += receiver.take(0)
        assert data.startswith(got)
        for begin, end in receiver.ack().ranges:
            assert len(got) < begin < end <= len(data)
    for start in range(0, len(data), 100):
        receiver.on_data(Data(1, 1, start, data[start : start + 100]), 0)
        got += receiver.take(0)
    assert bytes(got) == data


def test_a_receiver_bounds_how_many_gaps_it_remembers() -> None:
    receiver = Receiver(1, 65_536)
    for position in range(65_000, 1, -2):
        receiver.on_data(Data(1, 1, position, b"x"), 0)
    assert receiver.held_bytes() <= 65_536
    receiver.on_data(Data(1, 1, 0, bytes(65_536)), 0)
    assert len(receiver.take(0)) >= 1


def sent(sender: Sender, now_ns: int = 0) -> list[Data | Probe]:
    packets = PacketDecoder().feed(b"".join(sender.encoded(now_ns, 100_000)))
    return [packet for packet in packets if isinstance(packet, Data | Probe)]


def test_what_was_lost_is_sent_again_as_soon_as_a_later_packet_arrived_and_only_that() -> None:
    sender = Sender(1, LineEstimate(1e6, 100), 10_000)
    sender.offer(bytes(range(200)) * 2)
    first = sent(sender)
    assert [(packet.number, packet.offset) for packet in first if isinstance(packet, Data)] == [
        (1, 0),
        (2, 100),
        (3, 200),
        (4, 300),
    ]
    sender.on_ack(Ack(1, 3, 100, 10_000, ((200, 300),)), MS_NS)
    again = sent(sender, MS_NS)
    assert [(packet.number, packet.offset) for packet in again if isinstance(packet, Data)] == [(5, 100)]
    assert sender.resent_bytes == 100
    sender.on_ack(Ack(1, 5, 400, 10_000), 2 * MS_NS)
    assert sender.idle()
    assert sent(sender, 2 * MS_NS) == []


def test_a_late_acknowledgement_of_the_first_copy_does_not_condemn_the_second() -> None:
    sender = Sender(1, LineEstimate(1e6, 100), 10_000)
    sender.offer(bytes(300))
    sent(sender)
    sender.on_ack(Ack(1, 3, 0, 10_000, ((100, 300),)), MS_NS)
    assert len(sent(sender, MS_NS)) == 1
    sender.on_ack(Ack(1, 3, 0, 10_000, ((100, 300),)), 2 * MS_NS)
    assert sent(sender, 2 * MS_NS) == []
    assert sender.resent_bytes == 100


NEVER_SENT = {
    "a number": Ack(1, 9, 100, 1000),
    "bytes": Ack(1, 1, 5000, 1000),
    "a range": Ack(1, 1, 0, 1000, ((0, 5000),)),
    "a range backwards": Ack(1, 1, 0, 1000, ((50, 20),)),
    "an old number": Ack(1, 60_000, 0, 0),
}


@pytest.mark.parametrize("ack", NEVER_SENT.values(), ids=NEVER_SENT)
def test_an_acknowledgement_of_what_was_never_sent_takes_nothing_away(ack: Ack) -> None:
    sender = Sender(1, LineEstimate(1e6, 100), 10_000)
    sender.offer(bytes(200))
    sent(sender)
    sender.on_ack(ack, MS_NS)
    assert sender.acknowledged == 0
    assert sender.held_bytes() == 200


def test_a_lost_tail_is_asked_for_with_a_small_packet_and_growing_patience() -> None:
    sender = Sender(1, LineEstimate(1e6, 1000), 10_000)
    sender.offer(bytes(900))
    assert len(sent(sender)) == 1
    times_ns = []
    for _ in range(6):
        due_ns = sender.due_ns()
        assert due_ns is not None
        times_ns.append(due_ns)
        sender.on_time(due_ns)
        (probe,) = sent(sender, due_ns)
        assert isinstance(probe, Probe)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times_ns)]
    assert gaps == sorted(gaps)
    assert max(gaps) <= 2 * S_NS
    assert sender.resent_bytes == 0
    sender.on_ack(Ack(1, probe.number, 0, 10_000), times_ns[-1] + MS_NS)
    again = sent(sender, times_ns[-1] + MS_NS)
    assert sum(len(packet.payload) for packet in again if isinstance(packet, Data)) == 900


def test_resends_are_cut_to_the_packet_size_of_the_moment() -> None:
    line = LineEstimate(1e6, 4096)
    sender = Sender(1, line, 60_000)
    sender.offer(bytes(5000))
    (*_, last) = sent(sender)
    for _ in range(20):
        line.saw_packet(500, lost=True)
    assert line.payload_bytes() < 150
    sender.on_ack(Ack(1, last.number, 0, 60_000), MS_NS)
    pieces = [packet for packet in sent(sender, MS_NS) if isinstance(packet, Data)]
    assert max(len(packet.payload) for packet in pieces) < 150
    assert pieces[0].offset == 0


def test_payloads_follow_the_errors_both_ways() -> None:
    line = LineEstimate(92_160.0, 4096)
    at_first = line.payload_bytes()
    assert 900 < at_first < 1100
    for _ in range(2000):
        line.saw_packet(1000, lost=False)
    assert line.payload_bytes() > 2500
    for index in range(2000):
        line.saw_packet(150, lost=index % 8 == 0)
    assert 100 < line.payload_bytes() < 200, "sqrt(17 bytes / (1 / 1200 bytes)) is 143"
    for _ in range(5000):
        line.saw_packet(1000, lost=False)
    assert line.payload_bytes() > 2500


@pytest.mark.parametrize(("rate", "most"), [(None, 256), (300.0, 256), (11_520.0, 1152), (1e8, 4096)])
def test_payloads_take_a_tenth_of_a_second_at_most(rate: float | None, most: int) -> None:
    line = LineEstimate(rate, 4096)
    for _ in range(2000):
        line.saw_packet(1000, lost=False)
    assert line.payload_bytes() <= most


def test_a_rate_is_a_lower_bound_unless_there_was_more_to_send() -> None:
    line = LineEstimate(None, 4096)
    line.saw_rate(10, S_NS, limited=True)
    assert line.bytes_per_s is None
    line.saw_rate(1000, S_NS, limited=False)
    assert line.bytes_per_s == 1000
    line.saw_rate(10, S_NS, limited=True)
    assert line.bytes_per_s == 1000
    line.saw_rate(3000, S_NS, limited=True)
    assert line.bytes_per_s == 3000
    line.saw_rate(1, 0, limited=False)
    for _ in range(50):
        line.saw_rate(1000, S_NS, limited=False)
    assert line.bytes_per_s == pytest.approx(1000, rel=0.01)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 60)), max_size=40),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_ranges_agree_with_a_set(steps: list[tuple[bool, int, int]], start: int, end: int) -> None:
    kept, expected = Ranges(), set[int]()
    for adds, low, high in steps:
        (kept.add if adds else kept.remove)(low, high)
        (expected.update if adds else expected.difference_update)(range(low, high))
        found = list(kept)
        assert {n for low_, high_ in found for n in range(low_, high_)} == expected
        assert all(low_ < high_ for low_, high_ in found)
        assert all(high_ < low_ for (_, high_), (low_, _) in itertools.pairwise(found)), "touching are one"
    missing = {n for low, high in kept.missing(start, end) for n in range(low, high)}
    assert missing == set(range(start, end)) - expected
    if expected:
        assert kept.first()[0] == min(expected)
        assert kept.last(1)[0][1] == max(expected) + 1
        low, high = kept.pop_first(7)
        assert 0 < high - low <= 7
        assert {n for a, b in kept for n in range(a, b)} == expected - set(range(low, high))
