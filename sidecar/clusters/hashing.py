"""Consistent hashing: the same key goes to the same endpoint, and few keys move when the set changes (pure).

A ring of points by weight (ketama); the points depend on addresses alone, so that all sidecars agree.
An endpoint that is ejected or was tried is passed over to the next point, and the keys of all others stay.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Collection, Sequence
from struct import iter_unpack

from sidecar.clusters.balancer import RandomChoice
from sidecar.clusters.host import Host
from sidecar.config.model import HashPolicy
from sidecar.model import Address, Request

POINTS = 128  # on the ring for an endpoint of average weight
_PER_DIGEST = 8
_SCALE = 2.0**-64


class ConsistentHash:
    """The policy; requests without the header or cookie go anywhere, by weight."""

    def __init__(self, policy: HashPolicy, fallback: RandomChoice) -> None:
        self._policy = policy
        self._fallback = fallback
        self._laid: dict[Host, int] = {}  # how many points of each endpoint are on the ring
        self._ring: list[float] = []
        self._owners: dict[float, Host] = {}

    def rebuild(self, hosts: Sequence[Host]) -> None:
        """Take a new set: points are added and removed, never the whole ring laid anew.

        Slow start does not count here: it would move keys twice.
        """
        self._fallback.rebuild(hosts)
        mean = sum(host.endpoint.weight for host in hosts) / max(len(hosts), 1)
        wanted = {host: max(1, round(POINTS * host.endpoint.weight / mean)) if mean else POINTS for host in hosts}
        if wanted == self._laid:
            return
        gone = {point for host, laid in self._laid.items() for point in host.points[wanted.get(host, 0) : laid]}
        self._ring = [point for point in self._ring if point not in gone]
        for point in gone:
            del self._owners[point]
        for host, count in wanted.items():
            fresh = _points(host, count)[self._laid.get(host, 0) :]
            self._ring.extend(fresh)
            self._owners.update(dict.fromkeys(fresh, host))
        self._ring.sort()  # near to linear: it is sorted but for what was added
        self._laid = wanted

    def pick(self, request: Request, now: float) -> Host:
        """The first endpoint on the ring from the key's place."""
        key = key_of(self._policy, request)
        return self._fallback.pick(request, now) if key is None else self._owner(_place(key))

    def pick_untried(self, request: Request, now: float, tried: Collection[Address]) -> Host | None:
        """The first endpoint on the ring from the key's place that was not tried."""
        key = key_of(self._policy, request)
        if key is None:
            return self._fallback.pick_untried(request, now, tried)
        start = bisect_right(self._ring, _place(key))
        walk = (self._owners[self._ring[at % len(self._ring)]] for at in range(start, start + len(self._ring)))
        return next((host for host in walk if host.endpoint.address not in tried), None)

    def explain(self, request: Request, now: float) -> tuple[Host | None, str]:
        """The endpoint of the request's key."""
        key = key_of(self._policy, request)
        if key is None:
            return self._fallback.explain(request, now)
        return self._owner(_place(key)), f"hash of the {_source(self._policy)}"

    def _owner(self, place: float) -> Host:
        at = bisect_right(self._ring, place)
        return self._owners[self._ring[at if at < len(self._ring) else 0]]


def key_of(policy: HashPolicy, request: Request) -> bytes | None:
    """What is hashed of the request; None where it has no such field."""
    if policy.header is not None:
        value = request.headers.get(policy.header)
        return None if value is None else value.encode("latin-1")
    if policy.cookie is not None:
        return _cookie(policy.cookie, request)
    return request.peer.host.encode()


def _cookie(name: str, request: Request) -> bytes | None:
    for line in request.headers.get_all("cookie"):
        for pair in line.split(";"):
            key, found, value = pair.strip().partition("=")
            if found and key == name:
                return value.encode("latin-1")
    return None


def _source(policy: HashPolicy) -> str:
    if policy.header is not None:
        return f"header {policy.header}"
    return "client address" if policy.cookie is None else f"cookie {policy.cookie}"


def _place(key: bytes) -> float:
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) * _SCALE


def _points(host: Host, count: int) -> list[float]:
    """The first `count` places of the endpoint, computed once and kept with it."""
    name = str(host.endpoint.address).encode()
    while len(host.points) < count:
        digest = hashlib.blake2b(b"%d|%b" % (len(host.points), name), digest_size=8 * _PER_DIGEST).digest()
        host.points.extend(point * _SCALE for (point,) in iter_unpack(">Q", digest))
    return host.points[:count]
