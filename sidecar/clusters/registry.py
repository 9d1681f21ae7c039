"""All clusters by name, declared and on demand, each with the task that follows its endpoints.

A reload reconciles by name: a cluster whose source or connections are configured as before keeps its endpoints' state.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from sidecar.clusters.cluster import Cluster
from sidecar.config import model as config
from sidecar.model import Endpoint

MAX_ON_DEMAND = 1000  # clusters that requests of a forward proxy have named; the one used longest ago goes first

_log = logging.getLogger("sidecar.clusters")


class SnapshotLike(Protocol):
    """What discovery publishes."""

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All known endpoints."""

    @property
    def origin(self) -> str:
        """Where they come from."""

    @property
    def problem(self) -> str:
        """Why they are empty or not fresh."""

    @property
    def exists(self) -> bool:
        """False: the Service is known not to exist."""


class SourceLike(Protocol):
    """A stream of snapshots."""

    async def follow(self, publish: Callable[[SnapshotLike], None]) -> None:
        """Publish until cancelled."""


@dataclass(slots=True)
class _Entry:
    cluster: Cluster
    task: asyncio.Task[None]


class Clusters:
    """The registry; `tasks` owns the following tasks."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        *,
        make: Callable[[config.Cluster], Cluster],
        source: Callable[[config.Cluster], SourceLike],
    ) -> None:
        self._tasks = tasks
        self._make = make
        self._source = source
        self._declared: dict[str, _Entry] = {}
        self._on_demand: dict[str, _Entry] = {}  # in order of use

    def get(self, name: str) -> Cluster | None:
        """A declared cluster."""
        entry = self._declared.get(name)
        return entry.cluster if entry is not None else None

    def all(self) -> list[Cluster]:
        """Every cluster, declared ones first."""
        return [entry.cluster for entry in (*self._declared.values(), *self._on_demand.values())]

    def reconcile(self, specs: Sequence[config.Cluster]) -> None:
        """Make the declared clusters those of `specs`."""
        wanted = {spec.name: spec for spec in specs}
        for name in self._declared.keys() - wanted.keys():
            self._end(self._declared.pop(name))
        for name, spec in wanted.items():
            entry = self._declared.get(name)
            if entry is None:
                self._declared[name] = self._begin(spec)
            elif _same_endpoints(entry.cluster.spec, spec):
                entry.cluster.reconfigure(spec)
            else:
                self._end(entry)
                self._declared[name] = self._begin(spec)

    def on_demand(self, spec: config.Cluster) -> Cluster:
        """The cluster of this name that requests share; the first one asked for makes it."""
        entry = self._on_demand.pop(spec.name, None)
        if entry is None:
            if len(self._on_demand) >= MAX_ON_DEMAND:
                oldest = next(iter(self._on_demand))
                self._end(self._on_demand.pop(oldest))
            entry = self._begin(spec)
        self._on_demand[spec.name] = entry
        return entry.cluster

    def forget(self, name: str) -> None:
        """End an on-demand cluster that turned out to be nothing."""
        entry = self._on_demand.pop(name, None)
        if entry is not None:
            self._end(entry)

    async def warm(self, within: float) -> list[str]:
        """Wait for the first lists of the declared clusters; returns the names of those still without."""
        clusters = [entry.cluster for entry in self._declared.values()]
        ready = await asyncio.gather(*(cluster.wait_ready(within) for cluster in clusters))
        return [cluster.name for cluster, listed in zip(clusters, ready, strict=True) if not listed]

    def close(self) -> None:
        """Stop following and close all pools."""
        for entry in (*self._declared.values(), *self._on_demand.values()):
            self._end(entry)
        self._declared.clear()
        self._on_demand.clear()

    def _begin(self, spec: config.Cluster) -> _Entry:
        cluster = self._make(spec)
        source = self._source(spec)
        return _Entry(cluster, self._tasks.create_task(_follow(source, cluster), name=f"endpoints of {spec.name}"))

    def _end(self, entry: _Entry) -> None:
        entry.task.cancel()
        entry.cluster.close()


async def _follow(source: SourceLike, cluster: Cluster) -> None:
    said = ""

    def publish(snapshot: SnapshotLike) -> None:
        nonlocal said
        cluster.update(snapshot.endpoints, origin=snapshot.origin, problem=snapshot.problem, exists=snapshot.exists)
        if snapshot.problem and snapshot.problem != said and snapshot.exists:
            _log.warning("cluster %s: %s", cluster.name, snapshot.problem)
        said = snapshot.problem

    await source.follow(publish)


def _same_endpoints(old: config.Cluster, new: config.Cluster) -> bool:
    """Whether only what `Cluster.reconfigure` takes in has changed."""
    return _fixed(old) == _fixed(new)


def _fixed(spec: config.Cluster) -> Iterable[object]:
    return (
        msgspec.structs.replace(
            spec,
            lb_policy="PEAK_EWMA",
            hash_policy=None,
            outlier_detection=config.OutlierDetection(),
            slow_start_window=config.Duration(0),
        ),
    )
