"""`edgeproof devices show`: a device says who it is."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from kit.cli.figures import bytes_text, celsius, duration, hertz, percent, rate
from kit.cli.options import common_options
from kit.cli.output import emulated_lines, print_json, say, waiting, wrapped
from kit.words import count

if TYPE_CHECKING:
    from kit.pipeline.identify import Portrait
    from kit.records import Conditions

NOT_TOLD = "(not told)"


@click.command(
    "show", epilog="\b\nExamples:\n  edgeproof devices show local\n  edgeproof devices show tcp://10.0.0.7:7431"
)
@click.argument("device")
@common_options
@click.pass_context
def show(ctx: click.Context, /, device: str, as_json: bool, verbose: bool) -> None:
    """Ask DEVICE who it is: board, processor, memory, storage, runtime, limits, link and clock."""
    from kit.pipeline.identify import identify
    from kit.pipeline.watcher import waiting_for
    from kit.spec import load_device

    del verbose
    spec = load_device(device)
    with waiting(waiting_for(spec)):
        portrait = identify(spec)
    if as_json or (ctx.parent is not None and ctx.parent.params["as_json"]):
        print_json(_object(portrait))
        return
    for line in _lines(portrait):
        say(line)


def _object(portrait: "Portrait") -> dict[str, Any]:
    offset = portrait.clock_offset_ns
    return {
        "schema": "edgeproof/device/1",
        "device": asdict(portrait.device),
        "link": {"kind": portrait.link_kind, "nominal_bytes_per_s": portrait.nominal_bytes_per_s}
        | {"round_trip_s": portrait.round_trip_s},
        "clock": None if offset is None else {"offset_ns": offset[0], "error_ns": offset[1]},
        "conditions": None if portrait.conditions is None else asdict(portrait.conditions),
        "same_agent_as_host": portrait.same_agent,
    }


def _lines(portrait: "Portrait") -> Iterator[str]:
    device = portrait.device
    yield device.name if device.link in device.name else f"{device.name}  {device.link}"
    yield from emulated_lines(device.emulated)
    for title, rows in _groups(portrait).items():
        yield ""
        yield title
        for name, text in rows:
            yield from wrapped(text or NOT_TOLD, first=f"  {name:<18} ", rest=" " * 21)


Rows = list[tuple[str, str]]


def _groups(portrait: "Portrait") -> dict[str, Rows]:
    groups = {"device": _device(portrait), "runtime": _runtime(portrait), "link": _link(portrait)}
    if portrait.conditions is not None and portrait.has_agent:
        groups["now"] = _now(portrait.conditions)
    return groups


def _device(portrait: "Portrait") -> Rows:
    device, has_agent = portrait.device, portrait.has_agent
    processors = count(device.logical_cpus, "logical processor")
    return [
        ("board", device.board or ""),
        ("system", device.system),
        ("processor", device.cpu_model if has_agent else ""),
        ("architecture", f"{device.architecture}, {processors}" if has_agent else ""),
        ("instruction sets", ", ".join(device.instruction_sets)),
        ("memory", bytes_text(device.memory_bytes)),
        ("free storage", bytes_text(device.free_storage_bytes)),
        ("thermal zones", ", ".join(device.thermal_zones)),
        ("battery", device.battery or ""),
        ("limits", "; ".join(device.limits) or "none"),
    ]


def _runtime(portrait: "Portrait") -> Rows:
    device = portrait.device
    return [
        ("runtime", f"{device.runtime} {device.runtime_version}".strip() if portrait.has_agent else device.runtime),
        ("providers", ", ".join(device.providers)),
        ("python", device.python_version),
        ("agent", _agent(portrait)),
    ]


def _link(portrait: "Portrait") -> Rows:
    return [
        ("kind", portrait.link_kind),
        ("line rate", rate(portrait.nominal_bytes_per_s) or "no limit of its own"),
        ("round trip", duration(portrait.round_trip_s)),
        ("clock offset", _clock(portrait)),
    ]


def _now(now: "Conditions") -> Rows:
    return [
        ("load, 1 minute", "" if now.load_1min is None else f"{now.load_1min:.2f}"),
        ("clock frequency", hertz(now.frequency_hz)),
        ("governor", now.governor or ""),
        ("temperature", celsius(now.temperature_celsius)),
        ("free memory", bytes_text(now.available_memory_bytes)),
        ("battery level", percent(now.battery_share)),
    ]


def _agent(portrait: "Portrait") -> str:
    device = portrait.device
    if portrait.same_agent is None:
        return device.agent_version
    likeness = "the same as this host's" if portrait.same_agent else "NOT the same as this host's: update it"
    return f"{device.agent_version}, {likeness}"


def _clock(portrait: "Portrait") -> str:
    if portrait.clock_offset_ns is None:
        return ""
    offset_ns, error_ns = portrait.clock_offset_ns
    return f"{offset_ns / 1e9:+.6f} s from this host's, within {duration(error_ns / 1e9)}"
