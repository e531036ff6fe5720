"""CRAM-MD5 and DIGEST-MD5, against the RFCs' examples and clients that are not ours."""

import logging
import smtplib
from dataclasses import replace
from pathlib import Path

import pytest
from puresasl.client import SASLClient

from noctule.access import Access, Identity, PasswordFileError
from noctule.access.insecure_sasl import (
    ClearTextFile,
    CramMd5,
    DigestMd5,
    directives,
    response,
    session_key,
)
from noctule.broker import Accept, AuthenticationRequest, Challenge, Refuse
from tests.unit.access.test_authenticators import REQUEST


@pytest.fixture
def file(tmp_path: Path) -> ClearTextFile:
    return file_with(tmp_path, "# people\nal:right: word\nzoë:schlüssel\n")


def file_with(folder: Path, text: str, mode: int = 0o600) -> ClearTextFile:
    path = folder / "clear"
    path.write_text(text)
    path.chmod(mode)
    return ClearTextFile(path)


def request(method: str) -> AuthenticationRequest:
    return replace(REQUEST, method=method, user=None, password=None)


@pytest.mark.parametrize(
    ("user", "password"),
    [("al", "right: word"), ("al", "wrong"), ("eve", "right: word"), ("al", "")],
)
async def test_cram_md5_with_the_standard_librarys_client(
    file: ClearTextFile, user: str, password: str
) -> None:
    access = Access(mechanisms=[CramMd5(file)])
    asked = request("CRAM-MD5")
    challenge = await access.start(asked)
    assert isinstance(challenge, Challenge)
    client = smtplib.SMTP()
    client.user, client.password = user, password
    said = client.auth_cram_md5(challenge.data)
    assert said is not None
    answer = await access.continue_(replace(asked, data=said.encode(), state=challenge.state))
    if (user, password) == ("al", "right: word"):
        assert isinstance(answer, Accept)
        assert answer.user == "al"
    else:
        assert answer == Refuse(0x87)


@pytest.mark.parametrize(
    ("user", "password"), [("al", "right: word"), ("al", "wrong"), ("eve", "right: word")]
)
async def test_digest_md5_with_puresasl(file: ClearTextFile, user: str, password: str) -> None:
    access = Access(mechanisms=[DigestMd5(file)])
    asked = request("DIGEST-MD5")
    challenge = await access.start(asked)
    assert isinstance(challenge, Challenge)
    client = SASLClient("broker", "mqtt", "DIGEST-MD5", username=user, password=password)
    said = client.process(challenge.data)
    answer = await access.continue_(replace(asked, data=said, state=challenge.state))
    if (user, password) == ("al", "right: word"):
        assert isinstance(answer, Accept)
        assert answer.user == "al"
        client.process(answer.data)  # raises where the broker has not proved itself
        assert client.complete
    else:
        assert answer == Refuse(0x87)


def test_digest_md5_of_the_rfcs_example() -> None:
    """RFC 2831 §4, which is IMAP's."""
    said = directives(
        b'charset=utf-8,username="chris",realm="elwood.innosoft.com",'
        b'nonce="OA6MG9tEQGm2hh",nc=00000001,cnonce="OA6MHXh6VqTrRk",'
        b'digest-uri="imap/elwood.innosoft.com",'
        b"response=d388dad90d4bbd760a152321f2143af7,qop=auth"
    )
    assert said is not None
    key = session_key("chris", "elwood.innosoft.com", "secret", said)
    uri = b"imap/elwood.innosoft.com"
    assert response(key, said, b"AUTHENTICATE:" + uri) == said["response"]
    assert response(key, said, b":" + uri) == b"ea40f60335c427b5527b84dbabcdfffd"


@pytest.mark.parametrize(
    "change",
    [
        (b"nc=00000001", b"nc=00000002"),
        (b'realm="noctule"', b'realm="other"'),
        (b"qop=auth", b"qop=auth-conf"),
        (b'digest-uri="mqtt/', b'digest-uri="imap/'),
        (b'username="al"', b'username="al",username="al"'),
        (b'username="al"', b'username="al",authzid="root"'),
        (b'cnonce="', b'other="'),
        (b'nonce="', b'nonce="x'),
    ],
)
async def test_digest_md5_that_was_tampered_with(
    file: ClearTextFile, change: tuple[bytes, bytes]
) -> None:
    mechanism = DigestMd5(file)
    client = SASLClient("broker", "mqtt", "DIGEST-MD5", username="al", password="right: word")
    said = client.process(mechanism.challenge("n0nce"))
    assert mechanism.check("n0nce", said) is not None
    changed = said.replace(change[0], change[1], 1)
    assert changed != said
    assert mechanism.check("n0nce", changed) is None


@pytest.mark.parametrize("method", ["CRAM-MD5", "DIGEST-MD5"])
async def test_answer_to_an_earlier_challenge_is_refused(file: ClearTextFile, method: str) -> None:
    mechanism = CramMd5(file) if method == "CRAM-MD5" else DigestMd5(file)
    asked = request(method)
    first = await mechanism.step(asked, first=True)
    second = await mechanism.step(asked, first=True)
    assert isinstance(first, Challenge)
    assert isinstance(second, Challenge)
    client = SASLClient("broker", "mqtt", method, username="al", password="right: word")
    said = client.process(first.data)
    if method == "CRAM-MD5":
        assert isinstance(await mechanism.step(replace(asked, data=said, state=first.state),
                                               first=False), tuple)  # fmt: skip
    again = await mechanism.step(replace(asked, data=said, state=second.state), first=False)
    assert again == Refuse(0x87)
    for data in (None, b"", b" ", b"al", b"\xff x", b"=", b'a="'):
        answer = await mechanism.step(replace(asked, data=data, state=first.state), first=False)
        assert answer == Refuse(0x87)
    assert await mechanism.step(replace(asked, data=said), first=True) == Refuse(0x87)
    assert await mechanism.step(replace(asked, data=said), first=False) == Refuse(0x87)


def test_names_beyond_ascii(file: ClearTextFile) -> None:
    mechanism = DigestMd5(file)
    said = b'charset=utf-8,username="zo\xc3\xab",realm="noctule",nonce="n",nc=00000001,' \
        b'cnonce="c",digest-uri="mqtt/x",qop=auth'  # fmt: skip
    found = directives(said)
    assert found is not None
    # Both fit into ISO 8859-1, and are hashed so (RFC 2831 §2.1.2.1).
    key = session_key("zoë", "noctule", "schlüssel", found)
    proof = response(key, found, b"AUTHENTICATE:mqtt/x")
    checked = mechanism.check("n", said + b",response=" + proof)
    assert checked is not None
    assert checked[0] == Identity("zoë")


def test_it_warns_and_keeps_passwords_to_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        CramMd5(file_with(tmp_path, "al:s3cret\n"))
    assert "CRAM-MD5 is on" in caplog.text
    for text, mode in (("al:s3cret\n", 0o644), ("s3cret\n", 0o600), ("a:s3cret\na:x\n", 0o600)):
        with pytest.raises(PasswordFileError) as caught:
            file_with(tmp_path, text, mode)
        assert "s3cret" not in str(caught.value)
