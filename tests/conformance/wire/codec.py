"""The data types of MQTT on the wire: integers, strings, binary data, properties.

MQTT 5.0 §1.5 and §2.2.2. Encoding takes what it is given, ill-formed or not: a test that
wants a broken string passes bytes in place of text. Decoding is strict.
"""

from typing import Any

Properties = dict[str, Any]

MAX_VARIABLE = 268_435_455

# name: (identifier, type on the wire)
PROPERTIES: dict[str, tuple[int, str]] = {
    "payload_format_indicator": (0x01, "byte"),
    "message_expiry_interval": (0x02, "four"),
    "content_type": (0x03, "string"),
    "response_topic": (0x08, "string"),
    "correlation_data": (0x09, "binary"),
    "subscription_identifier": (0x0B, "variable"),
    "session_expiry_interval": (0x11, "four"),
    "assigned_client_identifier": (0x12, "string"),
    "server_keep_alive": (0x13, "two"),
    "authentication_method": (0x15, "string"),
    "authentication_data": (0x16, "binary"),
    "request_problem_information": (0x17, "byte"),
    "will_delay_interval": (0x18, "four"),
    "request_response_information": (0x19, "byte"),
    "response_information": (0x1A, "string"),
    "server_reference": (0x1C, "string"),
    "reason_string": (0x1F, "string"),
    "receive_maximum": (0x21, "two"),
    "topic_alias_maximum": (0x22, "two"),
    "topic_alias": (0x23, "two"),
    "maximum_qos": (0x24, "byte"),
    "retain_available": (0x25, "byte"),
    "user_property": (0x26, "pair"),
    "maximum_packet_size": (0x27, "four"),
    "wildcard_subscription_available": (0x28, "byte"),
    "subscription_identifiers_available": (0x29, "byte"),
    "shared_subscription_available": (0x2A, "byte"),
}
NAMES = {identifier: (name, kind) for name, (identifier, kind) in PROPERTIES.items()}
REPEATABLE = {"user_property", "subscription_identifier"}
WIDTHS = {"byte": 1, "two": 2, "four": 4}


class WireError(AssertionError):
    """The server sent bytes that no MQTT server may send."""


def variable(value: int) -> bytes:
    """A variable byte integer in its shortest form. MQTT 5.0 §1.5.5."""
    encoded = bytearray()
    while True:
        value, digit = divmod(value, 128)
        encoded.append(digit | 0x80 if value else digit)
        if not value:
            return bytes(encoded)


def string(text: str | bytes) -> bytes:
    """A UTF-8 string behind its two length bytes; bytes are taken as they are."""
    return binary(text.encode() if isinstance(text, str) else text)


def binary(data: bytes) -> bytes:
    """Binary data behind its two length bytes; at most 65,535 bytes."""
    return len(data).to_bytes(2, "big") + data


def property_bytes(name: str, value: Any) -> bytes:
    """One property: identifier and value."""
    identifier, kind = PROPERTIES[name]
    head = bytes([identifier])
    if kind in WIDTHS:
        return head + int(value).to_bytes(WIDTHS[kind], "big")
    if kind == "variable":
        return head + variable(value)
    if kind == "pair":
        return head + string(value[0]) + string(value[1])
    return head + (string(value) if kind == "string" else binary(value))


def properties_section(properties: Properties | bytes) -> bytes:
    """A property section with its length; bytes are taken as ready-made properties.

    A value of None leaves its property out; a list writes it once for each element.
    """
    if isinstance(properties, bytes):
        return variable(len(properties)) + properties
    encoded = b"".join(
        property_bytes(name, value)
        for name, values in properties.items()
        if values is not None
        for value in (values if isinstance(values, list) else [values])
    )
    return variable(len(encoded)) + encoded


class Reader:
    """Reads the fields of one packet body and complains about what is not there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, length: int) -> bytes:
        if length > self.left:
            raise WireError(f"{length} bytes wanted, {self.left} left")
        self._at += length
        return self._data[self._at - length : self._at]

    def rest(self) -> bytes:
        return self.take(self.left)

    def integer(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def variable(self) -> int:
        value = shift = 0
        while True:
            digit = self.integer(1)
            value |= (digit & 0x7F) << shift
            if not digit & 0x80:
                break
            shift += 7
            if shift > 21:
                raise WireError("variable byte integer of more than four bytes")
        if shift and not digit:
            raise WireError("variable byte integer is not in its shortest form [MQTT-1.5.5-1]")
        return value

    def binary(self) -> bytes:
        return self.take(self.integer(2))

    def string(self) -> str:
        raw = self.binary()
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise WireError(f"ill-formed UTF-8 in {raw!r} [MQTT-1.5.4-1]") from error
        if "\0" in text:
            raise WireError("U+0000 in a string [MQTT-1.5.4-2]")
        return text

    def properties(self, allowed: set[str]) -> Properties:
        """The property section; `allowed` holds the names this packet may carry."""
        section = Reader(self.take(self.variable()))
        found: Properties = {}
        while section.left:
            identifier = section.variable()
            if identifier not in NAMES:
                raise WireError(f"unknown property 0x{identifier:02X}")
            name, kind = NAMES[identifier]
            if name not in allowed:
                raise WireError(f"{name} does not belong in this packet")
            value = section.value(kind)
            if name in REPEATABLE:
                found.setdefault(name, []).append(value)
            elif name in found:
                raise WireError(f"{name} twice")
            else:
                found[name] = value
        return found

    def value(self, kind: str) -> Any:
        if kind in WIDTHS:
            return self.integer(WIDTHS[kind])
        if kind == "pair":
            return (self.string(), self.string())
        return {"variable": self.variable, "string": self.string, "binary": self.binary}[kind]()
