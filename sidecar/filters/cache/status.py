"""The member that this cache adds to Cache-Status (RFC 9211). Pure."""

import re
from typing import Literal, TypeAlias

Forwarded: TypeAlias = Literal["bypass", "method", "uri-miss", "vary-miss", "request", "stale"]

_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")


def identifier(text: str) -> bytes:
    """A token where it can be one, else a string."""
    if _TOKEN.fullmatch(text):
        return text.encode()
    return b'"%b"' % text.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def hit(name: bytes, ttl: float) -> bytes:
    """Served from the store without going forward; `ttl` in seconds, below zero where it is stale."""
    return b"%b; hit; ttl=%d" % (name, round(ttl))


def forwarded(
    name: bytes,
    why: Forwarded,
    *,
    status: int | None = None,
    ttl: float | None = None,
    stored: bool = False,
    collapsed: bool | None = None,
) -> bytes:
    """The request went forward; `status` only where it differs from the one sent."""
    parts = [b"%b; fwd=%b" % (name, why.encode())]
    if status is not None:
        parts.append(b"fwd-status=%d" % status)
    if ttl is not None:
        parts.append(b"ttl=%d" % round(ttl))
    if stored:
        parts.append(b"stored")
    if collapsed is not None:
        parts.append(b"collapsed" if collapsed else b"collapsed=?0")
    return b"; ".join(parts)
