"""What the proxy answers itself: malformed requests, limits, no route, errors in the form the client prefers."""

import asyncio
import json

import pytest

from tests.support.client import ask, client
from tests.support.origin import Origin, unused_address
from tests.support.proxy import forward, reverse, running_proxy

pytestmark = pytest.mark.usefixtures("each_engine")

HOST = b"Host: shop.example\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"

MALFORMED = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/3": b"GET / HTTP/3.1\r\n" + HOST + b"\r\n",
    "http/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\n" + HOST + b"Host: other\r\n\r\n",
    "the same Host twice": b"GET / HTTP/1.1\r\n" + HOST * 2 + b"\r\n",
    "length and chunks": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "the same length twice": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "length list": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5, 5\r\n\r\nhello",
    "signed length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +5\r\n\r\nhello",
    "hex length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x5\r\n\r\nhello",
    "negative length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -5\r\n\r\n",
    "empty length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: \r\n\r\n",
    "chunked twice": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "unknown coding": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: x\r\n\r\nhello",
    "odd chunked": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "gzip, chunked": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked with HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "vertical tab before chunked": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "bare LF everywhere": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare LF after a field": b"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
    "bare CR in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n",
    "control byte in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x01b\r\n\r\n",
    "DEL in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x7fb\r\n\r\n",
    "obs-fold": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
    "space before colon": b"GET / HTTP/1.1\r\n" + HOST + b"X : a\r\n\r\n",
    "space in a name": b"GET / HTTP/1.1\r\n" + HOST + b"X Y: a\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\n" + HOST + b"XY\r\n\r\n",
    "empty name": b"GET / HTTP/1.1\r\n" + HOST + b": a\r\n\r\n",
    "space before the first field": b"GET / HTTP/1.1\r\n " + HOST + b"\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "control byte in the target": b"GET /a\x01 HTTP/1.1\r\n" + HOST + b"\r\n",
    "no target": b"GET  HTTP/1.1\r\n" + HOST + b"\r\n",
    "relative target": b"GET a/b HTTP/1.1\r\n" + HOST + b"\r\n",
    "other scheme": b"GET ftp://a/b HTTP/1.1\r\n" + HOST + b"\r\n",
    "userinfo": b"GET http://user:pass@a/b HTTP/1.1\r\n" + HOST + b"\r\n",
    "no authority": b"GET http:///b HTTP/1.1\r\n" + HOST + b"\r\n",
    "bad chunk size": CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n",
    "chunk without its end": CHUNKED + b"5\r\nhelloX\r\n0\r\n\r\n",
    "chunk size too large": CHUNKED + b"fffffffffffffffff\r\nhello\r\n",
    "negative chunk": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "chunk with bare LF": CHUNKED + b"5\nhello\n0\n\n",
    "chunk size 0x": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "space in Host": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "slash in Host": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "userinfo in Host": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "byte over 127 in Host": b"GET / HTTP/1.1\r\nHost: \xe4\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_request_is_refused_and_nothing_of_it_reaches_the_origin(name: str) -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(MALFORMED[name] + GET)
            answer = await one.response()
            assert answer.status in {400, 501, 505}, answer.body
            assert answer.values(b"connection") == [b"close"]
            assert b"error=http_request_error" in answer.values(b"proxy-status")[0]
            assert b"Traceback" not in answer.body
            assert await one.ended_whole()
        assert origin.requests == []


async def test_bad_chunk_that_comes_late_ends_the_connection_and_the_origin_sees_no_whole_request() -> None:
    config = {"limits": {"body_timeout": "300ms"}}  # aiohttp's parser does not tell the reader: the timeout does
    async with Origin() as origin, running_proxy(reverse(origin.address, listener=config)) as proxy:
        async with client(proxy.address) as one:
            await one.send(CHUNKED + b"5\r\nhello\r\n")
            await origin.connected()
            await one.send(b"zz\r\nbad\r\n0\r\n\r\n")
            answer = await one.response()
            assert answer.status in {400, 408}
            assert answer.values(b"connection") == [b"close"]
            await asyncio.wait_for(origin.connections[0].gone.wait(), 5)
        assert origin.requests == []
        assert proxy.failures == 0


async def test_pipelined_request_behind_a_malformed_one_is_not_served() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        assert (await one.ask(GET)).status == 200
        await one.send(b"what\r\n\r\n" + GET)
        assert (await one.response()).status == 400
        assert await one.ended_whole()
        assert len(origin.requests) == 1


# --- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "request_", "statuses"),
    [
        ({"max_header_bytes": 1000}, b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 2000 + b"\r\n\r\n", {431}),
        ({"max_header_count": 10}, b"GET / HTTP/1.1\r\n" + HOST + b"X: 1\r\n" * 20 + b"\r\n", {431, 400}),
        ({"max_target_bytes": 1000}, b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {414, 431}),
        ({"max_body_bytes": 4}, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello", {413}),
        ({"max_body_bytes": 4}, CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", {413}),
    ],
    ids=["field bytes", "field count", "target", "length", "chunks"],
)
async def test_limits_are_answered_with_their_status(
    limits: dict[str, int], request_: bytes, statuses: set[int]
) -> None:
    config = {"limits": limits}
    async with Origin() as origin, running_proxy(reverse(origin.address, listener=config)) as proxy:
        async with client(proxy.address) as one:
            await one.send(request_)
            answer = await one.response()
            assert answer.status in statuses
            assert answer.values(b"connection") == [b"close"]
            assert await one.ended_whole()
        assert origin.requests == []


async def test_body_over_the_limit_that_comes_in_chunks_is_cut_off() -> None:
    config = {"limits": {"max_body_bytes": 100_000}}
    async with Origin() as origin, running_proxy(reverse(origin.address, listener=config)) as proxy:
        async with client(proxy.address) as one:
            await one.send(CHUNKED)
            for _ in range(30):
                await one.send(b"1000\r\n" + bytes(4096) + b"\r\n")
            assert (await one.response()).status == 413
        assert origin.requests == []


async def test_connections_over_the_limit_are_answered_503_and_closed() -> None:
    config = {"limits": {"max_connections": 2}}
    async with Origin() as origin, running_proxy(reverse(origin.address, listener=config)) as proxy:
        async with client(proxy.address) as one, client(proxy.address) as two:
            assert (await one.ask(GET)).status == (await two.ask(GET)).status == 200
            async with client(proxy.address) as three:
                answer = await three.response()
                assert (answer.status, answer.values(b"connection")) == (503, [b"close"])
                assert b"connection_limit_reached" in answer.values(b"proxy-status")[0]
                assert await three.ended_whole()
            assert (await one.ask(GET)).status == 200
            two.close()
            for _ in range(100):
                async with client(proxy.address) as four:
                    await four.send(GET)
                    if (await four.response()).status == 200:
                        break
            else:
                raise AssertionError("the place is not given back")


async def test_idle_client_is_closed_after_the_keepalive_timeout() -> None:
    config = {"limits": {"keepalive_timeout": "100ms"}}
    async with Origin() as origin, running_proxy(reverse(origin.address, listener=config)) as proxy:
        async with client(proxy.address) as silent, client(proxy.address) as one:
            await one.ask(GET)
            assert await one.ended_whole()
            assert await silent.ended_whole()


# --- the form of an error -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "json_wanted"),
    [
        (b"", False),
        (b"Accept: */*\r\n", False),
        (b"Accept: text/html, application/json;q=0.5\r\n", False),
        (b"Accept: application/json\r\n", True),
        (b"Accept: application/json, text/plain\r\n", True),
        (b"Accept: application/problem+json, */*\r\n", True),
    ],
)
async def test_error_is_text_or_json_as_the_client_prefers(accept: bytes, json_wanted: bool) -> None:
    address = unused_address()
    async with running_proxy(reverse(address)) as proxy:
        answer = await ask(proxy.address, b"GET / HTTP/1.1\r\n" + HOST + accept + b"\r\n")
        assert answer.status == 502
        assert b"Traceback" not in answer.body
        if json_wanted:
            assert answer.values(b"content-type") == [b"application/json"]
            said = json.loads(answer.body)
            assert (said["status"], said["error"]) == (502, "connect_failed")
            assert said["attempts"][0]["endpoint"] == address
        else:
            assert answer.values(b"content-type") == [b"text/plain; charset=utf-8"]
            assert answer.body.startswith(b"502 Bad Gateway: ")


async def test_error_to_head_has_no_body_and_keeps_the_connection() -> None:
    async with running_proxy(reverse(unused_address())) as proxy, client(proxy.address) as one:
        for _ in range(2):
            answer = await one.ask(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n")
            assert (answer.status, answer.body) == (502, b"")
        assert one.position == len(one.received)


async def test_no_route_is_a_404_and_keeps_the_connection() -> None:
    rule = {"matches": [{"path": {"value": "/api"}}]}
    async with Origin() as origin, running_proxy(reverse(origin.address, rule=rule)) as proxy:
        async with client(proxy.address) as one:
            answer = await one.ask(GET)
            assert answer.status == 404
            assert b"destination_not_found" in answer.values(b"proxy-status")[0]
            assert (await one.ask(GET.replace(b"/ ", b"/api/x ", 1))).body == b"ok"


async def test_error_answer_to_a_request_with_a_body_leaves_the_connection_in_step() -> None:
    rule = {"matches": [{"path": {"value": "/api"}}]}
    async with Origin() as origin, running_proxy(reverse(origin.address, rule=rule)) as proxy:
        async with client(proxy.address) as one:
            await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n")
            assert (await one.response()).status == 404
            await one.send(b"GET /api HTTP/1.1\r\n\r\n".ljust(100_000))  # the body, whatever it says
            assert (await one.ask(GET.replace(b"/ ", b"/api/x ", 1))).body == b"ok"
        assert len(origin.requests) == 1


async def test_loop_is_a_508_and_never_reaches_the_origin() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        await ask(proxy.address, GET)
        via = origin.requests[0].values(b"via")[0]
        answer = await ask(proxy.address, b"GET / HTTP/1.1\r\n" + HOST + b"Via: 1.0 fred, %b\r\n\r\n" % via)
        assert answer.status == 508
        assert b"proxy_loop_detected" in answer.values(b"proxy-status")[0]
        assert len(origin.requests) == 1


async def test_proxy_that_forwards_to_itself_answers_508() -> None:
    async with running_proxy(forward()) as proxy:
        itself = proxy.address.encode()
        answer = await ask(proxy.address, b"GET http://%b/ HTTP/1.1\r\nHost: %b\r\n\r\n" % (itself, itself))
        assert answer.status == 508


async def test_details_of_an_error_are_escaped_in_proxy_status() -> None:
    async with running_proxy(forward()) as proxy:
        answer = await ask(proxy.address, b'GET http://a"b\\c:99999/ HTTP/1.1\r\nHost: x\r\n\r\n')
        assert answer.status == 400
        value = answer.values(b"proxy-status")[0]
        assert value.count(b'"') - value.count(b'\\"') == 2
