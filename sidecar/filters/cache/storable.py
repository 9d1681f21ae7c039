"""Whether a response may be stored by a shared cache (RFC 9111 §3), and where this one is stricter. Pure.

Stricter: only statuses whose caching rules are implemented, of errors only those that speak of the resource and not of
the request (a request made to be refused must not poison its URI), no cookies unless wanted, nothing whose end is not
marked, and nothing that could neither be reused nor validated.
"""

from sidecar.filters.cache.directives import Said
from sidecar.filters.cache.fields import Fields, vary_names
from sidecar.filters.cache.freshness import HEURISTIC

UNDERSTOOD = frozenset({200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 451, 501})


def refusal(  # noqa: PLR0911 - one reason a line, in the order of the RFC
    status: int, said: Said, fields: Fields, life: float | None, *, authorized: bool, cookies: bool
) -> str | None:
    """Why a response to a GET may not be stored, None where it may; `cookies`: those that set cookies may, too.

    `authorized`: the request had an Authorization field (§3.5).
    """
    if status in {206, 304} or (status >= 400 and status not in UNDERSTOOD):
        return "status"
    if said.must_understand and status not in UNDERSTOOD:
        return "must-understand"
    if said.forbids:
        return "forbidden"
    if authorized and not (said.public or said.must_revalidate or said.s_maxage is not None):
        return "authorization"
    if b"set-cookie" in fields and not cookies and b"set-cookie" not in said.hidden:
        return "set-cookie"
    if vary_names(fields.get(b"vary")) is None:
        return "vary"
    if life is None and not (said.no_cache and status in HEURISTIC):
        return "no lifetime"
    return _useless(said, fields, life or 0)


def _useless(said: Said, fields: Fields, life: float) -> str | None:
    """Neither fresh nor to be validated nor of use in an emergency: storing it would cost and give nothing."""
    if life > 0 and not said.no_cache:
        return None
    if b"etag" in fields or b"last-modified" in fields:
        return None
    return None if said.stale_while_revalidate or said.stale_if_error else "no lifetime"
