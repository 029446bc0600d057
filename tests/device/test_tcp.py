"""The host's end of TCP: keys, the link, and a real agent in its own process with and without a key."""

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from kit.device import Link, open_device, open_link
from kit.device.keys import make_key
from kit.device.tcp import TcpLink
from kit.errors import DeviceError, LinkError, MissingExtraError, SpecError, StoreError
from kit.wire.secure import Key
from tests import device_kit as kits
from tests.tcp_agent import tcp_agent


def soon(seconds=20.0):
    return time.monotonic() + seconds


def spec(url, key="", **changes):
    return kits.device_spec(**({"name": "scanner", "link": url, "key": str(key), "timeout_s": 10.0} | changes))


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    paths = [folder / "ours.key", folder / "theirs.key"]
    for path in paths:
        make_key(path)
    return paths


class TestKeyFile:
    def test_only_its_owner_can_read_it_whatever_the_umask(self, tmp_path):
        before = os.umask(0)
        try:
            make_key(tmp_path / "a.key")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600

    def test_two_are_never_alike(self, keys):
        assert Key(keys[0]).certificate != Key(keys[1]).certificate

    def test_what_is_there_is_never_overwritten(self, keys, tmp_path):
        before = keys[0].read_bytes()
        (tmp_path / "link.key").symlink_to(tmp_path / "elsewhere.key")
        for path in (keys[0], tmp_path / "link.key"):
            with pytest.raises(StoreError, match="never overwritten") as caught:
                make_key(path)
            assert caught.value.next_step
        assert keys[0].read_bytes() == before
        assert not (tmp_path / "elsewhere.key").exists()

    def test_where_it_cannot_be_written(self, tmp_path):
        with pytest.raises(StoreError, match="cannot write the key: No such file"):
            make_key(tmp_path / "no" / "such" / "folder.key")

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
    def test_one_that_others_can_read_is_refused_with_the_command(self, keys, tmp_path, mode):
        path = Path(shutil.copy(keys[0], tmp_path / "open.key"))
        path.chmod(mode)
        with pytest.raises(SpecError, match="others can read this key") as caught:
            Key(path)
        assert f"chmod 600 {path}" in caught.value.next_step
        path.chmod(0o400)
        assert Key(path).certificate == Key(keys[0]).certificate

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("missing", "cannot read the key: No such file"),
            ("folder", "is no file|Is a directory"),
            ("pipe", "is no file"),
            ("empty", "is no key file"),
            ("garbage", "is no key file"),
            ("huge", "is no key file"),
            ("two", "is no key file"),
            ("only certificate", "no private key that fits"),
            ("of another", "no private key that fits"),
            ("locked", "no private key that fits"),
            ("damaged", "certificate that cannot be read"),
        ],
    )
    def test_what_is_no_key_is_told(self, keys, tmp_path, name, says):
        path = tmp_path / f"{name}.key"
        ours, theirs = (each.read_text().partition("-----BEGIN CERTIFICATE") for each in keys)
        texts = {
            "empty": "",
            "garbage": "\x00\xff" * 999,
            "huge": "".join(ours) + "#" * 100_000,
            "two": "".join(ours) + "".join(theirs),
            "only certificate": ours[1] + ours[2],
            "of another": theirs[0] + ours[1] + ours[2],
            "damaged": ours[0] + ours[1] + ours[2].replace("MII", "MIJ", 1).replace("M", "N", 3),
        }
        if name in texts:
            path.write_text(texts[name])
        elif name == "folder":
            path.mkdir()
        elif name == "pipe":
            os.mkfifo(path)
        elif name == "locked":
            shutil.copy(keys[0], path)
            command = ["openssl", "ec", "-in", path, "-aes256", "-passout", "pass:secret", "-out", path]
            subprocess.run(command, check=True, capture_output=True)
            path.write_text(path.read_text() + ours[1] + ours[2])
        if path.exists():
            path.chmod(0o600 if path.is_file() else 0o700)
        with pytest.raises(SpecError, match=says) as caught:
            Key(path)
        assert caught.value.where == str(path)
        assert "edgeproof agent key" in caught.value.next_step

    @pytest.mark.parametrize("year", [1970, 2026, 2040, 9999])
    def test_no_clock_makes_it_invalid(self, keys, year):
        """As another implementation sees it: OpenSSL's own command, told that it is that year."""
        at = int((np.datetime64(f"{year}-01-01") - np.datetime64("1970-01-01")).astype("timedelta64[s]").astype(int))
        command = ["openssl", "verify", "-x509_strict", "-attime", str(at + 1), "-CAfile", keys[0], keys[0]]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().endswith("OK")

    def test_it_can_sign_for_no_other(self, keys):
        text = subprocess.run(["openssl", "x509", "-in", keys[0], "-noout", "-text"], capture_output=True, text=True)
        assert "CA:FALSE" in text.stdout
        assert "Certificate Sign" not in text.stdout
        assert "prime256v1" in text.stdout

    def test_without_the_extra_it_says_what_to_install(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "cryptography", None)
        with pytest.raises(MissingExtraError) as caught:
            make_key(tmp_path / "a.key")
        assert caught.value.next_step == "pip install 'edgeproof[keys]'"
        assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def server(behave, host="127.0.0.1"):
    """A TCP server that does one thing with each connection; its address as a url."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, 0), family=family)
    opened = []

    def serve():
        with contextlib.suppress(OSError):
            while True:
                opened.append(listening.accept()[0])
                with contextlib.suppress(OSError):
                    behave(opened[-1])

    thread = threading.Thread(target=serve)
    thread.start()
    port = listening.getsockname()[1]
    try:
        yield f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for each in opened:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for each in opened:
            each.close()


def echo(connection):
    while data := connection.recv(4096):
        connection.sendall(data)


def refused(caught, says, fix):
    """One line that says what, and one that says what to do."""
    assert says in caught.value.what, caught.value.what
    assert fix in caught.value.next_step, caught.value.next_step
    assert "\n" not in caught.value.what + caught.value.next_step
    return True


class TestOpening:
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    def test_loopback_of_both_families(self, host):
        with server(echo, host) as url, contextlib.closing(open_link(spec(url))) as link:
            assert isinstance(link, Link)
            link.write(b"hello", soon())
            assert link.read(soon()) == b"hello"

    def test_a_name_with_two_addresses_finds_the_one_that_listens(self):
        with server(echo) as url, contextlib.closing(TcpLink(spec(url.replace("127.0.0.1", "localhost")))) as link:
            link.write(b"hello", soon())
            assert link.read(soon()) == b"hello"

    def test_nobody_listens(self):
        with socket.create_server(("127.0.0.1", 0)) as gone:
            url = f"tcp://127.0.0.1:{gone.getsockname()[1]}"
        with pytest.raises(LinkError) as caught:
            TcpLink(spec(url))
        assert refused(caught, "no agent listens at 127.0.0.1:", "agent.pyz --tcp 127.0.0.1:")
        assert caught.value.where == "device scanner"

    def test_a_name_that_nobody_has(self):
        with pytest.raises(LinkError) as caught:
            TcpLink(spec("tcp://scanner.invalid"))
        assert refused(caught, "no host is known by the name scanner.invalid", "write the address")

    def test_a_host_that_does_not_take_the_connection(self):
        """A queue that is full takes no more (listen(2)): connecting waits until the time is up."""
        with contextlib.ExitStack() as stack:
            full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            for _ in range(3):
                waiting = stack.enter_context(contextlib.closing(socket.socket()))
                waiting.setblocking(False)
                waiting.connect_ex(full.getsockname())
            start_s = time.monotonic()
            with pytest.raises(LinkError) as caught:
                TcpLink(spec(f"tcp://127.0.0.1:{full.getsockname()[1]}", timeout_s=0.5))
            assert 0.4 < time.monotonic() - start_s < 10
        assert refused(caught, "does not answer in time", "device is on")

    @pytest.mark.parametrize(
        "url", ["tcp:", "tcp://", "tcp://:7431", "tcp://a:0", "tcp://a:99999", "tcp://a:b", "tcp://[::1", "tcp://a/b",
                "tcp://user@a", "tcp://a?x=1", "tcp://a#x"]
    )  # fmt: skip
    def test_an_address_that_is_none(self, url):
        with pytest.raises(SpecError, match="is no address") as caught:
            TcpLink(spec(url, path="devices/scanner.toml"))
        assert caught.value.where == "devices/scanner.toml"
        assert "tcp://HOST:7431" in caught.value.next_step

    @pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]", "0.0.0.0"])
    def test_another_machine_is_never_spoken_to_in_the_clear(self, host):
        start_s = time.monotonic()
        with pytest.raises(SpecError) as caught:
            TcpLink(spec(f"tcp://{host}:7431"))
        assert refused(caught, "without a key all would be sent in the clear", "edgeproof agent key")
        assert time.monotonic() - start_s < 10

    def test_a_key_that_others_can_read_is_not_used(self, keys, tmp_path):
        path = Path(shutil.copy(keys[0], tmp_path / "open.key"))
        path.chmod(0o644)
        with server(echo) as url, pytest.raises(SpecError, match="others can read"):
            TcpLink(spec(url, path))


class TestOtherEndIsNoAgentOfOurs:
    def test_it_is_silent(self, keys):
        start_s = time.monotonic()
        with server(lambda _: None) as url, pytest.raises(LinkError) as caught:
            TcpLink(spec(url, keys[0], timeout_s=0.5))
        assert time.monotonic() - start_s < 10
        assert refused(caught, "does not prove itself in time", "--key")

    def test_it_closes(self, keys):
        with server(lambda each: each.shutdown(socket.SHUT_RDWR)) as url, pytest.raises(LinkError) as caught:
            TcpLink(spec(url, keys[0]))
        assert refused(caught, "did not accept the key", "--key")

    @pytest.mark.parametrize("said", [b"EDGP" + bytes(60), b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n"])
    def test_it_speaks_in_the_clear(self, keys, said):
        with server(lambda each: each.sendall(said)) as url, pytest.raises(LinkError) as caught:
            TcpLink(spec(url, keys[0]))
        assert refused(caught, "has no key", "--key")

    def test_it_resets_the_connection_under_way(self):
        def reset(connection):
            connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
            connection.close()

        with server(reset) as url, contextlib.closing(TcpLink(spec(url))) as link:
            link.write(b"hello", soon())
            with pytest.raises(LinkError) as caught:
                link.read(soon())
        assert refused(caught, "is gone (Connection reset by peer)", "run again")


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with tcp_agent(tmp_path_factory.mktemp("agent")) as (url, _):
        yield url


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, keys):
    with tcp_agent(tmp_path_factory.mktemp("agent"), "--key", str(keys[0])) as (url, _):
        yield url


def works(url, key=""):
    """A model goes there, once, and infers there as it does here."""
    with contextlib.closing(open_device(spec(url, key))) as device:
        digest = device.deploy(kits.linear())
        scores = device.predict(digest, kits.rows(20), output=None, exact=False)
        np.testing.assert_allclose(scores, kits.rows(20) @ kits.weights(), rtol=1e-4, atol=1e-5)
        assert device.process_id() is None
        return True


def is_busy(url):
    try:
        open_device(spec(url)).close()
    except LinkError:
        raise
    except DeviceError as error:
        return "busy" in error.what
    return False


class TestRealAgent:
    def test_without_a_key_on_loopback(self, agent):
        assert works(agent)

    def test_with_a_key_everything_works_too(self, guarded, keys):
        assert works(guarded, keys[0])

    def test_a_large_model_arrives_whole(self, guarded, keys):
        model = kits.linear(ballast=np.random.default_rng(3).integers(0, 255, 20 << 20, dtype=np.uint8))
        with contextlib.closing(open_device(spec(guarded, keys[0]))) as device:
            digest = device.deploy(model)
            assert device.predict(digest, kits.rows(2), output=None, exact=False).shape == (2, kits.CLASSES)

    def test_a_key_is_demanded_and_none_is_given(self, guarded):
        with pytest.raises(LinkError, match="demands a key") as caught:
            open_device(spec(guarded))
        assert caught.value.next_step == f"give the agent's own: {guarded}?key=FILE"
        with pytest.raises(LinkError, match="demands a key") as caught:
            open_device(dataclasses.replace(spec(guarded), path="scanner.toml"))
        assert caught.value.next_step.endswith("to [link] of the device file")

    def test_another_key(self, guarded, keys):
        with pytest.raises(LinkError) as caught:
            open_device(spec(guarded, keys[1]))
        assert refused(caught, "holds another key", "same key file")
        assert works(guarded, keys[0])

    def test_a_key_is_given_and_the_agent_has_none(self, agent, keys):
        with pytest.raises(LinkError) as caught:
            open_device(spec(agent, keys[0]))
        assert refused(caught, "has no key", "--key")
        assert works(agent)

    def test_a_second_master_is_refused_until_the_first_is_done(self, guarded, keys):
        with contextlib.closing(open_device(spec(guarded, keys[0]))) as first:
            with pytest.raises(DeviceError, match="busy"):
                open_device(spec(guarded, keys[0]))
            assert first.conditions().utc
        assert works(guarded, keys[0])

    def test_a_host_that_vanishes_leaves_it_usable(self, agent, tmp_path):
        code = (
            "import sys, time; from kit.device import open_device; from tests import device_kit as k; "
            "d = open_device(k.device_spec(link=sys.argv[1])); g = d.deploy(k.slow()); print('on', flush=True); "
            "d.run_busy(g, k.rows(), duration_s=60)"
        )
        words = [sys.executable, "-c", code, agent]
        with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as host:
            assert host.stdout.readline() == b"on\n"
            time.sleep(0.3)
            host.kill()
        deadline_s = soon(25)
        while is_busy(agent):  # until the request under way has been ended
            assert time.monotonic() < deadline_s
            time.sleep(0.2)
        assert works(agent)

    def test_an_agent_that_is_killed_is_one_line(self, tmp_path):
        with tcp_agent(tmp_path) as (url, process):
            device = open_device(spec(url))
            digest = device.deploy(kits.slow())
            timer = threading.Timer(0.3, lambda: process.send_signal(signal.SIGKILL))
            timer.start()
            start_s = time.monotonic()
            with pytest.raises(LinkError, match="scanner") as caught:
                device.run_busy(digest, kits.rows(), duration_s=30)
            assert time.monotonic() - start_s < 15
            assert caught.value.next_step
            device.close()
            timer.join()

    def test_an_agent_that_is_asked_to_end_ends(self, tmp_path, keys):
        with tcp_agent(tmp_path, "--key", str(keys[0])) as (url, process):
            assert works(url, keys[0])
            process.terminate()
            process.wait(20)

    def test_it_refuses_to_listen_elsewhere_without_a_key(self, tmp_path):
        words = [sys.executable, "-m", "kit.agent", "--tcp", "0.0.0.0:0", "--cache", str(tmp_path)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, cwd=Path(__file__).parents[2])
        assert done.returncode == 2
        assert "prove itself with a key" in done.stderr
        assert "edgeproof agent key" in done.stderr
        assert "Traceback" not in done.stderr
