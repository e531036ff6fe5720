"""Authenticators by themselves: back ends that fail, mechanisms step by step, files that lie."""

import asyncio
import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import sqlalchemy
from argon2 import PasswordHasher
from scramp import ScramClient

from noctule.access import (
    DENIED,
    Access,
    BackEndError,
    Directory,
    Identity,
    PasswordChecker,
    PasswordFile,
    PasswordFileError,
    Principal,
    Rule,
    RuleError,
    engine_rules,
    explain,
    is_checkable,
    read_acl_file,
)
from noctule.access.http_service import HttpService
from noctule.access.sasl import Plain, Scram, ScramFile, scram_record
from noctule.access.sql import SqlUsers
from noctule.broker import Accept, AuthenticationRequest, Challenge, Refuse

CHEAP = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
REQUEST = AuthenticationRequest(
    stage="connect", client="c", user="alice", password=b"a", method=None, data=None, version=5,
    address="192.0.2.1", port=1, listener=0, is_private=False,
)  # fmt: skip


def test_request_keeps_secrets_out_of_its_text() -> None:
    assert "sesame" not in repr(replace(REQUEST, password=b"sesame", data=b"sesame"))


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        ({"result": "allow", "user": "al", "groups": ["g"]}, Identity("al", frozenset("g"))),
        ({"result": "deny"}, DENIED),
        ({"result": "ignore"}, None),
    ],
)
async def test_http_service_decides(result: object, verdict: object) -> None:
    asked: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        return httpx.Response(200, json=result)

    service = HttpService("http://x/", transport=httpx.MockTransport(answer))
    assert await service.identify(REQUEST) == verdict
    assert await service.identify(REQUEST) == verdict
    assert len(asked) == 1
    await service.close()


@pytest.mark.parametrize("status", [200, 204, 401, 500])
async def test_http_service_that_fails_denies_and_is_then_left_alone(status: int) -> None:
    asked = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return httpx.Response(status, text="no JSON")

    service = HttpService("http://x/", retries=0, failures=2, transport=httpx.MockTransport(answer))
    for _ in range(5):
        with pytest.raises(BackEndError):
            await service.identify(REQUEST)
    assert asked == 2
    await service.close()


async def test_http_service_is_asked_again_and_after_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("noctule.access.http_service.FIRST_PAUSE_SECONDS", 0.0)
    now = [1_000.0]
    monkeypatch.setattr("noctule.access.http_service.time.monotonic", lambda: now[0])
    allow = httpx.Response(200, json={"result": "allow"})
    answers: list[httpx.Response | Exception] = []

    def answer(_: httpx.Request) -> httpx.Response:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    service = HttpService(
        "http://x/",
        retries=1,
        failures=1,
        pause_seconds=10,
        cache_seconds=30,
        transport=httpx.MockTransport(answer),
    )
    answers[:] = [httpx.ConnectTimeout("s3cret"), allow]
    assert await service.identify(REQUEST) == Identity("alice")
    assert not answers
    now[0] += 31  # what was answered holds no longer
    answers[:] = [httpx.ReadTimeout("s3cret"), httpx.Response(500)]
    with pytest.raises(BackEndError) as caught:
        await service.identify(REQUEST)
    assert "s3cret" not in str(caught.value)
    assert not answers
    with pytest.raises(BackEndError, match="left alone"):
        await service.identify(REQUEST)
    now[0] += 11
    answers[:] = [allow]
    assert await service.identify(REQUEST) == Identity("alice")
    # Another password is another question.
    answers[:] = [httpx.Response(200, json={"result": "deny"})]
    assert await service.identify(replace(REQUEST, password=b"other")) == DENIED
    await service.close()


async def test_sql_users(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'users.sqlite'}"
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE users (name, password_hash, groups)"))
        connection.execute(
            sqlalchemy.text("INSERT INTO users VALUES ('alice', :hash, 'staff night')"),
            {"hash": CHEAP.hash("a")},
        )
    engine.dispose()
    users = SqlUsers(url)
    assert await users.identify(REQUEST) == Identity("alice", frozenset({"staff", "night"}))
    assert await users.identify(replace(REQUEST, password=b"b")) == DENIED
    assert await users.identify(replace(REQUEST, user="' OR 1=1 --")) is None
    await users.close()
    broken = SqlUsers(url, "SELECT nothing FROM nowhere WHERE name = :user")
    with pytest.raises(BackEndError):
        await broken.identify(REQUEST)
    await broken.close()


@pytest.mark.parametrize("method", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize(("user", "word"), [("al", "right"), ("al", "wrong"), ("eve", "right")])
async def test_scram_lets_in_who_knows_the_password(
    tmp_path: Path, method: str, user: str, word: str
) -> None:
    file = tmp_path / "scram"
    file.write_text(f"al:{scram_record(method, 'right', 4096)}\n")
    access = Access(mechanisms=[Scram(ScramFile(file, method), method)])
    client = ScramClient([method], user, word)
    request = replace(REQUEST, method=method, user=None, password=None)
    answer = await access.start(replace(request, data=client.get_client_first().encode()))
    assert isinstance(answer, Challenge)
    assert answer.data is not None
    client.set_server_first(answer.data.decode())
    final = client.get_client_final().encode()
    answer = await access.continue_(replace(request, data=final, state=answer.state))
    if (user, word) != ("al", "right"):
        assert answer == Refuse(0x87)
        return
    assert isinstance(answer, Accept)
    assert (answer.user, answer.data) != ("al", None)
    client.set_server_final((answer.data or b"").decode())


def test_scram_of_a_name_nobody_has_looks_like_somebodys(tmp_path: Path) -> None:
    file = tmp_path / "scram"
    file.write_text(f"al:{scram_record('SCRAM-SHA-256', 'right', 7777)}\n")
    users = ScramFile(file, "SCRAM-SHA-256")
    salt, stored, server, iterations = users.keys("eve")
    known = users.keys("al")
    assert [len(salt), len(stored), len(server), iterations] == [
        *(len(each) for each in known[:3]),
        known[3],
    ]
    # Asked again it is the same, and another name has another salt.
    assert users.keys("eve")[0] == salt
    assert users.keys("eva")[0] != salt


def test_scram_file_has_a_line_for_each_method_and_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("noctule.access.sasl.LOOK_SECONDS", 0.0)
    file = tmp_path / "scram"
    methods = ("SCRAM-SHA-256", "SCRAM-SHA-512")
    file.write_text("".join(f"al:{scram_record(each, 'right', 4096)}\n" for each in methods))
    small, large = (ScramFile(file, method) for method in methods)
    assert (len(small.keys("al")[1]), len(large.keys("al")[1])) == (32, 64)
    before = small.keys("al")
    file.write_text(f"al:{scram_record('SCRAM-SHA-256', 'other', 5000)}\n")
    assert small.keys("al")[3] == 5000
    assert small.keys("al") != before
    for wrong in ("al:SCRAM-SHA-256$x\n", "al:SCRAM-SHA-256$1:!$x:y\n", "al:s3cret\n"):
        file.write_text(wrong)
        assert small.keys("al")[3] == 5000
        with pytest.raises(PasswordFileError) as caught:
            ScramFile(file, "SCRAM-SHA-256")
        assert "s3cret" not in str(caught.value)
    assert "stay in force" in caplog.text


async def test_plain_needs_privacy(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text(f"al:{CHEAP.hash('pw')}\n")
    users = PasswordFile(file)
    access = Access(mechanisms=[Plain((users,))])
    request = replace(REQUEST, method="PLAIN", data=b"\0al\0pw", user=None, is_private=True)
    assert isinstance(await access.start(request), Accept)
    assert isinstance(await access.start(replace(request, is_private=False)), Refuse)
    assert isinstance(await access.start(replace(request, data=b"root\0al\0pw")), Refuse)
    assert isinstance(await access.start(replace(request, data=b"\0al\0no")), Refuse)
    await users.close()


async def test_method_nobody_offers_is_a_bad_one() -> None:
    assert await Access().start(replace(REQUEST, method="X")) == Refuse(0x8C)


async def test_a_link_that_raises_does_not_pass_the_client_on() -> None:
    class Broken:
        async def identify(self, request: AuthenticationRequest) -> None:
            raise BackEndError("away")

        async def close(self) -> None: ...

    with pytest.raises(BackEndError):
        await Access(links=[Broken()], allow_anonymous=True).start(REQUEST)


async def test_anonymous_is_who_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text(f"al:{CHEAP.hash('pw')}\n")
    users = PasswordFile(file)
    access = Access(links=[users], allow_anonymous=True)
    nothing = replace(REQUEST, user=None, password=None)
    assert isinstance(await access.start(nothing), Accept)
    # An empty name or password is something, and wrong.
    assert isinstance(await access.start(replace(nothing, user="")), Refuse)
    assert isinstance(await access.start(replace(nothing, password=b"")), Refuse)
    await users.close()


@pytest.mark.parametrize("text", ["al", "al:secret", ":$argon2id$x", "a:$argon2id$\na:$argon2id$"])
def test_bad_password_file_is_refused_without_its_text(tmp_path: Path, text: str) -> None:
    file = tmp_path / "users"
    file.write_text(text)
    with pytest.raises(PasswordFileError) as caught:
        PasswordFile(file)
    assert "secret" not in str(caught.value)


# By mosquitto_passwd 2.0.11, and what mosquitto_passwd 1.6 would write: alice has `secret`,
# carol `old`.
MOSQUITTO_USERS = (
    "alice:$7$101$CzAy9rOmrragHqD2$PwQw3ImVG+gtpEgwYrhHWy+S/EntpTxvHXy8h4qG3qPpW5+3r6fsPexYIE/eV"
    "MVkJOg8tzWzzEZMwP2JG/nAJQ==\n"
    "carol:$6$c2FsdHNhbHRzYWw=$"
    + base64.b64encode(hashlib.sha512(b"old" + b"saltsaltsal").digest()).decode()
    + "\n"
)


@pytest.mark.parametrize(("user", "password"), [("alice", b"secret"), ("carol", b"old")])
async def test_mosquitto_password_file(tmp_path: Path, user: str, password: bytes) -> None:
    file = tmp_path / "users"
    file.write_text(MOSQUITTO_USERS + "dave:" + CHEAP.hash("d") + "\n")
    users = PasswordFile(file)
    known = replace(REQUEST, user=user, password=password)
    assert await users.identify(known) == Identity(user)
    assert await users.identify(replace(known, password=password + b"x")) == DENIED
    assert await users.identify(replace(known, user="nobody")) is None
    assert await users.identify(replace(known, user="dave", password=b"d")) == Identity("dave")
    await users.close()


@pytest.mark.parametrize(
    "record", ["$7$101$AA==$AA==", "$7$0$AA==$" + "A" * 86 + "==", "$7$1$x$y", "$6$AA==", "$7$1$!$"]
)
async def test_broken_mosquitto_hash_lets_nobody_in(tmp_path: Path, record: str) -> None:
    assert not is_checkable(record)
    file = tmp_path / "users"
    file.write_text(f"alice:{record}\n")
    users = PasswordFile(file)
    with pytest.raises(BackEndError):
        await users.identify(REQUEST)
    await users.close()


def test_mosquitto_acl_file(tmp_path: Path) -> None:
    file = tmp_path / "acl"
    file.write_text(
        "topic read open/#\nuser al\ntopic own/#\ntopic deny own/x\n"
        "# a comment\npattern write devices/%c/%u\n"
    )
    rules = read_acl_file(file)
    al, nobody = Principal("c", "al"), Principal("c")
    assert explain(rules, al, "publish", "own/y").allowed
    assert not explain(rules, al, "publish", "own/x").allowed
    assert not explain(rules, al, "receive", "open/1").allowed
    assert explain(rules, nobody, "receive", "open/1").allowed
    assert not explain(rules, nobody, "publish", "open/1").allowed
    assert explain(rules, al, "publish", "devices/c/al").allowed
    assert not explain(rules, Principal("c", "+"), "publish", "devices/c/al").allowed
    assert str(explain(rules, al, "publish", "own/x")) == "denied by the rule: deny own/x"
    file.write_text("topic sometimes a b\nuser\n")
    with pytest.raises(RuleError, match="line 2"):
        read_acl_file(file)


def test_claims_are_literals() -> None:
    rule = Rule(filter="%{tenant}/#")
    for value in ("+", "#", "a/b", "%c"):
        assert engine_rules([rule], Principal("c", claims={"tenant": value})) == []
    assert engine_rules([rule], Principal("c")) == []
    assert explain([rule], Principal("c", claims={"tenant": "t1"}), "publish", "t1/x").allowed
    deny = Rule(permission="deny", filter="%{tenant}/#")
    with pytest.raises(RuleError):
        engine_rules([deny], Principal("c", claims={"tenant": "%c"}))


async def test_an_empty_password_is_nobodys() -> None:
    checker = PasswordChecker()
    assert await checker.is_right(CHEAP.hash("x"), b"x")
    assert not await checker.is_right(CHEAP.hash(""), b"")
    checker.close()


async def test_hash_pool_is_bounded(tmp_path: Path) -> None:
    checker = PasswordChecker(threads=1, maximum_waiting=1)
    record = CHEAP.hash("x")
    answers = await asyncio.gather(
        *(checker.is_right(record, b"%d" % n) for n in range(3)), return_exceptions=True
    )
    assert sum(isinstance(each, BackEndError) for each in answers) == 2
    checker.close()


async def test_name_nobody_knows_costs_one_check_as_one_does_that_somebody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the links it is, and by PLAIN, too: the time tells nothing."""
    file = tmp_path / "users"
    file.write_text(f"first:{CHEAP.hash('right')}\nboth:{CHEAP.hash('right')}\n")
    directory = Directory(tmp_path / "access.sqlite")
    await directory.add_user("second", "right")
    await directory.add_user("blank")
    await directory.add_user("gone", "right")
    await directory.set_enabled("gone", False)
    links = (PasswordFile(file), directory)
    access = Access(links=links, mechanisms=[Plain(links)])
    checked: list[bytes] = []

    def verify(self: PasswordChecker, record: str, password: bytes) -> bool:
        checked.append(password)
        return False

    monkeypatch.setattr(PasswordChecker, "_verify", verify)
    for user in ("first", "second", "both", "nobody", "blank", "gone", ""):
        for request in (
            replace(REQUEST, user=user, password=b"wrong"),
            replace(
                REQUEST,
                method="PLAIN",
                data=b"\0%b\0wrong" % user.encode(),
                user=None,
                password=None,
                is_private=True,
            ),
        ):
            if request.method is not None and not user:
                continue
            checked.clear()
            assert isinstance(await access.start(request), Refuse)
            assert checked == [b"wrong"], (user, request.method)
    for link in links:
        await link.close()
