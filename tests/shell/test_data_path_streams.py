"""Large bodies and slow peers: every byte arrives, and no more of them are held than a few buffers."""

import asyncio
import hashlib
import resource
from collections.abc import Callable

import pytest

from tests.support.client import client
from tests.support.origin import OK, Origin, OriginConnection
from tests.support.proxy import reverse, running_proxy

pytestmark = pytest.mark.usefixtures("each_engine")

HOST = b"Host: shop.example\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
BLOCK = bytes(range(256)) * 256  # 64 KiB
MIB = 1 << 20
HELD = 16 * MIB  # what sockets on both sides of the proxy may hold besides it: Linux tunes their buffers


async def at_rest(value: Callable[[], int]) -> int:
    """The value once it has stopped to grow."""
    last, still = value(), 0
    while still < 5:
        await asyncio.sleep(0.03)
        still = still + 1 if value() == last and last else 0
        last = value()
    return last


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_slow_client_holds_the_origin_back(framing: str) -> None:
    size = 32 * MIB
    head = {
        "length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size,
        "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "close": b"HTTP/1.1 200 OK\r\n\r\n",
    }[framing]
    block = b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK) if framing == "chunked" else BLOCK
    tail = b"0\r\n\r\n" if framing == "chunked" else b""

    async def serve(connection: OriginConnection) -> None:
        await connection.request()
        await connection.send(head)
        for _ in range(size // len(BLOCK)):
            await connection.send(block)
        await connection.send(tail)
        connection.close()

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address, receive_buffer=65_536) as one:
            await one.send(GET)
            await one.head()
            assert await at_rest(lambda: origin.connections[0].pushed) < HELD + 2 * MIB
            connection = origin.connections[0]
            digest = hashlib.sha256()
            if framing == "length":
                for _ in range(size // MIB):
                    digest.update(await one.exactly(MIB))
                    one.forget()
            else:
                while (length := int((await one.until(b"\r\n"))[:-2], 16)) > 0:
                    digest.update(await one.exactly(length))
                    assert await one.exactly(2) == b"\r\n"
                    one.forget()
            assert digest.digest() == hashlib.sha256(BLOCK * (size // len(BLOCK))).digest()
            assert connection.pushed >= size


async def test_slow_origin_holds_the_client_back() -> None:
    size = 32 * MIB
    go = asyncio.Event()
    digest = hashlib.sha256()

    async def serve(connection: OriginConnection) -> None:
        await connection.until(b"\r\n\r\n")
        await go.wait()
        for _ in range(size // MIB):
            digest.update(await connection.exactly(MIB))
            connection.forget()
        await connection.send(OK)

    async def upload() -> None:
        for _ in range(size // len(BLOCK)):
            await one.send(BLOCK)

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one, asyncio.TaskGroup() as group:
            await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size)
            before = one.pushed
            group.create_task(upload())
            assert await at_rest(lambda: one.pushed - before) < HELD + 4 * MIB
            go.set()
            async with asyncio.timeout(20):
                while digest.digest() == hashlib.sha256().digest() or origin.connections[0].position < 0:
                    await asyncio.sleep(0.01)
                await one.until(b"ok")
        assert digest.digest() == hashlib.sha256(BLOCK * (size // len(BLOCK))).digest()


async def test_body_passes_both_ways_at_once_bit_exact_and_in_bounded_memory() -> None:
    """64 MiB up, echoed down: what the process holds in between is bounded."""
    size = 64 * MIB

    async def echo(connection: OriginConnection) -> None:
        await connection.until(b"\r\n\r\n")
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        left = size
        while left:
            block = await connection.exactly(min(left, 65_536))
            connection.forget()
            left -= len(block)
            await connection.send(block)

    async def upload() -> None:
        for _ in range(size // len(BLOCK)):
            await one.send(BLOCK)

    async with Origin(echo) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one, asyncio.TaskGroup() as group:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size)
            group.create_task(upload())
            await one.head()
            digest = hashlib.sha256()
            for _ in range(size // MIB):
                digest.update(await one.exactly(MIB))
                one.forget()
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert digest.digest() == hashlib.sha256(BLOCK * (size // len(BLOCK))).digest()
        assert grown < 32 * 1024  # KiB, of proxy, client and origin together


async def test_client_that_reads_nothing_is_dropped_after_the_body_timeout() -> None:
    async def serve(connection: OriginConnection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
        while True:
            await connection.send(BLOCK)

    config = {"limits": {"body_timeout": "200ms"}}
    async with Origin(serve) as origin, running_proxy(reverse(origin.address, listener=config)) as proxy:
        async with client(proxy.address, receive_buffer=65_536) as one:
            await one.send(GET)
            await one.head()
            await proxy.quiet()
            assert proxy.failures == 0


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 65_537, 262_144, 1_000_003])
async def test_body_sizes_around_the_buffers_pass(size: int) -> None:
    body = (BLOCK * (size // len(BLOCK) + 1))[:size]

    async def echo(connection: OriginConnection) -> None:
        while (request := await connection.request()) is not None:
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            await connection.send(request.body)

    async with Origin(echo) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            for _ in range(3):
                await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n%b" % (size, body))
                assert (await one.response()).body == body
        assert len(origin.connections) == 1


async def test_hundred_clients_stream_side_by_side() -> None:
    size = 200_000

    async def echo(connection: OriginConnection) -> None:
        while (request := await connection.request()) is not None:
            await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for at in range(0, len(request.body), 7_000):
                piece = request.body[at : at + 7_000]
                await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                await asyncio.sleep(0)
            await connection.send(b"0\r\n\r\n")

    async def one_client(number: int) -> None:
        body = bytes([number]) * size
        async with client(proxy.address) as one:
            await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n%b" % (size, body))
            assert (await one.response()).body == body

    async with Origin(echo) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(one_client(number))


async def test_request_body_goes_on_when_the_request_before_it_on_the_connection_is_put_away() -> None:
    rounds = 40

    async def echo(connection: OriginConnection) -> None:
        while (request := await connection.request()) is not None:
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.body))
            await asyncio.sleep(0.0005)  # the response's end is a read of its own
            await connection.send(request.body)

    async def one_client(number: int) -> None:
        async with client(proxy.address) as one:
            for turn in range(rounds):
                await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\n")
                await asyncio.sleep((0, 0.0002, 0.001)[(turn + number) % 3])
                await one.send(b"body")
                assert (await asyncio.wait_for(one.response(), 5)).body == b"body"

    async with Origin(echo) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(one_client(number))
