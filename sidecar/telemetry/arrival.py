"""The request as it came, before filters change it, and what its fields say of the client behind trusted proxies. Pure.

`Forwarded` (RFC 7239) goes before `X-Forwarded-*`; both are read only where the peer is trusted. The client is the
last one in the chain that is no trusted proxy itself: what stands before it, the client may have made up.
Text from peers is made fit to be shown: `clean` escapes control characters.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import chain

from sidecar.model import Address, RawHeaders, Request

_FORWARDED_FIELDS = frozenset((b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"))
ARRIVAL_FIELDS = _FORWARDED_FIELDS | {b"user-agent"}
"""Header names, lower case, that an `Arrival` reads."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NODE = re.compile(r"[0-9A-Za-z.:%_-]{1,64}")
_AUTHORITY = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::([0-9]{1,5}))?")
_MOST_HOPS = 32
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


def ip_of(host: str) -> IPv4Address | IPv6Address | None:
    """The address, without its zone, an IPv4 one that a dual-stack socket wrote as IPv6 as IPv4; None for a name."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _forwarded_nodes(lines: Sequence[str]) -> list[str | None]:
    """The address of each hop in `Forwarded` fields; None where a hop names none, and for all that does not parse."""
    text = ",".join(lines)
    nodes: list[str | None] = []
    at, named = 0, None
    while (match := _FORWARDED_PAIR.match(text, at)) is not None:
        if match[1].lower() == "for":
            named = _node(re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3])
        at = match.end()
        if text[at - 1] != ";":
            nodes.append(named)
            named = None
    return nodes if at == len(text) else [*nodes, None]


def _client(nodes: Sequence[str | None], proxies: Sequence[IPv4Network | IPv6Network]) -> str | None:
    """The last node that is no trusted proxy, else the first; None where a node on the way there names no address."""
    found: str | None = None
    for node in reversed(nodes[-_MOST_HOPS:]):
        address = ip_of(node) if node is not None else None
        if address is None:
            return None
        found = node
        if not any(address in network for network in proxies):
            return found
    return found if len(nodes) <= _MOST_HOPS else None


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

    __slots__ = ("_client", "_disputed", "authority", "method", "scheme", "target", "user_agent")

    def __init__(self, request: Request, fields: RawHeaders) -> None:
        self.method = request.method
        self.target = request.target
        self.authority = request.authority
        self.scheme = request.scheme
        self.user_agent = b""
        self._client: str | None = None
        self._disputed = False  # a trusted peer's fields name no client, or two
        if fields:
            for name, value in fields:
                if name == b"user-agent":
                    self.user_agent = value
                    break
            if request.trusted:
                self._believe(fields, request.origin.proxies)

    def _believe(self, fields: RawHeaders, proxies: Sequence[IPv4Network | IPv6Network]) -> None:
        lines = [(name, value.decode("latin-1")) for name, value in fields if name in _FORWARDED_FIELDS]
        if not lines:
            return
        first = dict(reversed(lines))
        said = forwarded_first(first.get(b"forwarded", ""))
        scheme = said.get("proto") or first.get(b"x-forwarded-proto", "").partition(",")[0].strip()
        if scheme.lower() in ("http", "https"):
            self.scheme = scheme.lower()
        self.authority = (
            said.get("host") or first.get(b"x-forwarded-host", "").partition(",")[0].strip() or self.authority
        )
        self._believe_client(lines, proxies)

    def _believe_client(self, lines: Sequence[tuple[bytes, str]], proxies: Sequence[IPv4Network | IPv6Network]) -> None:
        forwarded = [value for name, value in lines if name == b"forwarded"]
        x_forwarded_for = [value for name, value in lines if name == b"x-forwarded-for"]
        named: list[str | None] = []
        if forwarded:
            named.append(_client(_forwarded_nodes(forwarded), proxies))
        if x_forwarded_for:
            hops = chain.from_iterable(value.split(",") for value in x_forwarded_for)
            named.append(_client([_node(hop) for hop in hops], proxies))
        self._client = next(filter(None, named), None)
        self._disputed = len({each and ip_of(each) for each in named}) > 1 or None in named

    @property
    def path(self) -> str:
        """The path without the query, as Latin-1 text."""
        return self.target.partition(b"?")[0].decode("latin-1")

    def client(self, peer: Address) -> str:
        """`client.address`: whom a trusted peer names, else the peer."""
        return self._client or peer.unix_path or peer.host

    def client_ip(self, peer: Address) -> IPv4Address | IPv6Address | None:
        """The client's address as a decision may rest on it; None where none is named beyond doubt.

        Both fields, where a trusted peer sends both, must name the same: a proxy that writes one of them passes on what
        the client wrote into the other.
        """
        return None if self._disputed else ip_of(self._client or peer.host)
