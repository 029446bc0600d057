"""What a device says of itself, made fit to be shown."""

from datetime import UTC, datetime

from kit.records import Conditions, DeviceRecord, Telemetry
from kit.spec.link import link_name
from kit.spec.text import shown
from kit.spec.types import DeviceSpec
from kit.wire import Message


def text(message: Message, name: str, limit: int = 4096) -> str:
    """A text of the device, which may be hostile: what would steer a terminal or a report is replaced."""
    return shown(message.text(name, limit=limit), limit)


def texts(message: Message, name: str) -> tuple[str, ...]:
    """A list of texts of the device, likewise."""
    return tuple(shown(each) for each in message.texts(name))


def device_record(hello: Message, spec: DeviceSpec) -> DeviceRecord:
    """Who the device says it is; a processor that it finds to be emulated is named so, declared or not."""
    emulator = None if hello.absent("emulator") else text(hello, "emulator", 100)
    declared = any("processor" in part or "cpu" in part.lower() for part in spec.emulated)
    found = (f"processor ({emulator})",) if emulator and not declared else ()
    return DeviceRecord(
        name=spec.name,
        link=link_name(spec.link),
        emulated=spec.emulated + found,
        system=text(hello, "system", 200),
        architecture=text(hello, "architecture", 64),
        cpu_model=text(hello, "cpu_model", 200),
        instruction_sets=texts(hello, "instruction_sets"),
        logical_cpus=hello.integer("logical_cpus", 1),
        memory_bytes=None if hello.absent("memory_bytes") else hello.integer("memory_bytes"),
        runtime=text(hello, "runtime", 64),
        runtime_version=text(hello, "runtime_version", 64),
        providers=texts(hello, "providers"),
        python_version=text(hello, "python_version", 64),
        agent_version=text(hello, "agent_version", 64),
        agent_digest=text(hello, "agent_digest", 80),
        board=None if hello.absent("board") else text(hello, "board", 200),
        free_storage_bytes=None if hello.absent("free_storage_bytes") else hello.integer("free_storage_bytes"),
        thermal_zones=() if hello.absent("thermal_zones") else texts(hello, "thermal_zones"),
        battery=None if hello.absent("battery") else text(hello, "battery", 200),
    )


def telemetry(message: Message) -> Telemetry:
    """A sample of a device's state."""
    return Telemetry(message.integer("clock_ns"), conditions(message))


def conditions(message: Message) -> Conditions:
    """A device's state as it came, and when it came; what it does not tell is None."""

    def number(name: str) -> float | None:
        return None if message.absent(name) else message.number(name, -1e3)

    def share(name: str) -> float | None:
        return None if message.absent(name) else message.number(name, 0, 1)

    def count(name: str) -> int | None:
        return None if message.absent(name) else message.integer(name)

    def seconds(name: str) -> float | None:
        return None if message.absent(name) else message.number(name, 0, 1e12)

    return Conditions(
        utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
        load_1min=number("load_1min"),
        frequency_hz=number("frequency_hz"),
        governor=None if message.absent("governor") else text(message, "governor", 64),
        temperature_celsius=number("temperature_celsius"),
        available_memory_bytes=count("available_memory_bytes"),
        battery_share=number("battery_share"),
        cooling_share=share("cooling_share"),
        throttle_count=count("throttle_count"),
        cpu_pressure_share=share("cpu_pressure_share"),
        memory_pressure_share=share("memory_pressure_share"),
        busy_cpu_s=seconds("busy_cpu_s"),
        process_cpu_s=seconds("process_cpu_s"),
        held_back_s=seconds("held_back_s"),
    )
