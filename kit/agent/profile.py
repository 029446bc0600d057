"""Time by operator, from the runtime's own profiler, in sessions of their own: it slows what it watches."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.agent.bound import Bound
from kit.agent.runner import Tick, load
from kit.agent.work import RefusalError
from kit.errors import DeviceError

METHOD = "onnxruntime's profiler, kernel times in whole microseconds each, mean of all runs after the first 3 a session"
MAX_INFERENCES = 10_000
MAX_NODES = 20_000
MAX_EVENTS = 60_000
"""Of one session: the profiler holds them in memory, about 700 bytes each, before it writes them."""

_WARM_RUNS = 3
_KERNEL, _RUN = "_kernel_time", "model_run"
_MAX_TEXT = 200


@dataclass(slots=True)
class Node:
    """One node of the graph that ran, by the runtime's names, and the time in it over all runs."""

    name: str
    op_type: str
    output_shapes: str
    provider: str
    total_ns: int = 0


def profile(path: Path, threads: int, rows: NDArray[np.generic], inferences: int, tick: Tick) -> list[Node]:
    """Every node over `inferences` runs, longest first; as many sessions as keep the profiler's memory bounded.

    Raises DeviceError if the runtime's profile cannot be read, RefusalError for over MAX_NODES nodes.
    """
    nodes: dict[tuple[str, str], Node] = {}
    done, runs = 0, 1
    while done < inferences:
        events = _session(path, threads, rows, done, runs, nodes)
        done += runs
        tick(done, inferences)
        runs = max(1, min(inferences - done, MAX_EVENTS // max(1, events // runs) - _WARM_RUNS))
    return sorted(nodes.values(), key=lambda node: -node.total_ns)


def _session(
    path: Path, threads: int, rows: NDArray[np.generic], first: int, runs: int, nodes: dict[tuple[str, str], Node]
) -> int:
    """Add the times of `runs` runs of a session, after its first; how many events those were."""
    with tempfile.TemporaryDirectory(prefix="edgeproof-profile-") as folder:
        session = load(path, threads, exact=False, profile_prefix=str(Path(folder, "p")))
        bound = Bound(session, rows)
        for index in range(_WARM_RUNS - 1 + runs):  # binding ran it once
            bound.write(first + index)
            bound.run(bound.binding)
        written = Path(session.end_profiling())
        del session, bound
        try:
            return _add(written, nodes, runs)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DeviceError(f"the runtime's profile cannot be read: {type(error).__name__}: {error}") from None


def _add(written: Path, nodes: dict[tuple[str, str], Node], runs: int) -> int:
    seen = count = 0
    for event in _events(written):
        if event["name"] == _RUN:
            seen += 1
        elif seen >= _WARM_RUNS and event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            count += 1
            _node(nodes, event).total_ns += 1000 * int(event["dur"])
    if seen != _WARM_RUNS + runs:
        raise ValueError(f"it holds {seen} runs, not {_WARM_RUNS + runs}")
    return count


def _events(written: Path) -> Iterator[dict[str, Any]]:
    """One a line, so that a long profile is never in memory as a whole."""
    with written.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if text := line.strip().strip("[],"):
                yield json.loads(text)


def _node(nodes: dict[tuple[str, str], Node], event: dict[str, Any]) -> Node:
    name, arguments = event["name"].removesuffix(_KERNEL), event.get("args", {})
    key = (name, str(arguments.get("node_index", "")))
    if key not in nodes:
        if len(nodes) == MAX_NODES:
            raise RefusalError(f"the model has over {MAX_NODES} nodes", next_step="profile a part of it")
        shapes = "; ".join(_shape_text(each) for each in arguments.get("output_type_shape", []))
        op_type, provider = (str(arguments.get(each, ""))[:_MAX_TEXT] for each in ("op_name", "provider"))
        nodes[key] = Node(name[:_MAX_TEXT], op_type, shapes[:_MAX_TEXT], provider)
    return nodes[key]


def _shape_text(described: dict[str, list[int]]) -> str:
    return ", ".join(f"{dtype} [{', '.join(map(str, shape))}]" for dtype, shape in described.items())
