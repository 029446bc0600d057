import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kit.errors import SpecError
from kit.resources import resource_dir
from kit.spec.schema import json_schema
from tests.spec import test_device, test_profile
from tests.spec.bundle import Bundle

KINDS = ["profile", "device", "dataset"]


def validator(kind: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json_schema(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_one_and_is_json(kind: str) -> None:
    schema = json.loads(json.dumps(json_schema(kind)))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"] == f"edgeproof {kind} file"


@pytest.mark.parametrize("kind", ["profile", "device"])
def test_shipped_files_are_valid(kind: str) -> None:
    files = list(resource_dir("profiles" if kind == "profile" else "devices").glob("*.toml"))
    assert len(files) >= 3
    for path in files:
        validator(kind).validate(tomllib.loads(path.read_text()))


@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_a_manifest_is_valid(tmp_path: Path, kind: str) -> None:
    validator("dataset").validate(tomllib.loads(Bundle(tmp_path, kind).write().read_text()))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('at_most = "20 ms"', 'at_mots = "20 ms"'),
        ('at_most = "20 ms"', 'at_most = "20 ms"\nat_least = "1 ms"'),
        ('at_most = "20 ms"\n', ""),
        ('"latency.p99"', '"latency.p98"'),
        ('"3600 per hour"', '"3600 per fortnight"'),
        ('"250 ms"', '"250 mW"'),
        ("confidence = 0.99", "confidence = 99"),
        ('"int8-per-channel"', "7"),
        ('name = "watch"', 'name = "a/b"'),
    ],
)
def test_broken_profiles_are_not(old: str, new: str) -> None:
    _refused("profile", test_profile.GOOD, old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"8 mW"', '"8 mAh"'),
        ('"300 mAh"', '"300"'),
        ('driver = "emulated"', 'driver = "magic"'),
        ('"subprocess:"', '"subprocess"'),
        ("threads = 2", "threads = 0"),
        ("seed = 7", "sed = 7"),
        ('capacity = "300 mAh"\n', ""),
    ],
)
def test_broken_device_files_are_not(old: str, new: str) -> None:
    _refused("device", test_device.GOOD, old, new)


@pytest.mark.parametrize(
    ("good", "old", "new"),
    [
        (test_device.SMALL, '"256 MiB"', '"256 Mib"'),
        (test_device.SMALL, "baud = 115200", "baud = 9"),
        (test_device.SMALL, "1e-5", "0.5"),
        (test_device.SMALL, "storage", "stroage"),
        (test_device.BOARD, '"mlperf-tiny"', '"mlperf"'),
        (test_device.BOARD, "input_scale = 0.5", "input_scale = 0"),
        (test_device.BOARD, '"/dev/ttyACM0"', '"ttyACM0"'),
        (test_device.TCP, 'key = "lab.key"', "key = 7"),
        (test_device.SSH, '"agent.pyz"', '""'),
    ],
)
def test_broken_links_limits_and_boards_are_not(good: str, old: str, new: str) -> None:
    _refused("device", good, old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('array = "x"\n', ""),
        ('array = "x"', 'array = "x"\ncolumns = ["a"]'),
        ('role = "test"', 'role = "tests"'),
        ("rows = 12", "rows = 0"),
        ('sha256 = "', 'sha256 = "x'),
    ],
)
def test_broken_manifests_are_not(tmp_path: Path, old: str, new: str) -> None:
    _refused("dataset", Bundle(tmp_path).write().read_text(), old, new)


def _refused(kind: str, text: str, old: str, new: str) -> None:
    assert old in text
    validator(kind).validate(tomllib.loads(text))
    broken: dict[str, Any] = tomllib.loads(text.replace(old, new, 1))
    with pytest.raises(jsonschema.ValidationError):
        validator(kind).validate(broken)


def test_every_key_is_described() -> None:
    for kind in KINDS:
        for name, definition in json_schema(kind)["$defs"].items():
            assert definition["description"], name


def test_there_is_no_schema_of_anything_else() -> None:
    with pytest.raises(SpecError, match='no schema of "profil"') as caught:
        json_schema("profil")
    assert caught.value.next_step == 'did you mean "profile"?'
