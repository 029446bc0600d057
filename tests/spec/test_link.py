"""A link as a device: what a person may type after --device, and what is told when it cannot be meant."""

import os
from pathlib import Path

import pytest

from kit.digest import digest_bytes
from kit.errors import SpecError
from kit.spec.device import load_device
from kit.spec.link import MAX_BAUD, device_at, is_link, link_kind, link_name


@pytest.mark.parametrize(
    ("text", "link", "baud", "key", "board"),
    [
        ("subprocess:", "subprocess:", 115200, "", False),
        ("/dev/ttyUSB0", "/dev/ttyUSB0", 115200, "", False),
        ("/dev/ttyUSB0?baud=921600", "/dev/ttyUSB0", 921600, "", False),
        ("socket://10.0.0.7:5000?logging=debug", "socket://10.0.0.7:5000?logging=debug", 115200, "", False),
        ("spy:///dev/ttyS0?file=t&baud=9600", "spy:///dev/ttyS0?file=t", 9600, "", False),
        ("spy:///dev/ttyS0?baud=9600&file=t&color", "spy:///dev/ttyS0?file=t&color", 9600, "", False),
        ("hwgrep://0403:6001", "hwgrep://0403:6001", 115200, "", False),
        ("tcp://127.0.0.1:7070", "tcp://127.0.0.1:7070", 115200, "", False),
        ("tcp://10.0.0.7:7070?key=lab/a%20b.key", "tcp://10.0.0.7:7070", 115200, "lab/a b.key", False),
        ("mlperf-tiny+/dev/ttyACM0?baud=921600", "/dev/ttyACM0", 921600, "", True),
        ("tcp://[::1", "tcp://[::1", 115200, "", False),
    ],
)
def test_a_link_is_a_device(text: str, link: str, baud: int, key: str, board: bool) -> None:
    assert is_link(text)
    device = load_device(text)
    assert (device.link, device.baud, device.key, device.board is not None) == (link, baud, key, board)
    assert (device.digest, device.path) == (digest_bytes(text.encode()), "")
    assert device.emulated == ()


@pytest.mark.parametrize("text", ["local", "boards/mine.toml", "/dev/shm/mine.toml", "tcp://a b", "x", "", "C d:e"])
def test_a_name_or_a_path_is_no_link(text: str) -> None:
    assert not is_link(text)


@pytest.mark.parametrize("prefix", ["", "mlperf-tiny+"])
def test_a_port_that_is_there_is_a_link_wherever_it_is(tmp_path: Path, prefix: str) -> None:
    ours, theirs = os.openpty()
    try:
        port = tmp_path / "ttyB"
        port.symlink_to(os.ttyname(theirs))
        device = load_device(f"{prefix}{port}?baud=921600")
    finally:
        os.close(ours)
        os.close(theirs)
    assert (device.link, device.baud, device.path) == (str(port), 921600, "")
    assert (link_kind(device.link), device.board is not None) == ("serial", bool(prefix))


@pytest.mark.parametrize("name", ["none", "plain", "x" * 5000, "loop", "a\0b", "folder", "\ud800"], ids=ascii)
def test_a_path_of_anything_else_is_no_link(tmp_path: Path, name: str) -> None:
    (tmp_path / "plain").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert not is_link(f"{tmp_path}/{name}?baud=9600")
    assert not is_link(f"{tmp_path}/{name}")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("/dev/ttyACM0", "serial"),
        ("rfc2217://lab:4000", "serial"),
        ("socket://lab:4000", "serial"),
        ("loop://", "serial"),
        ("subprocess:", "subprocess"),
        ("ssh://pi@10.0.0.7", "ssh"),
        ("tcp://[::1", "tcp"),
        ("banana:split", "banana"),
    ],
)
def test_the_kind_of_a_link(text: str, kind: str) -> None:
    assert link_kind(text) == kind


@pytest.mark.parametrize(
    ("text", "what", "next_step"),
    [
        ("/dev/ttyUSB0?baud=fast", "baud 'fast' is no line rate", "?baud=115200"),
        ("/dev/ttyUSB0?baud=0", "baud '0' is no line rate", "?baud=115200"),
        (f"/dev/ttyUSB0?baud={MAX_BAUD + 1}", "is no line rate from 50", "?baud=115200"),
        ("/dev/ttyUSB0?baud=" + "9" * 1000, "is no line rate", "?baud=115200"),
        ("/dev/ttyUSB0?key=k", "?key= is for a tcp link", "leave ?key= out"),
        ("tcp://10.0.0.7:7070?baud=9600", "?baud= is for a serial link", "leave ?baud= out"),
        ("subprocess:?baud=9600", "this one is of the kind 'subprocess'", "leave ?baud= out"),
        ("tcp://" + "a" * 3000, "a link of 3006 characters is over the limit of 2000", ""),
    ],
)
def test_a_link_that_cannot_be_meant_is_refused(text: str, what: str, next_step: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_device(text)
    assert what in caught.value.what
    assert next_step in caught.value.next_step


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("tcp://10.0.0.7:7070?key=/home/me/lab.key", "tcp://10.0.0.7:7070?key=lab.key"),
        ("tcp://10.0.0.7:7070?key=%2Fhome%2Fme%2Flab.key&x=1", "tcp://10.0.0.7:7070?key=lab.key&x=1"),
        ("tcp://10.0.0.7:7070?x=1&key=/home/me/lab.key", "tcp://10.0.0.7:7070?x=1&key=lab.key"),
        ("/dev/ttyUSB0?baud=9600", "/dev/ttyUSB0?baud=9600"),
    ],
)
def test_a_name_for_others_tells_no_path_of_a_key(text: str, name: str) -> None:
    assert link_name(text) == name
    assert device_at(text).name == name
