"""The outbox on disk: QoS 1 and 2 messages that survive the end of the program.

A message is written down before it is sent, a PUBREC before its PUBREL leaves, and a
message is struck out when it is settled. So whatever the moment of a crash, the next run
knows which of MQTT 5.0 §4.3's steps may have been taken, and goes on from there.

SQLite does the writing, in a thread of its own, with everything that has come up in one
transaction (`synchronous=FULL`): an fsync for each batch, not for each message.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Callable
from os import PathLike, fspath
from queue import SimpleQueue
from typing import Any, TypeAlias

from noctule.client.receipt import Receipt
from noctule.protocol._tables import ReasonCode
from noctule.protocol.errors import NoctuleError
from noctule.protocol.state import SessionState, dump_properties, load_properties

__all__ = ["OutboxError", "SqliteOutbox"]

FORMAT = 1
MAX_BATCH = 1024

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS message (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    packet_identifier INTEGER NOT NULL UNIQUE,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL,
    qos INTEGER NOT NULL,
    retain INTEGER NOT NULL,
    properties TEXT NOT NULL,
    sent INTEGER NOT NULL,   -- 0: certainly never sent
    received INTEGER         -- PUBREC's reason code, once it has come
);
"""
STORE = (
    "INSERT INTO message (packet_identifier, topic, payload, qos, retain, properties, sent) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)

_Statement: TypeAlias = tuple[str, tuple[Any, ...]]
_Job: TypeAlias = tuple[_Statement, "Callable[[], None] | None", "asyncio.Future[None] | None"]


class OutboxError(NoctuleError):
    """The outbox's file cannot be used: another program has it, it is damaged, or full."""


class SqliteOutbox:
    """The file at `path`. One client at a time; a second one gets OutboxError.

    The methods that write return at once; `then` is called in the event loop when it is on
    disk, in the order of the calls. Where the disk fails, `on_failure` is called there, once,
    and nothing more is written.
    """

    def __init__(
        self, path: str | PathLike[str], on_failure: Callable[[OutboxError], None]
    ) -> None:
        self._path = fspath(path)
        self._on_failure = on_failure
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._failed: OutboxError | None = None

    def open(self, client_identifier: str) -> tuple[str, SessionState]:
        """Opens the file and starts the thread; call it in the event loop.

        Returns the client identifier to use (that of the file if `client_identifier` is
        empty) and the state that the last run left. A file of another client is refused.
        """
        try:
            database = self._connect()
            kept = dict(database.execute("SELECT name, value FROM meta"))
            state = self._load(database, client_identifier, kept)
        except (sqlite3.Error, ValueError) as error:
            raise OutboxError(f"outbox {self._path!r}: {error}") from error
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._write, args=(database,), name=f"noctule outbox {self._path}", daemon=True
        )
        self._thread.start()
        return state.client_identifier, state

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(
            self._path, timeout=0.2, isolation_level=None, check_same_thread=False
        )
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(SCHEMA)
        return database

    def _load(
        self, database: sqlite3.Connection, wanted: str, kept: dict[str, str]
    ) -> SessionState:
        if kept.get("format", str(FORMAT)) != str(FORMAT):
            raise OutboxError(f"outbox {self._path!r} has format {kept['format']}")
        identifier = kept.get("client_identifier", "")
        if wanted and identifier and wanted != identifier:
            raise OutboxError(
                f"outbox {self._path!r} belongs to client {identifier!r}, not {wanted!r}"
            )
        in_flight, received, pending = [], {}, []
        rows = database.execute(
            "SELECT packet_identifier, topic, payload, qos, retain, properties, sent, received "
            "FROM message ORDER BY sequence"
        )
        for number, topic, payload, qos, retain, properties, sent, code in rows:
            section = load_properties(json.loads(properties))
            receipt = Receipt(None, topic, payload, qos, bool(retain), section)
            receipt.packet_identifier = number
            if sent:
                in_flight.append(receipt)
            else:
                pending.append(receipt)
            if code is not None:
                received[number] = ReasonCode(code)
        return SessionState(
            client_identifier=identifier or wanted,
            is_established=kept.get("is_established") == "1",
            in_flight=tuple(in_flight),
            received=received,
            released=frozenset(received),
            pending=tuple(pending),
        )

    # --- What happens to messages -----------------------------------------------------

    def store(
        self, receipt: Receipt, is_online: bool, then: Callable[[], None]
    ) -> asyncio.Future[None]:
        """Writes a message down that has its packet identifier; the future is for the disk.

        `then` is called even if nobody waits any more: the message is written by then.
        """
        assert self._loop is not None
        if self._failed is not None:
            raise self._failed
        on_disk = self._loop.create_future()
        row = (
            receipt.packet_identifier,
            receipt.topic,
            receipt.payload,
            receipt.qos,
            receipt.retain,
            json.dumps(dump_properties(receipt.properties)),
            is_online,
        )
        self._submit((STORE, row), then, on_disk)
        return on_disk

    def sending(self, then: Callable[[], None]) -> None:
        """From now on all messages may have been sent."""
        self._submit(("UPDATE message SET sent = 1 WHERE sent = 0", ()), then)

    def received(self, receipt: Receipt, code: ReasonCode, then: Callable[[], None]) -> None:
        """The server has answered with PUBREC; PUBREL may go out after this."""
        statement = "UPDATE message SET received = ? WHERE packet_identifier = ?"
        self._submit((statement, (int(code), receipt.packet_identifier)), then)

    def settled(self, receipt: Receipt) -> None:
        """The message is over. If this is lost in a crash, its last step is repeated."""
        statement = "DELETE FROM message WHERE packet_identifier = ?"
        self._submit((statement, (receipt.packet_identifier,)), None)

    def session(self, client_identifier: str, is_established: bool) -> None:
        """Keeps whose the session is, and whether the server keeps it."""
        for name, value in (
            ("format", str(FORMAT)),
            ("client_identifier", client_identifier),
            ("is_established", str(int(is_established))),
        ):
            self._submit(("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value)), None)

    async def close(self) -> None:
        """Writes what is left and closes the file."""
        if self._thread is None:
            return
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._thread = None
        await asyncio.sleep(0)  # The last calls of `then` are in the loop's queue.

    # --- The thread -------------------------------------------------------------------

    def _submit(
        self,
        statement: _Statement,
        then: Callable[[], None] | None,
        on_disk: asyncio.Future[None] | None = None,
    ) -> None:
        if self._failed is None:
            self._jobs.put((statement, then, on_disk))

    def _write(self, database: sqlite3.Connection) -> None:
        is_running = True
        while is_running:
            jobs, is_running = self._batch()
            try:
                database.execute("BEGIN IMMEDIATE")
                for (sql, values), _, _ in jobs:
                    database.execute(sql, values)
                database.execute("COMMIT")
            except sqlite3.Error as error:
                self._fail(error, jobs)
                break
            self._call_back(jobs, None)
        database.close()

    def _batch(self) -> tuple[list[_Job], bool]:
        """Waits for work; False with it if that was the last."""
        jobs: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if self._jobs.empty() or len(jobs) >= MAX_BATCH:
                return jobs, True
            job = self._jobs.get()
        return jobs, False

    def _fail(self, error: sqlite3.Error, jobs: list[_Job] | None = None) -> None:
        """Nothing more is written; whoever waits or comes later is told why."""
        self._failed = OutboxError(f"outbox {self._path!r}: {error}")
        self._failed.__cause__ = error
        waiting = jobs or []
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None:
                waiting.append(job)
        self._call_back(waiting, self._failed)

    def _call_back(self, jobs: list[_Job], error: OutboxError | None) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(_finish, jobs, error)
            if error is not None:
                self._loop.call_soon_threadsafe(self._on_failure, error)
        except RuntimeError:
            return  # The loop is closed: nobody is left to be told.


def _finish(jobs: list[_Job], error: OutboxError | None) -> None:
    for _, then, on_disk in jobs:
        if error is None and then is not None:
            then()
        if on_disk is None or on_disk.done():
            continue
        if error is None:
            on_disk.set_result(None)
        else:
            on_disk.set_exception(error)
            on_disk.exception()  # Seen, even if nobody awaits it: the client ends with it too.
