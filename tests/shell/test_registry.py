"""The registry of clusters: what a reload keeps, replaces and ends."""

import asyncio
import random
from collections.abc import Callable

import pytest

from sidecar.clusters import registry
from sidecar.clusters.cluster import Cluster
from sidecar.clusters.registry import Clusters
from sidecar.config import model as config
from sidecar.discovery.source import Publish, Snapshot
from sidecar.model import Address, Endpoint
from tests.support.clusters import CountingPool


class Endless:
    """A source that publishes one endpoint and stays."""

    def __init__(self, spec: config.Cluster, ended: list[str]) -> None:
        self.spec = spec
        self.ended = ended

    async def follow(self, publish: Publish) -> None:
        publish(
            Snapshot(endpoints=(Endpoint(address=Address("192.0.2.1", 80)),), origin="static", problem="for people")
        )
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append(self.spec.name)


def spec(name: str, *, address: str = "192.0.2.1:80", **fields: object) -> config.Cluster:
    return config.Cluster(name=name, static=config.StaticSpec(endpoints=(address,)), **fields)  # type: ignore[arg-type]  # by keyword


def make(one: config.Cluster) -> Cluster:
    now = asyncio.get_running_loop().time
    return Cluster(one, pools=lambda _: CountingPool(), now=now, rng=random.Random(1))


async def within(check: Callable[[Clusters, list[str]], object]) -> None:
    ended: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        clusters = Clusters(tasks, make=make, source=lambda one: Endless(one, ended))
        result = check(clusters, ended)
        if asyncio.iscoroutine(result):
            await result
        clusters.close()


async def test_a_reload_keeps_the_state_of_what_did_not_change_and_ends_what_is_gone() -> None:
    async def check(clusters: Clusters, ended: list[str]) -> None:
        clusters.reconcile([spec("a"), spec("b"), spec("c")])
        assert await clusters.warm(1) == []
        before = {name: clusters.get(name) for name in "abc"}
        changed = spec("b", lb_policy="RANDOM")
        clusters.reconcile([spec("a"), changed, spec("c", address="192.0.2.9:80")])
        await asyncio.sleep(0)
        assert clusters.get("a") is before["a"]
        assert clusters.get("b") is before["b"]
        assert clusters.get("b").spec is changed  # type: ignore[union-attr]  # it is there
        assert clusters.get("c") is not before["c"]
        clusters.reconcile([spec("a")])
        await asyncio.sleep(0)
        assert sorted(ended) == ["b", "c", "c"]
        assert clusters.get("b") is None

    await within(check)


async def test_clusters_on_demand_are_shared_bounded_and_end_with_the_longest_unused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "MAX_ON_DEMAND", 2)

    async def check(clusters: Clusters, ended: list[str]) -> None:
        first = clusters.on_demand(spec("x"))
        clusters.on_demand(spec("y"))
        await first.wait_ready(1)
        assert clusters.on_demand(spec("x")) is first
        clusters.on_demand(spec("z"))
        await asyncio.sleep(0)
        assert ended in (["y"], [])  # it may not have begun to follow
        assert [cluster.name for cluster in clusters.all()] == ["x", "z"]
        clusters.forget("x")
        clusters.forget("nothing")
        assert [cluster.name for cluster in clusters.all()] == ["z"]

    await within(check)


async def test_a_cluster_whose_list_does_not_come_is_named() -> None:
    class Silent:
        async def follow(self, _publish: Publish) -> None:
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        clusters = Clusters(tasks, make=make, source=lambda _: Silent())
        clusters.reconcile([spec("late")])
        assert await clusters.warm(0.01) == ["late"]
        clusters.close()
