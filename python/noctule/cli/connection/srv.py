"""SRV records, RFC 2782: which hosts and ports serve MQTT for a domain. A DNS client of its
own, as small as this needs it, because the standard library has none.
"""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Iterator

from noctule.cli.connection.errors import ConnectError

__all__ = ["servers"]

SRV = 33
INTERNET = 1
DNS_PORT = 53
RECURSION_DESIRED = 0x0100
NAME_ERROR = 3
MAX_POINTERS = 64
RESOLVER_FILE = "/etc/resolv.conf"


def servers(domain: str, is_secure: bool, timeout: float) -> list[tuple[str, int]]:
    """Hosts and ports in the order to try them; ConnectError where the DNS does not answer."""
    service = "_secure-mqtt" if is_secure else "_mqtt"
    name = f"{service}._tcp.{domain.rstrip('.')}"
    answer = _ask(name, timeout)
    return list(_in_order(_records(answer)))


def _ask(name: str, timeout: float) -> bytes:
    question = os.urandom(2) + struct.pack(">5H", RECURSION_DESIRED, 1, 0, 0, 0)
    question += _encoded(name) + struct.pack(">2H", SRV, INTERNET)
    failure: OSError | None = None
    for server, port in _resolvers():
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.settimeout(timeout)
            try:
                asking.connect((server, port))
                asking.send(question)
                while True:
                    answer = asking.recv(65_535)
                    if len(answer) >= 12 and answer[:2] == question[:2]:
                        return answer
            except OSError as error:
                failure = error
    raise ConnectError(f"no DNS server answers for {name}: {failure or 'none is configured'}")


def _resolvers() -> list[tuple[str, int]]:
    try:
        with open(RESOLVER_FILE, encoding="utf-8") as file:
            words = [line.split() for line in file]
    except OSError:
        return []
    return [(w[1], DNS_PORT) for w in words if len(w) >= 2 and w[0] == "nameserver"]


def _encoded(name: str) -> bytes:
    out = bytearray()
    for label in name.split("."):
        data = label.encode("idna") if not label.isascii() else label.encode()
        if not 1 <= len(data) <= 63:
            raise ConnectError(f"{name} is no name for the DNS")
        out += bytes((len(data),)) + data
    return bytes(out + b"\0")


def _records(answer: bytes) -> list[tuple[int, int, int, str]]:
    """Priority, weight, port and host of each SRV record; ConnectError for a broken answer."""
    try:
        _, flags, questions, answers, _, _ = struct.unpack_from(">6H", answer)
        code = flags & 0xF
        if code not in (0, NAME_ERROR):
            raise ConnectError(f"the DNS server has answered with error {code}")
        offset = 12
        for _ in range(questions):
            _, offset = _name(answer, offset)
            offset += 4
        found = []
        for _ in range(answers):
            _, offset = _name(answer, offset)
            kind, _, _, length = struct.unpack_from(">HHIH", answer, offset)
            offset += 10
            if kind == SRV:
                priority, weight, port = struct.unpack_from(">3H", answer, offset)
                host, _ = _name(answer, offset + 6)
                if host:
                    found.append((priority, weight, port, host))
            offset += length
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ConnectError("the DNS server's answer cannot be read") from error
    return found


def _name(data: bytes, offset: int) -> tuple[str, int]:
    """A name, which may go on elsewhere (RFC 1035 §4.1.4), and the offset behind it."""
    labels: list[str] = []
    end = None
    for _ in range(MAX_POINTERS):
        length = data[offset]
        if length & 0xC0 == 0xC0:
            end = offset + 2 if end is None else end
            offset = (length & 0x3F) << 8 | data[offset + 1]
        elif length == 0:
            return ".".join(labels), offset + 1 if end is None else end
        else:
            labels.append(data[offset + 1 : offset + 1 + length].decode("ascii"))
            offset += 1 + length
    raise ConnectError("the DNS server's answer has a name without end")


def _in_order(records: list[tuple[int, int, int, str]]) -> Iterator[tuple[str, int]]:
    """Lowest priority first, and among equals by chance, as their weights say."""
    waiting = sorted(records)
    while waiting:
        equals = [record for record in waiting if record[0] == waiting[0][0]]
        weights = [record[1] + 0.001 for record in equals]
        chosen = random.choices(equals, weights)[0]  # noqa: S311
        waiting.remove(chosen)
        yield chosen[3], chosen[2]
