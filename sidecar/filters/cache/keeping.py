"""What is kept of the origin's answers: whole bodies at once, streams while they pass, news of a 304 or a HEAD.

Whether an answer may be stored is decided in `storable.py`, how long it lives in `freshness.py`.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from sidecar.config.cache import Cache
from sidecar.filters.cache import status
from sidecar.filters.cache.conditions import same_representation
from sidecar.filters.cache.directives import said_of
from sidecar.filters.cache.entry import Came, Entry, make
from sidecar.filters.cache.fields import Fields, collect, updated
from sidecar.filters.cache.flight import Fill, Flight, Reader, pump
from sidecar.filters.cache.freshness import Heuristic, lifetime
from sidecar.filters.cache.status import Forwarded
from sidecar.filters.cache.storable import UNDERSTOOD, refusal
from sidecar.filters.cache.store import Store, room_of
from sidecar.filters.cache.visit import Visit, wall
from sidecar.filters.context import Keeper
from sidecar.model import RawHeaders, Response

_BODYLESS = 204


@dataclass(frozen=True, slots=True)
class Sent:
    """How a request went forward."""

    why: Forwarded
    flight: Flight | None  # who waits for it
    collapsed: bool | None


class Keeping:
    """What one configuration stores; the store outlives it."""

    def __init__(self, spec: Cache, store: Store, keeper: Keeper) -> None:
        self.room = room_of(spec)
        self._store = store
        self._keeper = keeper
        self._name = status.identifier(spec.identifier) if spec.identifier else b""
        self._targets = [name.lower().encode() for name in spec.targets]
        self._heuristic = Heuristic(spec.heuristic_percent, float(spec.heuristic_max))
        self._cookies = spec.store_set_cookie

    def take(self, visit: Visit, old: Entry | None, response: Response, requested: float, sent: Sent) -> Response:
        """Pass an answer on, storing it where that is allowed; `old` is what it may have replaced."""
        if response.tunnel is not None:
            return response
        fields = collect(response.headers)
        if visit.request.method == "GET" and said_of(fields, self._targets).forbids:  # most of what apps answer
            return self._refused(visit, old, response, sent)
        received = wall(visit.request)
        lines = list(response.headers)
        came = Came(
            visit.uri, visit.extras, visit.fields, requested, received, response.status, response.reason, lines, fields
        )  # fmt: skip
        if visit.request.method == "HEAD":
            self._freshen(visit, came)
            return self._marked(response, sent)
        body = response.body
        bodyless = response.status == _BODYLESS
        known = None if bodyless else len(body) if isinstance(body, bytes) else response.length
        entry = None
        if (response.delimited or bodyless) and (known is None or known <= self.room.entry):
            entry = self._entry(visit, came, length=known)
        if entry is None:
            return self._refused(visit, old, response, sent)
        if not isinstance(body, bytes):
            return self._stream(visit, response, body, came, entry, sent)
        entry.body = body
        current = sent.flight is None or not sent.flight.outdated
        if current:
            self._store.put(entry, self.room)
        self._land(visit, sent.flight, entry if current else None, refused=True)
        return self._marked(response, sent, ttl=entry.expires - received, stored=current)

    def _refused(self, visit: Visit, old: Entry | None, response: Response, sent: Sent) -> Response:
        """Pass an answer on that is not stored."""
        if old is not None and response.status in UNDERSTOOD:
            self._store.remove(old)  # the origin has something else now
        self._land(visit, sent.flight, None, refused=response.status < 500)
        return self._marked(response, sent)

    def renew(
        self,
        visit: Visit,
        entry: Entry,
        lines: RawHeaders,
        newer: Fields,
        times: tuple[float, float],
        *,
        flight: Flight | None,
        body: bytes,
    ) -> tuple[Entry, bool]:
        """Put the entry with its updated lines in its own place; returns it, and whether it may stay stored.

        `times`: when the request was sent and answered. Cookies of the answer are this client's.
        """
        fields = collect(lines)
        if b"age" in newer:
            fields[b"age"] = newer[b"age"]
        came = Came(visit.uri, visit.extras, visit.fields, *times, entry.status, entry.reason, lines, fields)
        hidden = () if self._cookies else (b"set-cookie",)
        length = entry.size if entry.status != _BODYLESS else None
        stored = self._entry(visit, came, length=length, hidden=hidden)
        shown = stored or make(came, said_of(fields, self._targets), 0, length=length, hidden=hidden)
        shown.body = body
        self._store.remove(entry)
        if stored is not None and not (flight is not None and flight.outdated):
            self._store.put(stored, self.room)
        self._land(visit, flight, stored, refused=True)
        return shown, stored is not None

    def _stream(
        self, visit: Visit, response: Response, body: AsyncIterator[bytes], came: Came, entry: Entry, sent: Sent
    ) -> Response:
        """Let the body pass to the client and into the store at once."""
        store, room, flight = self._store, self.room, sent.flight
        known = response.length is not None
        held = 0

        def keeps(size: int) -> bool:
            nonlocal held
            if fill.size > room.entry or store.filling + size > room.memory:
                return False
            held += size
            store.filling += size
            return True

        def settle(all_of_it: bytes | None) -> None:
            store.filling -= held
            whole = entry
            if all_of_it is not None and not known:
                whole = self._entry(visit, came, length=len(all_of_it)) or entry
            if all_of_it is None or len(all_of_it) != whole.size or (flight is not None and flight.outdated):
                self._settled(visit, flight, None)
                return
            whole.body = all_of_it
            store.put(whole, room)
            self._settled(visit, flight, whole)

        fill = Fill(keeps, settle)
        answer = Response(response.status, response.headers, reason=response.reason)
        answer.length = response.length
        answer.declared, answer.flag, answer.delimited = response.declared, response.flag, response.delimited
        answer.body = Reader(fill, answer, response)
        if flight is not None:
            flight.open = True
            fill.wanted = flight.is_waited_for
            if known:
                flight.land((entry, fill, response))
        fill.task = self._keeper.spawn(pump(response, body, fill), "cache fill")
        return self._marked(answer, sent, ttl=entry.expires - came.received, stored=known)

    def _settled(self, visit: Visit, flight: Flight | None, entry: Entry | None) -> None:
        """A stream has ended."""
        if flight is not None:
            flight.open = False
            if self._store.flights.get(visit.uri) is flight:
                del self._store.flights[visit.uri]
        self._land(visit, flight, entry, refused=False)

    def _entry(self, visit: Visit, came: Came, *, length: int | None, hidden: tuple[bytes, ...] = ()) -> Entry | None:
        """The entry to store, None where it may not be."""
        if visit.asked.no_store:
            return None
        said = said_of(came.fields, self._targets)
        life = lifetime(said, came.fields, came.status, came.received, self._heuristic)
        fields = {name: value for name, value in came.fields.items() if name not in hidden} if hidden else came.fields
        authorized = visit.request.authenticated or b"authorization" in visit.fields
        if refusal(came.status, said, fields, life, authorized=authorized, cookies=self._cookies) is not None:
            return None
        return make(came, said, life or 0, length=length, hidden=hidden)

    def _freshen(self, visit: Visit, came: Came) -> None:
        """A HEAD has brought news of what a GET stored (RFC 9111 §4.3.5)."""
        entry = self._store.select(visit.uri, visit.extras, visit.fields)
        if entry is None or came.status != 200 or entry.status != 200:
            return
        if entry.body is None or not same_representation(came.fields, entry.validators):
            self._store.remove(entry)  # stale would do, and keep what no validation can confirm
            return
        times = (came.requested, came.received)
        lines = updated(entry.lines, came.lines)
        self.renew(visit, entry, lines, came.fields, times, flight=None, body=entry.body)

    def _land(self, visit: Visit, flight: Flight | None, entry: Entry | None, *, refused: bool) -> None:
        """Tell those who wait; what proved to be `refused` to others is not waited for again, for a while."""
        shared = entry is not None and not entry.no_cache and entry.expires > entry.received
        if shared:
            self._store.unmark(visit.uri)
        elif refused and flight is not None:
            self._store.mark(visit.uri, visit.now)
        if flight is not None:
            flight.land("stored" if shared and not flight.outdated else "alone")

    def _marked(self, response: Response, sent: Sent, *, ttl: float | None = None, stored: bool = False) -> Response:
        if self._name:
            member = status.forwarded(self._name, sent.why, ttl=ttl, stored=stored, collapsed=sent.collapsed)
            response.headers.append((b"Cache-Status", member))
        return response
