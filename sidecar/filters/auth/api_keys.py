"""A file of API keys (pure): lines `name:sha256 of the key in hex`, and where a request carries its key.

A key is random and long, so a fast hash keeps it; the file shows nothing that lets anybody in.
"""

import hmac
import re
from collections.abc import Sequence
from hashlib import blake2b, sha256
from urllib.parse import unquote_to_bytes

MAX_KEY = 1024  # bytes
_LINE = re.compile(r"([!-9;-~]{1,128}):(?:sha256:)?([0-9a-fA-F]{64})")
_MAX_KEYS = 10_000


class ApiKeys:
    """Names by key, found in constant time: the index is a hash with a secret that changes with each start."""

    __slots__ = ("_index", "_secret", "problems")

    def __init__(self, digests: Sequence[tuple[str, bytes]], secret: bytes) -> None:
        self.problems: tuple[str, ...] = ()
        self._secret = secret
        self._index = {self._place(digest): (name, digest) for name, digest in digests}

    def __len__(self) -> int:
        return len(self._index)

    def name_of(self, key: bytes) -> str | None:
        """Whose key it is."""
        digest = sha256(key).digest()
        name, known = self._index.get(self._place(digest), ("", b""))
        return name if hmac.compare_digest(digest, known) else None

    def _place(self, digest: bytes) -> bytes:
        return blake2b(digest, key=self._secret, digest_size=32).digest()


def parse_api_keys(data: bytes, secret: bytes) -> ApiKeys:
    """Read the file; raises ValueError naming the line, never what stands in it."""
    found: list[tuple[str, bytes]] = []
    seen: set[bytes] = set()
    for number, line in enumerate(data.decode("latin-1").split("\n"), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise ValueError(f"line {number}: expected `name:` and the SHA-256 of the key, 64 hex digits")
        digest = bytes.fromhex(match[2])
        if digest in seen:
            raise ValueError(f"line {number}: the key is there twice")
        seen.add(digest)
        found.append((match[1], digest))
        if len(found) > _MAX_KEYS:
            raise ValueError(f"more than {_MAX_KEYS} keys")
    if not found:
        raise ValueError("it names no key")
    return ApiKeys(found, secret)


def query_values(target: bytes, name: str) -> list[bytes]:
    """The values of a parameter in the target's query, percent-decoded."""
    return [unquote_to_bytes(value) for key, value in _pairs(target) if unquote_to_bytes(key) == name.encode()]


def without_query(target: bytes, name: str) -> bytes:
    """The target without this parameter; all other bytes stay as they are."""
    path, mark, query = target.partition(b"?")
    kept = [part for part in query.split(b"&") if unquote_to_bytes(part.partition(b"=")[0]) != name.encode()]
    return path + mark + b"&".join(kept) if kept or not mark else path


def _pairs(target: bytes) -> list[tuple[bytes, bytes]]:
    query = target.partition(b"?")[2]
    return [(key, value) for key, _, value in (part.partition(b"=") for part in query.split(b"&"))]
