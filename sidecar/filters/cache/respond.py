"""Responses made from stored ones: the whole, 304, a range, the head (RFC 9111 §4, §4.3.2; RFC 9110 §14). Pure."""

from sidecar.filters.cache.conditions import not_modified, range_applies
from sidecar.filters.cache.entry import Entry, head_of_304, raw_lines
from sidecar.filters.cache.fields import Fields
from sidecar.filters.cache.freshness import current_age
from sidecar.filters.cache.ranges import content_range, span
from sidecar.filters.cache.status import hit
from sidecar.model import RawHeaders, Response


def respond(entry: Entry, body: bytes, method: str, asked: Fields, now: float, member: bytes) -> Response:
    """What a GET or HEAD gets from the entry; `member` is what Cache-Status gains, empty for nothing."""
    if entry.status == 200 and not _CONDITIONS.isdisjoint(asked):
        if not_modified(asked, entry.validators, entry.received):
            return _finished(Response(304, head_of_304(entry), reason=b"Not Modified"), entry, now, member)
        if method == "GET" and b"range" in asked and range_applies(asked, entry.validators, entry.received):
            found = span(asked[b"range"], len(body))
            if found != "whole":
                return _finished(_partial(entry, body, found), entry, now, member)
    response = Response(entry.status, entry.lines, body, reason=entry.reason)
    response.ready = (entry.lines, entry.raw)
    return _finished(response, entry, now, member)


def fresh(entry: Entry, body: bytes, now: float, name: bytes) -> Response:
    """A hit; its head is made once a second, with all its bytes. `name`: of the cache, empty for no Cache-Status."""
    second = int(now)
    head = entry.head
    if head is None or head[0] != second or head[1] != name:
        lines = [*entry.lines, (b"Age", b"%d" % current_age(entry, now))]
        if name:
            lines.append((b"Cache-Status", hit(name, entry.expires - now)))
        head = entry.head = (second, name, lines, raw_lines(lines))
    response = Response(entry.status, head[2], body, reason=entry.reason)
    response.ready = head[2:]
    response.declared = True
    return response


_CONDITIONS = frozenset({b"if-none-match", b"if-modified-since", b"range"})


def _finished(response: Response, entry: Entry, now: float, member: bytes) -> Response:
    """Age (RFC 9111 §5.1) and Cache-Status (RFC 9211), which follow what caches before this one said."""
    response.declared = True
    response.headers.append((b"Age", b"%d" % current_age(entry, now)))
    if member:
        response.headers.append((b"Cache-Status", member))
    return response


def _partial(entry: Entry, body: bytes, found: tuple[int, int] | str) -> Response:
    if isinstance(found, str):
        lines: RawHeaders = [(b"Content-Range", content_range(None, len(body))), (b"Content-Length", b"0")]
        return Response(416, [*_date(entry), *lines], reason=b"Range Not Satisfiable")
    first, end = found
    lines = [line for line in entry.lines if line[0].lower() not in {b"content-length", b"content-range"}]
    lines.append((b"Content-Range", content_range(found, len(body))))
    lines.append((b"Content-Length", b"%d" % (end - first)))
    return Response(206, lines, body[first:end], reason=b"Partial Content")


def _date(entry: Entry) -> RawHeaders:
    return [line for line in entry.lines if line[0].lower() == b"date"]
