"""Certificates of the tests' own authority, made once for each process.

authority.pem            whom to trust, on either side
server.pem, server.key   of localhost and 127.0.0.1
authorities.pem          that authority, and a branch of it
branch.pem, branch.key   of localhost and 127.0.0.1, issued by the branch; without the chain
NAME.pem, NAME.key       of clients: good, expired, revoked, one without alternative names
                         (nameless), and one of a foreign authority
revocations.pem          the authority's revocation list
"""

import atexit
import shutil
import ssl
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["DAY", "Authority", "client_context", "folder"]

DAY = timedelta(days=1)
HERE = ("localhost", "127.0.0.1")


@cache
def folder() -> Path:
    """Where they are."""
    path = Path(tempfile.mkdtemp(prefix="noctule-certificates-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    now = datetime.now(UTC)
    authority, foreign = Authority("authority"), Authority("foreign authority")
    (path / "authority.pem").write_bytes(authority.pem)
    authority.issue(path, "server", now + DAY)
    branch = Authority("branch authority", behalf_of=authority)
    leaf = branch.issue(path, "branch", now + DAY)
    (path / "branch.pem").write_bytes(_pem(leaf))
    (path / "authorities.pem").write_bytes(authority.pem + branch.pem)
    authority.issue(path, "good", now + DAY)
    authority.issue(path, "nameless", now + DAY, names=())
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
    """Signs certificates and revocation lists; by itself, or on behalf of another one."""

    def __init__(self, name: str, behalf_of: "Authority | None" = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        now = datetime.now(UTC)
        issuer = behalf_of or self
        builder = _builder(self._name, self._key.public_key(), issuer._name, now + DAY)
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
        if behalf_of is not None:
            builder = builder.add_extension(behalf_of._identifier(), critical=False)
        self.certificate = builder.sign(issuer._key, hashes.SHA256())
        self.chain: bytes = b"" if behalf_of is None else self.pem + behalf_of.chain

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return _pem(self.certificate)

    def issue(
        self,
        path: Path,
        name: str,
        expires: datetime,
        *,
        names: Iterable[str] = HERE,
        usage: x509.ObjectIdentifier | None = None,
    ) -> x509.Certificate:
        """Write a certificate for `name`, with its chain, and its key.

        It is good for two days until `expires`, for these host `names` and addresses, and for
        everything, or for `usage` alone.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(name), key.public_key(), self._name, expires)
        alternative = [_general_name(each) for each in names]
        if alternative:
            extension = x509.SubjectAlternativeName(alternative)
            builder = builder.add_extension(extension, critical=False)
        builder = builder.add_extension(self._identifier(), critical=False)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        (path / f"{name}.pem").write_bytes(_pem(certificate) + self.chain)
        (path / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate

    def revocation_list(self, *revoked: x509.Certificate, ends: datetime | None = None) -> bytes:
        """The list that revokes these, as PEM; it is to be renewed before it `ends`."""
        now = datetime.now(UTC)
        ends = ends or now + DAY
        entries = [
            x509.RevokedCertificateBuilder(each.serial_number, now - DAY).build()
            for each in revoked
        ]
        builder = x509.CertificateRevocationListBuilder(
            self._name, min(now, ends) - DAY, ends, revoked_certificates=entries
        )
        builder = builder.add_extension(self._identifier(), critical=False)
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())


def _general_name(text: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ip_address(text))
    return x509.DNSName(text)


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
