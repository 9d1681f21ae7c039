"""Waiting for the first list, on a real event loop."""

import asyncio
import random

from sidecar.clusters.cluster import Cluster
from sidecar.config import model as config
from tests.support.clusters import Clock, CountingPool, endpoints


def unlisted() -> Cluster:
    return Cluster(config.Cluster(name="shop"), pools=lambda _: CountingPool(), now=Clock(), rng=random.Random(1))


async def test_the_wait_ends_with_the_first_list() -> None:
    of = unlisted()
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(of.wait_ready(30)) for _ in range(3)]
        await asyncio.sleep(0)
        of.update(endpoints(1))
    assert [each.result() for each in waiting] == [True] * 3
    assert await of.wait_ready(0)


async def test_an_empty_list_is_a_list() -> None:
    of = unlisted()
    of.update((), problem="no such Service", exists=False)
    assert of.listed
    assert await of.wait_ready(0)


async def test_the_wait_is_capped() -> None:
    of = unlisted()
    assert not await of.wait_ready(0.001)
    assert not of.listed
