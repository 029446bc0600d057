"""The packed agent, started as on a board, reached over every link: its answers do not depend on the way there."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from kit.device import Device, open_device
from kit.device.keys import make_key
from kit.device.line import EmulatedLine
from kit.device.pack import pack_agent
from kit.digest import digest_bytes
from kit.errors import DeviceError
from kit.spec.link import link_name
from kit.spec.types import DeviceSpec, LineSpec
from tests import device_kit as kits
from tests.emulators.adb_server import AdbServer
from tests.emulators.sshd import SSHD, Sshd
from tests.integration.conftest import QUICK_PROFILE, ROOT, Edgeproof

MODEL = kits.linear(ballast=np.random.default_rng(7).normal(size=20_000).astype(np.float32))
"""82 kB that do not compress, of which 80 kB are never used."""


@contextlib.contextmanager
def started(*words: str) -> Iterator[str]:
    """An agent that waits for hosts; what it says first."""
    command = [sys.executable, *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd="/", env=bare_environment()) as process:
        assert process.stderr is not None
        try:
            yield process.stderr.readline() if "--tcp" in words else ""
        finally:
            process.terminate()


def bare_environment() -> dict[str, str]:
    """Without a path to the checkout: the packed file is all that the agent has."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@contextlib.contextmanager
def subprocess_(agent: Path, folder: Path) -> Iterator[DeviceSpec]:
    yield kits.device_spec(command=(sys.executable, str(agent)))


@contextlib.contextmanager
def tcp(agent: Path, folder: Path) -> Iterator[DeviceSpec]:
    with started(str(agent), "--tcp", "127.0.0.1:0") as said:
        yield kits.device_spec(link=f"tcp://{said.split()[-1]}")


@contextlib.contextmanager
def tcp_with_a_key(agent: Path, folder: Path) -> Iterator[DeviceSpec]:
    folder.mkdir(exist_ok=True)
    key = str(folder / "scanner.key")
    make_key(key)
    with started(str(agent), "--tcp", "127.0.0.1:0", "--key", key) as said:
        yield kits.device_spec(link=f"tcp://{said.split()[-1]}", key=key)


@contextlib.contextmanager
def serial(agent: Path, folder: Path) -> Iterator[DeviceSpec]:
    """921600 baud, 1 ms each way, one bit in 100,000 flipped."""
    line = EmulatedLine(LineSpec(921600, 0.001, 1e-5))
    try:
        with started(str(agent), "--serial", line.device_port, "--baud", "921600"):
            yield kits.device_spec(link=line.host_port, baud=921600)
    finally:
        line.close()


@contextlib.contextmanager
def ssh(agent: Path, folder: Path) -> Iterator[DeviceSpec]:
    if SSHD is None:
        pytest.skip("OpenSSH's sshd is not installed")
    with Sshd(folder / "sshd") as server:
        yield kits.device_spec(link=server.url(), command=(sys.executable, str(agent), "--stdio"))


@contextlib.contextmanager
def adb(agent: Path, folder: Path) -> Iterator[DeviceSpec]:
    with AdbServer({"BOARD": "device"}) as server:
        yield kits.device_spec(link=server.url("BOARD"), command=(sys.executable, str(agent), "--stdio"))


Way = Callable[[Path, Path], contextlib.AbstractContextManager[DeviceSpec]]
WAYS: dict[str, Way] = {
    "subprocess": subprocess_,
    "tcp": tcp,
    "tcp with a key": tcp_with_a_key,
    "serial": serial,
    "ssh": ssh,
    "adb": adb,
}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("board") / "agent.pyz"
    pack_agent(path)
    return path


@pytest.fixture(scope="module", params=sorted(WAYS))
def spec(request: pytest.FixtureRequest, agent: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeviceSpec]:
    with WAYS[request.param](agent, tmp_path_factory.mktemp("way")) as one:
        yield one


@pytest.fixture(scope="module")
def device(spec: DeviceSpec) -> Iterator[Device]:
    with contextlib.closing(open_device(spec)) as opened:
        yield opened


@pytest.fixture(scope="module")
def local() -> Iterator[Device]:
    with contextlib.closing(open_device(kits.device_spec())) as opened:
        yield opened


def test_it_is_the_same_machine_by_another_way(device: Device, local: Device, spec: DeviceSpec) -> None:
    here, there = local.identify(), device.identify()
    assert there.link == link_name(spec.link)
    for what in ("architecture", "cpu_model", "instruction_sets", "runtime", "runtime_version", "logical_cpus"):
        assert getattr(there, what) == getattr(here, what), what


def test_a_model_arrives_and_is_sent_once(device: Device) -> None:
    told: list[tuple[int, int]] = []
    assert device.deploy(MODEL, lambda *each: told.append(each)) == digest_bytes(MODEL)
    assert told[-1] == (len(MODEL), len(MODEL))
    start_s = time.monotonic()
    assert device.deploy(MODEL) == digest_bytes(MODEL)
    assert time.monotonic() - start_s < 0.5


@pytest.mark.parametrize("exact", [False, True])
def test_predictions_are_those_of_the_local_device_bit_for_bit(device: Device, local: Device, exact: bool) -> None:
    inputs = kits.rows(64)
    digest = device.deploy(MODEL)
    local.deploy(MODEL)
    np.testing.assert_array_equal(
        device.predict(digest, inputs, output=None, exact=exact),
        local.predict(digest, inputs, output=None, exact=exact),
    )


def test_times_are_of_the_device_s_clock_whatever_the_link_adds(device: Device) -> None:
    digest = device.deploy(MODEL)
    timed = device.time_inferences(digest, kits.rows(8), count=200, min_s=0)
    assert len(timed.samples_ns) >= 200
    assert 0 < np.median(timed.samples_ns) < 1e6  # a product of 12 by 3; a serial line takes 2 ms there and back


def test_the_clock_of_the_same_machine_is_off_by_no_more_than_the_error_that_is_told(device: Device) -> None:
    offset_ns, error_ns = device.clock_offset_ns()
    assert abs(offset_ns) <= error_ns


def test_a_refusal_arrives_and_the_device_goes_on(device: Device) -> None:
    with pytest.raises(DeviceError, match=r"digest|model"):
        device.predict("sha256:" + "1" * 64, kits.rows(1), output=None, exact=False)
    assert device.conditions().utc


@pytest.mark.parametrize("way", sorted(WAYS))
def test_it_can_be_opened_again_at_once(way: str, agent: Path, tmp_path: Path) -> None:
    """In a row, as commands do."""
    with WAYS[way](agent, tmp_path / "way") as spec:
        for _ in range(3):
            with contextlib.closing(open_device(spec)) as opened:
                assert opened.deploy(kits.linear()) == digest_bytes(kits.linear())


@pytest.mark.parametrize("way", ["ssh", "tcp with a key"])
def test_a_certificate_over_this_link(way: str, agent: Path, few: Path, tmp_path: Path, edgeproof: Edgeproof) -> None:
    (tmp_path / "quick.toml").write_text(QUICK_PROFILE)
    with WAYS[way](agent, tmp_path / "way") as spec:
        (tmp_path / "board.toml").write_text(device_file(spec))
        words = ("certify", ROOT / "examples/watch/watch-cnn.onnx", "--data", few / "watch.toml")
        done = edgeproof(
            *words, "--profile", "quick.toml", "--device", "board.toml", "--variant", "int8-per-channel", "--json",
            cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode in (0, 1, 3), done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert summary["verdict"] == {0: "PASS", 1: "FAIL", 3: "INCONCLUSIVE"}[done.returncode]
    assert {each["id"] for each in summary["variants"][0]["requirements"]} >= {"latency", "memory", "accuracy"}


def device_file(spec: DeviceSpec) -> str:
    key = f"key = {json.dumps(spec.key)}\n" if spec.key else ""
    command = f"command = {json.dumps(list(spec.command))}\n" if spec.command else ""
    return f'[device]\nname = "board"\nemulated = []\n\n[link]\nurl = "{spec.link}"\n{key}{command}'
