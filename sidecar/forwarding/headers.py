"""Header rules, both ways (pure): what is kept, dropped and added when a message passes an intermediary.

Names, order, case and duplicates stay. Hop-by-hop fields and those that `Connection` names go (RFC 9110 §7.6.1),
framing is decided here once (RFC 9112 §6), `Via` is added (RFC 9110 §7.6.3), `X-Forwarded-*` follows the listener's
trust.
"""

import re
from collections.abc import Collection
from enum import IntEnum

from sidecar.model import Headers, RawHeaders, Request


class _Act(IntEnum):
    KEEP = 0
    DROP = 1
    CONNECTION = 2
    HOST = 3
    LENGTH = 4
    TE = 5
    FORWARDED = 6
    TRACE = 7
    UPGRADE = 8
    EXPECT = 9


_KEEP = _Act.KEEP

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade", b"proxy-authorization"}
)
FORWARDED = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"x-real-ip"}
)
_UNTOUCHABLE = frozenset({b"host", b"content-length"})  # a nomination would let a client smuggle a request
_NOT_OFFERED = frozenset({b"h2c", b"h2"})
_NO_WEIGHT = re.compile(rb"[ \t]*q=0(?:\.0{0,3})?[ \t]*")
_MEMO_LIMIT = 1024  # names
_MEMO_NAME = 64  # bytes of a name that is remembered


class HeaderRules:
    """The rules with a bounded memo of names already judged; one instance serves a listener."""

    def __init__(self, trace_fields: Collection[bytes]) -> None:
        self._trace_fields = frozenset(trace_fields)
        self._up: dict[bytes, _Act] = {}
        self._down: dict[bytes, _Act] = {}

    def head(self, request: Request, trace: RawHeaders | None) -> bytes:
        """The bytes of the request head for the upstream; `trace` replaces the caller's trace fields."""
        parts = [b"%b %b HTTP/1.1\r\n" % (request.method.encode("latin-1"), request.target)]
        notes = _Notes(parts, request.authority.encode("latin-1"), request, keep_trace=trace is None)
        memo = self._up
        for name, value in request.headers:
            act = memo.get(name)
            if act is None:
                act = self._judge_up(name)
            if act is _KEEP:
                parts.append(b"%b: %b\r\n" % (name, value))
            else:
                notes.take(act, name, value)
        if notes.nominated:
            notes.drop_nominated()
        if not notes.hosted:
            parts.insert(1, b"Host: %b\r\n" % notes.authority)
        if request.length is None:
            parts.append(b"Transfer-Encoding: chunked\r\n")
        if trace:
            parts.extend([b"%b: %b\r\n" % pair for pair in trace])
        notes.add_own()
        parts.append(b"\r\n")
        return b"".join(parts)

    def for_downstream(self, headers: RawHeaders, *, upgraded: bool) -> tuple[Headers, int | None, bool]:
        """The response's fields without those of the upstream's connection.

        Returns the fields, the declared length (None: there is none) and whether the body came in chunks.
        """
        kept = Headers()
        length: int | None = None
        chunked = False
        nominated: frozenset[bytes] = frozenset()
        memo = self._down
        for pair in headers:
            act = memo.get(pair[0])
            if act is None:
                act = self._judge_down(pair[0])
            if act is _KEEP:
                kept.append(pair)
            elif act is _Act.LENGTH:
                length = int(pair[1])
                kept.append(pair)
            elif act is _Act.CONNECTION:
                nominated |= nominations(pair[1])
            elif act is _Act.TE:
                chunked = True
            elif act is _Act.UPGRADE and upgraded:
                kept.append(pair)
        if gone := nominated - _JUDGED_DOWN:
            kept[:] = [pair for pair in kept if pair[0].lower() not in gone]
        if upgraded:
            kept.append((b"Connection", b"Upgrade"))
        return kept, length, chunked

    def _judge_up(self, name: bytes) -> _Act:
        lower = name.lower()
        act = _REQUEST_ACTS.get(lower)
        if act is None:
            if lower in self._trace_fields:
                act = _Act.TRACE
            elif lower in FORWARDED:
                act = _Act.FORWARDED
            else:
                act = _Act.DROP if lower in HOP_BY_HOP else _Act.KEEP
        _remember(self._up, name, act)
        return act

    def _judge_down(self, name: bytes) -> _Act:
        act = _RESPONSE_ACTS.get(name.lower(), _Act.KEEP)
        _remember(self._down, name, act)
        return act


def _remember(memo: dict[bytes, _Act], name: bytes, act: _Act) -> None:
    """One client's odd names must neither fill the memory nor keep the memo from everybody else's for good."""
    if len(name) <= _MEMO_NAME:
        if len(memo) >= _MEMO_LIMIT:
            memo.clear()
        memo[name] = act


def nominations(value: bytes) -> frozenset[bytes]:
    """The field names that a `Connection` value lists, in lower case."""
    return frozenset(token.strip().lower() for token in value.split(b",") if token.strip())


def offered_upgrade(value: bytes) -> bytes | None:
    """The protocols of an Upgrade field that may be offered to an upstream; None where none is left.

    Not HTTP/2: a stream of requests would pass unseen (RFC 9113 §3.1 gives up `h2c`; RFC 9110 §7.8 lets us ignore it).
    """
    tokens = [token.strip() for token in value.split(b",")]
    kept = [token for token in tokens if token and token.lower() not in _NOT_OFFERED]
    return value if len(kept) == len(tokens) else b", ".join(kept) or None


def kept_trailers(headers: RawHeaders, trailers: RawHeaders) -> RawHeaders:
    """Trailer fields without those that the message's Connection names (RFC 9110 §7.6.1)."""
    gone = frozenset[bytes]().union(*(nominations(value) for name, value in headers if name.lower() == b"connection"))
    return [pair for pair in trailers if pair[0].lower() not in gone]


def _takes_trailers(te: bytes) -> bool:
    """Whether a TE value lists `trailers`, not with a weight of nothing (RFC 9110 §10.1.4)."""
    for member in te.lower().split(b","):
        coding, _, weight = member.partition(b";")
        if coding.strip() == b"trailers":
            return _NO_WEIGHT.fullmatch(weight) is None
    return False


class _Notes:
    """What the pass over a request's fields found beside those that are simply kept."""

    __slots__ = (
        "authority",
        "forwarded_for",
        "hosted",
        "keep_trace",
        "nominated",
        "origin",
        "parts",
        "request",
        "said",
        "te",
    )

    def __init__(self, parts: list[bytes], authority: bytes, request: Request, *, keep_trace: bool) -> None:
        self.parts = parts
        self.authority = authority
        self.request = request
        self.origin = request.origin
        self.keep_trace = keep_trace
        self.hosted = self.te = False
        self.nominated: frozenset[bytes] = frozenset()
        self.forwarded_for: list[bytes] = []
        self.said: set[bytes] = set()  # forwarding fields that a trusted peer has written

    def take(self, act: _Act, name: bytes, value: bytes) -> None:
        """Deal with one field that is more than kept."""
        kept = False
        if act is _Act.HOST:
            kept, self.hosted, value = not self.hosted, True, self.authority
        elif act is _Act.LENGTH:
            kept = self.request.length is not None
        elif act is _Act.TRACE:
            kept = self.keep_trace
        elif act is _Act.FORWARDED:
            kept = self._forwarded(name.lower(), value)
        elif act is _Act.CONNECTION:
            self.nominated |= nominations(value) - HOP_BY_HOP
        elif act is _Act.TE:
            self.te = self.te or _takes_trailers(value)
        elif act is _Act.EXPECT:
            kept = self.request.version != "1.0"  # RFC 9110 §10.1.1: it must be ignored there
        if kept:
            self.parts.append(b"%b: %b\r\n" % (name, value))

    def drop_nominated(self) -> None:
        """Fields that `Connection` names end here, but those that say where the message goes and where it ends."""
        gone = self.nominated - _UNTOUCHABLE
        self.parts[1:] = [part for part in self.parts[1:] if part.partition(b":")[0].lower() not in gone]

    def add_own(self) -> None:
        """The fields that this hop writes."""
        parts, origin, upgrade = self.parts, self.origin, self.request.upgrade
        if origin.announce:
            parts.append(b"X-Forwarded-For: %b\r\n" % b", ".join((*self.forwarded_for, origin.peer)))
            if b"x-forwarded-proto" not in self.said:
                parts.append(b"X-Forwarded-Proto: %b\r\n" % origin.scheme)
            if b"x-forwarded-host" not in self.said:
                parts.append(b"X-Forwarded-Host: %b\r\n" % self.authority)
        parts.append((b"Via: 1.1 %b\r\n" if self.request.version == "1.1" else b"Via: 1.0 %b\r\n") % origin.via)
        if self.te:
            parts.append(b"TE: trailers\r\n")
        if upgrade is not None:
            parts.append(b"Connection: Upgrade%b\r\nUpgrade: %b\r\n" % (b", TE" if self.te else b"", upgrade))
        elif self.te:
            parts.append(b"Connection: TE\r\n")

    def _forwarded(self, lower: bytes, value: bytes) -> bool:
        if not self.origin.trusted:
            return False
        if self.origin.announce and lower == b"x-forwarded-for":
            self.forwarded_for.append(value)
            return False
        self.said.add(lower)
        return True


_REQUEST_ACTS = {
    b"connection": _Act.CONNECTION,
    b"host": _Act.HOST,
    b"content-length": _Act.LENGTH,
    b"te": _Act.TE,
    b"expect": _Act.EXPECT,
}
_RESPONSE_ACTS = {
    b"connection": _Act.CONNECTION,
    b"content-length": _Act.LENGTH,
    b"transfer-encoding": _Act.TE,
    b"upgrade": _Act.UPGRADE,
    b"keep-alive": _Act.DROP,
    b"proxy-connection": _Act.DROP,
    b"te": _Act.DROP,
}
_JUDGED_DOWN = frozenset(_RESPONSE_ACTS)  # what a nomination does not change
