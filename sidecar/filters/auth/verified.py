"""Tokens seen before (pure): what each grants, by its hash, until it ends; bounded, the oldest goes first."""

from typing import NamedTuple

from sidecar.model import RawHeaders


class Grant(NamedTuple):
    """What follows from a token that was verified."""

    ends: float  # seconds since 1970
    lines: RawHeaders  # for the upstream
    forbidden: str = ""  # the scope or claim that it lacks, for a token that holds and may not


class Verified:
    """Grants by the hash of the credentials; the credentials themselves are not kept."""

    __slots__ = ("_grants", "_limit", "_version")

    def __init__(self, limit: int) -> None:
        self._grants: dict[bytes, Grant] = {}
        self._limit = limit
        self._version = 0

    def __len__(self) -> int:
        return len(self._grants)

    def get(self, digest: bytes, version: int, now: float) -> Grant | None:
        """The grant, if it was given under these keys (`version`) and has not ended."""
        if version != self._version:
            self._grants.clear()  # the key that verified may be gone
            self._version = version
            return None
        grant = self._grants.get(digest)
        if grant is not None and now >= grant.ends:
            del self._grants[digest]
            return None
        return grant

    def put(self, digest: bytes, version: int, grant: Grant) -> None:
        """Keep a grant."""
        if version != self._version:
            return  # the keys changed while the token was verified
        if len(self._grants) >= self._limit:
            del self._grants[next(iter(self._grants))]
        self._grants[digest] = grant
