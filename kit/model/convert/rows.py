"""Rows that a conversion is verified on: the user's, from a file, or generated from what the model takes."""

from collections.abc import Callable, Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from kit.errors import ConversionError, DatasetError, EdgeproofError, ModelError, UsageError
from kit.model.feeds import Feeds, as_feeds
from kit.model.rows import Array, is_whole
from kit.records import TensorInfo

GENERATED_ROWS = 24
"""As many rows are generated: a third each standard normal, from 0 to 1 and from 0 to 255."""

MAX_FILE_BYTES = 2 << 30
"""Largest file of rows that is read."""

_DYNAMIC_SIZE = 16
_DYNAMIC_IMAGE_SIZE = 64
_SUFFIXES = (".toml", ".npz", ".npy")


def rows_from(path: Path) -> Array | Feeds:
    """Rows of a dataset manifest's test part (.toml), of an .npz file (an array an input) or of an .npy file.

    Raises:
        EdgeproofError: it cannot be read, holds objects, or is of another kind.
    """
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise UsageError(
            f"rows are not read from a {suffix or 'suffixless'} file",
            where=str(path),
            next_step="give a dataset manifest (.toml), or an .npz or .npy file",
        )
    if suffix == ".toml":
        from kit.spec import load_dataset

        return load_dataset(path).test.inputs
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"the file is larger than {MAX_FILE_BYTES >> 30} GiB")
        with path.open("rb") as stream:  # which NumPy leaves open where it fails
            loaded = np.load(stream, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else _arrays(path, loaded)
    except EdgeproofError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError(f"cannot be read: {reason}", where=str(path), next_step="check the path") from None
    except Exception as error:  # NumPy's readers raise many kinds on bytes that nobody vouches for
        raise _damaged(path, error) from None


def _arrays(path: Path, archive: Any) -> Array | Feeds:
    """All arrays of an archive; the only one as it is, since its name says nothing."""
    try:
        with archive:
            sizes = sum(info.file_size for info in archive.zip.infolist())
            if sizes > MAX_FILE_BYTES:
                raise ValueError(f"its arrays take {sizes >> 20} MiB")
            arrays: dict[str, Array] = {name: archive[name] for name in archive.files}
    except Exception as error:
        raise _damaged(path, error) from None
    if not arrays:
        raise _damaged(path, ValueError("it holds no array"))
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def _damaged(path: Path, error: Exception) -> DatasetError:
    reason = repr(str(error))[1:-1][:200]
    return DatasetError(f"no rows can be read: {reason}", where=str(path), next_step="write the file with numpy.savez")


def described_rows(rows: Array | Feeds) -> tuple[TensorInfo, ...]:
    """What a model takes that these rows are for; the input has no name where `rows` is one array."""
    named = rows if isinstance(rows, Mapping) else {"": rows}
    return tuple(TensorInfo(name, array.dtype.name, ("rows", *array.shape[1:])) for name, array in named.items())


def fitted_rows(rows: Array | Feeds, inputs: tuple[TensorInfo, ...], where: str) -> dict[str, Array]:
    """`rows` by input name, as the model takes them.

    Raises:
        ModelError: they do not fit; where only the order of dimensions is wrong, the transpose is named.
    """
    named = rows if isinstance(rows, Mapping) else {each.name: rows for each in inputs[:1]}
    for each in inputs:
        if each.name in named:
            _refuse_transposed(each, named[each.name].shape, where)
    try:
        return as_feeds(rows, inputs, where)
    except ModelError as error:
        raise ModelError(
            error.what,
            where=error.where or where,
            next_step=error.next_step or "give the rows on which this model was trained, prepared in the same way",
        ) from None


def naming_rows(predict: Callable[[Feeds], dict[str, Array]], where: str) -> Callable[[Feeds], dict[str, Array]]:
    """`predict`, whose failure on rows that are not finite names the first of them; `where` is the rows' file."""

    def named(feeds: Feeds) -> dict[str, Array]:
        try:
            return predict(feeds)
        except ConversionError as error:
            found = _first_not_finite(feeds)
            if found is None:
                raise
            name, row = found
            raise ConversionError(
                f"input {name!r} is not finite there, and {error.what}",
                where=f"{where}: row {row}",
                next_step="fill what is missing as it was for training, or leave such rows out",
            ) from None

    return named


def _first_not_finite(feeds: Feeds) -> tuple[str, int] | None:
    """The input and the number of the first row that holds NaN or infinity."""
    floats = {name: array for name, array in feeds.items() if array.dtype.kind == "f"}
    bad = {name: ~np.isfinite(array.reshape(len(array), -1)).all(axis=1) for name, array in floats.items()}
    found = [(int(np.argmax(rows)), name) for name, rows in bad.items() if rows.any()]
    return (min(found)[1], min(found)[0]) if found else None


def _refuse_transposed(wanted: TensorInfo, shape: tuple[int, ...], where: str) -> None:
    want = wanted.shape if is_whole(wanted) else wanted.shape[1:]
    order = transposition(shape[1:], want)
    if not order:
        return
    axes = ", ".join(str(axis + 1) for axis in order)
    raise ModelError(
        f"input {wanted.name!r} takes rows of shape {_listed(want)}, and these are {_listed(shape[1:])}: "
        f"the same sizes in another order{_layouts(order)}",
        where=where,
        next_step=f"transpose the rows: rows.transpose(0, {axes})",
    )


def transposition(got: tuple[int, ...], want: tuple[int | str, ...]) -> tuple[int, ...]:
    """Axes, as of ``numpy.transpose``, that make `got` fit `want`; empty if it fits, or none do."""
    if len(got) != len(want) or len(got) > 5 or fits(got, want) or all(isinstance(size, str) for size in want):
        return ()
    orders = sorted(permutations(range(len(got))), key=lambda order: order not in _IMAGE_ORDERS)
    return next((order for order in orders if fits(tuple(got[axis] for axis in order), want)), ())


def fits(got: tuple[int, ...], want: tuple[int | str, ...]) -> bool:
    """Whether a shape is the one wanted, in which names are dimensions of any size."""
    return len(got) == len(want) and all(w == g or isinstance(w, str) for g, w in zip(got, want, strict=True))


_IMAGE_ORDERS: dict[tuple[int, ...], str] = {(2, 0, 1): "channels last", (1, 2, 0): "channels first"}
"""How images are usually transposed, and what they were then."""


def _layouts(order: tuple[int, ...]) -> str:
    had = _IMAGE_ORDERS.get(order)
    other = "channels first" if had == "channels last" else "channels last"
    return f" ({had}, and the model wants {other})" if had else ""


def _listed(shape: tuple[int | str, ...]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def generated_rows(inputs: tuple[TensorInfo, ...], seed: int = 0, rows: int = GENERATED_ROWS) -> dict[str, Array]:
    """`rows` random rows by input name, the same for the same seed.

    Floats are in equal parts standard normal, uniform from 0 to 1, and from 0 to 255, since nothing says how the
    model's inputs are scaled. 8-bit integers take their whole range, others 0 to 9. A dynamic dimension is 16, of
    images 64; those of the same name are equal.
    """
    random = np.random.default_rng(seed)
    return {each.name: _values(random, each.dtype, (rows, *_row_shape(each))) for each in inputs}


def _row_shape(wanted: TensorInfo) -> tuple[int, ...]:
    shape = wanted.shape if is_whole(wanted) else wanted.shape[1:]
    free = _DYNAMIC_IMAGE_SIZE if len(shape) == 3 else _DYNAMIC_SIZE
    return tuple(size if isinstance(size, int) else free for size in shape)


def _values(random: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> Array:
    if dtype == "bool":
        return random.random(shape) < 0.5
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        whole = np.iinfo(kind) if kind.itemsize == 1 else None
        low, high = (whole.min, whole.max) if whole else (0, 9)
        return random.integers(low, high, shape, dtype=kind, endpoint=True)
    values = random.random(shape)
    values[0::3] = random.standard_normal(values[0::3].shape)
    values[2::3] *= 255
    return values.astype(kind)
