"""What links carry: goodput of a serial line beside XMODEM, YMODEM and ZMODEM; local and TCP rates; a round trip.

Ours is end to end: AgentDevice.deploy to a real agent's process at the other end of the emulated line, from the first
byte sent until the device has confirmed the digest; opening is left out, as starting lrzsz's programs is. Of peers,
what they do after the last byte is left out too. Objects are incompressible. On the slow line several transfers run at
once, each on a line of its own; each row says how late its line ever was, to show that its rate was true.
"""

import contextlib
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import NamedTuple

from benchmarks import lrzsz
from benchmarks.table import Row
from kit.device import Device, open_device
from kit.device.agent import AgentDevice
from kit.device.line import EmulatedLine
from kit.device.process import AgentProcess, ProcessLink
from kit.device.subprocess import agent_command, agent_environment
from kit.digest import digest_bytes
from kit.errors import EdgeproofError, LinkError
from kit.spec.types import DeviceSpec, LineSpec

LINES = tuple(LineSpec(baud, latency_s) for baud in (115_200, 921_600) for latency_s in (0.001, 0.016))
NOISY = {1e-5: 85.0, 1e-4: None}
"""Goals of goodput, in percent of the line's rate, by bit error rate; at the worst, only that it arrives intact."""
GOAL_PERCENT, GOAL_MB_PER_S, GOAL_US = 95.0, 300.0, 150.0
AT_ONCE = 4


class Case(NamedTuple):
    """One transfer over a line by `way`: ours, or one of lrzsz's."""

    way: str
    line: LineSpec


class Result(NamedTuple):
    """Goodput as a percentage of baud / 10, None where the object did not arrive intact, and a remark."""

    percent: float | None
    note: str


def run(*, quick: bool) -> list[Row]:
    """Rows of the serial line, of the links without one, and of the round trip."""
    return [*_line_rows(quick), *_fast_rows(quick), _round_trip(quick)]


def _line_rows(quick: bool) -> list[Row]:
    absent = lrzsz.missing()
    peers = () if absent else tuple(lrzsz.PROTOCOLS)
    noisy = [LineSpec(baud, 0.001, bit_error_rate=rate) for rate in NOISY for baud in (115_200, 921_600)]
    cases = [Case(way, line) for line in LINES for way in ("ours", *peers)] + [Case("ours", line) for line in noisy]
    results = _all_results(cases, quick)
    rows = []
    for line in (*LINES, *noisy):
        goal = NOISY[line.bit_error_rate] if line.bit_error_rate else GOAL_PERCENT
        ours = results[Case("ours", line)]
        for peer in peers if line in LINES else ("",):
            theirs = results.get(Case(peer, line), Result(None, ""))
            note = "; ".join(filter(None, [ours.note, f"{peer}: {theirs.note}" if theirs.note else ""]))
            goal_percent = goal if goal is not None else 0.0
            rows.append(Row(_name(line), ours.percent, peer, theirs.percent, "%", None, goal_percent, True, note))
        if not peers and line in LINES:
            note = f"{ours.note}; no peer: {', '.join(absent)} not installed (Debian package lrzsz)"
            rows.append(Row(_name(line), ours.percent, "", None, "%", None, goal, True, note))
    return rows


def _all_results(cases: list[Case], quick: bool) -> dict[Case, Result]:
    """Those of the slow line several at a time, for it leaves a machine idle; those of the fast one by themselves."""
    results: dict[Case, Result] = {}
    for baud, at_once in ((115_200, AT_ONCE), (921_600, 1)):
        chosen = [case for case in cases if case.line.baud == baud]
        size_bytes = {115_200: 80_000, 921_600: 300_000}[baud] if quick else 1_000_000
        objects = [os.urandom(size_bytes) for _ in chosen]  # each its own: what is there already is not sent
        with ThreadPoolExecutor(at_once) as pool:
            results |= zip(chosen, pool.map(_result, chosen, objects), strict=True)
    return results


def _result(case: Case, data: bytes) -> Result:
    ideal_s = len(data) / (case.line.baud / 10)
    if case.way == "ours":
        took_s, note = _our_transfer_s(case.line, data)
    else:
        took_s, note = lrzsz.transfer_s(case.way, case.line, data, limit_s=3 * ideal_s + 60)
    return Result(None if took_s is None else 100 * ideal_s / took_s, note)


def _our_transfer_s(line: LineSpec, data: bytes) -> tuple[float | None, str]:
    """How long a deploy took, and how late the line ever was."""
    wires = EmulatedLine(line, seed=1)
    way = ("--serial", wires.device_port, "--baud", str(line.baud))
    try:
        with _agent(*way), _device(wires.host_port, line.baud) as device:
            took_s = _deploy_s(device, data)
    except EdgeproofError as error:
        return None, str(error)
    finally:
        wires.close()
    return took_s, f"its line never over {1e3 * _latest_s(wires):.0f} ms late"


def _fast_rows(quick: bool) -> list[Row]:
    """Local and TCP, MB/s; no peer."""
    data = os.urandom(32_000_000 if quick else 256_000_000)
    with _local_device() as device:
        local_s = _deploy_s(device, data)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with _agent("--tcp", address), _device(f"tcp://{address}") as device:
        tcp_s = _deploy_s(device, data)
    what = f"{len(data) // 1_000_000} MB deployed, digest checked, "
    times = {"local": local_s, "TCP on loopback": tcp_s}
    return [
        Row(what + name, len(data) / took_s / 1e6, "", None, "MB/s", None, GOAL_MB_PER_S, True)
        for name, took_s in times.items()
    ]


def _round_trip(quick: bool) -> Row:
    """Median of a small request to a local agent and its reply, µs."""
    times = []
    with _local_device() as device:
        for _ in range(200 if quick else 3000):
            start_s = time.perf_counter()
            device.cpu_time_ns()
            times.append(time.perf_counter() - start_s)
    return Row("small request to a local agent", 1e6 * median(times), "", None, "µs", None, GOAL_US, note="median")


def _deploy_s(device: AgentDevice, data: bytes) -> float:
    """Seconds of one deploy of what was not there, all of which crossed; raises if the device confirmed another."""
    device.forget(digest_bytes(data))
    sent_bytes, start_s = device.health().sent_bytes, time.perf_counter()
    digest = device.deploy(data)
    took_s = time.perf_counter() - start_s
    if digest != digest_bytes(data) or device.health().sent_bytes - sent_bytes < len(data):
        raise SystemExit("the device confirmed another digest, or had the object already")
    device.forget(digest)
    return took_s


@contextlib.contextmanager
def _device(link: str, baud: int = 115_200) -> Iterator[AgentDevice]:
    device = _once_it_listens(_spec(link, baud))
    assert isinstance(device, AgentDevice)
    with contextlib.closing(device):
        yield device


@contextlib.contextmanager
def _local_device() -> Iterator[AgentDevice]:
    """The link of ``subprocess:``, to an agent that has no model yet."""
    spec = _spec("subprocess:")
    with tempfile.TemporaryDirectory() as cache:
        command = agent_command(spec, "--stdio", "--cache", cache)
        link = ProcessLink(command, name=spec.name, environment=agent_environment())
        with contextlib.closing(AgentDevice(lambda: link, spec)) as device:
            yield device


@contextlib.contextmanager
def _agent(*way: str) -> Iterator[None]:
    """An agent's process that is reached that way, and has no model yet."""
    with tempfile.TemporaryDirectory() as cache:
        command = agent_command(_spec("subprocess:"), *way, "--cache", cache)
        process = AgentProcess(command, name="bench", environment=agent_environment())
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.process_id, signal.SIGTERM)
            process.close()


def _spec(link: str, baud: int = 115_200) -> DeviceSpec:
    return DeviceSpec("bench", "", "", "", link, baud=baud)


def _once_it_listens(spec: DeviceSpec) -> Device:
    """An agent needs a moment before it can be reached."""
    give_up_s = time.monotonic() + 15
    while True:
        try:
            return open_device(spec)
        except LinkError:
            if time.monotonic() > give_up_s:
                raise
            time.sleep(0.2)


def _latest_s(wires: EmulatedLine) -> float:
    ways = (wires.report.get(name) for name in ("to_device", "to_host"))
    return max((float(way["latest_s"]) for way in ways if isinstance(way, dict)), default=0.0)


def _name(line: LineSpec) -> str:
    errors = f", bit errors {line.bit_error_rate:g}" if line.bit_error_rate else ""
    return f"{line.baud} baud, {line.latency_s * 1e3:g} ms{errors}"
