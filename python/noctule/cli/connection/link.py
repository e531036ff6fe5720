"""A session over a socket, for a program that does one thing after the other."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from noctule.cli.connection.errors import (
    HTTP,
    TLS_ALERT,
    ConnectError,
    LostError,
    RefusedError,
    connect_error,
    hung_up,
    told,
)
from noctule.cli.connection.session import (
    authentication_data,
    integer,
    session_options,
    text,
    user_properties,
)
from noctule.cli.connection.stream import Stream, open_stream, place
from noctule.cli.connection.target import password_of
from noctule.cli.flags.settings import Settings, UsageError
from noctule.protocol import ClientSession, Phase, PropertyId, ReasonCode, Version
from noctule.protocol.errors import InvalidArgumentError
from noctule.protocol.events import (
    AuthenticationContinued,
    Connected,
    Disconnected,
    Event,
    Refused,
)

__all__ = ["Link"]

Trace = Callable[[str, bytes], None]

CLOSE_SECONDS = 5.0
FIRST_BYTES = 16
MAX_UNSENT_BYTES = 1_048_576
"""Beyond this much unsent, who publishes has to wait."""

FINAL = frozenset(
    {
        ReasonCode.SESSION_TAKEN_OVER,
        ReasonCode.ADMINISTRATIVE_ACTION,
        ReasonCode.NOT_AUTHORIZED,
        ReasonCode.PROTOCOL_ERROR,
        ReasonCode.MALFORMED_PACKET,
        ReasonCode.PACKET_TOO_LARGE,
        ReasonCode.BANNED,
    }
)
"""After a DISCONNECT with one of these another connection would end the same way."""


class Link:
    """A client that waits when it is told to, and for no longer.

    `session` is the client's session, to publish and subscribe with; `wait` moves the bytes
    in both directions and returns what has happened. A broken connection can be opened
    again with `open`: the session goes on.
    """

    def __init__(self, settings: Settings, default: Version = Version.V3_1_1) -> None:
        self._settings = settings
        self.session = ClientSession(session_options(settings, default))
        self._password = password_of(settings)
        self._stream: Stream | None = None
        self._out = bytearray()
        # The first bytes of the connection, which show a server of something else.
        self._first = b""
        # What came together with CONNACK.
        self._early: list[Event] = []
        self._failure: Exception | None = None
        self._trace: Trace | None = None
        self.connected: Connected | None = None
        self.where = place(settings)
        is_v5 = self.session.options.version is Version.V5
        if self._password is not None and settings.user_name is None and not is_v5:
            raise UsageError("before MQTT 5.0 a password needs a user name: give -u")
        if settings.debug:
            from noctule.cli.connection.trace import tracer

            self._trace = tracer(self.session)

    # --- Opening and closing ----------------------------------------------------------

    def open(self) -> Connected:
        """Connects and waits for CONNACK; ConnectError or RefusedError says why not."""
        self._failure = None
        self.connected = None
        self._first = b""
        self._early = []
        self._out.clear()
        self._stream = open_stream(self._settings)
        self.where = place(self._settings)
        try:
            self.session.connect(
                time.monotonic(),
                user_name=self._settings.user_name,
                password=self._password,
                authentication_data=authentication_data(self._settings),
            )
        except InvalidArgumentError as error:
            self._drop()
            raise UsageError(str(error)) from error
        deadline = time.monotonic() + self._settings.connect_timeout
        try:
            while True:
                for index, event in enumerate(events := self.wait(deadline)):
                    if isinstance(event, Connected):
                        self.connected = event
                        self._early = events[index + 1 :]
                        return event
                if time.monotonic() >= deadline:
                    raise ConnectError(
                        f"{self.where} has not answered CONNECT within "
                        f"{self._settings.connect_timeout:g} s",
                        "is it an MQTT broker?",
                    )
        except LostError as error:
            if error.is_silent or self._first[:2] in (HTTP, TLS_ALERT):
                raise hung_up(self.where, self.session.options.version, self._first) from error
            raise ConnectError(f"{self.where}: {error}") from error
        except BaseException:
            self._drop()
            raise

    def close(self) -> None:
        """DISCONNECT, with the properties of -D disconnect, once all is written."""
        if self._stream is None:
            return
        given = self._settings.properties_of("disconnect")
        expiry = integer(given, PropertyId.SESSION_EXPIRY_INTERVAL, -1)
        try:
            self.session.disconnect(
                time.monotonic(),
                session_expiry_interval=None if expiry < 0 else expiry,
                reason_string=text(given, PropertyId.REASON_STRING),
                user_properties=user_properties(given),
            )
            self.flush(CLOSE_SECONDS)
        except OSError:
            pass  # It is gone before we could say goodbye.
        except InvalidArgumentError as error:
            raise UsageError(f"-D disconnect: {error}") from error
        finally:
            self._drop()

    def abort(self) -> None:
        """Ends the connection without DISCONNECT."""
        self._drop()

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
        self.session.connection_lost()

    # --- Moving bytes -----------------------------------------------------------------

    def wait(self, until: float | None = None, *readable: int) -> list[Event]:
        """Until something has happened, one of `readable` can be read, or the time is `until`.

        `until` is on the monotonic clock; None is for ever. Returns what has happened, in
        its order. Raises RefusedError or LostError when the connection is at its end and all
        that came before has been returned.
        """
        if self._early:
            events, self._early = self._early, []
            return events
        while True:
            if self._failure is not None:
                self._end()
            self._write()
            if self._failure is None:
                ready = self._select(until, readable)
                if self._stream is not None and self._stream.fileno() in ready:
                    self._read()
                self._keep_time()
                self._write()
            events = self._events()
            if events:
                return events
            if self._failure is not None:
                continue
            if any(descriptor in ready for descriptor in readable):
                return []
            if until is not None and time.monotonic() >= until:
                return []

    def poll(self) -> list[Event]:
        """What has happened by now; does not wait."""
        return self.wait(time.monotonic())

    def flush(self, timeout: float | None = None) -> None:
        """Waits until all is written, `timeout` seconds at most."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._stream is not None:
            self._write()
            if self._failure is not None or not self._is_writing():
                return
            rest = None if deadline is None else deadline - time.monotonic()
            if rest is not None and rest <= 0:
                return
            select.select([], [self._stream], [], rest)

    @property
    def is_congested(self) -> bool:
        """Whether so much is unsent that there should not be more for now."""
        return len(self._out) + self.session.unsent_bytes > MAX_UNSENT_BYTES

    def _select(self, until: float | None, readable: tuple[int, ...]) -> list[int]:
        assert self._stream is not None
        now = time.monotonic()
        times = [t for t in (until, self.session.next_timeout(now)) if t is not None]
        timeout = max(0.0, min(times) - now) if times else None
        descriptor = self._stream.fileno()
        ready, _, _ = select.select(
            [descriptor, *readable], [descriptor] if self._is_writing() else [], [], timeout
        )
        return ready

    def _is_writing(self) -> bool:
        return bool(self._out) or bool(getattr(self._stream, "is_writing", False))

    def _keep_time(self) -> None:
        now = time.monotonic()
        due = self.session.next_timeout(now)
        if due is not None and due <= now:
            self.session.handle_timeout(now)

    def _write(self) -> None:
        data = self.session.data_to_send(time.monotonic())
        if data and self._trace is not None:
            self._trace("sending", data)
        self._out += data
        while self._out and self._stream is not None:
            try:
                sent = self._stream.send(self._out)
            except OSError as error:
                self._read()  # The server may have said why.
                self._lost(error)
                return
            if not sent:
                return
            del self._out[:sent]

    def _read(self) -> None:
        assert self._stream is not None
        try:
            data = self._stream.receive()
        except OSError as error:
            self._lost(error)
            return
        if data is None:
            return
        if not data:
            self._lost(None)
            return
        self._first = self._first or data[:FIRST_BYTES]
        if self._trace is not None:
            self._trace("received", data)
        self.session.receive_data(data, time.monotonic())

    # --- Ends -------------------------------------------------------------------------

    def _events(self) -> list[Event]:
        """What has happened; what ends the connection is put down for the next call."""
        events = self.session.events()
        kept: list[Event] = []
        for event in events:
            match event:
                case Refused():
                    reason = event.properties.string(PropertyId.REASON_STRING)
                    self._failure = RefusedError(event.reason_code, reason)
                case Disconnected():
                    self._failure = _ended(event)
                case AuthenticationContinued():
                    self._failure = ConnectError(
                        "the server asks for another step of authentication, and this command "
                        "knows only what -D connect authentication-data says"
                    )
                case _:
                    kept.append(event)
        return kept

    def _lost(self, error: OSError | None) -> None:
        if self._failure is None and self.connected is None and _is_of_tls(error):
            # With TLS 1.3 the server looks at our certificate after the handshake.
            assert error is not None
            timeout = self._settings.connect_timeout
            self._failure = connect_error(self.where, error, is_secure=True, timeout=timeout)
        elif self._failure is None:
            why = f": {error.strerror or error}".lower() if error is not None else ""
            self._failure = LostError(
                f"the connection to {self.where} was lost{why}", is_silent=True
            )

    def _end(self) -> None:
        """Closes after the last words, and raises what the end was."""
        assert self._failure is not None
        failure, self._failure = self._failure, None
        if self.session.phase is Phase.ENDING:
            self.flush(CLOSE_SECONDS)
        self._drop()
        raise failure


def _is_of_tls(error: OSError | None) -> bool:
    return type(error).__module__ == "ssl"


def _ended(event: Disconnected) -> LostError:
    if event.error is not None:
        return LostError(f"the server broke the protocol: {event.error}", is_final=False)
    reason = event.properties.string(PropertyId.REASON_STRING)
    return LostError(
        f"the server ended the connection: {told(event.reason_code)}"
        + (f" ({reason})" if reason else ""),
        int(event.reason_code),
        is_final=event.reason_code in FINAL,
    )
