"""A client whose session is made, and ended for good by a clean start."""

from tests.conformance.wire import Client, ClosedError

from .peer import NEVER_EXPIRES, Address

__all__ = ["SessionEnder"]


class SessionEnder:
    """Knows whether the broker may, must or must not have its session."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.possible = {False}

    def check(self, address: Address) -> None:
        """Connect to the session there may be; from then on there must be one."""
        with Client(address, client_id=self.name) as client:
            connack = client.connect(clean=False, session_expiry_interval=NEVER_EXPIRES)
            present = connack.session_present
            assert present in self.possible, f"session present is {present}, not {self.possible}"
        self.possible = {True}

    def end(self, address: Address) -> None:
        """Start clean, with a session that ends with the connection. CONNACK is a promise."""
        self.possible = {True, False}
        try:
            with Client(address, client_id=self.name) as client:
                client.connect(clean=True)
                self.possible = {False}
        except TimeoutError:
            raise
        except (ClosedError, OSError):
            return
