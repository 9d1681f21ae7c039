"""Going forward for a request: conditions up, validation down, in the foreground or behind a stale answer.

What is stored of an answer is in `keeping.py`.
"""

import asyncio
import logging

from sidecar.config.cache import Cache
from sidecar.errors import ProxyError
from sidecar.filters.cache import status
from sidecar.filters.cache.conditions import confirms
from sidecar.filters.cache.dates import format_date
from sidecar.filters.cache.entry import ALWAYS_KEYED, Entry
from sidecar.filters.cache.fields import collect, updated
from sidecar.filters.cache.flight import Flight
from sidecar.filters.cache.freshness import serves_errors
from sidecar.filters.cache.keeping import Keeping, Sent
from sidecar.filters.cache.respond import respond
from sidecar.filters.cache.status import Forwarded
from sidecar.filters.cache.store import Store
from sidecar.filters.cache.visit import Visit, drop_unkeyed, in_background, wall
from sidecar.filters.context import Keeper
from sidecar.model import Response

MOST_REFRESHING = 64  # entries validated behind stale answers at one time
REFRESH_TIMEOUT = 60.0  # seconds

_ERRORS = frozenset({500, 502, 503, 504})  # RFC 5861 §4
_log = logging.getLogger("sidecar.filters")


class Forwarding:
    """What one configuration does; the store outlives it."""

    def __init__(self, spec: Cache, store: Store, keeper: Keeper) -> None:
        self._keeping = Keeping(spec, store, keeper)
        self.room = self._keeping.room
        self.keyed = ALWAYS_KEYED | {name.lower().encode() for name in spec.key_headers}
        self._store = store
        self._keeper = keeper
        self._name = status.identifier(spec.identifier) if spec.identifier else b""
        self._stale_if_error = float(spec.stale_if_error)
        self._drops = spec.unkeyed == "drop"

    @staticmethod
    def now(visit: Visit) -> float:
        """The wall clock."""
        return wall(visit.request)

    async def fetch(
        self, visit: Visit, entry: Entry | None, why: Forwarded, *, flight: Flight | None = None, collapsed: bool | None
    ) -> Response:
        """The origin's answer, or what stands in for it; `entry` is what is stored and may not be used without it."""
        validates = False
        if entry is not None and entry.has_validator and visit.request.method == "GET" and not visit.only_for_origin:
            visit.make_validating(entry)
            validates = True
        if self._drops:
            drop_unkeyed(visit.request, self.keyed)
        requested = wall(visit.request)
        try:
            response = await visit.forward(visit.request)
        except ProxyError as error:
            stale = await self._stand_in(visit, entry, error.status, flight)
            if stale is None:
                raise
            return stale
        if entry is not None:
            if validates and response.status == 304:
                return await self._validated(visit, entry, response, requested, Sent(why, flight, collapsed))
            stale = await self._stand_in(visit, entry, response.status, flight)
            if stale is not None:
                await response.aclose()
                return stale
        return self._keeping.take(visit, entry, response, requested, Sent(why, flight, collapsed))

    def refresh(self, visit: Visit, entry: Entry) -> None:
        """Validate an entry behind its stale answer (RFC 5861 §3), once at a time."""
        store = self._store
        if entry.key in store.refreshing or len(store.refreshing) >= MOST_REFRESHING:
            return
        store.refreshing.add(entry.key)
        request = in_background(visit.request, REFRESH_TIMEOUT)
        behind = Visit(request, visit.forward, visit.fields, visit.uri, visit.extras, visit.asked, visit.now)
        self._keeper.spawn(self._refreshed(behind, entry), "cache refresh")

    async def _refreshed(self, visit: Visit, entry: Entry) -> None:
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT):
                response = await self.fetch(visit, entry, "stale", collapsed=None)
                try:
                    if not isinstance(response.body, bytes):
                        async for _ in response.body:
                            pass
                finally:
                    await response.aclose()
        except (ProxyError, TimeoutError):
            pass  # it stays stale, and the next request tries again
        except Exception:  # noqa: BLE001 - its errors must be its own: the task group is everybody's
            _log.exception("unexpected failure while refreshing a stored response")
        finally:
            self._store.refreshing.discard(entry.key)

    async def _stand_in(self, visit: Visit, entry: Entry | None, code: int, flight: Flight | None) -> Response | None:
        """The stale entry in place of an error, where that is allowed (RFC 5861 §4)."""
        now = wall(visit.request)
        if entry is None or code not in _ERRORS or not serves_errors(entry, visit.asked, now, self._stale_if_error):
            return None
        body = await self._store.body_of(entry, self.room)
        if body is None:
            return None
        if flight is not None:
            flight.land("alone")
        ttl = entry.expires - now
        member = status.forwarded(self._name, "stale", status=code, ttl=ttl) if self._name else b""
        return respond(entry, body, visit.request.method, visit.fields, now, member)

    async def _validated(self, visit: Visit, entry: Entry, answer: Response, requested: float, sent: Sent) -> Response:
        """304: the entry holds, with the fields of the answer (RFC 9111 §4.3.4)."""
        await answer.aclose()
        received = wall(visit.request)
        newer = collect(answer.headers)
        body = await self._store.body_of(entry, self.room)
        if body is None or not confirms(newer, entry.validators):
            self._store.remove(entry)  # it speaks of something else: ask for the whole
            visit.make_plain()
            requested = wall(visit.request)
            response = await visit.forward(visit.request)
            return self._keeping.take(visit, None, response, requested, sent)
        dated = [] if b"date" in newer else [(b"Date", format_date(received))]
        lines = updated(entry.lines, [*answer.headers, *dated])
        times = (requested, received)
        shown, stored = self._keeping.renew(visit, entry, lines, newer, times, flight=sent.flight, body=body)
        member = b""
        if self._name:
            ttl = shown.expires - received
            member = status.forwarded(
                self._name, sent.why, status=304, ttl=ttl, stored=stored, collapsed=sent.collapsed
            )
        response = respond(shown, body, visit.request.method, visit.fields, received, member)
        if b"set-cookie" in newer and b"set-cookie" not in collect(shown.lines):  # for this client, not for the store
            response.headers.extend(line for line in answer.headers if line[0].lower() == b"set-cookie")
        return response
