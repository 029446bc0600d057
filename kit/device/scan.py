"""What is attached to this machine or runs on it: serial ports, agents that listen, Android devices."""

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kit.device.adb_server import AdbDevice, Server, devices
from kit.device.tcp import TcpLink
from kit.errors import EdgeproofError, LinkError
from kit.spec.link import device_at
from kit.spec.text import shown
from kit.wire import PROTOCOLS, Decoder, Frame, FrameType, Message, encode_frame, pack_message, unpack_message
from kit.wire.sockets import join_address

SCAN_S = 2.0
_ASK_S, _MARGIN_S = 1.0, 0.4  # who is late by less than the margin is still told of
_MAX_AGENTS, _MAX_ANSWER_BYTES = 16, 256 << 10
_MAX_TEXT = 200
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # where one that listens everywhere is asked
_ANDROID = {
    "device": ("free", ""),
    "unauthorized": ("unusable", "confirm this computer on the device's screen"),
    "offline": ("unusable", "plug it in again"),
}


@dataclass(frozen=True, slots=True)
class Found:
    """Something that may be a device; every text is printable and short.

    `kind` is serial, agent or android; `url` is what --device takes. `state` is free, busy, "needs a key", unusable,
    or "no answer"; `detail` says more: by whom it is used, what to do.
    """

    kind: str
    url: str
    description: str
    state: str
    detail: str


def scan(adb: Server | None = None) -> list[Found]:
    """What is found within about 2 s, serial ports first; a search that fails or is too slow finds nothing.

    `adb` is the adb server that is asked: the one at its usual port, if there is one.
    """
    end_s = time.monotonic() + SCAN_S
    due_s = end_s - _MARGIN_S
    return _at_once(
        [lambda: serial_ports(due_s), lambda: agents(due_s), lambda: androids(adb or Server(), due_s)], end_s
    )


def serial_ports(deadline_s: float) -> list[Found]:
    """This machine's serial ports, with their USB names, and the process that has one open."""
    from serial.tools import list_ports

    ports = sorted(list_ports.comports(), key=lambda port: str(port.device))
    users = port_users([str(port.device) for port in ports], deadline_s)
    return [_serial(port, users.get(str(port.device), "")) for port in ports]


def port_users(paths: Sequence[str], deadline_s: float) -> dict[str, str]:
    """Who has each of these open, as ``name (process 12)``; what other users' processes do cannot be seen."""
    wanted = {os.path.realpath(path): path for path in paths}
    users: dict[str, str] = {}
    for process in Path("/proc").glob("[0-9]*") if wanted else ():
        if time.monotonic() > deadline_s:
            break
        with contextlib.suppress(OSError):  # it is another user's, or has just ended
            for each in (process / "fd").iterdir():
                if path := wanted.get(str(each.readlink())):
                    name = shown((process / "comm").read_text(errors="replace").strip(), 40)
                    users.setdefault(path, f"{name} (process {process.name})")
    return users


def agents(deadline_s: float) -> list[Found]:
    """Agents that this machine runs and that listen on TCP; one without a key is asked who it is."""
    places = {place.url: place for place in _listening()}
    jobs = [lambda place=place: [_asked(place, deadline_s)] for place in list(places.values())[:_MAX_AGENTS]]
    return _at_once(jobs, deadline_s + _MARGIN_S / 2)


def androids(server: Server, deadline_s: float) -> list[Found]:
    """What an adb server has; nothing where none runs."""
    try:
        return [_android(each) for each in devices(server, deadline_s)]
    except LinkError:
        return []


def _serial(port: object, user: str) -> Found:
    """A port as pyserial's ListPortInfo describes it; what a USB device calls itself is its own word."""
    path, vid, pid = (getattr(port, name, None) for name in ("device", "vid", "pid"))
    texts = [getattr(port, name, None) for name in ("manufacturer", "description")]
    words = [str(text) for text in texts if text and text != "n/a"]
    if isinstance(vid, int) and isinstance(pid, int):
        words.append(f"USB {vid:04X}:{pid:04X}")
    state, detail = ("busy", f"open in {user}") if user else ("free", "")
    if not os.access(str(path), os.R_OK | os.W_OK):
        state, detail = "unusable", "not yours to open: add yourself to its group, dialout on many systems"
    return Found("serial", shown(str(path)), shown(", ".join(words), _MAX_TEXT), state, detail)


def _android(each: AdbDevice) -> Found:
    state, detail = _ANDROID.get(each.state, ("unusable", f"adb says: {each.state}"))
    return Found("android", shown(f"adb:{each.serial}"), shown(each.model, _MAX_TEXT), state, shown(detail, _MAX_TEXT))


class _FullError(LinkError):
    """An agent that has no room for another connection."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a process listens."""

    url: str
    process_id: int
    has_key: bool


def _listening() -> Iterator[_Place]:
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if not _is_agent(words):
            continue
        has_key = any(word == "--key" or word.startswith("--key=") for word in words)
        with contextlib.suppress(psutil.Error):  # it has ended, or is another user's
            for each in process.net_connections("tcp"):
                if each.status == psutil.CONN_LISTEN:
                    host, port = str(each.laddr.ip), int(each.laddr.port)
                    url = f"tcp://{join_address(_EVERY_ADDRESS.get(host, host), port)}"
                    yield _Place(url, process.pid, has_key)


def _is_agent(words: Sequence[str]) -> bool:
    """Whether a command line is that of an agent over TCP."""
    program = any(word == "kit.agent" or re.search(r"[^/]\.pyz$", word) for word in words)
    return program and any(word == "--tcp" or word.startswith("--tcp=") for word in words)


def _asked(place: _Place, deadline_s: float) -> Found:
    process = f"process {place.process_id}"
    if place.has_key:
        return Found("agent", place.url, process, "needs a key", f"give it as {place.url}?key=FILE")
    try:
        reply = _describe(place.url, min(deadline_s, time.monotonic() + _ASK_S))
        return Found("agent", place.url, f"{_who(reply)}, {process}", *_state(reply))
    except _FullError as error:
        return Found("agent", place.url, process, "busy", shown(error.what, _MAX_TEXT))
    except EdgeproofError as error:
        return Found("agent", place.url, process, "no answer", shown(error.what, _MAX_TEXT))


def _describe(url: str, deadline_s: float) -> Message:
    """The answer to `describe`, which needs no lease. Raises EdgeproofError."""
    link = TcpLink(replace(device_at(url), timeout_s=max(0.01, deadline_s - time.monotonic())))
    decoder, received_bytes = Decoder(), 0
    with contextlib.closing(link):
        link.write(encode_frame(Frame(FrameType.REQUEST, 1, pack_message(Message("describe")))), deadline_s)
        while received_bytes < _MAX_ANSWER_BYTES and (data := link.read(deadline_s)):
            received_bytes += len(data)
            decoder.feed(data)
            if frame := decoder.next_frame():
                return _answer(frame)
    raise LinkError("it does not say who it is in time")


def _answer(frame: Frame) -> Message:
    message = unpack_message(frame.payload)
    if frame.type is FrameType.REPLY:
        return message
    what = message.text("what")
    raise _FullError(what) if message.fields.get("reason") == "busy" else LinkError(what)


def _who(reply: Message) -> str:
    names = ("agent_version", "system", "architecture", "runtime", "runtime_version")
    version, system, architecture, runtime, runtime_version = (shown(reply.text(name), 60) for name in names)
    return f"agent {version}, {system} {architecture}, {runtime} {runtime_version}"


def _state(reply: Message) -> tuple[str, str]:
    spoken = reply.fields.get("protocols")
    if not (isinstance(spoken, list) and set(PROTOCOLS) & {each for each in spoken if isinstance(each, int)}):
        return "unusable", "speaks no protocol of this release: use the same edgeproof release on both sides"
    busy = reply.fields.get("busy")
    if busy is None:
        return "free", ""
    host = busy.get("host") if isinstance(busy, dict) else ""
    return "busy", shown(f"with {host or 'another host'}", _MAX_TEXT)


def _at_once(jobs: Sequence[Callable[[], list[Found]]], deadline_s: float) -> list[Found]:
    """What the jobs find before the deadline, in their order; one that is late or fails finds nothing."""
    found: dict[int, list[Found]] = {}

    def work(index: int) -> None:
        with contextlib.suppress(EdgeproofError, OSError):
            found[index] = jobs[index]()

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline_s - time.monotonic()))
    return [each for index in range(len(jobs)) for each in found.get(index, [])]
