"""Clients whose name the transport vouches for: a client certificate, a Unix socket's peer."""

from noctule.access.chain import Identity, Verdict
from noctule.broker import AuthenticationRequest

__all__ = ["Peer"]


class Peer:
    """Takes that name as the user name, whatever CONNECT says.

    Of a certificate it is the first alternative name, or the common name, or, with
    `whole_subject`, the subject as RFC 4514 writes it.
    """

    def __init__(self, *, whole_subject: bool = False) -> None:
        self._whole_subject = whole_subject

    async def identify(self, request: AuthenticationRequest) -> Verdict:
        """The user of that name; nothing is known of other clients."""
        name = request.peer_name
        if self._whole_subject and request.certificate_subject is not None:
            name = request.certificate_subject
        return None if not name else Identity(name)

    async def close(self) -> None:
        """Nothing is held."""
