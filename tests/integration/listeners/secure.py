"""TLS from a client's side, with everything that a test may want to choose, and to see."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.conformance.certificates import folder
from tests.integration.broker.wire import Connection

__all__ = [
    "BOTH",
    "CERTIFICATES",
    "SERVER",
    "TLS_1_2",
    "TLS_1_3",
    "VERSIONS",
    "SecureConnection",
    "outcome",
    "trusting",
]

CERTIFICATES = folder()
SERVER = {
    "scheme": "mqtts",
    "port": 0,
    "tls_certificate": str(CERTIFICATES / "server.pem"),
    "tls_key": str(CERTIFICATES / "server.key"),
}
"""A listener of 127.0.0.1 and localhost with a certificate."""

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = (TLS_1_2, TLS_1_3)
BOTH = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
"""Has a test run once with each version, as its `version`."""


def trusting(
    authority: Path = CERTIFICATES / "authority.pem",
    *,
    shows: Path | None = None,
    version: ssl.TLSVersion | None = None,
    protocols: tuple[str, ...] = (),
) -> ssl.SSLContext:
    """A client's TLS that trusts `authority`, and shows the certificate in `shows`.

    It speaks `version` alone, where there is one, and offers application `protocols`.
    """
    context = ssl.create_default_context(cafile=str(authority))
    if shows is not None:
        context.load_cert_chain(shows, shows.with_suffix(".key"))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


class SecureConnection(Connection):
    """A blocking connection in TLS; `ahead` goes out in clear in front of everything."""

    socket: ssl.SSLSocket

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext,
        name: str | None = "localhost",
        *,
        session: ssl.SSLSession | None = None,
        ahead: bytes = b"",
    ) -> None:
        super().__init__(port)
        self.socket.sendall(ahead)
        self.socket = context.wrap_socket(self.socket, server_hostname=name, session=session)

    @property
    def certificate(self) -> x509.Certificate:
        """What the broker has shown."""
        shown = self.socket.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown)


def outcome(port: int, context: ssl.SSLContext, name: str = "localhost", **given: Any) -> str:
    """How a client fares: `welcome`, or what TLS said on either side.

    At 1.3 a client's own handshake ends before its certificate is judged: only what comes in
    answer to CONNECT tells.
    """
    try:
        with SecureConnection(port, context, name, **given) as connection:
            connection.open("client")
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except ssl.SSLError as error:
        # Not every version of Python has a name for every alert.
        return (error.reason or str(error)).lower().replace("_", " ")
    except ConnectionError as error:
        return type(error).__name__
    return "welcome"
