"""The TLS context that the options ask for."""

from __future__ import annotations

import ssl

from noctule.cli.flags.settings import Settings, UsageError

__all__ = ["tls_context"]

VERSIONS = {
    "tlsv1.3": ssl.TLSVersion.TLSv1_3,
    "tlsv1.2": ssl.TLSVersion.TLSv1_2,
    "tlsv1.1": ssl.TLSVersion.TLSv1_1,
}


def tls_context(settings: Settings) -> ssl.SSLContext:
    """A context that checks certificate and name; UsageError for files that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if settings.cafile or settings.capath:
            context.load_verify_locations(settings.cafile, settings.capath)
        else:
            context.load_default_certs()
    except OSError as error:  # ssl.SSLError is one, too
        name = "--cafile" if settings.cafile else "--capath"
        raise UsageError(f"{name} {settings.cafile or settings.capath}: {_said(error)}") from error
    try:
        if settings.cert is not None:
            context.load_cert_chain(settings.cert, settings.key)
    except OSError as error:
        given = f"--cert {settings.cert}, --key {settings.key}"
        raise UsageError(f"{given}: {_said(error)}") from error
    try:
        if settings.ciphers is not None:
            context.set_ciphers(settings.ciphers)
    except ssl.SSLError as error:
        raise UsageError(f"--ciphers {settings.ciphers}: {_said(error)}") from error
    if settings.tls_version is not None:
        context.minimum_version = context.maximum_version = VERSIONS[settings.tls_version]
    if settings.tls_alpn is not None:
        context.set_alpn_protocols([settings.tls_alpn])
    if settings.tls_keylog is not None:
        try:
            context.keylog_filename = settings.tls_keylog
        except OSError as error:
            raise UsageError(f"--tls-keylog {settings.tls_keylog}: {_said(error)}") from error
    context.check_hostname = not settings.insecure
    return context


def _said(error: OSError) -> str:
    """What OpenSSL or the system say, without their numbers."""
    reason = getattr(error, "reason", None)
    if reason:
        return str(reason).lower().replace("_", " ")
    text = error.strerror or str(error)
    if isinstance(error, ssl.SSLError):
        return "there is no certificate or key in it (PEM)" if "[SSL]" in text else text
    return text.lower()
