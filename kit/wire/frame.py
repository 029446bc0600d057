"""Frames: a 24-byte header and a payload, each with a checksum. The layout is in docs/wire.md.

What arrives is hostile: sizes are bounded, checksums are verified, and what is inflated is bounded too.
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

from kit.errors import LinkError

LAYOUT_VERSION = 1
MAGIC = b"EDGP"
MAX_PAYLOAD_BYTES = 16 << 20
UNKNOWN_SEQUENCE = 0xFFFFFFFF
SLOW_LINK_BYTES_PER_S = 2e6
"""Below this rate compressing what is sent is worth a processor's time."""

_FIELDS = struct.Struct("<4sBBHIII")
_CRC = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CRC.size
_DEFLATED = 1
_VERSION_AT = 4  # in a header
_STORE_BYTES, _KEPT_BYTES = 4096, 4 << 20


class FrameType(IntEnum):
    """What a frame is.

    The host sends REQUEST, and DATA (raw bytes of a transfer) after the request that opened it; CANCEL gives up the
    request under way, BEAT keeps the lease. The agent answers PROGRESS and TELEMETRY any number of times, then
    exactly one REPLY or ERROR.
    """

    REQUEST = 1
    REPLY = 2
    ERROR = 3
    PROGRESS = 4
    DATA = 5
    CANCEL = 6
    BEAT = 7
    TELEMETRY = 8


class FrameError(LinkError):
    """A frame is damaged or refused; `sequence` is its number where the header could still be trusted."""

    def __init__(self, what: str, *, sequence: int | None = None, next_step: str = "") -> None:
        super().__init__(what, where="wire", next_step=next_step)
        self.sequence = sequence


@dataclass(frozen=True, slots=True)
class Frame:
    """One verified frame: `sequence` is uint32 and ties answers to their request."""

    type: FrameType
    sequence: int
    payload: bytes


def encode_frame(frame: Frame, *, deflate: bool = False) -> bytes:
    """The frame's bytes; with `deflate`, compressed (zlib, RFC 1950) if that makes it smaller.

    Raises FrameError if the payload is over MAX_PAYLOAD_BYTES.
    """
    payload, flags = frame.payload, 0
    check_size(payload, frame.sequence)
    if deflate and len(squeezed := zlib.compress(payload, 6)) < len(payload):
        payload, flags = squeezed, _DEFLATED
    return frame_header(frame.type, frame.sequence, payload, flags) + payload


def frame_header(kind: FrameType, sequence: int, payload: bytes | memoryview, flags: int = 0) -> bytes:
    """The 24 bytes before a payload, for who sends the two one after the other and copies neither."""
    fields = _FIELDS.pack(MAGIC, LAYOUT_VERSION, kind, flags, sequence, len(payload), zlib.crc32(payload))
    return fields + _CRC.pack(zlib.crc32(fields))


def check_size(payload: bytes | memoryview, sequence: int | None = None) -> None:
    """Raises FrameError if a frame cannot carry this payload."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise FrameError(
            f"a frame of {len(payload)} payload bytes is over the limit of {MAX_PAYLOAD_BYTES}",
            sequence=sequence,
            next_step="send it in smaller pieces",
        )


class Decoder:
    """Bytes in, verified frames out; after damage it goes on at the next frame that checks out.

    It holds at most one frame of `limit_bytes` and what was fed beyond it, so feed it in bounded pieces.
    """

    def __init__(self, limit_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._store = bytearray(_STORE_BYTES)  # kept from frame to frame: fresh memory costs more than the copy into it
        self._start = self._end = 0  # what is fed and not yet taken
        self._announced: tuple[int, int, int, int, int] | None = None  # the header at the start, checked

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Append what arrived."""
        size_bytes = len(data)
        if self._end + size_bytes > len(self._store):
            self._make_room(size_bytes)
        self._store[self._end : self._end + size_bytes] = data
        self._end += size_bytes

    def next_frame(self) -> Frame | None:
        """The next frame, or None until more bytes arrive. Raises FrameError once per damage, then goes on."""
        if self._announced is None:
            if self._start == self._end:
                return None
            self._seek_magic()
            if self._end - self._start < HEADER_BYTES:
                return None
            self._announced = self._header()
        kind, flags, sequence, size_bytes, payload_crc = self._announced
        begin = self._start + HEADER_BYTES
        if self._end < begin + size_bytes:
            return None
        with memoryview(self._store) as view:
            payload = bytes(view[begin : begin + size_bytes])
        version = self._store[self._start + _VERSION_AT]
        self._skip(HEADER_BYTES + size_bytes)
        self._announced = None
        if (crc := zlib.crc32(payload)) != payload_crc:
            what = f"a frame's payload has CRC-32 {crc:08x} where its header says {payload_crc:08x}"
            raise FrameError(what, sequence=sequence)
        if version != LAYOUT_VERSION:
            raise FrameError(
                f"a frame has layout version {version}; this side reads version {LAYOUT_VERSION}",
                sequence=sequence,
                next_step="use the same edgeproof release on the host and on the device",
            )
        return Frame(_frame_type(kind, sequence), sequence, _inflated(payload, flags, sequence, self.limit_bytes))

    def awaited(self) -> tuple[int, int] | None:
        """Type and sequence of the frame whose payload is arriving, once its header has; None between frames."""
        return None if self._announced is None else (self._announced[0], self._announced[2])

    def end(self) -> None:
        """The stream has ended: raises FrameError if that was inside a frame."""
        if self._end > self._start:
            raise FrameError(f"the stream ended inside a frame, after {self._end - self._start} of its bytes")

    def _header(self) -> tuple[int, int, int, int, int]:
        """Type, flags, sequence, payload size and CRC; a header that is not to be trusted is skipped."""
        start = self._start
        _, _, kind, flags, sequence, size_bytes, payload_crc = _FIELDS.unpack_from(self._store, start)
        (header_crc,) = _CRC.unpack_from(self._store, start + _FIELDS.size)
        computed = zlib.crc32(self._store[start : start + _FIELDS.size])
        if computed != header_crc:
            self._skip(len(MAGIC))
            raise FrameError(f"a frame's header has CRC-32 {computed:08x} where it says {header_crc:08x}")
        if size_bytes > self.limit_bytes:
            self._skip(len(MAGIC))
            raise FrameError(
                f"a frame announces {size_bytes} payload bytes, over the limit of {self.limit_bytes}",
                sequence=sequence,
                next_step="send it in smaller pieces",
            )
        return kind, flags, sequence, size_bytes, payload_crc

    def _seek_magic(self) -> None:
        """Drop what precedes the next magic, and say so; a magic that may still be arriving is kept."""
        if MAGIC.startswith(self._store[self._start : min(self._start + len(MAGIC), self._end)]):
            return
        found = self._store.find(MAGIC, self._start, self._end)
        if found < 0:
            tail = bytes(self._store[max(self._start, self._end - len(MAGIC) + 1) : self._end])
            found = self._end - next(n for n in range(len(MAGIC) - 1, -1, -1) if tail.endswith(MAGIC[:n]))
        dropped, head = found - self._start, bytes(self._store[self._start : min(self._start + 8, found)])
        self._skip(dropped)
        raise FrameError(f"{dropped} bytes that are no frame (they start {head!r}); a frame starts with {MAGIC!r}")

    def _make_room(self, size_bytes: int) -> None:
        """Move what is held to the front, and grow where that is not enough."""
        held = self._end - self._start
        if self._start:
            self._store[:held] = self._store[self._start : self._end]
            self._start, self._end = 0, held
        if held + size_bytes > len(self._store):
            self._store.extend(bytes(max(held + size_bytes, 2 * len(self._store)) - len(self._store)))

    def _skip(self, size_bytes: int) -> None:
        self._start += size_bytes
        if self._start == self._end:
            self._start = self._end = 0
            if len(self._store) > _KEPT_BYTES:
                self._store = bytearray(_STORE_BYTES)


def _inflated(payload: bytes, flags: int, sequence: int, limit_bytes: int) -> bytes:
    """The payload as it was before `encode_frame` compressed it, never over the limit."""
    if not flags:
        return payload
    if flags != _DEFLATED:
        raise FrameError(f"a frame has flags {flags:#06x}; known is {_DEFLATED:#06x}, deflated", sequence=sequence)
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(payload, limit_bytes + 1)
    except zlib.error as error:
        raise FrameError(f"a frame's payload does not inflate: {error}", sequence=sequence) from None
    if not inflater.eof or inflater.unused_data or len(data) > limit_bytes:
        what = f"inflates to over {limit_bytes} bytes, is cut off, or has bytes left over"
        raise FrameError(f"a frame's payload {what}", sequence=sequence)
    return data


def _frame_type(kind: int, sequence: int) -> FrameType:
    try:
        return FrameType(kind)
    except ValueError:
        known = ", ".join(f"{each.value} {each.name}" for each in FrameType)
        raise FrameError(f"a frame has type {kind}; known types are {known}", sequence=sequence) from None
