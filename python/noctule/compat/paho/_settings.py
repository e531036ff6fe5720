"""What a program tells paho-mqtt's client before it connects."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from typing import Any, Self

from noctule.compat.paho._values import CallbackAPIVersion, MQTTProtocolVersion, Properties
from noctule.protocol import Properties as Section
from noctule.protocol import Version, check_topic_name
from noctule.protocol.errors import InvalidTopicError
from noctule.protocol.packets import WillPacket
from noctule.protocol.properties import NO_PROPERTIES

__all__ = ["Settings", "check_publish", "payload_bytes"]


class Settings:
    """The half of the client that only remembers."""

    def __init__(
        self,
        callback_api_version: CallbackAPIVersion = CallbackAPIVersion.VERSION2,
        client_id: str | None = "",
        clean_session: bool | None = None,
        userdata: Any = None,
        protocol: int = MQTTProtocolVersion.MQTTv311,
        transport: str = "tcp",
        reconnect_on_failure: bool = True,
        manual_ack: bool = False,
    ) -> None:
        if callback_api_version != CallbackAPIVersion.VERSION2:
            raise ValueError("noctule's shim has callback API version 2 alone")
        if transport not in ("tcp", "websockets", "unix"):
            raise ValueError(f'transport must be "websockets", "tcp", "unix", not {transport}')
        self._version = Version(int(protocol))
        if self._version == Version.V5 and clean_session is not None:
            raise ValueError("Clean session is not used for MQTT 5.0")
        clean = True if clean_session is None else clean_session
        if not clean and not client_id and self._version < Version.V5:
            raise ValueError("A client id must be provided if clean session is False.")
        self._client_id = client_id or ""
        self._clean = clean
        self._userdata = userdata
        self._transport = transport
        self._reconnects = reconnect_on_failure
        self._manual_ack = manual_ack
        self._user_name: str | None = None
        self._password: bytes | None = None
        self._will: WillPacket | None = None
        self._tls: ssl.SSLContext | None = None
        self._proxy: str | None = None
        self._path, self._headers = "/mqtt", None
        self._host, self._port, self._keep_alive = "", 1883, 60
        self._connect_properties: Section = NO_PROPERTIES
        self._clean_start = True
        self._delays = (1.0, 120.0)
        self._max_in_flight, self._max_queued = 20, 0
        self.connect_timeout = 5.0
        self._logger: logging.Logger | None = None

    def username_pw_set(self, username: str | None, password: str | bytes | None = None) -> None:
        """The credentials of the next connection."""
        self._user_name = username
        self._password = password.encode() if isinstance(password, str) else password

    def will_set(
        self,
        topic: str,
        payload: str | bytes | float | None = None,
        qos: int = 0,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> None:
        """What the server publishes when the client is gone."""
        check_publish(topic, qos)
        section = NO_PROPERTIES if properties is None else properties.section()
        self._will = WillPacket(topic, payload_bytes(payload), qos, retain, section)

    def will_clear(self) -> None:
        """No will any more."""
        self._will = None

    def tls_set(
        self,
        ca_certs: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
        cert_reqs: ssl.VerifyMode | None = None,
        tls_version: int | None = None,
        ciphers: str | None = None,
        keyfile_password: str | None = None,
        alpn_protocols: list[str] | None = None,
    ) -> None:
        """TLS with these files; the system's certificates where none are named."""
        context = ssl.create_default_context(cafile=ca_certs)
        if certfile is not None:
            context.load_cert_chain(certfile, keyfile, keyfile_password)
        if cert_reqs is not None:
            if cert_reqs != ssl.CERT_REQUIRED:
                context.check_hostname = False
            context.verify_mode = cert_reqs
        if ciphers is not None:
            context.set_ciphers(ciphers)
        if alpn_protocols is not None:
            context.set_alpn_protocols(alpn_protocols)
        self.tls_set_context(context)

    def tls_set_context(self, context: ssl.SSLContext | None = None) -> None:
        """TLS with this context."""
        if self._tls is not None:
            raise ValueError("SSL/TLS has already been configured.")
        self._tls = context or ssl.create_default_context()

    def tls_insecure_set(self, value: bool) -> None:
        """Whether the host name in the certificate goes unchecked."""
        if self._tls is None:
            raise ValueError("Must configure SSL context before using tls_insecure_set.")
        self._tls.check_hostname = not value

    def ws_set_options(self, path: str = "/mqtt", headers: Mapping[str, str] | None = None) -> None:
        """Path and headers of the WebSocket handshake."""
        self._path = path
        self._headers = dict(headers) if headers is not None else None  # type: ignore[assignment]

    def proxy_set(self, **proxy_args: Any) -> None:
        """A proxy: `proxy_addr`, `proxy_port`, `proxy_username`, `proxy_password`.

        `proxy_type` is 2 for SOCKS5 (also the default) and 3 for HTTP, as in PySocks.
        """
        scheme = {2: "socks5", 3: "http"}[int(proxy_args.get("proxy_type", 2))]
        user = proxy_args.get("proxy_username")
        login = f"{user}:{proxy_args.get('proxy_password') or ''}@" if user else ""
        default_port = 1080 if scheme == "socks5" else 8080
        port = proxy_args.get("proxy_port") or default_port
        self._proxy = f"{scheme}://{login}{proxy_args['proxy_addr']}:{port}"

    def user_data_set(self, userdata: Any) -> None:
        """What callbacks get as their second argument."""
        self._userdata = userdata

    def user_data_get(self) -> Any:
        """What callbacks get as their second argument."""
        return self._userdata

    def reconnect_delay_set(self, min_delay: float = 1, max_delay: float = 120) -> None:
        """Seconds between attempts: the first, and the most; it doubles in between."""
        self._delays = float(min_delay), float(max_delay)

    def max_inflight_messages_set(self, inflight: int) -> None:
        """How many QoS 1 and 2 messages may be on their way; before connecting."""
        self._max_in_flight = inflight

    def max_queued_messages_set(self, queue_size: int) -> Self:
        """How many messages may wait; 0 is no limit."""
        self._max_queued = queue_size
        return self

    def manual_ack_set(self, on: bool) -> None:
        """Whether the program calls `ack` for messages."""
        self._manual_ack = on

    def enable_logger(self, logger: logging.Logger | None = None) -> None:
        """Log lines go to `logger` too."""
        self._logger = logger or logging.getLogger(__name__)

    def disable_logger(self) -> None:
        """Log lines go to `on_log` alone."""
        self._logger = None


def payload_bytes(payload: str | bytes | bytearray | float | None) -> bytes:
    if payload is None:
        return b""
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(payload, bytes | bytearray):
        return bytes(payload)
    if isinstance(payload, int | float):
        return str(payload).encode()
    raise TypeError("payload must be a string, bytearray, int, float or None.")


def check_publish(topic: str, qos: int) -> None:
    try:
        check_topic_name(topic)
    except InvalidTopicError as error:
        raise ValueError(str(error)) from error
    if qos not in (0, 1, 2):
        raise ValueError("Invalid QoS level.")
