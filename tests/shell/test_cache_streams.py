"""Bodies that pass through the cache: not delayed, stored when whole, dropped when not."""

import asyncio

from tests.support.caching import cached, in_turn, reply, status_of
from tests.support.client import client
from tests.support.origin import answers, close, reset
from tests.support.proxy import eventually

FRESH = b"Cache-Control: max-age=60"
CHUNKED = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n"
KNOWN = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 8\r\n\r\n"
GET = b"GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\n"


async def test_a_miss_passes_as_it_comes_and_is_stored_when_it_has_ended() -> None:
    gate = asyncio.Event()
    script = (CHUNKED + b"4\r\nfirs\r\n", gate, b"4\r\nlast\r\n0\r\nX-Sum: 7\r\n\r\n")
    async with cached(answers(script)) as cache, client(cache.proxy.address) as one:
        await one.send(GET)
        head = await one.head()
        assert b"fwd=uri-miss" in head
        assert await one.exactly(9) == b"4\r\nfirs\r\n"
        assert cache.entries == []
        gate.set()
        assert await one.until(b"0\r\nX-Sum: 7\r\n\r\n") == b"4\r\nlast\r\n0\r\nX-Sum: 7\r\n\r\n"
        await eventually(lambda: cache.entries, "not stored")
        again = await cache.get()
        assert again.body == b"firslast"
        assert again.value(b"content-length") == b"8"
        assert (again.value(b"x-sum"), again.trailers) == (None, [])
        assert cache.store.filling == 0


async def test_a_chunked_response_that_comes_at_once_is_stored_with_its_length() -> None:
    async with cached(answers(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")) as cache:
        await cache.get()
        await eventually(lambda: cache.entries, "not stored")
        assert (await cache.get()).value(b"content-length") == b"5"


async def test_a_body_that_breaks_is_not_stored_and_the_client_can_tell() -> None:
    for head in (CHUNKED + b"4\r\nfirs\r\n", KNOWN + b"firs"):
        gate = asyncio.Event()
        async with cached(answers((head, gate, reset))) as cache, client(cache.proxy.address) as one:
            await one.send(GET)
            await one.until(b"firs")
            gate.set()
            assert b"0\r\n" not in await one.end()
            await eventually(lambda: not cache.store.flights, "the fetch has not ended")
            assert cache.entries == []
            assert cache.store.filling == 0


async def test_a_client_that_leaves_ends_the_fetch_and_nothing_is_stored() -> None:
    async with cached(answers((KNOWN + b"firs", asyncio.Event()))) as cache:
        async with client(cache.proxy.address) as one:
            await one.send(GET)
            await one.until(b"firs")
        await asyncio.wait_for(cache.origin.connections[0].gone.wait(), 5)
        await eventually(lambda: not cache.store.flights, "the fetch has not ended")
        assert cache.entries == []
        assert cache.store.filling == 0


async def test_a_response_that_ends_with_its_connection_is_not_stored() -> None:
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\n"
    async with cached(answers((head + b"hello", close))) as cache:
        assert (await cache.get()).body == b"hello"
        assert cache.entries == []


async def test_a_response_with_a_length_over_the_limit_passes_and_is_not_stored() -> None:
    async with cached(answers(reply(b"x" * 2000, FRESH)), maxEntryBytes=1000) as cache:
        answer = await cache.get()
        assert (len(answer.body), status_of(answer)) == (2000, "sidecar; fwd=uri-miss")
        assert cache.entries == []


async def test_a_stream_that_proves_too_large_passes_whole_under_back_pressure() -> None:
    gate = asyncio.Event()
    blocks = b"".join(b"10000\r\n%b\r\n" % (b"x" * 65_536) for _ in range(400))
    script = (CHUNKED + b"3e8\r\n%b\r\n" % (b"y" * 1000), gate, blocks + b"0\r\n\r\n")
    async with cached(answers(script), maxEntryBytes=2000) as cache:
        async with client(cache.proxy.address, receive_buffer=4096) as slow:
            await slow.send(GET)
            await slow.until(b"y" * 1000)
            gate.set()
            await eventually(lambda: not cache.store.flights, "it was not found to be too large")
            origin = cache.origin.connections[0]
            assert origin.pushed < len(blocks)
            got = await asyncio.wait_for(slow.until(b"\r\n0\r\n\r\n"), 20)
            assert got.count(b"x") == 400 * 65_536
        assert cache.entries == []
        assert cache.store.filling == 0


async def test_bodies_on_their_way_share_a_budget_and_those_beyond_are_not_stored() -> None:
    gate = asyncio.Event()
    script = (CHUNKED + b"4e20\r\n%b\r\n" % (b"x" * 20_000), gate, b"0\r\n\r\n")
    async with cached(answers(script), maxBytes=65_536, maxEntryBytes=65_536) as cache:
        cache.store.filling = 60_000
        async with client(cache.proxy.address) as one:
            await one.send(GET)
            await one.until(b"x" * 20_000)
            gate.set()
            await one.until(b"0\r\n\r\n")
        assert cache.entries == []
        cache.store.filling -= 60_000
        assert cache.store.filling == 0


async def test_the_store_keeps_within_its_size() -> None:
    async with cached(answers(reply(b"x" * 10_000, FRESH)), maxBytes=65_536) as cache:
        for at in range(20):
            await cache.get(b"/%d" % at)
        assert cache.store.size <= 65_536
        assert 0 < len(cache.entries) < 8


async def test_variants_of_one_uri_are_limited() -> None:
    async with cached(answers(reply(b"hello", FRESH, b"Vary: X-A"))) as cache, client(cache.proxy.address) as one:
        for at in range(80):
            await one.ask(b"GET /a HTTP/1.1\r\nHost: shop.example\r\nX-A: %d\r\n\r\n" % at)
        assert len(cache.entries) == 64
        assert len(cache.store) == 64


async def test_a_stream_behind_a_stale_answer_is_read_and_stored() -> None:
    first = reply(b"old", b"Cache-Control: max-age=1, stale-while-revalidate=600")
    gate = asyncio.Event()
    async with cached(in_turn(first, (KNOWN + b"firs", gate, b"last"))) as cache:
        await cache.get()
        cache.pass_time(10)
        assert (await cache.get()).body == b"old"
        gate.set()
        await eventually(lambda: cache.entries[0].body == b"firslast", "the new response was not stored")


async def test_a_purge_while_a_response_comes_keeps_it_out() -> None:
    gate = asyncio.Event()
    async with cached(answers((KNOWN + b"firs", gate, b"last"))) as cache, client(cache.proxy.address) as one:
        await one.send(GET)
        await one.until(b"firs")
        assert cache.store.purge("http://shop.example/a") == 0
        gate.set()
        await one.until(b"last")
        await eventually(lambda: cache.store.filling == 0, "the fetch has not ended")
        assert cache.entries == []
