"""The discovery room alone against a real API server, where its state can be looked at."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from sidecar.config.model import Cluster, Kubernetes, KubernetesSpec
from sidecar.discovery.discovery import Discovery
from sidecar.discovery.source import Snapshot
from tests.support.control_plane import PORT, SLICES, ApiError, endpoint_slice
from tests.support.netns import ADDRESS
from tests.support.team import Team

DEADLINE = 40.0  # seconds; the longest pause of the backoff, and a little


class Counts:
    """The counters of discovery."""

    def __init__(self) -> None:
        self.relists: Counter[str] = Counter()

    def relisted(self, namespace: str, reason: str) -> None:
        self.relists[f"{namespace[:4]} {reason}"] += 1

    def skipped(self, kind: str) -> None:
        raise AssertionError(f"a {kind} of the API server was skipped")


class Followed:
    """The newest snapshot of one Service."""

    def __init__(self, discovery: Discovery, counts: Counts) -> None:
        self.discovery = discovery
        self.counts = counts
        self.snapshot: Snapshot | None = None
        self._changed = asyncio.Condition()
        self._loop = asyncio.get_running_loop()

    async def follow(self, tasks: asyncio.TaskGroup, cluster: Cluster) -> None:
        await self.discovery.source(cluster).follow(lambda snapshot: self._publish(tasks, snapshot))

    def _publish(self, tasks: asyncio.TaskGroup, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        tasks.create_task(self._tell())

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Callable[[Snapshot], bool]) -> Snapshot:
        """Wait for a snapshot that meets the condition."""
        async with asyncio.timeout(DEADLINE), self._changed:
            await self._changed.wait_for(lambda: self.snapshot is not None and condition(self.snapshot))
        assert self.snapshot is not None
        return self.snapshot

    async def until_ports(self, *ports: int) -> Snapshot:
        """Wait until these are the endpoints' ports."""
        return await self.until(lambda found: sorted(end.address.port for end in found.endpoints) == sorted(ports))


@asynccontextmanager
async def followed(team: Team, service: str = "orders", api: str = "EndpointSlices") -> AsyncIterator[Followed]:
    environ = {"KUBERNETES_SERVICE_HOST": ADDRESS, "KUBERNETES_SERVICE_PORT": str(PORT)}
    counts = Counts()
    cluster = Cluster(name=service, kubernetes=KubernetesSpec(service=service, api=api))
    discovery = Discovery(
        Kubernetes(), metrics=counts, rng=random.Random(1), environ=environ, service_account=team.account.folder
    )
    async with discovery, asyncio.TaskGroup() as tasks:
        one = Followed(discovery, counts)
        task = tasks.create_task(one.follow(tasks, cluster))
        yield one
        task.cancel()


async def put(team: Team, *ports: int) -> None:
    """One slice a port: a slice has its ports for all its endpoints."""
    for number, port in enumerate(ports):
        manifest = endpoint_slice("orders", [ADDRESS], port, name=f"orders-{number}")
        await asyncio.to_thread(team.put_slice, manifest)


async def test_slices_of_the_server_are_followed_with_none_skipped(team: Team) -> None:
    team.install()
    team.create_service("orders")
    await put(team, 8001)
    async with followed(team) as orders:
        assert (await orders.until_ports(8001)).origin == "watch"
        await put(team, 8001, 8002)
        await orders.until_ports(8001, 8002)
        await asyncio.to_thread(team.plane.call, "DELETE", f"{SLICES.format(team.name)}/orders-0")
        await orders.until_ports(8002)
    assert orders.counts.relists == {}


async def test_a_version_that_is_gone_from_etcd_and_cache_is_listed_anew(team: Team) -> None:
    plane = team.plane
    team.install()
    team.create_service("orders")
    await put(team, 8001)
    async with followed(team) as orders:
        await orders.until_ports(8001)
        # The server forgets what was before: its cache begins at a later version, and etcd has dropped the history.
        await asyncio.to_thread(plane.create_service_account, team.name, "later")
        await asyncio.to_thread(plane.kill_api)
        await asyncio.to_thread(plane.compact)
        await asyncio.to_thread(plane.start_api)
        await put(team, 8002)
        await orders.until_ports(8002)
    assert orders.counts.relists == {"team expired": 1}


async def test_a_server_that_is_away_leaves_the_last_endpoints_and_is_found_again(team: Team) -> None:
    team.install()
    team.create_service("orders")
    await put(team, 8001)
    async with followed(team) as orders:
        await orders.until_ports(8001)
        await asyncio.to_thread(team.plane.kill_api)
        (status,) = orders.discovery.status()
        assert status.state in ("watching", "backoff")
        await asyncio.to_thread(team.plane.start_api)
        assert orders.snapshot is not None
        assert [end.address.port for end in orders.snapshot.endpoints] == [8001]
        await put(team, 8002)
        await orders.until_ports(8002)


async def test_the_endpoints_api_is_followed_where_the_setting_says_so(team: Team) -> None:
    team.install("--set", "rbac.endpoints=true")
    team.create_service("orders")
    subsets = [{"addresses": [{"ip": ADDRESS}], "ports": [{"port": 8001}]}]
    path = f"/api/v1/namespaces/{team.name}/endpoints"
    await asyncio.to_thread(team.plane.call, "POST", path, {"metadata": {"name": "orders"}, "subsets": subsets})
    async with followed(team, api="Endpoints") as orders:
        await orders.until_ports(8001)
        subsets[0]["ports"] = [{"port": 8002}]
        await asyncio.to_thread(team.plane.call, "PATCH", f"{path}/orders", {"subsets": subsets})
        await orders.until_ports(8002)


async def test_without_the_right_to_the_endpoints_api_the_missing_rule_is_named(team: Team) -> None:
    team.install()
    team.create_service("orders")
    async with followed(team, api="Endpoints") as orders:
        found = await orders.until(lambda snapshot: "forbidden" in snapshot.problem)
        assert '{apiGroups: [""], resources: ["endpoints"], verbs: ["get", "list", "watch"]}' in found.problem


async def test_a_service_that_is_not_there_is_said_not_to_exist(team: Team) -> None:
    team.install()
    async with followed(team, service="nobody") as nobody:
        found = await nobody.until(lambda snapshot: not snapshot.exists)
        assert found.problem == f"Service {team.name}/nobody does not exist"


async def test_a_token_that_ended_is_replaced_by_the_one_in_the_file(team: Team) -> None:
    team.install()
    team.create_service("orders")
    old = team.plane.token(team.name, "default", bound_to="old-pod")
    team.account.rotate(old)
    await put(team, 8001)
    async with followed(team) as orders:
        await orders.until_ports(8001)
        team.account.rotate(await asyncio.to_thread(team.plane.token, team.name, "default"))
        await asyncio.to_thread(team.plane.call, "DELETE", f"/api/v1/namespaces/{team.name}/secrets/old-pod")
        await asyncio.to_thread(team.plane.restart_api)
        with pytest.raises(ApiError, match="Unauthorized"):
            await asyncio.to_thread(team.plane.call, "GET", SLICES.format(team.name), token=old)
        await put(team, 8002)
        await orders.until_ports(8002)
