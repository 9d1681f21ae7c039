"""Which content coding a client gets, by the weights of its `Accept-Encoding` (RFC 9110 §12.5.3, §12.4.2). Pure.

The highest weight wins; equal weights go to the coding first in the sidecar's own order, and to a coding before
`identity`. A member that breaks the grammar counts as not there.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

_MEMBER = re.compile(
    rb"[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)"
    rb"(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?[ \t]*"
)
_MAX_MEMBERS = 32  # looked at; nobody has so many codings
_ALIASES = {"x-gzip": "gzip"}  # RFC 9110 §8.4.1.3


class Choice(NamedTuple):
    """What to send."""

    coding: str | None  # None: the content as it is
    identity: bool  # whether the content as it is would do


def choose(accept: bytes | None, offered: Sequence[str]) -> Choice:
    """The best of `offered`; `accept` is the whole field, None where the request has none: as it is, then."""
    if accept is None:
        return Choice(None, identity=True)
    weights = _weights(accept)
    anything = weights.get("*", 0.0)
    best, best_weight = None, 0.0
    for coding in offered:
        weight = weights.get(coding, anything)
        if weight > best_weight:
            best, best_weight = coding, weight
    plain = weights.get("identity", weights.get("*"))  # None: acceptable, and liked less than what is listed
    if plain is None:
        return Choice(best, identity=True)
    return Choice(best if best_weight >= plain else None, identity=plain > 0)


def _weights(accept: bytes) -> dict[str, float]:
    """The weight of each coding listed; of those listed twice, the first."""
    found: dict[str, float] = {}
    for member in accept.split(b",", _MAX_MEMBERS)[:_MAX_MEMBERS]:
        match = _MEMBER.fullmatch(member)
        if match is not None:
            name = match[1].decode("ascii").lower()
            found.setdefault(_ALIASES.get(name, name), float(match[2]) if match[2] is not None else 1.0)
    return found
