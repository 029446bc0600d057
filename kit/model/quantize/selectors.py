"""Which nodes a recipe keeps in float: by name, by type, or by a pattern of names."""

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase

import onnx

from kit.errors import UsageError


def kept_nodes(graph: onnx.GraphProto, selectors: Iterable[str], where: str = "") -> frozenset[str]:
    """Names of the nodes that any of `selectors` takes.

    A selector is a node's name, ``type:LSTM`` (an operator), or ``name:/head/*`` (a pattern as of file names).

    Raises:
        UsageError: a selector that takes no node, with the nearest that would.
    """
    kept: set[str] = set()
    for selector in selectors:
        found = {node.name for node in graph.node if _takes(selector, node)}
        if not found:
            raise UsageError(f"{selector!r} selects no node", where=where, next_step=_nearest(graph, selector))
        kept |= found
    return frozenset(kept)


def _takes(selector: str, node: onnx.NodeProto) -> bool:
    if node.name == selector:
        return True
    if selector.startswith("type:"):
        return node.op_type == selector.removeprefix("type:")
    return selector.startswith("name:") and fnmatchcase(node.name, selector.removeprefix("name:"))


def _nearest(graph: onnx.GraphProto, selector: str) -> str:
    if selector.startswith("type:"):
        return f"its operators are: {', '.join(sorted({node.op_type for node in graph.node}))}"
    names = [node.name for node in graph.node]
    wanted = selector.removeprefix("name:").replace("*", "")
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.4) or names[:3]
    return f"did you mean {', '.join(map(repr, near))}?"
