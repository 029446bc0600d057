"""A device written from docs/line.md alone, with nothing of kit.wire: what firmware with small buffers would do.

It echoes what it gets. As the page allows, it drops early bytes, sends one packet at a time and keeps one agreed Open.
"""

import binascii
import struct

LARGEST_PAYLOAD, WINDOW_BYTES = 48, 192
_CONTENT_BYTES = 11 + LARGEST_PAYLOAD + 4
_PROBE_NS = 500_000_000
OPEN, OPENED, DATA, ACK, PROBE, CLOSE, CLOSED, RESET = range(1, 9)


def framed(kind: int, session: int, body: bytes) -> bytes:
    content = struct.pack("<BI", kind, session) + body
    content += struct.pack("<I", binascii.crc32(content))
    out, at = bytearray(), 0
    while at <= len(content):  # byte by byte, as one would in C: `code` is where the next zero is
        end = at
        while end < len(content) and end - at < 254 and content[end]:
            end += 1
        out.append(end - at + 1)
        out += content[at:end]
        at = end if end - at == 254 else end + 1
    return bytes(out) + b"\0"


def unframed(chunk: bytes) -> bytes | None:
    content, at = bytearray(), 0
    while at < len(chunk):
        code = chunk[at]
        if at + code > len(chunk):
            return None
        content += chunk[at + 1 : at + code]
        at += code
        if code < 255 and at < len(chunk):
            content.append(0)
    if len(content) < 9 or binascii.crc32(content[:-4]).to_bytes(4, "little") != content[-4:]:
        return None
    return bytes(content[:-4])


class SmallDevice:
    """Its whole state; `first_nonce` would be a counter of restarts."""

    def __init__(self, first_nonce: int = 1) -> None:
        self.nonce = first_nonce
        self.agreed: tuple[int, int] | None = None
        self.session: int | None = None
        self.line = bytearray()
        self.out = bytearray()
        self.begin(None)

    def begin(self, session: int | None) -> None:
        self.session = session
        self.next = self.heard = 0
        self.echo = bytearray()
        self.number = self.acknowledged = self.edge = 0
        self.under_way = 0
        self.asked = 0
        self.probe_ns = 0

    def feed(self, data: bytes, now_ns: int) -> None:
        for byte in data:
            if byte:
                if len(self.line) <= _CONTENT_BYTES + 1:
                    self.line.append(byte)
                continue
            content = unframed(bytes(self.line)) if len(self.line) <= _CONTENT_BYTES + 1 else None
            self.line.clear()
            if content is not None:
                kind, session = struct.unpack_from("<BI", content)
                self.packet(kind, session, content[5:], now_ns)

    def packet(self, kind: int, session: int, body: bytes, now_ns: int) -> None:
        if kind == OPEN:
            self.on_open(session, body)
            return
        if self.agreed and session == self.agreed[0] ^ self.agreed[1] and session != self.session and kind < CLOSE:
            self.begin(session)
            self.edge = self.window
        if kind == CLOSE:
            self.out += framed(CLOSED, session, b"")
            if session == self.session:
                self.session = self.agreed = None
        elif session != self.session:
            if kind & 0x7F in (DATA, ACK, PROBE):
                self.out += framed(RESET, session, b"\1\1")
        elif kind & 0x7F == DATA:
            number, offset = struct.unpack_from("<HI", body)
            room = WINDOW_BYTES - len(self.echo)
            if offset == self.next & 0xFFFFFFFF and len(body) - 6 <= room:
                self.echo += body[6:]
                self.next += len(body) - 6
            self.ack(number)
        elif kind == PROBE:
            self.ack(struct.unpack("<H", body)[0])
        elif kind == ACK:
            self.on_ack(*struct.unpack_from("<HII", body), now_ns)

    def on_open(self, nonce: int, body: bytes) -> None:
        if body[0] != 1:
            self.out += framed(RESET, nonce, b"\2\1")
            return
        if self.agreed is None or self.agreed[0] != nonce:
            self.nonce += 1
            self.agreed = nonce, self.nonce
        self.window = struct.unpack_from("<BBHI", body)[3]
        self.out += framed(OPENED, nonce, struct.pack("<BBHII", 1, 0, LARGEST_PAYLOAD, WINDOW_BYTES, self.agreed[1]))

    def ack(self, number: int) -> None:
        if (number - self.heard) % 65536 < 32768:
            self.heard = number
        window = WINDOW_BYTES - len(self.echo)
        self.out += framed(ACK, self.session or 0, struct.pack("<HII", self.heard, self.next & 0xFFFFFFFF, window))

    def on_ack(self, heard: int, offset: int, window: int, now_ns: int) -> None:
        fresh = (offset - self.acknowledged) % 2**32
        if self.under_way and fresh == self.under_way:
            del self.echo[:fresh]
            self.acknowledged += fresh
            self.under_way = 0
            self.ack(self.heard)  # the echo's room is free again, so the window has grown
        elif self.under_way and heard == self.asked:
            self.transmit(self.under_way, now_ns)
        self.edge = max(self.edge, offset + window)

    def transmit(self, size: int, now_ns: int) -> None:
        self.number = self.asked = (self.number + 1) % 65536
        self.under_way = size
        self.probe_ns = now_ns + _PROBE_NS
        body = struct.pack("<HI", self.number, self.acknowledged & 0xFFFFFFFF) + self.echo[:size]
        self.out += framed(DATA | 0x80, self.session or 0, bytes(body))

    def to_send(self, now_ns: int) -> bytes:
        size = min(len(self.echo), LARGEST_PAYLOAD, self.edge - self.acknowledged)
        if self.session is not None and not self.under_way and size > 0:
            self.transmit(size, now_ns)
        elif self.under_way and now_ns >= self.probe_ns:
            self.number = self.asked = (self.number + 1) % 65536
            self.probe_ns = now_ns + _PROBE_NS
            self.out += framed(PROBE, self.session or 0, struct.pack("<H", self.number))
        data = bytes(self.out)
        self.out.clear()
        return data

    def due_ns(self) -> int | None:
        if self.out:
            return 0
        return self.probe_ns if self.under_way else None
