"""Every configuration in docs/listeners.md runs, and a client comes in by each of its listeners.

So does the one that docs/access.md begins with.
"""

import re
import tomllib
from asyncio import to_thread
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from argon2 import PasswordHasher

import noctule
from noctule.broker import Listener
from noctule.broker.listener import Scheme
from noctule.client import Tls
from noctule.config import Configuration, broker_of
from tests.conformance.certificates import DAY, Authority
from tests.integration.broker.wire import Connection

DOCS = Path(__file__).parents[3] / "docs"
TEXT = (DOCS / "listeners.md").read_text(encoding="utf-8")
ACCESS = (DOCS / "access.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```toml\n(.*?)```", re.DOTALL)
CONFIGURATIONS = [*BLOCK.findall(TEXT), *BLOCK.findall(ACCESS)[:1]]
CHEAP = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.1 5 1883\r\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page has in /etc/noctule, and room for what it has in /run/noctule."""
    path = tmp_path_factory.mktemp("page")
    ours, clients, expires = Authority("ours"), Authority("clients"), datetime.now(UTC) + DAY
    (path / "ours.pem").write_bytes(ours.pem)
    for name in ("mqtt", "devices"):
        ours.issue(path, name, expires)
    (path / "clients.pem").write_bytes(clients.pem)
    (path / "clients.crl").write_bytes(clients.revocation_list())
    clients.issue(path, "client", expires)
    (path / "users.pw").write_text(f"alice:{CHEAP.hash('secret')}\n")
    return path


def read(block: str, files: Path) -> Configuration:
    """The configuration with the files of the test, on free ports of this machine."""
    for folder in ("/etc/noctule", "/run/noctule"):
        block = block.replace(folder, str(files))
    content: dict[str, Any] = tomllib.loads(block)
    listeners = [Listener.model_validate(each) for each in content["listeners"]]
    content["listeners"] = [
        each.model_copy(
            update={
                "host": each.host.replace("0.0.0.0", "127.0.0.1"),
                "port": each.port and 0,
            }
        )
        for each in listeners
    ]
    return Configuration.model_validate({**content, "durability": "memory"})


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=range(len(CONFIGURATIONS)))
async def test_configuration_of_the_page_lets_its_clients_in(block: str, files: Path) -> None:
    configuration = read(block, files)
    async with broker_of(configuration) as broker:
        for listener, url in zip(configuration.listeners, broker.addresses, strict=True):
            if listener.proxy_protocol_from:
                with Connection(broker.port) as connection:
                    connection.socket.sendall(HEADER)
                    await to_thread(connection.open, "client")
                    (found,) = await broker.clients()
                    assert found.address == "192.0.2.7"
                continue
            given: dict[str, Any] = {}
            if listener.scheme in ("mqtts", "wss"):
                shown = files / "client" if listener.client_certificates == "required" else None
                given["tls"] = Tls(
                    ca=files / "ours.pem",
                    cert=shown and shown.with_suffix(".pem"),
                    key=shown and shown.with_suffix(".key"),
                )
            if "password_file" in block:
                given |= {"user_name": "alice", "password": "secret"}
            async with (
                noctule.connect(url, **given) as client,
                client.subscribe("t", qos=1) as messages,
            ):
                await client.publish("t", "x", qos=1)
                assert (await messages.next(30)).text == "x"


def test_page_tells_of_every_scheme() -> None:
    schemes = get_args(Scheme)
    assert [each for each in schemes if f"| `{each}` |" not in TEXT] == []
    used = {each.scheme for block in CONFIGURATIONS for each in read(block, DOCS).listeners}
    assert used == set(schemes)
