"""The ssh link against a real sshd on loopback: host keys, log-ins, jumps, and every failure in one line."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kit.device import open_link, ssh
from kit.device.ssh import SshLink, Target
from kit.errors import LinkError, SpecError
from tests import device_kit as kits
from tests.emulators.sshd import SSHD, Sshd, make_key

pytestmark = pytest.mark.skipif(SSHD is None, reason="OpenSSH's sshd is not installed")


def soon(seconds=10.0):
    return time.monotonic() + seconds


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Sshd(tmp_path_factory.mktemp("sshd")) as one:
        yield one


def spec(url, *command, **changes):
    return kits.device_spec(**{"link": url, "command": command or ("cat",), "timeout_s": 10.0} | changes)


def failure(url, *command, **changes):
    """What is said when the stream ends, on one line, with what to do."""
    link = SshLink(spec(url, *command, **changes))
    try:
        error = end_of(link)
    finally:
        link.close()
    assert error.next_step
    assert (error.what + error.next_step).isprintable()
    return error


def end_of(link):
    while True:
        try:
            assert link.read(soon(20)), "neither bytes nor an end"
        except LinkError as error:
            return error


def echoes(url, **changes):
    """Whether bytes go there and back."""
    link = SshLink(spec(url, **changes))
    try:
        link.write(b"\x00there and back\xff", soon())
        return link.read(soon()) == b"\x00there and back\xff"
    finally:
        link.close()


def users_config(monkeypatch, folder, text):
    """Put a file in the place of the user's own configuration, behind what the link insists on."""
    own = folder / "users_config"
    own.write_text(text)
    ours = folder / "ssh_config"
    assert "Include ~/.ssh/config" in ssh.CONFIG.read_text()
    ours.write_text(ssh.CONFIG.read_text().replace("~/.ssh/config", str(own)))
    monkeypatch.setattr(ssh, "CONFIG", ours)


LOOSE = """
StrictHostKeyChecking {checking}
UserKnownHostsFile {known_hosts}
UpdateHostKeys yes
VerifyHostKeyDNS yes
NoHostAuthenticationForLocalhost yes
BatchMode no
RemoteCommand date
RequestTTY force
"""


class TestHostKeys:
    def test_a_known_one_is_let_in(self, server):
        assert echoes(server.url())

    def test_an_unknown_one_is_not_and_how_to_check_it_is_told(self, server, tmp_path):
        (tmp_path / "known_hosts").touch()
        error = failure(server.url(known_hosts=tmp_path / "known_hosts"))
        assert error.what == f"the host key of [127.0.0.1]:{server.port} is not known"
        command = error.next_step.partition(": ")[2].partition(" (on the device")[0]
        assert command.startswith("ssh -o StrictHostKeyChecking=ask ")
        assert str(tmp_path / "known_hosts") in command
        assert (tmp_path / "known_hosts").read_text() == ""

    def test_the_command_that_is_told_adds_it_once_the_user_says_yes(self, server, tmp_path):
        (tmp_path / "known_hosts").touch()
        step = failure(server.url(known_hosts=tmp_path / "known_hosts")).next_step
        command = step.partition(": ")[2].partition(" (on the device")[0].replace("=ask", "=accept-new")  # as by "yes"
        subprocess.run(["sh", "-c", command], check=True, capture_output=True, timeout=20, stdin=subprocess.DEVNULL)
        assert echoes(server.url(known_hosts=tmp_path / "known_hosts"))

    def test_a_changed_one_is_an_alarm_and_the_old_one_can_be_removed(self, server, tmp_path):
        make_key(tmp_path / "other")
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:{server.port} {(tmp_path / 'other.pub').read_text()}")
        error = failure(server.url(known_hosts=known))
        assert "has changed: another machine may be in its place" in error.what
        command = error.next_step.partition(": ")[2].partition(",")[0]
        subprocess.run(["sh", "-c", command], check=True, capture_output=True, timeout=20)
        assert known.read_text() == ""

    def test_a_revoked_one_is_refused(self, server, tmp_path):
        known = tmp_path / "known_hosts"
        known.write_text("".join(f"@revoked {line}\n" for line in server.known_hosts.read_text().splitlines()))
        assert re.search("revoked|not known", failure(server.url(known_hosts=known)).what)

    @pytest.mark.parametrize("checking", ["no", "off", "accept-new", "ask"])
    def test_the_user_s_own_configuration_cannot_loosen_it(self, server, tmp_path, monkeypatch, checking):
        known = tmp_path / "known_hosts"
        known.touch()
        users_config(monkeypatch, tmp_path, LOOSE.format(checking=checking, known_hosts=known))
        error = failure(f"ssh://{server.user}@127.0.0.1:{server.port}?identity={server.identity}")
        assert "is not known" in error.what
        assert known.read_text() == ""

    def test_other_keys_of_a_known_host_are_not_learned(self, server, tmp_path, monkeypatch):
        known = tmp_path / "known_hosts"
        shutil.copy(server.known_hosts, known)
        users_config(monkeypatch, tmp_path, LOOSE.format(checking="no", known_hosts=known))
        assert echoes(f"ssh://{server.user}@127.0.0.1:{server.port}?identity={server.identity}")
        assert known.read_text() == server.known_hosts.read_text()


class TestUsersConfiguration:
    def test_names_keys_and_ports_are_the_user_s(self, server, tmp_path, monkeypatch):
        users_config(monkeypatch, tmp_path, host("Board1", server))
        assert echoes("ssh://Board1")

    def test_a_jump_through_another_host(self, server, tmp_path, monkeypatch):
        users_config(monkeypatch, tmp_path, host("board", server, "ProxyJump jump") + host("jump", server))
        assert echoes("ssh://board")

    @pytest.mark.parametrize("checking", ["no", "accept-new"])
    def test_the_host_key_of_a_jump_is_checked_too(self, server, tmp_path, monkeypatch, checking):
        unknown = tmp_path / "known_hosts"
        unknown.touch()
        jump = host("jump", server, f"StrictHostKeyChecking {checking}").replace(str(server.known_hosts), str(unknown))
        users_config(monkeypatch, tmp_path, host("board", server, "ProxyJump jump") + jump)
        assert f"the host key of [127.0.0.1]:{server.port} is not known" in failure("ssh://board").what
        assert unknown.read_text() == ""

    def test_nothing_else_of_it_enters_the_stream(self, server, tmp_path, monkeypatch):
        extra = "RemoteCommand date\nRequestTTY force\nLocalForward 1 localhost:1\nLogLevel DEBUG\nForwardAgent yes"
        users_config(monkeypatch, tmp_path, host("board", server, extra))
        assert echoes("ssh://board")


def host(name, server, *more):
    lines = (
        f"HostName 127.0.0.1\nPort {server.port}\nUser {server.user}\nIdentityFile {server.identity}\n"
        f"IdentitiesOnly yes\nUserKnownHostsFile {server.known_hosts}"
    )
    return f"Host {name}\n" + "".join(f"    {line}\n" for line in (lines + "\n" + "\n".join(more)).splitlines())


class TestRefusals:
    def test_a_key_that_the_host_does_not_know(self, server, tmp_path):
        make_key(tmp_path / "key")
        error = failure(server.url(identity=tmp_path / "key"))
        assert error.what == f"{server.user}@127.0.0.1 may not log in: permission denied"
        assert "ssh-copy-id" in error.next_step

    def test_a_key_that_is_not_there(self, server, tmp_path):
        assert failure(server.url(identity=tmp_path / "none")).what == f"there is no key {tmp_path / 'none'}"

    def test_a_key_that_others_may_read(self, server, tmp_path):
        shutil.copy(server.identity, tmp_path / "key")
        (tmp_path / "key").chmod(0o644)
        assert "chmod 600" in failure(server.url(identity=tmp_path / "key")).next_step

    def test_a_key_with_a_passphrase_is_not_asked_for(self, server, tmp_path):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(tmp_path / "key")], check=True)
        start_s = time.monotonic()
        assert "permission denied" in failure(server.url(identity=tmp_path / "key")).what
        assert time.monotonic() - start_s < 10

    def test_nobody_listens(self, server):
        with socket.create_server(("127.0.0.1", 0)) as one:
            port = one.getsockname()[1]
        assert failure(f"ssh://127.0.0.1:{port}").what == "127.0.0.1 refuses ssh connections"

    def test_no_such_host(self):
        assert failure("ssh://no-such-host.invalid").what == "no host is named no-such-host.invalid"

    def test_a_host_that_says_nothing(self):
        with socket.create_server(("127.0.0.1", 0)) as mute:
            start_s = time.monotonic()
            error = failure(f"ssh://127.0.0.1:{mute.getsockname()[1]}", timeout_s=2.0)
            assert time.monotonic() - start_s < 8
        assert "127.0.0.1" in error.what

    def test_a_host_that_is_no_ssh_server(self):
        with socket.create_server(("127.0.0.1", 0)) as other:

            def answer():
                connection, _ = other.accept()
                with connection:
                    connection.sendall(b"220 smtp\r\n" * 2000)

            thread = threading.Thread(target=answer)
            thread.start()
            error = failure(f"ssh://127.0.0.1:{other.getsockname()[1]}")
            thread.join()
        assert "127.0.0.1" in error.what

    def test_no_ssh_here(self, monkeypatch):
        monkeypatch.setenv("PATH", "/nonexistent")
        with pytest.raises(LinkError, match="cannot start 'ssh'") as caught:
            SshLink(spec("ssh://board"))
        assert "apt install openssh-client" in caught.value.next_step

    @pytest.mark.parametrize(
        ("command", "what", "next_step"),
        [
            (("nosuchprogram", "agent.pyz"), "there is no nosuchprogram", "`command`"),
            (
                (sys.executable, "/nowhere/agent.pyz"),
                "there is no /nowhere/agent.pyz",
                "agent pack -o agent.pyz && scp",
            ),
            ((sys.executable, "-m", "nosuchmodule"), "no nosuchmodule", "install numpy and onnxruntime"),
            (("sh", "-c", "echo oh no >&2; exit 3"), "exited with status 3", "its last words were: oh no"),
            (("true",), "ended", "by hand"),
            (("sh", "-c", "kill -9 $$"), "was killed", "out of memory"),
        ],
    )
    def test_a_command_that_does_not_start(self, server, command, what, next_step):
        error = failure(server.url(), *command)
        assert what in error.what
        assert "127.0.0.1" in error.what
        assert next_step in error.next_step
        if "scp" in next_step:  # to where it was sought, not to where a login starts
            assert re.search(r" -P \d+ .* agent\.pyz \S*127\.0\.0\.1:/nowhere/agent\.pyz$", error.next_step)

    def test_a_network_that_dies_is_noticed_within_the_time_out(self, server, tmp_path):
        with Tunnel(server.port) as tunnel:
            known = tmp_path / "known_hosts"
            known.write_text(server.known_hosts.read_text().replace(str(server.port), str(tunnel.port)))
            url = server.url(known_hosts=known).replace(f":{server.port}?", f":{tunnel.port}?")
            link = SshLink(spec(url, timeout_s=4.0))
            link.write(b"x", soon())
            assert link.read(soon()) == b"x"
            tunnel.freeze()
            start_s = time.monotonic()
            with pytest.raises(LinkError, match="does not answer"):
                link.read(soon(20))
            assert time.monotonic() - start_s < 8
            link.close()


class Tunnel:
    """A relay to a port of this machine, as a process that can be stopped: packets then go nowhere, without an end."""

    RELAY = """
import socket, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
here = listener.accept()[0]
there = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def copy(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)
threading.Thread(target=copy, args=(there, here), daemon=True).start()
copy(here, there)
"""

    def __init__(self, port):
        self._process = subprocess.Popen([sys.executable, "-c", self.RELAY, str(port)], stdout=subprocess.PIPE)
        self.port = int(self._process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def freeze(self):
        os.kill(self._process.pid, signal.SIGSTOP)


class TestAddresses:
    @pytest.mark.parametrize(
        "url",
        [
            "ssh://-oProxyCommand=date", "ssh://-l", "ssh://me@-oProxyCommand=date", "ssh://-me@board", "ssh://",
            "ssh://board/path", "ssh://board:0", "ssh://board:65536", "ssh://board:-1", "ssh://me:password@board",
            "ssh:board", "ssh://a@b@c", "ssh://board;date", "ssh://$(date)", "ssh://board%20x", "ssh://board?identity=",
            "ssh://board?proxy=x", "ssh://board?known_hosts=a%22b", "ssh://board?known_hosts=a%0ab",
            "ssh://b?identity=%24HOME", "ssh://[::1", "ssh://[board]", "ssh://boärd",
        ],
    )  # fmt: skip
    def test_one_that_is_none_is_refused_before_anything_starts(self, url):
        with pytest.raises(SpecError) as caught:
            open_link(spec(url))
        assert "ssh://user@host:port" in caught.value.next_step

    @pytest.mark.parametrize(
        ("url", "login"),
        [
            ("ssh://board", "board"),
            ("ssh://Board-1.local/", "Board-1.local"),
            ("ssh://pi@192.168.1.7:2222", "pi@192.168.1.7"),
            ("ssh://pi@[fe80::1%eth0]:22", "pi@fe80::1%eth0"),
        ],
    )
    def test_the_host_is_the_last_word_after_the_options(self, url, login):
        command = Target(spec(url)).command(30.0)
        assert command[-2:] == ["--", login]
        assert all(option in ssh.CONFIG.read_text() for option in ("StrictHostKeyChecking yes", "BatchMode yes"))
        assert command[:3] == ["ssh", "-F", str(ssh.CONFIG)]

    def test_what_insists_is_read_first_and_comes_with_the_package(self):
        lines = [line for line in ssh.CONFIG.read_text().splitlines() if line and not line.startswith("#")]
        first_include = next(i for i, line in enumerate(lines) if "Include" in line)
        assert first_include >= 10
        assert Path(ssh.__file__).parent == ssh.CONFIG.parent

    def test_a_path_with_a_space(self, server, tmp_path):
        folder = tmp_path / "my lab"
        folder.mkdir()
        for name in ("identity", "known_hosts"):
            shutil.copy(server.folder / name, folder / name)
        url = server.url(folder / "known_hosts", folder / "identity").replace(" ", "%20")
        assert echoes(url)


class TestCommand:
    def test_words_stay_words(self, server):
        link = SshLink(spec(server.url(), "printf", "%s|", "a b", "$HOME", "'", '"', ";", "ä", "*", "-o"))
        expected, said = "a b|$HOME|'|\"|;|ä|*|-o|".encode(), b""
        while len(said) < len(expected):
            said += link.read(soon())
        assert said == expected
        link.close()

    def test_by_default_it_is_the_packed_agent_in_the_folder_of_the_login(self, server):
        error = failure(server.url(), command=())
        assert "there is no" in error.what
        assert "agent.pyz" in error.what + error.next_step

    def test_it_ends_when_the_link_closes(self, server):
        link = SshLink(spec(server.url(), "sh", "-c", "echo $$; exec cat"))
        process_id = int(link.read(soon()))
        link.close()
        assert kits.wait_gone(process_id)

    def test_it_runs_elsewhere_so_no_process_is_told(self, server):
        link = SshLink(spec(server.url()))
        assert link.process_id() is None
        link.close()
