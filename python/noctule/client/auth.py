"""Enhanced authentication, MQTT 5.0 §4.12: mechanisms that speak over several AUTH packets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from noctule.client.errors import AuthenticationError

if TYPE_CHECKING:
    from scramp import ScramClient

__all__ = ["Mechanism", "scram"]


class Mechanism(Protocol):
    """One run of an authentication; a new one is made for each connection.

    `method` is what CONNECT names. `start` returns the data that CONNECT, or the AUTH of a
    re-authentication, carries. `step` answers the server's AUTH. `finish` gets the data of
    CONNACK, or of the AUTH that ends a re-authentication. Each raises AuthenticationError
    where the server's data is wrong, and then the connection is closed.
    """

    method: str

    def start(self) -> bytes | None:
        """The first data."""

    def step(self, data: bytes | None) -> bytes | None:
        """The answer to the server's data."""

    def finish(self, data: bytes | None) -> None:
        """Checks the server's last data."""


def scram(
    user_name: str, password: str, *, method: str = "SCRAM-SHA-256"
) -> Callable[[], Mechanism]:
    """SCRAM as RFC 5802 and RFC 7677 have it, with SHA-256 or SHA-512.

        noctule.connect(url, authentication=scram("user", "secret"))

    The password itself is never sent, and the server has to show that it knows it too.
    Needs the package `scramp` (``pip install noctule[scram]``). `method` is SCRAM-SHA-256
    or SCRAM-SHA-512.
    """
    if method not in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
        raise AuthenticationError(f"{method!r} is neither SCRAM-SHA-256 nor SCRAM-SHA-512")
    return lambda: _Scram(user_name, password, method)


class _Scram:
    def __init__(self, user_name: str, password: str, method: str) -> None:
        self.method = method
        self._user_name = user_name
        self._password = password
        self._exchange: ScramClient | None = None

    def start(self) -> bytes:
        try:
            from scramp import ScramClient
        except ImportError as error:
            raise AuthenticationError("SCRAM needs: pip install noctule[scram]") from error
        self._exchange = ScramClient([self.method], self._user_name, self._password)
        return str(self._exchange.get_client_first()).encode()

    def step(self, data: bytes | None) -> bytes:
        from scramp import ScramException

        exchange = self._running()
        try:
            exchange.set_server_first((data or b"").decode())
            return str(exchange.get_client_final()).encode()
        except (ScramException, ValueError) as error:
            raise AuthenticationError(f"{self.method}: {error}") from error

    def finish(self, data: bytes | None) -> None:
        from scramp import ScramException

        try:
            self._running().set_server_final((data or b"").decode())
        except (ScramException, ValueError) as error:
            raise AuthenticationError(f"{self.method}: {error}") from error

    def _running(self) -> ScramClient:
        if self._exchange is None:
            raise AuthenticationError(f"{self.method} has not been started")
        return self._exchange
