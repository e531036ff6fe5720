"""`noctule doctor` where something is wrong: which step fails, and what it says to do."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from noctule.cli.app import noctule
from tests.conformance.certificates import folder
from tests.integration.cli.stage import NOCTULE, environment
from tests.served_broker import ServedBroker

Serve = Callable[..., int]
Steps = dict[str, list[tuple[str, str, str]]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a broker with this listener and this [access], and returns its port."""
    with ExitStack() as stack:

        def start(listen: str = "mqtt://127.0.0.1:0", access: str = "") -> int:
            file = tmp_path / "noctule.toml"
            file.write_text(f'durability = "memory"\nworkers = 1\n[access]\n{access}')
            served = ServedBroker("--config", str(file), listen=listen)
            return stack.enter_context(served).port

        yield start


def secure(certificate: str, host: str = "127.0.0.1", more: str = "") -> str:
    """A listener that shows this certificate."""
    place = folder() / certificate
    return f"mqtts://{host}:0?tls_certificate={place}.pem&tls_key={place}.key{more}"


async def examined(home: Path, *arguments: str, **variables: str) -> tuple[Steps, int]:
    """The findings by step: state, text and advice; and the exit code."""
    process = await asyncio.create_subprocess_exec(
        *NOCTULE, "doctor", *arguments, "--json",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        env=environment(home, **variables),
    )  # fmt: skip
    async with asyncio.timeout(60):
        stdout, _ = await process.communicate()
    assert process.returncode is not None
    report = json.loads(stdout)
    assert report["ok"] == (process.returncode == 0)
    steps: Steps = {}
    for step in report["steps"]:
        steps.setdefault(step["name"], []).append((step["state"], step["text"], step["advice"]))
    return steps, process.returncode


def failure(steps: Steps) -> tuple[str, str, str]:
    """The one step that failed: its name, text and advice; no step came after it."""
    name, found = list(steps.items())[-1]
    state, text, advice = found[-1]
    assert state == "failed", steps
    return name, text, advice


AUTHORITY = ("--cafile", "AUTHORITY")


@pytest.mark.parametrize(
    ("certificate", "host", "arguments", "text", "advice"),
    [
        ("expired", "127.0.0.1", AUTHORITY, "certificate has expired", "it has to be renewed"),
        ("foreign", "127.0.0.1", AUTHORITY, "unable to get local issuer", "--cafile names"),
        ("server", "127.0.0.1", ("--tls",), "certificate", "--cafile names"),
        ("server", "127.0.0.2", AUTHORITY, "IP address mismatch", "connect by the name"),
        ("server", "127.0.0.1", ("--tls-version", "tlsv1.1"), "failed", "check --tls-version"),
    ],
)
async def test_broken_certificates(
    tmp_path: Path,
    serve: Serve,
    certificate: str,
    host: str,
    arguments: tuple[str, ...],
    text: str,
    advice: str,
) -> None:
    listen = secure(certificate, host, "&allow_anonymous=true")
    port = serve(listen)
    given = [str(folder() / "authority.pem") if a == "AUTHORITY" else a for a in arguments]
    steps, code = await examined(tmp_path, "-h", host, "-p", str(port), *given)
    assert code == 1
    name, said, advised = failure(steps)
    assert name == "TLS"
    assert text in said
    assert advice in advised
    assert list(steps) == ["name", "TCP", "TLS"]


async def test_certificate_that_clients_have_to_show(tmp_path: Path, serve: Serve) -> None:
    authority = folder() / "authority.pem"
    port = serve(secure("server", more=f"&client_certificates=required&client_ca={authority}"))
    base = ("-h", "127.0.0.1", "-p", str(port), "--cafile", str(authority))
    steps, code = await examined(tmp_path, *base)
    assert code == 1
    name, said, advised = failure(steps)
    assert name == "TLS"
    assert "certificate" in said
    assert "--cert" in advised
    told = await asyncio.create_subprocess_exec(
        *NOCTULE, "pub", *base, "-t", "t", "-m", "x",
        stderr=asyncio.subprocess.PIPE, env=environment(tmp_path),
    )  # fmt: skip
    _, stderr = await told.communicate()
    assert told.returncode == 1
    assert b"the server may ask for a certificate of ours: --cert and --key" in stderr
    good = ("--cert", str(folder() / "good.pem"), "--key", str(folder() / "good.key"))
    steps, code = await examined(tmp_path, *base, *good)
    assert code == 0, steps
    assert steps["QoS 2"][0][0] == "ok"
    bad = ("--cert", str(folder() / "foreign.pem"), "--key", str(folder() / "foreign.key"))
    steps, code = await examined(tmp_path, *base, *bad)
    assert code == 1
    assert failure(steps)[0] == "TLS"


async def test_password(tmp_path: Path, serve: Serve) -> None:
    file = tmp_path / "users"
    CliRunner().invoke(noctule, ["passwd", "--create", str(file), "alice"], input="secret\n")
    port = serve(access=f'password_file = "{file}"\n')
    base = ("-h", "127.0.0.1", "-p", str(port), "-u", "alice")
    steps, code = await examined(tmp_path, *base, NOCTULE_PASSWORD="wrong")
    assert code == 1
    name, said, advised = failure(steps)
    assert (name, said) == ("access", "alice is not let in")
    assert "check -u and the password" in advised
    assert steps["MQTT 5.0"][0][1].startswith("refused: 0x")
    steps, code = await examined(tmp_path, *base, NOCTULE_PASSWORD="secret")
    assert code == 0, steps
    assert steps["access"] == [("ok", "let in as alice", "")]
    steps, code = await examined(tmp_path, "-h", "127.0.0.1", "-p", str(port))
    assert code == 1
    assert failure(steps)[1] == "an unnamed client is not let in"
    assert "-u" in failure(steps)[2]


async def test_rights(tmp_path: Path, serve: Serve) -> None:
    rules = '[[access.rules]]\npermission = "allow"\nfilter = "mine/#"\n'
    port = serve(access=rules)
    base = ("-h", "127.0.0.1", "-p", str(port))
    steps, code = await examined(tmp_path, *base)
    assert code == 1
    (state, said, advised), *_ = steps["QoS 0"]
    assert state == "failed"
    assert "refused" in said
    assert "Choose a topic with -t" in advised
    steps, code = await examined(tmp_path, *base, "-t", "mine/doctor")
    assert code == 0, steps


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[int]:
    """A server of something else: it sends these bytes and hangs up, or never says anything."""
    finished = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer is None:
            await finished.wait()
        else:
            await reader.read(100)
            writer.write(answer)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        finished.set()
        listening.close()
        await listening.wait_closed()


@pytest.mark.parametrize("answer", [None, b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\x02"])
async def test_something_else_listens_there(tmp_path: Path, answer: bytes | None) -> None:
    async with answering(answer) as port:
        base = ("-h", "127.0.0.1", "-p", str(port), "--connect-timeout", "0.5")
        steps, code = await examined(tmp_path, *base)
    assert code == 1
    name, said, advised = failure(steps)
    assert name == "MQTT"
    assert "does not answer CONNECT in any version" in said
    assert "is it an MQTT broker?" in advised
    if answer is not None and answer.startswith(b"HTTP"):
        assert steps["MQTT 5.0"][0][1].endswith(" speaks HTTP")


async def test_tls_where_nobody_asked_for_it(tmp_path: Path, serve: Serve) -> None:
    steps, code = await examined(tmp_path, "-h", "127.0.0.1", "-p", str(serve(secure("server"))))
    assert code == 1
    assert steps["MQTT 5.0"][0][1].endswith(" speaks TLS")
    assert failure(steps)[0] == "MQTT"


async def test_no_such_name(tmp_path: Path) -> None:
    steps, code = await examined(tmp_path, "-h", "nonexistent.invalid")
    assert code == 1
    assert failure(steps)[0] == "name"
    assert "check the spelling" in failure(steps)[2]


async def test_tls_where_there_is_none(tmp_path: Path, serve: Serve) -> None:
    steps, code = await examined(tmp_path, "-h", "127.0.0.1", "-p", str(serve()), "--tls")
    assert code == 1
    assert failure(steps)[0] == "TLS"
    assert "leave TLS out" in failure(steps)[2]
