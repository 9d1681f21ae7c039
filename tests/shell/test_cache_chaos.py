"""Clients that leave, origins that break, everything at once: nobody gets a wrong byte, and nothing is left over."""

import asyncio
import random
from collections import Counter

import pytest

from tests.support.caching import Cached, cached
from tests.support.client import client
from tests.support.origin import OriginConnection, Received, Serve
from tests.support.proxy import eventually

CONTROLS = (b"max-age=60", b"max-age=0", b"no-store", b"private", b"max-age=0, stale-while-revalidate=60", b"no-cache")
EXTRAS = (b"", b"", b"", b"Range: bytes=0-3\r\n", b'If-None-Match: "1"\r\n', b"Cache-Control: no-cache\r\n")
METHODS = (*(b"GET",) * 8, b"HEAD", b"POST")


async def body(connection: OriginConnection, rng: random.Random, size: int, *, chunked: bool) -> bool:
    """Send it; whether the connection lives on."""
    for at in range(0, size, 20_000):
        data = b"x" * min(20_000, size - at)
        await connection.send(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        if rng.random() < 0.05:
            connection.reset()
            return False
        await asyncio.sleep(rng.choice([0, 0, 0, 0.005]))
    if chunked:
        await connection.send(b"0\r\n\r\n")
    return True


def chaotic(rng: random.Random) -> Serve:
    """An origin that answers at its own pace, breaks off, fails and validates."""

    async def serve(connection: OriginConnection) -> None:
        while (request := await connection.request()) is not None:
            if not await answer(connection, request):
                return

    async def answer(connection: OriginConnection, request: Received) -> bool:
        control = CONTROLS[request.line.split(b" ")[1][1] % len(CONTROLS)]
        if rng.random() < 0.1:
            await connection.send(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno")
            return True
        if request.values(b"If-None-Match") and rng.random() < 0.5:
            await connection.send(b'HTTP/1.1 304 N\r\nETag: "1"\r\nCache-Control: %b\r\n\r\n' % control)
            return True
        size, chunked = rng.choice([0, 5, 3000, 200_000]), rng.random() < 0.5
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
        await connection.send(b'HTTP/1.1 200 OK\r\nCache-Control: %b\r\nETag: "1"\r\n%b\r\n\r\n' % (control, framing))
        if request.line.startswith(b"HEAD"):
            return True
        return await body(connection, rng, size, chunked=chunked)

    return serve


async def visit(cache: Cached, rng: random.Random) -> str:
    """One client, which may leave at any time; what it got."""
    method, target = rng.choice(METHODS), b"/%c" % (65 + rng.randrange(12))
    async with client(cache.proxy.address) as one:
        await one.send(b"%b %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (method, target, rng.choice(EXTRAS)))
        if rng.random() < 0.25:
            await asyncio.sleep(rng.random() * 0.02)
            return "left"
        try:
            answer = await one.response(method=method.decode())
        except (asyncio.IncompleteReadError, ConnectionError):
            return "cut"
        assert answer.status in {200, 206, 304, 416, 502, 503}
        if answer.status in {200, 206}:
            assert set(answer.body) <= {ord("x")}
        return str(answer.status)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_clients_and_origins_do_nothing_is_wrong_and_nothing_is_left(seed: int) -> None:
    rng = random.Random(seed)
    got: Counter[str] = Counter()
    async with cached(chaotic(rng), maxBytes=1 << 20, maxEntryBytes=150_000) as cache:
        for _ in range(5):
            got.update(await asyncio.gather(*(visit(cache, rng) for _ in range(40))))
        await eventually(lambda: not cache.store.flights and not cache.store.refreshing, "fetches are left over")
        await eventually(lambda: cache.store.filling == 0, "bodies are left over")
        assert cache.store.size <= 1 << 20
    assert got["200"] > 50
    assert got["left"] > 20
