"""Which of a model's tensors is the input and which are the scores: one rule for the host and for the agent."""

from collections.abc import Sequence

from kit.errors import ModelError

FLOAT_DTYPES = ("float32", "float64", "float16")


def choose_output(names: Sequence[str], dtypes: Sequence[str], ranks: Sequence[int], wanted: str | None) -> int:
    """Index of the score output, [rows, classes]: the one named `wanted`, else the only float output of rank 2.

    dtypes are numpy's names, or the runtime's own for what is no tensor. Raises ModelError listing the outputs.
    """
    listing = ", ".join(f"{n} ({d}, rank {r})" for n, d, r in zip(names, dtypes, ranks, strict=True)) or "none"
    if wanted is not None:
        if wanted in names:
            return names.index(wanted)
        raise ModelError(f"the model has no output {wanted!r}; its outputs are {listing}", next_step=_NAME_ONE)
    found = [i for i, (d, r) in enumerate(zip(dtypes, ranks, strict=True)) if d in FLOAT_DTYPES and r == 2]
    if len(found) == 1:
        return found[0]
    many = "several outputs" if found else "no output"
    raise ModelError(
        f"{many} could be the scores (float, rank 2); the model's outputs are {listing}", next_step=_NAME_ONE
    )


def choose_any_output(names: Sequence[str], dtypes: Sequence[str], ranks: Sequence[int], wanted: str | None) -> int:
    """Index of the output whose every value is wanted, of any rank: the one named, the only one, or the scores'."""
    return 0 if wanted is None and len(names) == 1 else choose_output(names, dtypes, ranks, wanted)


def check_input(names: Sequence[str], shape: Sequence[int | str | None], row_shape: Sequence[int]) -> None:
    """Check that the model takes one input [batch, *row_shape] with a batch that is 1 or dynamic.

    A dimension that is no integer is dynamic. Raises ModelError that shows both shapes.
    """
    if len(names) != 1:
        raise ModelError(
            f"the model has {len(names)} inputs ({', '.join(names)}); models with exactly one are supported",
            next_step="merge the inputs into one tensor when exporting the model",
        )
    batch_is_one = len(shape) > 0 and (shape[0] == 1 or not isinstance(shape[0], int))
    row_fits = len(shape) == len(row_shape) + 1 and all(
        size == have or not isinstance(size, int) for size, have in zip(shape[1:], row_shape, strict=False)
    )
    if not (batch_is_one and row_fits):
        raise ModelError(
            f"input {names[0]!r} of shape {shape_text(shape)} does not take rows of shape {shape_text(row_shape)}",
            next_step="the model's first dimension must be 1 or dynamic, and the others those of a dataset row",
        )


def shape_text(shape: Sequence[int | str | None]) -> str:
    """A shape for people: ``[batch, 3, 24]``; a dynamic dimension without a name is ``?``."""
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


_NAME_ONE = 'name the score output in the dataset manifest: [output] name = "..."'
