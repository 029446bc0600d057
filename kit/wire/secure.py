"""A shared key makes TCP private: TLS 1.3 (RFC 8446) where both sides prove that they hold the same key file.

The file is one private key and its self-signed certificate (PEM). Each side trusts that one certificate and no other,
demands the peer's, and compares it byte for byte, so there is no name, no authority and nothing older to fall back to.
"""

import contextlib
import os
import re
import socket
import ssl
import stat
from pathlib import Path

from kit.errors import SpecError

MAX_KEY_BYTES = 64 << 10
MAKE_ONE = "make one with: edgeproof agent key -o scanner.key"
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\n[^-]*-----END CERTIFICATE-----")


class Key:
    """A key file, read and checked. Raises SpecError if it is missing, no key, or readable by others."""

    def __init__(self, path: str | Path) -> None:
        self._path = os.fspath(path)
        self.certificate = _read_certificate(self._path)
        self._contexts = {server_side: self._context(server_side) for server_side in (False, True)}

    def wrap(self, connection: socket.socket, *, server_side: bool) -> ssl.SSLSocket:
        """The connection as a TLS socket, before its handshake; `connection` itself is spent."""
        context = self._contexts[server_side]
        return context.wrap_socket(connection, server_side=server_side, do_handshake_on_connect=False)

    def shake_hands(self, secured: ssl.SSLSocket, timeout_s: float) -> None:
        """Prove ourselves and have the peer do so.

        Raises ssl.SSLError if it is not TLS 1.3 or holds another key, TimeoutError after `timeout_s`, else OSError.
        """
        secured.settimeout(timeout_s)
        secured.do_handshake()
        if secured.getpeercert(binary_form=True) != self.certificate:
            raise ssl.SSLCertVerificationError("the peer holds another key")

    def _context(self, server_side: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # the certificate itself is compared, which says more than a name
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=self.certificate)
        if server_side:
            context.num_tickets = 0  # no session is resumed: every connection proves itself anew
        try:
            context.load_cert_chain(self._path, password="")  # never ask on the terminal
        except (ssl.SSLError, ValueError, OSError):
            raise _no_key(self._path, "holds no private key that fits its certificate") from None
        return context


def _read_certificate(path: str) -> bytes:
    """The file's one certificate (DER), if only its owner can read the file."""
    try:
        with open(path, "rb", opener=_opened_at_once) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _no_key(path, "is no file")
            text = stream.read(MAX_KEY_BYTES + 1).decode("ascii", "replace")
    except OSError as error:
        raise SpecError(f"cannot read the key: {error.strerror}", where=path, next_step=MAKE_ONE) from None
    if stat.S_IMODE(status.st_mode) & 0o077:
        what = f"others can read this key (mode {stat.S_IMODE(status.st_mode):04o})"
        raise SpecError(what, where=path, next_step=f"chmod 600 {path}, or make a new one if they may have")
    found = _CERTIFICATE.findall(text)
    if len(found) != 1 or len(text) > MAX_KEY_BYTES:
        raise _no_key(path, "is no key file: it needs one private key and one certificate")
    with contextlib.suppress(ValueError, ssl.SSLError):
        certificate = ssl.PEM_cert_to_DER_cert(found[0])
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificate)
        return certificate
    raise _no_key(path, "holds a certificate that cannot be read")


def _opened_at_once(path: str, flags: int) -> int:
    """A descriptor, without waiting for whoever would write into a pipe."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _no_key(path: str, what: str) -> SpecError:
    return SpecError(what, where=path, next_step=MAKE_ONE)
