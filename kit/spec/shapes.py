"""Types that profiles, device files and manifests share; JSON Schema is generated from the same definitions."""

from typing import Annotated

from msgspec import Meta

from kit.errors import SpecError
from kit.spec import units
from kit.spec.lines import KeyPath
from kit.spec.toml import Document

Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$",
        description="a name of at most 64 letters, digits, spaces, dots, dashes and underscores",
    ),
]
Text = Annotated[str, Meta(max_length=4000, description="text for people, at most 4000 characters")]
Confidence = Annotated[
    float,
    Meta(gt=0.5, lt=1, description="confidence of each verdict, more than 0.5 and less than 1, such as 0.95"),
]
ColumnName = Annotated[str, Meta(min_length=1, max_length=200, description="name of a column")]
ColumnNames = Annotated[tuple[ColumnName, ...], Meta(max_length=100, description="columns of the dataset")]


def _meta(kind: units.Kind) -> Meta:
    """Says how a quantity is written; `quantity` checks it, since it explains a wrong unit better."""
    unit = units.UNITS[kind]
    return Meta(description=f"{unit.noun}: {unit.example}", extra_json_schema={"pattern": unit.pattern})


Time = Annotated[str, _meta("time")]
Share = Annotated[str | int | float, _meta("share")]
Power = Annotated[str, _meta("power")]
Energy = Annotated[str, _meta("energy")]
Charge = Annotated[str, _meta("charge")]
Voltage = Annotated[str, _meta("voltage")]
Rate = Annotated[str, _meta("rate")]
Size = Annotated[str, _meta("size")]


def quantity(document: Document, key: KeyPath, value: str | int | float, kind: units.Kind, subject: str = "") -> float:
    """`value` in its SI unit; raises SpecError with the key's line."""
    try:
        return units.parse(value, kind, subject or str(key[-1]))
    except SpecError as error:
        raise document.error(key, error.what, error.next_step) from None
