"""TLS and proxies: the same command lines through Mosquitto's tools and ours."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.certificates import folder
from tests.integration.cli.stage import NOCTULE, Outcome, environment
from tests.integration.client.test_transports import http, listening, socks5
from tests.served_broker import ServedBroker

OURS = (*NOCTULE, "pub")
THEIRS = ("mosquitto_pub",)
HOST = "127.0.0.2"
"""A name that the server's certificate does not have; localhost is one that it has."""


async def run(home: Path, program: tuple[str, ...], *arguments: str) -> Outcome:
    process = await asyncio.create_subprocess_exec(
        *program, *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment(home),
    )  # fmt: skip
    async with asyncio.timeout(30):
        stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return Outcome(stdout, stderr, process.returncode)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for --capath."""
    path = tmp_path_factory.mktemp("authorities")
    shutil.copy(folder() / "authority.pem", path)
    subprocess.run(["openssl", "rehash", str(path)], check=True, capture_output=True)
    return path


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """Brokers with TLS: `open` to all, and `strict` about clients' certificates."""
    server = f"tls_certificate={folder()}/server.pem&tls_key={folder()}/server.key"
    strict = f"client_certificates=required&client_ca={folder()}/authority.pem"
    with (
        ServedBroker(
            "--durability", "memory", listen=f"mqtts://{HOST}:0?{server}&allow_anonymous=true"
        ) as a,
        ServedBroker(
            "--durability", "memory", listen=f"mqtts://127.0.0.1:0?{server}&{strict}"
        ) as b,
    ):
        yield {"open": a.port, "strict": b.port}


CAFILE = ("--cafile", "DIR/authority.pem")
INSECURE = ("-h", HOST, "--insecure", *CAFILE)


def certificate(name: str) -> tuple[str, ...]:
    return ("--cert", f"DIR/{name}.pem", "--key", f"DIR/{name}.key")


@pytest.mark.interop
@pytest.mark.skipif(
    shutil.which("mosquitto_pub") is None, reason="mosquitto-clients is not installed"
)
@pytest.mark.parametrize(
    ("broker", "arguments", "succeeds"),
    [
        ("strict", (*CAFILE, *certificate("good")), True),
        ("strict", ("--capath", "CAPATH", *certificate("good")), True),
        ("strict", CAFILE, False),
        ("strict", (*CAFILE, *certificate("foreign")), False),
        ("strict", (*CAFILE, *certificate("expired")), False),
        ("open", INSECURE, True),
        ("open", ("-h", HOST, *CAFILE), False),
        ("open", ("-h", HOST, "--tls-use-os-certs"), False),
        ("open", ("-h", HOST), False),
        ("open", (*INSECURE, "--tls-version", "tlsv1.3"), True),
        (
            "open",
            (
                *(*INSECURE, "--tls-version", "tlsv1.2"),
                *("--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"),
            ),
            True,
        ),
        ("open", (*INSECURE, "--tls-alpn", "mqtt"), True),
        ("open", (*INSECURE, "--tls-alpn", "nonsense"), False),
    ],
)
async def test_both_get_through_or_neither(
    tmp_path: Path,
    ports: dict[str, int],
    authorities: Path,
    broker: str,
    arguments: tuple[str, ...],
    succeeds: bool,
) -> None:
    given = [
        each.replace("DIR", str(folder())).replace("CAPATH", str(authorities)) for each in arguments
    ]
    message = ("-p", str(ports[broker]), "-t", "t", "-m", "x", "-q", "1")
    theirs, ours = await asyncio.gather(
        run(tmp_path, THEIRS, *message, *given), run(tmp_path, OURS, *message, *given)
    )
    assert (theirs.code == 0) == succeeds
    assert (ours.code == 0) == succeeds, ours.stderr
    if not succeeds:
        assert ours.code == 1  # Theirs have 1, 2, 7 or 8.


async def test_secrets_are_logged_where_they_are_asked_for(
    tmp_path: Path, ports: dict[str, int]
) -> None:
    file = tmp_path / "keys"
    given = [each.replace("DIR", str(folder())) for each in INSECURE]
    message = ("-p", str(ports["open"]), "-t", "t", "-m", "x", "--tls-keylog", str(file))
    assert (await run(tmp_path, OURS, *message, *given)).code == 0
    assert "CLIENT_TRAFFIC_SECRET_0" in file.read_text()


async def test_no_tls_wins(tmp_path: Path, ports: dict[str, int]) -> None:
    given = ("-h", HOST, "-p", str(ports["open"]), "--tls", "--no-tls", "-t", "t", "-m", "x")
    outcome = await run(tmp_path, OURS, *given)
    assert outcome.code == 1
    assert b"speaks TLS: use it: --cafile FILE, or --tls" in outcome.stderr


@pytest.mark.parametrize("scheme", ["socks5h", "http"])
async def test_through_a_proxy(tmp_path: Path, scheme: str) -> None:
    with ServedBroker("--durability", "memory") as served:
        async with listening(socks5 if scheme == "socks5h" else http) as port:
            base = ("-h", "127.0.0.1", "-p", str(served.port), "-t", "t", "-m", "x", "-q", "1")
            way = f"{scheme}://user:secret@127.0.0.1:{port}"
            ours = await run(tmp_path, OURS, *base, "--proxy", way)
            assert (ours.code, ours.stderr) == (0, b"")
            if scheme == "socks5h" and shutil.which("mosquitto_pub") is not None:
                assert (await run(tmp_path, THEIRS, *base, "--proxy", way)).code == 0
            wrong = await run(tmp_path, OURS, *base, "--proxy", way.replace("secret", "wrong"))
            assert wrong.code == 1
            assert b"through the proxy 127.0.0.1:" in wrong.stderr
            assert b"wrong" not in wrong.stderr
