"""PyTorch's zip archives, read as hostile: what they hold is told from the directory, before PyTorch sees a byte."""

import io
import pickletools
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from kit.errors import ModelError
from kit.model.load import MAX_MODEL_BYTES, read_limited

MAX_MEMBERS = 5_000
"""Most files in one archive: a network for an edge device has hundreds of tensors."""

MAX_DIRECTORY_BYTES = 4 << 20
MAX_PICKLE_BYTES = 16 << 20
"""Largest pickle that is looked through; one of a state dict has some hundred bytes a tensor."""

MAX_OPCODES = 2_000_000
MAX_RATIO = 200
"""Most bytes that one compressed byte may become; source text reaches 20, a zip bomb 1000."""

Kind = Literal["program", "script", "weights"]

_SUFFIXES = (".pt", ".pth", ".pt2", ".ts", ".torchscript", ".ptl", ".ckpt")
_LEGACY = (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"\x80\x02ctorch", b"\x80\x02ccollections\nOrderedDict")
_AGAIN = "save the model again, with the PyTorch that is installed here"
_COMPLETE = "check that the file is complete, or export or download it again"


@dataclass(frozen=True, slots=True)
class Archive:
    """The directory of an archive: sizes in bytes by name, without the one folder that all are in."""

    path: Path
    folder: str
    sizes: Mapping[str, int]

    @property
    def kind(self) -> Kind:
        """An exported program, TorchScript, or a pickle of tensors (or of anything else)."""
        if {"archive_format", "serialized_exported_program.json"} & self.sizes.keys():
            return "program"
        if "constants.pkl" in self.sizes and any(name.startswith("code/") for name in self.sizes):
            return "script"
        return "weights"

    def read(self, name: str, limit: int = MAX_MODEL_BYTES) -> bytes:
        """The bytes of one member; raises ModelError if it is not there, damaged, or larger than `limit`."""
        if self.sizes.get(name, limit + 1) > limit:
            what = f"larger than {limit} bytes" if name in self.sizes else "missing"
            raise ModelError(f"{name!r} in it is {what}", where=str(self.path), next_step=_COMPLETE)
        with _refusing(self.path), zipfile.ZipFile(self.path) as archive:
            return archive.read(self.folder + name)

    def repacked(self, replaced: Mapping[str, bytes] | None = None) -> io.BytesIO:
        """The same members, uncompressed in a new archive: PyTorch's own reader sees what was looked at, and no more.

        Two readers may disagree on a crafted archive (names given twice, two directories); on this one they cannot.
        """
        packed = io.BytesIO()
        with _refusing(self.path), zipfile.ZipFile(self.path) as old, zipfile.ZipFile(packed, "w") as new:
            for name in self.sizes:
                data = (replaced or {}).get(name)
                new.writestr(f"model/{name}", old.read(self.folder + name) if data is None else data)
        packed.seek(0)
        return packed


def claimed_kind(path: Path, start: bytes) -> Kind | None:
    """What a file that looks like PyTorch's holds, None if it does not; damaged archives go by their suffix."""
    suffix = path.suffix.lower()
    if not start or not (suffix in _SUFFIXES or (suffix == ".bin" and start.startswith((b"PK", *_LEGACY)))):
        return None
    if suffix == ".pt2":
        return "program"
    try:
        return directory(path).kind
    except ModelError:
        return "script" if suffix in (".ts", ".torchscript", ".ptl") else "weights"


def directory(path: Path) -> Archive:
    """Read and check the directory of the archive at `path`; no member is opened.

    Raises:
        ModelError: it is no such archive, or an unsafe one: names outside its folder or given twice, links, encrypted
            or absurdly many or large members.
    """
    with path.open("rb") as stream:
        _refuse_other_formats(path, stream.read(len(_LEGACY[0])), zipfile.is_zipfile(stream))
    with _refusing(path), path.open("rb") as stream, zipfile.ZipFile(_Bounded(stream)) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
    for member in members:
        problem = _problem(member)
        if problem:
            raise ModelError(f"{member.filename!r} in it {problem}", where=str(path), next_step=_AGAIN)
    names = [member.filename for member in members]
    counts = Counter(name.lower() for name in names)  # PyTorch's reader may find a member whatever the case
    twice = [name for name in names if counts[name.lower()] > 1][:1]
    total = sum(member.file_size for member in members)
    if twice or not names or len(names) > MAX_MEMBERS or total > 2 * MAX_MODEL_BYTES:
        found = f"{twice[0]!r} twice" if twice else f"{len(names)} files of {total >> 20} MiB"
        raise ModelError(f"an absurd archive: it holds {found}", where=str(path), next_step=_AGAIN)
    return _without_folder(path, {member.filename: member.file_size for member in members})


def _without_folder(path: Path, sizes: dict[str, int]) -> Archive:
    folders = {name.split("/", 1)[0] if "/" in name else "" for name in sizes}
    folder = folders.pop() + "/" if len(folders) == 1 else ""
    folder = "" if folder == "/" else folder
    return Archive(path, folder, {name.removeprefix(folder): size for name, size in sizes.items()})


def _problem(member: zipfile.ZipInfo) -> str:
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link"
    if member.filename.startswith("/") or ".." in member.filename.split("/") or "\\" in member.filename:
        return "lies outside the archive's folder"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in a way that PyTorch does not write"
    if member.file_size > MAX_RATIO * max(member.compress_size, 64):
        return f"would grow from {member.compress_size} to {member.file_size} bytes: a zip bomb"
    return ""


def _refuse_other_formats(path: Path, start: bytes, is_zip: bool) -> None:
    if is_zip:
        return
    if start.startswith(_LEGACY) or start.startswith(b"\x80"):
        raise ModelError(
            "a pickle as PyTorch wrote it before version 1.6, which is not opened",
            where=str(path),
            next_step="load it in a place you trust and save it again: torch.save(torch.load('old.pt'), 'new.pt')",
        )
    cut = start.startswith(b"PK")
    what = "the archive is cut or damaged: it has no directory" if cut else "not an archive that PyTorch writes"
    raise ModelError(what, where=str(path), next_step=_COMPLETE if cut else "give a file saved by PyTorch")


class _Bounded(io.RawIOBase):
    """A file whose directory is read at once by `zipfile`, so that it must not be absurdly large."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of the file."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """As of the file."""
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        """At most a directory of bounded size; BadZipFile beyond."""
        data = self._stream.read(min(size, MAX_DIRECTORY_BYTES + 1) if size >= 0 else MAX_DIRECTORY_BYTES + 1)
        if len(data) > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its directory is larger than {MAX_DIRECTORY_BYTES >> 20} MiB")
        return data


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, KeyError) as error:
        raise ModelError(f"a damaged archive: {error}"[:300], where=str(path), next_step=_COMPLETE) from None


_TENSORS = re.compile(
    r"collections OrderedDict|torch\.storage (Untyped|Typed)Storage|torch (\w+Storage|Size|device|[a-z]+\d+\w*)"
    r"|torch\._utils _rebuild_\w+|torch\.nn\.parameter (Parameter|Buffer)|torch\._tensor _rebuild_from_type_v2"
    r"|torch\.serialization _get_layout|_codecs encode"
)
"""Globals of pickles that hold tensors; PyTorch's own list, `torch.load(weights_only=True)`, decides in the end."""

_STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "STRING"}


def foreign_global(data: bytes) -> str:
    """The first global of a pickle that is no part of tensors, as ``module.name``; empty if there is none.

    The pickle is read as a list of opcodes, never executed. What cannot be read counts as foreign.
    """
    recent: list[str] = []
    memo: dict[int, str] = {}
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > MAX_OPCODES:
                return "more than can be looked through"
            if opcode.name in _STRINGS:
                recent = [*recent[-1:], str(argument)]
            elif opcode.name == "MEMOIZE":
                memo[len(memo)] = recent[-1] if recent else ""
            elif opcode.name in ("BINPUT", "LONG_BINPUT", "PUT"):
                memo[int(argument or 0)] = recent[-1] if recent else ""
            elif opcode.name in ("BINGET", "LONG_BINGET", "GET"):
                recent = [*recent[-1:], memo.get(int(argument or 0), "")]
            named = _named(opcode.name, argument, recent)
            if named and not _TENSORS.fullmatch(named):
                return named.replace(" ", ".")
    except Exception as error:  # pickletools raises many kinds on bytes that nobody vouches for
        return f"damaged ({type(error).__name__})"
    return ""


def _named(opcode: str, argument: object, recent: list[str]) -> str:
    """The global that an opcode pushes, as ``module name``; empty for every other opcode."""
    if opcode in ("GLOBAL", "INST"):
        return str(argument)
    if opcode == "STACK_GLOBAL":
        return " ".join(recent[-2:])
    return "an extension code" if opcode.startswith("EXT") else ""


def pickled_members(archive: Archive) -> dict[str, str]:
    """Members whose pickle names something that is no part of tensors, and what it names."""
    found = {}
    for name in archive.sizes:
        base = name.rsplit("/", 1)[-1]
        if archive.kind == "weights" and name == "data.pkl":
            found[name] = foreign_global(archive.read(name, MAX_PICKLE_BYTES))
        elif archive.kind == "program" and base.startswith(("custom_obj_", "opaque_obj_")):
            found[name] = "an object of its own"
    return {name: what for name, what in found.items() if what}


def checked(path: Path) -> Archive:
    """The archive at `path`, which is a regular file of a size that is read; raises ModelError."""
    read_limited(path)
    return directory(path)
