"""Reload and drain with requests under way, and many requests while endpoints come and go."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.client import ask, client
from tests.support.origin import OK, Origin, OriginConnection, Serve, answers, each_connection
from tests.support.proxy import Data, Running, eventually, reverse, running_proxy

pytestmark = pytest.mark.usefixtures("each_engine")

HOST = b"Host: shop.example\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
FAST_503 = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"


def marked(mark: str) -> Data:
    """A rule whose filters mark request and response."""
    lines = [{"name": "x-config", "value": mark}]
    return {
        "filters": [
            {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": lines}},
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": lines}},
        ]
    }


# --- reload ---------------------------------------------------------------------------------------------------------


async def test_request_sees_one_configuration_from_start_to_end(tmp_path: Path) -> None:
    go = asyncio.Event()
    async with Origin(each_connection(answers((go, OK), OK), answers(OK))) as origin:
        old, new = (reverse(origin.address, rule=marked(mark)) for mark in ("old", "new"))
        async with running_proxy(old, folder=tmp_path) as proxy, client(proxy.address) as one:
            await one.send(GET)
            await eventually(lambda: origin.requests, "the request did not arrive")
            await proxy.reload(new)
            assert (await ask(proxy.address, GET)).values(b"x-config") == [b"new"]
            go.set()
            assert (await one.response()).values(b"x-config") == [b"old"]
            assert (await one.ask(GET)).values(b"x-config") == [b"new"]  # on the connection from before
        seen = [value for request in origin.requests for value in request.values(b"x-config")]
        assert sorted(seen) == [b"new", b"new", b"old"]


async def test_cluster_that_a_reload_removes_serves_the_requests_it_has(tmp_path: Path) -> None:
    go = asyncio.Event()
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
    async with Origin(answers((begun, go, b"world"))) as before, Origin() as after:
        async with running_proxy(reverse(before.address), folder=tmp_path) as proxy, client(proxy.address) as one:
            await one.send(GET)
            await one.until(b"hello")
            await proxy.reload(reverse(after.address))
            assert (await ask(proxy.address, GET)).body == b"ok"
            go.set()
            assert await one.exactly(5) == b"world"
            await asyncio.wait_for(before.connections[0].gone.wait(), 5)  # its pool is closed
            assert (await one.ask(GET)).body == b"ok"
        assert len(after.requests) == 2


async def test_idle_connections_of_a_removed_cluster_are_closed(tmp_path: Path) -> None:
    async with Origin() as before, Origin() as after:
        async with running_proxy(reverse(before.address), folder=tmp_path) as proxy:
            assert (await ask(proxy.address, GET)).body == b"ok"
            await proxy.reload(reverse(after.address))
            await asyncio.wait_for(before.connections[0].gone.wait(), 5)


async def test_reload_under_load_fails_no_request(tmp_path: Path) -> None:
    async with Origin() as one, Origin() as two:
        configs = [reverse(one.address, two.address, rule=marked(str(number))) for number in range(6)]
        async with running_proxy(configs[0], folder=tmp_path) as proxy:
            load = Load(proxy, 4)
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run(600))
                for config in configs[1:]:
                    await load.reached(load.done + 60)
                    await proxy.reload(config)
            assert load.statuses == {200: 600}


# --- drain ----------------------------------------------------------------------------------------------------------


async def test_drain_finishes_requests_tells_clients_to_close_and_closes_idle_connections() -> None:
    go = asyncio.Event()
    async with Origin(answers((go, OK))) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as busy, client(proxy.address) as idle, client(proxy.address) as fresh:
            go.set()
            await idle.ask(GET)
            go.clear()
            await busy.send(GET)
            await eventually(lambda: proxy.inflight == 1, "the request did not arrive")
            proxy.proxy.stop.set()
            assert await idle.ended_whole()
            assert await fresh.ended_whole()
            go.set()
            answer = await busy.response()
            assert (answer.body, answer.values(b"connection")) == (b"ok", [b"close"])
            assert await busy.ended_whole()
            async with asyncio.timeout(1.5):  # idle by now: nothing to wait for
                await asyncio.wait((proxy.task,))
            with pytest.raises(OSError):  # noqa: PT011 - refused, however the system says it
                await ask(proxy.address, GET)


async def test_drain_lets_a_streamed_response_end() -> None:
    go = asyncio.Event()
    begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    async with Origin(answers((begun, go, b"5\r\nworld\r\n0\r\n\r\n"))) as origin:
        async with running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
            await one.send(GET)
            await one.until(b"hello\r\n")
            proxy.proxy.stop.set()
            await eventually(lambda: proxy.proxy.phase == "draining", "it does not drain")
            go.set()
            assert await one.end() == b"5\r\nworld\r\n0\r\n\r\n"


async def test_drain_lets_an_upload_end() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\nhello")
        await origin.connected()
        proxy.proxy.stop.set()
        await eventually(lambda: proxy.proxy.phase == "draining", "it does not drain")
        await one.send(b"world")
        answer = await one.response()
        assert (answer.body, answer.values(b"connection")) == (b"ok", [b"close"])
        assert origin.requests[0].body == b"helloworld"


async def test_drain_cuts_what_does_not_end_in_time() -> None:
    async def silent(connection: OriginConnection) -> None:
        await connection.until_gone()

    config = reverse("", drain={"timeout": "200ms"})
    async with Origin(silent) as origin:
        config["clusters"][0]["static"]["endpoints"] = [origin.address]
        async with running_proxy(config) as proxy, client(proxy.address) as one, client(proxy.address) as upload:
            await one.send(GET)
            await upload.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\nhello")
            await origin.connected(2)
            proxy.proxy.stop.set()
            async with asyncio.timeout(2):
                await asyncio.wait((proxy.task,))
            await one.end()
            await upload.end()


async def test_drain_cuts_tunnels_after_its_timeout() -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    upgrade = b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with Origin(answers(switch)) as origin:
        config = reverse(origin.address, drain={"timeout": "200ms"})
        async with running_proxy(config) as proxy, client(proxy.address) as one:
            await one.send(upgrade)
            await one.head()
            proxy.proxy.stop.set()
            async with asyncio.timeout(2):
                await asyncio.wait((proxy.task,))
            await one.end()


async def test_drain_delay_keeps_serving_with_connection_close() -> None:
    async with Origin() as origin:
        config = reverse(origin.address, drain={"delay": "300ms", "timeout": "1s"})
        async with running_proxy(config) as proxy, client(proxy.address) as kept:
            await kept.ask(GET)
            proxy.proxy.stop.set()
            await eventually(lambda: proxy.proxy.phase == "draining", "it does not drain")
            for answer in (await ask(proxy.address, GET), await kept.ask(GET)):
                assert (answer.status, answer.values(b"connection")) == (200, [b"close"])


async def test_a_pod_that_goes_away_is_still_served_but_its_clients_are_told_to_close() -> None:
    async with Origin() as origin:
        config = reverse(origin.address)
        config["listeners"].append({"name": "out", "address": "127.0.0.1:0", "mode": "forward"})
        async with running_proxy(config) as proxy, client(proxy.address) as kept, client(proxy.addresses[1]) as app:
            await kept.ask(GET)
            proxy.proxy.leave()
            for answer in (await kept.ask(GET), await ask(proxy.address, GET)):
                assert (answer.status, answer.values(b"connection")) == (200, [b"close"])
            assert proxy.proxy.phase == "active"
            to_origin = GET.replace(b"shop.example", origin.address.encode())
            for answer in (await app.ask(to_origin), await app.ask(to_origin)):  # requests of the app go on as before
                assert (answer.status, answer.values(b"connection")) == (200, [])


async def test_idle_proxy_stops_at_once() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.ask(GET)
            proxy.proxy.stop.set()
            async with asyncio.timeout(1):
                await asyncio.wait((proxy.task,))


# --- endpoints come and go ------------------------------------------------------------------------------------------


class Load:
    """Clients with a connection each that ask as fast as they are answered."""

    def __init__(self, proxy: Running, clients: int) -> None:
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []  # seconds
        self.done = 0
        self._proxy = proxy
        self._clients = clients
        self._left = 0
        self._moved = asyncio.Condition()

    async def run(self, requests: int) -> None:
        self._left = requests
        async with asyncio.TaskGroup() as group:
            for _ in range(self._clients):
                group.create_task(self._ask())

    async def reached(self, done: int) -> None:
        async with asyncio.timeout(60), self._moved:
            await self._moved.wait_for(lambda: self.done >= done)

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        async with client(self._proxy.address) as one:
            while self._left:
                self._left -= 1
                begun = loop.time()
                self.statuses[(await one.ask(GET)).status] += 1
                self.latencies.append(loop.time() - begun)
                one.forget()
                async with self._moved:
                    self.done += 1
                    self._moved.notify_all()


@pytest.mark.parametrize("requests", [1000, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_no_request_fails_while_one_endpoint_is_killed_and_one_is_added(requests: int, tmp_path: Path) -> None:
    slices = tmp_path / "endpoints.yaml"
    async with Origin() as one, Origin() as two, Origin() as three, Origin() as four:
        slices.write_text(slice_of(one, two, three))
        config = reverse()
        config["clusters"] = [{"name": "app", "file": {"path": str(slices), "service": "app"}}]
        async with running_proxy(config) as proxy:
            load = Load(proxy, 8)
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run(requests))
                await load.reached(requests // 2)
                await one.stop()
                slices.write_text(slice_of(two, three, four))
            print(f"statuses {dict(load.statuses)}, the new endpoint served {len(four.requests)}")
            assert load.statuses == {200: requests}


@pytest.mark.parametrize("requests", [1000, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_endpoint_that_answers_503_at_once_spoils_at_most_one_request_in_500(requests: int) -> None:
    async with AsyncExitStack() as stack:
        origins = [Origin() for _ in range(9)] + [Origin(answers(FAST_503))]
        addresses = [(await stack.enter_async_context(origin)).address for origin in origins]
        async with running_proxy(reverse(*addresses)) as proxy:
            load = Load(proxy, 8)
            await load.run(requests)
            print(f"statuses {dict(load.statuses)}")
            assert load.statuses[200] + load.statuses[503] == requests
            assert load.statuses[503] <= max(requests // 500, 5)


@pytest.mark.soak
async def test_endpoint_that_is_50_times_slower_does_not_show_in_the_99th_percentile() -> None:
    def slow(seconds: float) -> Serve:
        async def serve(connection: OriginConnection) -> None:
            while await connection.request() is not None:
                await asyncio.sleep(seconds)
                await connection.send(OK)

        return serve

    percentiles = {}
    for policy in ("PEAK_EWMA", "ROUND_ROBIN"):
        async with AsyncExitStack() as stack:
            origins = [Origin(slow(0.004)) for _ in range(9)] + [Origin(slow(0.2))]
            addresses = [(await stack.enter_async_context(origin)).address for origin in origins]
            async with running_proxy(reverse(*addresses, cluster={"lb_policy": policy})) as proxy:
                load = Load(proxy, 8)
                await load.run(4000)
                percentiles[policy] = sorted(load.latencies)[len(load.latencies) * 99 // 100]
    print(f"p99 in seconds, one of ten endpoints at 0.2 s: {percentiles}")
    assert percentiles["PEAK_EWMA"] < 0.1 < percentiles["ROUND_ROBIN"]


def slice_of(*origins: Origin) -> str:
    """EndpointSlice manifests, one for each port."""
    documents = []
    for origin in origins:
        host, _, port = origin.address.rpartition(":")
        documents.append(
            f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: app-{port}, labels: {{kubernetes.io/service-name: app}}}}
addressType: IPv4
ports: [{{name: "", port: {port}, protocol: TCP}}]
endpoints: [{{addresses: ["{host}"], conditions: {{ready: true}}}}]
"""
        )
    return "---".join(documents)
