"""What the native front carries and aiohttp's parser does not: any method, request trailers, any byte of a target."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.client import client
from tests.support.origin import OK, Origin, OriginConnection, answers
from tests.support.proxy import ENGINE, reverse, running_proxy

HOST = b"Host: shop.example\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.fixture(autouse=True)
def native() -> Iterator[None]:
    ENGINE.name = "native"
    yield
    ENGINE.name = "aiohttp"


@pytest.mark.parametrize("method", [b"PURGE", b"FOO-BAR", b"get", b"QUERY", b"M-SEARCH", b"!#$%&'*+.^_`|~"])
async def test_any_method_passes(method: bytes) -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        await one.send(method + b" /x HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await one.response()).body == b"ok"
        assert origin.requests[0].line == method + b" /x HTTP/1.1"


@pytest.mark.parametrize("target", [b"/\xc3\xa4\xff", b"/a\x80?\xfe", b'/"<>\\^`{|}'])
async def test_target_of_any_visible_byte_passes(target: bytes) -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        await one.send(b"GET %b HTTP/1.1\r\n" % target + HOST + b"\r\n")
        assert (await one.response()).body == b"ok"
        assert origin.requests[0].line == b"GET %b HTTP/1.1" % target


async def trailing(connection: OriginConnection) -> None:
    """Reads a chunked request with its trailers and tells them in a field."""
    while True:
        head = await connection.until(b"\r\n\r\n")
        body, trailers = await connection.body(head)
        told = b", ".join(b"%b=%b" % pair for pair in trailers)
        await connection.send(
            b"HTTP/1.1 200 OK\r\nX-Trailers: %b\r\nContent-Length: %d\r\n\r\n%b" % (told, len(body), body)
        )


@pytest.mark.parametrize("body", [b"", b"5\r\nhello\r\n", b"5\r\nhello\r\n3\r\n!!!\r\n"])
@pytest.mark.parametrize("pieces", [1, 2, 3])
async def test_request_trailers_pass(body: bytes, pieces: int) -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
    end = b"0\r\nX-Sum: 7\r\nx-b: 8\r\n\r\n"
    cuts = {1: [head + body + end], 2: [head, body + end], 3: [head, body, end]}[pieces]
    async with (
        Origin(trailing) as origin,
        running_proxy(reverse(origin.address)) as proxy,
        client(proxy.address) as one,
    ):
        for _ in range(2):
            for piece in cuts:
                await one.send(piece)
                await asyncio.sleep(0.01)
            answer = await one.response()
            assert answer.values(b"x-trailers") == [b"X-Sum=7, x-b=8"]
        assert len(origin.connections) == 1


async def test_request_trailers_pass_again_in_a_retry() -> None:
    async def busy_once(connection: OriginConnection) -> None:
        head = await connection.until(b"\r\n\r\n")
        await connection.body(head)
        await connection.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        await trailing(connection)

    rule = {"retry": {"codes": [503], "attempts": 1, "backoff": "1ms"}}
    async with Origin(busy_once) as origin, running_proxy(reverse(origin.address, rule=rule)) as proxy:
        async with client(proxy.address) as one:
            await one.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
            await origin.connected()
            await one.send(b"2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n")
            answer = await one.response()
            assert (answer.status, answer.body, answer.values(b"x-trailers")) == (200, b"hi", [b"X-Sum=7"])


async def test_bytes_behind_an_upgrade_of_any_protocol_reach_the_tunnel() -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo/1\r\n\r\n"

    async def serve(connection: OriginConnection) -> None:
        await connection.until(b"\r\n\r\n")
        await connection.send(switch)
        await connection.send(await connection.exactly(5))
        connection.close()

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        await one.send(b"GET / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: foo/1\r\n\r\nearly")
        await one.head()
        assert await one.end() == b"early"


async def test_request_behind_a_refused_upgrade_is_served() -> None:
    upgrade = b"GET /u HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: foo/1\r\n\r\n"
    async with Origin(answers(OK)) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(upgrade + GET + upgrade + GET)
            assert [(await one.response()).body for _ in range(4)] == [b"ok"] * 4
        assert len(origin.requests) == 4


async def test_late_bad_chunk_is_told_at_once() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await origin.connected()
        await one.send(b"zz\r\n")
        assert (await one.response()).status == 400
