import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from kit.spec.device import load_device
from kit.spec.find import named_files
from kit.spec.profile import METRICS, load_profile
from kit.spec.schema import json_schema
from kit.spec.units import UNITS, parse

ROOT = Path(__file__).resolve().parents[2]
FORMATS = (ROOT / "docs" / "formats.md").read_text()


def example(table: str) -> str:
    (found,) = (
        block for block in re.findall(r"```toml\n(.*?)```", FORMATS, re.DOTALL) if block.startswith(f"[{table}]")
    )
    return found


def test_the_example_profile_loads(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(example("profile"))
    assert load_profile(path).name == "wearable"


def test_the_example_device_file_loads(tmp_path: Path) -> None:
    path = tmp_path / "d.toml"
    path.write_text(example("device"))
    assert load_device(path).emulated == ("device", "meter", "battery")


def test_the_example_links_limits_and_board_load(tmp_path: Path) -> None:
    path, link = tmp_path / "d.toml", '[link]\nurl = "subprocess:"\n'
    head = '[device]\nname = "d"\nemulated = ["device", "memory", "link"]\n'
    blocks = re.findall(r"```toml\n(\[(?:link|emulate|board)\].*?)```", FORMATS, re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        path.write_text(head + ("" if block.startswith("[link]") else link) + block)
        assert load_device(path).name == "d"


def test_every_key_of_a_device_file_is_in_its_section() -> None:
    section = FORMATS.partition("## Device file")[2].partition("\n## ")[0]
    tables = json_schema("device")["$defs"]
    for name in ("DeviceTable", "LinkTable", "MeterTable", "BatteryTable", "EmulateTable", "BoardTable"):
        for key in tables[name]["properties"]:
            assert f"{key} = " in section, key


def test_the_example_manifest_is_valid() -> None:
    data = tomllib.loads(example("dataset").replace("300ed5...", "0" * 64))
    jsonschema.Draft202012Validator(json_schema("dataset")).validate(data)


def test_every_metric_is_explained() -> None:
    for metric in METRICS:
        name = metric if not metric.startswith("latency.") else f".{metric.removeprefix('latency.')}"
        assert f"`{name}`" in FORMATS or f"`latency{name}`" in FORMATS


def test_every_unit_is_listed_and_every_example_is_right() -> None:
    rows = re.findall(r"^\| ([a-z ]+) \| ([^|]+) \| `\"([^\"]+)\"`", FORMATS, re.MULTILINE)
    assert len(rows) == len(UNITS)
    for unit, (_, listed, text) in zip(UNITS, rows, strict=True):
        assert parse(text, unit) > 0
        words = re.findall(r"[^\s,()]+(?: [a-z]+)?", listed.replace("(", "").replace(")", ""))
        assert set(UNITS[unit].scales) <= {part for word in words for part in (word, *word.split())}


@pytest.mark.parametrize("kind", ["profiles", "devices"])
def test_the_read_me_names_every_shipped_file(kind: str) -> None:
    text = (ROOT / kind / "README.md").read_text()
    for path in named_files(kind).values():  # type: ignore[arg-type]
        assert f"`{path.name}`" in text
