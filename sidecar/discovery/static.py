"""Endpoints that are written down: IP addresses, Unix sockets, and names, which DNS resolves."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

from sidecar.config.address import parse_address
from sidecar.config.model import StaticEndpoint, StaticSpec
from sidecar.discovery.dns import DnsSource, is_ip
from sidecar.discovery.resolver import Resolver
from sidecar.discovery.source import Publish, Snapshot
from sidecar.model import Address, Endpoint


class StaticSource:
    """The endpoints of a `static` section; raises ValueError for an address of another form."""

    def __init__(self, spec: StaticSpec, *, resolver: Resolver, rng: random.Random) -> None:
        self._resolver = resolver
        self._rng = rng
        self._parts: list[Snapshot] = []  # one for each entry, in order
        self._names: list[tuple[int, Address, StaticEndpoint]] = []
        for position, item in enumerate(spec.endpoints):
            written = StaticEndpoint(address=item) if isinstance(item, str) else item
            address = parse_address(written.address)
            fixed = address.unix_path is not None or is_ip(address.host)
            if not fixed:
                self._names.append((position, address, written))
            endpoints = (Endpoint(address=address, weight=written.weight, zone=written.zone),) if fixed else ()
            self._parts.append(Snapshot(endpoints=endpoints, origin="static"))

    async def follow(self, publish: Publish) -> None:
        """Publish once and return, or follow DNS for ever where names are among the addresses."""
        if not self._names or self._joined().endpoints:
            publish(self._joined())
        async with asyncio.TaskGroup() as tasks:
            for position, address, written in self._names:
                source = DnsSource(address.host, address.port, resolver=self._resolver, rng=self._rng)
                tasks.create_task(source.follow(self._slot(position, written, publish)))

    def _slot(self, position: int, written: StaticEndpoint, publish: Publish) -> Callable[[Snapshot], None]:
        def resolved(part: Snapshot) -> None:
            endpoints = tuple(replace(one, weight=written.weight, zone=written.zone) for one in part.endpoints)
            self._parts[position] = replace(part, endpoints=endpoints)
            publish(self._joined())

        return resolved

    def _joined(self) -> Snapshot:
        """One snapshot of all parts; an address that comes twice counts once."""
        endpoints = {one.address: one for part in self._parts for one in part.endpoints}
        problems = dict.fromkeys(part.problem for part in self._parts if part.problem)
        return Snapshot(endpoints=tuple(endpoints.values()), origin="static", problem="; ".join(problems))
