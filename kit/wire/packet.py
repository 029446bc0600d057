"""Packets of a serial line: COBS between zero bytes, a session number and a CRC-32 (docs/line.md).

What arrives is hostile: whatever is no packet is counted and dropped, and reading goes on after the next zero byte.
"""

import struct
import zlib
from enum import IntEnum
from typing import NamedTuple

LINE_VERSION = 1
MAX_PAYLOAD_BYTES = 4096
MIN_PAYLOAD_BYTES = 32
"""What every side must take at least."""

MAX_RANGES = 16
"""Ranges that one acknowledgement can name."""

DELIMITER = b"\0"
DATA_OVERHEAD_BYTES = 17
"""What a data packet costs beyond its payload: head 11, CRC 4, COBS 1 (and 1 per 254), delimiter 1."""

_ASK = 0x80
_HEAD = struct.Struct("<BI")
_CRC = struct.Struct("<I")
_OPEN = struct.Struct("<BBHI")
_OPENED = struct.Struct("<BBHII")
_DATA = struct.Struct("<BIHI")
_NUMBER = struct.Struct("<H")
_ACK = struct.Struct("<HII")
_OFFSET = struct.Struct("<I")
_RESET = struct.Struct("<BB")
_RANGE = struct.Struct("<II")


class Kind(IntEnum):
    """The low seven bits of a packet's first byte; the highest asks for an acknowledgement at once."""

    OPEN = 1
    OPENED = 2
    DATA = 3
    ACK = 4
    PROBE = 5
    CLOSE = 6
    CLOSED = 7
    RESET = 8


class Reason(IntEnum):
    """Why a packet was answered with a reset."""

    UNKNOWN_SESSION = 1
    VERSION = 2


class Open(NamedTuple):
    """A host asks for a session; `session` is the host's nonce, a random uint32. Sizes are what the host takes."""

    session: int
    version: int
    largest_payload: int
    window_bytes: int

    def encoded(self) -> bytes:
        """The packet's bytes, with its delimiter."""
        return _packed(Kind.OPEN, self.session, _OPEN.pack(self.version, 0, self.largest_payload, self.window_bytes))


class Opened(NamedTuple):
    """The device agrees: from now on the session's number is the exclusive or of both nonces."""

    session: int
    version: int
    largest_payload: int
    window_bytes: int
    device_nonce: int

    def encoded(self) -> bytes:
        """The packet's bytes, with its delimiter."""
        body = _OPENED.pack(self.version, 0, self.largest_payload, self.window_bytes, self.device_nonce)
        return _packed(Kind.OPENED, self.session, body)


class Data(NamedTuple):
    """Bytes of the stream from `offset` (uint32, wraps); `number` (uint16, wraps) counts transmissions."""

    session: int
    number: int
    offset: int
    payload: bytes
    ask: bool = False

    def encoded(self) -> bytes:
        """The packet's bytes, with its delimiter."""
        kind = Kind.DATA | _ASK if self.ask else Kind.DATA
        return _framed(_DATA.pack(kind, self.session, self.number, self.offset) + self.payload)


class Ack(NamedTuple):
    """All bytes before `offset` have arrived, and those in `ranges` (start, end); `heard` is the latest number seen.

    `window_bytes` more than `offset` may be sent.
    """

    session: int
    heard: int
    offset: int
    window_bytes: int
    ranges: tuple[tuple[int, int], ...] = ()

    def encoded(self) -> bytes:
        """The packet's bytes, with its delimiter."""
        body = _ACK.pack(self.heard, self.offset, self.window_bytes)
        return _packed(Kind.ACK, self.session, body + b"".join(_RANGE.pack(*each) for each in self.ranges))


class Probe(NamedTuple):
    """Asks for an acknowledgement; it has a transmission's number, so the answer tells what was lost before it."""

    session: int
    number: int

    def encoded(self) -> bytes:
        """The packet's bytes, with its delimiter."""
        return _packed(Kind.PROBE, self.session, _NUMBER.pack(self.number))


class Close(NamedTuple):
    """The session is over after the byte before `offset`."""

    session: int
    offset: int

    def encoded(self) -> bytes:
        """The packet's bytes, with its delimiter."""
        return _packed(Kind.CLOSE, self.session, _OFFSET.pack(self.offset))


class Closed(NamedTuple):
    """The answer to Close, whether or not the session is known."""

    session: int

    def encoded(self) -> bytes:
        """The packet's bytes, with its delimiter."""
        return _packed(Kind.CLOSED, self.session, b"")


class Reset(NamedTuple):
    """The device has no such session, or does not speak the version asked for; `version` is the one it speaks."""

    session: int
    reason: int
    version: int

    def encoded(self) -> bytes:
        """The packet's bytes, with its delimiter."""
        return _packed(Kind.RESET, self.session, _RESET.pack(self.reason, self.version))


Packet = Open | Opened | Data | Ack | Probe | Close | Closed | Reset


class PacketDecoder:
    """Bytes in, verified packets out; holds at most one packet.

    `damaged` counts what stood between two zero bytes and was no packet: a damaged one, noise, a boot message.
    """

    def __init__(self, largest_payload: int = MAX_PAYLOAD_BYTES) -> None:
        self.damaged = 0
        self.received_bytes = 0
        self._largest = largest_payload
        self._limit = cobs_limit(_DATA.size + largest_payload + _CRC.size)
        self._tail = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that these bytes complete; never raises."""
        self.received_bytes += len(data)
        *complete, tail = data.split(DELIMITER)
        packets: list[Packet] = []
        for chunk in complete:
            if self._tail or self._too_long:
                self._keep(chunk)
                chunk, too_long = bytes(self._tail), self._too_long
                self._tail.clear()
                self._too_long = False
                if too_long:
                    self.damaged += 1
                    continue
            if not chunk:
                continue
            packet = self._packet(chunk)
            if packet is None:
                self.damaged += 1
            else:
                packets.append(packet)
        self._keep(tail)
        return packets

    def held_bytes(self) -> int:
        """How many bytes of an incomplete packet are kept."""
        return len(self._tail)

    def _keep(self, piece: bytes) -> None:
        self._tail += piece
        if len(self._tail) > self._limit:
            self._tail.clear()
            self._too_long = True

    def _packet(self, chunk: bytes) -> Packet | None:
        packet = decode_packet(chunk) if len(chunk) <= self._limit else None
        return None if isinstance(packet, Data) and len(packet.payload) > self._largest else packet


def decode_packet(chunk: bytes) -> Packet | None:
    """The packet in what stood between two delimiters; None if it is none."""
    data = cobs_decode(chunk)
    if data is None or len(data) < _HEAD.size + _CRC.size:
        return None
    content, crc = data[: -_CRC.size], data[-_CRC.size :]
    if zlib.crc32(content) != int.from_bytes(crc, "little"):
        return None
    try:
        return _parsed(content)
    except struct.error:
        return None


def ranges_within(largest_payload: int) -> int:
    """How many ranges an acknowledgement may name so that it is no longer than the largest data packet."""
    return min(MAX_RANGES, (_DATA.size + largest_payload - _HEAD.size - _ACK.size) // _RANGE.size)


def cobs_limit(size_bytes: int) -> int:
    """The most bytes that COBS makes of `size_bytes` (Cheshire and Baker 1999, section 4)."""
    return size_bytes + size_bytes // 254 + 1


def cobs_encode(data: bytes) -> bytes:
    """`data` without zero bytes, by Consistent Overhead Byte Stuffing (Cheshire and Baker 1999)."""
    pieces: list[bytes] = []
    for piece in data.split(b"\0"):
        while len(piece) >= 254:
            pieces += (b"\xff", piece[:254])
            piece = piece[254:]
        pieces += (_CODES[len(piece)], piece)
    return b"".join(pieces)


def cobs_decode(data: bytes) -> bytes | None:
    """What `cobs_encode` was given; None if it cannot have made this."""
    pieces, start, size = [], 0, len(data)
    while start < size:
        code = data[start]
        end = start + code
        if code == 0 or end > size:
            return None
        pieces.append(data[start + 1 : end])
        if code < 255 and end < size:
            pieces.append(b"\0")
        start = end
    return b"".join(pieces)


_CODES = [bytes([size + 1]) for size in range(254)]


def _packed(kind: int, session: int, body: bytes) -> bytes:
    return _framed(_HEAD.pack(kind, session) + body)


def _framed(content: bytes) -> bytes:
    return cobs_encode(content + _CRC.pack(zlib.crc32(content))) + DELIMITER


def _parsed(content: bytes) -> Packet | None:
    """The packet with this verified content; None or struct.error if no packet looks like that."""
    kind, session = _HEAD.unpack_from(content)
    body = content[_HEAD.size :]
    if kind & ~_ASK == Kind.DATA:
        _, _, number, offset = _DATA.unpack_from(content)
        payload = content[_DATA.size :]
        return Data(session, number, offset, payload, bool(kind & _ASK)) if payload else None
    match kind:
        case Kind.ACK:
            return _ack(session, body)
        case Kind.PROBE:
            return Probe(session, *_NUMBER.unpack(body))
        case Kind.OPEN:
            return _open(session, body)
        case Kind.OPENED:
            version, _, largest, window, nonce = _OPENED.unpack(body)
            return Opened(session, version, largest, window, nonce)
        case Kind.CLOSE:
            return Close(session, *_OFFSET.unpack(body))
        case Kind.CLOSED:
            return None if body else Closed(session)
        case Kind.RESET:
            return Reset(session, *_RESET.unpack(body))
    return None


def _ack(session: int, body: bytes) -> Ack | None:
    heard, offset, window = _ACK.unpack_from(body)
    ranges = tuple((start, end) for start, end in _RANGE.iter_unpack(body[_ACK.size :]))
    return Ack(session, heard, offset, window, ranges) if len(ranges) <= MAX_RANGES else None


def _open(session: int, body: bytes) -> Open | None:
    """A version that is not known may have any body after the version, and is told so."""
    if body and body[0] != LINE_VERSION:
        return Open(session, body[0], 0, 0)
    version, _, largest, window = _OPEN.unpack(body)
    return Open(session, version, largest, window)
