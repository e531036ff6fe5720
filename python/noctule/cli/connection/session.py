"""The session that the options ask for."""

from __future__ import annotations

import os

from noctule.cli.flags.settings import PropertyPairs, Settings, UsageError
from noctule.protocol import PropertyId, SessionOptions, Version, check_topic_name
from noctule.protocol.errors import NoctuleError
from noctule.protocol.packets import WillPacket
from noctule.protocol.properties import Properties, PropertyValue

__all__ = [
    "RETAIN_HANDLING",
    "authentication_data",
    "integer",
    "session_options",
    "text",
    "user_properties",
]

NEVER_EXPIRES = 0xFFFF_FFFF
RECEIVE_MAXIMUM = 1024
"""Unacknowledged messages towards us; a terminal is slower than a network."""

RECEIVE_EXCESS = 15 * RECEIVE_MAXIMUM
"""What Mosquitto 2.0.11 may send beyond that."""

RETAIN_HANDLING = {"always": 0, "new": 1, "never": 2}

NEEDS_5 = {
    "session_expiry": "-x",
    "properties": "-D",
    "retain_as_published": "--retain-as-published",
    "retain_handling": "--retain-handling",
}


def session_options(settings: Settings, default: Version = Version.V3_1_1) -> SessionOptions:
    """What CONNECT will ask for; UsageError for what the version does not have."""
    settings.version = version = _version(settings, default)
    identifier = _client_identifier(settings, version)
    given = settings.properties_of("connect")
    if settings.keep_session and not identifier:
        raise UsageError("-c continues the session of a client identifier: give one with -i")
    is_v5 = version is Version.V5
    return SessionOptions(
        version=version,
        client_identifier=identifier,
        clean_start=not settings.keep_session,
        keep_alive=settings.keep_alive,
        session_expiry_interval=_expiry(settings, given),
        receive_maximum=integer(given, PropertyId.RECEIVE_MAXIMUM, RECEIVE_MAXIMUM),
        receive_excess=RECEIVE_EXCESS,
        send_maximum=settings.max_inflight,
        maximum_packet_size=integer(given, PropertyId.MAXIMUM_PACKET_SIZE, 0) or None,
        topic_alias_maximum=integer(given, PropertyId.TOPIC_ALIAS_MAXIMUM, 0),
        request_response_information=bool(
            integer(given, PropertyId.REQUEST_RESPONSE_INFORMATION, 0)
        ),
        request_problem_information=bool(integer(given, PropertyId.REQUEST_PROBLEM_INFORMATION, 1)),
        user_properties=user_properties(given),
        will=_will(settings, is_v5=is_v5),
        authentication_method=text(given, PropertyId.AUTHENTICATION_METHOD),
        use_topic_aliases=False,
        adopt_session=True,
    )


def _version(settings: Settings, default: Version) -> Version:
    """As asked; 5.0 where an option needs it and nothing else was asked."""
    needs = [name for field, name in NEEDS_5.items() if vars(settings).get(field)]
    if settings.version is None:
        return Version.V5 if needs else default
    if needs and settings.version is not Version.V5:
        raise UsageError(f"{needs[0]} needs MQTT 5.0: give -V 5, or leave -V out")
    return settings.version


def _client_identifier(settings: Settings, version: Version) -> str:
    if settings.client_id_prefix is not None:
        return f"{settings.client_id_prefix}{os.getpid()}"
    if settings.client_id is not None:
        return settings.client_id
    # 3.1 has no identifiers made by the server, and allows 1 to 23 characters.
    return f"noctule-{os.urandom(7).hex()}" if version is Version.V3_1 else ""


def _expiry(settings: Settings, given: PropertyPairs) -> int:
    if settings.session_expiry is not None:
        return settings.session_expiry
    return integer(
        given, PropertyId.SESSION_EXPIRY_INTERVAL, NEVER_EXPIRES if settings.keep_session else 0
    )


def _will(settings: Settings, *, is_v5: bool) -> WillPacket | None:
    if settings.will_topic is None:
        for field in ("will_payload", "will_qos", "will_retain"):
            if vars(settings).get(field) is not None:
                raise UsageError(f"--{field.replace('_', '-')} needs --will-topic")
        if settings.properties_of("will"):
            raise UsageError("-D will needs --will-topic")
        return None
    try:
        check_topic_name(settings.will_topic)
    except NoctuleError as error:
        raise UsageError(f"--will-topic: {error}") from error
    return WillPacket(
        settings.will_topic,
        (settings.will_payload or "").encode(errors="surrogateescape"),
        settings.will_qos or 0,
        settings.will_retain,
        Properties(settings.properties_of("will") if is_v5 else ()),
    )


def _value(given: PropertyPairs, wanted: PropertyId) -> PropertyValue | None:
    """The last one counts, as with options."""
    for identifier, value in reversed(given):
        if identifier is wanted:
            return value
    return None


def integer(given: PropertyPairs, wanted: PropertyId, default: int) -> int:
    """The value of an integer property, or `default`."""
    value = _value(given, wanted)
    return value if isinstance(value, int) else default


def text(given: PropertyPairs, wanted: PropertyId) -> str | None:
    """The value of a text property, or None."""
    value = _value(given, wanted)
    return value if isinstance(value, str) else None


def authentication_data(settings: Settings) -> bytes | None:
    """What -D connect authentication-data has set."""
    value = _value(settings.properties_of("connect"), PropertyId.AUTHENTICATION_DATA)
    return value if isinstance(value, bytes) else None


def user_properties(given: PropertyPairs) -> tuple[tuple[str, str], ...]:
    """All user properties, in their order."""
    return tuple(value for _, value in given if isinstance(value, tuple))
