"""What ends a command, in words that say what to do.

CommandError                 what happened, and the exit code
├── ConnectError             there is no connection
├── RefusedError             CONNACK with an error; its reason code is the exit code
└── LostError                a connection that stood has ended
"""

from __future__ import annotations

import errno
import os
import socket

from noctule.protocol import ReasonCode, ReturnCode, Version

__all__ = [
    "CONNECTION_LOST",
    "HTTP",
    "TIMED_OUT",
    "TLS_ALERT",
    "CommandError",
    "ConnectError",
    "LostError",
    "RefusedError",
    "connect_error",
    "hung_up",
    "told",
]

# How an answer begins that is none of MQTT: a record with an alert, and a status line.
TLS_ALERT = b"\x15\x03"
HTTP = b"HT"

# Exit codes, as Mosquitto's tools have them. A refusal's is the code in CONNACK.
CONNECTION_LOST = 7
TIMED_OUT = 27


class CommandError(Exception):
    """A command cannot go on: what happened, and what to do about it."""

    exit_code = 1

    def __init__(self, what: str, advice: str = "", exit_code: int | None = None) -> None:
        super().__init__(f"{what}: {advice}" if advice else what)
        self.what = what
        self.advice = advice
        if exit_code is not None:
            self.exit_code = exit_code


class ConnectError(CommandError):
    """No connection could be opened: name, network, TLS, proxy, or time."""


class RefusedError(CommandError):
    """The server has answered CONNECT with an error."""

    def __init__(self, code: ReasonCode | ReturnCode, reason: str | None) -> None:
        said = f" ({reason})" if reason else ""
        super().__init__(
            f"the server refused, with {told(code)}{said}", ADVICE.get(code.name, ""), int(code)
        )
        self.code = code


class LostError(CommandError):
    """A connection that stood has ended.

    `is_final` where another would fare no better, `is_silent` where nothing was said before.
    """

    exit_code = CONNECTION_LOST

    def __init__(
        self,
        what: str,
        exit_code: int | None = None,
        *,
        is_final: bool = False,
        is_silent: bool = False,
    ) -> None:
        super().__init__(what, "", exit_code)
        self.is_final = is_final
        self.is_silent = is_silent


ADVICE = {
    "NOT_AUTHORIZED": "check -u and the password, by NOCTULE_PASSWORD, "
    "--password-file or --ask-password, or ask who runs the broker for the right",
    "BAD_USER_NAME_OR_PASSWORD": "check -u and the password",
    "UNSUPPORTED_PROTOCOL_VERSION": "try another version with -V",
    "UNACCEPTABLE_PROTOCOL_VERSION": "try another version with -V",
    "CLIENT_IDENTIFIER_NOT_VALID": "give another client identifier with -i",
    "IDENTIFIER_REJECTED": "give another client identifier with -i",
    "SERVER_UNAVAILABLE": "try again later",
    "SERVER_BUSY": "try again later",
    "BANNED": "ask who runs the broker",
    "USE_ANOTHER_SERVER": "connect there",
    "SERVER_MOVED": "connect there",
}


def told(code: ReasonCode | ReturnCode) -> str:
    """``0x87 not authorized``."""
    return f"0x{code:02X} {code.name.lower().replace('_', ' ')}"


def connect_error(where: str, error: OSError, *, is_secure: bool, timeout: float) -> ConnectError:
    """What a failed attempt means, for somebody who wants it to succeed."""
    if isinstance(error, socket.gaierror):
        host = where.rpartition(":")[0]
        return ConnectError(f"no host is known as {host}", "check the spelling, and the network")
    if isinstance(error, TimeoutError):
        return ConnectError(
            f"no answer from {where} within {timeout:g} s",
            "check host and port; a firewall may be in the way",
        )
    if type(error).__module__ == "ssl":
        return _tls_error(where, error)
    if isinstance(error, ConnectionRefusedError):
        return ConnectError(f"connection refused at {where}", _is_it_there(where, is_secure))
    if isinstance(error, FileNotFoundError):
        return ConnectError(f"there is no socket {where}", "does the broker run, and listen there?")
    if error.errno == errno.EADDRNOTAVAIL:
        return ConnectError(f"cannot connect to {where}", "this machine has no address like -A")
    text = os.strerror(error.errno) if error.errno else str(error)
    return ConnectError(f"cannot connect to {where}, {text.lower()}", "check host and port")


def _is_it_there(where: str, is_secure: bool) -> str:
    host = where.rpartition(":")[0].strip("[]")
    if host in ("localhost", "::1") or host.startswith("127."):
        return "is a broker running? `noctule serve` starts one"
    if is_secure:
        return "is that the broker's port for TLS? Mostly it is 8883"
    return "is that the broker's port? Mostly it is 1883, and with TLS (--tls) 8883"


def _tls_error(where: str, error: OSError) -> ConnectError:
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message
        advice = "--cafile names the certificate of who signed it"
        if "hostname" in said.lower() or "IP address" in said:
            advice = "connect by the name that it is made for"
        elif "expired" in said or "not yet" in said:
            advice = "it has to be renewed; or the clock of this machine is wrong"
        return ConnectError(f"the certificate of {where} does not hold ({said})", advice)
    # Without a reason the text is "[SSL] what (_ssl.c:1006)".
    said = str(error).partition("] ")[2].partition(" (_ssl")[0] or str(error)
    reason = (getattr(error, "reason", None) or said).lower().replace("_", " ")
    if "version number" in reason or "record layer" in reason or "unexpected eof" in reason:
        return ConnectError(
            f"{where} does not speak TLS ({reason})", "leave TLS out, or give the port for it"
        )
    if "certificate required" in reason or "handshake failure" in reason:
        return ConnectError(
            f"TLS with {where} failed ({reason})",
            "the server may ask for a certificate of ours: --cert and --key",
        )
    if "alert" in reason and ("certificate" in reason or "unknown ca" in reason):
        return ConnectError(
            f"{where} does not take our certificate ({reason})",
            "check --cert and --key; who runs the broker knows whose signature it asks for",
        )
    return ConnectError(
        f"TLS with {where} failed ({reason})", "check --tls-version, --ciphers, --cert and --key"
    )


def hung_up(where: str, version: Version, first: bytes = b"") -> ConnectError:
    """The server closed the connection where CONNACK should have come; `first` came instead."""
    if first[:2] == TLS_ALERT:
        return ConnectError(f"{where} speaks TLS", "use it: --cafile FILE, or --tls")
    if first[:2] == HTTP:
        return ConnectError(f"{where} speaks HTTP", "give the port for MQTT, or --ws")
    name = "MQTT 5.0" if version is Version.V5 else "this version of MQTT"
    return ConnectError(
        f"{where} hung up without an answer",
        f"it may want TLS (--tls) or WebSocket (--ws), or not speak {name} (-V)",
    )
