"""An agent on this machine behind an emulated line: the real agent, the real kernel's limits, one link over all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kit.device import open_device, open_link
from kit.device.agent import AgentDevice
from kit.device.link import Link
from kit.device.local import LineLink
from kit.errors import DeviceError, LinkError, SpecError
from kit.spec.device import load_device
from kit.spec.types import EmulateSpec, LineSpec
from tests import device_kit as kits

FAST = LineSpec(3_000_000, 0.001)


def behind(line=FAST, **changes):
    """A device file that puts the agent at the far end of a line."""
    limits = {name: changes.pop(name) for name in ("memory_bytes", "cpu_share", "storage_bytes") if name in changes}
    return kits.device_spec(name="small", emulate=EmulateSpec(line=line, **limits), timeout_s=20.0, **changes)


def serves(spec, more_bytes=0):
    """Deploys and predicts, and gives what the link has seen."""
    link = open_link(spec)
    device = AgentDevice(lambda: link, spec)
    try:
        if more_bytes:
            device.deploy(kits.heavy(more_bytes))
        digest = device.deploy(kits.linear(0))
        scores = device.predict(digest, kits.rows(5), output=None, exact=False)
        assert np.allclose(scores, kits.rows(5) @ kits.weights(0), atol=1e-5)
        return link.health(), link.limits()
    finally:
        device.close()


def test_an_agent_behind_a_line_serves_like_any_other():
    health, limits = serves(behind())
    assert health.nominal_bytes_per_s == 300_000
    assert health.sent_bytes > len(kits.linear(0))
    assert limits == ("an emulated serial line: 3000000 baud, 1 ms each way",)


def test_an_agent_behind_a_bad_line_serves_too():
    health, limits = serves(behind(LineSpec(3_000_000, 0.001, bit_error_rate=1e-4, byte_loss_rate=1e-4)), 60_000)
    assert health.resent_bytes > 0
    assert "bit error rate 0.0001, byte loss rate 0.0001" in limits[0]


def test_all_limits_together_are_told():
    _, limits = serves(behind(memory_bytes=512 << 20, cpu_share=0.9))
    assert len(limits) == 3
    assert any("512 MiB" in words for words in limits)
    assert any("0.9 of a core" in words for words in limits)


def test_the_shipped_scanner_is_such_a_device():
    spec = load_device("scanner-emulated")
    assert spec.emulate.line == LineSpec(115200, 0.001)
    assert spec.emulate.memory_bytes == 256 << 20
    assert spec.emulate.cpu_share == 0.5
    assert set(spec.emulated) == {"device", "memory", "link", "meter", "battery"}
    health, limits = serves(spec)
    assert health.nominal_bytes_per_s == 11520
    assert len(limits) == 3


@pytest.mark.parametrize("link", ["subprocess:foo", "subprocess:///dev/ttyS0", "subprocess:\x1b[31m"])
def test_a_link_that_names_another_place_is_never_this_machine(link):
    with pytest.raises(SpecError, match="is always this machine") as caught:
        open_link(kits.device_spec(link=link))
    assert str(caught.value).isprintable()
    assert "subprocess: alone" in caught.value.next_step


def test_storage_that_is_too_small_refuses_the_model():
    device = open_device(behind(storage_bytes=10_000))
    try:
        with pytest.raises(DeviceError):
            device.deploy(kits.heavy(50_000))
        assert device.identify()
    finally:
        device.close()


def test_storage_is_bounded_without_a_line_too():
    device = open_device(kits.device_spec(emulate=EmulateSpec(storage_bytes=10_000)))
    try:
        with pytest.raises(DeviceError):
            device.deploy(kits.heavy(50_000))
    finally:
        device.close()


def test_close_ends_the_agent_and_its_line_in_good_time():
    link = open_link(behind())
    assert isinstance(link, LineLink)
    assert isinstance(link, Link)
    agent, line = link.process_id(), link._line.process_id()
    start_s = time.monotonic()
    link.close()
    link.close()
    assert time.monotonic() - start_s < 4
    assert kits.wait_gone(agent)
    assert kits.wait_gone(line)
    assert link.health().sent_bytes > 0
    for use in (lambda: link.read(time.monotonic() + 1), lambda: link.write(b"x", time.monotonic() + 1)):
        with pytest.raises(LinkError, match="closed"):
            use()


def test_an_agent_that_dies_is_told_soon_and_how():
    link = open_link(behind())
    device = AgentDevice(lambda: link, behind())
    try:
        os.kill(link.process_id(), signal.SIGKILL)
        start_s = time.monotonic()
        with pytest.raises(LinkError, match="signal 9") as caught:
            device.conditions()
        assert time.monotonic() - start_s < 5
        assert "\n" not in str(caught.value)
    finally:
        device.close()


def test_a_host_that_is_killed_leaves_no_agent_and_no_line():
    script = (
        "import time; from kit.device.local import open_local; from tests.device.test_local import behind\n"
        "link = open_local(behind()); print(link.process_id(), link._line.process_id(), flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as host:
        agent, line = map(int, host.stdout.readline().split())
        assert kits.alive(agent)
        host.kill()
    assert kits.wait_gone(line)
    assert kits.wait_gone(agent)


def test_an_agent_that_cannot_start_is_told_soon_with_its_last_words():
    start_s = time.monotonic()
    with pytest.raises(LinkError, match="status 3") as caught:
        open_link(behind(wrapper=("sh", "-c", "echo the board is on fire; exit 3")))
    assert "on fire" in caught.value.next_step
    assert time.monotonic() - start_s < 8


def test_an_agent_that_never_answers_is_given_up_at_the_time_out():
    spec = kits.device_spec(emulate=EmulateSpec(line=FAST), timeout_s=1.0, wrapper=("sh", "-c", "sleep 60"))
    start_s = time.monotonic()
    with pytest.raises(LinkError, match="nobody answers"):
        open_link(spec)
    assert time.monotonic() - start_s < 5


def test_a_rate_that_the_agent_cannot_set_is_refused_with_those_that_it_can():
    with pytest.raises(LinkError) as caught:
        open_link(behind(LineSpec(123_456)))
    assert "123456 baud is no rate" in caught.value.next_step
