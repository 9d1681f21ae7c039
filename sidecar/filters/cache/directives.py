"""Cache directives of requests and responses as values (RFC 9111 §5.2, RFC 5861, RFC 8246, RFC 9213). Pure.

In doubt the stricter reading: a lifetime that is no number is 0, a field whose quotes do not close forbids storing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sidecar.filters.cache.structured import Bare, parse_dictionary

INFINITE = 2**31  # seconds: what a number too large to hold stands for (RFC 9111 §1.2.2)
_MEMO_LENGTH = 256  # bytes of a value worth remembering
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_MEMBER = re.compile(rb'(?:[^",]|"(?:[^"\\]|\\.)*")*', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request's Cache-Control says; seconds, None where it says nothing."""

    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    max_stale: int | None = None
    min_fresh: int | None = None
    stale_if_error: int | None = None


NOTHING_ASKED = Asked()


@dataclass(frozen=True, slots=True)
class Said:
    """What a response says of its storing; seconds, None where it says nothing."""

    max_age: int | None = None
    s_maxage: int | None = None
    no_store: bool = False
    no_cache: bool = False
    private: bool = False
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    immutable: bool = False
    stale_while_revalidate: int = 0
    stale_if_error: int = 0
    hidden: frozenset[bytes] = frozenset()  # fields not to be stored, in lower case
    targeted: bool = False  # from a targeted field: Expires is not asked

    @property
    def forbids(self) -> bool:
        """Whether it may not be stored, whatever else there is; what must be understood may still be."""
        return self.private or (self.no_store and not self.must_understand)

    @property
    def strict(self) -> bool:
        """Whether a stale response may not be reused, whatever else is said (RFC 9111 §4.2.4)."""
        return self.must_revalidate or self.proxy_revalidate or self.s_maxage is not None


NOTHING_SAID = Said()


def parse(value: bytes) -> dict[bytes, bytes | None] | None:
    """Names in lower case with their first argument; None where a quoted string does not close."""
    found: dict[bytes, bytes | None] = {}
    at = 0
    while True:
        member = _MEMBER.match(value, at)
        end = member.end() if member is not None else at
        if end < len(value) and value[end] != ord(","):
            return None
        name, equals, argument = value[at:end].strip(b" \t").partition(b"=")
        bare = name.rstrip(b" \t")
        if bare:
            spaced = bare != name or argument[:1] in {b" ", b"\t"}
            _add(found, bare.lower(), (b"" if spaced else _unquoted(argument)) if equals else None)
        if end == len(value):
            return found
        at = end + 1


def asked_of(cache_control: bytes | None, pragma: bytes | None, *, honour: bool) -> Asked:
    """The directives of a request; without `honour` only those that keep an answer out of the store or the network."""
    if cache_control is None:
        no_cache = honour and pragma is not None and b"no-cache" in pragma.lower()
        return Asked(no_cache=True) if no_cache else NOTHING_ASKED
    said = parse(cache_control)
    if said is None:
        return Asked(no_store=True)
    no_store, only_if_cached = b"no-store" in said, b"only-if-cached" in said
    if not honour:
        return Asked(no_store=no_store, only_if_cached=only_if_cached)
    return Asked(
        no_cache=b"no-cache" in said,
        no_store=no_store,
        only_if_cached=only_if_cached,
        max_age=_seconds(said, b"max-age", broken=0),
        max_stale=INFINITE if said.get(b"max-stale", b"") is None else _seconds(said, b"max-stale", broken=None),
        min_fresh=_seconds(said, b"min-fresh", broken=INFINITE),
        stale_if_error=_seconds(said, b"stale-if-error", broken=None),
    )


def said_of(fields: Mapping[bytes, bytes], targets: Sequence[bytes]) -> Said:
    """The directives of a response: of the first targeted field that is valid and not empty, else of Cache-Control."""
    for name in targets:
        value = fields.get(name)
        members = parse_dictionary(value.decode("latin-1")) if value is not None and value.isascii() else None
        if members:
            return _said({key.encode(): each for key, each in _consumed(members).items()}, targeted=True)
    value = fields.get(b"cache-control")
    if value is None:
        return NOTHING_SAID
    return _of_cache_control(value) if len(value) <= _MEMO_LENGTH else _of_cache_control.__wrapped__(value)


@lru_cache(maxsize=1024)  # apps say the same few things again and again
def _of_cache_control(value: bytes) -> Said:
    said = parse(value)
    return Said(no_store=True) if said is None else _said(said, targeted=False)


def _said(said: Mapping[bytes, bytes | None], *, targeted: bool) -> Said:
    no_cache, private = said.get(b"no-cache", b""), said.get(b"private", b"")
    return Said(
        max_age=_seconds(said, b"max-age", broken=0),
        s_maxage=_seconds(said, b"s-maxage", broken=0),
        no_store=b"no-store" in said,
        no_cache=b"no-cache" in said and not no_cache,
        private=b"private" in said and not private,
        public=b"public" in said,
        must_revalidate=b"must-revalidate" in said,
        proxy_revalidate=b"proxy-revalidate" in said,
        must_understand=b"must-understand" in said,
        immutable=b"immutable" in said,
        stale_while_revalidate=_seconds(said, b"stale-while-revalidate", broken=0) or 0,
        stale_if_error=_seconds(said, b"stale-if-error", broken=0) or 0,
        hidden=_names(no_cache) | _names(private),
        targeted=targeted,
    )


_NUMBERS = frozenset({"max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"})
_QUALIFIED = frozenset({"no-cache", "private"})
_LISTING = frozenset({b"no-cache", b"private"})


def _consumed(members: Mapping[str, Bare]) -> dict[str, bytes | None]:
    """The members whose values have the type of their directive (RFC 9213 §2.1); what forbids counts in any type."""
    taken: dict[str, bytes | None] = {}
    for name, value in members.items():
        if name in _NUMBERS:
            if type(value) is int and value >= 0:
                taken[name] = b"%d" % value
        elif value is not False:
            taken[name] = value.encode() if name in _QUALIFIED and type(value) is str else None
    return taken


def _seconds(said: Mapping[bytes, bytes | None], name: bytes, *, broken: int | None) -> int | None:
    if name not in said:
        return None
    value = said[name]
    if value is None or not value.isdigit():
        return broken
    digits = value.lstrip(b"0")
    return INFINITE if len(digits) > 10 else min(int(digits or b"0"), INFINITE)


def _add(found: dict[bytes, bytes | None], name: bytes, argument: bytes | None) -> None:
    """The first argument counts; where fields are listed, all lists do, and the bare form above them."""
    if name not in found:
        found[name] = argument
    elif name in _LISTING:
        before = found[name]
        found[name] = b"%b,%b" % (before, argument) if before and argument else None


def _names(argument: bytes | None) -> frozenset[bytes]:
    return frozenset(name.strip(b" \t").lower() for name in (argument or b"").split(b",")) - {b""}


def _unquoted(argument: bytes) -> bytes:
    match = _QUOTED.fullmatch(argument)
    return argument if match is None else re.sub(rb"\\(.)", rb"\1", match[1], flags=re.DOTALL)
