"""`noctule passwd`: a file of users and their passwords, as argon2id.

A line for each user, `NAME:$argon2id$v=19$m=…,t=…,p=…$SALT$HASH`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

__all__ = ["PasswordFile", "asked_password", "passwd"]

MODE = 0o600


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("user", required=False)
@click.option("-c", "--create", is_flag=True, help="Make a new file; one that is there is kept.")
@click.option("-D", "--delete", is_flag=True, help="Delete the user.")
@click.option("-l", "--list", "listed", is_flag=True, help="Print the users.")
@click.option("-b", "--batch", is_flag=True, help="Read lines USER:PASSWORD from standard input.")
@click.option(
    "--stdin", "from_stdin", is_flag=True, help="Read the password, a line, from standard input."
)
@click.option("--verify", is_flag=True, help="Say whether the password is the user's.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with --list and --verify.")
def passwd(
    file: Path,
    user: str | None,
    create: bool,
    delete: bool,
    listed: bool,
    batch: bool,
    from_stdin: bool,
    verify: bool,
    as_json: bool,
) -> None:
    r"""Make, change and delete users of a password FILE.

    \b
    noctule passwd --create users.pw alice      asks for the password, twice
    noctule passwd users.pw bob                 add or change
    noctule passwd --delete users.pw bob
    noctule passwd --batch users.pw < list      lines of USER:PASSWORD

    Passwords are kept as argon2id, and the file for its owner alone (mode 0600).
    """
    if sum((delete, listed, batch, verify)) > 1:
        raise click.UsageError("One of --delete, --list, --batch and --verify at a time.")
    if batch or listed:
        if user is not None:
            raise click.UsageError("--batch and --list take no USER.")
    elif user is None:
        raise click.UsageError("Give a USER, or --batch, or --list.")
    if create and file.exists():
        raise click.ClickException(f"{file} is there already; leave --create out to change it.")
    if not create and not file.exists():
        raise click.ClickException(f"There is no {file}; --create makes it.")
    if verify:
        assert user is not None
        is_right = PasswordFile.read(file).is_right(
            user, asked_password(user, from_stdin, is_new=False)
        )
        words = "The password is right." if is_right else "The password is wrong."
        click.echo(json.dumps({"right": is_right}) if as_json else words)
        sys.exit(0 if is_right else 1)
    if listed:
        names = PasswordFile.read(file).users
        if as_json:
            names = [json.dumps(names, ensure_ascii=False)]
        for name in names:
            click.echo(name)
        return
    with _locked(file):
        users = PasswordFile(file, {}) if create else PasswordFile.read(file)
        if batch:
            _set_batch(users)
        elif delete:
            assert user is not None
            users.delete(user)
        else:
            assert user is not None
            _check_name(user)
            users.set(user, asked_password(user, from_stdin, is_new=True))
        users.write()


def asked_password(user: str, from_stdin: bool, *, is_new: bool) -> str:
    """The password that somebody types, or that comes by a pipe; none is an error."""
    if from_stdin or not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = click.prompt(
            f"Password of {user}", hide_input=True, confirmation_prompt=is_new, err=True
        )
    if not password:
        raise click.ClickException("The password is empty.")
    return password


def _set_batch(users: PasswordFile) -> None:
    """All or nothing: the file is written when every line has been read."""
    for number, line in enumerate(sys.stdin, 1):
        line = line.rstrip("\n")
        if not line:
            continue
        user, colon, password = line.partition(":")
        if not colon or not password:
            raise click.ClickException(f"Line {number} is not USER:PASSWORD; nothing was changed.")
        _check_name(user)
        users.set(user, password)


def _check_name(user: str) -> None:
    if not user or ":" in user or "\n" in user or user.startswith("#"):
        raise click.ClickException(
            f"{user!r} cannot be a user: no colon, no line break, no # at its beginning."
        )


class PasswordFile:
    """Users and the hashes of their passwords."""

    def __init__(self, path: Path, hashes: dict[str, str]) -> None:
        self._path = path
        self._hashes = hashes

    @classmethod
    def read(cls, path: Path) -> PasswordFile:
        """Reads the file; ClickException for a line that is none."""
        hashes = {}
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise click.ClickException(f"{path}: {error}") from error
        for number, line in enumerate(lines, 1):
            if not line or line.startswith("#"):
                continue
            user, colon, digest = line.partition(":")
            if not colon or not digest.startswith("$"):
                raise click.ClickException(f"{path}, line {number}: it is not USER:HASH.")
            hashes[user] = digest
        return cls(path, hashes)

    @property
    def users(self) -> list[str]:
        """The users, in their order in the file."""
        return list(self._hashes)

    def set(self, user: str, password: str) -> None:
        """Add the user, or change the password."""
        from argon2 import PasswordHasher

        self._hashes[user] = PasswordHasher().hash(password)

    def delete(self, user: str) -> None:
        """Take the user out."""
        if user not in self._hashes:
            raise click.ClickException(f"{self._path} has no user {user}.")
        del self._hashes[user]

    def is_right(self, user: str, password: str) -> bool:
        """Whether this is the user's password. Unknown users take as long as known ones."""
        from argon2 import PasswordHasher
        from argon2.exceptions import InvalidHashError, VerificationError

        from noctule.access import mosquitto_hash

        hasher = PasswordHasher()
        digest = self._hashes.get(user)
        try:
            if digest is not None and digest.startswith(mosquitto_hash.BEGINNINGS):
                return mosquitto_hash.is_right(digest, password.encode())
            hasher.verify(digest or hasher.hash(""), password)
        except (VerificationError, InvalidHashError, ValueError):
            return False
        return digest is not None

    def write(self) -> None:
        """In one step: a broker that reads meanwhile sees the old file or the new one."""
        text = "".join(f"{user}:{digest}\n" for user, digest in self._hashes.items())
        try:
            descriptor, name = tempfile.mkstemp(dir=self._path.resolve().parent, prefix=".passwd-")
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(MODE)
            os.replace(name, self._path.resolve())
        except OSError as error:
            raise click.ClickException(f"{self._path}: {error}") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One at a time, so that no change is lost; where the system has such locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        directory = os.open(path.resolve().parent, os.O_RDONLY)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)
