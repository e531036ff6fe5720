"""The certificates that a listener shows, on a live broker."""

import socket
import ssl
from pathlib import Path

import pytest

from tests.conformance.certificates import client_context, folder
from tests.served_broker import ServedBroker

SECONDS = 30


def shake_hands(port: int) -> str | None:
    """The version of TLS that a client speaks who knows the root alone."""
    with (
        socket.create_connection(("127.0.0.1", port), SECONDS) as bare,
        client_context().wrap_socket(bare, server_hostname="localhost") as secure,
    ):
        return secure.version()


UNREADABLE = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"


def test_chains_are_completed(tmp_path: Path) -> None:
    authorities = folder() / "authorities.pem"
    chain = tmp_path / "chain.pem"
    chain.write_text(UNREADABLE + authorities.read_text())
    own = f"tls_certificate={folder()}/branch.pem&tls_key={folder()}/branch.key"
    listen = f"mqtts://127.0.0.1:0?{own}"
    with (
        ServedBroker("--durability", "memory", listen=listen) as broker,
        pytest.raises(ssl.SSLCertVerificationError, match="local issuer"),
    ):
        shake_hands(broker.port)
    for more in (f"tls_chain={chain}", f"client_certificates=optional&client_ca={authorities}"):
        with ServedBroker("--durability", "memory", listen=f"{listen}&{more}") as broker:
            assert shake_hands(broker.port) == "TLSv1.3"
