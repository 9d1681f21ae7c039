"""Services as sources: ports, address families, external names, and the ladder when the API server is away."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.config.model import Kubernetes
from sidecar.discovery import kubernetes
from sidecar.discovery.discovery import Discovery
from sidecar.discovery.resolver import Answer, ResolveError, Resolver
from sidecar.model import Address
from tests.support.fake_apiserver import FakeApiServer
from tests.support.following import CountedMetrics, discovery_for, following, service

TWO_PORTS = [{"name": "http", "port": 8080}, {"name": "admin", "port": 9000}]
SERVICE_PORTS = [{"name": "http", "port": 80}, {"name": "admin", "port": 81, "targetPort": 9000}]


class Names(Resolver):
    """A resolver of the test's own names; the rest does not exist."""

    def __init__(self, **known: tuple[str, ...]) -> None:
        super().__init__()
        self.known = known

    async def addresses(self, host: str, nameservers: object = ()) -> Answer:  # noqa: ARG002 - as in the parent
        if host in self.known:
            return Answer(self.known[host], 5.0)
        raise ResolveError(f"{host} does not resolve to A or AAAA: Domain name not found", missing=True)


@pytest.fixture
async def api() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer() as server:
        yield server


@pytest.fixture
async def discovery(api: FakeApiServer, tmp_path: Path) -> AsyncIterator[Discovery]:
    async with discovery_for(api.kubeconfig(tmp_path / "config"), resolver=Names()) as found:
        yield found


@pytest.mark.parametrize(
    ("port", "expected"), [("admin", 9000), (81, 9000), (80, 8080), (None, 8080)], ids=["name", "81", "80", "none"]
)
async def test_a_service_port_is_mapped_to_the_port_of_the_slice(
    api: FakeApiServer, discovery: Discovery, port: int | str | None, expected: int
) -> None:
    api.put_service("shop", "orders", clusterIP="10.96.0.1", ports=SERVICE_PORTS)
    api.put_slice("shop", "orders-a", "orders", [{"addresses": ["10.0.0.1"]}], ports=TWO_PORTS)
    async with following(discovery.source(service("orders", port))) as found:
        await found.has(f"10.0.0.1:{expected}")
        api.put_slice("shop", "orders-a", "orders", [{"addresses": ["10.0.0.2"]}], ports=TWO_PORTS)
        await found.has(f"10.0.0.2:{expected}")
    assert api.kinds().count("get") == (0 if port == "admin" else 1)  # the Service object is read once


@pytest.mark.parametrize("port", [99, "grpc"])
async def test_an_unknown_port_names_those_there_are(api: FakeApiServer, discovery: Discovery, port: int | str) -> None:
    api.put_service("shop", "orders", clusterIP="10.96.0.1", ports=SERVICE_PORTS)
    api.put_slice("shop", "orders-a", "orders", [{"addresses": ["10.0.0.1"]}], ports=TWO_PORTS)
    async with following(discovery.source(service("orders", port))) as found:
        snapshot = await found.until(lambda one: one.last.problem)
        assert snapshot.endpoints == ()
        assert "has no port" in snapshot.problem
        assert "admin" in snapshot.problem
        assert snapshot.exists


async def test_several_ports_without_the_right_to_read_the_service(api: FakeApiServer, discovery: Discovery) -> None:
    api.put_slice("shop", "orders-a", "orders", [{"addresses": ["10.0.0.1"]}], ports=TWO_PORTS)
    api.refuse(403, times=100, kind="get")
    async with following(discovery.source(service("orders", 9000))) as found:
        await found.has("10.0.0.1:9000")  # the number of the slice
        for last in range(2, 5):
            api.put_slice("shop", "orders-a", "orders", [{"addresses": [f"10.0.0.{last}"]}], ports=TWO_PORTS)
            await found.has(f"10.0.0.{last}:9000")
        assert api.kinds().count("get") == 1  # a refusal is remembered until the next relist
    async with following(discovery.source(service("orders"))) as found:
        snapshot = await found.until(lambda one: one.last.problem)
        assert "name one of: admin, http" in snapshot.problem


async def test_a_service_that_does_not_exist_is_known_not_to(api: FakeApiServer, discovery: Discovery) -> None:
    async with following(discovery.source(service("ordres"))) as found:
        snapshot = await found.until(lambda one: one.last.problem)
        assert (snapshot.exists, snapshot.problem) == (False, "Service shop/ordres does not exist")
        api.put_slice("shop", "ordres-a", "ordres", [("10.0.0.1", 80)])
        assert (await found.has("10.0.0.1:80")).exists


async def test_a_service_without_pods_says_so(api: FakeApiServer, discovery: Discovery) -> None:
    api.put_service("shop", "orders", clusterIP="10.96.0.1", ports=SERVICE_PORTS)
    async with following(discovery.source(service("orders"))) as found:
        snapshot = await found.until(lambda one: one.last.problem)
        assert snapshot.exists
        assert "no pod matches its selector" in snapshot.problem
        api.put_slice("shop", "orders-a", "orders", [], ports=[{"port": 8080}])
        api.put_slice("shop", "orders-a", "orders", [("10.0.0.1", 8080)])
        await found.has("10.0.0.1:8080")
        api.put_slice("shop", "orders-a", "orders", [], ports=[{"port": 8080}])
        assert "no pod matches its selector" in (await found.has()).problem


async def test_without_the_right_to_read_services_an_empty_list_is_told_with_the_rule(
    api: FakeApiServer, discovery: Discovery
) -> None:
    api.refuse(403, times=100, kind="get")
    async with following(discovery.source(service("orders"))) as found:
        snapshot = await found.until(lambda one: one.last.problem)
        assert snapshot.exists
        assert 'resources: ["services"], verbs: ["get"]' in snapshot.problem


async def test_only_reachable_address_families_are_used(api: FakeApiServer, tmp_path: Path) -> None:
    api.put_slice("shop", "orders-6", "orders", [("fd00::1", 8080)], family="IPv6")
    async with (
        discovery_for(api.kubeconfig(tmp_path / "c"), families=("IPv4",)) as discovery,
        following(discovery.source(service("orders"))) as found,
    ):
        snapshot = await found.until(lambda one: one.last.problem)
        assert "address family" in snapshot.problem
        api.put_slice("shop", "orders-4", "orders", [("10.0.0.1", 8080)])
        await found.has("10.0.0.1:8080")


async def test_an_external_name_is_followed_in_dns(api: FakeApiServer, tmp_path: Path) -> None:
    api.put_service("shop", "billing", type="ExternalName", externalName="billing.example", ports=[{"port": 8443}])
    names = Names(**{"billing.example": ("192.0.2.1", "192.0.2.2")})
    async with (
        discovery_for(api.kubeconfig(tmp_path / "c"), resolver=names) as discovery,
        following(discovery.source(service("billing"))) as found,
    ):
        snapshot = await found.has("192.0.2.1:8443", "192.0.2.2:8443")
        assert (snapshot.origin, snapshot.exists) == ("dns", True)


async def test_the_endpoints_api_is_a_setting(api: FakeApiServer, discovery: Discovery) -> None:
    def endpoints(*ips: str) -> dict[str, object]:
        subset = {"addresses": [{"ip": ip} for ip in ips], "ports": [{"port": 8080}]}
        return {"metadata": {"name": "orders", "namespace": "shop"}, "subsets": [subset]}

    api.put("endpoints", endpoints("10.0.0.1"))
    async with following(discovery.source(service("orders", api="Endpoints"))) as found:
        await found.has("10.0.0.1:8080")
        api.put("endpoints", endpoints("10.0.0.1", "10.0.0.2"))
        await found.has("10.0.0.1:8080", "10.0.0.2:8080")
    assert api.requests[0].path == "/api/v1/namespaces/shop/endpoints"
    assert api.requests[0].query["fieldSelector"] == "metadata.name=orders"
    assert "labelSelector" not in api.requests[0].query


async def test_the_endpoints_api_names_its_own_rule(api: FakeApiServer, discovery: Discovery) -> None:
    api.refuse(403, times=100)
    async with following(discovery.source(service("orders", api="Endpoints"))) as found:
        snapshot = await found.until(lambda one: one.last.problem)
        assert '{apiGroups: [""], resources: ["endpoints"]' in snapshot.problem


# --- the ladder


async def test_last_endpoints_are_called_stale_after_a_while_and_kept(
    api: FakeApiServer, discovery: Discovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "STALE_AFTER", 0.1)
    api.put_slice("shop", "orders-a", "orders", [("10.0.0.1", 8080)])
    async with following(discovery.source(service("orders"))) as found:
        await found.has("10.0.0.1:8080")
        await api.stop()
        snapshot = await found.until(lambda one: one.last.origin == "stale")
        assert found.addresses == ["10.0.0.1:8080"]
        assert "Connection refused" in snapshot.problem
        await api.start()
        await found.until(lambda one: one.last.origin == "watch" and not one.last.problem)
        assert all(one.endpoints for one in found.all)


@pytest.mark.parametrize("ips", [["10.96.0.1", "fd00::96"], None], ids=["dual", "single"])
async def test_without_a_list_the_cluster_ip_serves(
    api: FakeApiServer, discovery: Discovery, ips: list[str] | None
) -> None:
    api.put_service("shop", "orders", clusterIP="10.96.0.1", clusterIPs=ips, ports=SERVICE_PORTS)
    for kind in ("list", "watchlist", "watch"):
        api.refuse(403, times=100, kind=kind)
    async with following(discovery.source(service("orders", "admin"))) as found:
        snapshot = await found.has("10.96.0.1:81")
        assert snapshot.origin == "cluster_ip"
        assert "endpointslices" in snapshot.problem
        api.put_slice("shop", "orders-a", "orders", [{"addresses": ["10.0.0.1"]}], ports=TWO_PORTS)
        api.forgive()
        assert (await found.has("10.0.0.1:9000")).origin == "watch"


async def test_a_list_that_takes_long_is_not_waited_for(api: FakeApiServer, tmp_path: Path) -> None:
    settings = Kubernetes(
        kubeconfig=str(api.kubeconfig(tmp_path / "c")),
        first_list_timeout=Kubernetes().first_list_timeout.parse("150ms"),
    )
    api.frozen = True
    names = Names(**{"orders.shop.svc.cluster.local.": ("10.96.0.1",)})
    async with (
        discovery_for(None, settings=settings, resolver=names) as discovery,
        following(discovery.source(service("orders", 80))) as found,
    ):
        await api.until(lambda: len(api.requests) >= 2)  # the list, and the Service
        api.frozen = False
        api.put_slice("shop", "orders-a", "orders", [("10.0.0.1", 8080)])
        await found.has("10.0.0.1:8080")


async def test_without_the_api_server_the_clusters_dns_serves(tmp_path: Path) -> None:
    api = FakeApiServer()
    await api.start()
    await api.stop()
    names = Names(**{"orders.shop.svc.cluster.local.": ("10.96.0.1",)})
    async with discovery_for(api.kubeconfig(tmp_path / "c"), resolver=names) as discovery:
        async with following(discovery.source(service("orders", 8080))) as found:
            snapshot = await found.has("10.96.0.1:8080")
            assert snapshot.origin == "cluster_ip"
            assert f"API server {api.url} is unreachable: Connection refused" in snapshot.problem
        async with following(discovery.source(service("orders", "http"))) as found:
            snapshot = await found.until(lambda one: one.last.problem)
            assert "port 'http' is unknown" in snapshot.problem
        async with following(discovery.source(service("nobody"))) as found:
            snapshot = await found.until(lambda one: one.last.problem)
            assert (snapshot.endpoints, snapshot.exists) == ((), False)  # the cluster's DNS would know it
            assert "Connection refused" in snapshot.problem


async def test_a_headless_service_is_found_by_dns_at_its_target_port(api: FakeApiServer, tmp_path: Path) -> None:
    api.put_service("shop", "db", clusterIP="None", ports=[{"port": 80, "targetPort": 5000}])
    for kind in ("list", "watchlist", "watch"):
        api.refuse(403, times=100, kind=kind)
    names = Names(**{"db.shop.svc.cluster.local.": ("10.0.0.7", "10.0.0.8")})
    async with (
        discovery_for(api.kubeconfig(tmp_path / "c"), resolver=names) as discovery,
        following(discovery.source(service("db"))) as found,
    ):
        await found.has("10.0.0.7:5000", "10.0.0.8:5000")


async def test_no_configuration_says_what_to_do() -> None:
    async with discovery_for(None, resolver=Names()) as discovery:
        assert not discovery.available
        assert discovery.namespace == "default"
        async with following(discovery.source(service("orders"))) as found:
            snapshot = await found.until(lambda one: one.last.problem)
            assert "set KUBECONFIG, or run in a cluster" in snapshot.problem
            assert found.addresses == []


async def test_a_forbidden_namespace_that_dns_does_not_know_does_not_exist(
    api: FakeApiServer, discovery: Discovery
) -> None:
    api.refuse(403, times=100)
    async with following(discovery.source(service("example"))) as found:
        assert not (await found.until(lambda one: one.last.problem)).exists


async def test_a_reload_may_follow_a_source_again(api: FakeApiServer, discovery: Discovery) -> None:
    api.put_slice("shop", "orders-a", "orders", [("10.0.0.1", 8080)])
    source = discovery.source(service("orders"))
    for _ in range(2):
        async with following(source) as found:
            assert (await found.has("10.0.0.1:8080")).endpoints[0].address == Address("10.0.0.1", 8080)
    assert discovery.available
    assert discovery.namespace == "shop"


async def test_metrics_are_only_moved_by_what_goes_wrong(api: FakeApiServer, tmp_path: Path) -> None:
    api.put_slice("shop", "orders-a", "orders", [("10.0.0.1", 8080)])
    metrics = CountedMetrics()
    async with (
        discovery_for(api.kubeconfig(tmp_path / "c"), metrics) as discovery,
        following(discovery.source(service("orders"))) as found,
    ):
        await found.has("10.0.0.1:8080")
    assert (metrics.relists, metrics.skips) == ({}, {})
