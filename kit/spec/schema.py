"""JSON Schemas of the files that people write, generated from the definitions that read them."""

from typing import Any

import msgspec

from kit.errors import SpecError
from kit.spec.dataset import DatasetFile
from kit.spec.device import DeviceFile
from kit.spec.profile import ProfileFile
from kit.spec.toml import nearest

_SHAPES: dict[str, type[msgspec.Struct]] = {"profile": ProfileFile, "device": DeviceFile, "dataset": DatasetFile}
_DRAFT = "https://json-schema.org/draft/2020-12/schema"

# What a type alone cannot say: exactly one of two keys.
_EXACTLY_ONE = {
    "RequireTable": ("at_most", "at_least"),
    "InputTable": ("array", "columns"),
    "SliceTable": ("where", "rows"),
}
_CAPACITY_KNOWN = [{"required": ["energy"]}, {"anyOf": [{"required": ["capacity"]}, {"required": ["otii"]}]}]


def json_schema(kind: str) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a profile, device file or dataset manifest, for editors and other checkers.

    Rules that join several keys (the right unit for a metric, say) are checked by the loaders alone.
    Raises SpecError for another kind than "profile", "device" or "dataset".
    """
    if kind not in _SHAPES:
        raise SpecError(f'there is no schema of "{kind}"', next_step=nearest(kind, _SHAPES))
    schema = msgspec.json.schema(_SHAPES[kind])
    for name, keys in _EXACTLY_ONE.items():
        if definition := schema["$defs"].get(name):
            definition["oneOf"] = [{"required": [key]} for key in keys]
    if definition := schema["$defs"].get("BatteryTable"):
        definition["oneOf"] = _CAPACITY_KNOWN
    return {"$schema": _DRAFT, "title": f"edgeproof {kind} file", **schema}
