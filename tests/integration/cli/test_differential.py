"""The same command lines through Mosquitto's tools and ours: what arrives, what is printed,
and the exit code are the same.

Every case runs three times against one broker: their tools alone, our subscriber with their
publisher, and their subscriber with our publisher.
"""

import asyncio
import re
import shutil
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.cli.stage import NOCTULE, Outcome, Stage

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        shutil.which("mosquitto_rr") is None, reason="mosquitto-clients is not installed"
    ),
]

THEIRS = {name: (f"mosquitto_{name}",) for name in ("pub", "sub", "rr")}
OURS = {name: (*NOCTULE, name) for name in ("pub", "sub", "rr")}


class Case(NamedTuple):
    """A subscriber's arguments, and publishers' with what is on their standard input.

    `before` are publishers that have ended before the subscriber starts; `changes` is how
    many filters the subscriber subscribes and unsubscribes. `awaited` are lines that it prints
    before the next publisher starts: what a program does with two packets at once is up to it.
    """

    sub: tuple[str, ...]
    pubs: tuple[tuple[tuple[str, ...], bytes | None], ...] = ()
    before: tuple[tuple[str, ...], ...] = ()
    changes: int = 1
    awaited: tuple[bytes, ...] = ()


def pub(*arguments: str, text: bytes | None = None) -> tuple[tuple[str, ...], bytes | None]:
    return arguments, text


PROPERTIES = (
    *("-V", "5", "-q", "1", "-D", "publish", "content-type", "text/plain"),
    *("-D", "publish", "user-property", "k", "v", "-D", "publish", "user-property", "k2", "v 2"),
    *("-D", "publish", "correlation-data", "corr", "-D", "publish", "response-topic", "re/sp"),
    *("-D", "publish", "message-expiry-interval", "60"),
    *("-D", "publish", "payload-format-indicator", "1"),
)
JSON = '{"a":[1,{},[],{"b":[]},2.50,1e3],"c":1e300,"d":0.1,"e":"\\u00e9\\n","a":null,"t":true}'

CASES = {
    "payload": Case(("-t", "t", "-C", "1"), (pub("-t", "t", "-m", "hello"),)),
    "verbose": Case(("-t", "t/#", "-v", "-C", "1"), (pub("-t", "t/a/b", "-m", "hello"),)),
    "empty": Case(
        ("-t", "t/#", "-C", "3"),
        (pub("-t", "t/1", "-n"), pub("-t", "t/2", "-m", ""), pub("-t", "t/3", "-m", "x")),
    ),
    "empty verbose": Case(
        ("-t", "t/#", "-v", "-C", "2"), (pub("-t", "t/1", "-n"), pub("-t", "t/2", "-m", "x"))
    ),
    "no newline": Case(
        ("-t", "t/#", "-N", "-v", "-C", "3"),
        (pub("-t", "t/1", "-n"), pub("-t", "t/2", "-m", "x", "--repeat", "2")),
    ),
    "lines": Case(
        ("-t", "t", "-v", "-C", "4", "-q", "1"),
        (pub("-t", "t", "-l", "-q", "1", text=b"a\n\nb\r\nlast without end"),),
    ),
    "many lines": Case(
        ("-t", "t", "-C", "500", "-q", "2"),
        (pub("-t", "t", "-l", "-q", "2", text=b"".join(b"line %d\n" % n for n in range(500))),),
    ),
    "standard input": Case(("-t", "t", "-C", "1"), (pub("-t", "t", "-s", text=b"a\nb\n\xff\0"),)),
    "file": Case(("-t", "t", "-F", "%x", "-C", "1"), (pub("-t", "t", "-f", "FILE"),)),
    "repeat": Case(
        ("-t", "t", "-C", "3"),
        (pub("-t", "t", "-m", "x", "--repeat", "3", "--repeat-delay", "0.01", "-q", "1"),),
    ),
    "several topics": Case(
        ("-t", "a", "-t", "b/+", "-v", "-C", "2"),
        (pub("-t", "b/1", "-m", "1"), pub("-t", "c", "-m", "no"), pub("-t", "a", "-m", "2")),
        changes=2,
    ),
    "filtered out": Case(
        ("-t", "t/#", "-T", "t/2", "-T", "t/3/#", "-v", "-C", "2"),
        tuple(pub("-t", f"t/{name}", "-m", name) for name in ("1", "2", "3/a", "4")),
    ),
    "unsubscribed": Case(
        ("-t", "t/#", "-t", "t/+", "-U", "t/#", "-v", "-C", "2"),
        (pub("-t", "t/1", "-m", "1"), pub("-t", "t/2/3", "-m", "no"), pub("-t", "t/4", "-m", "4")),
        changes=3,
    ),
    "retained": Case(
        ("-t", "t", "-F", "%t %p %r", "-C", "1"), before=(("-t", "t", "-m", "kept", "-r"),)
    ),
    "retained removed by -n": Case(
        ("-t", "t", "-v", "-C", "1"),
        (pub("-t", "t", "-m", "new"),),
        before=(("-t", "t", "-m", "kept", "-r"), ("-t", "t", "-r", "-n")),
    ),
    "no retained": Case(
        ("-t", "t/#", "-R", "-v", "-C", "1"),
        (pub("-t", "t/2", "-m", "new"),),
        before=(("-t", "t/1", "-m", "kept", "-r"),),
    ),
    "retained only": Case(
        ("-t", "t/#", "--retained-only", "-v"),
        (pub("-t", "t/2", "-m", "new"),),
        before=(("-t", "t/1", "-m", "kept", "-r"),),
    ),
    "retain as published": Case(
        ("-V", "5", "-t", "t", "--retain-as-published", "-F", "%p %r", "-C", "1"),
        (pub("-V", "5", "-t", "t", "-m", "x", "-r"),),
    ),
    # Theirs does not end where -C or --retained-only should end it.
    "remove retained": Case(
        ("-t", "t/#", "--remove-retained", "-v", "-W", "1"),
        before=(("-t", "t/1", "-m", "kept", "-r"), ("-t", "t/2", "-m", "kept", "-r")),
    ),
    "properties": Case(
        (
            *("-t", "t", "-V", "5", "-q", "1", "-C", "1", "-F"),
            "[%A][%10A][%-10A][%010A][%C][%12C][%-12C][%.3C][%012C][%D][%10D][%E][%05E][%-5E]"
            "[%F][%3F][%03F][%P][%12P][%R][%10.2R][%S][%5S][%l][%5l][%05l][%-5l][%m][%5m]",
        ),
        (pub("-t", "t", "-m", "hello", *PROPERTIES),),
    ),
    "no properties": Case(
        ("-t", "t", "-C", "1", "-F", "[%A][%C][%D][%E][%F][%P][%R][%S][%10C][%5E][%05A][%-7F]"),
        (pub("-t", "t", "-m", "hello"),),
    ),
    "widths": Case(
        (
            *("-t", "t/y", "-C", "1", "-F"),
            "[%p][%12p][%-12p][%012p][%.2p][%3p][%q][%5q][%r][%05r][%t][%10t][%-10t][%.2t]"
            "[%010t][%-.2t][%x][%.4x][%4x][%X][%%][@@][%-05l][%5.l][%5.5l]",
        ),
        (pub("-t", "t/y", "-m", "payload"),),
    ),
    "escapes": Case(
        ("-t", "t", "-C", "1", "-F", "\\\\ \\0 \\a \\e \\n \\r \\t \\v \\n %p"),
        (pub("-t", "t", "-m", "x"),),
    ),
    "subscription identifier": Case(
        (
            *("-V", "5", "-t", "t", "-C", "1", "-F", "%S|%4S|%j"),
            *("-D", "subscribe", "subscription-identifier", "7"),
        ),
        (pub("-t", "t", "-m", "x"),),
    ),
    "json": Case(
        ("-t", "t", "-V", "5", "-q", "2", "-C", "4", "-F", "%j"),
        (
            pub("-t", "t", "-m", 'plain "q" é \t\\ /'),
            pub("-t", "t", "-n"),
            pub("-t", "t", "-m", JSON, *PROPERTIES),
            pub("-t", "t", "-m", "x", "-q", "2"),
        ),
    ),
    "json payload": Case(
        ("-t", "t", "-C", "5", "-F", "%J"),
        tuple(pub("-t", "t", "-m", text) for text in (JSON, "3.0", " [1.1] ", "no json", '""')),
    ),
    "pretty": Case(
        ("-t", "t", "-C", "3", "-F", "%J", "--pretty"),
        tuple(pub("-t", "t", "-m", text) for text in (JSON, "{}", "[]")),
    ),
    "pretty string": Case(
        ("-t", "t", "-V", "5", "-q", "1", "-C", "1", "-F", "%j", "--pretty"),
        (pub("-t", "t", "-m", "x", *PROPERTIES),),
    ),
    "exit after subscribing": Case(("-t", "t", "-E")),
    "timed out": Case(("-t", "t", "-W", "1")),
    "timed out with some": Case(("-t", "t", "-W", "6", "-C", "2"), (pub("-t", "t", "-m", "1"),)),
    "versions": Case(
        ("-V", "mqttv31", "-t", "t", "-q", "2", "-C", "2", "-F", "%q %p"),
        (
            pub("-V", "mqttv31", "-t", "t", "-m", "a", "-q", "1"),
            pub("-V", "mqttv5", "-t", "t", "-m", "b", "-q", "2"),
        ),
    ),
    "long options": Case(
        ("--topic", "t", "--qos", "1", "--verbose", "-C", "1", "--id-prefix", "s", "--quiet"),
        (pub("--topic", "t", "--message", "x", "--qos", "1", "--id", "p", "--keepalive", "30"),),
    ),
    "url": Case(
        ("-L", "mqtt://127.0.0.1:PORT/t/#", "-v", "-C", "1"),
        (pub("-L", "mqtt://127.0.0.1:PORT/t/1", "-m", "x"),),
    ),
    "will": Case(
        ("-t", "t", "-C", "1", "--will-topic", "w", "--will-payload", "gone", "--will-qos", "1"),
        (pub("-t", "t", "-m", "x", "--will-topic", "w", "--will-retain"),),
    ),
    "bound": Case(
        ("-t", "t", "-C", "1", "-A", "127.0.0.1", "-h", "127.0.0.1", "--nodelay", "-k", "9"),
        (pub("-t", "t", "-m", "x", "-A", "127.0.0.1", "-h", "127.0.0.1", "--nodelay", "-k", "9"),),
    ),
    "one in flight": Case(
        ("-t", "t", "-q", "2", "-C", "60", "-M", "1"),
        (pub("-t", "t", "-l", "-q", "2", "-M", "1", text=b"1\n2\n3\n" * 20),),
    ),
    "prefix of the name": Case(
        ("-t", "t", "-C", "1", "-I", "sub-", "-v"), (pub("-t", "t", "-m", "x", "-I", "pub-"),)
    ),
    "lower QoS wins": Case(
        ("-t", "t", "-q", "1", "-C", "3", "-F", "%q %p"),
        tuple(pub("-t", "t", "-m", qos, "-q", qos) for qos in "012"),
    ),
    "empty lines": Case(
        ("-t", "t/#", "-v", "-C", "3"),
        (pub("-t", "t/1", "-l", text=b"\n\n"), pub("-t", "t/2", "-l", text=b"end")),
    ),
    "no lines": Case(
        ("-t", "t", "-C", "1"), (pub("-t", "t", "-l", text=b""), pub("-t", "t", "-m", "x"))
    ),
    "long line": Case(
        ("-t", "t", "-C", "2", "-F", "%l"),
        (pub("-t", "t", "-l", "-q", "1", text=b"x" * 300_000 + b"\ny\n"),),
    ),
    "large payload": Case(
        ("-t", "t", "-C", "1", "-N"), (pub("-t", "t", "-s", text=b"0123456789abcdef" * 40_000),)
    ),
    "letters of other alphabets": Case(
        ("-t", "\u00e9/\u65e5\u672c/#", "-v", "-C", "1"),
        (pub("-t", "\u00e9/\u65e5\u672c/x", "-m", "\u00fc\u00df \U0001f987"),),
    ),
    "bytes that are no text": Case(
        ("-t", "t", "-v", "-C", "1", "-F", "%p|%x|%X|%l"), (pub("-t", "t", "-f", "FILE"),)
    ),
    "several topics for a publisher": Case(
        ("-t", "t/#", "-v", "-C", "1"), (pub("-t", "t/1", "-t", "t/2", "-m", "x"),)
    ),
    "repeated file": Case(
        ("-t", "t", "-C", "3", "-F", "%l"), (pub("-t", "t", "-f", "FILE", "--repeat", "3"),)
    ),
    "repeated nothing": Case(
        ("-t", "t", "-C", "2", "-F", "%l"), (pub("-t", "t", "-n", "--repeat", "2", "-q", "2"),)
    ),
    "repeated input": Case(
        ("-t", "t", "-C", "2"), (pub("-t", "t", "-s", "--repeat", "2", text=b"a\nb"),)
    ),
    "shared": Case(("-t", "$share/g/t/#", "-v", "-C", "1"), (pub("-t", "t/1", "-m", "x"),)),
    "filtered out with wildcards": Case(
        ("-t", "#", "-T", "+/2", "-T", "$share/x/y", "-v", "-C", "2"),
        tuple(pub("-t", f"t/{name}", "-m", name) for name in ("1", "2", "3")),
    ),
    "quiet": Case(("-t", "t", "-W", "1", "--quiet")),
    "session expiry": Case(
        ("-t", "t", "-V", "5", "-i", "s", "-c", "-x", "60", "-q", "1", "-C", "1"),
        (pub("-t", "t", "-m", "x", "-x", "60", "-i", "p", "-c"),),
    ),
    "for ever": Case(
        ("-t", "t", "-i", "s", "-c", "-x", "\u221e", "-C", "1"),
        (pub("-t", "t", "-m", "x", "-x", "-1"),),
    ),
    "too large for the subscriber": Case(
        ("-t", "t/#", "-v", "-V", "5", "-D", "connect", "maximum-packet-size", "60", "-C", "1"),
        (pub("-t", "t/1", "-m", "x" * 100), pub("-t", "t/2", "-m", "y")),
    ),
    "properties of other packets": Case(
        (
            *("-t", "t", "-t", "u", "-U", "u", "-C", "1", "-v"),
            *("-D", "connect", "user-property", "a", "b", "-D", "connect", "receive-maximum", "5"),
            *("-D", "connect", "topic-alias-maximum", "3"),
            *("-D", "connect", "request-problem-information", "0"),
            *("-D", "subscribe", "user-property", "a", "b"),
            *("-D", "unsubscribe", "user-property", "a", "b"),
            *("-D", "disconnect", "user-property", "a", "b"),
        ),
        (pub("-t", "t", "-m", "x", "-D", "connect", "user-property", "a", "b"),),
        changes=3,
    ),
    "alias": Case(
        ("-t", "t", "-V", "5", "-C", "2", "-F", "%t %p"),
        (pub("-t", "t", "-m", "x", "--repeat", "2", "-D", "publish", "topic-alias", "1"),),
    ),
    "words in front of their format": Case(
        ("-F", "%t=%p;", "-N", "-t", "t/#", "-C", "2", "-v"),
        (pub("-m", "1", "-t", "t/1"), pub("-m", "2", "-t", "t/2")),
    ),
    "time": Case(
        (
            *("-t", "t", "-C", "1", "-F"),
            "%I|%U|@Y-@m-@dT@H:@M:@S.@N|@A @B @j @p @y @Z|%30I|%-30I|%.4I",
        ),
        (pub("-t", "t", "-m", "x"),),
    ),
    "debug of every packet": Case(
        (
            *("-t", "t", "-t", "u", "-U", "u", "-C", "2", "-d", "-i", "subscriber"),
            *("-V", "5", "-F", "%p"),
        ),
        (
            pub("-t", "t", "-m", "x", "-q", "2", "-d", "-i", "one", "-V", "5"),
            pub("-t", "t", "-m", "y", "-q", "1", "-r", "-d", "-i", "two", "-V", "311"),
        ),
        changes=3,
        awaited=(b"x\n",),
    ),
    "debug": Case(
        ("-t", "t", "-q", "0", "-C", "1", "-d", "-i", "subscriber", "-V", "5"),
        (pub("-t", "t", "-m", "x", "-q", "1", "-d", "-i", "publisher"),),
    ),
}  # fmt: skip

DEPENDS_ON_TIME = re.compile(rb'"tst":\s*"[^"]*"')
CLOCK = re.compile(rb"(?<=[T:.])\d\d(?=[:.+|])|(?<=\.)\d{9}|(?<=\|)\d{10}(?=\.)")


def comparable(outcome: Outcome) -> tuple[bytes, int]:
    """Standard output and exit code. Debian's tools write the zone of `tst` wrongly, Z+0000."""
    return CLOCK.sub(b"0", DEPENDS_ON_TIME.sub(b'"tst":""', outcome.stdout)), outcome.code


async def played(
    stage: Stage, case: Case, sub: tuple[str, ...], pub: tuple[str, ...], file: Path
) -> list[tuple[bytes, int]]:
    """What the subscriber printed and its exit code, then the publishers' codes."""

    def filled(arguments: tuple[str, ...]) -> list[str]:
        port = str(stage.port)
        return [a.replace("PORT", port).replace("FILE", str(file)) for a in arguments] + (
            [] if "-L" in arguments else ["-p", port]
        )

    for arguments in case.before:
        assert (await stage.run(*pub, *filled(arguments))).code == 0
    subscriber = await stage.subscriber(*sub, *filled(case.sub), changes=case.changes)
    published = []
    for (arguments, text), awaited in zip_longest(case.pubs, case.awaited):
        published.append(await stage.run(*pub, *filled(arguments), text=text))
        if awaited is not None:
            await subscriber.has_printed(awaited)
    received = await subscriber.outcome()
    return [comparable(received), *((b"", outcome.code) for outcome in published)]


@pytest.mark.parametrize("name", CASES)
async def test_ours_do_what_theirs_do(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    file = tmp_path / "payload"
    file.write_bytes(bytes(range(256)) * 3)

    async def outcomes(sub: tuple[str, ...], pub: tuple[str, ...]) -> list[tuple[bytes, int]]:
        async with Stage(tmp_path) as stage:  # A new broker: nothing retained, no sessions.
            return await played(stage, case, sub, pub, file)

    theirs, our_sub, our_pub = await asyncio.gather(
        outcomes(THEIRS["sub"], THEIRS["pub"]),
        outcomes(OURS["sub"], THEIRS["pub"]),
        outcomes(THEIRS["sub"], OURS["pub"]),
    )
    assert our_sub == theirs
    assert our_pub == theirs


WRONG = {
    "no option": ("sub", ("-t", "t", "--nonsense")),
    "no argument": ("sub", ("-t",)),
    "no topic": ("sub", ()),
    "wrong filter": ("sub", ("-t", "a#")),
    "wrong filter out": ("sub", ("-t", "a", "-T", "b#")),
    "wrong port": ("sub", ("-t", "a", "-p", "99999")),
    "wrong qos": ("sub", ("-t", "a", "-q", "3")),
    "wrong count": ("sub", ("-t", "a", "-C", "0")),
    "wrong timeout": ("sub", ("-t", "a", "-W", "0")),
    "wrong keep alive": ("sub", ("-t", "a", "-k", "3")),
    "wrong version": ("sub", ("-t", "a", "-V", "4")),
    "wrong share": ("sub", ("-t", "a", "--random-filter", "0")),
    "session without name": ("sub", ("-t", "a", "-c")),
    "two names": ("sub", ("-t", "a", "-i", "x", "-I", "y")),
    "two kinds of retained": ("sub", ("-t", "a", "-R", "--retained-only")),
    "payload without will": ("sub", ("-t", "a", "--will-payload", "x")),
    "cert without key": ("sub", ("-t", "a", "--cert", "x")),
    "no such cafile": ("sub", ("-t", "a", "--cafile", "/nonexistent")),
    "no such socket": ("sub", ("-t", "a", "--unix", "/nonexistent")),
    "unknown field": ("sub", ("-t", "a", "-F", "%z")),
    "open field": ("sub", ("-t", "a", "-F", "x%")),
    "open width": ("sub", ("-t", "a", "-F", "%05")),
    "unknown escape": ("sub", ("-t", "a", "-F", "\\q")),
    "open time": ("sub", ("-t", "a", "-F", "@")),
    "unknown scheme": ("sub", ("-L", "http://localhost/a")),
    "unknown packet": ("sub", ("-t", "a", "-D", "nonsense", "user-property", "a", "b")),
    "unknown property": ("pub", ("-t", "a", "-m", "b", "-D", "publish", "nonsense", "x")),
    "misplaced property": (
        "pub", ("-t", "a", "-m", "b", "-D", "publish", "will-delay-interval", "3")
    ),
    "property without value": ("pub", ("-t", "a", "-m", "b", "-D", "publish", "content-type")),
    "forbidden value": ("sub", ("-t", "a", "-V", "5", "-D", "connect", "receive-maximum", "0")),
    "no message": ("pub", ("-t", "a")),
    "two messages": ("pub", ("-t", "a", "-m", "b", "-n")),
    "wildcard": ("pub", ("-t", "a/+", "-m", "b")),
    "no such file": ("pub", ("-t", "a", "-f", "/nonexistent")),
    "no room": ("pub", ("-t", "a", "-m", "b", "-M", "0")),
    "no repeat": ("pub", ("-t", "a", "-m", "b", "--repeat", "0")),
    "no delay": ("pub", ("-t", "a", "-m", "b", "--repeat-delay", "-1")),
    "no expiry": ("pub", ("-t", "a", "-m", "b", "-x", "abc")),
    "too much expiry": ("pub", ("-t", "a", "-m", "b", "-x", "4294967296")),
    "password without user": ("pub", ("-t", "a", "-m", "b", "-P", "x")),
    "no broker": ("pub", ("-t", "a", "-m", "b", "-p", "1")),
    "no host": ("pub", ("-t", "a", "-m", "b", "-h", "nonexistent.invalid")),
    "no response topic": ("rr", ("-t", "a", "-m", "b")),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
async def test_the_same_is_refused(tmp_path: Path, name: str) -> None:
    command, arguments = WRONG[name]
    async with Stage(tmp_path) as stage:
        given = arguments if {"-p", "-L", "--unix"} & {*arguments} else (
            *arguments, *(("-p", str(stage.port)) if len(arguments) != 1 else ())
        )  # fmt: skip
        theirs = await stage.run(*THEIRS[command], *given)
        ours = await stage.run(*OURS[command], *given)
    assert theirs.code == 1
    assert ours.code == theirs.code
    assert ours.stdout == b""
    assert ours.stderr.startswith(f"noctule {command}: ".encode())


async def test_nothing_on_standard_input_is_no_message(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        arguments = ("-p", str(stage.port), "-t", "t", "-s")
        theirs = await stage.run(*THEIRS["pub"], *arguments, text=b"")
        ours = await stage.run(*OURS["pub"], *arguments, text=b"")
    assert ours.code == theirs.code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("-t", "q", "-e", "q", "-m", "x"),
        ("-t", "q", "-e", "q", "-m", "x", "-v", "-q", "1"),
        ("-t", "q", "-e", "q", "-m", "x", "-F", "%t %p %R", "-q", "2"),
        ("-t", "q", "-e", "q", "-m", "x", "-V", "311", "-N"),
        ("-t", "q", "-e", "other", "-m", "x", "-W", "1"),
        ("-t", "q", "-e", "other", "-n", "-W", "1"),
    ],
)
async def test_request_and_response(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    async with Stage(tmp_path) as stage:
        given = (*arguments, "-p", str(stage.port))
        theirs = await stage.run(*THEIRS["rr"], *given)
        ours = await stage.run(*OURS["rr"], *given)
    assert comparable(ours) == comparable(theirs)


@pytest.mark.parametrize("arguments", [("-V", "5"), ("-V", "311"), ("-V", "5", "-t", "u")])
async def test_refused_subscriptions(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    offers = {"wildcard_subscription_available": False}
    async with Stage(tmp_path, protocol=offers) as stage:
        given = ("-t", "t/#", *arguments, "-p", str(stage.port), "-W", "1")
        theirs = await stage.run(*THEIRS["sub"], *given)
        ours = await stage.run(*OURS["sub"], *given)
    assert comparable(ours) == comparable(theirs)


@pytest.mark.parametrize("version", ["311", "5"])
async def test_session_is_continued(tmp_path: Path, version: str) -> None:
    """What is published while the subscriber is away comes when it is back."""
    outcomes = []
    for sub in (THEIRS["sub"], OURS["sub"]):
        async with Stage(tmp_path) as stage:
            given = ("-p", str(stage.port), "-V", version, "-i", "me", "-c", "-q", "2", "-t", "t/#")
            assert (await stage.run(*sub, *given, "-E")).code == 0
            for number in range(3):
                message = ("-t", f"t/{number}", "-m", str(number), "-q", "2")
                await stage.run(*OURS["pub"], "-p", str(stage.port), *message)
            outcomes.append(comparable(await stage.run(*sub, *given, "-C", "3", "-v")))
    assert outcomes[0] == (b"t/0 0\nt/1 1\nt/2 2\n", 0)
    assert outcomes[1] == outcomes[0]
