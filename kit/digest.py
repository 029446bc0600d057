"""Digests: every object that crosses a link or enters a record is named by its SHA-256."""

import hashlib
import re
from pathlib import Path

DIGEST_PATTERN = re.compile(r"sha256:[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20


def digest_bytes(data: bytes | bytearray | memoryview) -> str:
    """Digest of `data` as ``sha256:<64 hex digits>`` (FIPS 180-4)."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """Digest of a file's content, read in chunks of 1 MiB. Raises OSError if it cannot be read."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            state.update(chunk)
    return "sha256:" + state.hexdigest()


def is_digest(text: str) -> bool:
    """Whether `text` is a well-formed digest; a digest names files, so nothing else may pass."""
    return DIGEST_PATTERN.fullmatch(text) is not None


def short(digest: str) -> str:
    """The first 12 hex digits, for people; never for look-ups."""
    return digest.removeprefix("sha256:")[:12]
