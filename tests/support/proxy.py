"""A whole proxy in the test's loop, and the law that it leaves nothing behind.

`async with running_proxy(reverse(origin.address)) as proxy:` then `proxy.address`. When the block ends, no lease is
held, no upstream or downstream connection is open, no task is left, and nothing was logged as an error.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sidecar.clusters.cluster import Cluster
from sidecar.config.load import parse
from sidecar.config.model import Config
from sidecar.lifecycle.proxy import Proxy
from sidecar.upstream.budget import Budget
from sidecar.upstream.pool import Pool

WITHIN = 5.0


class _Engine:
    """What parses HTTP downstream in the tests that run; the fixture `each_engine` sets it."""

    name = "aiohttp"


ENGINE = _Engine()
Data = dict[str, Any]


def reverse(
    *endpoints: str, rule: Data | None = None, cluster: Data | None = None, listener: Data | None = None, **top: object
) -> Data:
    """One listener, one rule, one cluster `app` of these endpoints; the sections given are laid over."""
    routes = [{"rules": [{"backendRefs": [{"name": "app"}], **(rule or {})}]}]
    return {
        "listeners": [{"name": "in", "address": "127.0.0.1:0", "routes": routes, **(listener or {})}],
        "clusters": [{"name": "app", "static": {"endpoints": list(endpoints)}, **(cluster or {})}],
        "admin": {"address": None},
        "drain": {"timeout": "2s"},
        **top,
    }


def forward(**listener: object) -> Data:
    """One forward proxy without Kubernetes."""
    spec = {"name": "out", "address": "127.0.0.1:0", "mode": "forward", **listener}
    return {"listeners": [spec], "admin": {"address": None}, "drain": {"timeout": "2s"}}


class Running:
    """The proxy under test with its addresses."""

    def __init__(
        self, proxy: Proxy, addresses: list[str], task: "asyncio.Task[None]", file: Path | None = None
    ) -> None:
        self.proxy = proxy
        self.file = file
        self.addresses = addresses
        self.task = task

    @property
    def address(self) -> str:
        return self.addresses[0]

    @property
    def cluster(self) -> Cluster:
        """The first cluster."""
        return self.proxy.clusters.all()[0]

    def pools(self) -> list[Pool]:
        hosts = [host for cluster in self.proxy.clusters.all() for host in cluster.members.hosts.values()]
        return [host.pool for host in hosts if isinstance(host.pool, Pool)]

    @property
    def idle(self) -> int:
        """Upstream connections that wait."""
        return sum(pool.idle for pool in self.pools())

    @property
    def active(self) -> int:
        """Upstream connections that carry a request."""
        return sum(pool.active for pool in self.pools())

    @property
    def inflight(self) -> int:
        """Leases held."""
        return sum(cluster.inflight for cluster in self.proxy.clusters.all())

    @property
    def failures(self) -> int:
        """What endpoints have been blamed for, all together."""
        return sum(host.failures for cluster in self.proxy.clusters.all() for host in cluster.members.hosts.values())

    async def quiet(self) -> None:
        """Wait until no lease is held and no upstream connection carries a request."""
        await eventually(lambda: not self.inflight and not self.active, "leases or busy connections are left over")

    async def reload(self, data: Data) -> None:
        """Write another configuration to the proxy's file, have it reloaded, and wait until it is in force."""
        assert self.file is not None, "running_proxy was given no folder"
        before = self.proxy.config
        self.file.write_text(json.dumps(_on_engine(data)))
        self.proxy.reload.set()
        await eventually(lambda: self.proxy.config is not before, "the configuration was not reloaded")


async def eventually(condition: Callable[[], object], failure: str, within: float = WITHIN) -> None:
    """Look again and again until it holds, for what nobody announces."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while not condition():
        if loop.time() > deadline:
            raise AssertionError(failure)
        await asyncio.sleep(0.002)


class _Errors(logging.Handler):
    """Keeps what is logged as an error: a proxy under test has no reason to."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        formatter = logging.Formatter("%(name)s: %(message)s")
        self.records.append(formatter.format(record))


def _on_engine(config: Data) -> Data:
    return {**config, "listeners": [{"engine": ENGINE.name, **each} for each in config["listeners"]]}


@asynccontextmanager
async def running_proxy(
    config: Data | Config, environ: Mapping[str, str] | None = None, *, folder: Path | None = None
) -> AsyncIterator[Running]:
    """Run a proxy, wait until it takes requests, and in the end stop it and look for what it left.

    `folder`: the configuration is written there and can be reloaded.
    """
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks()
    if isinstance(config, dict):
        config = _on_engine(config)
    whole = parse(config) if isinstance(config, dict) else config
    file = folder / "sidecar.yaml" if folder is not None else None
    if file is not None:
        file.write_text(json.dumps(config))
    proxy = Proxy(whole, config_path=str(file) if file else None, environ=environ or {})
    ready: asyncio.Future[list[str]] = loop.create_future()
    errors = _Errors()
    logging.getLogger().addHandler(errors)
    task = loop.create_task(proxy.run(ready.set_result), name="proxy")
    try:
        await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        running = Running(proxy, ready.result(), task, file)
        yield running
        await _settled(running)
        budgets = {pool._budget for pool in running.pools()}  # kept: the clusters are forgotten when it stops
        await _stopped(proxy, task)
        await _nothing_left(budgets, before)
    finally:
        logging.getLogger().removeHandler(errors)
        if not task.done():
            await _stopped(proxy, task)
    assert not errors.records, errors.records


async def _settled(running: Running) -> None:
    if not running.task.done():
        await running.quiet()


async def _stopped(proxy: Proxy, task: "asyncio.Task[None]") -> None:
    proxy.stop.set()
    done, _ = await asyncio.wait((task,), timeout=10)
    if not done:
        task.cancel()
        await asyncio.wait((task,), timeout=5)
        raise AssertionError("the proxy did not stop")
    task.result()
    left = "downstream connections are left over"
    await eventually(lambda: not any(listener.connections for listener in proxy.listeners), left)


async def _nothing_left(budgets: set[Budget], before: "set[asyncio.Task[Any]]") -> None:
    await eventually(lambda: not any(budget.open for budget in budgets), "upstream connections are left over")
    await eventually(lambda: not _ours(before), f"tasks are left over: {_ours(before)}")


def _ours(before: "set[asyncio.Task[Any]]") -> "set[asyncio.Task[Any]]":
    """Tasks begun meanwhile by the proxy: the origins' end when their block ends."""
    new = asyncio.all_tasks() - before
    return {task for task in new if task.get_name() not in {"origin", "test"} and task is not asyncio.current_task()}
