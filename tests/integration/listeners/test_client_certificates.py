"""Certificates of clients: required or optional, of whom, for what, and revoked."""

import asyncio
import ssl
import time
from asyncio import to_thread
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from noctule.access import Access, Peer
from noctule.broker import Broker
from tests.conformance.certificates import DAY, Authority
from tests.integration.listeners.secure import (
    BOTH,
    SERVER,
    VERSIONS,
    SecureConnection,
    outcome,
    trusting,
)


@dataclass(frozen=True)
class Offices:
    """An authority, one that signs on its behalf, and where both put what they issue."""

    root: Authority
    branch: Authority
    folder: Path

    def write(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def listener(self, asks: str, **more: object) -> dict[str, object]:
        """One that asks for certificates that lead to the root."""
        authority = self.write("root.pem", self.root.pem)
        return {**SERVER, "client_certificates": asks, "client_ca": authority, **more}

    def issue(
        self, name: str, expires: datetime, usage: x509.ObjectIdentifier | None = None
    ) -> x509.Certificate:
        """By the root, for a client of this name."""
        return self.root.issue(self.folder, name, expires, names=[name], usage=usage)

    def shows(self, name: str | None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        shown = None if name is None else self.folder / f"{name}.pem"
        return trusting(shows=shown, version=version)


@pytest.fixture(scope="module")
def offices(tmp_path_factory: pytest.TempPathFactory) -> Offices:
    root = Authority("root")
    return Offices(root, Authority("branch", root), tmp_path_factory.mktemp("offices"))


@pytest.fixture(scope="module")
def issued(offices: Offices) -> dict[str, x509.Certificate]:
    """Certificates by name."""
    tomorrow = datetime.now(UTC) + DAY
    stranger = Authority("root")  # the name alone makes no authority
    return {
        "anybody": offices.issue("anybody", tomorrow),
        "client": offices.issue("client", tomorrow, ExtendedKeyUsageOID.CLIENT_AUTH),
        "server": offices.issue("server", tomorrow, ExtendedKeyUsageOID.SERVER_AUTH),
        "expired": offices.issue("expired", tomorrow - 2 * DAY),
        "early": offices.issue("early", tomorrow + 2 * DAY),
        "branch": offices.branch.issue(offices.folder, "branch", tomorrow, names=["branch"]),
        "stranger": stranger.issue(offices.folder, "stranger", tomorrow, names=["stranger"]),
    }


@BOTH
@pytest.mark.parametrize("asks", ["required", "optional"])
async def test_certificate_is_good_or_refused_with_its_reason(
    offices: Offices, issued: dict[str, x509.Certificate], asks: str, version: ssl.TLSVersion
) -> None:
    cases = {
        "anybody": "welcome",
        "client": "welcome",
        "branch": "welcome",
        # One for servers is none for clients.
        "server": "unsupported certificate",
        "expired": "certificate expired",
        # There is no alert for this: RFC 8446 §6.2 has it under the same one.
        "early": "certificate expired",
        "stranger": "alert decrypt error",
        None: "welcome" if asks == "optional" else "certificate required",
    }
    async with Broker(listeners=[offices.listener(asks)]) as broker:
        for name, expected in cases.items():
            got = await to_thread(outcome, broker.port, offices.shows(name, version))
            assert expected in got, name


async def test_revoked_ones_are_refused_wherever_in_the_chain_they_stand(
    offices: Offices, issued: dict[str, x509.Certificate]
) -> None:
    tomorrow = datetime.now(UTC) + DAY
    lost = [offices.issue(name, tomorrow) for name in ("lost-1", "lost-2")]
    sold = offices.branch.issue(offices.folder, "sold", tomorrow, names=["sold"])
    of_root = offices.write("root.crl", offices.root.revocation_list(*lost))
    of_branch = offices.write("branch.crl", offices.branch.revocation_list(sold))
    closed = offices.root.revocation_list(offices.branch.certificate)
    listeners = [
        offices.listener("required", crl=[of_root, of_branch]),
        # What nobody has a list for is not known to be good.
        offices.listener("required", crl=[of_root]),
        # Several lists may be in one file.
        offices.listener(
            "optional",
            crl=offices.write("both.crl", closed + offices.branch.revocation_list()),
        ),
    ]
    cases = [
        (0, "anybody", "welcome"),
        (0, "branch", "welcome"),
        (0, "lost-1", "certificate revoked"),
        (0, "lost-2", "certificate revoked"),
        (0, "sold", "certificate revoked"),
        (1, "anybody", "welcome"),
        (1, "branch", "unknown ca"),
        (2, "lost-1", "welcome"),
        (2, None, "welcome"),
        (2, "branch", "certificate revoked"),
    ]
    async with Broker(listeners=listeners) as broker:
        for place, name, expected in cases:
            got = await to_thread(outcome, broker.ports[place], offices.shows(name))
            assert expected in got, (place, name)


async def test_log_says_why_a_certificate_is_refused_and_is_not_flooded(
    offices: Offices, issued: dict[str, x509.Certificate], caplog: pytest.LogCaptureFixture
) -> None:
    async with Broker(listeners=[offices.listener("required")], workers=1) as broker:
        begin = time.monotonic()
        for name in ("stranger", "server", None) * 20:
            assert await to_thread(outcome, broker.port, offices.shows(name)) != "welcome"
        seconds = time.monotonic() - begin
    lines = [line for line in caplog.messages if line.startswith("a client at 127.0.0.1 is ref")]
    assert lines[0].endswith("is refused: invalid peer certificate: BadSignature")
    assert len(lines) <= 1 + seconds


async def test_resumed_session_keeps_its_name_until_the_certificate_ends(offices: Offices) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
    offices.issue("brief", ends)
    access = Access(links=[Peer()])
    contexts = {version: offices.shows("brief", version) for version in VERSIONS}
    sessions: dict[ssl.TLSVersion, ssl.SSLSession | None] = dict.fromkeys(contexts)
    listener = offices.listener("required")
    async with Broker(listeners=[listener], authenticator=access) as broker:

        def come(version: ssl.TLSVersion) -> SecureConnection:
            found = sessions[version]
            return SecureConnection(broker.port, contexts[version], session=found)

        for version in contexts:
            for is_resumed in (False, True):
                with await to_thread(come, version) as connection:
                    assert connection.socket.session_reused == is_resumed
                    await to_thread(connection.open, "client")
                    sessions[version] = connection.socket.session
                    assert [client.user for client in await broker.clients()] == ["brief"]
        # The last second is part of it.
        await asyncio.sleep((ends - datetime.now(UTC)).total_seconds() + 1)
        for version in contexts:
            with await to_thread(come, version) as connection:
                assert connection.socket.session_reused
                with pytest.raises(ConnectionError):
                    await to_thread(connection.open, "client")
