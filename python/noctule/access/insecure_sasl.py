"""CRAM-MD5 (RFC 2195) and DIGEST-MD5 (RFC 2831): off unless named, and better left off.

Both rest on MD5, can be tried offline by whoever reads along, and need passwords in the clear.
SCRAM replaces them (RFC 6331). They are here for devices that know nothing else.
"""

import hashlib
import hmac
import logging
import os
import re
import secrets
from dataclasses import replace
from pathlib import Path

from noctule.access.chain import Identity
from noctule.access.errors import PasswordFileError
from noctule.broker import Answer, AuthenticationRequest, Challenge, Refuse

__all__ = ["ClearTextFile", "CramMd5", "DigestMd5"]

NOT_AUTHORIZED = 0x87
REALM = "noctule"
OTHERS = 0o077

# name=value or name="value", in which a backslash stands before a sign that is meant literally.
DIRECTIVE = re.compile(rb'\s*([A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^",\s]*))\s*(?:,|$)', re.DOTALL)
MAX_RESPONSE_BYTES = 4_096  # RFC 2831 §2.1.2

Step = tuple[Identity, bytes | None] | Answer

logger = logging.getLogger("noctule.access")


class ClearTextFile:
    """Lines `name:password`, read once. PasswordFileError where others may read the file."""

    def __init__(self, file: Path) -> None:
        self._passwords: dict[str, str] = {}
        self._nobody = secrets.token_hex(16)
        try:
            if os.stat(file).st_mode & OTHERS:
                raise PasswordFileError(
                    f"{file} holds passwords and others may read it: chmod 600 {file}"
                )
            lines = file.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise PasswordFileError(f"{file} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise PasswordFileError(f"{file} is not UTF-8 at byte {error.start}") from None
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.startswith("#"):
                continue
            user, colon, password = line.partition(":")
            if not colon or not user or not password:
                raise PasswordFileError(f"{file}, line {number}: not NAME:PASSWORD")
            if user in self._passwords:
                raise PasswordFileError(f"{file}, line {number}: the user stands there twice")
            self._passwords[user] = password

    def password(self, user: str) -> str:
        """The user's; for a name that is nobody's, one that nobody knows."""
        return self._passwords.get(user, self._nobody)

    def held(self, user: str) -> str | None:
        """The user's; None for nobody's name."""
        return self._passwords.get(user)


class Insecure:
    """What the two have in common: a challenge first, and a warning at the start."""

    method = ""

    def __init__(self, file: ClearTextFile) -> None:
        self._file = file
        logger.warning(
            "the authentication method %s is on: it is broken, use SCRAM-SHA-256", self.method
        )

    async def step(self, request: AuthenticationRequest, *, first: bool) -> Step:
        """A challenge, then who answers it."""
        if first:
            # The server speaks first; an initial response is none of these mechanisms'.
            if request.data:
                return Refuse(NOT_AUTHORIZED)
            nonce = secrets.token_urlsafe(24)
            return Challenge(self.challenge(nonce), state=nonce)
        if not isinstance(request.state, str):
            return Refuse(NOT_AUTHORIZED)
        found = self.check(request.state, request.data or b"")
        if found is None:
            return Refuse(NOT_AUTHORIZED)
        identity, data = found
        return replace(identity, proof=self._file.held(identity.user or "")), data

    async def holds(self, user: str) -> str | None:
        """The user's password."""
        return self._file.held(user)

    def challenge(self, nonce: str) -> bytes:
        """What the client is sent."""
        raise NotImplementedError

    def check(self, nonce: str, answer: bytes) -> tuple[Identity, bytes | None] | None:
        """Who the client has proved to be, and what it is sent at the end."""
        raise NotImplementedError


class CramMd5(Insecure):
    """HMAC-MD5 of a challenge under the password."""

    method = "CRAM-MD5"

    def challenge(self, nonce: str) -> bytes:
        """A message identifier that was never there before."""
        return f"<{nonce}@{REALM}>".encode()

    def check(self, nonce: str, answer: bytes) -> tuple[Identity, None] | None:
        """The name, a space, and the digest in hexadecimal."""
        name, space, digest = answer.rpartition(b" ")
        try:
            user = name.decode()
        except UnicodeDecodeError:
            return None
        password = self._file.password(user).encode()
        right = hmac.new(password, self.challenge(nonce), hashlib.md5).hexdigest().encode()
        if not hmac.compare_digest(right, digest) or not space or not user:
            return None
        return Identity(user), None


class DigestMd5(Insecure):
    """Digests over names, nonces and password; qop `auth` only."""

    method = "DIGEST-MD5"

    def challenge(self, nonce: str) -> bytes:
        """Realm, nonce and what is offered."""
        return (
            f'realm="{REALM}",nonce="{nonce}",qop="auth",charset=utf-8,algorithm=md5-sess'
        ).encode()

    def check(self, nonce: str, answer: bytes) -> tuple[Identity, bytes] | None:
        """The response of RFC 2831 §2.1.2, and the `rspauth` of §2.1.3."""
        said = directives(answer)
        if said is None:
            return None
        wanted = {"realm": REALM.encode(), "nonce": nonce.encode(), "nc": b"00000001"}
        if any(said.get(key) != value for key, value in wanted.items()):
            return None
        uri = said.get("digest-uri", b"")
        if said.get("qop", b"auth") != b"auth" or not uri.startswith(b"mqtt/"):
            return None
        try:
            is_utf8 = said.get("charset") == b"utf-8"
            user = said.get("username", b"").decode("utf-8" if is_utf8 else "latin-1")
        except UnicodeDecodeError:
            return None
        authorization = said.get("authzid")
        if not user or authorization not in (None, b"", user.encode()):
            return None
        if not said.get("cnonce"):
            return None
        session = session_key(user, REALM, self._file.password(user), said)
        right = response(session, said, b"AUTHENTICATE:" + uri)
        if not hmac.compare_digest(right, said.get("response", b"")):
            return None
        return Identity(user), b"rspauth=" + response(session, said, b":" + uri)


def directives(text: bytes) -> dict[str, bytes] | None:
    """The response's directives; None where it is not made of them, or one stands there twice."""
    found: dict[str, bytes] = {}
    place = 0
    if len(text) > MAX_RESPONSE_BYTES:
        return None
    while place < len(text):
        match = DIRECTIVE.match(text, place)
        if match is None:
            return None
        key = match[1].decode().lower()
        if key in found:
            return None
        quoted, plain = match[2], match[3]
        found[key] = plain if quoted is None else re.sub(rb"\\(.)", rb"\1", quoted, flags=re.DOTALL)
        place = match.end()
    return found


def session_key(user: str, realm: str, password: str, said: dict[str, bytes]) -> bytes:
    """H(A1) in hexadecimal; each text is hashed in ISO 8859-1 where it fits (§2.1.2.1)."""
    secret = b":".join(narrow(each) for each in (user, realm, password))
    digest = hashlib.md5(secret).digest()  # noqa: S324  the mechanism's own
    parts = [digest, said["nonce"], said["cnonce"]]
    if said.get("authzid"):
        parts.append(said["authzid"])
    return md5(b":".join(parts))


def response(session: bytes, said: dict[str, bytes], action: bytes) -> bytes:
    """The response-value over A2 = `action`."""
    parts = (session, said["nonce"], said["nc"], said["cnonce"], b"auth", md5(action))
    return md5(b":".join(parts))


def md5(text: bytes) -> bytes:
    """In hexadecimal."""
    return hashlib.md5(text).hexdigest().encode()  # noqa: S324  the mechanism's own


def narrow(text: str) -> bytes:
    """In ISO 8859-1 where that goes, else in UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()
