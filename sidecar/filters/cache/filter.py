"""The cache's part in a request: answer from the store, or go forward and store what comes.

Which response may be stored, for how long, and how it may be reused is decided by the pure modules beside this one.
"""

import asyncio
from collections.abc import Callable

from sidecar.config.cache import Cache
from sidecar.errors import NotStored, ProxyError
from sidecar.filters.cache import status
from sidecar.filters.cache.conditions import CONDITIONAL
from sidecar.filters.cache.directives import NOTHING_ASKED, asked_of
from sidecar.filters.cache.entry import Entry, extras_of, uri_of
from sidecar.filters.cache.fields import Fields, collect
from sidecar.filters.cache.flight import Flight, Landing, Reader
from sidecar.filters.cache.forward import Forwarding
from sidecar.filters.cache.freshness import use
from sidecar.filters.cache.invalidation import invalidated
from sidecar.filters.cache.respond import fresh, respond
from sidecar.filters.cache.status import Forwarded
from sidecar.filters.cache.store import Store
from sidecar.filters.cache.visit import OVERRIDES, READS, SAFE, Visit
from sidecar.model import Handler, Request, Response

_ROUNDS = 8  # times a request waits for others that give up before it goes on its own


class CacheFilter:
    """A filter (`model.Filter`)."""

    def __init__(self, spec: Cache, store: Store, forwarding: Forwarding, count: Callable[[str, str], None]) -> None:
        self._store = store
        self._forwarding = forwarding
        self._count = count
        self._name = status.identifier(spec.identifier) if spec.identifier else b""
        self._keyed = forwarding.keyed
        self._special = self._keyed | OVERRIDES | CONDITIONAL | {b"cache-control", b"pragma", b"range"}
        self._honour = spec.request_directives
        self._patience = float(spec.collapse_timeout)
        self._spec = spec

    async def __call__(self, request: Request, forward: Handler) -> Response:
        """Answer a request; the most frequent case, a plain request for something fresh in memory, comes first."""
        fields = collect(request.headers)
        simple = request.length == 0 and request.upgrade is None and self._special.isdisjoint(fields)
        if simple and request.method in READS:
            entry = self._store.select(uri_of(request.scheme, request.authority, request.target), (), fields)
            if entry is not None and entry.body is not None and not entry.no_cache:
                now = request.received_ns / 1e9
                if now < entry.expires:
                    self._store.used(entry)
                    self._tell(request, "hit")
                    return fresh(entry, entry.body, now, self._name)
        return await self._considered(request, forward, fields)

    async def _considered(self, request: Request, forward: Handler, fields: Fields) -> Response:
        """A request about which there is more to think."""
        odd = request.upgrade is not None or request.length != 0 or not OVERRIDES.isdisjoint(fields)
        if odd or request.method not in READS:
            return await self._past(request, forward)
        asked = NOTHING_ASKED
        if b"cache-control" in fields or b"pragma" in fields:
            asked = asked_of(fields.get(b"cache-control"), fields.get(b"pragma"), honour=self._honour)
        visit = Visit(
            request,
            forward,
            fields,
            uri_of(request.scheme, request.authority, request.target),
            extras_of(fields, self._keyed, trusted=request.origin.trusted),
            asked,
            request.received_ns / 1e9,
        )
        entry = self._store.select(visit.uri, visit.extras, fields)
        why: Forwarded = "uri-miss"
        if entry is not None:
            how = use(entry, asked, visit.now)
            if how in _READY and not visit.only_for_origin:
                response = await self._reuse(entry, visit, how)
                if response is not None:
                    return response
                entry = None
            else:
                why = "stale" if how == "validate" else "request"
        elif self._store.has(visit.uri):
            why = "vary-miss"
        if asked.only_if_cached:
            self._count("Cache", "only-if-cached")
            raise NotStored("the client wants a stored response only, and there is none it would take")
        return await self._ahead(visit, entry, why)

    def explain(self) -> str:
        """What it holds, in one line."""
        store, spec = self._store, self._spec
        text = f"Cache: {len(store)} entries, {store.size} of {spec.max_bytes} bytes in memory"
        if store.disk is not None and spec.disk is not None:
            text += f", {store.disk.size} of {spec.disk.max_bytes} bytes on disk"
        return f"{text}; {len(store.flights)} fetches under way"

    async def _reuse(self, entry: Entry, visit: Visit, how: str) -> Response | None:
        """The answer from the store; None where its body is lost."""
        body = entry.body
        if body is None:
            body = await self._store.body_of(entry, self._forwarding.room)
            if body is None:
                return None
        member = status.hit(self._name, entry.expires - visit.now) if self._name else b""
        response = respond(entry, body, visit.request.method, visit.fields, visit.now, member)
        self._store.used(entry)
        if how == "refresh":
            self._forwarding.refresh(visit, entry)
        self._tell(visit.request, "hit" if how == "fresh" else "stale")
        return response

    async def _past(self, request: Request, forward: Handler) -> Response:
        """What the cache has no part in; unsafe requests invalidate (RFC 9111 §4.4)."""
        response = await forward(request)
        if request.method not in SAFE and 200 <= response.status < 400:
            uri = uri_of(request.scheme, request.authority, request.target)
            for each in invalidated(uri, collect(response.headers)):
                self._store.forget(each)
        if response.tunnel is None and self._name:
            why: Forwarded = "bypass" if request.method in READS else "method"
            response.headers.append((b"Cache-Status", status.forwarded(self._name, why)))
        self._tell(request, "bypass")
        return response

    async def _ahead(self, visit: Visit, entry: Entry | None, why: Forwarded) -> Response:
        """Forward, or wait for another request that has gone forward for the same."""
        collapsed: bool | None = None
        if self._may_wait(visit, entry, why):
            until = asyncio.get_running_loop().time() + self._patience
            for _ in range(_ROUNDS):
                flight = self._store.flights.get(visit.uri)
                if flight is None:
                    return await self._lead(visit, entry, why, collapsed)
                if not flight.suits(visit.extras, visit.fields, self._store.names_of(visit.uri)):
                    break
                landing = await _landed(flight, min(until, visit.request.deadline or until))
                response = await self._joined(visit, landing, why)
                if response is not None:
                    return response
                collapsed = False
                if landing != "again":
                    break
                entry = self._store.select(visit.uri, visit.extras, visit.fields)
        self._tell(visit.request, "miss" if entry is None else "validate")
        return await self._forwarding.fetch(visit, entry, why, collapsed=collapsed)

    def _may_wait(self, visit: Visit, entry: Entry | None, why: Forwarded) -> bool:
        """Whether another's answer could be this one's: a plain miss, or something stale that both validate."""
        if not self._patience or why == "request" or visit.only_for_origin or visit.asked.no_store:
            return False
        validates = entry is not None and entry.has_validator and visit.request.method == "GET"
        return (visit.plain or validates) and not self._store.marked(visit.uri, visit.now)

    async def _lead(self, visit: Visit, entry: Entry | None, why: Forwarded, collapsed: bool | None) -> Response:
        """Go forward for all who come meanwhile."""
        flight = Flight(visit.extras, visit.fields)
        flights = self._store.flights
        flights[visit.uri] = flight
        self._tell(visit.request, "miss" if entry is None else "validate")
        try:
            return await self._forwarding.fetch(visit, entry, why, flight=flight, collapsed=collapsed)
        except ProxyError:
            flight.land("alone")  # the others may fare better, all at once
            raise
        except BaseException:
            flight.land("again")  # this client went away: one of the others goes forward
            raise
        finally:
            if not flight.open:
                flight.land("alone")
                if flights.get(visit.uri) is flight:
                    del flights[visit.uri]

    async def _joined(self, visit: Visit, landing: Landing, why: Forwarded) -> Response | None:
        """The answer from what another fetched; None where it does not serve this request."""
        now = self._forwarding.now(visit)
        if isinstance(landing, tuple):
            entry, fill, upstream = landing
            if not entry.serves(visit.extras, visit.fields) or use(entry, visit.asked, now) != "fresh":
                return None
            if not visit.plain or fill.error is not None:
                return None
            response = respond(entry, b"", "HEAD", {}, now, self._collapsed(why, entry, now))
            response.length = entry.size
            response.body = Reader(fill, response, upstream)
        elif landing == "stored":
            found = self._store.select(visit.uri, visit.extras, visit.fields)
            if found is None or use(found, visit.asked, now) != "fresh":
                return None
            body = await self._store.body_of(found, self._forwarding.room)
            if body is None:
                return None
            member = self._collapsed(why, found, now)
            response = respond(found, body, visit.request.method, visit.fields, now, member)
            self._store.used(found)
        else:
            return None
        self._tell(visit.request, "collapsed")
        return response

    def _collapsed(self, why: Forwarded, entry: Entry, now: float) -> bytes:
        return status.forwarded(self._name, why, ttl=entry.expires - now, collapsed=True) if self._name else b""

    def _tell(self, request: Request, result: str) -> None:
        self._count("Cache", result)
        notes = request.notes
        if notes is None:
            request.notes = {"sidecar.cache.result": result}
        else:
            notes["sidecar.cache.result"] = result


_READY = frozenset({"fresh", "stale", "refresh"})


async def _landed(flight: Flight, until: float) -> Landing:
    """Wait for it; who waits too long goes alone."""
    left = until - asyncio.get_running_loop().time()
    if not flight.landed.done():
        flight.waiting += 1
        try:
            await asyncio.wait((flight.landed,), timeout=max(0.0, left))
        finally:
            flight.waiting -= 1
    return flight.landed.result() if flight.landed.done() else "alone"
