"""Header fields as the cache reads, stores and updates them (RFC 9111 §3.1, §3.2, §4.1). Pure.

`collect` makes a mapping for reading; what is stored and sent stays a list of lines in the order of the wire.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import TypeAlias

from sidecar.model import RawHeaders

Fields: TypeAlias = Mapping[bytes, bytes]
Selecting: TypeAlias = tuple[bytes | None, ...]  # normalised values of the nominated fields, None: absent

MOST_VARY = 16  # names; a response that varies on more is not stored

_NEVER_STORED = frozenset(
    {
        b"age", b"connection", b"content-length", b"keep-alive", b"proxy-authenticate", b"proxy-authentication-info",
        b"proxy-authorization", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
_NEVER_UPDATED = _NEVER_STORED | {b"content-encoding", b"content-range"}  # they describe the bytes that are stored
_MEMO_LENGTH = 256  # bytes of a value worth remembering
_TOKEN_BYTES = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
_LOWERED = frozenset({b"accept-encoding", b"accept-language", b"accept-charset"})  # case means nothing in them
_UNORDERED = frozenset({b"accept-encoding"})  # order means nothing either (RFC 9110 §12.5.3: by weight)


def collect(lines: RawHeaders) -> dict[bytes, bytes]:
    """Values by name in lower case; lines of one name are combined (RFC 9110 §5.3)."""
    found = {name.lower(): value for name, value in lines}
    if len(found) == len(lines):
        return found
    found.clear()
    for name, value in lines:
        lower = name.lower()
        found[lower] = b"%b, %b" % (found[lower], value) if lower in found else value
    return found


def vary_names(value: bytes | None) -> tuple[bytes, ...] | None:
    """The fields that a Vary value names, sorted; None where nothing can match: `*`, a name that is none, too many."""
    if value is None:
        return ()
    names = {member.strip(b" \t").lower() for member in value.split(b",")} - {b""}
    if b"*" in names or len(names) > MOST_VARY or not all(_TOKEN_BYTES.issuperset(name) for name in names):
        return None
    return tuple(sorted(names))


def selecting(names: Iterable[bytes], fields: Fields) -> Selecting:
    """The request's part of a key: what it says in the fields of these names."""
    return tuple([None if (value := fields.get(name)) is None else normal(name, value) for name in names])


def normal(name: bytes, value: bytes) -> bytes:
    """The value in a form that is the same for values that mean the same (RFC 9111 §4.1)."""
    return _normal(name, value) if len(value) <= _MEMO_LENGTH else _normal.__wrapped__(name, value)


@lru_cache(maxsize=1024)
def _normal(name: bytes, value: bytes) -> bytes:
    if b'"' in value:
        return value.strip(b" \t")
    members = [b";".join(part.strip(b" \t") for part in member.split(b";")) for member in value.split(b",")]
    members = [member for member in members if member]
    if name in _LOWERED:
        members = [member.lower().removesuffix(b";q=1") for member in members]
    if name in _UNORDERED:
        members = sorted({b"gzip" if member == b"x-gzip" else member for member in members})
    return b", ".join(members)


def stored_lines(
    lines: Iterable[tuple[bytes, bytes]], length: int | None, date: bytes | None, hidden: Collection[bytes]
) -> RawHeaders:
    """The lines to keep, with the length of the stored body (None: a status without body).

    `date` is added where the response has none (RFC 9110 §6.6.1); `hidden` fields stay out (`private=`, `no-cache=`).
    """
    kept = [line for line in lines if (name := line[0].lower()) not in _NEVER_STORED and name not in hidden]
    if date is not None:
        kept.append((b"Date", date))
    if length is not None:
        kept.append((b"Content-Length", b"%d" % length))
    return kept


def updated(stored: RawHeaders, newer: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """The stored lines with those of a newer answer in their place (RFC 9111 §3.2)."""
    new = [line for line in newer if line[0].lower() not in _NEVER_UPDATED]
    replaced = {name.lower() for name, _ in new}
    return [line for line in stored if line[0].lower() not in replaced] + new
