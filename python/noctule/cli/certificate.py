"""TLS as a step of `noctule doctor`: the handshake, and the certificate with names and dates."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from noctule.cli.connection.errors import connect_error
from noctule.cli.connection.stream import place
from noctule.cli.connection.tls import tls_context
from noctule.cli.flags.settings import Settings

__all__ = ["examine_tls"]

SOON_DAYS = 21
ALERT_SECONDS = 0.25
DAY_SECONDS = 86_400

Finding = tuple[str, str, str]
"""State, text and advice, as in `Step`."""


def examine_tls(settings: Settings) -> Iterator[Finding]:
    """A handshake as a client would make it, and what the certificate says."""
    began = time.monotonic()
    try:
        with _handshake(settings, tls_context(settings)) as secured:
            cipher = secured.cipher()
            certificate = secured.getpeercert() or {}
            took = (time.monotonic() - began) * 1000
            said = f"{secured.version()} with {cipher[0] if cipher else 'no cipher'}"
            _await_alert(secured)
    except OSError as error:
        failure = connect_error(
            place(settings), error, is_secure=True, timeout=settings.connect_timeout
        )
        yield ("failed", failure.what, failure.advice)
        return
    yield ("ok", f"{said} ({took:.1f} ms)", "")
    yield from _certificate(certificate)


def _handshake(settings: Settings, context: ssl.SSLContext) -> ssl.SSLSocket:
    assert settings.host is not None
    assert settings.port is not None
    source = (settings.bind_address, 0) if settings.bind_address else None
    raw = socket.create_connection((settings.host, settings.port), settings.connect_timeout, source)
    try:
        return context.wrap_socket(raw, server_hostname=settings.host)
    except BaseException:
        raw.close()
        raise


def _await_alert(secured: ssl.SSLSocket) -> None:
    """With TLS 1.3 the server looks at our certificate after the handshake, and says so then."""
    secured.settimeout(ALERT_SECONDS)
    with suppress(TimeoutError):
        secured.recv(1)


def _certificate(certificate: dict[str, Any]) -> Iterator[Finding]:
    names = ", ".join(value for _, value in certificate.get("subjectAltName", ()))
    issuer = _common_name(certificate.get("issuer", ()))
    yield ("ok", f"the certificate is for {names or 'nobody'}, signed by {issuer}", "")
    end = certificate.get("notAfter")
    if end is None:
        return
    days = (ssl.cert_time_to_seconds(end) - time.time()) / DAY_SECONDS
    if days < SOON_DAYS:
        yield ("warning", f"the certificate ends in {days:.0f} days, on {end}", "renew it")
    else:
        yield ("ok", f"it holds for {days:.0f} days, until {end}", "")


def _common_name(name: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    parts = {key: value for entry in name for key, value in entry}
    return parts.get("commonName") or parts.get("organizationName") or "somebody without a name"
