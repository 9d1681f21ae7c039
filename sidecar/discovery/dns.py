"""Endpoints by DNS: all addresses of a name, or the SRV records of the lowest priority, asked again after their TTL.

A failure keeps the last addresses and is tried again with backoff. An IP address is published as it is.
"""

import asyncio
import ipaddress
import random
from collections.abc import Sequence

from sidecar.discovery.resolver import ResolveError, Resolver, Srv
from sidecar.discovery.source import Origin, Publish, Snapshot
from sidecar.model import Address, Endpoint

SHORTEST = 1.0  # seconds between two questions
LONGEST = 300.0
_MAX_BACKOFF = 30.0


class DnsSource:
    """One name. `port` None: its SRV records, which bring ports and weights."""

    def __init__(
        self, host: str, port: int | None, *, resolver: Resolver, rng: random.Random, nameservers: Sequence[str] = ()
    ) -> None:
        self._host = host
        self._port = port
        self._resolver = resolver
        self._rng = rng
        self._nameservers = tuple(nameservers)
        self._known: tuple[Endpoint, ...] = ()

    async def follow(self, publish: Publish) -> None:
        """Publish what DNS says, for ever; returns at once after an IP address."""
        if self._port is not None and is_ip(self._host):
            endpoint = Endpoint(address=Address(self._host, self._port))
            publish(Snapshot(endpoints=(endpoint,), origin="dns"))
            return
        last: Snapshot | None = None
        failures = 0
        while True:
            try:
                endpoints, ttl = await self._resolve()
            except ResolveError as error:
                failures += 1
                wait = self._rng.uniform(SHORTEST / 2, min(SHORTEST * 2**failures, _MAX_BACKOFF))
                origin: Origin = "stale" if self._known else "dns"
                fresh = Snapshot(endpoints=self._known, origin=origin, problem=str(error))
            else:
                failures = 0
                wait = min(max(ttl, SHORTEST), LONGEST)
                self._known = endpoints
                fresh = Snapshot(endpoints=endpoints, origin="dns")
            if fresh != last:
                last = fresh
                publish(fresh)
            await asyncio.sleep(wait)

    async def _resolve(self) -> tuple[tuple[Endpoint, ...], float]:
        if self._port is None:
            return await self._resolve_services()
        answer = await self._resolver.addresses(self._host, self._nameservers)
        return tuple(Endpoint(address=Address(host, self._port)) for host in answer.hosts), answer.ttl

    async def _resolve_services(self) -> tuple[tuple[Endpoint, ...], float]:
        """The targets of the lowest priority of which any resolves (RFC 2782)."""
        records = await self._resolver.services(self._host, self._nameservers)
        failure = None
        for priority in sorted({record.priority for record in records}):
            endpoints: dict[Address, Endpoint] = {}
            ttl = min(record.ttl for record in records)
            for record in records:
                if record.priority != priority:
                    continue
                try:
                    hosts, held = await self._target(record)
                except ResolveError as error:
                    failure = error
                    continue
                ttl = min(ttl, held)
                for host in hosts:  # weight 0 means "a very small chance", which 1 is among others of 10 and more
                    address = Address(host, record.port)
                    endpoints[address] = Endpoint(address=address, weight=max(1, record.weight))
            if endpoints:
                return tuple(endpoints[address] for address in sorted(endpoints)), ttl
        raise failure or ResolveError(f"{self._host} has no usable SRV record", missing=True)

    async def _target(self, record: Srv) -> tuple[tuple[str, ...], float]:
        if is_ip(record.target):
            return (record.target,), LONGEST
        answer = await self._resolver.addresses(record.target, self._nameservers)
        return answer.hosts, answer.ttl


def is_ip(text: str) -> bool:
    """Whether the text is an IP address, a scope included."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
