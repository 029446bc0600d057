"""The command as a process of its own, forked from one that has loaded the kit already: as real, and a second sooner.

What loading itself does is tested in tests/cli/test_app.py, where every command is started anew.
"""

import atexit
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOADED = (
    "kit.cli.certify", "kit.cli.check", "kit.cli.bench", "kit.cli.quantize", "kit.cli.convert", "kit.cli.report",
    "kit.cli.verify", "kit.pipeline.certify", "kit.pipeline.finish", "kit.pipeline.plan", "kit.pipeline.bench",
    "kit.report", "kit.store", "jinja2", "psutil", "kit.cli.app", "kit.cli.meter", "kit.cli.battery", "kit.cli.devices",
    "kit.cli.score", "kit.cli.deploy", "kit.cli.agent", "kit.cli.quantize_text", "kit.pipeline.verify",
    "kit.pipeline.quantize", "kit.pipeline.convert", "kit.pipeline.score", "kit.pipeline.battery",
    "kit.pipeline.meter_list", "kit.device.subprocess", "kit.device.local", "kit.device.pack",
)  # fmt: skip
"""Modules without threads or state of their own; the runtime is loaded by each process."""

MOST_BYTES = 1 << 20


class Ended(subprocess.CompletedProcess[str]):
    """A command that has ended, with the most memory that any of its processes had."""

    memory_kb = 0


def run(words: list[str], *, cwd: Path, env: Mapping[str, str], timeout: float) -> Ended:
    """What `subprocess.run` of ``python -m kit WORDS`` gives, with text captured."""
    asked = json.dumps({"words": words, "cwd": str(cwd), "env": dict(env)}).encode()
    server, _ = _server()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        socket.send_fds(server, [asked], [out.fileno(), err.fileno()])
        process_id = int(server.recv(64))
        server.settimeout(timeout)
        try:
            code, memory_kb = map(int, server.recv(64).split())
        except TimeoutError:
            os.kill(process_id, signal.SIGKILL)
            server.settimeout(None)
            server.recv(64)
            raise subprocess.TimeoutExpired(words, timeout, _text(out), _text(err)) from None
        ended = Ended(words, code, _text(out), _text(err))
        ended.memory_kb = memory_kb
        return ended


def _text(file: "tempfile._TemporaryFileWrapper[bytes]") -> str:
    """As text mode gives it."""
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n").replace("\r", "\n")


@cache
def _server() -> tuple[socket.socket, "subprocess.Popen[bytes]"]:
    """The way to it, and itself: it ends when this process does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    atexit.register(ours.close)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_BYTES)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.forked", str(theirs.fileno())], pass_fds=[theirs.fileno()], cwd=ROOT,
        stdin=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    theirs.close()
    return ours, process


def translate_templates() -> None:
    """Every template of the report, once for all that are forked."""
    from kit.report.html import templates
    from kit.resources import resource_dir

    known = templates(resource_dir("reports"))
    for name in known.list_templates(extensions=["j2"]):
        known.get_template(name)


def serve(asking: socket.socket) -> None:
    """Fork at every request and tell how the child ended; returns in the child, which is then to run the command."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(asking, MOST_BYTES, 2)
        if not message:
            sys.exit(0)
        asked = json.loads(message)
        if process_id := os.fork():
            for each in descriptors:
                os.close(each)
            asking.send(str(process_id).encode())
            _, status, used = os.wait4(process_id, 0)
            asking.send(f"{os.waitstatus_to_exitcode(status)} {used.ru_maxrss}".encode())
            continue
        asking.close()
        for number, each in enumerate(descriptors, start=1):
            os.dup2(each, number)
            os.close(each)
        os.environ.clear()
        os.environ.update(asked["env"])
        os.chdir(asked["cwd"])
        sys.argv = ["kit", *asked["words"]]
        return


if __name__ == "__main__":
    for name in LOADED:
        importlib.import_module(name)
    translate_templates()
    gc.collect()
    gc.freeze()  # no collector of a child, not even the one at its end, writes to (and so copies) every page
    serve(socket.socket(fileno=int(sys.argv[1])))
    from kit.__main__ import main

    main()
