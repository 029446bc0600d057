"""Objects by digest in a folder: written whole or not at all, checked whenever they are read."""

import os
import stat
import tempfile
from pathlib import Path

from kit.digest import digest_bytes, is_digest
from kit.errors import StoreError

MAX_OBJECT_BYTES = 1 << 30
"""Largest object that is read: a model has at most half of it."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a kill at any moment leaves the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_regular(path: Path, limit_bytes: int) -> bytes:
    """The bytes of a regular file of at most `limit_bytes`; a run folder may come from anyone.

    Raises:
        StoreError: there is none, it is a link, a folder, a pipe or a device, or it is too large.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags), "rb") as stream:
            state = os.fstat(stream.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise StoreError("not a regular file", where=str(path), next_step="do not trust this folder")
            if state.st_size > limit_bytes:
                raise StoreError(
                    f"{state.st_size:,} bytes, more than the {limit_bytes:,} that such a file may have",
                    where=str(path),
                    next_step="do not trust this folder",
                )
            return stream.read(limit_bytes + 1)
    except OSError as error:
        raise StoreError(
            f"cannot be read: {error.strerror}", where=str(path), next_step="restore the run folder from its copy"
        ) from error


class Objects:
    """A content-addressed folder: ``<first two hex digits>/<the other 62>``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        """Where the object is or would be. Raises StoreError for a malformed digest: it names a file."""
        if not is_digest(digest):
            raise StoreError(f"{digest[:80]!r} is not a digest", where=str(self.root))
        hexadecimal = digest.removeprefix("sha256:")
        return self.root / hexadecimal[:2] / hexadecimal[2:]

    def put(self, data: bytes) -> str:
        """Store `data`, once, and return its digest."""
        digest = digest_bytes(data)
        path = self.path(digest)
        if not path.exists():
            write_atomically(path, data)
        return digest

    def get(self, digest: str) -> bytes:
        """The object's bytes. Raises StoreError if it is missing or its content has changed."""
        path = self.path(digest)
        data = read_regular(path, MAX_OBJECT_BYTES)
        if digest_bytes(data) != digest:
            raise StoreError(
                f"object {digest} has changed since it was stored",
                where=str(path),
                next_step="do not trust this run; restore the run folder from its copy",
            )
        return data
