"""SIGHUP: the configuration is read again, whole or not at all."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from tests.conformance.wire import Client
from tests.served_broker import ServedBroker

BrokerStarter = Callable[..., ServedBroker]

OPEN = '[[access.rules]]\nfilter = "open/#"\n'
CLOSED = '[[access.rules]]\npermission = "deny"\nfilter = "#"\n'
NOT_AUTHORIZED = 0x87


def hang_up(broker: ServedBroker) -> str:
    """Have the configuration read again; returns what is said about it."""
    broker.process.send_signal(signal.SIGHUP)
    assert broker.process.stdout is not None
    return broker.process.stdout.readline().strip()


def publishing(client: Client) -> int:
    """The reason code of a message to the topic that the rules are about."""
    return client.publish("open/door", b"", 1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "noctule.toml"
    path.write_text(OPEN, encoding="utf-8")
    return path


def test_rules_change_for_clients_that_are_connected(
    start_broker: BrokerStarter, file: Path
) -> None:
    broker = start_broker("--config", str(file), "--durability", "memory")
    with Client(("127.0.0.1", broker.port), client_id="there before") as client:
        client.connect()
        assert publishing(client) < 0x80
        file.write_text(CLOSED, encoding="utf-8")
        assert hang_up(broker) == "noctule has read its configuration again"
        assert publishing(client) == NOT_AUTHORIZED
    with Client(("127.0.0.1", broker.port), client_id="new") as client:
        client.connect()
        assert publishing(client) == NOT_AUTHORIZED


@pytest.mark.parametrize(
    "wrong",
    [
        CLOSED + "no toml",
        CLOSED + '[[access.rules]]\nfilter = "a#"\n',
        CLOSED + '[access]\npassword_file = "/nowhere"\n',
        CLOSED + "[limits]\nmax_connections = 0\n",
    ],
    ids=["no-toml", "bad-rule", "no-file", "bad-limit"],
)
def test_wrong_configuration_changes_nothing(
    file: Path, wrong: str, start_broker: BrokerStarter, capfd: pytest.CaptureFixture[str]
) -> None:
    broker = start_broker("--config", str(file), "--durability", "memory")
    with Client(("127.0.0.1", broker.port), client_id="there before") as client:
        client.connect()
        file.write_text(wrong, encoding="utf-8")
        broker.process.send_signal(signal.SIGHUP)
        while not (said := capfd.readouterr().err):
            assert publishing(client) < 0x80
        assert said.startswith("noctule keeps its configuration: ")
        assert publishing(client) < 0x80
        file.write_text(OPEN, encoding="utf-8")
        assert hang_up(broker) == "noctule has read its configuration again"


def test_what_waits_for_a_restart_is_named(start_broker: BrokerStarter, file: Path) -> None:
    broker = start_broker("--config", str(file), "--durability", "memory")
    file.write_text(OPEN + "[limits]\nmax_connections = 7\n", encoding="utf-8")
    assert hang_up(broker).endswith("again; after a restart: limits")
    file.write_text("", encoding="utf-8")
    assert hang_up(broker).endswith("again; after a restart: access")
    with Client(("127.0.0.1", broker.port), client_id="new") as client:
        client.connect()
        assert client.publish("elsewhere", b"", 1) == NOT_AUTHORIZED


def test_users_of_another_password_file_come_in(
    start_broker: BrokerStarter, file: Path, tmp_path: Path
) -> None:
    record = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("secret")
    for name in ("first", "second"):
        (tmp_path / name).write_text(f"{name}:{record}\n", encoding="utf-8")
    file.write_text(f'[access]\npassword_file = "{tmp_path}/first"\n', encoding="utf-8")
    broker = start_broker("--config", str(file), "--durability", "memory")
    stays = Client(("127.0.0.1", broker.port), client_id="stays until its user is gone")
    for user, other in (("first", "second"), ("second", "first")):
        file.write_text(f'[access]\npassword_file = "{tmp_path}/{user}"\n', encoding="utf-8")
        assert hang_up(broker) == "noctule has read its configuration again"
        with Client(("127.0.0.1", broker.port), client_id=user) as client:
            client.connect(username=user, password=b"secret")
        if user == "first":
            stays.connect(username=user, password=b"secret")
        else:
            stays.expect_disconnect(NOT_AUTHORIZED)
            stays.close()
        with Client(("127.0.0.1", broker.port), client_id=other) as client:
            client.send_connect(username=other, password=b"secret")
            client.expect_refusal(0x87, may_just_close=False)
