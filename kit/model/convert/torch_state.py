"""What a PyTorch program keeps between calls, and whether it is in training mode."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kit.errors import ConversionError
from kit.model.convert.torch_inputs import quiet_torch


def stateless(program: Any, run: Callable[..., Any]) -> Callable[..., Any]:
    """`run`, which may be given the same buffers each time only if it leaves them alone."""
    return _restoring(run) if mutated_buffers(program) else run


_VIEWS = {"view", "slice", "select", "detach", "alias", "squeeze", "unsqueeze", "transpose", "permute", "expand"}


def mutated_buffers(program: Any) -> list[str]:
    """Names of the buffers that a call changes: as the signature says, or by an operator on one or on a view of it."""
    found = set(program.graph_signature.buffers_to_mutate.values())
    buffers = program.graph_signature.inputs_to_buffers
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        changed = node.args[0] if schema is not None and schema.is_mutable and node.args else None
        while changed is not None and _operator(changed) in _VIEWS:
            changed = changed.args[0]
        found.add(buffers.get(getattr(changed, "name", ""), ""))
    return sorted(found - {""})


def _operator(node: Any) -> str:
    """``dropout`` of a node that calls ``aten.dropout.default``; empty for every other node."""
    name = str(getattr(node, "target", "")).split(".")
    return name[1] if len(name) > 1 and name[0] == "aten" else ""


def _restoring(run: Callable[..., Any]) -> Callable[..., Any]:
    """`run` with its buffers put back after every call, as the ONNX model starts from the saved state every time."""
    torch = quiet_torch()
    module: Any = getattr(run, "__self__", run)
    saved = {name: buffer.clone() for name, buffer in module.named_buffers()}

    def restored(*inputs: Any) -> Any:
        result = torch.utils._pytree.tree_map_only(torch.Tensor, torch.clone, run(*inputs))
        with torch.no_grad():
            for name, buffer in module.named_buffers():
                buffer.copy_(saved[name])
        return result

    return restored


_TRAINING_ARGUMENT = {
    **dict.fromkeys(("dropout", "native_dropout", "feature_dropout", "alpha_dropout"), ("train", 2)),
    **dict.fromkeys(("batch_norm", "native_batch_norm", "_native_batch_norm_legit"), ("training", 5)),
    "rrelu": ("training", 3),
}
"""Operators that behave differently in training: the argument that says so, by name and position."""

_RANDOM = {"rand", "randn", "randint", "rand_like", "randn_like", "bernoulli", "multinomial", "normal", "randperm"}


def mode_notes(program: Any, path: Path) -> tuple[str, ...]:
    """What state a program keeps; ConversionError if it is in training mode or draws random numbers."""
    for node in program.graph.nodes:
        operator = _operator(node)
        if _trains(operator.rstrip("_"), node):
            raise ConversionError(
                f"it was exported in training mode: {operator} (node {node.name!r}) is active",
                where=str(path),
                next_step="call model.eval() before it is exported, traced or saved",
            )
        if operator.rstrip("_") in _RANDOM:
            raise ConversionError(
                f"it draws random numbers ({operator}, node {node.name!r}), so no two runs agree",
                where=str(path),
                next_step="call model.eval() before it is exported, or take the random part out of forward",
            )
    mutated = mutated_buffers(program)
    if not mutated:
        return ()
    return (
        f"It changes its own state in each call ({', '.join(mutated[:3])}); the ONNX model starts from the saved state "
        "every time.",
    )


def _trains(operator: str, node: Any) -> bool:
    argument, position = _TRAINING_ARGUMENT.get(operator, ("", 0))
    given = node.args[position] if len(node.args) > position else node.kwargs.get(argument, False)
    statistics = (
        operator.endswith("dropout") or operator == "rrelu" or (len(node.args) > 3 and node.args[3] is not None)
    )
    return bool(argument) and given == 1 and statistics
