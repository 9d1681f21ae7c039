"""A file of users (pure): lines `user:hash` as `htpasswd` writes them, and credentials as HTTP Basic carries them.

Hashes are bcrypt or argon2, of bounded cost: whoever writes the file decides what a wrong password costs the sidecar.
Other kinds (MD5, SHA-1, crypt, plain) are refused, not guessed.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_CREDENTIALS = re.compile(rb"[Bb][Aa][Ss][Ii][Cc] +([A-Za-z0-9+/]+={0,2}) *")
_SCHEME = re.compile(rb"[Bb][Aa][Ss][Ii][Cc](?: .*)?", re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")  # RFC 7617 §2
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_ARGON2 = re.compile(
    r"\$argon2(?:id|i|d)\$v=19\$m=([0-9]{1,8}),t=([0-9]{1,4}),p=([0-9]{1,3})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{16,172}"
)
_BCRYPT_COST = range(4, 15)
_ARGON2_MOST = (128 * 1024, 16, 8)  # KiB, passes, lanes
_MAX_USERS = 10_000
_MAX_CREDENTIALS = 1024  # bytes


class Malformed(Exception):
    """Credentials that are none; the text may be shown to the client."""


class Credentials(NamedTuple):
    """User and password as they came."""

    user: bytes
    password: bytes


class Users:
    """Hashes by user; `decoy` is a hash to spend time on where there is no such user."""

    __slots__ = ("_hashes", "decoy", "problems")

    def __init__(self, hashes: Mapping[bytes, str]) -> None:
        self.problems: tuple[str, ...] = ()
        self._hashes = hashes
        self.decoy = max(hashes.values(), key=_cost)

    def __len__(self) -> int:
        return len(self._hashes)

    def get(self, user: bytes) -> str | None:
        """The user's hash."""
        return self._hashes.get(user)


def parse_users(data: bytes) -> Users:
    """Read the file; raises ValueError naming the line, never what stands in it."""
    hashes: dict[bytes, str] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        user, colon, hashed = text.partition(b":")
        if not colon or not user or _CONTROL.search(user):
            raise ValueError(f"line {number}: expected `user:hash`")
        if user in hashes:
            raise ValueError(f"line {number}: the user is there twice")
        hashes[user] = _judged(hashed.decode("latin-1"), number)
        if len(hashes) > _MAX_USERS:
            raise ValueError(f"more than {_MAX_USERS} users")
    if not hashes:
        raise ValueError("it names no user")
    return Users(hashes)


def basic_credentials(authorization: Sequence[bytes]) -> Credentials | None:
    """User and password in the values of `Authorization` (RFC 7617 §2), None where none are meant; raises Malformed."""
    if not authorization or (len(authorization) == 1 and _SCHEME.fullmatch(authorization[0]) is None):
        return None
    match = _CREDENTIALS.fullmatch(authorization[0])
    if len(authorization) > 1 or match is None or len(match[1]) > _MAX_CREDENTIALS:
        raise Malformed("the credentials are no Basic credentials")
    try:
        decoded = base64.b64decode(match[1], validate=True)
    except ValueError:
        raise Malformed("the credentials are no Basic credentials") from None
    user, colon, password = decoded.partition(b":")
    if not colon or _CONTROL.search(decoded):
        raise Malformed("the credentials are no Basic credentials")
    return Credentials(user, password)


def _judged(hashed: str, number: int) -> str:
    if (match := _BCRYPT.fullmatch(hashed)) is not None:
        if int(match[1]) not in _BCRYPT_COST:
            raise ValueError(f"line {number}: expected a cost of {_BCRYPT_COST[0]} to {_BCRYPT_COST[-1]}")
        return hashed
    match = _ARGON2.fullmatch(hashed)
    if match is None:
        raise ValueError(f"line {number}: expected a bcrypt ($2b$…) or argon2 ($argon2id$…) hash")
    for field, most, what in zip(match.groups(), _ARGON2_MOST, ("KiB of memory", "passes", "lanes"), strict=True):
        if not 1 <= int(field) <= most:
            raise ValueError(f"line {number}: expected 1 to {most} {what}")
    return hashed


def _cost(hashed: str) -> tuple[int, ...]:
    """Which of two hashes takes longer; that argon2 does is a guess that a file with both kinds must live with."""
    argon2 = _ARGON2.fullmatch(hashed)
    if argon2 is not None:
        return 1, int(argon2[1]) * int(argon2[2])
    return 0, int(hashed[4:6])
