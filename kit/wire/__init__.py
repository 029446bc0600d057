"""What crosses a link, shared by host and agent: frames and messages (docs/wire.md), and a reliable stream below them.

frame: verified frames out of any byte stream. message: a small JSON header and binary parts. packet, reliable:
selective repeat over a line that loses or alters bytes, as a pure state machine. stream: that machine on a real port.
"""

from kit.wire.frame import (
    HEADER_BYTES,
    LAYOUT_VERSION,
    MAX_PAYLOAD_BYTES,
    SLOW_LINK_BYTES_PER_S,
    UNKNOWN_SEQUENCE,
    Decoder,
    Frame,
    FrameError,
    FrameType,
    check_size,
    encode_frame,
    frame_header,
)
from kit.wire.message import (
    DTYPES,
    MAX_HEADER_BYTES,
    MAX_PARTS,
    MAX_RANK,
    PROTOCOLS,
    Message,
    Part,
    pack_message,
    unpack_message,
)

__all__ = [
    "DTYPES",
    "HEADER_BYTES",
    "LAYOUT_VERSION",
    "MAX_HEADER_BYTES",
    "MAX_PARTS",
    "MAX_PAYLOAD_BYTES",
    "MAX_RANK",
    "PROTOCOLS",
    "SLOW_LINK_BYTES_PER_S",
    "UNKNOWN_SEQUENCE",
    "Decoder",
    "Frame",
    "FrameError",
    "FrameType",
    "Message",
    "Part",
    "check_size",
    "encode_frame",
    "frame_header",
    "pack_message",
    "unpack_message",
]
