"""Everything an operator may set, with defaults; each option says its unit.

These classes are the one source of the options: `noctule config` and the reference page are
generated from them, and the engine is given them as JSON.
"""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from noctule.broker.listener import Durability, Listener
from noctule.broker.plugins import Plugin

__all__ = [
    "BanOptions",
    "BrokerOptions",
    "Durability",
    "DurabilityRule",
    "Limits",
    "ProtocolOptions",
]

# The widths the engine counts in.
UInt16 = Annotated[int, Field(ge=0, le=0xFFFF)]
PositiveUInt16 = Annotated[int, Field(ge=1, le=0xFFFF)]
UInt32 = Annotated[int, Field(ge=0, le=0xFFFF_FFFF)]
UInt63 = Annotated[int, Field(ge=0, le=0x7FFF_FFFF_FFFF_FFFF)]

# A fixed header with a remaining length of 268,435,455 (MQTT 5.0 §1.5.5).
LARGEST_PACKET_BYTES = 268_435_460
# Type and length (2), protocol name (6), level, flags, keep alive (4), client identifier (2).
SMALLEST_CONNECT_BYTES = 14


class Options(BaseModel):
    """Strict and frozen: a wrong key or type is an error, not a guess."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


class Limits(Options):
    """What clients may take."""

    connect_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 10
    """Seconds from accepting a connection to its complete CONNECT packet."""

    max_connections: Annotated[int, Field(ge=1, le=0xFFFF_FFFF)] = 100_000
    """Connections at once, over all listeners."""

    max_connections_per_address: UInt32 = 0
    """Connections at once from one network address; 0: no limit."""

    max_packet_bytes: Annotated[int, Field(ge=20, le=LARGEST_PACKET_BYTES)] = 16_777_216
    """Bytes of the largest packet taken, fixed header included; told to 5.0 clients."""

    max_connect_packet_bytes: Annotated[
        int, Field(ge=SMALLEST_CONNECT_BYTES, le=LARGEST_PACKET_BYTES)
    ] = 524_288
    """Bytes of the largest CONNECT packet taken."""

    receive_maximum: PositiveUInt16 = 1024
    """QoS 1 and 2 messages that a client may have unacknowledged towards the broker."""

    max_inflight_messages: PositiveUInt16 = 1024
    """QoS 1 and 2 messages that the broker has unacknowledged towards one client."""

    max_queued_messages: UInt32 = 100_000
    """Messages that wait for one session, in-flight ones not counted."""

    max_queued_bytes: UInt63 = 67_108_864
    """Bytes that wait for one session, in memory and on disk."""

    queue_memory_bytes: UInt63 = 268_435_456
    """Bytes of waiting messages held in memory although they are on disk, of all sessions.

    What is beyond that waits on the disk alone, and is read back, in order, when its client
    can take it. Messages that are not on disk, and those of shared subscriptions, are in
    memory anyhow and do not count.
    """

    max_queued_age_seconds: UInt32 = 0
    """Seconds that a message may wait; 0: for ever."""

    queue_full: Literal["drop_oldest", "drop_newest", "reject", "disconnect"] = "drop_oldest"
    """What happens when a session has no room for a message.

    `drop_oldest`: the oldest waiting message makes room. `drop_newest`: the message is dropped.
    `reject`: its publisher is answered 0x97 and it goes to nobody; what workers have taken
    before they know that the queue is full is kept beyond the limit. `disconnect`: the slow
    subscriber is disconnected. Whatever is dropped is counted.
    """

    queue_qos0: bool = False
    """Whether QoS 0 messages, too, wait for a session that is offline."""

    max_session_expiry_seconds: UInt32 = 0xFFFF_FFFF
    """Longest session expiry interval granted, in seconds; 4294967295: sessions never end."""

    max_offline_sessions: UInt63 = 100_000
    """Sessions kept without a connection; beyond it those end first that left first."""

    max_subscriptions_per_session: UInt32 = 10_000
    """Subscriptions of one session."""

    max_topic_levels: Annotated[int, Field(ge=1, le=65_536)] = 200
    """Levels of a topic name or filter: its slashes and one."""

    max_topic_bytes: PositiveUInt16 = 65_535
    """Bytes of a topic name or filter."""

    max_properties_per_packet: UInt32 = 10_000
    """Properties in one packet, user properties included."""

    max_retained_messages: UInt63 = 1_000_000
    """Retained messages in all."""

    max_retained_bytes: UInt63 = 1_073_741_824
    """Bytes of retained messages in all."""

    write_buffer_bytes: Annotated[int, Field(ge=4096, le=0x7FFF_FFFF_FFFF_FFFF)] = 1_048_576
    """Bytes that wait to be written to one connection before messages are queued or dropped."""

    write_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 30
    """Seconds that a client may read nothing of what waits for it before it is disconnected."""

    hold_publishers_milliseconds: UInt32 = 100
    """Milliseconds that publishers are held back for one slow subscriber before its QoS 0
    messages are dropped; 0: never held."""

    max_messages_per_second_in: UInt32 = 0
    """PUBLISH packets taken from one client in a second; 0: no limit."""

    max_bytes_per_second_in: UInt63 = 0
    """Bytes of PUBLISH packets taken from one client in a second; 0: no limit."""

    max_messages_per_second_out: UInt32 = 0
    """PUBLISH packets sent to one client in a second; 0: no limit."""

    max_bytes_per_second_out: UInt63 = 0
    """Bytes of PUBLISH packets sent to one client in a second; 0: no limit."""

    max_memory_bytes: UInt63 = 0
    """Bytes of memory the process is to stay within; 0: no limit. From nine tenths of it on
    publishers are slowed; at it new clients are refused (0x89), and what would have to be stored
    (0x97)."""

    max_keep_alive_seconds: UInt16 = 0
    """Longest keep alive that a client may have, in seconds; 0: as the client wishes."""

    topic_alias_maximum: UInt16 = 100
    """Topic aliases that a client may set on one connection."""

    topic_alias_maximum_outgoing: UInt16 = 100
    """Topic aliases that the broker sets towards one client, at most."""


class ProtocolOptions(Options):
    """What the broker offers; 5.0 clients are told in CONNACK."""

    maximum_qos: Annotated[int, Field(ge=0, le=2)] = 2
    """Highest quality of service that clients may publish with: 0, 1 or 2."""

    retain_available: bool = True
    """Whether messages can be retained."""

    wildcard_subscription_available: bool = True
    """Whether topic filters may hold `+` and `#`."""

    subscription_identifiers_available: bool = True
    """Whether subscriptions may carry an identifier."""

    shared_subscriptions_available: bool = True
    """Whether `$share/{group}/{filter}` is served."""

    allow_empty_client_identifier: bool = True
    """Whether the broker makes up an identifier for clients that send none."""

    validate_payload_format: bool = False
    """Whether payloads marked as UTF-8 are checked, and refused with 0x99 when they are not."""

    shared_subscription_strategy: Literal[
        "round_robin", "random", "sticky", "hash_client", "hash_topic", "least_inflight"
    ] = "round_robin"
    """Which member of a shared subscription is given the next message.

    `sticky` stays with one member while it is there; `hash_client` and `hash_topic` give all of
    a publisher's or a topic's messages to one member.
    """

    reason_strings: bool = True
    """Whether a refusal or DISCONNECT says in words, too, what was wrong."""

    reveal_not_authorized: bool = True
    """Whether who may not publish or subscribe is told so, with 0x87.

    Otherwise the answer is 0x80, which does not give away that there is something to guard.
    """

    response_information: Annotated[str, Field(max_length=65_535)] = ""
    """Text for clients that ask for response information (MQTT 5.0 §3.2.2.3.15); empty: none."""


class DurabilityRule(Options):
    """What is promised of the messages of some topics, in place of the broker's durability.

    It is about messages: retained ones, and those that wait for a session that is kept. Packet
    identifiers are a session's, whatever the topic.
    """

    filter: Annotated[str, Field(examples=["telemetry/#"])]
    """Topic filter of the messages it is about."""

    durability: Annotated[Durability, Field(examples=["memory"])]
    """`disk`: acknowledged once on the disk. `interval`: acknowledged at once, on the disk at
    the latest interval_milliseconds later. `memory`: acknowledged at once, lost when the broker
    stops."""

    @field_validator("filter")
    @classmethod
    def _is_filter(cls, value: str) -> str:
        *before, last = value.split("/")
        if not value or "\0" in value or len(value.encode()) > 65_535:
            raise ValueError("a topic filter has 1 to 65535 bytes and no U+0000")
        if any("#" in level for level in before) or ("#" in last and last != "#"):
            raise ValueError(f"in the filter {value!r} `#` does not stand alone at the end")
        if any("+" in level and level != "+" for level in (*before, last)):
            raise ValueError(f"in the filter {value!r} `+` does not stand alone in its level")
        if value.startswith("$share/"):
            raise ValueError("durability is of topics: write the filter behind $share/NAME/")
        return value


class BanOptions(Options):
    """Who is banned for what they did, and for how long. Bans by hand are `broker.ban`."""

    failed_logins: UInt32 = 0
    """Refused CONNECTs of one address within failed_logins_window_seconds after which it is
    banned; 0: never. Mind that clients behind one proxy or router share their address."""

    failed_logins_window_seconds: Annotated[int, Field(ge=1, le=86_400)] = 60
    """Seconds for which refused CONNECTs are counted."""

    flapping_connects: UInt32 = 0
    """Connections of one client identifier within flapping_window_seconds after which it is
    banned; 0: never."""

    flapping_window_seconds: Annotated[int, Field(ge=1, le=86_400)] = 60
    """Seconds for which a client's connections are counted."""

    ban_seconds: Annotated[int, Field(ge=1, le=31_536_000)] = 60
    """Seconds of the first such ban; each further one is twice as long as the one before."""

    max_ban_seconds: Annotated[int, Field(ge=1, le=31_536_000)] = 86_400
    """Seconds of the longest such ban; after as long without another the next is a first one."""

    max_connects_per_second: UInt32 = 0
    """Connections taken from one address in a second; further ones are closed at once; 0: no
    limit."""


class BrokerOptions(Options):
    """The options of one broker."""

    listeners: Annotated[tuple[Listener, ...], Field(strict=False)] = (Listener(),)
    """Where to listen: URLs such as `mqtt://127.0.0.1:1883` in a list or with commas between
    them, or tables."""

    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    """Worker threads; 0: one for each core."""

    durability: Annotated[Durability | None, Field(examples=["disk"])] = None
    """When a message counts as kept, and is acknowledged; not set: `disk` where data_dir is set,
    else `memory`.

    `disk`: once it is on the disk. `interval`: at once, and written to the disk every
    interval_milliseconds. `memory`: at once, and lost when the broker stops.
    """

    durability_rules: Annotated[tuple[DurabilityRule, ...], Field(strict=False)] = ()
    """What is promised of the messages of some topics; of several rules that match a topic the
    first holds. Listeners may say it for sessions."""

    interval_milliseconds: Annotated[int, Field(ge=1, le=3_600_000)] = 1000
    """Milliseconds between two writes to the disk with durability `interval`."""

    data_dir: Annotated[Path | None, Field(strict=False, examples=["/var/lib/noctule"])] = None
    """Directory of what must outlive the broker; made if it is not there."""

    system_topics_interval_seconds: UInt32 = 10
    """Seconds between two publications of `$SYS/broker/…`; 0: none."""

    plugins: Annotated[tuple[Plugin, ...], Field(strict=False)] = ()
    """Plug-ins, `[[plugins]]`: each has a `module`, and options of its own."""

    limits: Limits = Limits()
    """What clients may take."""

    protocol: ProtocolOptions = ProtocolOptions()
    """What the broker offers."""

    bans: BanOptions = BanOptions()
    """Who is banned for what they did, and for how long. Bans by hand are `broker.ban`."""

    @field_validator("listeners", mode="before")
    @classmethod
    def _split_listeners(cls, value: object) -> object:
        return [url.strip() for url in value.split(",")] if isinstance(value, str) else value

    @field_validator("listeners")
    @classmethod
    def _require_listener(cls, value: tuple[Listener, ...]) -> tuple[Listener, ...]:
        if not value:
            raise PydanticCustomError("no_listener", "a broker needs a listener")
        return value

    @model_validator(mode="after")
    def _require_data_dir(self) -> Self:
        of_rules = [rule.durability for rule in self.durability_rules]
        of_listeners = [listener.durability for listener in self.listeners]
        for durability in (self.durability, *of_rules, *of_listeners):
            if durability in ("disk", "interval") and self.data_dir is None:
                raise PydanticCustomError(
                    "data_dir_missing",
                    "durability `{durability}` keeps messages in a directory, and data_dir is "
                    "not set",
                    {"durability": durability},
                )
        return self

    def engine_json(self, *, authentication: bool = False) -> str:
        """The options as the engine takes them: JSON with the same keys.

        `authentication`: whether clients are put to an authenticator.
        """
        fields = self.model_dump(mode="json", include=set(BrokerOptions.model_fields) - {"plugins"})
        fields["authentication"] = authentication
        fields["listeners"] = [listener.engine_fields() for listener in self.listeners]
        if self.durability is None:
            fields["durability"] = "memory" if self.data_dir is None else "disk"
        return json.dumps(fields)
