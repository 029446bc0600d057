"""The wire protocol: what is sent arrives unchanged, and nothing damaged is ever accepted."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kit.errors import LinkError
from kit.wire import (
    DTYPES,
    HEADER_BYTES,
    LAYOUT_VERSION,
    MAX_PAYLOAD_BYTES,
    Decoder,
    Frame,
    FrameError,
    FrameType,
    Message,
    encode_frame,
    pack_message,
    unpack_message,
)
from kit.wire.frame import MAGIC

REQUEST = Frame(FrameType.REQUEST, 7, b"payload of a frame")


def header(version=LAYOUT_VERSION, kind=1, sequence=7, size=0, payload_crc=0):
    fields = struct.pack("<4sBBHIII", MAGIC, version, kind, 0, sequence, size, payload_crc)
    return fields + struct.pack("<I", zlib.crc32(fields))


def decode_all(data, piece=None):
    """Frames and errors in order."""
    decoder, found = Decoder(), []
    step = piece or max(1, len(data))
    for start in range(0, len(data), step):
        decoder.feed(data[start : start + step])
        while True:
            try:
                frame = decoder.next_frame()
            except FrameError as error:
                found.append(error)
                continue
            if frame is None:
                break
            found.append(frame)
    return found


class TestFrames:
    def test_layout_is_as_documented(self):
        data = encode_frame(REQUEST)
        assert data[:4] == b"EDGP"
        assert data[4:8] == bytes([1, 1, 0, 0])
        assert int.from_bytes(data[8:12], "little") == 7
        assert int.from_bytes(data[12:16], "little") == len(REQUEST.payload)
        assert int.from_bytes(data[16:20], "little") == zlib.crc32(REQUEST.payload)
        assert int.from_bytes(data[20:24], "little") == zlib.crc32(data[:20])
        assert data[24:] == REQUEST.payload
        assert HEADER_BYTES == 24

    def test_documented_crc_check_value(self):
        assert zlib.crc32(b"123456789") == 0xCBF43926

    @given(
        st.lists(st.tuples(st.sampled_from(FrameType), st.integers(0, 2**32 - 1), st.binary(max_size=300)), max_size=6),
        st.integers(1, 400),
    )
    def test_frames_arrive_whatever_the_pieces(self, described, piece):
        frames = [Frame(*each) for each in described]
        assert decode_all(b"".join(map(encode_frame, frames)), piece) == frames

    @given(st.integers(0, 8 * (24 + 18) - 1), st.integers(1, 50))
    def test_no_single_flipped_bit_is_accepted(self, bit, piece):
        data = bytearray(encode_frame(REQUEST))
        data[bit // 8] ^= 1 << bit % 8
        # the frame after the damaged one tells that the decoder goes on
        found = decode_all(bytes(data) + encode_frame(Frame(FrameType.REPLY, 8, b"next")), piece)
        frames = [each for each in found if isinstance(each, Frame)]
        assert all(frame.sequence == 8 for frame in frames)
        assert any(isinstance(each, FrameError) for each in found)
        assert frames == [Frame(FrameType.REPLY, 8, b"next")]

    @settings(max_examples=200)
    @given(st.binary(max_size=400), st.integers(1, 64))
    def test_garbage_never_yields_a_frame_or_a_crash(self, garbage, piece):
        assert not any(isinstance(each, Frame) for each in decode_all(garbage, piece))

    @given(st.binary(max_size=100).filter(lambda data: MAGIC not in data))
    def test_resynchronises_after_garbage(self, garbage):
        found = decode_all(garbage + encode_frame(REQUEST))
        assert found[-1] == REQUEST

    def test_resynchronises_after_a_magic_in_garbage(self):
        found = decode_all(b"xx" + MAGIC + b"y" * 30 + encode_frame(REQUEST))
        assert found[-1] == REQUEST
        assert sum(isinstance(each, Frame) for each in found) == 1

    @pytest.mark.parametrize("cut", [1, 3, 4, 23, 24, 41])
    def test_a_cut_frame_is_awaited_and_then_told(self, cut):
        decoder = Decoder()
        decoder.feed(encode_frame(REQUEST)[:cut])
        assert decoder.next_frame() is None
        with pytest.raises(FrameError, match=f"after {cut} of its bytes"):
            decoder.end()

    def test_a_clean_end_is_no_error(self):
        decoder = Decoder()
        decoder.feed(encode_frame(REQUEST))
        assert decoder.next_frame() == REQUEST
        decoder.end()

    def test_refuses_to_send_over_the_limit(self):
        with pytest.raises(FrameError, match="over the limit") as caught:
            encode_frame(Frame(FrameType.REQUEST, 1, bytes(MAX_PAYLOAD_BYTES + 1)))
        assert caught.value.next_step

    def test_an_announced_giant_is_refused_without_being_awaited(self):
        (error,) = decode_all(header(size=MAX_PAYLOAD_BYTES + 1))[:1]
        assert "announces 16777217" in str(error)
        assert error.sequence == 7

    def test_the_largest_frame_passes(self):
        frame = Frame(FrameType.REPLY, 1, bytes(MAX_PAYLOAD_BYTES))
        assert decode_all(encode_frame(frame), 1 << 20) == [frame]

    def test_an_unknown_version_is_refused_by_name_and_skipped(self):
        data = header(version=9, size=4, payload_crc=zlib.crc32(b"futu")) + b"futu" + encode_frame(REQUEST)
        error, frame = decode_all(data)
        assert "version 9" in str(error)
        assert "reads version 1" in str(error)
        assert error.sequence == 7
        assert frame == REQUEST

    def test_an_unknown_type_is_refused(self):
        error, frame = decode_all(header(kind=77) + encode_frame(REQUEST))
        assert "type 77" in str(error)
        assert frame == REQUEST

    def test_a_damaged_payload_names_both_checksums_and_keeps_the_sequence(self):
        data = bytearray(encode_frame(REQUEST))
        data[-1] ^= 1
        (error,) = decode_all(bytes(data))
        assert f"{zlib.crc32(REQUEST.payload):08x}" in str(error)
        assert error.sequence == 7
        assert error.exit_code == 4


ARRAYS = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: hnp.arrays(np.dtype(name), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
JSON = st.dictionaries(
    st.text(max_size=8), st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20), max_size=4
)


def message_bytes(json_text, binary=b""):
    data = json_text.encode()
    return struct.pack("<I", len(data)) + data + binary


class TestMessages:
    @given(st.text(max_size=32), JSON, st.lists(ARRAYS | st.binary(max_size=50), max_size=4))
    def test_round_trip(self, kind, fields, parts):
        message = unpack_message(pack_message(Message(kind, fields, parts)))
        assert (message.kind, message.fields) == (kind, fields)
        for sent, got in zip(parts, message.parts, strict=True):
            if isinstance(sent, bytes):
                assert got == sent
            else:
                assert (got.dtype, got.shape) == (sent.dtype, sent.shape)
                assert got.tobytes() == sent.tobytes()

    def test_big_endian_and_strided_arrays_cross_as_little_endian(self):
        array = np.arange(12, dtype=">i4").reshape(3, 4)[:, ::2]
        got = unpack_message(pack_message(Message("x", {}, [array]))).tensor()
        assert got.dtype == np.dtype("<i4")
        np.testing.assert_array_equal(got, array)

    @pytest.mark.parametrize("dtype", [object, "U3", "S3", "complex64", "datetime64[s]"])
    def test_other_dtypes_are_not_sent(self, dtype):
        with pytest.raises(LinkError, match="cannot cross a link"):
            pack_message(Message("x", {}, [np.zeros(2, dtype)]))

    @settings(max_examples=300)
    @given(st.binary(max_size=200))
    def test_garbage_is_a_link_error_and_nothing_else(self, garbage):
        with pytest.raises(LinkError):
            unpack_message(garbage)

    @pytest.mark.parametrize(
        ("text", "binary", "said"),
        [
            (
                '{"kind":"x","fields":{},"parts":[{"dtype":"float32","shape":[2]}]}',
                b"1234567",
                "needs 8 bytes, found 7",
            ),
            ('{"kind":"x","fields":{},"parts":[{"dtype":"float32","shape":[1]}]}', b"12345", "1 bytes beyond"),
            (
                '{"kind":"x","fields":{},"parts":[{"dtype":"object","shape":[1]}]}',
                b"12345678",
                "expected bytes, or dtype",
            ),
            ('{"kind":"x","fields":{},"parts":[{"dtype":"int8","shape":[-1]}]}', b"", "expected bytes, or dtype"),
            ('{"kind":"x","fields":{},"parts":[{"dtype":"int8","shape":[true]}]}', b"1", "expected bytes, or dtype"),
            ('{"kind":"x","fields":{},"parts":[{"dtype":"int8","shape":"ab"}]}', b"", "expected bytes, or dtype"),
            ('{"kind":"x","fields":{},"parts":[{"dtype":"int8","shape":[1,1,1,1,1,1,1,1,1]}]}', b"1", "at most 8"),
            ('{"kind":"x","fields":{},"parts":[{"bytes":-4}]}', b"", "expected bytes, or dtype"),
            ('{"kind":"x","fields":{},"parts":[7]}', b"", "expected bytes, or dtype"),
            ('{"kind":"x","fields":{"a":NaN},"parts":[]}', b"", "NaN is not allowed"),
            ('{"kind":"x","fields":[],"parts":[]}', b"", "must have kind"),
            ('{"kind":7,"fields":{},"parts":[]}', b"", "must have kind"),
            ("[1]", b"", "must be a JSON object"),
            ("{", b"", "is no JSON"),
            ("[" * 60000, b"", "is no JSON"),
            ('{"kind":"x","fields":{},"parts":[' + ",".join(['{"bytes":0}'] * 17) + "]}", b"", "17 parts"),
        ],
    )
    def test_hostile_headers(self, text, binary, said):
        with pytest.raises(LinkError, match=said):
            unpack_message(message_bytes(text, binary))

    def test_a_shape_whose_product_overflows_is_refused(self):
        sizes = ",".join(["16777216"] * 7)
        text = f'{{"kind":"x","fields":{{}},"parts":[{{"dtype":"int8","shape":[0,{sizes}]}}]}}'
        with pytest.raises(LinkError):
            unpack_message(message_bytes(text))

    def test_a_header_longer_than_the_payload_is_refused(self):
        with pytest.raises(LinkError, match="announces a header of 4000000000"):
            unpack_message(struct.pack("<I", 4_000_000_000) + b"{}")

    def test_a_giant_header_is_not_sent(self):
        with pytest.raises(LinkError, match="over the limit"):
            pack_message(Message("x", {"a": "b" * 70_000}))


class TestGetters:
    MESSAGE = Message("k", {"t": "text", "i": 3, "f": 0.5, "b": True, "l": ["a"], "n": None}, [b"blob", np.zeros(2)])

    def test_right_types_are_returned(self):
        message = self.MESSAGE
        assert message.text("t") == "text"
        assert message.integer("i") == 3
        assert message.number("i") == 3.0
        assert message.number("f") == 0.5
        assert message.flag("b") is True
        assert message.texts("l") == ("a",)
        assert message.blob(0) == b"blob"
        assert message.tensor(1).shape == (2,)
        assert message.absent("n")
        assert message.absent("nothing")
        assert not message.absent("i")

    @pytest.mark.parametrize(
        "get",
        [
            lambda m: m.text("i"),
            lambda m: m.text("t", limit=2),
            lambda m: m.integer("b"),
            lambda m: m.integer("f"),
            lambda m: m.integer("i", 4),
            lambda m: m.integer("i", 0, 2),
            lambda m: m.number("b"),
            lambda m: m.number("t"),
            lambda m: m.number("f", 1),
            lambda m: m.flag("i"),
            lambda m: m.texts("t"),
            lambda m: m.blob(1),
            lambda m: m.blob(2),
            lambda m: m.tensor(0),
            lambda m: m.tensor(9),
            lambda m: m.integer("missing"),
        ],
    )
    def test_wrong_ones_are_link_errors_that_name_kind_and_field(self, get):
        with pytest.raises(LinkError, match=r"message 'k': .* must be .*, found"):
            get(self.MESSAGE)

    @pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0])
    def test_numbers_are_finite_and_within_bounds(self, value):
        with pytest.raises(LinkError):
            Message("k", {"f": value}).number("f")
