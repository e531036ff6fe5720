"""TLS as a broker offers it: versions, application protocols, names, resumption."""

import ssl
from asyncio import to_thread
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from noctule.broker import Broker
from tests.conformance.certificates import DAY, Authority
from tests.integration.broker.wire import Connection, connect
from tests.integration.listeners.secure import (
    BOTH,
    SERVER,
    TLS_1_2,
    TLS_1_3,
    SecureConnection,
    outcome,
    trusting,
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Path]:
    """An authority, and the folder with its authority.pem and what the tests have it issue."""
    made, path = Authority("another authority"), tmp_path_factory.mktemp("authority")
    (path / "authority.pem").write_bytes(made.pem)
    return made, path


async def test_both_versions_are_spoken_unless_the_oldest_is_set() -> None:
    listeners = [SERVER, {**SERVER, "tls_minimum_version": "1.3"}]
    async with Broker(listeners=listeners) as broker:
        both, newest = broker.ports
        for version, name in ((TLS_1_2, "TLSv1.2"), (TLS_1_3, "TLSv1.3")):
            with SecureConnection(both, trusting(version=version)) as connection:
                assert connection.socket.version() == name
                connection.open("client")
        # What both sides can do best is chosen.
        with SecureConnection(both, trusting()) as connection:
            assert connection.socket.version() == "TLSv1.3"
        assert await to_thread(outcome, newest, trusting(version=TLS_1_3)) == "welcome"
        refusal = await to_thread(outcome, newest, trusting(version=TLS_1_2))
        assert "alert protocol version" in refusal


@BOTH
async def test_application_protocol_is_agreed_or_refused(version: ssl.TLSVersion) -> None:
    listeners = [
        SERVER,
        {**SERVER, "alpn": ["x-amzn-mqtt-ca", "mqtt"]},
        {**SERVER, "scheme": "wss"},
        {**SERVER, "alpn": []},
    ]
    cases: list[tuple[int, tuple[str, ...], str | None]] = [
        (0, ("mqtt",), "mqtt"),
        (0, ("h2", "mqtt"), "mqtt"),
        # Clients of old offer none at all.
        (0, (), None),
        (1, ("mqtt", "x-amzn-mqtt-ca"), "x-amzn-mqtt-ca"),
        (2, ("h2", "http/1.1"), "http/1.1"),
        (3, ("h2",), None),
    ]
    async with Broker(listeners=listeners) as broker:
        ports = broker.ports
        for place, protocols, agreed in cases:
            context = trusting(version=version, protocols=protocols)
            with SecureConnection(ports[place], context) as connection:
                assert connection.socket.selected_alpn_protocol() == agreed
        # A protocol confusion is refused, RFC 7301 §3.2.
        for place, protocols in ((0, ("http/1.1",)), (2, ("mqtt",))):
            context = trusting(version=version, protocols=protocols)
            refusal = await to_thread(outcome, ports[place], context)
            assert "alert no application protocol" in refusal


async def test_certificate_is_chosen_by_the_name_asked_for(
    authority: tuple[Authority, Path],
) -> None:
    issuer, path = authority
    expires = datetime.now(UTC) + DAY
    names = {
        "first": ["localhost"],
        "second": ["mqtt.example", "broker.example"],
        "third": ["*.devices.example"],
    }
    for each, its_names in names.items():
        issuer.issue(path, each, expires, names=its_names)
    listener = {
        "scheme": "mqtts",
        "port": 0,
        "tls_certificate": [str(path / f"{each}.pem") for each in names],
        "tls_key": [str(path / f"{each}.key") for each in names],
    }
    trusted = trusting(path / "authority.pem")
    careless = trusting(path / "authority.pem")
    careless.check_hostname = False
    cases = [
        (trusted, "localhost", "first"),
        (trusted, "mqtt.example", "second"),
        (trusted, "BROKER.example", "second"),
        (trusted, "a.devices.example", "third"),
        # A star is one label, and a name that nothing fits is shown the first.
        (careless, "a.b.devices.example", "first"),
        (careless, "devices.example", "first"),
        (careless, "elsewhere.example", "first"),
        (careless, None, "first"),
    ]
    async with Broker(listeners=[listener]) as broker:
        for context, name, shown in cases:
            with SecureConnection(broker.port, context, name) as connection:
                subject = connection.certificate.subject
                (common_name,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
                assert common_name.value == shown, name
                connection.open("client")
        refusal = await to_thread(outcome, broker.port, trusted, "elsewhere.example")
        assert "Hostname mismatch" in refusal


async def test_clients_refuse_a_server_that_shows_what_is_not_for_servers(
    authority: tuple[Authority, Path],
) -> None:
    """A stolen client certificate makes nobody a broker; nor does an old or a foreign one."""
    issuer, path = authority
    now = datetime.now(UTC)
    client_usage = ExtendedKeyUsageOID.CLIENT_AUTH
    issuer.issue(path, "of-a-client", now + DAY, usage=client_usage)
    issuer.issue(path, "of-yesterday", now - DAY)
    issuer.issue(path, "of-tomorrow", now + 3 * DAY)
    Authority("unknown").issue(path, "of-a-stranger", now + DAY)
    refusals = {
        "of-a-client": "unsuitable certificate purpose",
        "of-yesterday": "certificate has expired",
        "of-tomorrow": "certificate is not yet valid",
        "of-a-stranger": "unable to get local issuer certificate",
    }
    listeners = [
        {
            "scheme": "mqtts",
            "port": 0,
            "tls_certificate": str(path / f"{each}.pem"),
            "tls_key": str(path / f"{each}.key"),
        }
        for each in refusals
    ]
    async with Broker(listeners=listeners) as broker:
        for port, refusal in zip(broker.ports, refusals.values(), strict=True):
            assert await to_thread(outcome, port, trusting(path / "authority.pem")) == refusal


@BOTH
async def test_session_is_resumed_on_any_worker_of_its_listener(version: ssl.TLSVersion) -> None:
    async with Broker(listeners=[SERVER, SERVER], workers=2) as broker:
        here, elsewhere = broker.ports
        context = trusting(version=version)
        with SecureConnection(here, context) as first:
            first.open("client")
            assert not first.socket.session_reused
            session = first.socket.session
        for _ in range(8):
            with SecureConnection(here, context, session=session) as again:
                again.open("client")
                assert again.socket.session_reused
                session = again.socket.session
        # Another listener may ask more of its clients.
        with SecureConnection(elsewhere, context, session=session) as other:
            other.open("client")
            assert not other.socket.session_reused


async def test_who_does_not_speak_tls_is_told_and_let_go() -> None:
    async with Broker(listeners=[SERVER]) as broker:
        for first in (connect("client"), b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 100):
            with Connection(broker.port) as connection:
                connection.socket.sendall(first)
                answer = b""
                while received := connection.socket.recv(4_096):
                    answer += received
                # An alert, fatal: RFC 8446 §6.
                assert answer[:1] == b"\x15"
                assert answer[5:6] == b"\x02"
        assert broker.statistics()["handshakes_failed"] == 3
        assert await to_thread(outcome, broker.port, trusting()) == "welcome"
