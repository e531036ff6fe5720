"""Stores that a broker does not start on: it says why, and leaves them as they are."""

import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.served_broker import ServedBroker

SERVE = [sys.executable, "-m", "noctule", "serve", "--listen", "mqtt://127.0.0.1:0"]


def refused(directory: Path) -> str:
    """What a broker says that does not start."""
    command = [*SERVE, "--data-dir", str(directory)]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=30)
    assert ended.returncode == 1, ended
    return ended.stderr


def crc32c(data: bytes) -> int:
    """CRC-32C, bit by bit."""
    crc = 0xFFFF_FFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F6_3B78 if crc & 1 else 0)
    return crc ^ 0xFFFF_FFFF


def test_second_broker_on_a_directory_is_refused(tmp_path: Path) -> None:
    with ServedBroker("--data-dir", str(tmp_path / "data")):
        assert f"{tmp_path / 'data'} is in use by another broker" in refused(tmp_path / "data")
    with ServedBroker("--data-dir", str(tmp_path / "data")) as broker:
        assert broker.port


def test_store_of_a_later_version_is_refused_and_not_touched(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with ServedBroker("--data-dir", str(data)):
        pass
    written_by = "noctule-store 7.0"
    [database] = data.glob("log-*.db")
    connection = sqlite3.connect(database)
    with connection:
        connection.execute(
            "UPDATE format SET version = 9, written_by = ?, checksum = ?",
            (written_by, crc32c(f"9 {written_by}".encode())),
        )
    connection.close()
    before = database.read_bytes()
    said = refused(data)
    assert "format 9, written by noctule-store 7.0, is not one that this version reads" in said
    assert database.read_bytes() == before
    checked = subprocess.run(
        [sys.executable, "-m", "noctule", "store", "check", str(data)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (checked.returncode, "format 9" in checked.stderr) == (2, True)


def test_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with ServedBroker("--data-dir", str(data)):
        assert data.stat().st_mode & 0o777 == 0o700
        modes = {file.name: file.stat().st_mode & 0o777 for file in data.iterdir()}
    assert set(modes.values()) == {0o600}, modes
