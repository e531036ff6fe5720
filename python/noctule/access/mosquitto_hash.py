"""The hashes of Mosquitto's password file, to check passwords against and never to make new ones.

    $7$ITERATIONS$SALT$HASH     PBKDF2 with HMAC-SHA512, Mosquitto 2
    $6$SALT$HASH                SHA-512 of password and salt, Mosquitto 1; weak, as it is fast

Salt and hash are in base64.
"""

import binascii
import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from typing import NamedTuple

__all__ = ["BEGINNINGS", "is_right", "parse", "similar"]

BEGINNINGS = ("$7$", "$6$")
MAX_ITERATIONS = 10_000_000
HASH_BYTES = 64


class MosquittoHash(NamedTuple):
    """A record taken apart; `iterations` is 0 for the old form."""

    iterations: int
    salt: bytes
    digest: bytes


def parse(record: str) -> MosquittoHash:
    """Takes a record apart; ValueError where it is none."""
    parts = record.split("$")
    try:
        if parts[1] == "7":
            _, _, count, salt, digest = parts
            iterations = int(count)
            if not 1 <= iterations <= MAX_ITERATIONS:
                raise ValueError(f"{iterations} iterations")
        else:
            _, kind, salt, digest = parts
            iterations = 0
            if kind != "6":
                raise ValueError(f"kind {kind}")
        found = MosquittoHash(
            iterations, b64decode(salt, validate=True), b64decode(digest, validate=True)
        )
    except (binascii.Error, IndexError) as error:
        raise ValueError(str(error)) from error
    if len(found.digest) != HASH_BYTES:
        raise ValueError(f"a hash of {len(found.digest)} bytes")
    return found


def is_right(record: str, password: bytes) -> bool:
    """Whether it is the password of the record; ValueError for a broken record."""
    iterations, salt, digest = parse(record)
    return hmac.compare_digest(digest, _hash(iterations, salt, password))


def similar(record: str) -> str:
    """A record of the same cost, whose password nobody knows."""
    iterations, salt, _ = parse(record)
    other = secrets.token_bytes(len(salt))
    digest = b64encode(secrets.token_bytes(HASH_BYTES)).decode()
    head = f"$7${iterations}" if iterations else "$6"
    return f"{head}${b64encode(other).decode()}${digest}"


def _hash(iterations: int, salt: bytes, password: bytes) -> bytes:
    if iterations:
        return hashlib.pbkdf2_hmac("sha512", password, salt, iterations)
    return hashlib.sha512(password + salt).digest()
