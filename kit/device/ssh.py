"""The agent on another machine, through the system's own OpenSSH client (``ssh://[user@]host[:port]``).

No Python package is needed: keys, agents, aliases, certificates and jumps are those of ``~/.ssh/config``. What must
hold on every hop is in ``ssh_config`` beside this file: host keys are checked and never learned, nothing is asked.
The URL's options: ``?identity=`` (a key to log in with) and ``?known_hosts=`` (the only file to check host keys by).
"""

import os
import re
import shlex
from pathlib import Path
from urllib.parse import parse_qsl

from kit.device.process import ProcessLink, last_line
from kit.device.remote import not_started, shell_words
from kit.errors import LinkError, SpecError
from kit.spec.types import DeviceSpec

AGENT = ("python3", "agent.pyz", "--stdio")
"""The agent's command, in the folder where a login starts, unless the device file has its own."""

CONFIG = Path(__file__).with_name("ssh_config")
_URL = re.compile(
    r"ssh://(?:(?P<user>[A-Za-z0-9_.][\w.+-]*)@)?(?P<host>[A-Za-z0-9_][\w.-]*|\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\])"
    r"(?::(?P<port>[1-9]\d{0,4}))?/?(?:\?(?P<options>.*))?",
    re.ASCII,
)
_OPTIONS = ("identity", "known_hosts")
_ALIVE_PROBES = 3
_SSH_FAILED = 255


class SshLink(ProcessLink):
    """A Link through ``ssh`` to the agent's command at the other end, which ends when its input does.

    Raises SpecError for a URL that is none, LinkError if there is no ssh here; what ssh or the other end then says
    is told when the stream ends.
    """

    def __init__(self, spec: DeviceSpec) -> None:
        self._target = Target(spec)
        remote = shell_words([*spec.wrapper, *(spec.command or AGENT)])
        try:
            super().__init__(
                [*self._target.command(spec.timeout_s), remote],
                name=spec.name,
                environment=os.environ | {"LC_ALL": "C"},
                explain=self._target.explain,
            )
        except LinkError as error:
            error.next_step = "install OpenSSH's client (Debian: apt install openssh-client), then run again"
            raise

    def process_id(self) -> int | None:
        """See Link; the agent runs elsewhere."""
        return None


class Target:
    """Where an ssh URL leads, and what the messages on the way there mean. Raises SpecError."""

    def __init__(self, spec: DeviceSpec) -> None:
        found = _URL.fullmatch(spec.link)
        options = dict(parse_qsl(found["options"] or "", keep_blank_values=True)) if found else {}
        if not found or int(found["port"] or 22) > 65535 or not all(_is_path(o, options[o]) for o in options):
            raise SpecError(
                f"{spec.link!r} is no ssh address",
                where=spec.path or f"device {spec.name}",
                next_step="write ssh://user@host:port, with ?identity=FILE or ?known_hosts=FILE; no password",
            )
        self._host, self._port = found["host"].strip("[]"), found["port"]
        self._login = f"{found['user']}@{self._host}" if found["user"] else self._host
        self._files = {name: str(Path(path).expanduser().absolute()) for name, path in options.items()}

    def command(self, timeout_s: float) -> list[str]:
        """ssh and its arguments, up to the words for the other end; a dead network is noticed within the time-out."""
        every_s = max(1, int(timeout_s / (_ALIVE_PROBES + 1)))
        words = ["ssh", "-F", str(CONFIG), "-T", "-o", f"ConnectTimeout={max(1, int(timeout_s))}"]
        words += ["-o", f"ServerAliveInterval={every_s}", "-o", f"ServerAliveCountMax={_ALIVE_PROBES}"]
        if self._port:
            words += ["-p", self._port]
        if "identity" in self._files:
            words += ["-i", self._files["identity"], "-o", "IdentitiesOnly=yes"]
        if "known_hosts" in self._files:
            words += ["-o", f'UserKnownHostsFile="{self._files["known_hosts"]}"', "-o", "GlobalKnownHostsFile=none"]
        return [*words, "--", self._login]

    def explain(self, status: int | None, said: str) -> tuple[str, str]:
        """What happened and what to do, from ssh's exit status and messages, or from what the other end said."""
        if status == _SSH_FAILED:
            return self._why_ssh_failed(said)
        if explained := not_started(said, self._copying):
            return f"the agent on {self._host} did not start: {explained[0]}", explained[1]
        how = "closed its output" if status is None else "ended" if status == 0 else f"exited with status {status}"
        words = last_line(said)
        by_hand = f"see why: ssh{self._files_and_port()} {self._login}, and start it there by hand"
        return f"agent on {self._host} {how}", f"its last words were: {words}" if words else by_hand

    def _why_ssh_failed(self, said: str) -> tuple[str, str]:
        for pattern, what, next_step in _MESSAGES:
            if found := re.search(pattern, said):
                named = next((name for name in found.groups() if name), self._host)[:100]
                places = {
                    "named": "".join(c for c in named if c.isprintable()),
                    "quoted": shlex.quote(named),
                    "login": self._login,
                    "port": self._port or "22",
                    "options": self._files_and_port(),
                    "file": f" -f {shlex.quote(self._files['known_hosts'])}" if "known_hosts" in self._files else "",
                }
                return what.format(**places), next_step.format(**places)
        if words := last_line(said):
            return f"ssh to {self._host} failed", f"it said: {words}"
        return f"the agent on {self._host} was killed", "it may be out of memory: look at `dmesg` there"

    def _files_and_port(self, port: str = " -p") -> str:
        """Options that a user needs to take the same way by hand."""
        words = f"{port} {self._port}" if self._port else ""
        if "identity" in self._files:
            words += f" -i {shlex.quote(self._files['identity'])}"
        if "known_hosts" in self._files:
            words += f" -o UserKnownHostsFile={shlex.quote(self._files['known_hosts'])}"
        return words

    def _copying(self, path: str) -> str:
        """The command that puts agent.pyz where it was sought."""
        return f"scp{self._files_and_port(' -P')} agent.pyz {self._scp_login()}:{shlex.quote(path)}"

    def _scp_login(self) -> str:
        """The login as scp wants it: an address of IPv6 in brackets."""
        return self._login.replace(self._host, f"[{self._host}]") if ":" in self._host else self._login


def _is_path(option: str, value: str) -> bool:
    """Whether it is a known option whose value can stand between quotes in a configuration."""
    return option in _OPTIONS and value.isprintable() and value != "" and not set(value) & set('"\\%$')


_MESSAGES = (
    (
        r"[Hh]ost key for (\S+) has changed",
        "the host key of {named} has changed: another machine may be in its place",
        "only if it was set up anew: ssh-keygen{file} -R {quoted}, then compare and add the new key as at first",
    ),
    (
        r"[Hh]ost key for (\S+) (?:is|was) revoked|REVOKED HOST KEY",
        "the host key of {named} is revoked",
        "do not connect; ask who revoked it",
    ),
    (
        r"host key is known for (\S+) and you|Host key verification failed",
        "the host key of {named} is not known",
        "compare its fingerprint and add it by hand: ssh -o StrictHostKeyChecking=ask{options} {login} true"
        " (on the device: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub)",
    ),
    (
        r"Identity file (\S+) not accessible",
        "there is no key {named}",
        "correct ?identity=, or make one: ssh-keygen -t ed25519 -f {quoted}",
    ),
    (
        r"UNPROTECTED PRIVATE KEY FILE|bad permissions",
        "others may read the private key, so ssh does not use it",
        "chmod 600 the key",
    ),
    (
        r"(\S{1,200}): Permission denied \(",
        "{named} may not log in: permission denied",
        "copy your public key there: ssh-copy-id{options} {login}; one with a passphrase goes into ssh-agent: ssh-add",
    ),
    (
        r"Could not resolve hostname ([^\s:]+)",
        "no host is named {named}",
        "correct the name, or add it to ~/.ssh/config or /etc/hosts",
    ),
    (
        r"connect to host (\S+) port \d+: Connection refused",
        "{named} refuses ssh connections",
        "start sshd on it, or correct the port (it is {port})",
    ),
    (
        r"connect to host (\S+) port \d+: (?:No route|Network is unreach|Host is down)",
        "there is no way to {named}",
        "check its power, its address and the network",
    ),
    (
        r"connect to host (\S+) port \d+: .*timed out|Timeout, server (\S+) not responding|timed out",
        "{named} does not answer",
        "check its power, its address and the network",
    ),
    (
        r"Connection (?:closed|reset) by|kex_exchange_identification|Broken pipe|closed by remote host",
        "the connection to {named} was lost",
        "see whether it rebooted or runs out of memory, then run again",
    ),
)
"""What OpenSSH (7 to 10) writes, in the order of cause; what it means; what to do next."""
