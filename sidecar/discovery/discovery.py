"""The door of the room: a source for each cluster, one watch for each namespace, one API client, one DNS resolver.

Owns the tasks and connections behind them and takes them down on exit. Decides who shares a watch, nothing else.
"""

import asyncio
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from sidecar.config.model import Cluster, Kubernetes, KubernetesSpec
from sidecar.discovery.collection import Collection, NamespaceStatus, Timing
from sidecar.discovery.dns import DnsSource
from sidecar.discovery.file import FileSource
from sidecar.discovery.kubeconfig import (
    NOT_FOUND,
    SERVICE_ACCOUNT,
    Kubeconfig,
    check_kubeconfig,
    find_access,
    own_namespace,
)
from sidecar.discovery.kubernetes import KubernetesSource, Surroundings
from sidecar.discovery.kubernetes_client import ApiError, KubernetesClient
from sidecar.discovery.reflector import Reflector
from sidecar.discovery.resolver import Resolver
from sidecar.discovery.slices import FAMILIES
from sidecar.discovery.source import Metrics, Source
from sidecar.discovery.static import StaticSource


class _Lease:
    """A watch, its task, and how many sources use it."""

    def __init__(self, reflector: Reflector, task: asyncio.Task[None]) -> None:
        self.reflector = reflector
        self.task = task
        self.users = 0


class Discovery:
    """Makes sources. Use it as an async context manager; sources are followed within it."""

    def __init__(  # noqa: PLR0913 - one place builds it, by name
        self,
        settings: Kubernetes,
        *,
        metrics: Metrics,
        rng: random.Random,
        families: Sequence[str] = FAMILIES,
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
        environ: Mapping[str, str] | None = None,
        service_account: Path = SERVICE_ACCOUNT,
        timing: Timing | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        """`families`: the address families that the pod can reach, the preferred one first. Raises ConfigError."""
        self._settings = settings
        self._metrics = metrics
        self._rng = rng
        self._trace_configs = trace_configs
        self._environ = os.environ if environ is None else environ
        self._service_account = service_account
        self._timing = timing or Timing()
        self._tasks = asyncio.TaskGroup()
        self._leases: dict[Collection, _Lease] = {}
        self._client: KubernetesClient | None = None
        self._signing_in = asyncio.Lock()
        self._resolver = resolver or Resolver()
        self._namespace = own_namespace(settings, find_access(settings, self._environ, service_account))
        self._surroundings = Surroundings(
            client=self._connect,
            resolver=self._resolver,
            rng=rng,
            cluster_domain=settings.cluster_domain,
            families=families,
            patience=float(settings.first_list_timeout) * 2 / 3,  # so that the ladder is climbed within it
        )

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the watches; a failure of the block comes out as it is, that of a watch as a group."""
        for lease in self._leases.values():
            lease.task.cancel()
        try:
            await self._tasks.__aexit__(None, None, None)
        finally:
            await self._resolver.aclose()
            if self._client is not None:
                await self._client.aclose()

    @property
    def available(self) -> bool:
        """Whether there is any Kubernetes configuration; whether it works shows when it is used."""
        return find_access(self._settings, self._environ, self._service_account) is not None

    def check(self) -> None:
        """Raise ConfigError for a kubeconfig that cannot work, saying what to do; for those who need a cluster."""
        access = find_access(self._settings, self._environ, self._service_account)
        if isinstance(access, Kubeconfig):
            check_kubeconfig(access)

    @property
    def namespace(self) -> str:
        """The sidecar's own namespace."""
        return self._namespace

    def source(self, cluster: Cluster) -> Source:
        """The source of a cluster, which has exactly one section; raises ValueError for an address of no known form."""
        if cluster.static is not None:
            return StaticSource(cluster.static, resolver=self._resolver, rng=self._rng)
        if cluster.file is not None:
            return FileSource(cluster.file, metrics=self._metrics)
        if cluster.dns is not None:
            spec = cluster.dns
            port = None if spec.type == "SRV" else spec.port or (443 if cluster.tls is not None else 80)
            return DnsSource(spec.host, port, resolver=self._resolver, rng=self._rng, nameservers=spec.nameservers)
        if cluster.kubernetes is None:
            raise ValueError(f"cluster {cluster.name!r} has no source of endpoints")
        return self._kubernetes(cluster.kubernetes)

    def status(self) -> list[NamespaceStatus]:
        """How each watch is."""
        now = asyncio.get_running_loop().time()
        return [lease.reflector.status(now) for lease in self._leases.values()]

    def _kubernetes(self, spec: KubernetesSpec) -> KubernetesSource:
        namespace = spec.namespace or self._namespace
        collection = Collection(namespace=namespace, service=spec.service if spec.api == "Endpoints" else None)
        return KubernetesSource(spec, namespace, lambda: self._watch(collection), self._surroundings)

    @contextmanager
    def _watch(self, collection: Collection) -> Iterator[Reflector]:
        """The watch of a collection, shared by all who use it at the same time."""
        lease = self._leases.get(collection)
        if lease is None:
            reflector = Reflector(collection, self._connect, metrics=self._metrics, rng=self._rng, timing=self._timing)
            task = self._tasks.create_task(reflector.run(), name=f"watch {collection.namespace}")
            lease = self._leases[collection] = _Lease(reflector, task)
        lease.users += 1
        try:
            yield lease.reflector
        finally:
            lease.users -= 1
            asyncio.get_running_loop().call_later(self._timing.linger, self._drop, collection)

    def _drop(self, collection: Collection) -> None:
        lease = self._leases.get(collection)
        if lease is not None and not lease.users:
            del self._leases[collection]
            lease.task.cancel()

    async def _connect(self) -> KubernetesClient:
        """The client, made when first needed. Raises ApiError."""
        async with self._signing_in:
            if self._client is None:
                access = find_access(self._settings, self._environ, self._service_account)
                if access is None:
                    raise ApiError(NOT_FOUND)
                self._client = await KubernetesClient.connect(access, self._trace_configs)
            return self._client
