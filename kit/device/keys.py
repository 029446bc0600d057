"""Make the key that a host and a TCP agent share (see kit.wire.secure); needs the extra `keys`."""

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path

from kit.errors import MissingExtraError, StoreError

NOT_BEFORE, NOT_AFTER = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""A board without a clock starts in 1970; the end is RFC 5280's for "none" (4.1.2.5). A key ends when it is deleted."""


def make_key(path: str | Path) -> None:
    """Write a new private key (P-256, which every TLS 1.3 has: RFC 8446, 9.1) and its certificate, mode 0600.

    Raises StoreError if `path` exists or cannot be written, MissingExtraError without `cryptography`.
    """
    data = _new_key()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except FileExistsError:
        what, fix = "there is a file already, and a key is never overwritten", "choose another name, or remove it"
        raise StoreError(what, where=os.fspath(path), next_step=fix) from None
    except OSError as error:
        raise _cannot_write(path, error) from None
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(path).unlink()  # half a key is none
        raise _cannot_write(path, error) from None


def _new_key() -> bytes:
    """A private key and its self-signed certificate, which can sign no other, in PEM."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise MissingExtraError(
            "making a key needs the package cryptography", next_step="pip install 'edgeproof[keys]'"
        ) from None
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "edgeproof key")])
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number(), NOT_BEFORE, NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return private.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(pem)


def _cannot_write(path: str | Path, error: OSError) -> StoreError:
    fix = "look at the space, the permissions and the path"
    return StoreError(f"cannot write the key: {error.strerror}", where=os.fspath(path), next_step=fix)
