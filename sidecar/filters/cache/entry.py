"""A stored response, how one is made, and the key it is found by (RFC 9111 §2, §4.1). Pure; times in seconds.

The key of an entry: the URI, the request fields that are part of every key (`extras`), and what the response's Vary
names. An entry is never changed but for where its body is.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from sidecar.filters.cache.conditions import lines_of_304
from sidecar.filters.cache.dates import format_date, parse_date
from sidecar.filters.cache.directives import Said
from sidecar.filters.cache.fields import Fields, Selecting, collect, normal, selecting, stored_lines, vary_names
from sidecar.filters.cache.freshness import initial_age
from sidecar.model import RawHeaders

Uri: TypeAlias = tuple[str, str, bytes]
"""Scheme, authority in lower case without the scheme's own port, target as it came."""
Extras: TypeAlias = tuple[tuple[bytes, bytes], ...]
Key: TypeAlias = tuple[Uri, Extras, tuple[bytes, ...], Selecting]

OVERHEAD = 1024  # bytes that an entry costs beside its lines and its body

BELIEVED = frozenset({b"forwarded", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port"})
"""Fields that reach the app from a trusted peer only; from another the data path replaces them."""
ALWAYS_KEYED = BELIEVED | {
    b"front-end-https", b"x-forwarded-prefix", b"x-forwarded-scheme", b"x-forwarded-server", b"x-forwarded-ssl",
    b"x-host", b"x-original-host", b"x-original-url", b"x-rewrite-url", b"x-scheme", b"x-url-scheme",
}  # fmt: skip
"""Fields by which apps are known to make URLs and choose pages: unkeyed they would poison the cache."""
_PORTS = {"http": ":80", "https": ":443"}
_HOST_AND_PROTO = re.compile(rb'\b(host|proto)=("[^"]*"|[^;,\s]*)', re.IGNORECASE)


class Entry(msgspec.Struct, kw_only=True, eq=False, gc=False):
    """One stored response."""

    uri: Uri
    extras: Extras
    names: tuple[bytes, ...]  # that Vary nominates
    values: Selecting
    status: int
    reason: bytes
    lines: RawHeaders
    received: float
    initial_age: float
    expires: float
    date: float
    size: int  # of the body
    no_cache: bool
    strict: bool
    immutable: bool
    stale_while_revalidate: int
    stale_if_error: int
    validators: dict[bytes, bytes]  # ETag, Last-Modified, Date, Content-Length
    raw: bytes = b""  # the lines, ready to be sent
    body: bytes | None = None  # None: on disk only
    on_disk: bool = False
    head: tuple[int, bytes, RawHeaders, bytes] | None = None  # made for hits of one second: see `respond.fresh`

    @property
    def key(self) -> Key:
        """What tells it from all others."""
        return self.uri, self.extras, self.names, self.values

    @property
    def weight(self) -> int:
        """Bytes that it takes in memory with its body."""
        return self.size + 3 * len(self.raw) + OVERHEAD

    @property
    def has_validator(self) -> bool:
        """Whether the origin can be asked if it still holds."""
        return b"etag" in self.validators or b"last-modified" in self.validators

    def serves(self, extras: Extras, fields: Fields) -> bool:
        """Whether a request for the same URI selects it."""
        return self.extras == extras and self.values == selecting(self.names, fields)


@dataclass(frozen=True, slots=True)
class Came:
    """A response as it came: to which request, and when."""

    uri: Uri
    extras: Extras
    asked: Fields  # of the request
    requested: float
    received: float
    status: int
    reason: bytes
    lines: RawHeaders
    fields: Fields  # the lines as a mapping


def make(came: Came, said: Said, life: float, *, length: int | None, hidden: Collection[bytes] = ()) -> Entry:
    """An entry without body; `life` is its lifetime, `length` that of the body (None: the status has none)."""
    date = parse_date(came.fields.get(b"date", b""), came.received)
    added = format_date(came.received) if date is None and b"date" not in came.fields else None
    lines = stored_lines(came.lines, length, added, said.hidden | set(hidden))
    age = initial_age(came.fields, came.requested, came.received)
    names = vary_names(came.fields.get(b"vary")) or ()
    kept = collect(lines)
    return Entry(
        uri=came.uri,
        extras=came.extras,
        names=names,
        values=selecting(names, came.asked),
        status=came.status,
        reason=came.reason,
        lines=lines,
        received=came.received,
        initial_age=age,
        expires=came.received + life - age,
        date=came.received if date is None else date,
        size=length or 0,
        no_cache=said.no_cache,
        strict=said.strict,
        immutable=said.immutable,
        stale_while_revalidate=said.stale_while_revalidate,
        stale_if_error=said.stale_if_error,
        validators={name: kept[name] for name in _VALIDATORS if name in kept},
        raw=raw_lines(lines),
    )


_VALIDATORS = (b"etag", b"last-modified", b"date", b"content-length")


def raw_lines(lines: RawHeaders) -> bytes:
    """The lines as bytes of a head."""
    return b"".join([b"%b: %b\r\n" % line for line in lines])


def uri_of(scheme: str, authority: str, target: bytes) -> Uri:
    """The URI as a key; the target is not touched: what the app tells apart stays apart."""
    return scheme, authority.lower().removesuffix(_PORTS.get(scheme, " ")), target


def extras_of(fields: Fields, keyed: frozenset[bytes], *, trusted: bool) -> Extras:
    """The fields that are part of every key, as far as they reach the app; of Forwarded the host and the scheme."""
    if keyed.isdisjoint(fields):
        return ()
    found = [(name, _keyed(name, fields[name])) for name in keyed & fields.keys() if trusted or name not in BELIEVED]
    return tuple(sorted(pair for pair in found if pair[1]))


def _keyed(name: bytes, value: bytes) -> bytes:
    if name == b"forwarded":
        pairs = {(key.lower(), text.strip(b'"').lower()) for key, text in _HOST_AND_PROTO.findall(value)}
        return b";".join(b"%b=%b" % pair for pair in sorted(pairs))
    return normal(name, value) or b" "


def head_of_304(entry: Entry) -> RawHeaders:
    """The lines that a 304 made from the entry carries."""
    return lines_of_304(entry.lines)


def most_recent(entries: Collection[Entry]) -> Entry | None:
    """The one to use of several that fit: those with Vary before those without, then by Date (§4, §4.1)."""
    return max(entries, key=lambda entry: (bool(entry.names), entry.date, entry.received), default=None)
