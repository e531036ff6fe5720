"""Packets and bytes for property tests: valid, faulty and random ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from noctule.protocol import Properties, PropertyId, ReasonCode, Version, encode_packet
from noctule.protocol._tables import (
    PROPERTIES,
    REASON_CODES,
    PacketType,
    PropertySection,
    PropertyType,
)
from noctule.protocol.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    SubscriptionRequest,
    Unsuback,
    Unsubscribe,
    WillPacket,
)
from tests.unit.protocol.vectors import vectors, wire

versions = st.sampled_from(list(Version))
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
strings = st.text(characters, max_size=12)
names = st.text(characters.filter(lambda c: c not in "+#"), min_size=1, max_size=12)
filters = st.one_of(names, st.sampled_from(["#", "+", "a/+/b", "a/#", "$share/g/a/#"]))
identifiers = st.integers(1, 0xFFFF)
blobs = st.binary(max_size=40)
qualities = st.integers(0, 2)

_ANSWERS: dict[PacketType, type[Puback | Pubrec | Pubrel | Pubcomp]] = {
    PacketType.PUBACK: Puback,
    PacketType.PUBREC: Pubrec,
    PacketType.PUBREL: Pubrel,
    PacketType.PUBCOMP: Pubcomp,
}

VALUES: dict[PropertyType, st.SearchStrategy[Any]] = {
    PropertyType.UTF_8_STRING: strings,
    PropertyType.BINARY_DATA: blobs,
    PropertyType.UTF_8_STRING_PAIR: st.tuples(strings, strings),
}


@st.composite
def properties(draw: st.DrawFn, version: int, section: PropertySection) -> Properties:
    """A section that this version may have there; empty before 5.0."""
    if version < 5:
        return Properties()
    allowed = [i for i, d in PROPERTIES.items() if section in d.packets]
    if not allowed:
        return Properties()
    pairs: list[Any] = []
    for identifier in draw(st.lists(st.sampled_from(allowed), max_size=5)):
        definition = PROPERTIES[identifier]
        if any(i is identifier for i, _ in pairs) and section not in definition.repeatable:
            continue
        values = VALUES.get(definition.type)
        if identifier is PropertyId.RESPONSE_TOPIC:
            values = names
        if values is None:
            values = st.integers(definition.minimum, definition.maximum)
        pairs.append((identifier, draw(values)))
    if section in (PropertySection.CONNECT, PropertySection.CONNACK, PropertySection.AUTH):
        pairs = with_method(pairs, always=section is PropertySection.AUTH)
    return Properties(pairs)


def with_method(pairs: list[Any], always: bool) -> list[Any]:
    """Authentication data does not stand without its method."""
    present = {identifier for identifier, _ in pairs}
    needed = always or PropertyId.AUTHENTICATION_DATA in present
    if needed and PropertyId.AUTHENTICATION_METHOD not in present:
        return [*pairs, (PropertyId.AUTHENTICATION_METHOD, "M")]
    return pairs


def codes(kind: PacketType) -> st.SearchStrategy[ReasonCode]:
    return st.sampled_from([c for c, packets in REASON_CODES.items() if kind in packets])


@st.composite
def packets(draw: st.DrawFn, version: int) -> Packet:
    """Any packet of this version."""
    is_v5 = version >= 5
    kinds = [k for k in PacketType if is_v5 or k is not PacketType.AUTH]
    kind = draw(st.sampled_from(kinds))
    section = (
        draw(properties(version, PropertySection(kind)))
        if kind not in (PacketType.PINGREQ, PacketType.PINGRESP)
        else Properties()
    )
    identifier = draw(identifiers)
    match kind:
        case PacketType.CONNECT:
            return draw(connects(version, section))
        case PacketType.CONNACK:
            code = draw(codes(kind)) if is_v5 else draw(st.integers(0, 5))
            return Connack(version > 3 and not code and draw(st.booleans()), code, section)
        case PacketType.PUBLISH:
            return draw(publishes(version))
        case PacketType.PUBACK | PacketType.PUBREC | PacketType.PUBREL | PacketType.PUBCOMP:
            answer = _ANSWERS[kind]
            return answer(identifier, draw(codes(kind)) if is_v5 else ReasonCode.SUCCESS, section)
        case PacketType.SUBSCRIBE:
            requests = st.builds(
                SubscriptionRequest,
                filters,
                qualities,
                st.just(False),
                st.booleans() if is_v5 else st.just(False),
                st.integers(0, 2) if is_v5 else st.just(0),
            )
            return Subscribe(
                identifier, tuple(draw(st.lists(requests, min_size=1, max_size=3))), section
            )
        case PacketType.SUBACK:
            known = (
                codes(kind) if is_v5 else st.sampled_from([ReasonCode(c) for c in (0, 1, 2, 0x80)])
            )
            return Suback(identifier, tuple(draw(st.lists(known, min_size=1, max_size=3))), section)
        case PacketType.UNSUBSCRIBE:
            return Unsubscribe(
                identifier, tuple(draw(st.lists(filters, min_size=1, max_size=3))), section
            )
        case PacketType.UNSUBACK:
            given = draw(st.lists(codes(kind), min_size=1, max_size=3)) if is_v5 else []
            return Unsuback(identifier, tuple(given), section)
        case PacketType.PINGREQ:
            return Pingreq()
        case PacketType.PINGRESP:
            return Pingresp()
        case PacketType.DISCONNECT:
            return Disconnect(draw(codes(kind)) if is_v5 else ReasonCode.SUCCESS, section)
    return Auth(draw(codes(kind)), section)


@st.composite
def connects(draw: st.DrawFn, version: int, section: Properties) -> Connect:
    will = None
    if draw(st.booleans()):
        own = draw(properties(version, PropertySection.WILL))
        will = WillPacket(draw(names), draw(blobs), draw(qualities), draw(st.booleans()), own)
    user_name = draw(st.none() | strings)
    may_have_password = version >= 5 or user_name is not None
    client_identifier = draw(strings)
    return Connect(
        Version(version),
        client_identifier,
        draw(st.booleans()) or (version < 5 and not client_identifier),
        draw(st.integers(0, 0xFFFF)),
        user_name,
        draw(st.none() | blobs) if may_have_password else None,
        will,
        section,
    )


@st.composite
def publishes(draw: st.DrawFn, version: int) -> Publish:
    qos = draw(qualities)
    return Publish(
        draw(names),
        draw(st.binary(max_size=200)),
        qos,
        draw(st.booleans()),
        bool(qos) and draw(st.booleans()),
        draw(identifiers) if qos else 0,
        draw(properties(version, PropertySection.PUBLISH)),
    )


_VECTORS = [(row["ver"], wire(row)) for row in vectors(True) + vectors(False)]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[int, bytes]:
    """A version, and a packet of it that has been changed somewhere."""
    if draw(st.booleans()):
        version, data = draw(st.sampled_from(_VECTORS))
    else:
        version = draw(versions)
        data = encode_packet(version, draw(packets(version)))
    changed = bytearray(data[:400])
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(changed) - 1)))
        match draw(st.integers(0, 3)):
            case 0:
                changed[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del changed[at : at + draw(st.integers(1, 3))]
            case 2:
                changed[at:at] = draw(st.binary(min_size=1, max_size=3))
            case 3:
                changed[at:] = b""
    if draw(st.booleans()) and 2 <= len(changed) < 0x80:
        changed[1] = len(changed) - 2
    return version, bytes(changed)


random_bytes = st.tuples(versions, st.binary(max_size=60))
