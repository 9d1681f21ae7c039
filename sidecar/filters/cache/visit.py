"""One request as the cache sees it, and what is done to it on its way up. Decides nothing about what is stored."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from sidecar.filters.cache.conditions import CONDITIONAL, ORIGIN_ONLY, validating
from sidecar.filters.cache.directives import Asked
from sidecar.filters.cache.entry import Entry, Extras, Uri
from sidecar.filters.cache.fields import Fields
from sidecar.model import Handler, Headers, Request

READS = frozenset({"GET", "HEAD"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110 §9.2.1
OVERRIDES = frozenset({b"x-http-method", b"x-http-method-override", b"x-method-override"})
"""A GET with one of these is no GET to some apps: neither answered here nor stored."""

_PASSED = CONDITIONAL | {
    b"accept", b"accept-encoding", b"accept-language", b"authorization", b"b3", b"cache-control", b"connection",
    b"content-length", b"expect", b"forwarded", b"host", b"pragma", b"range", b"te", b"traceparent", b"tracestate",
    b"transfer-encoding", b"via", b"x-forwarded-for", b"x-real-ip", b"x-request-id", b"x-b3-traceid", b"x-b3-spanid",
    b"x-b3-parentspanid", b"x-b3-sampled", b"x-b3-flags",
}  # fmt: skip
"""What `unkeyed: drop` lets through beside keyed fields: negotiation, which Vary must name, and the protocol."""


@dataclass(slots=True)
class Visit:
    """A GET or HEAD that may be answered from the store."""

    request: Request
    forward: Handler
    fields: Fields
    uri: Uri
    extras: Extras
    asked: Asked
    now: float  # wall clock

    @property
    def only_for_origin(self) -> bool:
        """Whether it carries conditions that no cache may answer (RFC 9111 §4.3.2)."""
        return not ORIGIN_ONLY.isdisjoint(self.fields)

    @property
    def plain(self) -> bool:
        """A GET whose answer may serve others: no range, no condition, nothing against storing."""
        fields = self.fields
        unconditional = b"range" not in fields and CONDITIONAL.isdisjoint(fields)
        return self.request.method == "GET" and unconditional and not self.asked.no_store

    def make_validating(self, entry: Entry) -> None:
        """Ask the origin whether the entry still holds; what the client asked on its own is answered afterwards."""
        self.request.headers = Headers(validating(self.request.headers, entry.validators))

    def make_plain(self) -> None:
        """Take the conditions away again."""
        kept = [line for line in self.request.headers if line[0].lower() not in CONDITIONAL]
        self.request.headers = Headers(kept)


def wall(request: Request) -> float:
    """The wall clock now, by the clock that cannot be set and the moment the request came."""
    return request.received_ns / 1e9 + asyncio.get_running_loop().time() - request.started


def drop_unkeyed(request: Request, keyed: Collection[bytes]) -> None:
    """Keep what no key holds away from the app."""
    request.headers[:] = [
        line for line in request.headers if (name := line[0].lower()) in _PASSED or name in keyed
    ]  # fmt: skip


def in_background(request: Request, seconds: float) -> Request:
    """A copy to be sent on our own behalf, with `seconds` to live."""
    loop = asyncio.get_running_loop()
    copy = Request(
        method="GET",
        target=request.target,
        authority=request.authority,
        headers=Headers(request.headers),
        scheme=request.scheme,
        version=request.version,
        peer=request.peer,
        listener=request.listener,
        origin=request.origin,
        started=loop.time(),
        received_ns=int(wall(request) * 1e9),
    )
    copy.route, copy.prefix, copy.authenticated = request.route, request.prefix, request.authenticated
    copy.deadline = copy.started + seconds
    return copy
