"""Users in a database that SQLAlchemy speaks to; passwords are argon2 hashes."""

import asyncio

from noctule.access.chain import DENIED, Identity, Verdict
from noctule.access.errors import BackEndError
from noctule.access.hashing import PasswordChecker
from noctule.access.token import texts
from noctule.broker import AuthenticationRequest

__all__ = ["QUERY", "SqlUsers"]

QUERY = "SELECT password_hash, groups FROM users WHERE name = :user"


class SqlUsers:
    """Asks `query` with `:user`: it gives the hash and, if it likes, groups with spaces between.

    The optional package `sqlalchemy` and the database's driver must be there; ImportError says
    so.
    """

    def __init__(
        self, url: str, query: str = QUERY, checker: PasswordChecker | None = None
    ) -> None:
        import sqlalchemy

        self._engine = sqlalchemy.create_engine(url, pool_pre_ping=True)
        self._query = sqlalchemy.text(query)
        self._failures = sqlalchemy.exc.SQLAlchemyError
        self._checker = checker or PasswordChecker()

    async def identify(self, request: AuthenticationRequest) -> Verdict:
        """The user, if the password is theirs; nothing is known of users without a row."""
        if request.user is None:
            return None
        row = await asyncio.to_thread(self._row, request.user)
        record = None if row is None else str(row[0])
        right = await self._checker.is_right(record, request.password or b"")
        if row is None:
            return None
        groups = texts(row[1]) if len(row) > 1 else []
        return Identity(request.user, frozenset(groups)) if right else DENIED

    async def close(self) -> None:
        """End the connections and the threads."""
        self._checker.close()
        await asyncio.to_thread(self._engine.dispose)

    def _row(self, user: str) -> tuple[object, ...] | None:
        try:
            with self._engine.connect() as connection:
                row = connection.execute(self._query, {"user": user}).first()
        except self._failures as error:
            # The driver's text may hold the URL, and with it a password.
            raise BackEndError(f"the database failed: {type(error).__name__}") from None
        return None if row is None else tuple(row)
