"""What a command line has asked for."""

from __future__ import annotations

from noctule.protocol import PropertyId, Version
from noctule.protocol.properties import PropertyValue

__all__ = ["PropertyPairs", "Settings", "UsageError"]

PropertyPairs = list[tuple[PropertyId, PropertyValue]]


class UsageError(Exception):
    """The command line is wrong; the text says how, and what would be right."""


class Settings:
    """One attribute for each `field` of the table, None or false where nothing was said.

    A plain class and no dataclass, for speed: it is made at each start of `noctule pub`.
    """

    # Where to connect.
    host: str | None = None
    port: int | None = None
    url: str | None = None
    unix: str | None = None
    websocket: bool = False
    websocket_path: str | None = None
    srv: bool = False
    bind_address: str | None = None
    proxy: str | None = None
    no_delay: bool = False
    keep_alive: int = 60
    connect_timeout: float = 10.0
    # Who connects.
    client_id: str | None = None
    client_id_prefix: str | None = None
    user_name: str | None = None
    password: str | None = None
    password_file: str | None = None
    ask_password: bool = False
    profile: str | None = None
    version: Version | None = None
    # TLS.
    tls: bool = False
    cafile: str | None = None
    capath: str | None = None
    cert: str | None = None
    key: str | None = None
    ciphers: str | None = None
    tls_version: str | None = None
    tls_alpn: str | None = None
    tls_keylog: str | None = None
    no_tls: bool = False
    insecure: bool = False
    # Session and will.
    keep_session: bool = False
    session_expiry: int | None = None
    will_topic: str | None = None
    will_payload: str | None = None
    will_qos: int | None = None
    will_retain: bool = False
    # What is sent.
    response_topic: str | None = None
    message: str | None = None
    file: str | None = None
    null_message: bool = False
    standard_input: bool = False
    lines: bool = False
    qos: int = 0
    retain: bool = False
    repeat: int = 1
    repeat_delay: float = 0.0
    max_inflight: int = 20
    speed: float = 1.0
    prefix: str = ""
    # What is subscribed, shown, and when it ends.
    retain_as_published: bool = False
    retain_handling: str = "always"
    count: int | None = None
    timeout: float | None = None
    exit_after_subscribing: bool = False
    no_retained: bool = False
    retained_only: bool = False
    remove_retained: bool = False
    random_filter: float = 100.0
    no_topics: bool = False
    once: bool = False
    # How messages are shown.
    verbose: bool = False
    format: str | None = None
    no_newline: bool = False
    pretty: bool = False
    json: bool = False
    eyes: bool = False
    plain: bool = False
    tree: bool = False
    watch: bool = False
    stats: bool = False
    save: str | None = None
    message_rate: bool = False
    # In general.
    debug: bool = False
    quiet: bool = False
    show_version: bool = False
    help: bool = False
    help_all: bool = False

    def __init__(self) -> None:
        self.topics: list[str] = []
        self.unsubscribe: list[str] = []
        self.filter_out: list[str] = []
        self.options_file: list[str] = []
        self.arguments: list[str] = []
        # Packet, as `connect` or `will`: its properties, in the order they were given.
        self.properties: dict[str, PropertyPairs] = {}

    def properties_of(self, packet: str) -> PropertyPairs:
        """What -D has set in a packet."""
        return self.properties.get(packet, [])
