"""Writes both languages' protocol tables from ``spec/mqtt.toml``.

Run without arguments it writes ``crates/packets/src/tables.rs`` and
``python/noctule/protocol/_tables.py``; with ``--check`` it writes nothing, names the
files that have drifted from the table and exits 1 if there are any.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "spec" / "mqtt.toml"
RUST = ROOT / "crates" / "packets" / "src" / "tables.rs"
PYTHON = ROOT / "python" / "noctule" / "protocol" / "_tables.py"

WILL = "WILL"
LINE_LENGTH = 100

PROPERTY_TYPES = {
    "byte": "Byte",
    "two byte integer": "TwoByteInteger",
    "four byte integer": "FourByteInteger",
    "variable byte integer": "VariableByteInteger",
    "utf-8 string": "Utf8String",
    "binary data": "BinaryData",
    "utf-8 string pair": "Utf8StringPair",
}
MAXIMA = {
    "byte": 0xFF,
    "two byte integer": 0xFFFF,
    "four byte integer": 0xFFFF_FFFF,
    "variable byte integer": 268_435_455,
}


@dataclass(frozen=True)
class PacketRow:
    """A packet type: its fixed header flags (None: its own matter) and who may send it."""

    name: str
    value: int
    flags: int | None
    sender: str


@dataclass(frozen=True)
class PropertyRow:
    """A property: where it may stand and repeat, and its bounds (inclusive; 0, 0: no integer)."""

    id: int
    name: str
    type: str
    packets: tuple[str, ...]
    repeatable: tuple[str, ...]
    minimum: int
    maximum: int
    refusal: int


@dataclass(frozen=True)
class ReasonRow:
    """One value of a reason code: its names, and the packets that each of them stands in."""

    value: int
    names: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def packets(self) -> tuple[str, ...]:
        """The packets it may stand in, under any of its names."""
        return tuple(packet for _, packets in self.names for packet in packets)


@dataclass(frozen=True)
class ReturnRow:
    """A CONNACK return code of 3.1.1 and the 5.0 reason codes that it stands in for."""

    value: int
    name: str
    reason_codes: tuple[int, ...]
    default: bool


@dataclass(frozen=True)
class Table:
    """All of ``spec/mqtt.toml``."""

    packets: tuple[PacketRow, ...]
    properties: tuple[PropertyRow, ...]
    reasons: tuple[ReasonRow, ...]
    returns: tuple[ReturnRow, ...]


def read(source: Path) -> Table:
    """Reads the table; KeyError or ValueError where it contradicts itself."""
    document = tomllib.loads(source.read_text(encoding="utf-8"))
    packets = tuple(
        PacketRow(row["name"], row["value"], row.get("flags"), row["from"])
        for row in document["packets"]
    )
    sections = {WILL, *(packet.name for packet in packets)}
    properties = tuple(_property(row) for row in document["properties"])
    reasons = _reasons(document["reason_codes"])
    for name, used in [(p.name, p.packets + p.repeatable) for p in properties] + [
        (reason.names[0][0], reason.packets) for reason in reasons
    ]:
        if unknown := set(used) - sections:
            raise ValueError(f"{name}: unknown packets {sorted(unknown)}")
    returns = tuple(
        ReturnRow(row["value"], row["name"], tuple(row["reason_codes"]), row.get("default", False))
        for row in document["return_codes"]
    )
    if sum(row.default for row in returns) != 1:
        raise ValueError("exactly one return code must be the default")
    return Table(packets, properties, reasons, returns)


def _property(row: dict[str, Any]) -> PropertyRow:
    packets = tuple(row["packets"])
    repeatable = row.get("repeatable", ())
    return PropertyRow(
        id=row["id"],
        name=row["name"],
        type=row["type"],
        packets=packets,
        repeatable=packets if repeatable is True else tuple(repeatable),
        minimum=row.get("minimum", 0),
        maximum=row.get("maximum", MAXIMA.get(row["type"], 0)),
        refusal=row.get("refusal", 0x82),
    )


def _reasons(rows: Iterable[dict[str, Any]]) -> tuple[ReasonRow, ...]:
    names: dict[int, list[tuple[str, tuple[str, ...]]]] = {}
    for row in rows:
        names.setdefault(row["value"], []).append((row["name"], tuple(row["packets"])))
    return tuple(ReasonRow(value, tuple(named)) for value, named in names.items())


def camel(name: str) -> str:
    """``Maximum QoS`` → ``MaximumQos``."""
    return "".join(word.capitalize() for word in name.replace("-", " ").split())


def screaming(name: str) -> str:
    """``Re-authenticate`` → ``RE_AUTHENTICATE``."""
    return name.replace("-", "_").replace(" ", "_").upper()


# --- Python ---------------------------------------------------------------------------

PYTHON_HEAD = '''\
"""The protocol's tables: packet types, properties, reason codes.

Generated from ``spec/mqtt.toml`` by ``tools/generate_tables.py``; change the table, not
this file. Sources: MQTT 5.0 §2.1.2, §2.2.2.2 and §2.4; MQTT 3.1.1 §3.2.2.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final

__all__ = [
    "FIXED_HEADER_FLAGS",
    "PROPERTIES",
    "REASON_CODES",
    "RETURN_CODES",
    "PacketType",
    "PropertyDefinition",
    "PropertyId",
    "PropertySection",
    "PropertyType",
    "ReasonCode",
    "ReturnCode",
]


class PacketType(IntEnum):
    """The control packets; the value is the upper half of a packet's first byte."""

'''

PROPERTY_DEFINITION = '''\
@dataclass(frozen=True, slots=True)
class PropertyDefinition:
    """What the specification says of one property.

    ``packets`` are the sections it may stand in, ``repeatable`` those of them where it
    may stand more than once. ``minimum`` and ``maximum`` bound the value of an integer
    (inclusive; both 0 for the other types); a value outside is answered with ``refusal``.
    """

    name: str
    type: PropertyType
    packets: frozenset[PropertySection]
    repeatable: frozenset[PropertySection]
    minimum: int
    maximum: int
    refusal: ReasonCode
'''


def python(table: Table) -> str:
    """The Python module, as ruff would format it."""
    parts = [
        PYTHON_HEAD + members((p.name, str(p.value)) for p in table.packets),
        "FIXED_HEADER_FLAGS: Final[Mapping[PacketType, int]] = MappingProxyType(\n    {\n"
        + "".join(
            f"        PacketType.{p.name}: 0b{p.flags:04b},\n"
            for p in table.packets
            if p.flags is not None
        )
        + '    }\n)\n"""The flags a packet must carry in its first byte; PUBLISH has its own."""\n',
        "class PropertyType(Enum):\n"
        '    """The data types of property values, MQTT 5.0 §1.5."""\n\n'
        + members((screaming(name), f'"{name}"') for name in PROPERTY_TYPES),
        "class PropertySection(IntEnum):\n"
        '    """Where properties stand: a packet, by its type\'s value, or CONNECT\'s will."""\n\n'
        + members([(WILL, "0"), *((p.name, f"PacketType.{p.name}") for p in table.packets)]),
        "class PropertyId(IntEnum):\n"
        '    """The property identifiers, MQTT 5.0 §2.2.2.2."""\n\n'
        + members((screaming(p.name), f"0x{p.id:02X}") for p in table.properties),
        "class ReasonCode(IntEnum):\n"
        '    """The reason codes, MQTT 5.0 §2.4.\n\n'
        "    From 0x80 upwards they are errors. A value with several names has the first as its\n"
        '    own and the others as aliases.\n    """\n\n'
        + members(
            (screaming(name), f"0x{r.value:02X}") for r in table.reasons for name, _ in r.names
        ),
        "class ReturnCode(IntEnum):\n"
        '    """The return codes of CONNACK before 5.0, MQTT 3.1.1 §3.2.2.3."""\n\n'
        + members((screaming(r.name), f"0x{r.value:02X}") for r in table.returns),
        PROPERTY_DEFINITION,
        _python_properties(table),
        _python_reasons(table),
        "RETURN_CODES: Final[Mapping[ReasonCode, ReturnCode]] = MappingProxyType(\n    {\n"
        + "".join(
            f"        ReasonCode.{_reason_name(table, code)}: ReturnCode.{screaming(r.name)},\n"
            for r in table.returns
            for code in r.reason_codes
        )
        + '    }\n)\n"""How a reason code is told before 5.0; what is missing is '
        + next(f'{screaming(r.name)}."""\n' for r in table.returns if r.default),
    ]
    return "\n\n".join(parts)


def members(named: Iterable[tuple[str, str]]) -> str:
    return "".join(f"    {name} = {value}\n" for name, value in named)


def _python_properties(table: Table) -> str:
    rows = "".join(
        f"        PropertyId.{screaming(p.name)}: PropertyDefinition(\n"
        f'            name="{p.name}",\n'
        f"            type=PropertyType.{screaming(p.type)},\n"
        f"{_python_set('            packets=', p.packets, 'PropertySection')}"
        f"{_python_set('            repeatable=', p.repeatable, 'PropertySection')}"
        f"            minimum={p.minimum},\n"
        f"            maximum={p.maximum:_},\n"
        f"            refusal=ReasonCode.{_reason_name(table, p.refusal)},\n"
        "        ),\n"
        for p in table.properties
    )
    return (
        "PROPERTIES: Final[Mapping[PropertyId, PropertyDefinition]] = MappingProxyType(\n    {\n"
        + rows
        + "    }\n)\n"
    )


def _python_reasons(table: Table) -> str:
    rows = "".join(
        _python_set(f"        ReasonCode.{screaming(r.names[0][0])}: ", r.packets, "PacketType")
        for r in table.reasons
    )
    return (
        "REASON_CODES: Final[Mapping[ReasonCode, frozenset[PacketType]]] = MappingProxyType(\n"
        "    {\n" + rows + '    }\n)\n"""Which packets a reason code may stand in."""\n'
    )


def _python_set(before: str, names: tuple[str, ...], enum: str) -> str:
    """A frozenset of enum members after `before`, broken as the formatter breaks it."""
    if not names:
        return f"{before}frozenset(),\n"
    indent = " " * (len(before) - len(before.lstrip()))
    members = [f"{enum}.{name}" for name in names]
    braces = "{" + ", ".join(members) + "}"
    if len(line := f"{before}frozenset({braces}),") <= LINE_LENGTH:
        return line + "\n"
    if len(line := f"{indent}    {braces}") <= LINE_LENGTH:
        return f"{before}frozenset(\n{line}\n{indent}),\n"
    rows = "".join(f"{indent}        {member},\n" for member in members)
    return f"{before}frozenset(\n{indent}    {{\n{rows}{indent}    }}\n{indent}),\n"


def _reason_name(table: Table, value: int) -> str:
    return next(screaming(r.names[0][0]) for r in table.reasons if r.value == value)


# --- Rust -----------------------------------------------------------------------------

RUST_HEAD = """\
//! The protocol's tables: packet types, properties, reason codes.
//!
//! Generated from `spec/mqtt.toml` by `tools/generate_tables.py`; change the table, not
//! this file. Sources: MQTT 5.0 §2.1.2, §2.2.2.2 and §2.4; MQTT 3.1.1 §3.2.2.3.

use crate::reason::ReasonCode;

"""

RUST_RULE = """\
/// What the specification says of one property.
pub(crate) struct PropertyRule {
    pub(crate) id: PropertyId,
    pub(crate) kind: PropertyType,
    /// The sections it may stand in, bits of [`section`].
    pub(crate) packets: u16,
    /// Those of them where it may stand more than once.
    pub(crate) repeatable: u16,
    /// Bounds of an integer's value, inclusive; 0 and 0 for the other types.
    pub(crate) minimum: u32,
    pub(crate) maximum: u32,
    /// What a value outside the bounds is answered with.
    pub(crate) refusal: ReasonCode,
}

"""


def rust(table: Table) -> str:
    """The Rust module, as rustfmt would format it (its one wide table is exempt)."""
    return RUST_HEAD + "\n".join(
        (
            _rust_enum(
                "PacketType",
                "The control packets; the value is the upper half of a packet's first byte.",
                [(camel(p.name), str(p.value)) for p in table.packets],
            ),
            _rust_names("PacketType", [(camel(p.name), p.name) for p in table.packets]),
            _rust_flags(table),
            _rust_enum(
                "PropertyId",
                "The property identifiers, MQTT 5.0 §2.2.2.2.",
                [(camel(p.name), f"0x{p.id:02X}") for p in table.properties],
            ),
            _rust_names("PropertyId", [(camel(p.name), p.name) for p in table.properties]),
            _rust_property_types(),
            _rust_sections(table),
            RUST_RULE + _rust_rules(table),
            _rust_reasons(table),
            _rust_enum(
                "ReturnCode",
                "The return codes of CONNACK before 5.0, MQTT 3.1.1 §3.2.2.3.",
                [(camel(r.name), f"0x{r.value:02X}") for r in table.returns],
            ),
            _rust_returns(table),
        )
    )


def _rust_enum(name: str, doc: str, members: list[tuple[str, str]]) -> str:
    variants = "".join(f"    {member} = {value},\n" for member, value in members)
    arms = "".join(f"            {value} => Self::{member},\n" for member, value in members)
    return (
        f"/// {doc}\n"
        "#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]\n"
        "#[repr(u8)]\n"
        f"pub enum {name} {{\n{variants}}}\n\n"
        f"impl {name} {{\n"
        "    /// The member with this value, if there is one.\n"
        "    pub const fn from_u8(value: u8) -> Option<Self> {\n"
        "        Some(match value {\n"
        f"{arms}"
        "            _ => return None,\n"
        "        })\n"
        "    }\n"
        "}\n"
    )


def _rust_names(enum: str, members: list[tuple[str, str]]) -> str:
    arms = "".join(f'            Self::{member} => "{name}",\n' for member, name in members)
    return (
        f"impl {enum} {{\n"
        "    /// The specification's name.\n"
        "    pub const fn name(self) -> &'static str {\n"
        f"        match self {{\n{arms}        }}\n"
        "    }\n"
        "}\n"
    )


def _rust_flags(table: Table) -> str:
    groups: dict[int, list[str]] = {}
    for packet in table.packets:
        if packet.flags:
            groups.setdefault(packet.flags, []).append(f"Self::{camel(packet.name)}")
    own = " | ".join(f"Self::{camel(p.name)}" for p in table.packets if p.flags is None)
    arms = "".join(
        f"            {' | '.join(packets)} => Some(0b{flags:04b}),\n"
        for flags, packets in groups.items()
    )
    return (
        "impl PacketType {\n"
        "    /// The fixed header flags the packet must carry; None: flags of its own.\n"
        "    pub const fn flags(self) -> Option<u8> {\n"
        "        match self {\n"
        f"            {own} => None,\n"
        f"{arms}"
        "            _ => Some(0b0000),\n"
        "        }\n"
        "    }\n"
        "}\n"
    )


def _rust_property_types() -> str:
    variants = "".join(f"    {name},\n" for name in PROPERTY_TYPES.values())
    return (
        "/// The data types of property values, MQTT 5.0 §1.5.\n"
        "#[derive(Clone, Copy, PartialEq, Eq, Debug)]\n"
        f"pub enum PropertyType {{\n{variants}}}\n"
    )


def _rust_sections(table: Table) -> str:
    rows = "".join(
        f"    pub(crate) const {name}: u16 = 1 << {value};\n"
        for name, value in [(WILL, 0), *((p.name, p.value) for p in table.packets)]
    )
    return (
        "/// Where properties and reason codes stand: a bit for each packet, by its type's\n"
        "/// value, and one for the will's section of CONNECT.\n"
        '#[allow(dead_code, reason = "PINGREQ and PINGRESP hold neither")]\n'
        f"pub(crate) mod section {{\n{rows}}}\n"
    )


def _rust_rules(table: Table) -> str:
    rows = []
    by_id = {p.id: p for p in table.properties}
    for identifier in range(max(by_id) + 1):
        p = by_id.get(identifier)
        if p is None:
            rows.append("    None,\n")
            continue
        kind = PROPERTY_TYPES[p.type]
        refusal = f"ReasonCode::{_reason_name(table, p.refusal)}"
        rows.append(
            f"    Some(PropertyRule {{\n"
            f"        id: PropertyId::{camel(p.name)}, kind: PropertyType::{kind},\n"
            f"        packets: {_rust_mask(p.packets)}, repeatable: {_rust_mask(p.repeatable)},\n"
            f"        minimum: {p.minimum}, maximum: {p.maximum:_}, refusal: {refusal},\n"
            "    }),\n"
        )
    return (
        "/// The rules by property identifier.\n"
        "#[rustfmt::skip]\n"
        f"pub(crate) static PROPERTY_RULES: [Option<PropertyRule>; {len(rows)}] = {{\n"
        "    use section::*;\n"
        "    [\n"
        + "".join("    " + line for row in rows for line in row.splitlines(True))
        + "    ]\n};\n"
    )


def _rust_mask(packets: tuple[str, ...]) -> str:
    return " | ".join(packets) or "0"


def _rust_reasons(table: Table) -> str:
    constants = "".join(
        f"    pub const {screaming(name)}: Self = Self(0x{r.value:02X});\n"
        for r in table.reasons
        for name, _ in r.names
    )
    names = "".join(f'            0x{r.value:02X} => "{r.names[0][0]}",\n' for r in table.reasons)
    masks = "".join(
        f"            0x{r.value:02X} => {_rust_mask(r.packets)},\n" for r in table.reasons
    )
    return (
        f"impl ReasonCode {{\n{constants}\n"
        "    /// The specification's name, the first of several; None: no reason code of 5.0.\n"
        "    pub const fn name(self) -> Option<&'static str> {\n"
        f"        Some(match self.0 {{\n{names}            _ => return None,\n        }})\n"
        "    }\n\n"
        "    /// The packets it may stand in, bits of [`section`].\n"
        "    #[rustfmt::skip]\n"
        "    pub(crate) const fn packets(self) -> u16 {\n"
        "        use section::*;\n"
        f"        match self.0 {{\n{masks}            _ => 0,\n        }}\n"
        "    }\n"
        "}\n"
    )


def _rust_returns(table: Table) -> str:
    arms = "".join(
        f"            {' | '.join(f'0x{code:02X}' for code in r.reason_codes)} => "
        f"Self::{camel(r.name)},\n"
        for r in table.returns
    )
    default = next(camel(r.name) for r in table.returns if r.default)
    return (
        "impl ReturnCode {\n"
        "    /// How a server tells a reason code of 5.0 to a client of an earlier version.\n"
        "    pub const fn from_reason(reason: ReasonCode) -> Self {\n"
        "        match reason.0 {\n"
        f"{arms}"
        f"            _ => Self::{default},\n"
        "        }\n"
        "    }\n"
        "}\n"
    )


# --------------------------------------------------------------------------------------

TARGETS: tuple[tuple[Path, Callable[[Table], str]], ...] = ((RUST, rust), (PYTHON, python))


def main(arguments: list[str] | None = None) -> int:
    """Writes or checks the generated files; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on drift")
    check: bool = parser.parse_args(arguments).check
    table = read(SOURCE)
    drifted = False
    for path, generate in TARGETS:
        text = generate(table)
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            drifted = True
            print(f"{path.relative_to(ROOT)} has drifted from spec/mqtt.toml", file=sys.stderr)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    if drifted:
        print("run: python tools/generate_tables.py", file=sys.stderr)
    return int(drifted)


if __name__ == "__main__":
    sys.exit(main())
