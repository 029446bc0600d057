"""Exported programs of PyTorch (`torch.export.save`), by its own ONNX exporter."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kit.errors import ModelError
from kit.model.convert.base import Options, Source, library_versions
from kit.model.convert.torch_archive import checked, claimed_kind, pickled_members
from kit.model.convert.torch_export import Traced, source_of
from kit.model.convert.torch_inputs import (
    LIBRARIES,
    first_words,
    quiet_torch,
)
from kit.model.convert.torch_scan import safe_program
from kit.model.quiet import quiet_logging

_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


class TorchExportConverter:
    """The `Converter` of exported programs.

    A program says what it takes, so it needs no description of inputs; its dynamic dimensions stay dynamic. Loading
    it runs no code of the file's: see `kit.model.convert.torch_scan`.
    """

    name = "torch.export"
    reads = "PyTorch exported programs (.pt2)"
    extra = "torch"

    def claims(self, path: Path, start: bytes) -> bool:
        """By the archive's directory, or the suffix .pt2."""
        return claimed_kind(path, start) == "program"

    def is_pickle(self, path: Path, start: bytes) -> bool:  # noqa: ARG002
        """Never: a program whose loading would run code is refused, trusted or not."""
        return False

    def version(self) -> str:
        """Versions of torch and onnxscript."""
        return library_versions(self.extra, "PyTorch models", LIBRARIES)

    def read(self, path: Path, options: Options) -> Source:
        """The program at `path`; ModelError if it is damaged or unsafe, ConversionError if it has no ONNX form."""
        archive = checked(path)
        foreign = pickled_members(archive)
        if foreign:
            raise ModelError(
                "it holds objects that are no tensors, which only run when they are unpickled",
                where=f"{path}: {next(iter(foreign))}",
                next_step="export a module whose state is tensors alone",
            )
        program = _loaded(archive.repacked(safe_program(archive)), path)
        return source_of(path, Traced(program, _runner(program), "PyTorch exported program"), options)


@contextmanager
def tensors_only() -> Iterator[None]:
    """Every `torch.load` inside opens tensors alone, whatever its caller asks for (an option of PyTorch's own)."""
    before = os.environ.get(_FORCE)
    os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        os.environ.pop(_FORCE) if before is None else os.environ.update({_FORCE: before})


def _loaded(packed: Any, path: Path) -> Any:
    torch = quiet_torch()
    try:
        with quiet_logging(), tensors_only():
            return torch.export.load(packed)
    except Exception as error:
        raise ModelError(
            f"PyTorch {torch.__version__} cannot load the program: {first_words(error)}",
            where=str(path),
            next_step="check that the file is complete, or export it again with the PyTorch that is installed here",
        ) from None


def _runner(program: Any) -> Any:
    """A function of the tensors that the program takes, in order; constants that it was exported with are put back."""
    torch = quiet_torch()
    module = program.module(check_guards=False)  # guards are Python source: rows are checked by this tool instead
    inputs = program.graph_signature.user_inputs

    def run(*tensors: Any) -> Any:
        given = iter(tensors)
        flat = [next(given) if isinstance(each, str) else each for each in inputs]
        args, kwargs = torch.utils._pytree.tree_unflatten(flat, program.call_spec.in_spec)
        return module(*args, **kwargs)

    run.__self__ = module  # type: ignore[attr-defined]
    return run
