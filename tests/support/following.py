"""What tests of discovery share: a collector of snapshots, counted metrics, a Discovery with short times."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sidecar.config.model import Cluster, Kubernetes, KubernetesSpec
from sidecar.discovery.collection import Timing
from sidecar.discovery.discovery import Discovery
from sidecar.discovery.source import Snapshot, Source

QUICK = Timing(
    first_connect=0.0, debounce=0.005, inactivity=0.3, initial=0.3, healthy=0.15, backoff=0.02, max_backoff=0.1
)


class CountedMetrics:
    """Counts what discovery reports."""

    def __init__(self) -> None:
        self.relists: Counter[tuple[str, str]] = Counter()
        self.skips: Counter[str] = Counter()

    def relisted(self, namespace: str, reason: str) -> None:
        self.relists[namespace, reason] += 1

    def skipped(self, kind: str) -> None:
        self.skips[kind] += 1


class Collector:
    """Keeps the snapshots that a source publishes and waits for the one wanted."""

    def __init__(self) -> None:
        self.all: list[Snapshot] = []
        self._changed = asyncio.Event()

    def __call__(self, snapshot: Snapshot) -> None:
        self.all.append(snapshot)
        self._changed.set()

    @property
    def last(self) -> Snapshot:
        return self.all[-1]

    @property
    def addresses(self) -> list[str]:
        return sorted(str(endpoint.address) for endpoint in self.all[-1].endpoints) if self.all else []

    async def until(self, condition: Callable[["Collector"], Any], seconds: float = 5.0) -> Snapshot:
        """The first latest snapshot for which the condition holds."""
        async with asyncio.timeout(seconds):
            while not self.all or not condition(self):
                self._changed.clear()
                await self._changed.wait()
        return self.last

    async def has(self, *addresses: str) -> Snapshot:
        """Wait for exactly these addresses."""
        return await self.until(lambda found: found.addresses == sorted(addresses))


@asynccontextmanager
async def following(source: Source) -> AsyncIterator[Collector]:
    """Follow a source beside the block; a failure of it ends the block."""
    collector = Collector()
    async with asyncio.TaskGroup() as tasks:
        follower = tasks.create_task(source.follow(collector))
        yield collector
        follower.cancel()


def discovery_for(kubeconfig: Path | None, metrics: CountedMetrics | None = None, **options: Any) -> Discovery:
    """A Discovery on a kubeconfig, in quick time."""
    settings = options.pop("settings", None) or Kubernetes(kubeconfig=str(kubeconfig) if kubeconfig else None)
    options = {"timing": QUICK, "environ": {}, **options}
    return Discovery(settings, metrics=metrics or CountedMetrics(), rng=random.Random(7), **options)


def service(name: str, port: int | str | None = None, **more: Any) -> Cluster:
    """A cluster on a Service of the namespace `shop`."""
    return Cluster(name=name, kubernetes=KubernetesSpec(service=name, namespace="shop", port=port, **more))
