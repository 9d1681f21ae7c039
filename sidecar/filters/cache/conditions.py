"""Validators and preconditions (RFC 9110 §8.8, §13; RFC 9111 §4.3). Pure."""

import re
from collections.abc import Iterable

from sidecar.filters.cache.dates import parse_date
from sidecar.filters.cache.fields import Fields
from sidecar.model import RawHeaders

CONDITIONAL = frozenset({b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range"})
ORIGIN_ONLY = frozenset({b"if-match", b"if-unmodified-since"})  # no cache answers them (RFC 9111 §4.3.2)
_TAG = re.compile(rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')

_NOT_IN_304 = frozenset(
    {
        b"accept-ranges",
        b"content-digest",
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-md5",
        b"content-range",
        b"content-type",
        b"repr-digest",
    }
)  # fmt: skip - representation metadata (RFC 9110 §15.4.5)


def not_modified(asked: Fields, stored: Fields, received: float) -> bool:
    """Whether the client's copy is the stored response: 304 (RFC 9110 §13.2.2, RFC 9111 §4.3.2)."""
    tags = asked.get(b"if-none-match")
    if tags is not None:
        return _any_match(tags, stored.get(b"etag"))
    since = asked.get(b"if-modified-since")
    if since is None:
        return False
    modified = stored.get(b"last-modified", stored.get(b"date"))
    if since == modified:
        return True
    moment = parse_date(since.strip(b" \t"), received)
    changed = parse_date(modified, received) if modified is not None else received
    return moment is not None and changed is not None and changed <= moment


def range_applies(asked: Fields, stored: Fields, received: float) -> bool:
    """Whether If-Range, where there is one, lets Range apply: by strong comparison (RFC 9110 §13.1.5)."""
    wanted = asked.get(b"if-range")
    if wanted is None:
        return True
    wanted = wanted.strip(b" \t")
    if wanted.startswith(b'"'):
        return wanted == stored.get(b"etag")
    modified = stored.get(b"last-modified")
    if modified is None or wanted != modified:
        return False
    at, date = parse_date(modified, received), parse_date(stored.get(b"date", b""), received)
    return at is not None and date is not None and date - at >= 1  # else it is a weak validator (RFC 9110 §8.8.2.2)


def validating(lines: Iterable[tuple[bytes, bytes]], stored: Fields) -> RawHeaders:
    """The request's lines with the stored validators for conditions, and for the whole response (RFC 9111 §4.3.1)."""
    kept = [line for line in lines if (name := line[0].lower()) not in CONDITIONAL and name != b"range"]
    if b"etag" in stored:
        kept.append((b"If-None-Match", stored[b"etag"]))
    if b"last-modified" in stored:
        kept.append((b"If-Modified-Since", stored[b"last-modified"]))
    return kept


def confirms(newer: Fields, stored: Fields) -> bool:
    """Whether a 304 speaks of this stored response (RFC 9111 §4.3.4); it is the only one that was asked about."""
    tag = newer.get(b"etag")
    if tag is not None:
        mine = stored.get(b"etag")
        return tag == mine if not tag.startswith(b"W/") else mine is not None and _opaque(tag) == _opaque(mine)
    modified = newer.get(b"last-modified")
    return modified is None or b"last-modified" not in stored or modified == stored[b"last-modified"]


def same_representation(head: Fields, stored: Fields) -> bool:
    """Whether a HEAD response speaks of what is stored (RFC 9111 §4.3.5)."""
    return all(
        head[name] == stored.get(name) for name in (b"etag", b"last-modified", b"content-length") if name in head
    )


def lines_of_304(lines: RawHeaders) -> RawHeaders:
    """The stored lines that a 304 carries; Last-Modified only where there is no ETag (RFC 9110 §15.4.5)."""
    tagged = any(name.lower() == b"etag" for name, _ in lines)
    gone = _NOT_IN_304 | {b"last-modified"} if tagged else _NOT_IN_304
    return [line for line in lines if line[0].lower() not in gone]


def _any_match(tags: bytes, tag: bytes | None) -> bool:
    """Weak comparison with each member of If-None-Match; `*` is anything (RFC 9110 §13.1.2)."""
    if tags.strip(b" \t") == b"*":
        return True
    if tag is None:
        return False
    return tags == tag or _opaque(tag) in {match[2] for match in _TAG.finditer(tags)}


def _opaque(tag: bytes) -> bytes:
    return tag.removeprefix(b"W/")
