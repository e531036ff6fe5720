"""Keeps a client connected: attempts, refusals, references to other servers, patience."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from noctule.client._connection import Connection
from noctule.client._transports import open_transport, tls_context
from noctule.client.auth import Mechanism
from noctule.client.errors import (
    ConnectionEndedError,
    ConnectionFailedError,
    ConnectionRefusedByServerError,
    told,
)
from noctule.client.options import ClientOptions, Credentials, Reconnect
from noctule.client.states import Connected, Connecting, Reconnecting, StateStreams
from noctule.client.url import Address
from noctule.protocol._tables import PropertyId, ReasonCode, ReturnCode
from noctule.protocol.errors import NoctuleError
from noctule.protocol.events import (
    AuthenticationContinued,
    Disconnected,
    Reauthenticated,
    Refused,
)
from noctule.protocol.events import Connected as ConnectedEvent
from noctule.protocol.packets import Version
from noctule.protocol.session import ClientSession

if TYPE_CHECKING:
    from noctule.client.client import Client

__all__ = ["Supervisor"]

logger = logging.getLogger("noctule.client")

MAX_REFERENCES = 5
"""How often servers may send a client on, one after the other."""

BUSY_FACTOR = 4
"""How much longer to wait for a server that says that it has too much to do."""

FINAL = frozenset(
    {
        ReasonCode.MALFORMED_PACKET,
        ReasonCode.PROTOCOL_ERROR,
        ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
        ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
        ReasonCode.BANNED,
        ReasonCode.BAD_AUTHENTICATION_METHOD,
        ReasonCode.TOPIC_NAME_INVALID,
        ReasonCode.PACKET_TOO_LARGE,
        ReasonCode.PAYLOAD_FORMAT_INVALID,
        ReasonCode.RETAIN_NOT_SUPPORTED,
        ReasonCode.QOS_NOT_SUPPORTED,
        ReasonCode.SESSION_TAKEN_OVER,
    }
)
"""After these another attempt would fare no better."""

CREDENTIALS = frozenset({ReasonCode.BAD_USER_NAME_OR_PASSWORD, ReasonCode.NOT_AUTHORIZED})
"""After these too, unless a callback may come up with better ones."""

BUSY = frozenset(
    {
        ReasonCode.SERVER_BUSY,
        ReasonCode.CONNECTION_RATE_EXCEEDED,
        ReasonCode.QUOTA_EXCEEDED,
        ReasonCode.MESSAGE_RATE_TOO_HIGH,
    }
)
ELSEWHERE = frozenset({ReasonCode.USE_ANOTHER_SERVER, ReasonCode.SERVER_MOVED})
FINAL_RETURNS = frozenset(ReturnCode) - {
    ReturnCode.CONNECTION_ACCEPTED,
    ReturnCode.SERVER_UNAVAILABLE,
}
CREDENTIALS_RETURNS = frozenset({ReturnCode.BAD_USER_NAME_OR_PASSWORD, ReturnCode.NOT_AUTHORIZED})


class Supervisor:
    """Runs as a task for as long as its client is open; ends with the error that is final."""

    def __init__(
        self, client: Client, address: Address, options: ClientOptions, states: StateStreams
    ) -> None:
        self._client = client
        self._home = self._address = address
        self._options = options
        self._states = states
        self._tls = tls_context(options.tls, address.is_secure)
        self.connection: Connection | None = None
        self._opened: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[Exception] | None = None
        self._reason: Exception | None = None
        self._mechanism: Mechanism | None = None
        self._reauthentication: asyncio.Future[None] | None = None
        self._references = 0
        # CONNECTs without an answer that the server may yet come to read.
        self._unanswered = 0

    # --- The task ---------------------------------------------------------------------

    async def run(self, first: Callable[[], None]) -> None:
        """Connects, and again whenever that is lost; `first` is called the first time.

        Raises what ends it: a refusal that is final, too many attempts, or, without
        `Reconnect`, any end of the connection. Returns where the client has failed meanwhile.
        """
        loop = asyncio.get_running_loop()
        attempt = 0
        self._states.set(Connecting())
        while True:
            connected_at: float | None = None
            try:
                await self._connect()
                connected_at = loop.time()
                first()
                if self._client._failure is not None:
                    return
                assert self._ended is not None
                error = await self._ended
            except (NoctuleError, OSError) as failure:
                error = failure
            finally:
                self._drop_connection()
            if not self._client._is_open:
                return
            policy = self._options.reconnect
            if self._goes_elsewhere(error):
                continue
            if policy is None:
                raise error
            if connected_at is not None and loop.time() - connected_at >= policy.stable_seconds:
                attempt = self._unanswered = 0
            if self._is_final(error) and not self._is_own_doing(error):
                raise error
            attempt += 1
            if policy.max_attempts is not None and attempt > policy.max_attempts:
                raise error
            if connected_at is None and not self._client._may_retry():
                raise error
            if self._client._failure is None:
                delay = self._delay(policy, attempt, error)
                logger.info("%s; attempt %d in %.1f s", error, attempt, delay)
                self._states.set(Reconnecting(error, attempt, delay))
                await asyncio.sleep(delay)
            if self._client._failure is not None:
                return

    def _delay(self, policy: Reconnect, attempt: int, error: Exception) -> float:
        """Full jitter: anything up to a bound that doubles, and further off if asked for."""
        doubled = policy.first_delay * 2 ** min(attempt - 1, 30)
        if getattr(error, "reason_code", None) in BUSY:
            doubled *= BUSY_FACTOR
        return random.uniform(0, min(policy.max_delay, doubled))  # noqa: S311

    def _is_final(self, error: Exception) -> bool:
        if not isinstance(error, (NoctuleError, OSError)):
            return True  # A fault of the program's own, say in its authentication.
        code = getattr(error, "reason_code", None)
        if isinstance(code, ReturnCode):
            may_improve = self._options.credentials is not None and code in CREDENTIALS_RETURNS
            return code in FINAL_RETURNS and not may_improve
        if isinstance(error, ConnectionEndedError) and error.__cause__ is not None:
            return False  # We ended it, over a fault of the server that may have been one-off.
        if code in CREDENTIALS:
            return self._options.credentials is None
        return code in FINAL

    def _is_own_doing(self, error: Exception) -> bool:
        """Whether a CONNECT of our own took the session over, one that was read late.

        A connection that is cut right after its CONNECT may be read after the one that
        follows it. To give up over that would be to lose to oneself; once is forgiven.
        """
        if getattr(error, "reason_code", None) != ReasonCode.SESSION_TAKEN_OVER:
            return False
        unanswered, self._unanswered = self._unanswered, 0
        return unanswered > 0

    def _goes_elsewhere(self, error: Exception) -> bool:
        """Follows a server reference, MQTT 5.0 §4.11; else the next attempt is at home."""
        reference = getattr(error, "server_reference", None)
        policy = self._options.reconnect
        if (
            getattr(error, "reason_code", None) in ELSEWHERE
            and reference
            and policy is not None
            and policy.follow_references
            and self._references < MAX_REFERENCES
        ):
            referred = self._address.referred(reference)
            if referred is not None:
                self._references += 1
                self._address = referred
                if getattr(error, "reason_code", None) == ReasonCode.SERVER_MOVED:
                    self._home = referred
                return True
        self._address = self._home
        self._references = 0
        return False

    # --- One connection ---------------------------------------------------------------

    async def _connect(self) -> None:
        try:
            await self._attempt()
        except (ConnectionRefusedByServerError, ConnectionEndedError) as error:
            if not self._falls_back(error):
                raise
            logger.info("%s does not speak 5.0; going on with 3.1.1", self._address)
            self._drop_connection()
            self._client._fall_back()
            await self._attempt()

    def _falls_back(self, error: NoctuleError) -> bool:
        """Whether a server may be one from before 5.0: it says so, or just hangs up."""
        if not self._options.fall_back or self._client.version < Version.V5:
            return False
        if isinstance(error, ConnectionRefusedByServerError):
            return error.reason_code in (
                ReturnCode.UNACCEPTABLE_PROTOCOL_VERSION,
                ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
            )
        return self._states.current == Connecting()

    async def _attempt(self) -> None:
        """From the transport to CONNACK; ConnectionFailedError and its kin say why not."""
        loop = asyncio.get_running_loop()
        session = self._client._session
        credentials = await self._credentials()
        connection = Connection(session, self._client)
        self._opened = loop.create_future()
        self._ended = loop.create_future()
        self._reason = None
        await open_transport(
            self._address,
            connection,
            tls=self._tls,
            proxy=self._options.proxy,
            websocket_headers=self._options.websocket_headers,
            timeout=self._options.connect_timeout,
        )
        self.connection = connection
        self._mechanism = self._options.authentication() if self._options.authentication else None
        session.connect(
            loop.time(),
            user_name=credentials.user_name,
            password=credentials.password_bytes,
            authentication_data=self._mechanism.start() if self._mechanism else None,
        )
        self._unanswered += 1
        connection.flush()
        try:
            async with asyncio.timeout(self._options.connect_timeout):
                await self._opened
        except TimeoutError as error:
            raise ConnectionFailedError(
                f"{self._address}: no CONNACK within {self._options.connect_timeout} s"
            ) from error

    async def _credentials(self) -> Credentials:
        options = self._options
        if options.credentials is not None:
            given = options.credentials()
            return await given if inspect.isawaitable(given) else given
        if options.user_name is None and options.password is None:
            return Credentials(self._home.user_name, self._home.password)
        return Credentials(options.user_name, options.password)

    def _drop_connection(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abort()
        for future in (self._opened, self._ended, self._reauthentication):
            if future is not None and future.done() and not future.cancelled():
                future.exception()  # Seen, whether or not somebody has waited for it.

    # --- What the client hands on -----------------------------------------------------

    def accepted(self, event: ConnectedEvent) -> None:
        connection = self.connection
        assert connection is not None
        self._unanswered -= 1
        if self._mechanism is not None:
            data = event.properties.binary(PropertyId.AUTHENTICATION_DATA)
            if not self._authenticated(lambda mechanism: mechanism.finish(data)):
                return
        self._references = 0
        connection.start_timer()
        self._states.set(Connected(event.granted, str(self._address)))
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)

    def refused(self, event: Refused) -> None:
        self._unanswered -= 1
        self._reason = ConnectionRefusedByServerError(event.reason_code, event.properties)

    def disconnected(self, event: Disconnected) -> None:
        if event.error is not None:
            self._reason = ConnectionEndedError(str(event.error), event.reason_code)
            self._reason.__cause__ = event.error
            return
        reason = event.properties.string(PropertyId.REASON_STRING)
        self._reason = ConnectionEndedError(
            f"the server ended the connection: {told(event.reason_code)}"
            + (f" ({reason})" if reason else ""),
            event.reason_code,
            event.properties,
        )

    def lost(self, error: Exception | None) -> None:
        """The transport is closed; whoever waits learns the best reason there is."""
        reason = self._reason
        if reason is None:
            reason = ConnectionEndedError(f"{self._address}: connection lost: {error or 'closed'}")
            reason.__cause__ = error if not isinstance(error, NoctuleError) else None
        for future in (self._opened, self._reauthentication):
            if future is not None and not future.done():
                future.set_exception(reason)
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(reason)

    # --- Enhanced authentication ------------------------------------------------------

    def challenged(self, event: AuthenticationContinued, session: ClientSession) -> None:
        self._authenticated(lambda mechanism: session.authenticate(mechanism.step(event.data)))

    async def reauthenticate(self, session: ClientSession) -> None:
        """AUTH 0x19 and what follows, with a new run of the mechanism, MQTT 5.0 §4.12.1."""
        assert self._options.authentication is not None
        if self._reauthentication is not None and not self._reauthentication.done():
            await asyncio.shield(self._reauthentication)  # One run serves all who ask for it.
            return
        self._mechanism = self._options.authentication()
        session.reauthenticate(self._mechanism.start())
        self._reauthentication = asyncio.get_running_loop().create_future()
        assert self.connection is not None
        self.connection.schedule_flush()
        await asyncio.shield(self._reauthentication)

    def reauthenticated(self, event: Reauthenticated) -> None:
        if not self._authenticated(lambda mechanism: mechanism.finish(event.data)):
            return
        if self._reauthentication is not None and not self._reauthentication.done():
            self._reauthentication.set_result(None)

    def _authenticated(self, step: Callable[[Mechanism], None]) -> bool:
        """Takes a step of the mechanism; ends the connection where that finds fault."""
        assert self._mechanism is not None
        assert self.connection is not None
        try:
            step(self._mechanism)
        except Exception as error:  # A mechanism is the program's: nothing it raises is lost.
            self._reason = error
            self._client._session.disconnect(
                asyncio.get_running_loop().time(), ReasonCode.NOT_AUTHORIZED
            )
            self.connection.close()
            return False
        return True
