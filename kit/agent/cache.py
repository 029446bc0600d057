"""Models on the device: files named by digest in one folder that agents share, bounded, and kept from run to run.

A transfer that was cut off leaves a partial, which the next one goes on with, whatever ended the first: the link, the
host, the agent or the power. Nothing is used before its digest was computed from the file by this process.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from kit.agent.work import RefusalError
from kit.digest import digest_file, is_digest

MAX_MODEL_BYTES = 1 << 30
DEFAULT_CACHE_BYTES = 2 << 30
FREE_SHARE = 0.05
"""What is always left free of the disk."""
_PINS = 32
_STALE_S = 14 * 86400.0  # a partial that nobody went on with for so long is removed


def default_folder() -> Path:
    """``$XDG_CACHE_HOME/edgeproof-agent``, or that below ~/.cache (XDG Base Directory Specification 0.8)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if base.startswith("/") else Path("~/.cache").expanduser()
    return root / "edgeproof-agent"


class ModelCache:
    """The models in `folder`, at most `limit_bytes` of them; the least recently used go first.

    Raises RefusalError if the folder cannot be made, or is not this user's alone.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self.folder, self.limit_bytes = folder or default_folder(), limit_bytes
        _make_private(self.folder)
        self._pins: OrderedDict[str, int] = OrderedDict()  # verified here, held open and locked against eviction

    def has(self, digest: str) -> bool:
        """Whether a model with this digest is here and undamaged; a damaged one is removed."""
        if digest in self._pins:
            if self._file(digest).exists():
                self._pins.move_to_end(digest)
                return True
            self._unpin(digest)
        return is_digest(digest) and self._verify(digest)

    def received_bytes(self, digest: str) -> int:
        """How much of a transfer that was cut off is here."""
        return _size(self._partial(digest)) if is_digest(digest) else 0

    def path(self, digest: str) -> Path:
        """Where a verified model lies. Raises RefusalError for a digest that is not here."""
        if not self.has(digest):
            raise RefusalError(
                f"no model {digest[:80]!r} on this device", next_step="deploy the model first", reason="model"
            )
        os.utime(self._pins[digest])
        return self._file(digest)

    def begin(self, digest: str, size_bytes: int) -> "Incoming":
        """Make room for a model and go on with what is here of it. Raises RefusalError where there is no room."""
        if not is_digest(digest):
            raise RefusalError(f"{digest[:80]!r} is no digest", next_step="name models sha256:<64 hex digits>")
        limit_bytes = min(MAX_MODEL_BYTES, self.limit_bytes)
        if size_bytes > limit_bytes:
            what = f"a model of {size_bytes} bytes is over this agent's limit of {limit_bytes}"
            raise RefusalError(
                what, next_step="choose a smaller variant, or give the agent a larger --cache-bytes", reason="storage"
            )
        with _storage_errors():
            incoming = Incoming(self, digest, size_bytes)
        try:
            with _storage_errors():
                self._make_room(size_bytes - incoming.received_bytes, keep=incoming.path)
        except BaseException:
            incoming.close()
            raise
        return incoming

    def free_bytes(self) -> int:
        """What may still be stored without evicting: within the cache's bound and the disk's share."""
        disk = shutil.disk_usage(self.folder)
        return max(0, min(self.limit_bytes - self._used_bytes(), disk.free - int(FREE_SHARE * disk.total)))

    def storable_bytes(self) -> int:
        """What may still be stored once the least recently used have made room; agents' models in use count too."""
        disk, used_bytes = shutil.disk_usage(self.folder), self._used_bytes()
        return max(0, min(self.limit_bytes, disk.free + used_bytes - int(FREE_SHARE * disk.total)))

    def forget(self, digest: str) -> bool:
        """Remove a model and what came of it, unless another agent uses them; whether nothing of it is left."""
        if not is_digest(digest):
            return True
        paths = (self._file(digest), self._partial(digest))
        with self._locked():
            for path in paths:
                self._evict(path)
        return not any(map(os.path.lexists, paths))

    def close(self) -> None:
        """Let other agents evict what this one used; the files stay. May be called twice."""
        for digest in list(self._pins):
            self._unpin(digest)

    def accept(self, digest: str, partial: Path, descriptor: int) -> None:
        """Put a complete and verified partial in its place; its descriptor is the cache's from here on."""
        with _storage_errors(), self._locked():
            _clear(self._file(digest))
            partial.rename(self._file(digest))
        self._pin(digest, descriptor)

    def _verify(self, digest: str) -> bool:
        """Whether the file's bytes still have its digest: disks rot, and others may have written here."""
        path = self._file(digest)
        with contextlib.suppress(OSError):
            if not stat.S_ISREG(path.lstat().st_mode):
                return False
            self._pin(digest, os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
            if digest_file(path) == digest:
                return True
            path.unlink()
        self._unpin(digest)
        return False

    def _pin(self, digest: str, descriptor: int) -> None:
        """Hold the file open under a shared lock, so that no agent evicts it."""
        self._unpin(digest)
        self._pins[digest] = descriptor
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        while len(self._pins) > _PINS:
            self._unpin(next(iter(self._pins)))

    def _unpin(self, digest: str) -> None:
        if (descriptor := self._pins.pop(digest, None)) is not None:
            os.close(descriptor)

    def _make_room(self, need_bytes: int, keep: Path) -> None:
        with self._locked():
            others = [path for path in self._oldest_first() if path != keep]
            is_hopeless = self.free_bytes() + sum(map(_size, others)) < need_bytes
            for path in others:
                if _is_stale(path) or (self.free_bytes() < need_bytes and not is_hopeless):
                    self._evict(path)
            if (free_bytes := self.free_bytes()) < need_bytes:
                disk = shutil.disk_usage(self.folder)
                raise RefusalError(
                    f"out of storage: {need_bytes} bytes are needed and {free_bytes} may be used "
                    f"({disk.free} of {disk.total} are free on the device; the cache's limit is {self.limit_bytes})",
                    next_step="free storage on the device, or choose a smaller variant",
                    reason="storage",
                )

    def _oldest_first(self) -> list[Path]:
        """Models and partials, the least recently used first."""
        entries = [(each.stat(follow_symlinks=False), each) for each in os.scandir(self.folder) if _is_ours(each.name)]
        return [Path(each.path) for status, each in sorted(entries, key=lambda entry: entry[0].st_mtime_ns)]

    def _evict(self, path: Path) -> None:
        """Remove a file unless another agent uses it."""
        self._unpin(f"sha256:{path.name}")
        with contextlib.suppress(OSError):
            if not stat.S_ISREG(path.lstat().st_mode):
                path.unlink()
                return
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)

    def _used_bytes(self) -> int:
        return sum(_size(Path(each.path)) for each in os.scandir(self.folder) if _is_ours(each.name))

    def _file(self, digest: str) -> Path:
        return self.folder / digest.removeprefix("sha256:")

    def _partial(self, digest: str) -> Path:
        return self.folder / f"{digest.removeprefix('sha256:')}.partial"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One agent at a time changes what the folder holds."""
        _clear(self.folder / "lock")
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class Incoming:
    """A transfer under way: what is here is hashed as it comes. Closing keeps the partial; `drop` removes it."""

    def __init__(self, cache: ModelCache, digest: str, size_bytes: int) -> None:
        self.digest, self.size_bytes, self._cache = digest, size_bytes, cache
        self.path, self._descriptor = self._open(cache._partial(digest))
        self.received_bytes, self._hash = 0, hashlib.sha256()
        self._read_back()

    def append(self, data: bytes) -> None:
        """The next bytes. Raises RefusalError, keeping nothing, if they are too many or cannot be stored."""
        if self.received_bytes + len(data) > self.size_bytes:
            self.drop()
            what = f"more than the announced {self.size_bytes} bytes came"
            raise RefusalError(what, next_step="send the model again")
        try:
            with _storage_errors():
                view = memoryview(data)
                while view:
                    view = view[os.write(self._descriptor, view) :]
        except RefusalError:
            self.drop()
            raise
        self._hash.update(data)
        self.received_bytes += len(data)

    def finish(self) -> None:
        """Accept the whole. Raises RefusalError, keeping nothing, if its digest is wrong."""
        found = f"sha256:{self._hash.hexdigest()}"
        if found != self.digest:
            self.drop()
            what = f"what arrived has digest {found}, not {self.digest}"
            raise RefusalError(what, next_step="send the model again", reason="digest")
        descriptor, self._descriptor = self._descriptor, -1
        self._cache.accept(self.digest, self.path, descriptor)

    def drop(self) -> None:
        """Forget what came."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Leave off; what came stays for the next time. May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            if not _size(self.path):
                self.path.unlink(missing_ok=True)

    def _open(self, path: Path) -> tuple[Path, int]:
        """The partial, locked; while another agent receives the same model, one of our own."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        for candidate in (path, path.with_name(f"{path.name}-{os.getpid()}")):
            _clear(candidate)
            descriptor = os.open(candidate, flags, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                continue
            if os.fstat(descriptor).st_nlink:  # else it was accepted or evicted in between
                return candidate, descriptor
            os.close(descriptor)
        raise RefusalError("another agent is receiving this model", next_step="try again in a moment", reason="busy")

    def _read_back(self) -> None:
        """Hash what is here already."""
        if os.fstat(self._descriptor).st_size > self.size_bytes:
            os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        while data := os.read(self._descriptor, 1 << 20):
            self._hash.update(data)
            self.received_bytes += len(data)


def _make_private(folder: Path) -> None:
    """Make the folder, for this user alone; refuse one that others could have prepared."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
        if is_ours and status.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        what = f"cannot keep models in {folder}: {error.strerror}"
        raise RefusalError(what, next_step="name a folder with --cache", reason="storage") from None
    if not is_ours:
        what = f"{folder} is a link, or not this user's own folder"
        raise RefusalError(what, next_step="remove it, or name another with --cache", reason="storage")


@contextlib.contextmanager
def _storage_errors() -> Iterator[None]:
    """The system's refusal to store, as ours."""
    try:
        yield
    except OSError as error:
        what = f"out of storage, or it failed: cannot keep the model: {error.strerror}"
        raise RefusalError(what, next_step="free storage on the device", reason="storage") from None


def _clear(path: Path) -> None:
    """Remove what is no regular file from where one is to be. Raises RefusalError for a folder with something in it."""
    try:
        if stat.S_ISDIR(mode := path.lstat().st_mode):
            path.rmdir()
        elif not stat.S_ISREG(mode):
            path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        what = f"{path} is in the way of a model: {error.strerror}"
        raise RefusalError(what, next_step=f"remove {path} on the device", reason="storage") from None


def _is_ours(name: str) -> bool:
    return is_digest(f"sha256:{name.partition('.')[0]}")


def _is_stale(path: Path) -> bool:
    """Whether a partial will not be gone on with: a private one, or an old one. One in use is locked."""
    with contextlib.suppress(OSError):
        return ".partial-" in path.name or (
            path.suffix == ".partial" and time.time() - path.lstat().st_mtime > _STALE_S
        )
    return False


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
