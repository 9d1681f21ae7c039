"""The request as it came, before filters change it, and what its fields say of the client behind trusted proxies. Pure.

`Forwarded` (RFC 7239) goes before `X-Forwarded-*`; both are read only where the peer is trusted.
Text from peers is made fit to be shown: `clean` escapes control characters.
"""

import re

from sidecar.model import Address, RawHeaders, Request

_FORWARDED_FIELDS = frozenset((b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"))
ARRIVAL_FIELDS = _FORWARDED_FIELDS | {b"user-agent"}
"""Header names, lower case, that an `Arrival` reads."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NODE = re.compile(r"[0-9A-Za-z.:%_-]{1,64}")
_AUTHORITY = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::([0-9]{1,5}))?")
_FORWARDED_PAIR = re.compile(r'\s*([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^;,"\s]*))\s*(?:[;,]|$)')


def clean(text: str) -> str:
    """`text` with control characters and what UTF-8 cannot carry escaped."""
    return text if text.isprintable() else _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def host_and_port(authority: str) -> tuple[str, int | None]:
    """The parts of `host[:port]`, brackets and userinfo removed; whole as the host where it does not parse."""
    authority = authority.rpartition("@")[2]
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return clean(authority), None
    return clean(match[1] or match[2] or ""), int(match[3]) if match[3] else None


def forwarded_first(value: str) -> dict[str, str]:
    """The parameters of the first element of a `Forwarded` field, names lowered."""
    found: dict[str, str] = {}
    at = 0
    while (match := _FORWARDED_PAIR.match(value, at)) is not None:
        quoted = re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3]
        found.setdefault(match[1].lower(), quoted)
        at = match.end()
        if value[at - 1 : at] != ";":
            break
    return found


def _node(text: str) -> str | None:
    """The address in `1.2.3.4`, `1.2.3.4:80`, `::1` or `[::1]:80`; None for `unknown` and obfuscated names."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    if not _NODE.fullmatch(text) or text.startswith("_") or text.lower() == "unknown":
        return None
    return text


class Arrival:
    """What the client asked for."""

    __slots__ = ("_client", "authority", "method", "scheme", "target", "user_agent")

    def __init__(self, request: Request, fields: RawHeaders) -> None:
        self.method = request.method
        self.target = request.target
        self.authority = request.authority
        self.scheme = request.scheme
        self.user_agent = b""
        self._client: str | None = None
        if fields:
            for name, value in fields:
                if name == b"user-agent":
                    self.user_agent = value
                    break
            if request.trusted:
                self._believe(fields)

    def _believe(self, fields: RawHeaders) -> None:
        first = {name: value.decode("latin-1") for name, value in reversed(fields) if name in _FORWARDED_FIELDS}
        if not first:
            return
        said = forwarded_first(first.get(b"forwarded", ""))
        scheme = said.get("proto") or first.get(b"x-forwarded-proto", "").partition(",")[0].strip()
        if scheme.lower() in ("http", "https"):
            self.scheme = scheme.lower()
        self.authority = (
            said.get("host") or first.get(b"x-forwarded-host", "").partition(",")[0].strip() or self.authority
        )
        self._client = _node(said.get("for", "")) or _node(first.get(b"x-forwarded-for", "").partition(",")[0])

    @property
    def path(self) -> str:
        """The path without the query, as Latin-1 text."""
        return self.target.partition(b"?")[0].decode("latin-1")

    def client(self, peer: Address) -> str:
        """`client.address`: whom a trusted peer names, else the peer."""
        return self._client or peer.unix_path or peer.host
