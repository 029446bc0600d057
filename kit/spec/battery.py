"""The battery of a device file."""

import msgspec

from kit.spec.shapes import Charge, Energy, Power, Share, Voltage, quantity
from kit.spec.toml import Document
from kit.spec.types import BatterySpec


class BatteryTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The battery: `capacity` with `voltage`, or `energy`."""

    other_load: Power
    capacity: Charge | None = None
    voltage: Voltage | None = None
    energy: Energy | None = None
    reserve: Share = "0 %"


def read_battery(document: Document, table: BatteryTable) -> BatterySpec:
    """In SI units. Raises SpecError with the key's line."""
    return BatterySpec(
        capacity_j=_battery_energy_j(document, table),
        other_load_w=quantity(document, ("battery", "other_load"), table.other_load, "power"),
        reserve_share=quantity(document, ("battery", "reserve"), table.reserve, "share"),
    )


def _battery_energy_j(document: Document, table: BatteryTable) -> float:
    """Energy when full, J: as stated, or charge (C) times nominal voltage (V)."""
    by_charge = (table.capacity, table.voltage)
    if table.energy is not None and by_charge == (None, None):
        return quantity(document, ("battery", "energy"), table.energy, "energy")
    if table.energy is not None or table.capacity is None or table.voltage is None:
        example = 'write capacity = "300 mAh" and voltage = "3.85 V", or energy = "1.1 Wh"'
        raise document.error(("battery",), "needs capacity and voltage together, or energy alone", example)
    charge_c = quantity(document, ("battery", "capacity"), table.capacity, "charge")
    return charge_c * quantity(document, ("battery", "voltage"), table.voltage, "voltage")
