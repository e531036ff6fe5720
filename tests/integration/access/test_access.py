"""Who is let in and what they may do, seen by clients that are not ours."""

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from shutil import which

import aiomqtt
import jwt
import pytest
from argon2 import PasswordHasher

from noctule.access import Access, Function, PasswordChecker, PasswordFile
from noctule.access.token import KeyFile, Tokens
from noctule.broker import AuthenticationRequest, Broker, Refuse, TappedMessage
from noctule.config import broker_of, load_options

CHEAP = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
RULES: list[dict[str, object]] = [
    {"permission": "deny", "filter": "secrets/#"},
    {"users": ["alice"], "filter": "#"},
    {"filter": "home/%u/#"},
]


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    file = tmp_path / "users.pw"
    file.write_text(
        "".join(f"{user}:{CHEAP.hash(word)}\n" for user, word in (("alice", "a"), ("bob", "b")))
    )
    return file


def broker_with(access: object, **options: object) -> Broker:
    return Broker(
        listeners=["mqtt://127.0.0.1:0"],
        durability="memory",
        authenticator=access,  # type: ignore[arg-type]
        **options,  # type: ignore[arg-type]
    )


async def is_refused(broker: Broker, **given: object) -> bool:
    try:
        async with aiomqtt.Client("127.0.0.1", broker.port, **given):  # type: ignore[arg-type]
            return False
    except aiomqtt.MqttError:
        return True


async def test_password_file_lets_in_those_who_know_theirs(passwords: Path) -> None:
    async with broker_with(Access(links=[PasswordFile(passwords)])) as broker:
        assert not await is_refused(broker, username="alice", password="a")
        assert not await is_refused(broker, username="alice", password="a")  # from the cache
        assert await is_refused(broker, username="alice", password="b")
        assert await is_refused(broker, username="alice")
        assert await is_refused(broker, username="mallory", password="a")
        assert await is_refused(broker)


async def test_changed_password_file_is_read_and_a_broken_one_is_not(
    passwords: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noctule.access.password_file.LOOK_SECONDS", 0.0)
    async with broker_with(Access(links=[PasswordFile(passwords)])) as broker:
        passwords.write_text(f"carol:{CHEAP.hash('c')}\n")  # noqa: ASYNC240
        assert not await is_refused(broker, username="carol", password="c")
        assert await is_refused(broker, username="alice", password="a")
        passwords.write_text("carol:plain text\n")  # noqa: ASYNC240
        assert not await is_refused(broker, username="carol", password="c")


async def test_unknown_users_cost_what_known_ones_do() -> None:
    checker = PasswordChecker(cache_seconds=0)
    record = PasswordHasher().hash("right")
    checker.imitate(record)

    async def seconds(known: str | None) -> float:
        start = time.process_time()
        await checker.is_right(known, b"wrong")
        return time.process_time() - start

    known = min([await seconds(record) for _ in range(5)])
    unknown = min([await seconds(None) for _ in range(5)])
    assert 0.3 < unknown / known < 3
    checker.close()


async def publish_with_mosquitto(broker: Broker, user: str, password: str, topic: str) -> int:
    command = ["mosquitto_pub", "-V", "5", "-h", "127.0.0.1", "-p", str(broker.port)]
    command += ["-u", user, "-P", password, "-t", topic, "-m", "x", "-q", "1"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60)
    # It reports a refused PUBACK on stderr and ends with 0.
    return done.returncode or int(b"135" in done.stderr or b"uthor" in done.stderr)


@pytest.mark.interop
@pytest.mark.skipif(which("mosquitto_pub") is None, reason="mosquitto_pub is not installed")
async def test_configured_broker_holds_mosquitto_pub_to_its_rules(
    passwords: Path, tmp_path: Path
) -> None:
    file = tmp_path / "noctule.toml"
    file.write_text(
        'listeners = ["mqtt://127.0.0.1:0"]\n[access]\npassword_file = '
        f'"{passwords}"\n[[access.rules]]\npermission = "deny"\nfilter = "secrets/#"\n'
        '[[access.rules]]\nusers = ["alice"]\n[[access.rules]]\nfilter = "home/%u/#"\n'
    )
    async with broker_of(load_options(file)) as broker:
        assert await publish_with_mosquitto(broker, "alice", "a", "anything") == 0
        assert await publish_with_mosquitto(broker, "bob", "b", "home/bob/lamp") == 0
        assert await publish_with_mosquitto(broker, "bob", "b", "home/alice/lamp") != 0
        assert await publish_with_mosquitto(broker, "alice", "a", "secrets/x") != 0
        assert await publish_with_mosquitto(broker, "alice", "wrong", "anything") != 0


async def test_changed_rules_hold_for_a_session_that_is_there(passwords: Path) -> None:
    access = Access(links=[PasswordFile(passwords)], rules=RULES)
    async with (
        broker_with(access) as broker,
        aiomqtt.Client("127.0.0.1", broker.port, username="alice", password="a") as alice,
        aiomqtt.Client("127.0.0.1", broker.port, username="bob", password="b") as bob,
    ):
        await bob.subscribe("home/bob/#", qos=1)
        await alice.publish("home/bob/1", b"before", qos=1)
        assert (await anext(bob.messages)).payload == b"before"
        await broker.access.update([{"users": ["alice"]}, {"filter": "open/#"}])
        await bob.subscribe("open/#", qos=1)
        await alice.publish("home/bob/2", b"revoked", qos=1)
        # It is looked at where it is delivered, and that may be after its acknowledgement.
        await alice.publish("open/x", b"behind it", qos=1)
        assert (await anext(bob.messages)).payload == b"behind it"
        await broker.access.update(RULES)
        await alice.publish("home/bob/3", b"after", qos=1)
        assert (await anext(bob.messages)).payload == b"after"


async def test_function_decides_and_an_error_denies(caplog: pytest.LogCaptureFixture) -> None:
    async def decide(request: AuthenticationRequest) -> bool | None:
        if request.user == "broken":
            raise RuntimeError(f"no database for {request.password!r}")
        return None if request.user is None else request.password == b"sesame"

    async with broker_with(Access(links=[Function(decide)], allow_anonymous=True)) as broker:
        assert not await is_refused(broker, username="ali", password="sesame")
        assert await is_refused(broker, username="ali", password="open")
        assert not await is_refused(broker)
        assert await is_refused(broker, username="broken", password="s3cret")
    assert "RuntimeError" in caplog.text
    assert "s3cret" not in caplog.text


async def test_slow_authenticator_has_refused() -> None:
    class Slow:
        async def start(self, request: AuthenticationRequest) -> Refuse:
            await asyncio.sleep(60)
            return Refuse()

        async def continue_(self, request: AuthenticationRequest) -> Refuse:
            return Refuse()

    async with broker_with(Slow(), authentication_timeout_seconds=0.1) as broker:
        assert await is_refused(broker)


def token(secret: bytes, **claims: object) -> str:
    base = {"sub": "alice", "aud": "mqtt", "iss": "us", "exp": time.time() + 60}
    return jwt.encode({**base, **claims}, secret, "HS256")


async def test_token_has_to_be_whole_and_ends_the_connection_with_itself(tmp_path: Path) -> None:
    secret = b"0123456789abcdef0123456789abcdef"
    key = tmp_path / "key"
    key.write_bytes(secret)
    tokens = Tokens(KeyFile(key), algorithms=["HS256"], audience="mqtt", issuer="us")
    async with broker_with(Access(links=[tokens])) as broker:
        assert not await is_refused(broker, username="alice", password=token(secret))
        bad = [
            token(secret, aud="else"),
            token(secret, iss="them"),
            token(secret, exp=time.time() - 1),
            token(b"x" * 32),
            jwt.encode({"sub": "alice"}, secret, "HS256"),
            jwt.encode({"sub": "a", "aud": "mqtt", "iss": "us", "exp": 9**10}, "", "none"),
        ]
        for each in bad:
            assert await is_refused(broker, username="alice", password=each), each
        assert await is_refused(broker, username="bob", password=token(secret))
        short = token(secret, exp=time.time() + 1.5)
        with pytest.raises(aiomqtt.MqttError):
            async with aiomqtt.Client("127.0.0.1", broker.port, password=short) as client:
                async with asyncio.timeout(30):
                    await anext(client.messages)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_operator_sees_clients_and_ends_them() -> None:
    broker = Broker(listeners=["mqtt://127.0.0.1:0"], durability="memory")
    came: list[str] = []
    left: list[str] = []
    broker.on_connected(lambda events: came.extend(str(event["client"]) for event in events))

    @broker.on_disconnected
    async def _(events: list[dict[str, object]]) -> None:
        left.extend(str(event["client"]) for event in events)
        raise RuntimeError("a hook that fails disturbs nobody")

    async with broker:
        with pytest.raises(aiomqtt.MqttError):
            async with aiomqtt.Client("127.0.0.1", broker.port, identifier="c1") as client:
                assert [each.client for each in await broker.clients()] == ["c1"]
                await broker.disconnect("c1")
                async with asyncio.timeout(30):
                    await anext(client.messages)
    assert (came, left) == (["c1"], ["c1"])


async def test_tap_brings_every_message_in_batches_and_in_order() -> None:
    broker = Broker(listeners=["mqtt://127.0.0.1:0"], durability="memory")
    batches: list[list[TappedMessage]] = []
    broker.tap("sensors/#", batch=100, linger=0.05)(batches.append)
    async with (
        broker,
        aiomqtt.Client("127.0.0.1", broker.port) as client,
    ):
        await client.publish("elsewhere", b"no")
        for number in range(500):
            await client.publish("sensors/a", b"%d" % number, qos=1)
        await broker.publish("sensors/b", b"own")

        async def all_there() -> bool:
            return sum(map(len, batches)) == 501

        await eventually(all_there)
    found = [message.payload for batch in batches for message in batch]
    assert found.count(b"own") == 1
    assert [each for each in found if each != b"own"] == [b"%d" % n for n in range(500)]
    assert max(map(len, batches)) <= 100


async def test_kept_tap_gets_a_failed_batch_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noctule.broker.tap.PAUSE_SECONDS", 0.01)
    broker = Broker(listeners=["mqtt://127.0.0.1:0"], durability="memory")
    tries: list[bytes] = []

    @broker.tap("t", name="keeper")
    async def _(batch: list[TappedMessage]) -> None:
        tries.extend(message.payload for message in batch)
        if len(tries) == 1:
            raise RuntimeError("the database is away")

    async with broker, aiomqtt.Client("127.0.0.1", broker.port) as client:
        await client.publish("t", b"once", qos=1)

        async def twice() -> bool:
            return len(tries) == 2

        await eventually(twice)
    assert tries == [b"once", b"once"]


@pytest.mark.parametrize("queue_full", ["drop_oldest", "drop_newest"])
async def test_slow_tap_is_bounded_and_holds_up_nobody(queue_full: str) -> None:
    limits = {"max_queued_messages": 10, "max_inflight_messages": 10, "queue_full": queue_full}
    broker = Broker(listeners=["mqtt://127.0.0.1:0"], durability="memory", limits=limits)
    given: list[int] = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    @broker.tap("t", batch=5, name="slow")
    async def _(batch: list[TappedMessage]) -> None:
        given.extend(int(message.payload) for message in batch)
        begun.set()
        await go_on.wait()

    async with broker, aiomqtt.Client("127.0.0.1", broker.port) as client:
        await client.subscribe("t", qos=1)
        for number in range(100):
            # Each is acknowledged while the function sleeps, and goes to others at once.
            await client.publish("t", b"%d" % number, qos=1)
            assert int((await anext(client.messages)).payload) == number
        await begun.wait()
        go_on.set()

        async def all_accounted_for() -> bool:
            return broker.statistics()["publish_dropped"] + len(given) == 100

        await eventually(all_accounted_for)
        assert given == sorted(set(given))
        assert 20 <= len(given) <= 30
        assert (given[-1] == 99) is (queue_full == "drop_oldest")


async def test_nobody_else_uses_an_identifier_of_our_own() -> None:
    async with Broker(listeners=["mqtt://127.0.0.1:0"], durability="memory") as broker:
        assert await is_refused(broker, identifier="$noctule/keeper")
