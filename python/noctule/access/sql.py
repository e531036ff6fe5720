"""Users and access rules in a database that SQLAlchemy speaks to."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from noctule.access.chain import DENIED, Identity, Verdict
from noctule.access.errors import BackEndError
from noctule.access.hashing import PasswordChecker
from noctule.access.rules import Rule
from noctule.access.sources import RuleSet
from noctule.access.threads import Threads
from noctule.access.token import texts
from noctule.broker import AuthenticationRequest

__all__ = ["QUERY", "SqlRules", "SqlUsers"]

# By `*`: `groups` is a reserved word here and there.
QUERY = "SELECT * FROM users WHERE name = :user"

Row = Mapping[str, Any]


class Database:
    """Asks queries in threads of its own; BackEndError without the driver's text.

    The optional package `sqlalchemy` and the database's driver must be there; ImportError says
    so.
    """

    def __init__(self, url: str) -> None:
        import sqlalchemy

        self._sqlalchemy = sqlalchemy
        try:
            self._engine = sqlalchemy.create_engine(url, pool_pre_ping=True)
        except sqlalchemy.exc.ArgumentError:
            # Its text may hold the URL, and with it a password.
            raise BackEndError("the database's URL is not one of SQLAlchemy's") from None
        self._threads = Threads("sql")

    async def rows(self, query: str, **parameters: object) -> list[Row]:
        """All rows, by the names of their columns."""
        return await self._threads.run(self._rows, query, parameters)

    async def close(self) -> None:
        """End the connections and the threads."""
        self._threads.close()
        await asyncio.to_thread(self._engine.dispose)

    def _rows(self, query: str, parameters: Row) -> list[Row]:
        try:
            with self._engine.connect() as connection:
                found = connection.execute(self._sqlalchemy.text(query), parameters)
                return [dict(row) for row in found.mappings()]
        except self._sqlalchemy.exc.SQLAlchemyError as error:
            raise BackEndError(f"the database failed: {type(error).__name__}") from None


class SqlUsers:
    """Asks `query` with `:user` for a row with `password_hash` and, if it likes, `groups`.

    The hash is one of argon2id, or of Mosquitto's; the groups are a JSON list, or names with
    spaces between.
    """

    def __init__(
        self, url: str, query: str = QUERY, checker: PasswordChecker | None = None
    ) -> None:
        self._database = Database(url)
        self._query = query
        self._checker = checker or PasswordChecker()
        self._imitates = False

    async def identify(self, request: AuthenticationRequest) -> Verdict:
        """The user, if the password is theirs; nothing is known of users without a row."""
        if request.user is None:
            return None
        rows = await self._rows(request.user)
        if not rows:
            return None
        record = record_of(rows[0])
        if record is not None and not self._imitates:
            self._imitates = True
            await asyncio.to_thread(self._checker.imitate, record)
        right = await self._checker.is_right(record, request.password or b"")
        # A user without a hash has no password that is right.
        groups = texts(listed(rows[0].get("groups")))
        return Identity(request.user, frozenset(groups), proof=record) if right else DENIED

    async def holds(self, user: str) -> str | None:
        """The hash of the user."""
        rows = await self._rows(user)
        return record_of(rows[0]) if rows else None

    async def _rows(self, user: str) -> list[Row]:
        rows = await self._database.rows(self._query, user=user)
        # To some databases `ALICE` is `alice`; to rules it is not.
        return [row for row in rows if row.get("name", user) == user]

    async def imitate(self, password: bytes) -> None:
        """Check it against a hash that nobody's password has."""
        await self._checker.is_right(None, password)

    async def close(self) -> None:
        """End the connections and the threads."""
        self._checker.close()
        await self._database.close()


def record_of(row: Row) -> str | None:
    """The hash of a user; None where the column is empty."""
    if "password_hash" not in row:
        raise BackEndError("the query for a user gives no column password_hash")
    return row["password_hash"] or None


class SqlRules:
    """The rules that `query` gives, in its order, asked for every `refresh_seconds`.

    Columns are named like the keys of a rule; one that is empty or not there stands for the
    default. A column of several values holds a JSON list, or one value alone.
    """

    def __init__(self, url: str, query: str, refresh_seconds: float = 5.0) -> None:
        self.name = "the database of rules"
        self._database = Database(url)
        self._query = query
        self._refresh_seconds = refresh_seconds

    async def load(self) -> RuleSet:
        """The rules now; BackEndError names the row that is none."""
        rows = await self._database.rows(self._query)
        return RuleSet(tuple(rule_of(row, number) for number, row in enumerate(rows, start=1)))

    async def wait(self) -> None:
        """Until it is time to ask again."""
        await asyncio.sleep(self._refresh_seconds)

    async def close(self) -> None:
        """End the connections and the threads."""
        await self._database.close()


def rule_of(row: Row, number: int) -> Rule:
    """The rule of a row."""
    table: dict[str, object] = {}
    for key, value in row.items():
        if value is None or key not in Rule.model_fields:
            continue
        if key == "retain":
            table[key] = bool(value)
        elif key in ("permission", "filter", "maximum_qos"):
            table[key] = value
        else:
            found = listed(value)
            table[key] = found if isinstance(found, list | tuple) else [found]
    if "filter" not in table:
        raise BackEndError(f"row {number} of the rules has no filter")
    try:
        return Rule.model_validate(table)
    except ValidationError as error:
        raise BackEndError(f"row {number} of the rules: {error.errors()[0]['msg']}") from None


def listed(value: object) -> object:
    """A JSON list as a list; everything else as it is."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise BackEndError("a column begins with [ and is not a JSON list") from None
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
