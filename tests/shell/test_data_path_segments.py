"""Where TCP cuts the bytes means nothing: the same messages pass, however they are split, on both sides."""

import asyncio
import random
from collections.abc import Iterator

import pytest

from tests.support.client import Client, client
from tests.support.origin import Origin, OriginConnection
from tests.support.proxy import reverse, running_proxy

pytestmark = pytest.mark.usefixtures("each_engine")

HOST = b"Host: shop.example\r\n"
REQUESTS = [
    (b"GET /a%2Fb HTTP/1.1\r\n" + HOST + b"X-A: \xff b\r\n\r\n", b""),
    (b"POST /b HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    (
        b"PUT /c HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
        b"hello!",
    ),
    (b"POST /d HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
    (b"DELETE /e HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\n\r\n\r", b"\r\n\r"),
]
RESPONSES = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\nok", b"ok"),
    (
        (
            b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\nA;q=1\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n"
        ),
        b"abc0123456789",
    ),
    (
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!"
        ),
        b"!",
    ),
    (b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n", b""),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nETag: x\r\n\r\n", b""),
    (b"HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\n\r\n\r\n", b"\r\n\r\n"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
]


def pieces(data: bytes, cut: int, dice: random.Random) -> Iterator[bytes]:
    """`cut` bytes at a time; 0: any number."""
    at = 0
    while at < len(data):
        size = cut or dice.randint(1, 40)
        yield data[at : at + size]
        at += size


async def final(one: Client) -> tuple[bytes, bytes]:
    """Reason and body of the next final response."""
    answer = await one.response()
    while answer.status < 200:
        answer = await one.response()
    return answer.reason, answer.body


def expected(reply: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """What `final` gives for one of the responses."""
    line = reply[0][reply[0].rindex(b"HTTP/1.1 ") :].partition(b"\r\n")[0]
    return line[13:], reply[1]


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 0])
async def test_messages_pass_however_they_are_cut(cut: int) -> None:
    dice = random.Random(cut)

    async def serve(connection: OriginConnection) -> None:
        for number in range(len(REQUESTS) * len(RESPONSES)):
            await connection.request()
            reply = RESPONSES[number % len(RESPONSES)][0]
            for piece in pieces(reply, cut, dice):
                await connection.send(piece)
                await asyncio.sleep(0)

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        for number in range(len(REQUESTS) * len(RESPONSES)):
            request, body = REQUESTS[number % len(REQUESTS)]
            for piece in pieces(request, cut, dice):
                await one.send(piece)
                await asyncio.sleep(0)
            assert await final(one) == expected(RESPONSES[number % len(RESPONSES)])
            assert origin.requests[-1].body == body
        assert len(origin.connections) == 1
        assert one.position == len(one.received)


@pytest.mark.parametrize("seed", range(4))
async def test_pipelined_messages_pass_however_they_are_cut(seed: int) -> None:
    dice = random.Random(seed)
    asked = [dice.choice(REQUESTS) for _ in range(40)]
    replies = [dice.choice(RESPONSES) for _ in asked]

    async def serve(connection: OriginConnection) -> None:
        for reply, _ in replies:
            await connection.request()
            for piece in pieces(reply, 0, dice):
                await connection.send(piece)
                await asyncio.sleep(0)

    async def send() -> None:
        for piece in pieces(b"".join(request for request, _ in asked), 0, dice):
            await one.send(piece)
            await asyncio.sleep(0)

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            for reply in replies:
                assert await final(one) == expected(reply)
        assert [request.body for request in origin.requests] == [body for _, body in asked]
        assert len(origin.connections) == 1
