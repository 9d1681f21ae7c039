"""Names to addresses with their TTL, and SRV records, by c-ares: /etc/hosts and the search list honoured.

Decides nothing about when to ask again; that is `dns.py`.
"""

import socket
from collections.abc import Sequence
from typing import NamedTuple

import aiodns
from pycares import SRVRecordData  # what aiodns answers with

_NOT_FOUND = (1, 4)  # ARES_ENODATA, ARES_ENOTFOUND
_TIMEOUT = 2.0  # seconds for one try at one name server
_TRIES = 2


class ResolveError(Exception):
    """A name did not resolve; `missing`: DNS says that there is none, rather than failing to answer."""

    def __init__(self, details: str, *, missing: bool) -> None:
        super().__init__(details)
        self.missing = missing


class Answer(NamedTuple):
    """IP addresses and how long they hold, in seconds; 0 for those of /etc/hosts."""

    hosts: tuple[str, ...]
    ttl: float


class Srv(NamedTuple):
    """One SRV record (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: str
    ttl: float


class Resolver:
    """Asks DNS; one channel for each set of name servers, made when first needed. `aclose` it."""

    def __init__(self) -> None:
        self._channels: dict[tuple[str, ...], aiodns.DNSResolver] = {}

    async def addresses(self, host: str, nameservers: Sequence[str] = ()) -> Answer:
        """All A and AAAA records, IPv4 first. Raises ResolveError."""
        channel = self._channel(nameservers)
        try:
            result = await channel.getaddrinfo(host, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError as error:
            raise _failure(host, "A or AAAA", nameservers, error) from error
        found = {node.addr[0].decode(): None for node in result.nodes}
        if not found:
            raise ResolveError(f"{host} has no A or AAAA record", missing=True)
        ttl = min([node.ttl for node in result.nodes] + [name.ttl for name in result.cnames])
        return Answer(tuple(sorted(found, key=lambda text: (":" in text, text))), float(ttl))

    async def services(self, host: str, nameservers: Sequence[str] = ()) -> tuple[Srv, ...]:
        """All SRV records. Raises ResolveError."""
        channel = self._channel(nameservers)
        try:
            result = await channel.query_dns(host, "SRV")
        except aiodns.error.DNSError as error:
            raise _failure(host, "SRV", nameservers, error) from error
        records = tuple(
            Srv(record.data.priority, record.data.weight, record.data.port, record.data.target, float(record.ttl))
            for record in result.answer
            if isinstance(record.data, SRVRecordData)
            and record.data.target not in ("", ".")  # `.`: decidedly not available
        )
        if not records:
            raise ResolveError(f"{host} has no SRV record", missing=True)
        return records

    async def aclose(self) -> None:
        """Give up what is under way."""
        while self._channels:
            await self._channels.popitem()[1].close()

    def _channel(self, nameservers: Sequence[str]) -> aiodns.DNSResolver:
        key = tuple(nameservers)
        if key not in self._channels:
            self._channels[key] = aiodns.DNSResolver(nameservers=key or None, timeout=_TIMEOUT, tries=_TRIES)
        return self._channels[key]


def _failure(host: str, kind: str, nameservers: Sequence[str], error: aiodns.error.DNSError) -> ResolveError:
    """The failure of c-ares in one line."""
    code, text = (*error.args, "")[:2]
    asked = f" (asked {', '.join(nameservers)})" if nameservers else ""
    return ResolveError(f"{host} does not resolve to {kind}{asked}: {text}", missing=code in _NOT_FOUND)
