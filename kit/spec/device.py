"""Device files: how a device is reached, its meter and battery, and what of it is emulated (``devices/*.toml``)."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kit.errors import SpecError
from kit.spec import units
from kit.spec.battery import BatteryTable, read_battery
from kit.spec.find import find, named_files
from kit.spec.link import BOARD_PREFIX, MAX_BAUD, device_at, is_link, link_kind
from kit.spec.meter import MeterTable, read_meter
from kit.spec.shapes import Name, Share, Size, Text, Time, quantity
from kit.spec.toml import Document, decode, read
from kit.spec.types import BoardSpec, DeviceSpec, EmulateSpec, LineSpec

Emulated = Annotated[
    Literal["device", "processor", "memory", "meter", "battery", "link"],
    Meta(description="a part that is not the real thing; every output says so"),
]


class DeviceTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the device is."""

    name: Name
    description: Text = ""
    emulated: Annotated[tuple[Emulated, ...], Meta(description="parts that are emulated")] = ()
    timing_is_real: Annotated[bool, Meta(description="false where its times are no latency")] = True


class LinkTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the device is reached."""

    url: Annotated[
        str,
        Meta(
            pattern=r"^(/dev/|[a-z][a-z0-9+.-]*:)[!-~]*$",
            max_length=2000,
            description='a URL such as "subprocess:" or "tcp://10.0.0.7:7431", or a port such as "/dev/ttyUSB0"',
        ),
    ]
    wrapper: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=1000)], ...],
        Meta(max_length=64, description="command put before the agent's, one word an element"),
    ] = ()
    command: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=1000)], ...],
        Meta(max_length=64, description="the agent's command at the other end, one word an element"),
    ] = ()
    baud: Annotated[int, Meta(ge=50, le=MAX_BAUD, description="rate of a serial line, such as 115200")] = 115200
    key: Annotated[str, Meta(max_length=1000, description="path of the key file that a TCP agent demands")] = ""
    threads: Annotated[int, Meta(ge=1, le=1024, description="threads that the runtime may use")] = 1
    timeout: Time = "30 s"


Rarity = Annotated[float, Meta(ge=0, le=0.1, description="how often it happens, 0 to 0.1")]


class EmulateTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A smaller device on this machine: limits that the kernel enforces, and a serial line in between."""

    memory: Size | None = None
    cpu: Share | None = None
    storage: Size | None = None
    baud: Annotated[int, Meta(ge=50, le=MAX_BAUD, description="rate of the emulated line")] | None = None
    latency: Time | None = None
    bit_error_rate: Rarity = 0.0
    byte_loss_rate: Rarity = 0.0


class BoardTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A board that runs its own firmware; see `BoardSpec`."""

    protocol: Literal["mlperf-tiny"]
    input_dtype: Literal["int8", "uint8", "float32"] = "int8"
    input_scale: Annotated[float, Meta(gt=0, description="real value of one step of an input")] = 1.0
    input_zero_point: Annotated[int, Meta(ge=-128, le=255, description="the input that stands for 0")] = 0
    output_order: Annotated[
        tuple[Text, ...], Meta(max_length=1000, description="classes as the board prints them")
    ] = ()
    output_kind: Annotated[
        Literal["probabilities", "scores"], Meta(description="whether what the board prints must sum to 1")
    ] = "probabilities"
    read_back: Annotated[
        Literal["always", "sampled", "never"], Meta(description="how often what was sent is read back")
    ] = "always"
    window: Annotated[int, Meta(ge=0, le=64, description="chunks under way at once; 0: probe")] = 0
    interface_board: bool = False


class DeviceFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device file."""

    device: DeviceTable
    link: LinkTable
    meter: MeterTable | None = None
    battery: BatteryTable | None = None
    emulate: EmulateTable | None = None
    board: BoardTable | None = None


def load_device(name_or_path: str | Path) -> DeviceSpec:
    """Read a device file by name (the user's folder, then the shipped ones) or by path, or take a link as a device.

    Raises SpecError.
    """
    if isinstance(name_or_path, str) and is_link(name_or_path):
        return device_at(name_or_path)
    document = read(find(name_or_path, "devices"))
    file = decode(document, DeviceFile)
    _check_link(document, file)
    _check_emulation(document, file)
    return DeviceSpec(
        name=file.device.name,
        description=file.device.description,
        digest=document.digest,
        path=str(document.path),
        link=file.link.url,
        wrapper=file.link.wrapper,
        command=file.link.command,
        baud=file.link.baud,
        key=_key(document, file.link.key),
        threads=file.link.threads,
        timeout_s=quantity(document, ("link", "timeout"), file.link.timeout, "time"),
        emulated=file.device.emulated,
        timing_is_real=file.device.timing_is_real,
        meter=None if file.meter is None else read_meter(document, file.meter),
        battery=None if file.battery is None else read_battery(document, file.battery),
        emulate=None if file.emulate is None else _emulate(document, file.emulate),
        board=None if file.board is None else BoardSpec(**msgspec.structs.asdict(file.board)),
    )


def list_devices() -> tuple[list[DeviceSpec], list[SpecError]]:
    """Every device that a bare name can mean, by name; and what is wrong with each file that cannot be read."""
    devices, broken = [], []
    for path in named_files("devices").values():
        try:
            devices.append(load_device(path))
        except SpecError as error:
            broken.append(error)
    return devices, broken


_ONLY = {
    "wrapper": (("subprocess",), "goes before the command of an agent on this machine"),
    "command": (("ssh", "adb", "subprocess"), "starts the agent at the other end"),
    "baud": (("serial",), "is the rate of a serial line"),
    "key": (("tcp",), "is what a TCP agent demands"),
}
"""Keys of [link] that mean something only for some kinds of link."""


def _check_link(document: Document, file: DeviceFile) -> None:
    url, kind = file.link.url, link_kind(file.link.url)
    if url.startswith(BOARD_PREFIX):
        fix = 'write it without that, and add [board] with protocol = "mlperf-tiny"'
        raise document.error(("link", "url"), f"{BOARD_PREFIX!r} is for the command line", fix)
    for name, (kinds, meaning) in _ONLY.items():
        if name in document.data["link"] and kind not in kinds:
            what = f"{meaning}, and this link is of the kind {kind!r}"
            raise document.error(("link", name), what, f"remove it, or give a link of the kind {' or '.join(kinds)}")
    for name in ("baud", "key"):
        if f"?{name}=" in url or f"&{name}=" in url:
            raise document.error(("link", "url"), f"?{name}= is for the command line", f"write {name} = below the url")


def _check_emulation(document: Document, file: DeviceFile) -> None:
    emulated, key = file.device.emulated, ("device", "emulated")
    if len(set(emulated)) != len(emulated):
        raise document.error(key, "a part is listed twice", "list each part once")
    if file.meter and file.meter.driver == "emulated" and "meter" not in emulated:
        raise document.error(key, "the meter is emulated and not listed", 'add "meter", so that every output says so')
    if not file.device.timing_is_real and not emulated:
        raise document.error(
            key,
            "its times are not real, and nothing is listed as emulated",
            'write what is, such as ["processor"], so that every output says so',
        )
    if "processor" in emulated and file.device.timing_is_real:
        what = "an emulated processor's times are no latency"
        raise document.error(("device", "timing_is_real"), what, "write timing_is_real = false")
    limits = file.emulate
    if limits is None:
        return
    if file.link.url != "subprocess:":
        raise document.error(("emulate",), "only an agent on this machine can be limited", 'write url = "subprocess:"')
    for part, is_limited in (("device", True), ("memory", limits.memory), ("link", limits.baud)):
        if is_limited and part not in emulated:
            raise document.error(key, f"[emulate] limits the {part}, which is not listed", f'add "{part}"')


def _key(document: Document, key: str) -> str:
    """The key's path; a relative one is beside the device file."""
    return str(document.path.parent / Path(key).expanduser()) if key else ""


def _emulate(document: Document, table: EmulateTable) -> EmulateSpec:
    def optional(name: str, kind: units.Kind) -> float | None:
        value = getattr(table, name)
        return None if value is None else quantity(document, ("emulate", name), value, kind)

    memory, storage, latency_s = optional("memory", "size"), optional("storage", "size"), optional("latency", "time")
    line = None
    if table.baud is not None:
        line = LineSpec(table.baud, latency_s or 0.0, table.bit_error_rate, table.byte_loss_rate)
    elif latency_s or table.bit_error_rate or table.byte_loss_rate:
        raise document.error(("emulate",), "has a line's errors or latency and no line", "add baud = 115200, say")
    cpu = optional("cpu", "share")
    if cpu is not None and cpu < 0.01:
        raise document.error(("emulate", "cpu"), "is less than the kernel can share out", "write 1 % or more")
    return EmulateSpec(None if memory is None else int(memory), cpu, None if storage is None else int(storage), line)
