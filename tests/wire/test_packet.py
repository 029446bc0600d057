"""Packets: COBS, checksums, going on after noise, and bounded memory whatever arrives."""

import random
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.wire.packet import (
    DATA_OVERHEAD_BYTES,
    DELIMITER,
    LINE_VERSION,
    MAX_PAYLOAD_BYTES,
    MAX_RANGES,
    MIN_PAYLOAD_BYTES,
    Ack,
    Close,
    Closed,
    Data,
    Open,
    Opened,
    Packet,
    PacketDecoder,
    Probe,
    Reset,
    cobs_decode,
    cobs_encode,
    cobs_limit,
    decode_packet,
    ranges_within,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "line.md"
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
ranges = st.lists(st.tuples(u32, u32), max_size=MAX_RANGES).map(tuple)
packets: st.SearchStrategy[Packet] = st.one_of(
    st.builds(Open, u32, st.just(LINE_VERSION), u16, u32),
    st.builds(Opened, u32, st.integers(0, 255), u16, u32, u32),
    st.builds(Data, u32, u16, u32, st.binary(min_size=1, max_size=600), st.booleans()),
    st.builds(Ack, u32, u16, u32, u32, ranges),
    st.builds(Probe, u32, u16),
    st.builds(Close, u32, u32),
    st.builds(Closed, u32),
    st.builds(Reset, u32, st.integers(0, 255), st.integers(0, 255)),
)

EXAMPLES: list[tuple[bytes, str]] = [
    (b"", "01"),
    (b"\0", "01 01"),
    (b"\0\0", "01 01 01"),
    (b"\0\x11\0", "01 02 11 01"),
    (b"\x11\x22\0\x33", "03 11 22 02 33"),
    (b"\x11\x22\x33\x44", "05 11 22 33 44"),
    (b"\x11\0\0\0", "02 11 01 01 01"),
]


@pytest.mark.parametrize(("data", "encoded"), EXAMPLES, ids=[repr(data) for data, _ in EXAMPLES])
def test_cobs_gives_the_paper_s_examples(data: bytes, encoded: str) -> None:
    assert cobs_encode(data) == bytes.fromhex(encoded)
    assert cobs_decode(bytes.fromhex(encoded)) == data


@pytest.mark.parametrize("size", [0, 1, 253, 254, 255, 256, 507, 508, 509, 4096])
@pytest.mark.parametrize("fill", [0, 1, 255])
def test_cobs_at_its_block_sizes(size: int, fill: int) -> None:
    for data in (bytes([fill]) * size, bytes([fill]) * size + b"\0", b"\0" + bytes([fill]) * size):
        encoded = cobs_encode(data)
        assert 0 not in encoded
        assert len(encoded) <= cobs_limit(len(data))
        assert cobs_decode(encoded) == data


def test_the_shortest_code_of_a_full_block_is_read_too() -> None:
    """Other encoders leave out the empty block after 254 bytes."""
    assert cobs_decode(b"\xff" + bytes([7]) * 254) == bytes([7]) * 254


@given(st.binary(max_size=2000))
def test_cobs_round_trip(data: bytes) -> None:
    encoded = cobs_encode(data)
    assert DELIMITER not in encoded
    assert len(encoded) <= cobs_limit(len(data))
    assert cobs_decode(encoded) == data


@given(st.binary(max_size=600))
def test_cobs_decodes_anything_to_something_or_nothing(data: bytes) -> None:
    decoded = cobs_decode(data)
    assert decoded is None or len(decoded) <= len(data)


@given(st.lists(packets, max_size=8), st.integers(1, 40))
def test_packets_come_out_as_they_went_in_whatever_the_pieces(sent: list[Packet], piece: int) -> None:
    line = b"".join(packet.encoded() for packet in sent)
    decoder = PacketDecoder()
    got = [packet for start in range(0, len(line), piece) for packet in decoder.feed(line[start : start + piece])]
    assert got == sent
    assert [type(packet) for packet in got] == [type(packet) for packet in sent]
    assert decoder.damaged == 0
    assert decoder.received_bytes == len(line)


@given(st.lists(st.one_of(st.binary(max_size=300), packets.map(lambda packet: packet.encoded())), max_size=20))
def test_a_decoder_takes_anything(pieces: list[bytes]) -> None:
    decoder = PacketDecoder(256)
    for piece in pieces:
        for packet in decoder.feed(piece):
            assert not isinstance(packet, Data) or len(packet.payload) <= 256
        assert decoder.held_bytes() <= cobs_limit(11 + 256 + 4)


@given(packets, st.binary(max_size=50), st.data())
def test_noise_costs_at_most_the_packet_it_touches(packet: Packet, noise: bytes, data: st.DataObject) -> None:
    good = Probe(1, 2)
    line = bytearray(packet.encoded())
    at = data.draw(st.integers(0, len(line)))
    line[at:at] = noise
    got = PacketDecoder().feed(good.encoded() + DELIMITER + bytes(line) + DELIMITER + good.encoded())
    assert got[0] == got[-1] == good
    assert len(got) >= 2


@given(packets, st.data())
def test_a_changed_bit_is_always_noticed(packet: Packet, data: st.DataObject) -> None:
    line = bytearray(packet.encoded())
    bit = data.draw(st.integers(0, 8 * len(line) - 1))
    line[bit // 8] ^= 1 << bit % 8
    assert packet not in PacketDecoder().feed(bytes(line))


def test_what_is_no_packet_is_counted_once_each() -> None:
    decoder = PacketDecoder()
    assert decoder.feed(b"U-Boot 2026.01\r\n\0\0\0login: \0" + Closed(7).encoded()) == [Closed(7)]
    assert decoder.damaged == 2


def test_an_endless_packet_is_one_damaged_one_and_costs_no_memory() -> None:
    decoder = PacketDecoder(100)
    for _ in range(1000):
        assert decoder.feed(b"\x55" * 1000) == []
        assert decoder.held_bytes() <= 200
    assert decoder.feed(DELIMITER + Closed(7).encoded()) == [Closed(7)]
    assert decoder.damaged == 1


def test_a_payload_over_this_side_s_limit_is_dropped() -> None:
    decoder = PacketDecoder(100)
    assert decoder.feed(Data(1, 1, 0, bytes(101)).encoded()) == []
    assert decoder.feed(Data(1, 2, 0, bytes(100)).encoded()) == [Data(1, 2, 0, bytes(100))]
    assert decoder.damaged == 1


CONTENTS = {
    "nothing": b"",
    "only a kind": b"\x03",
    "an unknown kind": struct.pack("<BI", 77, 1),
    "a kind with the ask bit that has none": struct.pack("<BIH", 0x85, 1, 1),
    "data without a byte": struct.pack("<BIHI", 3, 1, 1, 0),
    "a cut data head": struct.pack("<BIH", 3, 1, 1),
    "a probe that is too long": struct.pack("<BIHB", 5, 1, 1, 0),
    "an answer that is too short": struct.pack("<BIBBH", 2, 1, 1, 0, 64),
    "a closed with a body": struct.pack("<BIB", 7, 1, 0),
    "half a range": struct.pack("<BIHIII", 4, 1, 1, 0, 0, 9),
    "seventeen ranges": struct.pack("<BIHII", 4, 1, 1, 0, 0) + bytes(8 * (MAX_RANGES + 1)),
    "an open without a version": struct.pack("<BI", 1, 1),
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_good_checksum_is_not_enough(content: bytes) -> None:
    assert decode_packet(cobs_encode(content + struct.pack("<I", zlib.crc32(content)))) is None


def test_an_open_of_another_version_may_look_different() -> None:
    content = struct.pack("<BIB", 1, 99, LINE_VERSION + 1) + b"whatever comes then"
    line = cobs_encode(content + struct.pack("<I", zlib.crc32(content))) + DELIMITER
    assert PacketDecoder().feed(line) == [Open(99, LINE_VERSION + 1, 0, 0)]


def test_the_overhead_is_what_the_packet_size_is_chosen_by() -> None:
    assert len(Data(1, 1, 0, b"x" * 100).encoded()) == 100 + DATA_OVERHEAD_BYTES


@pytest.mark.parametrize("largest", [MIN_PAYLOAD_BYTES, 100, 200, MAX_PAYLOAD_BYTES])
def test_an_acknowledgement_fits_where_data_fits(largest: int) -> None:
    ack = Ack(1, 1, 1, 1, tuple((n, n + 1) for n in range(ranges_within(largest))))
    assert 1 <= len(ack.ranges) <= MAX_RANGES
    assert PacketDecoder(largest).feed(ack.encoded()) == [ack]


def test_the_documented_example_and_sizes() -> None:
    """docs/line.md is enough to write a device by, so its bytes must be right."""
    text = DOCUMENT.read_text(encoding="utf-8")
    example = Open(0x12345678, LINE_VERSION, 200, 1024).encoded()
    assert f"packet   {example.hex(' ').upper()}\n" in text
    rows = {
        cells[1]: cells[4]
        for line in text.splitlines()
        if len(cells := [c.strip() for c in line.split("|")[1:-1]]) == 5
    }
    sizes = {
        "OPEN": len(example),
        "OPENED": len(Opened(1, 1, 1, 1, 1).encoded()),
        "PROBE": len(Probe(1, 1).encoded()),
        "CLOSE": len(Close(1, 1).encoded()),
        "CLOSED": len(Closed(1).encoded()),
        "RESET": len(Reset(1, 1, 1).encoded()),
    }
    assert {name: int(rows[name]) for name in sizes} == sizes
    assert rows["DATA"].startswith(f"{len(Data(1, 1, 1, b'x').encoded()) - 1} + payload")
    assert rows["ACK"].startswith(f"{len(Ack(1, 1, 1, 1).encoded())} + 8 a range")


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_random_noise_never_makes_a_packet(seed: int) -> None:
    decoder = PacketDecoder()
    rng = random.Random(seed)
    assert decoder.feed(rng.randbytes(100_000)) == []
    assert decoder.damaged > 100
