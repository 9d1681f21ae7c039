"""The reflector against an API server that misbehaves in every way that is known of API servers."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from sidecar import __version__
from sidecar.discovery.collection import Timing
from sidecar.discovery.discovery import Discovery
from tests.support.fake_apiserver import FakeApiServer
from tests.support.following import QUICK, CountedMetrics, discovery_for, following, service


@pytest.fixture
async def api() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer() as server:
        server.put_slice("shop", "orders-a", "orders", [("10.0.0.1", 8080)])
        yield server


@pytest.fixture
def metrics() -> CountedMetrics:
    return CountedMetrics()


@pytest.fixture
async def discovery(api: FakeApiServer, tmp_path: Path, metrics: CountedMetrics) -> AsyncIterator[Discovery]:
    async with discovery_for(api.kubeconfig(tmp_path / "config"), metrics) as found:
        yield found


def state(discovery: Discovery) -> str:
    (status,) = discovery.status()
    return status.state


async def test_a_streaming_list_is_the_first_choice_and_goes_on_as_a_watch(
    api: FakeApiServer, discovery: Discovery, metrics: CountedMetrics
) -> None:
    async with following(discovery.source(service("orders"))) as found:
        await found.has("10.0.0.1:8080")
        api.put_slice("shop", "orders-b", "orders", [("10.0.0.2", 8080, True)])
        await found.has("10.0.0.1:8080", "10.0.0.2:8080")
        api.put_slice("shop", "orders-a", "orders", [("10.0.0.3", 8080)])
        await found.has("10.0.0.2:8080", "10.0.0.3:8080")
        api.delete("endpointslices", "shop", "orders-b")
        await found.has("10.0.0.3:8080")
        assert {snapshot.origin for snapshot in found.all} == {"watch"}
        (status,) = discovery.status()
        assert (status.namespace, status.state, status.relists, status.problem) == ("shop", "watching", 0, "")
        assert status.age is not None
    assert api.kinds() == ["watchlist"]
    assert not metrics.relists


async def test_requests_are_kind_to_the_server(api: FakeApiServer, discovery: Discovery) -> None:
    async with following(discovery.source(service("orders"))) as found:
        await found.has("10.0.0.1:8080")
    (seen,) = api.requests
    assert seen.query["labelSelector"] == "kubernetes.io/service-name in (orders)"
    assert seen.query["allowWatchBookmarks"] == "true"
    assert seen.query["resourceVersionMatch"] == "NotOlderThan"
    assert 300 <= int(seen.query["timeoutSeconds"]) <= 600
    assert seen.headers["Accept-Encoding"] == "identity"
    assert seen.headers["User-Agent"] == f"sidecar/{__version__}"


async def test_an_older_server_is_listed_from_its_cache_and_watched(api: FakeApiServer, discovery: Discovery) -> None:
    api.watch_list = False
    async with following(discovery.source(service("orders"))) as found:
        await found.has("10.0.0.1:8080")
        await api.until(lambda: api.watches == 1)
        api.put_slice("shop", "orders-b", "orders", [("10.0.0.2", 8080)])
        await found.has("10.0.0.1:8080", "10.0.0.2:8080")
    assert api.kinds() == ["watchlist", "list", "watch"]
    assert api.requests[1].query["resourceVersion"] == "0"
    assert api.requests[2].query["resourceVersion"] == "11"


async def test_a_server_that_does_not_know_streaming_lists_is_listed(api: FakeApiServer, discovery: Discovery) -> None:
    async def plain_watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(json.dumps({"type": "ADDED", "object": {"metadata": {"name": "x"}}}).encode() + b"\n")
        await asyncio.Event().wait()
        return response

    api.fail(plain_watch)
    async with following(discovery.source(service("orders"))) as found:
        await found.has("10.0.0.1:8080")
    assert api.kinds()[:2] == ["watchlist", "list"]


async def test_a_watch_that_ends_in_time_is_resumed_at_once_at_the_last_version(
    api: FakeApiServer, discovery: Discovery, metrics: CountedMetrics
) -> None:
    async with following(discovery.source(service("orders"))) as found:
        await found.has("10.0.0.1:8080")
        api.version = 900
        api.bookmark()
        await asyncio.sleep(QUICK.healthy + 0.02)  # a watch of the length that counts as healthy
        api.end_watches()
        await api.until(lambda: len(api.requests) == 2)
        assert state(discovery) == "watching"
    assert api.requests[1].query["resourceVersion"] == "900"
    assert not metrics.relists


async def test_events_missed_between_two_watches_are_caught_up(api: FakeApiServer, discovery: Discovery) -> None:
    async with following(discovery.source(service("orders"))) as found:
        await found.has("10.0.0.1:8080")
        api.cut()
        api.put_slice("shop", "orders-b", "orders", [("10.0.0.2", 8080)])
        await found.has("10.0.0.1:8080", "10.0.0.2:8080")
    assert api.kinds()[-1] == "watch"


@pytest.mark.parametrize("gone", ["stream", "http"])
async def test_an_expired_version_is_listed_anew(
    api: FakeApiServer, discovery: Discovery, metrics: CountedMetrics, gone: str
) -> None:
    api.gone = gone
    async with following(discovery.source(service("orders"))) as found:
        await found.has("10.0.0.1:8080")
        api.cut()
        api.delete("endpointslices", "shop", "orders-a")
        api.put_slice("shop", "orders-b", "orders", [("10.0.0.2", 8080)])
        api.compact()
        await found.has("10.0.0.2:8080")
        assert [] not in [list(snapshot.endpoints) for snapshot in found.all]
    assert metrics.relists == {("shop", "expired"): 1}
    assert api.kinds() == ["watchlist", "watch", "watchlist"]


async def test_a_server_that_closes_at_once_is_not_hammered(
    api: FakeApiServer, tmp_path: Path, metrics: CountedMetrics
) -> None:
    slow = Timing(first_connect=0, backoff=0.1, max_backoff=0.1, healthy=5)
    async with (
        discovery_for(api.kubeconfig(tmp_path / "c"), metrics, timing=slow) as discovery,
        following(discovery.source(service("orders"))) as found,
    ):
        await found.has("10.0.0.1:8080")
        api.close_at_once(times=1000, kind=None)
        api.end_watches()
        await asyncio.sleep(0.5)  # what it does in a while is the question
        assert found.addresses == ["10.0.0.1:8080"]
        assert "closes watches at once" in discovery.status()[0].problem
        assert 3 <= len(api.requests) <= 30
    assert metrics.relists == {("shop", "closed"): 1}  # the version is distrusted after three


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_refusal_keeps_the_endpoints_and_is_tried_again(
    api: FakeApiServer, discovery: Discovery, status: int
) -> None:
    async with following(discovery.source(service("orders"))) as found:
        await found.has("10.0.0.1:8080")
        api.refuse(status, times=3, kind="watch")
        api.cut()
        await api.until(lambda: len(api.requests) == 5 and api.watches == 1)
        assert found.addresses == ["10.0.0.1:8080"]


async def test_retry_after_is_honoured(api: FakeApiServer, discovery: Discovery) -> None:
    api.refuse(429, headers={"Retry-After": "1"})
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with following(discovery.source(service("orders"))) as found:
        await found.until(lambda one: one.last.origin == "watch" and one.last.endpoints)
    assert loop.time() - began >= 1.0


@pytest.mark.parametrize("status", [200, 503])
async def test_the_page_of_a_load_balancer_is_an_error(api: FakeApiServer, discovery: Discovery, status: int) -> None:
    async with following(discovery.source(service("orders"))) as found:
        await found.has("10.0.0.1:8080")
        api.refuse(status, times=2, body="<html>\n<b>no</b>\n", content_type="text/html")
        api.cut()
        await api.until(lambda: len(api.requests) >= 4 and api.watches == 1)
        assert found.addresses == ["10.0.0.1:8080"]


async def test_a_list_that_is_no_list_is_an_error(api: FakeApiServer, discovery: Discovery) -> None:
    api.watch_list = False
    api.refuse(200, kind="list", body='{"kind": "List"}')
    api.refuse(200, kind="list", body="[]")
    async with following(discovery.source(service("orders"))) as found:
        await found.until(lambda one: one.last.origin == "watch" and one.last.endpoints)
    assert api.kinds().count("list") == 3


@pytest.mark.parametrize(
    "line",
    [
        b'{"type": "MODIF',
        b"nonsense\n",
        b"[]\n",
        b'{"type": "ADDED"}\n',
        b'{"type": "ERROR", "object": {"code": 500, "message": "boom"}}\n',
        b'{"type": "ERROR", "object": {}}\n',
        b"x" * (5 << 20) + b"\n",
    ],
    ids=["cut", "nonsense", "list", "no object", "error 500", "error", "without end"],
)
async def test_a_line_that_is_no_event_ends_the_watch_and_nothing_else(
    api: FakeApiServer, discovery: Discovery, line: bytes
) -> None:
    async with following(discovery.source(service("orders"))) as found:
        await found.has("10.0.0.1:8080")
        api.send_line(line)
        api.end_watches()
        await api.until(lambda: len(api.requests) >= 2 and api.watches == 1)
        api.put_slice("shop", "orders-b", "orders", [("10.0.0.2", 8080)])
        await found.has("10.0.0.1:8080", "10.0.0.2:8080")


async def test_a_silent_connection_is_given_up(api: FakeApiServer, discovery: Discovery) -> None:
    async with following(discovery.source(service("orders"))) as found:
        await found.has("10.0.0.1:8080")
        await api.until(lambda: len(api.requests) >= 2)  # no event came for 0.3 s
        assert found.addresses == ["10.0.0.1:8080"]


async def test_a_server_that_accepts_and_says_nothing_is_given_up(api: FakeApiServer, discovery: Discovery) -> None:
    api.frozen = True
    async with following(discovery.source(service("orders"))) as found:
        await api.until(lambda: api.kinds().count("watchlist") >= 2)
        api.frozen = False
        await found.until(lambda one: one.last.origin == "watch" and one.last.endpoints)


async def test_bookmarks_keep_a_quiet_watch_alive(api: FakeApiServer, discovery: Discovery) -> None:
    async with following(discovery.source(service("orders"))) as found:
        await found.has("10.0.0.1:8080")
        for _ in range(8):
            await asyncio.sleep(QUICK.inactivity / 6)  # the server's own rhythm
            api.bookmark()
        assert len(api.requests) == 1


async def test_a_server_restarted_is_found_again_and_nothing_is_lost(
    api: FakeApiServer, discovery: Discovery, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(discovery.source(service("orders"))) as found:
        await found.has("10.0.0.1:8080")
        await api.stop()
        await _until(lambda: state(discovery) == "backoff" and "refused" in discovery.status()[0].problem)
        api.put_slice("shop", "orders-b", "orders", [("10.0.0.2", 8080)])
        await api.start()
        await found.has("10.0.0.1:8080", "10.0.0.2:8080")
        assert all(snapshot.endpoints for snapshot in found.all)
        assert state(discovery) == "watching"
    assert sum("keeping the last endpoints" in record.message for record in caplog.records) == 1


async def test_a_rotated_token_is_read_anew_after_401(
    api: FakeApiServer, tmp_path: Path, metrics: CountedMetrics
) -> None:
    api.token = "one"
    kubeconfig = api.kubeconfig(tmp_path / "c", token="one")
    async with (
        discovery_for(kubeconfig, metrics) as discovery,
        following(discovery.source(service("orders"))) as found,
    ):
        await found.has("10.0.0.1:8080")
        api.token = "two"
        api.kubeconfig(kubeconfig, token="two")
        api.cut()
        api.put_slice("shop", "orders-b", "orders", [("10.0.0.2", 8080)])
        await found.has("10.0.0.1:8080", "10.0.0.2:8080")


async def test_a_wrong_token_is_told(api: FakeApiServer, discovery: Discovery) -> None:
    api.token = "secret"
    async with following(discovery.source(service("orders"))) as found:
        await found.until(lambda one: "401" in one.last.problem)
        assert "secret" not in found.last.problem
        assert found.addresses == []


async def test_forbidden_names_the_rule_to_add(api: FakeApiServer, discovery: Discovery) -> None:
    api.refuse(403, times=1000)
    async with following(discovery.source(service("orders"))) as found:
        await found.until(lambda one: "403" in one.last.problem)
        assert state(discovery) == "forbidden"
        rule = '{apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["get", "list", "watch"]}'
        assert f"add to a Role in namespace shop: {rule}" in found.last.problem
        api.forgive()  # somebody adds it
        await found.until(lambda one: one.last.origin == "watch" and one.last.endpoints)


async def test_one_watch_serves_all_services_of_a_namespace(
    api: FakeApiServer, discovery: Discovery, metrics: CountedMetrics
) -> None:
    api.put_slice("shop", "billing-a", "billing", [("10.0.1.1", 80)])
    async with following(discovery.source(service("orders"))) as orders:
        await orders.has("10.0.0.1:8080")
        async with following(discovery.source(service("billing"))) as billing:
            await billing.has("10.0.1.1:80")
            assert api.requests[-1].query["labelSelector"] == "kubernetes.io/service-name in (billing,orders)"
            await api.until(lambda: api.watches == 1)
            assert len(orders.all) == 1  # untouched meanwhile
            api.put_slice("shop", "orders-b", "orders", [("10.0.0.2", 8080)])
            await orders.has("10.0.0.1:8080", "10.0.0.2:8080")
            assert len(billing.all) == 1
    assert metrics.relists == {("shop", "selection"): 1}
    assert len(discovery.status()) == 1


async def test_a_malformed_slice_is_counted_and_the_rest_is_used(
    api: FakeApiServer, discovery: Discovery, metrics: CountedMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    bad = api.put_slice(
        "shop", "orders-b", "orders", [{"addresses": []}, {"addresses": ["10.0.0.2"]}], ports=[{"port": 8080}]
    )
    api.put("endpointslices", {**bad, "metadata": {**bad["metadata"], "name": "orders-c"}, "addressType": "IPX"})
    async with following(discovery.source(service("orders"))) as found:
        await found.has("10.0.0.1:8080", "10.0.0.2:8080")
        assert metrics.skips == {"endpoint": 1, "slice": 1}
        api.delete("endpointslices", "shop", "orders-c")
        api.put("endpointslices", bad)
        api.put_slice("shop", "orders-a", "orders", [("10.0.0.9", 8080)])
        await found.has("10.0.0.2:8080", "10.0.0.9:8080")
        assert metrics.skips == {"endpoint": 2, "slice": 1}
    assert sum("malformed" in record.message for record in caplog.records) == 2  # each state once


async def test_a_watch_outlives_its_last_user_for_a_moment_only(api: FakeApiServer, tmp_path: Path) -> None:
    async with discovery_for(api.kubeconfig(tmp_path / "c"), timing=replace(QUICK, linger=0.05)) as discovery:
        async with following(discovery.source(service("orders"))) as found:
            await found.has("10.0.0.1:8080")
        async with following(discovery.source(service("orders"))) as found:
            await found.has("10.0.0.1:8080")
        assert api.kinds() == ["watchlist"]
        await api.until(lambda: api.watches == 0)
        assert discovery.status() == []
        async with following(discovery.source(service("orders"))) as found:
            await found.has("10.0.0.1:8080")


async def test_a_watch_that_nobody_wants_waits_in_silence(api: FakeApiServer, discovery: Discovery) -> None:
    async with following(discovery.source(service("orders"))) as found:
        await found.has("10.0.0.1:8080")
    api.cut()
    await asyncio.sleep(0.1)
    assert len(api.requests) == 1
    async with following(discovery.source(service("orders"))) as found:
        await found.has("10.0.0.1:8080")


async def _until(condition: object, seconds: float = 5.0) -> None:
    """Poll, since no event tells of the state."""
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
