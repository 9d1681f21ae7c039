"""Ages and lifetimes (RFC 9111 §4.2), and whether a stored response may be used as it is (§4).

Pure; times in seconds.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from sidecar.filters.cache.dates import parse_date
from sidecar.filters.cache.directives import INFINITE, Asked, Said
from sidecar.filters.cache.fields import Fields

HEURISTIC = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})  # RFC 9110 §15.1

Use: TypeAlias = Literal["fresh", "stale", "refresh", "request", "validate"]


@dataclass(frozen=True, slots=True)
class Heuristic:
    """How long a response is fresh that does not say so itself: a part of the time since it was modified."""

    percent: int = 0
    most: float = 86400.0


class Aged(Protocol):
    """What is asked of a stored response."""

    received: float  # wall clock
    initial_age: float
    expires: float  # wall clock
    no_cache: bool
    strict: bool
    immutable: bool
    stale_while_revalidate: int
    stale_if_error: int


def initial_age(fields: Fields, requested: float, received: float) -> float:
    """corrected_initial_age of §4.2.3: the larger of what Age says and what Date shows."""
    value = fields.get(b"age", b"").partition(b",")[0].strip(b" \t")  # the first of a list (§5.1)
    age = (INFINITE if len(value) > 10 else min(int(value), INFINITE)) if value.isdigit() else 0
    date = parse_date(fields.get(b"date", b""), received)
    apparent = max(0.0, received - date) if date is not None else 0.0
    return max(apparent, age + max(0.0, received - requested))


def lifetime(said: Said, fields: Fields, status: int, received: float, heuristic: Heuristic) -> float | None:
    """The freshness lifetime of §4.2.1, None where none is said and none may be guessed."""
    if said.s_maxage is not None:
        return said.s_maxage
    if said.max_age is not None:
        return said.max_age
    if not said.targeted and b"expires" in fields:
        expires = parse_date(fields[b"expires"].strip(b" \t"), received)
        return 0 if expires is None else max(0.0, expires - _since(fields, received))  # no date has expired (§5.3)
    if not heuristic.percent or not (status in HEURISTIC or said.public):
        return None
    since = _since(fields, received)
    modified = parse_date(fields.get(b"last-modified", b""), received)
    if modified is None or modified > since:
        return None
    return min((since - modified) * heuristic.percent / 100, heuristic.most)


def _since(fields: Fields, received: float) -> float:
    """When it was made: its Date, without one when it came."""
    date = parse_date(fields.get(b"date", b""), received)
    return received if date is None else date


def current_age(stored: Aged, now: float) -> float:
    """current_age of §4.2.3; a clock that was set back does not make anything younger than it came."""
    return stored.initial_age + max(0.0, now - stored.received)


def use(stored: Aged, asked: Asked, now: float) -> Use:  # noqa: PLR0911 - one rule a line
    """How a stored response may serve a request (§4, §5.2.1, RFC 5861 §3, RFC 8246 §2).

    fresh: as it is. stale: as it is, the client takes stale ones. refresh: as it is, and validate it meanwhile.
    request: it is fresh, but the client wants better. validate: not before the origin has said so.
    """
    if stored.no_cache:
        return "validate"
    left = stored.expires - now
    if asked.no_cache:
        return "request" if left > 0 else "validate"
    too_old = asked.max_age is not None and current_age(stored, now) > asked.max_age
    if left > 0:
        if too_old and not stored.immutable and asked.max_stale is None:
            return "request"
        return "fresh" if asked.min_fresh is None or left >= asked.min_fresh else "request"
    if stored.strict or asked.min_fresh is not None or (too_old and asked.max_stale is None):
        return "validate"
    if asked.max_stale is not None and -left <= asked.max_stale:
        return "stale"
    window = stored.stale_while_revalidate
    return "refresh" if window and -left <= window else "validate"


def serves_errors(stored: Aged, asked: Asked, now: float, default: float) -> bool:
    """Whether it may stand in for a 500, 502, 503, 504 or for no answer (RFC 5861 §4); `default`: by configuration."""
    if stored.no_cache or stored.strict or asked.no_cache:
        return False
    limit = max(stored.stale_if_error, asked.stale_if_error or 0, default)
    return limit > 0 and now - stored.expires <= limit
