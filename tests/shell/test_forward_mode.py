"""`mode: forward`: the Host names the Service or the host to go to."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.client import client as connect
from tests.support.fake_apiserver import FakeApiServer
from tests.support.origin import Origin, answers
from tests.support.proxy import Data, Running, eventually, forward, running_proxy

pytestmark = pytest.mark.usefixtures("each_engine")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def api() -> AsyncIterator[FakeApiServer]:
    """An API server that knows the Service `orders` in `shop`."""
    async with FakeApiServer() as server:
        yield server


def in_cluster(api: FakeApiServer, folder: Path, **kubernetes: object) -> Data:
    """A forward proxy whose own namespace is `shop`."""
    settings = {"kubeconfig": str(api.kubeconfig(folder / "kubeconfig")), "first_list_timeout": "2s", **kubernetes}
    return {**forward(), "kubernetes": settings}


def publish(api: FakeApiServer, origin: Origin, service: str = "orders") -> None:
    host, port = origin.address.rsplit(":", 1)
    api.put_service("shop", service, ports=[{"name": "http", "port": 80, "targetPort": int(port)}])
    ports = [{"name": "http", "port": int(port), "protocol": "TCP"}]
    api.put_slice("shop", f"{service}-1", service, [(host, int(port))], ports=ports)


async def get(proxy: Running, host: str) -> tuple[int, bytes]:
    async with connect(proxy.address) as client:
        answer = await client.ask(b"GET /x HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
        return answer.status, answer.body


@pytest.mark.parametrize(
    "host",
    [
        "orders",
        "orders:80",
        "orders:http",
        "orders.shop",
        "orders.shop.svc",
        "orders.shop.svc.cluster.local",
        "ORDERS.Shop.svc.cluster.local.:80",
    ],
)
async def test_every_form_of_a_services_name_is_discovered_on_demand(
    host: str, api: FakeApiServer, tmp_path: Path
) -> None:
    async with Origin(answers(OK)) as origin:
        publish(api, origin)
        async with running_proxy(in_cluster(api, tmp_path)) as proxy:
            assert await get(proxy, host) == (200, b"ok")
        assert origin.requests[0].values(b"Host") == [host.encode()]


async def test_absolute_form_names_the_service_and_arrives_as_origin_form(api: FakeApiServer, tmp_path: Path) -> None:
    async with Origin(answers(OK)) as origin:
        publish(api, origin)
        async with running_proxy(in_cluster(api, tmp_path)) as proxy, connect(proxy.address) as client:
            answer = await client.ask(b"GET http://orders.shop/a%2Fb?x=1 HTTP/1.1\r\nHost: other\r\n\r\n")
            assert answer.status == 200
        assert origin.requests[0].line == b"GET /a%2Fb?x=1 HTTP/1.1"
        assert origin.requests[0].values(b"Host") == [b"orders.shop"]


async def test_a_changed_slice_is_used_by_the_next_request(api: FakeApiServer, tmp_path: Path) -> None:
    async with Origin(answers(OK)) as first, Origin(answers(OK)) as second:
        publish(api, first)
        async with running_proxy(in_cluster(api, tmp_path)) as proxy:
            assert (await get(proxy, "orders"))[0] == 200
            publish(api, second)
            address = second.address
            await eventually(
                lambda: [str(host) for host in proxy.cluster.members.hosts] == [address], "the slice did not arrive"
            )
            assert (await get(proxy, "orders"))[0] == 200
        assert len(first.requests) == len(second.requests) == 1


async def test_a_service_that_does_not_exist_is_named_in_the_answer(api: FakeApiServer, tmp_path: Path) -> None:
    async with running_proxy(in_cluster(api, tmp_path)) as proxy:
        status, body = await get(proxy, "nothing.shop.svc")
        assert status == 503
        assert b"nothing" in body


async def test_a_name_that_is_no_service_goes_to_dns_and_keeps_no_watch(api: FakeApiServer, tmp_path: Path) -> None:
    async with running_proxy(in_cluster(api, tmp_path)) as proxy:
        status, _ = await get(proxy, "stranger.invalid")
        assert status in {502, 503}
        names = [cluster.name for cluster in proxy.proxy.clusters.all()]
        assert names == ["stranger.invalid:80"]
        asked = len(api.requests)
        await get(proxy, "stranger.invalid")
        assert len(api.requests) == asked


async def test_addresses_and_localhost_are_reached_without_kubernetes() -> None:
    async with Origin(answers(OK)) as origin, running_proxy(forward()) as proxy:
        port = origin.address.rsplit(":", 1)[1]
        assert await get(proxy, origin.address) == (200, b"ok")
        assert await get(proxy, f"localhost:{port}") == (200, b"ok")


@pytest.mark.parametrize("host", ["127.0.0.1:0", "127.0.0.1:99999", "::1", "[::1"])
async def test_an_authority_that_names_nothing_is_refused(host: str) -> None:
    async with running_proxy(forward()) as proxy:
        assert (await get(proxy, host))[0] == 400


async def test_connect_to_a_service_opens_a_tunnel_to_one_of_its_pods(api: FakeApiServer, tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(5))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    api.put_service("shop", "db", ports=[{"name": "tcp", "port": 5432, "targetPort": port}])
    api.set_endpoints("shop", "db", [("127.0.0.1", port)])
    async with server, running_proxy(in_cluster(api, tmp_path)) as proxy, connect(proxy.address) as client:
        await client.send(b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\nhello")
        assert (await client.head()).startswith(b"HTTP/1.1 200 ")
        assert await client.end() == b"hello"


async def test_routes_of_a_forward_listener_come_before_discovery(api: FakeApiServer, tmp_path: Path) -> None:
    async with Origin(answers(OK)) as origin, Origin(answers(OK)) as fixed:
        publish(api, origin)
        data = in_cluster(api, tmp_path)
        data["listeners"][0]["routes"] = [
            {"hostnames": ["fixed.example"], "rules": [{"backendRefs": [{"name": "app"}]}]}
        ]
        data["clusters"] = [{"name": "app", "static": {"endpoints": [fixed.address]}}]
        async with running_proxy(data) as proxy:
            assert (await get(proxy, "fixed.example"))[0] == 200
            assert (await get(proxy, "orders"))[0] == 200
        assert len(fixed.requests) == len(origin.requests) == 1


async def test_a_backend_ref_with_a_port_is_a_service_and_an_unknown_one_is_500(
    api: FakeApiServer, tmp_path: Path
) -> None:
    async with Origin(answers(OK)) as origin:
        publish(api, origin)
        data = in_cluster(api, tmp_path)
        data["listeners"][0] = {
            "name": "in",
            "address": "127.0.0.1:0",
            "routes": [
                {"hostnames": ["good"], "rules": [{"backendRefs": [{"name": "orders", "port": 80}]}]},
                {"hostnames": ["bad"], "rules": [{"backendRefs": [{"name": "nothing", "port": 80}]}]},
            ],
        }
        async with running_proxy(data) as proxy:
            assert (await get(proxy, "good"))[0] == 200
            status, body = await get(proxy, "bad")
            assert status == 500
            assert b"nothing" in body
