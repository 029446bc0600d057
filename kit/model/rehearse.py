"""Load an untrusted model and run one row in a process of its own, under limits of memory and time.

A well-formed graph can still ask for terabytes, loop for ever or crash a native library: then this process dies,
not ours.
"""

import io
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

import kit
from kit.errors import ModelError
from kit.model.session import Array, HostSession

LIMIT_S = 60.0
"""Longest that loading and one row may take on the host; an edge device would need far longer."""

LIMIT_BYTES = 3 << 30
"""Address space beyond eight times the model's size: libraries, stacks and arenas take most of a gigabyte."""

_USE_ANOTHER = "use a model that fits an edge device, or export it without what the message names"


def rehearse(data: bytes, row: Array, output: str | None, *, limit_s: float = LIMIT_S) -> None:
    """Load the model in `data` and run `row` [1, *shape] through it, in a limited child process.

    Raises:
        ModelError: it does not load or run, takes too long or too much memory, or kills the process.
    """
    request = io.BytesIO()
    np.savez(request, model=np.frombuffer(data, np.uint8), row=row, output=np.array(output or ""))
    search = os.pathsep.join([str(Path(kit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "kit.model.rehearse"],
            input=request.getvalue(),
            capture_output=True,
            timeout=limit_s,
            env={**os.environ, "PYTHONPATH": search},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"one row takes more than {limit_s:g} s", next_step=_USE_ANOTHER) from None
    _judge(done)


def _judge(done: subprocess.CompletedProcess[bytes]) -> None:
    """Raise what the child says went wrong, or what its death says."""
    if done.returncode == 0:
        reply = json.loads(done.stdout)
        if reply["what"]:
            raise ModelError(reply["what"], where=reply["where"], next_step=reply["next_step"] or _USE_ANOTHER)
        return
    cause = f"exit code {done.returncode}"
    if done.returncode < 0:
        cause = signal.Signals(-done.returncode).name
    raise ModelError(f"the runtime crashed while it loaded the model or ran one row ({cause})", next_step=_USE_ANOTHER)


def _main() -> None:
    """The child: read the request, take on limits, run, answer in JSON."""
    with np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False) as request:
        data, row, output = request["model"].tobytes(), request["row"], str(request["output"]) or None
    limit = LIMIT_BYTES + 8 * len(data)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    reply = {"what": "", "where": "", "next_step": ""}
    try:
        HostSession(data).predict(row, output)
    except ModelError as error:
        reply = {"what": error.what, "where": error.where, "next_step": error.next_step}
    except MemoryError:
        reply["what"] = f"it needs more than {limit >> 20} MiB to load or to run one row"
    sys.stdout.write(json.dumps(reply))


if __name__ == "__main__":
    _main()
