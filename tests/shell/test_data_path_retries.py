"""Retries, timeouts and circuit limits, seen from the wire."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.support.client import Answered, Client, ask, client
from tests.support.origin import OK, Origin, OriginConnection, answers, deaf_address, each_connection, unused_address
from tests.support.proxy import Data, eventually, reverse, running_proxy

pytestmark = pytest.mark.usefixtures("each_engine")

HOST = b"Host: shop.example\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
CALM = {"outlier_detection": {"enabled": False}}


def details(answer: Answered) -> bytes:
    return answer.values(b"proxy-status")[0]


async def silent(connection: OriginConnection) -> None:
    """Reads and never answers."""
    await connection.until_gone()


# --- connect failures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [GET, POST], ids=["GET", "POST"])
async def test_connect_failure_goes_to_another_endpoint_at_once_with_any_method(request_: bytes) -> None:
    dead = [unused_address() for _ in range(3)]
    async with Origin() as origin, running_proxy(reverse(*dead, origin.address, cluster=CALM)) as proxy:
        for _ in range(10):
            assert (await ask(proxy.address, request_)).body == b"ok"
        assert len(origin.requests) == 10


async def test_connect_failure_with_a_streamed_body_loses_no_byte() -> None:
    dead = unused_address()
    config = reverse(dead, "", cluster={**CALM, "lb_policy": "ROUND_ROBIN"})
    async with Origin() as origin:
        config["clusters"][0]["static"]["endpoints"][1] = origin.address
        async with running_proxy(config) as proxy:
            for number in range(6):
                async with client(proxy.address) as one:
                    await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
                    await origin.connected()
                    await eventually(lambda n=number: _heads(origin) > n, "the head did not arrive")
                    await one.send(b"3\r\ndef\r\n0\r\n\r\n")
                    assert (await one.response()).body == b"ok"
        assert [request.body for request in origin.requests] == [b"abcdef"] * 6


def _heads(origin: Origin) -> int:
    return origin.received.count(b"\r\n\r\n")


async def test_all_endpoints_refusing_is_a_502_that_counts_attempts() -> None:
    async with running_proxy(reverse(unused_address(), unused_address(), cluster=CALM)) as proxy:
        answer = await ask(proxy.address, POST)
        assert answer.status == 502
        assert b"connection_refused" in details(answer)
        assert b"after 2 attempts" in answer.body


async def test_connect_timeout_is_a_504() -> None:
    with deaf_address() as address:
        async with running_proxy(reverse(address, cluster={"connect_timeout": "100ms"})) as proxy:
            answer = await ask(proxy.address, GET)
            assert answer.status == 504
            assert b"connection_timeout" in details(answer)


async def test_connect_timeout_goes_to_another_endpoint() -> None:
    config = {"connect_timeout": "100ms", "lb_policy": "ROUND_ROBIN", **CALM}
    with deaf_address() as address:
        async with Origin() as origin, running_proxy(reverse(address, origin.address, cluster=config)) as proxy:
            for _ in range(2):
                assert (await ask(proxy.address, POST)).body == b"ok"


async def test_request_timeout_while_connecting_is_a_504() -> None:
    rule = {"timeouts": {"request": "50ms"}}
    with deaf_address() as address:
        async with running_proxy(reverse(address, rule=rule)) as proxy:
            answer = await ask(proxy.address, GET)
            assert answer.status == 504
            assert b"http_response_timeout" in details(answer)


# --- retries by policy ----------------------------------------------------------------------------------------------


async def test_retry_code_is_retried_as_often_as_the_route_says() -> None:
    rule = {"retry": {"codes": [503], "attempts": 2, "backoff": "1ms"}}
    async with Origin(answers(BUSY, BUSY, OK)) as origin:
        async with running_proxy(reverse(origin.address, rule=rule, cluster=CALM)) as proxy:
            assert (await ask(proxy.address, GET)).body == b"ok"
            assert len(origin.requests) == 3


async def test_last_answer_stands_when_the_attempts_are_used_up() -> None:
    rule = {"retry": {"codes": [503], "attempts": 2, "backoff": "1ms"}}
    async with Origin(answers(BUSY)) as origin:
        async with running_proxy(reverse(origin.address, rule=rule, cluster=CALM)) as proxy:
            answer = await ask(proxy.address, GET)
            assert (answer.status, answer.reason, answer.body) == (503, b"Busy", b"busy")
            assert len(origin.requests) == 3


async def test_retry_goes_to_another_endpoint() -> None:
    rule = {"retry": {"codes": [503], "attempts": 1, "backoff": "1ms"}}
    async with Origin(answers(BUSY)) as bad, Origin() as good:
        async with running_proxy(reverse(bad.address, good.address, rule=rule, cluster=CALM)) as proxy:
            for _ in range(20):
                assert (await ask(proxy.address, GET)).body == b"ok"


async def test_other_codes_and_other_methods_are_not_retried() -> None:
    rule = {"retry": {"codes": [503], "attempts": 2, "backoff": "1ms"}}
    error = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    async with Origin(answers(error, BUSY, OK)) as origin:
        async with (
            running_proxy(reverse(origin.address, rule=rule, cluster=CALM)) as proxy,
            client(proxy.address) as one,
        ):
            assert (await one.ask(GET)).status == 500
            assert (await one.ask(POST)).status == 503
            assert len(origin.requests) == 2


async def test_post_is_retried_where_the_route_says_so() -> None:
    rule = {"retry": {"codes": [503], "attempts": 1, "backoff": "1ms", "retry_non_idempotent": True}}
    async with Origin(answers(BUSY, OK)) as origin:
        async with running_proxy(reverse(origin.address, rule=rule, cluster=CALM)) as proxy:
            assert (await ask(proxy.address, POST)).body == b"ok"
            assert [request.body for request in origin.requests] == [b"hello", b"hello"]


@pytest.mark.parametrize(("size", "answered"), [(1000, 200), (1001, 503)])
async def test_streamed_body_is_repeated_up_to_the_replay_limit(size: int, answered: int) -> None:
    rule = {"retry": {"codes": [503], "attempts": 1, "backoff": "1ms"}}
    config = reverse("", rule=rule, cluster=CALM, listener={"limits": {"replay_bytes": 1000}})
    async with Origin(answers(BUSY, OK)) as origin:
        config["clusters"][0]["static"]["endpoints"] = [origin.address]
        async with running_proxy(config) as proxy, client(proxy.address) as one:
            await one.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size)
            await origin.connected()
            await one.send(b"x" * size)
            assert (await one.response()).status == answered
            assert origin.requests[-1].body == b"x" * size


async def test_reset_is_retried_by_policy_when_idempotent() -> None:
    async def breaks(connection: OriginConnection) -> None:
        await connection.request()
        connection.reset()

    rule = {"retry": {"attempts": 1, "backoff": "1ms"}}
    async with Origin(each_connection(breaks, answers(OK))) as origin:
        async with running_proxy(reverse(origin.address, rule=rule, cluster=CALM)) as proxy:
            assert (await ask(proxy.address, GET)).body == b"ok"


async def test_malformed_answer_is_retried_by_policy_when_idempotent() -> None:
    rule = {"retry": {"attempts": 1, "backoff": "1ms"}}
    async with Origin(each_connection(answers(b"what?\r\n\r\n"), answers(OK))) as origin:
        async with running_proxy(reverse(origin.address, rule=rule, cluster=CALM)) as proxy:
            assert (await ask(proxy.address, GET)).body == b"ok"


async def test_answer_cut_short_after_its_head_is_not_retried() -> None:
    async def cuts(connection: OriginConnection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
        connection.close()

    rule = {"retry": {"attempts": 1, "backoff": "1ms"}}
    async with Origin(each_connection(cuts, answers(OK))) as origin:
        async with running_proxy(reverse(origin.address, rule=rule, cluster=CALM)) as proxy:
            async with client(proxy.address) as one:
                await one.send(GET)
                assert not (await one.end()).endswith(b"ok")
            assert len(origin.connections) == 1


async def test_retry_budget_keeps_retries_to_a_few_at_a_time() -> None:
    """With 12 requests waiting at once, no more than 3 of their retries run together."""
    held = asyncio.Event()

    async def serve(connection: OriginConnection) -> None:
        if len(origin.connections) <= 12:
            await connection.request()
            await held.wait()
            await connection.send(BUSY)
            await connection.request()
            return
        await connection.request()
        await asyncio.Event().wait()

    rule = {"retry": {"codes": [503], "attempts": 1, "backoff": "1ms", "per_try_timeout": "500ms"}}
    limits = {"circuit_breakers": {"retry_budget_percent": 0, "min_retry_concurrency": 3}}
    async with Origin(serve) as origin:
        async with running_proxy(reverse(origin.address, rule=rule, cluster={**CALM, **limits})) as proxy:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(ask(proxy.address, GET)) for _ in range(12)]
                await origin.connected(12)
                held.set()
            statuses = sorted(task.result().status for task in asked)
            assert statuses == [503] * 9 + [504] * 3


# --- timeouts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [
        {"timeouts": {"request": "100ms"}},
        {"timeouts": {"backendRequest": "100ms"}},
        {"retry": {"per_try_timeout": "100ms", "attempts": 0}},
    ],
    ids=["request", "backendRequest", "per_try_timeout"],
)
async def test_timeout_before_the_answer_is_a_504_and_drops_the_connection(rule: Data) -> None:
    async with Origin(silent) as origin, running_proxy(reverse(origin.address, rule=rule)) as proxy:
        async with client(proxy.address) as one:
            answer = await one.ask(GET)
            assert answer.status == 504
            assert b"http_response_timeout" in details(answer)
            await asyncio.wait_for(origin.connections[0].gone.wait(), 5)
            assert (await one.ask(GET)).status == 504  # the client's connection lives on


@pytest.mark.parametrize("timeouts", [{"request": "150ms"}, {"backendRequest": "150ms"}])
async def test_timeout_within_the_response_cuts_it(timeouts: Data) -> None:
    async def begins(connection: OriginConnection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
        await connection.until_gone()

    async with Origin(begins) as origin, running_proxy(reverse(origin.address, rule={"timeouts": timeouts})) as proxy:
        async with client(proxy.address) as one:
            await one.send(GET)
            assert (await one.end()).endswith(b"\r\n\r\nhe")


async def test_per_try_timeout_is_retried_elsewhere() -> None:
    rule = {"retry": {"attempts": 2, "per_try_timeout": "50ms", "backoff": "1ms"}}
    async with Origin(each_connection(silent, silent, answers(OK))) as origin:
        async with running_proxy(reverse(origin.address, rule=rule, cluster=CALM)) as proxy:
            assert (await ask(proxy.address, GET)).body == b"ok"


async def test_request_timeout_spans_all_attempts() -> None:
    rule = {
        "timeouts": {"request": "200ms"},
        "retry": {"attempts": 100, "per_try_timeout": "60ms", "backoff": "1ms"},
    }
    async with Origin(silent) as origin, running_proxy(reverse(origin.address, rule=rule, cluster=CALM)) as proxy:
        began = asyncio.get_running_loop().time()
        assert (await ask(proxy.address, GET)).status == 504
        assert asyncio.get_running_loop().time() - began < 2
        assert 2 <= len(origin.connections) <= 5


async def test_timeout_while_the_request_body_is_still_coming_is_a_504() -> None:
    rule = {"timeouts": {"request": "100ms"}}
    async with Origin(silent) as origin, running_proxy(reverse(origin.address, rule=rule)) as proxy:
        async with client(proxy.address) as one:
            await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\nhello")
            assert (await one.response()).status == 504


@pytest.mark.parametrize("timeouts", [{"request": "50ms"}, {"backendRequest": "50ms"}])
async def test_client_that_sends_its_body_slowly_blames_no_endpoint(timeouts: Data) -> None:
    async with Origin(silent) as origin, running_proxy(reverse(origin.address, rule={"timeouts": timeouts})) as proxy:
        for _ in range(4):
            async with client(proxy.address) as one:
                await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\nhello")
                assert (await one.response()).status == 504
        assert proxy.failures == 0


async def test_origin_that_does_not_read_the_body_is_blamed() -> None:
    async def deaf(connection: OriginConnection) -> None:
        await connection.until(b"\r\n\r\n")
        await connection.gone.wait()

    rule = {"timeouts": {"backendRequest": "500ms"}}
    async with Origin(deaf) as origin, running_proxy(reverse(origin.address, rule=rule)) as proxy:
        async with client(proxy.address) as one, asyncio.TaskGroup() as group:
            await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 100000000\r\n\r\n")
            upload = group.create_task(_upload(one))
            assert (await one.response()).status == 504
            upload.cancel()
        assert proxy.failures == 1


async def _upload(one: Client) -> None:
    while True:
        await one.send(bytes(65_536))


async def test_client_that_stops_sending_its_body_is_a_408() -> None:
    config = {"limits": {"body_timeout": "100ms"}}
    async with Origin(silent) as origin, running_proxy(reverse(origin.address, listener=config)) as proxy:
        async with client(proxy.address) as one:
            await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\nhello")
            answer = await one.response()
            assert (answer.status, answer.values(b"connection")) == (408, [b"close"])
        assert proxy.failures == 0


async def test_stream_idle_timeout_ends_a_response_that_stalls() -> None:
    async def begins(connection: OriginConnection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
        await connection.until_gone()

    config = {"stream_idle_timeout": "100ms"}
    async with Origin(begins) as origin, running_proxy(reverse(origin.address, cluster=config)) as proxy:
        async with client(proxy.address) as one:
            await one.send(GET)
            assert (await one.end()).endswith(b"\r\n\r\nhe")


# --- circuit limits -------------------------------------------------------------------------------------------------


async def hold(connections: AsyncExitStack, address: str, count: int) -> list:  # type: ignore[type-arg]  # of Client
    """So many requests without an answer."""
    clients = [await connections.enter_async_context(client(address)) for _ in range(count)]
    for one in clients:
        await one.send(GET)
    return clients


async def test_max_requests_answers_503_at_once() -> None:
    held = asyncio.Event()
    config = {"circuit_breakers": {"max_requests": 3}}
    async with Origin(answers((held, OK))) as origin, running_proxy(reverse(origin.address, cluster=config)) as proxy:
        async with AsyncExitStack() as connections:
            clients = await hold(connections, proxy.address, 3)
            await origin.connected(3)
            answer = await ask(proxy.address, GET)
            assert answer.status == 503
            assert b"connection_limit_reached" in details(answer)
            held.set()
            assert [(await one.response()).body for one in clients] == [b"ok"] * 3
            assert (await ask(proxy.address, GET)).body == b"ok"
        assert proxy.failures == 0


async def test_max_connections_makes_requests_wait_their_turn() -> None:
    config = {"circuit_breakers": {"max_connections": 2}}
    async with Origin() as origin, running_proxy(reverse(origin.address, cluster=config)) as proxy:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask(proxy.address, GET)) for _ in range(40)]
        assert {task.result().body for task in asked} == {b"ok"}
        assert len(origin.connections) == 2


async def test_max_pending_requests_answers_503_at_once() -> None:
    held = asyncio.Event()
    config = {"circuit_breakers": {"max_connections": 1, "max_pending_requests": 2}, "connect_timeout": "10s"}
    async with Origin(answers((held, OK))) as origin, running_proxy(reverse(origin.address, cluster=config)) as proxy:
        async with AsyncExitStack() as connections:
            clients = await hold(connections, proxy.address, 1)
            await origin.connected()
            clients += await hold(connections, proxy.address, 2)
            await eventually(lambda: proxy.inflight == 3, "the requests do not wait")
            answer = await ask(proxy.address, GET)
            assert answer.status == 503
            assert b"connection_limit_reached" in details(answer)
            held.set()
            assert [(await one.response()).body for one in clients] == [b"ok"] * 3
        assert len(origin.connections) == 1


async def test_request_that_waits_too_long_for_a_connection_is_a_503() -> None:
    held = asyncio.Event()
    config = {"circuit_breakers": {"max_connections": 1}, "connect_timeout": "100ms"}
    async with Origin(answers((held, OK))) as origin, running_proxy(reverse(origin.address, cluster=config)) as proxy:
        async with AsyncExitStack() as connections:
            clients = await hold(connections, proxy.address, 1)
            await origin.connected()
            assert (await ask(proxy.address, GET)).status == 503
            held.set()
            assert (await clients[0].response()).body == b"ok"
        assert proxy.failures == 0


async def test_client_that_leaves_while_it_waits_for_a_connection_gives_up_its_turn() -> None:
    held = asyncio.Event()
    config = {"circuit_breakers": {"max_connections": 1, "max_pending_requests": 1}, "connect_timeout": "10s"}
    async with Origin(answers((held, OK))) as origin, running_proxy(reverse(origin.address, cluster=config)) as proxy:
        async with client(proxy.address) as first:
            await first.send(GET)
            await origin.connected()
            async with client(proxy.address) as second:
                await second.send(GET)
                await eventually(lambda: proxy.inflight == 2, "the request does not wait")
            await eventually(lambda: proxy.inflight == 1, "the turn is not given up")
            async with client(proxy.address) as third:
                await third.send(GET)
                await eventually(lambda: proxy.inflight == 2, "the request does not wait")
                held.set()
                assert (await first.response()).body == b"ok"
                assert (await third.response()).body == b"ok"


async def test_idle_connection_to_one_endpoint_makes_room_for_one_to_another() -> None:
    config = {"circuit_breakers": {"max_connections": 1}, "lb_policy": "ROUND_ROBIN"}
    async with Origin() as one, Origin() as two:
        async with running_proxy(reverse(one.address, two.address, cluster=config)) as proxy:
            for _ in range(8):
                assert (await ask(proxy.address, GET)).body == b"ok"
            assert len(one.requests) == len(two.requests) == 4


async def test_connection_lost_while_others_wait_gives_its_place_on() -> None:
    async def breaks(connection: OriginConnection) -> None:
        await connection.request()
        await go.wait()
        connection.reset()

    go = asyncio.Event()
    config = {"circuit_breakers": {"max_connections": 1}, "connect_timeout": "10s", **CALM}
    async with Origin(each_connection(breaks, answers(OK))) as origin:
        async with running_proxy(reverse(origin.address, cluster=config)) as proxy, client(proxy.address) as first:
            await first.send(GET)
            await origin.connected()
            async with client(proxy.address) as second:
                await second.send(GET)
                await eventually(lambda: proxy.inflight == 2, "the request does not wait")
                go.set()
                assert (await first.response()).status == 502
                assert (await second.response()).body == b"ok"


async def test_connection_that_is_handed_on_and_stale_is_not_noticed_by_an_idempotent_request() -> None:
    async def stale(connection: OriginConnection) -> None:
        await connection.request()
        await go.wait()
        await connection.send(OK)
        await connection.request()
        connection.reset()

    go = asyncio.Event()
    config = {"circuit_breakers": {"max_connections": 1}, "connect_timeout": "10s"}
    async with Origin(each_connection(stale, answers(OK))) as origin:
        async with running_proxy(reverse(origin.address, cluster=config)) as proxy, client(proxy.address) as first:
            await first.send(GET)
            await origin.connected()
            async with client(proxy.address) as second:
                await second.send(GET)
                await eventually(lambda: proxy.inflight == 2, "the request does not wait")
                go.set()
                assert (await first.response()).body == b"ok"
                assert (await second.response()).body == b"ok"
        assert [len(connection.requests) for connection in origin.connections] == [2, 1]


async def test_tunnels_give_their_place_among_the_connections_back() -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    upgrade = b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    config = {"circuit_breakers": {"max_connections": 1}}
    async with Origin(answers(switch)) as origin, running_proxy(reverse(origin.address, cluster=config)) as proxy:
        for _ in range(3):
            async with client(proxy.address) as one:
                await one.send(upgrade)
                assert b"101" in await one.head()
            await proxy.quiet()
        assert len(origin.connections) == 3
