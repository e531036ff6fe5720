"""Certificate, key, authority and revocation files that change while the broker runs."""

import asyncio
import logging
import os
import shutil
from asyncio import to_thread
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from noctule.broker import Broker
from tests.conformance.certificates import DAY, Authority
from tests.integration.listeners.secure import SecureConnection, outcome, trusting

WAIT_SECONDS = 30.0


class Folder:
    """One listener's files: server.pem, server.key, clients.pem and clients.crl."""

    def __init__(self, path: Path, authority: Authority) -> None:
        self.path = path
        path.mkdir()
        authority.issue(path, "server", datetime.now(UTC) + DAY)
        (path / "clients.pem").write_bytes(authority.pem)
        (path / "clients.crl").write_bytes(authority.revocation_list())

    def listener(self) -> dict[str, object]:
        return {
            "scheme": "mqtts",
            "port": 0,
            "tls_certificate": str(self.path / "server.pem"),
            "tls_key": str(self.path / "server.key"),
            "client_certificates": "required",
            "client_ca": str(self.path / "clients.pem"),
            "crl": str(self.path / "clients.crl"),
        }


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what the broker does by itself."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not holds():  # noqa: ASYNC110  (a log line is waited for)
            await asyncio.sleep(0.02)


async def test_new_files_are_in_force_and_broken_ones_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything at once, each with a listener of its own: a look is taken once a second."""
    caplog.set_level(logging.INFO, "noctule")
    ours, theirs = Authority("ours"), Authority("theirs")
    tomorrow = datetime.now(UTC) + DAY
    (tmp_path / "ours.pem").write_bytes(ours.pem)
    ours.issue(tmp_path, "client", tomorrow)
    doomed = ours.issue(tmp_path, "doomed", tomorrow)
    theirs.issue(tmp_path, "foreign", tomorrow)
    names = ("certificate", "linked", "authority", "revocation", "stale", "garbage", "key", "gone")
    folders = {name: Folder(tmp_path / name, ours) for name in names}
    # As where a tool points a link at another folder.
    folders["linked"].path.rename(tmp_path / "old")
    folders["linked"].path.symlink_to(tmp_path / "old")

    contexts = {
        name: trusting(tmp_path / "ours.pem", shows=tmp_path / f"{name}.pem")
        for name in ("client", "doomed", "foreign")
    }
    stale = folders["stale"].path / "clients.crl"
    stale.write_bytes(ours.revocation_list(ends=datetime.now(UTC) - DAY))
    listeners = [folder.listener() for folder in folders.values()]
    async with Broker(listeners=listeners) as broker:
        ports = dict(zip(names, broker.ports, strict=True))

        def serial(name: str) -> int:
            with SecureConnection(ports[name], contexts["client"]) as connection:
                connection.open("looking")
                return connection.certificate.serial_number

        async def come(name: str, client: str) -> str:
            return await to_thread(outcome, ports[name], contexts[client])

        # Nobody knows any more who is revoked.
        assert "unknown ca" in await come("stale", "client")
        before = {name: serial(name) for name in names if name != "stale"}
        for name in ("authority", "revocation"):
            assert await come(name, "doomed") == "welcome"
            assert "unknown ca" in await come(name, "foreign")
        with SecureConnection(ports["revocation"], contexts["doomed"]) as staying:
            staying.open("staying")
            session = staying.socket.session

            ours.issue(folders["certificate"].path, "server", tomorrow)
            new = Folder(tmp_path / "new", ours)
            (tmp_path / "link").symlink_to(new.path)
            (tmp_path / "link").replace(folders["linked"].path)
            (folders["authority"].path / "clients.crl").write_bytes(theirs.revocation_list())
            (folders["authority"].path / "clients.pem").write_bytes(theirs.pem)
            (folders["revocation"].path / "clients.crl").write_bytes(ours.revocation_list(doomed))
            stale.write_bytes(ours.revocation_list())
            (folders["garbage"].path / "clients.pem").write_text("no certificate")
            ours.issue(tmp_path, "server", tomorrow)
            shutil.copy(tmp_path / "server.key", folders["key"].path)
            (folders["gone"].path / "server.pem").unlink()
            in_force, left_out = "files are in force", "files are left out"
            await until(lambda: caplog.text.count(in_force) + caplog.text.count(left_out) == 8)

            assert caplog.text.count(in_force) == 5
            assert caplog.text.count(f"{stale} was to be renewed") == 1
            for name, what in (("garbage", "client_ca"), ("key", "tls_key"), ("gone", "tls_cert")):
                file = folders[name].path
                assert any(
                    left_out in line and f"{what}" in line and f"{file}/" in line
                    for line in caplog.text.splitlines()
                ), name
            now = {name: serial(name) for name in before if name != "authority"}
            changed = {name for name in now if now[name] != before[name]}
            assert changed == {"certificate", "linked"}
            assert await come("authority", "foreign") == "welcome"
            assert "unknown ca" in await come("authority", "client")
            # The ticket of a revoked certificate is no way in.
            again = partial(outcome, session=session)
            refused = await to_thread(again, ports["revocation"], contexts["doomed"])
            assert "certificate revoked" in refused
            assert await come("revocation", "client") == "welcome"
            assert await come("stale", "client") == "welcome"
            # Who is there stays.
            staying.subscribe("a", 1)

        # What was broken is mended.
        (folders["garbage"].path / "clients.pem").write_bytes(ours.pem)
        shutil.copy(tmp_path / "server.pem", folders["key"].path)
        ours.issue(folders["gone"].path, "server", tomorrow)
        await until(lambda: caplog.text.count(in_force) == 8)
        mended = {name: serial(name) for name in ("garbage", "key", "gone")}
        assert mended["garbage"] == before["garbage"]
        assert mended["key"] != before["key"]
        assert mended["gone"] != before["gone"]


def test_broker_does_not_start_with_files_that_it_cannot_use(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "files", Authority("ours"))
    others = Folder(tmp_path / "others", Authority("others"))
    for name in ("server.pem", "server.key", "clients.pem", "clients.crl"):
        file, aside = folder.path / name, tmp_path / "aside"
        os.replace(file, aside)
        for wrong in (None, b"", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"):
            if wrong is not None:
                file.write_bytes(wrong)
            with pytest.raises(ValueError, match=rf"(certificate|key|ca|crl) .*/{name}: .+"):
                Broker(listeners=[folder.listener()])
        os.replace(aside, file)
    shutil.copy(others.path / "server.key", folder.path)
    with pytest.raises(ValueError, match=r"tls_key .*/server\.key: .*KeyMismatch"):
        Broker(listeners=[folder.listener()])
