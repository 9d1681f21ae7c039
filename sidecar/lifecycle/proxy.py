"""Warm up, serve, drain, stop: the whole program, in order.

Owns every task (one TaskGroup) and every socket. A reload builds the handlers anew and swaps one reference; listeners
and clusters that are configured as before are left alone.
"""

import asyncio
import contextlib
import gc
import logging
import random
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from sidecar import __version__
from sidecar.admin.server import AdminServer
from sidecar.admin.view import Phase
from sidecar.clusters.cluster import Cluster
from sidecar.clusters.registry import Clusters
from sidecar.config import model as config
from sidecar.config import watch
from sidecar.discovery.discovery import Discovery
from sidecar.errors import ConfigError
from sidecar.filters import Keeper
from sidecar.forwarding.attempt import Attempts
from sidecar.forwarding.engine import Forwarder
from sidecar.forwarding.headers import HeaderRules
from sidecar.forwarding.on_demand import OnDemand
from sidecar.lifecycle.assemble import Assembled, Assembler
from sidecar.lifecycle.pools import pool_factory
from sidecar.lifecycle.view import View, gauges
from sidecar.listener.listener import Listener
from sidecar.model import Handler
from sidecar.telemetry.propagation import TRACE_FIELDS
from sidecar.telemetry.telemetry import Telemetry, build

_LAG_INTERVAL = 1.0  # seconds between two looks at the loop's lag

_log = logging.getLogger("sidecar.lifecycle")


class Proxy:
    """One running sidecar."""

    def __init__(self, whole: config.Config, *, config_path: str | None, environ: Mapping[str, str]) -> None:
        self.config = whole
        self.phase: Phase = "warming"
        self.stop = asyncio.Event()
        self.reload = asyncio.Event()
        self.current: dict[str, Assembled] = {}
        self.listeners: list[Listener] = []
        self.clusters: Clusters
        self.keeper: Keeper
        self.telemetry: Telemetry = build(environ, access_log=whole.access_log, version=__version__)
        self._config_path = config_path
        self._environ = environ
        self._rng = random.Random()  # noqa: S311 - balancing and jitter, not secrets

    async def run(self, ready: Callable[[list[str]], None]) -> None:
        """Until `stop` is set and all is drained; `ready` is told the addresses once they take requests."""
        discovery = Discovery(
            self.config.kubernetes,
            environ=self._environ,
            metrics=self.telemetry.metrics,
            rng=self._rng,
            trace_configs=self.telemetry.control_trace_configs() if self.config.kubernetes.trace_calls else (),
        )
        if any(spec.kubernetes is not None for spec in self.config.clusters):
            discovery.check()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self.telemetry.aclose)
            await stack.enter_async_context(discovery)
            async with asyncio.TaskGroup() as tasks:
                assembler = self._compose(tasks, discovery)
                keepers = [
                    tasks.create_task(self.telemetry.run(), name="spans"),
                    tasks.create_task(self._watch_lag(), name="loop lag"),
                ]
                if self._config_path is not None:
                    follow = watch.follow(
                        self._config_path,
                        self.config,
                        partial(self._apply, assembler),
                        refused=partial(self.telemetry.metrics.reloaded, ok=False),
                        reload_now=self.reload,
                        environ=self._environ,
                    )
                    keepers.append(tasks.create_task(follow, name="configuration"))
                try:
                    await self._live(ready)
                finally:
                    self.phase = "stopped"
                    await assembler.keeper.aclose()
                    self.clusters.close()
                    for task in (*keepers, *assembler.mirrored):
                        task.cancel()

    def _compose(self, tasks: asyncio.TaskGroup, discovery: Discovery) -> Assembler:
        """Build the rooms from the upstream's side to the downstream's."""
        self.clusters = Clusters(tasks, make=self._cluster, source=discovery.source)
        on_demand = OnDemand(
            self.clusters,
            namespace=lambda: discovery.namespace,
            available=lambda: discovery.available,
            settings=self.config.kubernetes,
            now=asyncio.get_running_loop().time,
        )
        self.keeper = Keeper(tasks)
        attempts = Attempts(HeaderRules(TRACE_FIELDS), self.telemetry.metrics, self._rng)
        assembler = Assembler(
            self.clusters,
            on_demand,
            Forwarder(attempts),
            tasks,
            self.config.kubernetes.first_list_timeout,
            self.telemetry.metrics.filtered,
            self.keeper,
            str(Path(self._config_path).parent) if self._config_path else ".",
        )
        self.current = assembler.assemble(self.config)
        assembler.keeper.sweep()
        self.clusters.reconcile(self.config.clusters)
        self.telemetry.metrics.gauges(lambda: self._gauges(discovery))
        for spec in self.config.listeners:
            self.listeners.append(Listener(spec, partial(self._handler, spec.name), self.telemetry, self._rng))
        return assembler

    async def _live(self, ready: Callable[[list[str]], None]) -> None:
        async with AdminServer(View(self), self.config.admin), contextlib.AsyncExitStack() as open_listeners:
            for name in await self.clusters.warm(self.config.warm_timeout):
                _log.warning(
                    "cluster %s: no list of endpoints within %s; starting without", name, self.config.warm_timeout
                )
            for listener in self.listeners:
                await open_listeners.enter_async_context(listener)
            gc.collect()
            gc.freeze()  # what lives for ever is not looked at again
            self.phase = "active"
            ready([listener.bound for listener in self.listeners])
            await self.stop.wait()
            self.phase = "draining"
            for listener in self.listeners:
                listener.begin_drain()
            await self._sleep(self.config.drain.delay)
            async with asyncio.TaskGroup() as draining:
                for listener in self.listeners:
                    draining.create_task(listener.drain(self.config.drain.timeout), name=f"drain {listener.bound}")

    def leave(self) -> None:
        """The pod is going away: inbound clients are told to go elsewhere with each answer, everything is served."""
        for listener in self.listeners:
            if self.current[listener.name].spec.mode == "reverse":
                listener.begin_drain()

    def _cluster(self, spec: config.Cluster) -> Cluster:
        return Cluster(
            spec,
            pools=pool_factory(spec),
            now=asyncio.get_running_loop().time,
            rng=self._rng,
            zone=self._environ.get("POD_ZONE") or None,
            node=self._environ.get("NODE_NAME") or None,
        )

    def _handler(self, name: str) -> Handler:
        return self.current[name].handler

    def _apply(self, assembler: Assembler, new: config.Config) -> None:
        """Take a new configuration whole, or raise ConfigError and change nothing."""
        _same_sockets(self.config, new)
        for at, spec in enumerate(new.clusters):
            pool_factory(spec, f"$.clusters[{at}]")
        current = assembler.assemble(new)
        self.clusters.reconcile(new.clusters)
        self.config, self.current = new, current
        assembler.keeper.sweep()
        for listener in self.listeners:
            listener.reconfigure(current[listener.name].spec)
        self.telemetry.metrics.reloaded(ok=True)
        _log.warning("configuration reloaded: %d listeners, %d clusters", len(new.listeners), len(new.clusters))

    def _gauges(self, discovery: Discovery) -> Iterable[tuple[str, str, dict[str, str], float]]:
        for name, text, labels, value in gauges(self.clusters.all()):
            yield name, text, dict(labels), value
        for status in discovery.status():
            where = {"namespace": status.namespace}
            if status.age is not None:
                yield "sidecar_discovery_age_seconds", "Since the last word of the API server", where, status.age
        for listener in self.listeners:
            where = {"listener": listener.name}
            yield "sidecar_downstream_connections", "Downstream connections", where, listener.connections

    async def _watch_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(_LAG_INTERVAL)
            self.telemetry.metrics.loop_lag(loop.time() - before - _LAG_INTERVAL)

    async def _sleep(self, seconds: float) -> None:
        if seconds:
            await asyncio.sleep(seconds)


def announce(addresses: list[str]) -> None:
    """The one line that says the proxy takes requests."""
    print(f"ready: listening on {', '.join(addresses)}", file=sys.stderr, flush=True)  # noqa: T201 - the contract


def _same_sockets(old: config.Config, new: config.Config) -> None:
    """Listeners are never rebuilt by a reload."""
    before = [(spec.name, spec.address, spec.mode, spec.engine) for spec in old.listeners]
    after = [(spec.name, spec.address, spec.mode, spec.engine) for spec in new.listeners]
    if before != after:
        raise ConfigError("$.listeners", "names, addresses, modes and engines change with a restart only")
    if old.admin != new.admin:
        raise ConfigError("$.admin", "changes with a restart only")
    if old.access_log != new.access_log:
        raise ConfigError("$.access_log", "changes with a restart only")
    if old.kubernetes != new.kubernetes:
        raise ConfigError("$.kubernetes", "changes with a restart only")
