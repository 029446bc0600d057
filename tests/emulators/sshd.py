"""A real sshd (OpenSSH's) on loopback, with a host key, an authorized key and known hosts of its own in a folder."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Sshd:
    """Runs until it is closed; only the user of this process can log in, by `identity`, from this machine."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.folder, self.user = folder, pwd.getpwuid(os.getuid()).pw_name
        self.identity, self.known_hosts = folder / "identity", folder / "known_hosts"
        folder.mkdir(parents=True, exist_ok=True)
        for key in (folder / "host_key", self.identity):
            make_key(key)
        shutil.copy(f"{self.identity}.pub", folder / "authorized_keys")
        if os.getuid() == 0:  # where sshd drops its rights; Debian's service makes it at start
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._settings = settings
        for _ in range(3):  # the port may be taken between choosing and listening
            self.port = free_port()
            if self._start():
                break
        else:
            raise RuntimeError(f"sshd does not start: {self.log()}")
        host_key = (folder / "host_key.pub").read_text()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {host_key}")

    def url(self, known_hosts: Path | None = None, identity: Path | None = None) -> str:
        files = f"identity={identity or self.identity}&known_hosts={known_hosts or self.known_hosts}"
        return f"ssh://{self.user}@127.0.0.1:{self.port}?{files}"

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def __enter__(self) -> "Sshd":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it; sessions that are open end by themselves when their clients do."""
        self._process.terminate()
        self._process.wait(10)

    def _start(self) -> bool:
        config = self.folder / "config"
        config.write_text("\n".join((*configuration(self.folder, self.port), *self._settings)) + "\n")
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(config)], stderr=log, stdin=-3)
        while self._process.poll() is None:
            if "Server listening" in self.log():
                return True
            time.sleep(0.01)
        return False


def configuration(folder: Path, port: int) -> Sequence[str]:
    return (
        "ListenAddress 127.0.0.1",
        f"Port {port}",
        f"HostKey {folder}/host_key",
        f"AuthorizedKeysFile {folder}/authorized_keys",
        "PidFile none",
        "StrictModes no",  # the folder of a test may be anywhere
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        "PermitUserRC no",
        "PrintMotd no",
        "PrintLastLog no",
        "MaxStartups 100",
    )


def make_key(path: Path) -> None:
    """A new ed25519 key without a passphrase, and its public half beside it."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, stdin=-3)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])
