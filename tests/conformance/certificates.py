"""Certificates of the tests' own authority, made once for each process.

authority.pem            whom to trust, on either side
server.pem, server.key   of localhost and 127.0.0.1
NAME.pem, NAME.key       of clients: good, expired, revoked, and one of a foreign authority
revocations.pem          the authority's revocation list
"""

import atexit
import shutil
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["client_context", "folder"]

DAY = timedelta(days=1)


@cache
def folder() -> Path:
    """Where they are."""
    path = Path(tempfile.mkdtemp(prefix="noctule-certificates-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    now = datetime.now(UTC)
    authority, foreign = Authority("authority"), Authority("foreign authority")
    (path / "authority.pem").write_bytes(_pem(authority.certificate))
    authority.issue(path, "server", now + DAY)
    authority.issue(path, "good", now + DAY)
    authority.issue(path, "expired", now - DAY)
    revoked = authority.issue(path, "revoked", now + DAY)
    foreign.issue(path, "foreign", now + DAY)
    (path / "revocations.pem").write_bytes(authority.revocation_list(revoked))
    return path


def client_context(name: str = "") -> ssl.SSLContext:
    """A client's TLS that trusts the authority, and shows the certificate `name`."""
    context = ssl.create_default_context(cafile=str(folder() / "authority.pem"))
    if name:
        context.load_cert_chain(folder() / f"{name}.pem", folder() / f"{name}.key")
    return context


class Authority:
    """Signs certificates and a revocation list."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        now = datetime.now(UTC)
        builder = _builder(self._name, self._key.public_key(), self._name, now + DAY)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = builder.add_extension(constraints, critical=True)
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(usage, critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        self.certificate = builder.sign(self._key, hashes.SHA256())

    def issue(self, path: Path, name: str, expires: datetime) -> x509.Certificate:
        """Write a certificate for `name` and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        builder = _builder(_name(name), key.public_key(), self._name, expires)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        (path / f"{name}.pem").write_bytes(_pem(certificate))
        (path / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate

    def revocation_list(self, revoked: x509.Certificate) -> bytes:
        """The list that revokes this one, as PEM."""
        now = datetime.now(UTC)
        entry = x509.RevokedCertificateBuilder(revoked.serial_number, now - DAY)
        builder = x509.CertificateRevocationListBuilder(
            self._name, now - DAY, now + DAY, revoked_certificates=[entry.build()]
        )
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, issuer: x509.Name, expires: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer, subject, key, x509.random_serial_number(), expires - 2 * DAY, expires
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
