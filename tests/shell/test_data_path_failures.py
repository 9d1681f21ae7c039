"""What a broken upstream, a client that leaves and a stale connection come to on the wire."""

import asyncio
from collections.abc import Callable

import pytest

from tests.support.client import ask, client
from tests.support.origin import (
    OK,
    Origin,
    OriginConnection,
    answers,
    close,
    deaf_address,
    each_connection,
    reset,
    unused_address,
)
from tests.support.proxy import eventually, reverse, running_proxy

pytestmark = pytest.mark.usefixtures("each_engine")

HOST = b"Host: shop.example\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello"


End = Callable[[OriginConnection], None]


async def gone(origin: Origin, number: int = 0) -> None:
    """The proxy has let go of the connection."""
    async with asyncio.timeout(5):
        await origin.connections[number].gone.wait()


# --- malformed answers ----------------------------------------------------------------------------------------------

MALFORMED = {
    "garbage": b"\x00\x01\x02\x03\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.0\r\n",
    "http/2 preface": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "no status": b"HTTP/1.1 \r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "no colon": b"HTTP/1.1 200 OK\r\nX-A 1\r\n\r\n",
    "space before colon": b"HTTP/1.1 200 OK\r\nX-A : 1\r\nContent-Length: 0\r\n\r\n",
    "obs-fold": b"HTTP/1.1 200 OK\r\nX-A: 1\r\n folded\r\nContent-Length: 0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "bare CR in a value": b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 2\r\n\r\nok",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    "the same length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "length and chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    ),
    "gzip, chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked, gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\n\r\nok",
    "empty length": b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok",
    "length of a 304 that is none": b"HTTP/1.1 304 Not Modified\r\nContent-Length: x\r\n\r\n",
    "spaced length": b"HTTP/1.1 200 OK\r\nContent-Length: 1 2\r\n\r\nok",
    "hex length": b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
    "LF instead of CRLF": b"HTTP/1.1 200 OK\r\nX-A: 1\nContent-Length: 2\r\n\r\nok",
    "control byte in a value": b"HTTP/1.1 200 OK\r\nX-A: a\x01b\r\nContent-Length: 2\r\n\r\nok",
    "DEL in a value": b"HTTP/1.1 200 OK\r\nX-A: a\x7fb\r\nContent-Length: 2\r\n\r\nok",
    "control byte in the reason": b"HTTP/1.1 200 O\x00K\r\nContent-Length: 2\r\n\r\nok",
    "space in a name": b"HTTP/1.1 200 OK\r\nX A: 1\r\nContent-Length: 2\r\n\r\nok",
    "empty name": b"HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 2\r\n\r\nok",
    "status 099": b"HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok",
    "status 000": b"HTTP/1.1 000 Odd\r\nContent-Length: 2\r\n\r\nok",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "length list": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nok",
    "a head of 1 MiB": b"HTTP/1.1 200 OK\r\n" + b"X-A: %b\r\n" % (b"a" * 8000) * 130 + b"Content-Length: 0\r\n\r\n",
    "more than 256 lines": b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 300 + b"Content-Length: 0\r\n\r\n",
    "flood of interim responses": b"HTTP/1.1 100 Continue\r\n\r\n" * 100 + OK,
    "HTTP/2.0 in the status line": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/0.9": b"<html>hello</html>\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_response_is_a_502_and_its_connection_never_used_again(name: str) -> None:
    async with Origin(each_connection(answers(MALFORMED[name]), answers(OK))) as origin:
        async with running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
            answer = await one.ask(GET)
            while answer.status == 100:
                answer = await one.response()
            assert answer.status == 502, answer
            status = answer.values(b"proxy-status")[0]
            assert status.startswith((b"sidecar; error=http_protocol_error", b"sidecar; error=connection_terminated"))
            await gone(origin)
            assert (await one.ask(GET)).body == b"ok"
            assert len(origin.connections) == 2


async def test_endless_response_head_is_a_502() -> None:
    async def serve(connection: OriginConnection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await connection.send(b"X-A: %b\r\n" % (b"a" * 1000))

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy:
        assert (await ask(proxy.address, GET)).status == 502


async def test_endless_field_line_is_a_502() -> None:
    async def serve(connection: OriginConnection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nX-A: ")
        while True:
            await connection.send(b"a" * 1000)

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy:
        assert (await ask(proxy.address, GET)).status == 502


async def test_endless_interim_responses_over_many_reads_are_a_502() -> None:
    async def serve(connection: OriginConnection) -> None:
        await connection.request()
        while True:
            await connection.send(b"HTTP/1.1 102 Processing\r\nX-A: %b\r\n\r\n" % (b"a" * 1000))
            await asyncio.sleep(0)

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            answer = await one.ask(GET)
            while answer.status == 102:
                answer = await one.response()
            assert answer.status == 502


async def test_endless_trailers_cut_the_response() -> None:
    async def serve(connection: OriginConnection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n")
        while True:
            await connection.send(b"X-A: %b\r\n" % (b"a" * 1000))

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(GET)
            await one.head()
            assert b"0\r\n\r\n" not in await one.end()


@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-A: ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-A",
    ],
    ids=["trailer value", "trailer name"],
)
async def test_endless_line_behind_a_body_cuts_the_response(begun: bytes) -> None:
    sent = 0

    async def serve(connection: OriginConnection) -> None:
        nonlocal sent
        await connection.request()
        await connection.send(begun)
        while sent < 64 << 20:
            await connection.send(b"a" * 65_536)
            sent += 65_536

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(GET)
            await one.head()
            assert b"0\r\n\r\n" not in await one.end()
        assert sent < 16 << 20


@pytest.mark.parametrize("extra", [b"extra", OK, b"\r\n", b"HTTP/1.1 408 Timeout\r\nConnection: close\r\n\r\n"])
async def test_bytes_behind_a_response_reach_no_client_and_end_the_connection(extra: bytes) -> None:
    async with Origin(each_connection(answers(OK + extra), answers(OK))) as origin:
        async with running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
            for _ in range(3):
                assert (await one.ask(GET)).body == b"ok"
            assert one.position == len(one.received)
            if extra != b"\r\n":
                await gone(origin)
                assert len(origin.connections) == 2


async def test_bytes_that_answer_nothing_end_an_idle_connection() -> None:
    async with Origin(answers(OK)) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.ask(GET)
            await origin.connections[0].send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            await gone(origin)
            assert (await one.ask(GET)).body == b"ok"
            assert len(origin.connections) == 2


async def test_body_with_204_is_refused_as_bytes_behind_the_response() -> None:
    reply = b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"
    async with Origin(each_connection(answers(reply), answers(OK))) as origin:
        async with running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
            assert (await one.ask(GET)).status == 204
            assert (await one.ask(GET)).body == b"ok"
            await gone(origin)


async def test_head_answered_with_a_body_never_reaches_the_client() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 38\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with Origin(each_connection(answers(reply), answers(OK))) as origin:
        async with running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
            assert (await one.ask(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n")).status == 200
            assert (await one.ask(GET)).body == b"ok"
            await gone(origin)


# --- responses cut short --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [close, reset])
@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\nwo",
    ],
)
async def test_response_cut_short_is_cut_short_for_the_client(begun: bytes, end: End) -> None:
    go = asyncio.Event()
    async with Origin(answers((begun, go, end))) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(GET)
            head = await one.head()
            await one.until(b"hello")
            go.set()
            rest = await one.end()  # the proxy closes: a whole message cannot be told from this
            assert b"0\r\n\r\n" not in rest
            assert b"200 OK" in head


async def test_response_cut_short_before_the_client_got_anything_is_a_502_or_a_cut() -> None:
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
    async with Origin(answers((begun, close))) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(GET)
            data = await one.end()
            assert data == b"" or not data.endswith(b"\r\n\r\nhello12345")


async def test_response_without_length_that_is_reset_is_cut_for_the_client() -> None:
    go = asyncio.Event()
    begun = b"HTTP/1.1 200 OK\r\n\r\nhello"
    async with Origin(answers((begun, go, reset))) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(GET)
            await one.until(b"hello")
            go.set()
            assert b"0\r\n\r\n" not in await one.end()


async def test_http_1_0_client_can_tell_a_cut_from_an_end() -> None:
    go = asyncio.Event()
    begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    async with Origin(answers((begun, go, close))) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(b"GET / HTTP/1.0\r\n" + HOST + b"\r\n")
            await one.until(b"hello")
            go.set()
            with pytest.raises(ConnectionResetError):  # a close would say that the response is whole
                while True:
                    await one._more()


async def test_bad_chunk_in_a_response_cuts_it() -> None:
    go = asyncio.Event()
    begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    async with Origin(answers((begun, go, b"zz\r\nbad\r\n"))) as origin:
        async with running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
            await one.send(GET)
            await one.until(b"hello")
            go.set()
            assert b"0\r\n\r\n" not in await one.end()
            await gone(origin)


# --- the answer before the body's end -------------------------------------------------------------------------------


async def test_answer_before_the_request_body_ended_reaches_the_client_and_the_connection_is_dropped() -> None:
    async def serve(connection: OriginConnection) -> None:
        await connection.until(b"\r\n\r\n")
        await connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await connection.until_gone()

    async with Origin(each_connection(serve, answers(OK))) as origin:
        async with running_proxy(reverse(origin.address)) as proxy:
            async with client(proxy.address) as one:
                await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1000)
                answer = await one.response()
                assert (answer.status, answer.body) == (403, b"no")
                await gone(origin)
            assert (await ask(proxy.address, GET)).body == b"ok"
            assert len(origin.connections) == 2
            assert proxy.failures == 0


async def test_client_may_finish_its_body_after_an_early_answer_and_go_on() -> None:
    async def serve(connection: OriginConnection) -> None:
        await connection.until(b"\r\n\r\n")
        await connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await connection.until_gone()

    async with Origin(each_connection(serve, answers(OK))) as origin:
        async with running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
            await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n" + b"x" * 1000)
            answer = await one.response()
            assert answer.status == 403
            if answer.values(b"connection") != [b"close"]:
                await one.send(b"x" * 99_000)
                assert (await one.ask(GET)).body == b"ok"


async def test_streamed_answer_that_begins_before_the_body_ended_passes_both_ways_at_once() -> None:
    async def serve(connection: OriginConnection) -> None:
        await connection.until(b"\r\n\r\n")
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            line = await connection.exactly(2)
            await connection.send(b"2\r\n%b\r\n" % line)
        await connection.send(b"0\r\n\r\n")

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 6\r\n\r\n")
        await one.head()
        for word in (b"ab", b"cd", b"ef"):
            await one.send(word)
            assert await one.exactly(7) == b"2\r\n%b\r\n" % word
        assert await one.exactly(5) == b"0\r\n\r\n"


# --- the client goes away -------------------------------------------------------------------------------------------


async def test_client_abort_before_the_answer_cancels_the_attempt_and_blames_no_endpoint() -> None:
    held = asyncio.Event()
    async with Origin(answers((held, OK))) as origin, running_proxy(reverse(origin.address)) as proxy:
        for number in range(6):
            async with client(proxy.address) as one:
                await one.send(GET)
                connection = await origin.connected(number + 1)
                await eventually(lambda c=connection: c.requests, "the request did not arrive")
                one.reset()
                await gone(origin, number)
        await proxy.quiet()
        assert (proxy.failures, proxy.idle) == (0, 0)


async def test_client_abort_in_the_middle_of_the_response_drops_the_connection() -> None:
    held = asyncio.Event()
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
    async with Origin(answers((begun, held))) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(GET)
            await one.until(b"hello")
            one.close()
            await gone(origin)
        await proxy.quiet()
        assert (proxy.failures, proxy.idle) == (0, 0)


async def test_client_abort_in_the_middle_of_its_body_drops_the_connection() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1000)
            await origin.connected()
            one.reset()
            await gone(origin)
        await proxy.quiet()
        assert (proxy.failures, proxy.idle) == (0, 0)


async def test_client_abort_while_connecting_leaves_nothing() -> None:
    with deaf_address() as address:
        async with running_proxy(reverse(address, cluster={"connect_timeout": "30s"})) as proxy:
            async with client(proxy.address) as one:
                await one.send(GET)
                await eventually(lambda: proxy.inflight == 1, "the request did not arrive")
            await proxy.quiet()
            assert proxy.failures == 0


async def test_client_that_leaves_while_its_body_is_held_back_is_noticed_by_the_stream_idle_timeout() -> None:
    async def serve(connection: OriginConnection) -> None:
        await connection.until(b"\r\n\r\n")
        await connection.gone.wait()

    config = {"stream_idle_timeout": "500ms"}
    async with Origin(serve) as origin, running_proxy(reverse(origin.address, cluster=config)) as proxy:
        async with client(proxy.address) as one:
            await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 100000000\r\n\r\n")
            await origin.connected()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    while True:
                        await one.send(bytes(65_536))
        await proxy.quiet()


# --- stale connections ----------------------------------------------------------------------------------------------


async def test_connection_closed_while_idle_is_never_an_error() -> None:
    async with Origin(answers((OK, close))) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            for _ in range(5):
                assert (await one.ask(POST)).body == b"ok"
                await eventually(lambda: proxy.idle == 0, "the closed connection stays in the pool")
        assert len(origin.connections) == 5


async def test_stale_connection_is_not_noticed_by_an_idempotent_request() -> None:
    async def stale(connection: OriginConnection) -> None:
        await connection.request()
        await connection.send(OK)
        await connection.request()
        connection.reset()

    async with Origin(each_connection(stale, answers(OK))) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            assert (await one.ask(GET)).body == b"ok"
            assert (await one.ask(GET)).body == b"ok"
        assert [len(connection.requests) for connection in origin.connections] == [2, 1]


@pytest.mark.parametrize("end", [close, reset])
async def test_post_that_may_have_been_processed_is_not_sent_again(end: End) -> None:
    async def stale(connection: OriginConnection) -> None:
        await connection.request()
        await connection.send(OK)
        await connection.request()
        end(connection)

    async with Origin(each_connection(stale, answers(OK))) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            assert (await one.ask(POST)).body == b"ok"
            answer = await one.ask(POST)
            assert answer.status == 502
            assert b"connection_terminated" in answer.values(b"proxy-status")[0]
        assert len(origin.connections) == 1


async def test_put_with_a_streamed_body_survives_a_stale_connection() -> None:
    async def stale(connection: OriginConnection) -> None:
        await connection.request()
        await connection.send(OK)
        await connection.until(b"\r\n\r\n")
        await connection.exactly(2)
        connection.reset()

    async with Origin(each_connection(stale, answers(OK))) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            assert (await one.ask(GET)).body == b"ok"
            await one.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 6\r\n\r\n")
            await one.send(b"ab")
            await origin.connected(2)
            await one.send(b"cdef")
            assert (await one.response()).body == b"ok"
        assert origin.connections[1].requests[0].body == b"abcdef"


async def test_reset_on_a_new_connection_is_not_repeated_without_policy() -> None:
    async def serve(connection: OriginConnection) -> None:
        await connection.request()
        connection.reset()

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy:
        assert (await ask(proxy.address, GET)).status == 502
        assert len(origin.connections) == 1


async def test_upstream_that_closes_with_keep_alive_timeout_is_not_raced() -> None:
    reply = b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok"
    async with Origin(answers(reply)) as origin, running_proxy(reverse(origin.address)) as proxy:
        assert (await ask(proxy.address, GET)).body == b"ok"
        async with asyncio.timeout(1):  # half a second before the upstream would
            await origin.connections[0].gone.wait()


async def test_idle_connection_is_closed_after_the_idle_timeout() -> None:
    config = reverse("", cluster={"idle_timeout": "100ms"})
    async with Origin() as origin:
        config["clusters"][0]["static"]["endpoints"] = [origin.address]
        async with running_proxy(config) as proxy:
            assert (await ask(proxy.address, GET)).body == b"ok"
            async with asyncio.timeout(1):
                await origin.connections[0].gone.wait()


# --- nobody there ---------------------------------------------------------------------------------------------------


async def test_refused_connection_is_a_502_that_names_the_endpoint() -> None:
    address = unused_address()
    async with running_proxy(reverse(address)) as proxy:
        answer = await ask(proxy.address, GET)
        assert answer.status == 502
        assert b"error=connection_refused" in answer.values(b"proxy-status")[0]
        assert address.encode() in answer.body
