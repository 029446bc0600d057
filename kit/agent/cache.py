"""Models on the device: received in pieces, verified by digest, kept within a bound, gone when the agent ends."""

import fcntl
import shutil
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import IO

from kit.digest import digest_file, is_digest
from kit.errors import DeviceError

MAX_MODEL_BYTES = 1 << 30
MAX_CACHE_BYTES = 2 << 30
_PREFIX = "edgeproof-agent-"


class ModelCache:
    """Files named by their digest in a temporary folder of the agent's own; the least recently used go first."""

    def __init__(self) -> None:
        _sweep(Path(tempfile.gettempdir()))
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = _hold(self._folder)
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._partial: tuple[str, int, int] | None = None

    def received_bytes(self, digest: str) -> int:
        """How much of a transfer that was cut off is here; 0 for a digest that is not under way."""
        return self._partial[1] if self._partial and self._partial[0] == digest else 0

    def has(self, digest: str) -> bool:
        """Whether a verified model with this digest is here."""
        return digest in self._sizes

    def put(self, digest: str, offset: int, size_bytes: int, chunk: bytes) -> bool:
        """Append `chunk` at `offset` of the model; True when it is complete, verified and in place.

        Only one transfer is under way at a time. Raises DeviceError for a gap, an excess or a wrong digest.
        """
        if not is_digest(digest):
            raise DeviceError(f"{digest[:80]!r} is no digest", next_step="name models sha256:<64 hex digits>")
        if self.has(digest):
            return True
        if size_bytes > MAX_MODEL_BYTES:
            raise DeviceError(f"a model of {size_bytes} bytes is over this agent's limit of {MAX_MODEL_BYTES}")
        have = self._begin(digest, size_bytes) if offset == 0 else self.received_bytes(digest)
        if offset != have or offset + len(chunk) > size_bytes or (self._partial or ("", 0, 0))[2] != size_bytes:
            raise DeviceError(
                f"{len(chunk)} bytes at offset {offset} do not continue the {have} of {size_bytes} bytes here",
                next_step=f"send on from offset {have}, or start again from 0",
            )
        self._append(chunk)
        self._partial = (digest, offset + len(chunk), size_bytes)
        return offset + len(chunk) == size_bytes and self._accept(digest, size_bytes)

    def path(self, digest: str) -> Path:
        """Where a verified model lies. Raises DeviceError for a digest that is not here."""
        if digest not in self._sizes:
            raise DeviceError(f"no model {digest[:80]!r} on this device", next_step="deploy the model first")
        self._sizes.move_to_end(digest)
        return self._folder / digest.removeprefix("sha256:")

    def close(self) -> None:
        """Remove every file; may be called twice."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()

    def _begin(self, digest: str, size_bytes: int) -> int:
        while self._sizes and sum(self._sizes.values()) + size_bytes > MAX_CACHE_BYTES:
            oldest, _ = self._sizes.popitem(last=False)
            (self._folder / oldest.removeprefix("sha256:")).unlink(missing_ok=True)
        self._partial_path().unlink(missing_ok=True)
        self._partial = (digest, 0, size_bytes)
        return 0

    def _append(self, chunk: bytes) -> None:
        try:
            with self._partial_path().open("ab") as stream:
                stream.write(chunk)
        except OSError as error:
            self._drop()
            raise DeviceError(
                f"cannot keep the model: {error.strerror}", next_step="free storage on the device"
            ) from None

    def _accept(self, digest: str, size_bytes: int) -> bool:
        found = digest_file(self._partial_path())
        if found != digest:
            self._drop()
            raise DeviceError(f"what arrived has digest {found}, not {digest}", next_step="send the model again")
        self._partial_path().rename(self._folder / digest.removeprefix("sha256:"))
        self._partial = None
        self._sizes[digest] = size_bytes
        return True

    def _drop(self) -> None:
        self._partial_path().unlink(missing_ok=True)
        self._partial = None

    def _partial_path(self) -> Path:
        return self._folder / "partial"


def _hold(folder: Path) -> IO[bytes]:
    """A lock that the kernel releases when this process ends, however it ends; it is in place only once held."""
    lock = (folder / "lock.new").open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / "lock.new").rename(folder / "lock")
    return lock


def _sweep(folder: Path) -> None:
    """Remove what agents that were killed left behind: folders whose lock nobody holds."""
    for lock in folder.glob(f"{_PREFIX}*/lock"):
        try:
            with lock.open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:
            continue
