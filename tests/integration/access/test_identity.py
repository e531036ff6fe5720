"""Who a client is, by the transport or by AUTH, on a live broker."""

import asyncio
import contextlib
import json
import os
import pwd
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import which
from typing import Any

import aiomqtt
import httpx
import jwt
import pytest
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import noctule
from noctule.access import (
    Access,
    BackEndError,
    Identity,
    PasswordChecker,
    PasswordFile,
    Peer,
)
from noctule.access.sasl import OAuthBearer, Plain, Scram, ScramFile, scram_record
from noctule.access.token import KeyFile, KeySet, Tokens
from noctule.broker import Broker
from noctule.client import scram
from noctule.config import broker_of, load_options
from tests.conformance.certificates import client_context, folder
from tests.integration.access.test_access import broker_with, eventually, is_refused, token
from tests.integration.interop.conftest import NODE_MODULES

CHEAP = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
SECRET = b"0123456789abcdef0123456789abcdef"


async def users(broker: Broker) -> list[str | None]:
    return [client.user for client in await broker.clients()]


@pytest.mark.parametrize(
    ("shows", "which_name", "user"),
    [
        ("good", "name", "localhost"),
        ("nameless", "name", "nameless"),
        ("good", "subject", "CN=good"),
    ],
)
async def test_certificate_is_who_the_client_is(
    tmp_path: Path, shows: str, which_name: str, user: str
) -> None:
    certificates = folder()
    file = tmp_path / "noctule.toml"
    file.write_text(
        f"""
        [[listeners]]
        scheme = "mqtts"
        host = "127.0.0.1"
        port = 0
        tls_certificate = ["{certificates / "server.pem"}"]
        tls_key = ["{certificates / "server.key"}"]
        client_certificates = "optional"
        client_ca = "{certificates / "authority.pem"}"
        [access]
        peer_names = true
        certificate_name = "{which_name}"
        [[access.rules]]
        users = ["{user}"]
        """
    )
    async with broker_of(load_options(file)) as broker:
        shown: dict[str, Any] = {"tls_context": client_context(shows)}
        # What CONNECT says of a name counts for nothing.
        async with aiomqtt.Client("127.0.0.1", broker.port, username="root", **shown) as client:
            assert await users(broker) == [user]
            await client.publish("t", b"", qos=1)
        assert await is_refused(broker, username=user, tls_context=client_context())


async def test_peer_of_a_unix_socket_is_who_the_client_is(tmp_path: Path) -> None:
    path = tmp_path / "mqtt"
    access = Access(links=[Peer()])
    async with (
        Broker(listeners=[f"unix://{path}"], durability="memory", authenticator=access) as broker,
        noctule.connect(f"unix://{path}", user_name="root", password="x"),
    ):
        assert await users(broker) == [pwd.getpwuid(os.getuid()).pw_name]


@pytest.fixture
def scram_file(tmp_path: Path) -> Path:
    file = tmp_path / "scram"
    methods = ("SCRAM-SHA-256", "SCRAM-SHA-512")
    lines = [f"alice:{scram_record(method, 'a', 4096)}\n" for method in methods[:1]]
    lines += [f"bob:{scram_record(method, 'b', 4096)}\n" for method in methods[1:]]
    file.write_text("".join(lines))
    return file


@contextlib.asynccontextmanager
async def broker_by_scram(file: Path) -> AsyncIterator[Broker]:
    methods = ("SCRAM-SHA-256", "SCRAM-SHA-512")
    access = Access(
        mechanisms=[Scram(ScramFile(file, method), method) for method in methods],
        rules=[{"filter": "%u/#"}, {"filter": "t"}],
    )
    async with broker_with(access) as broker:
        yield broker


@pytest.mark.parametrize(
    ("user", "password", "method"),
    [("alice", "a", "SCRAM-SHA-256"), ("bob", "b", "SCRAM-SHA-512")],
)
async def test_our_client_by_scram_and_again(
    scram_file: Path, user: str, password: str, method: str
) -> None:
    async with broker_by_scram(scram_file) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        authentication = scram(user, password, method=method)
        async with noctule.connect(url, authentication=authentication) as client:
            assert await users(broker) == [user]
            await client.publish(f"{user}/x", b"1", qos=1)
            # Rules of today hold from a re-authentication on.
            await client.reauthenticate()
            await client.publish(f"{user}/x", b"2", qos=1)
            assert await users(broker) == [user]
        with pytest.raises(noctule.NoctuleError):
            async with noctule.connect(url, authentication=scram(user, "x", method=method)):
                pass
        assert await is_refused(broker, username=user, password=password)


@pytest.mark.interop
@pytest.mark.skipif(which("node") is None, reason="node is not installed")
@pytest.mark.parametrize(("user", "password", "said"), [
    ("alice", "a", "ok"), ("alice", "b", "refused: 135"), ("eve", "a", "refused: 135"),
])  # fmt: skip
async def test_mqttjs_by_scram(scram_file: Path, user: str, password: str, said: str) -> None:
    if not (NODE_MODULES / "node_modules" / "mqtt").is_dir():
        pytest.skip("mqtt.js is not installed; `make test-python` does that where there is npm")
    script = Path(__file__).with_name("scram.mjs")
    async with broker_by_scram(scram_file) as broker:
        command = ["node", str(script), str(NODE_MODULES), str(broker.port), user, password]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=60
        )
        assert done.stdout.strip() == said, done.stderr


def with_method(method: str, data: bytes) -> dict[str, Any]:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.AuthenticationMethod = method
    properties.AuthenticationData = data
    return {"protocol": aiomqtt.ProtocolVersion.V5, "properties": properties}


async def test_paho_by_oauthbearer_and_plain(tmp_path: Path) -> None:
    key, file = tmp_path / "key", tmp_path / "users"
    key.write_bytes(SECRET)
    file.write_text(f"alice:{CHEAP.hash('a')}\n")
    tokens = Tokens(KeyFile(key), algorithms=["HS256"], audience="mqtt", issuer="us")
    links = (PasswordFile(file),)
    access = Access(links=links, mechanisms=[OAuthBearer(tokens), Plain(links)])

    def bearer(text: str) -> dict[str, Any]:
        return with_method("OAUTHBEARER", f"n,,\x01auth=Bearer {text}\x01\x01".encode())

    async with broker_with(access) as broker:
        assert not await is_refused(broker, **bearer(token(SECRET)))
        assert not await is_refused(broker, **with_method("PLAIN", b"\0alice\0a"))
        for data in (b"\0alice\0b", b"\0alice\0", b"", b"\0\0a", b"\0alice"):
            assert await is_refused(broker, **with_method("PLAIN", data)), data
        assert await is_refused(broker, **bearer(token(SECRET, iss="them")))
        assert await is_refused(broker, **bearer(""))
        assert await is_refused(broker, **with_method("NONE", b""))


async def test_claims_bring_rules_and_an_empty_list_opens_nothing(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(SECRET)
    tokens = Tokens(KeyFile(key), algorithms=["HS256"], audience="mqtt", issuer="us")

    async def may(broker: Broker, topic: str, **claims: object) -> bool:
        given: dict[str, Any] = {"username": "alice", "password": token(SECRET, **claims)}
        async with aiomqtt.Client(
            "127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5, **given
        ) as client:
            (code,) = await client.subscribe(topic)
            return code.value < 0x80  # type: ignore[union-attr]

    async with broker_with(Access(links=[tokens])) as broker:
        assert await may(broker, "a")
        assert not await may(broker, "a", mqtt_rules=[])
        rules = [{"filter": "%{tenant}/#"}]
        assert await may(broker, "t1/x", mqtt_rules=rules, tenant="t1")
        assert not await may(broker, "t2/x", mqtt_rules=rules, tenant="t1")
        assert not await may(broker, "t2/x", mqtt_rules=rules, tenant="+")
        wrong = {"username": "alice", "password": token(SECRET, mqtt_rules="all")}
        assert await is_refused(broker, **wrong)
        wrong["password"] = token(SECRET, mqtt_rules=[{"filter": "a/#/b"}])
        assert await is_refused(broker, **wrong)


async def test_key_set_is_kept_and_asked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noctule.access.token.REFRESH_SECONDS", 0.0)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("one", "two")}
    shown, asked, fails = ["one"], [0], [False]

    def answer(_: httpx.Request) -> httpx.Response:
        asked[0] += 1
        if fails[0]:
            return httpx.Response(503)
        found = [
            {**json.loads(ECAlgorithm.to_jwk(keys[name].public_key())), "kid": name}
            for name in shown
        ]
        return httpx.Response(200, json={"keys": found})

    tokens = Tokens(
        KeySet("http://x/", transport=httpx.MockTransport(answer)),
        algorithms=["ES256"],
        audience="mqtt",
        issuer="us",
    )

    async def is_known(name: str) -> bool:
        claims = {"sub": "alice", "aud": "mqtt", "iss": "us", "exp": time.time() + 60}
        made = jwt.encode(claims, keys[name], "ES256", headers={"kid": name})
        try:
            return isinstance(await tokens.verify(made.encode()), Identity)
        except BackEndError:
            return False

    assert await is_known("one")
    assert await is_known("one")
    assert asked == [1]
    assert not await is_known("two")
    shown.append("two")
    assert await is_known("two")
    # An address that does not answer leaves the keys, and finds no new ones.
    fails[0] = True
    monkeypatch.setattr("noctule.access.token.KEY_SET_SECONDS", 0.0)
    assert await is_known("one")
    monkeypatch.setattr("noctule.access.token.MAX_STALE_SECONDS", 0.0)
    assert not await is_known("one")
    # A key that is withdrawn is no longer taken.
    fails[0], shown[:] = False, ["two"]
    assert not await is_known("one")
    assert await is_known("two")


async def test_reconnect_storm_does_not_wait_for_the_hash_pool(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text(f"alice:{CHEAP.hash('a')}\nbob:{CHEAP.hash('b')}\n")
    checker = PasswordChecker(threads=1, maximum_waiting=8)
    access = Access(links=[PasswordFile(file, checker)])
    checked: list[bytes] = []
    verify = checker._verify

    def slow(record: str, password: bytes) -> bool:
        checked.append(password)
        if password == b"slow":
            asyncio.run_coroutine_threadsafe(until_let_go(), loop).result(20)
        return verify(record, password)

    loop, let_go = asyncio.get_running_loop(), asyncio.Event()

    async def until_let_go() -> None:
        await let_go.wait()

    checker._verify = slow  # type: ignore[method-assign]
    async with broker_with(access) as broker:
        assert not await is_refused(broker, username="alice", password="a")
        waiting = [
            asyncio.create_task(is_refused(broker, username="eve", password="slow"))
            for _ in range(8)
        ]

        async def is_full() -> bool:
            return checker._threads._waiting == 8

        await eventually(is_full)
        # The pool is busy; who was right a moment ago comes in, whoever is new does not wait.
        storm = [is_refused(broker, username="alice", password="a") for _ in range(100)]
        assert not any(await asyncio.gather(*storm))
        assert await is_refused(broker, username="bob", password="b")
        let_go.set()
        assert all(await asyncio.gather(*waiting))
        assert not await is_refused(broker, username="bob", password="b")
    assert checked.count(b"a") == 1


async def test_no_secret_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At the most talkative level, whoever is refused and whatever fails."""
    caplog.set_level("DEBUG")
    key, file, clear = tmp_path / "key", tmp_path / "users", tmp_path / "clear"
    key.write_text("k3y-s3cret" * 4)
    file.write_text(f"alice:{CHEAP.hash('right-s3cret')}\n")
    clear.write_text("al:clear-s3cret\n")
    clear.chmod(0o600)
    configuration = tmp_path / "noctule.toml"
    configuration.write_text(f"""
        listeners = ["mqtt://127.0.0.1:0"]
        data_dir = "{tmp_path / "data"}"
        [access]
        directory = true
        password_file = "{file}"
        plain = true
        insecure_methods = ["CRAM-MD5"]
        clear_text_file = "{clear}"
        jwt = {{ key_file = "{key}", issuer = "us", algorithms = ["HS256"] }}
        sql = {{ url = "sqlite:///{tmp_path}/url-s3cret/none" }}
        http = {{ url = "http://user:url-s3cret@127.0.0.1:9/", retries = 0 }}
        """)
    async with broker_of(load_options(configuration)) as broker:
        assert not await is_refused(broker, username="alice", password="right-s3cret")
        for user in ("alice", "eve"):
            assert await is_refused(broker, username=user, password="wrong-s3cret")
        bad = jwt.encode({"sub": "s3cret"}, "x" * 32, "HS256")
        assert await is_refused(broker, username="eve", password=bad)
        assert await is_refused(broker, **with_method("PLAIN", b"\0alice\0wrong-s3cret"))
        assert await is_refused(broker, **with_method("PLAIN", b"\0eve\0wrong-s3cret"))
        assert await is_refused(broker, **with_method("CRAM-MD5", b"s3cret"))
    ours = [record for record in caplog.records if record.name.startswith("noctule")]
    assert any("eve" in record.getMessage() for record in ours)
    assert not [record for record in ours if "s3cret" in record.getMessage() or record.exc_text]
    assert bad not in caplog.text


@pytest.mark.parametrize("password", [None, ""])
async def test_nothing_is_not_empty(tmp_path: Path, password: str | None) -> None:
    """A password that is not there, or empty, is wrong for a user who has one, or has an empty
    hash, and a nameless client is not one of an empty name."""
    file = tmp_path / "users"
    file.write_text(f"alice:{CHEAP.hash('a')}\n")
    access = Access(links=[PasswordFile(file)], allow_anonymous=True)
    async with broker_with(access) as broker:
        assert await is_refused(broker, username="alice", password=password)
        assert await is_refused(broker, username="eve", password=password)
        assert await is_refused(broker, username="", password=password)
        assert not await is_refused(broker)
