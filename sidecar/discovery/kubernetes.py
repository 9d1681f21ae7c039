"""The endpoints of one Service, from the top of the ladder that holds at present.

Watched slices → the last known ones (`stale`) → the Service's cluster IP, asked of the API server or of DNS → nothing,
with the reason. An ExternalName Service is followed in DNS. Choosing among endpoints belongs to the clusters room.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace

from sidecar.config.model import KubernetesSpec
from sidecar.discovery.dns import DnsSource
from sidecar.discovery.kubernetes_client import ApiError, KubernetesClient
from sidecar.discovery.reflector import Reflector
from sidecar.discovery.resolver import ResolveError, Resolver
from sidecar.discovery.service import Service, parse_service
from sidecar.discovery.slices import Slice, merge, port_names
from sidecar.discovery.source import Publish, Snapshot
from sidecar.model import Address, Endpoint

STALE_AFTER = 15.0  # seconds of failing before endpoints are called stale
_RECHECK = (1.0, 60.0)  # seconds between two looks at a Service that has no endpoints, growing


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all sources of one process share. `families`: that the pod can reach, the preferred one first."""

    client: Callable[[], Awaitable[KubernetesClient]]
    resolver: Resolver
    rng: random.Random
    cluster_domain: str
    families: Sequence[str]
    patience: float  # seconds that the first list may take before the ladder is climbed down


class KubernetesSource:
    """The Service of a `kubernetes` section."""

    def __init__(
        self,
        spec: KubernetesSpec,
        namespace: str,
        watch: Callable[[], AbstractContextManager[Reflector]],
        surroundings: Surroundings,
    ) -> None:
        self._service = spec.service
        self._namespace = namespace
        self._wanted = spec.port
        self._watch = watch
        self._around = surroundings
        self._read: tuple[int | None, Service | ApiError] | None = None  # the relist count, and what was read then
        self._external: tuple[Address, DnsSource] | None = None
        self._last: Snapshot | None = None

    async def follow(self, publish: Publish) -> None:
        """Publish the endpoints and every change of them, until cancelled."""
        self._last = None
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()
        patience = loop.time() + self._around.patience
        recheck = _RECHECK[0]
        with self._watch() as watch, watch.subscription(self._service, changed.set):
            while True:
                changed.clear()
                snapshot, external = None, None
                if self._service in watch.store.listed:
                    snapshot, external = await self._listed(watch, loop.time())
                elif watch.state in ("backoff", "forbidden") or loop.time() >= patience:
                    snapshot = await self._below(watch)
                if snapshot is not None:
                    self._publish(snapshot, publish)
                good = snapshot is not None and snapshot.endpoints and snapshot.origin == "watch"
                recheck = _RECHECK[0] if good else min(recheck * 2, _RECHECK[1])
                wait = None if good else recheck if snapshot is not None else max(patience - loop.time(), 0.0)
                await self._pause(changed, _RECHECK[1] if external is not None else wait, external, publish)

    async def _pause(
        self, changed: asyncio.Event, seconds: float | None, external: DnsSource | None, publish: Publish
    ) -> None:
        """Wait for a change, or following an external name meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if external is None:
                    await changed.wait()
                else:
                    await external.follow(lambda snapshot: self._publish(snapshot, publish))
                    await changed.wait()

    def _publish(self, snapshot: Snapshot, publish: Publish) -> None:
        if snapshot != self._last:
            self._last = snapshot
            publish(snapshot)

    async def _listed(self, watch: Reflector, now: float) -> tuple[Snapshot | None, DnsSource | None]:
        """From slices that were listed once, however long ago."""
        pieces = watch.store.slices(self._service)
        if not pieces:
            return await self._without_slices()
        port, problem = await self._slice_port(pieces, watch.relists)
        endpoints = () if problem else merge(pieces, port, families=self._around.families)
        if not endpoints and not problem:
            problem = self._why_empty(pieces)
        age = watch.age(now) or 0.0
        stale = watch.state in ("backoff", "forbidden") and age > STALE_AFTER
        if stale:
            problem = problem or watch.problem
        return Snapshot(endpoints=endpoints, origin="stale" if stale else "watch", problem=problem), None

    async def _slice_port(self, pieces: Sequence[Slice], relists: int) -> tuple[int | str | None, str]:
        """The slice port for the Service port wanted, and what keeps it from being known."""
        if isinstance(self._wanted, str) or len(port_names(pieces)) < 2:
            return self._wanted, ""
        try:
            service = await self._read_service(relists)
        except ApiError as error:
            if self._wanted is None:
                return None, f"{self._title} has several ports and {error}; name one of: {_names(pieces)}"
            return self._wanted, ""  # which is right where the slices use the Service's number
        port = service.port(self._wanted)
        if port is not None:
            return port.name, ""
        which = "needs a port, having several" if self._wanted is None else f"has no port {self._wanted}"
        return None, f"{self._title} {which}; ports: {service.describe_ports()}"

    def _why_empty(self, pieces: Sequence[Slice]) -> str:
        if isinstance(self._wanted, str) and self._wanted not in port_names(pieces):
            return f"{self._title} has no port {self._wanted!r}; ports: {_names(pieces)}"
        if any(piece.endpoints for piece in pieces):
            return f"{self._title} has no endpoint of an address family of this pod"
        return f"{self._title} has no endpoints: no pod matches its selector"

    async def _without_slices(self) -> tuple[Snapshot | None, DnsSource | None]:
        """The Service is not there, or has no pods, or stands for a name outside."""
        try:
            service = await self._read_service(None)
        except ApiError as error:
            if error.status == 404:
                return self._missing(f"{self._title} does not exist"), None
            problem = f"{self._title} has no EndpointSlice; whether it exists is unknown: {self._explain(error)}"
            return Snapshot(endpoints=(), origin="watch", problem=problem), None
        if service.external_name is None:
            problem = f"{self._title} has no endpoints: no pod matches its selector"
            return Snapshot(endpoints=(), origin="watch", problem=problem), None
        port = service.port(self._wanted)
        number = port.number if port else self._wanted if isinstance(self._wanted, int) else 80
        return None, self._external_source(service.external_name, number)

    def _external_source(self, name: str, port: int) -> DnsSource:
        """The same source for the same name, since it remembers the last addresses."""
        if self._external is None or self._external[0] != Address(name, port):
            source = DnsSource(name, port, resolver=self._around.resolver, rng=self._around.rng)
            self._external = Address(name, port), source
        return self._external[1]

    async def _below(self, watch: Reflector) -> Snapshot:
        """No list could be made yet: the cluster IP, which kube-proxy balances by connection."""
        problem = watch.problem or f"{self._title}: the API server has not answered yet"
        try:
            service = await self._read_service(None)
        except ApiError as error:
            if error.status == 404:
                return self._missing(f"{self._title} does not exist")
            return await self._by_name(None, problem)
        address = service.cluster_address(self._wanted, self._around.families)
        if address is None:
            return await self._by_name(service, problem)
        return Snapshot(endpoints=(Endpoint(address=address),), origin="cluster_ip", problem=problem)

    async def _by_name(self, service: Service | None, problem: str) -> Snapshot:
        """The cluster's DNS: the cluster IP of a Service, the pods of a headless one, or an external name."""
        name = f"{self._service}.{self._namespace}.svc.{self._around.cluster_domain.strip('.')}"
        port = service.port(self._wanted) if service else None
        number = (port.target or port.number) if port else self._wanted
        if isinstance(number, str):
            return Snapshot(
                endpoints=(), origin="cluster_ip", problem=f"{problem}; port {number!r} is unknown without it"
            )
        try:
            answer = await self._around.resolver.addresses(name + ".")
        except ResolveError as error:
            empty = Snapshot(endpoints=(), origin="cluster_ip", problem=f"{problem}; and {error}")
            return replace(empty, exists=not error.missing)
        endpoints = tuple(Endpoint(address=Address(host, number or 80)) for host in answer.hosts)
        return Snapshot(endpoints=endpoints, origin="cluster_ip", problem=problem)

    def _missing(self, problem: str) -> Snapshot:
        return Snapshot(endpoints=(), origin="watch", problem=problem, exists=False)

    async def _read_service(self, relists: int | None) -> Service:
        """The Service object, read anew after each relist, or always with None; the last known one if that fails.

        Raises ApiError, which is remembered until the next relist too.
        """
        if self._read is not None and self._read[0] == relists is not None:
            known = self._read[1]
            if isinstance(known, ApiError):
                raise known
            return known
        path = f"/api/v1/namespaces/{self._namespace}/services/{self._service}"
        result: Service | ApiError
        try:
            result = parse_service(await (await self._around.client()).get_json(path))
        except ApiError as error:
            before = self._read[1] if self._read is not None and error.status != 404 else error
            result = error if isinstance(before, ApiError) else before
        self._read = relists, result
        if isinstance(result, ApiError):
            raise result
        return result

    def _explain(self, error: ApiError) -> str:
        rule = '{apiGroups: [""], resources: ["services"], verbs: ["get"]}'
        hint = f"; add to a Role in namespace {self._namespace}: {rule}" if error.status == 403 else ""
        return f"{error}{hint}"

    @property
    def _title(self) -> str:
        return f"Service {self._namespace}/{self._service}"


def _names(pieces: Sequence[Slice]) -> str:
    return ", ".join(
        sorted(name or str(port.number) for piece in pieces for port in piece.ports for name in [port.name])
    )
