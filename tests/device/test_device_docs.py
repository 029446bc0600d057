"""The device files in docs/devices.md can be read, and each names a link that there is."""

import re
from pathlib import Path

import pytest

from kit.device import LINKS
from kit.spec.device import load_device
from kit.spec.link import link_kind

FILES = re.findall(r"```toml\n(.*?)```", (Path(__file__).parents[2] / "docs" / "devices.md").read_text(), re.DOTALL)


def name_of(text):
    return re.search(r'name = "(.*?)"', text)[1]


@pytest.mark.parametrize("text", FILES, ids=name_of)
def test_a_device_file_of_the_documents(tmp_path, text):
    (tmp_path / "device.toml").write_text(text)
    spec = load_device(tmp_path / "device.toml")
    assert spec.name == name_of(text)
    assert link_kind(spec.link) in LINKS


def test_every_link_between_machines_is_told():
    assert {link_kind(re.search(r'url = "(.*?)"', text)[1]) for text in FILES} == {"serial", "tcp", "ssh", "adb"}
