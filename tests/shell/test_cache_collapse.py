"""Collapsed forwarding: one fetch for many, and nobody the worse for it."""

import asyncio

import pytest

from tests.support.caching import Cached, by_target, cached, in_turn, is_status, reply, status_of
from tests.support.client import Answered, client
from tests.support.origin import answers, reset
from tests.support.proxy import eventually

pytestmark = pytest.mark.usefixtures("each_engine")
FRESH = b"Cache-Control: max-age=60"
GET = b"GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\n"
KNOWN = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 8\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n"


def begin(cache: Cached, count: int, *lines: bytes) -> "list[asyncio.Task[Answered]]":
    """Requests for `/a`, begun."""
    loop = asyncio.get_running_loop()
    return [loop.create_task(cache.get(b"/a", *lines), name="test") for _ in range(count)]


async def waited(cache: Cached, count: int) -> None:
    """Until that many requests wait for another's answer."""

    def waiting() -> int:
        return sum(flight.waiting for flight in cache.store.flights.values())

    await eventually(lambda: waiting() >= count, f"{count} requests should wait")


async def test_many_requests_for_one_thing_are_one_fetch() -> None:
    gate = asyncio.Event()
    async with cached(answers((gate, reply(b"hello", FRESH)))) as cache:
        tasks = begin(cache, 10)
        await waited(cache, 9)
        gate.set()
        got = await asyncio.gather(*tasks)
        assert len(cache.asked) == 1
        assert {answer.body for answer in got} == {b"hello"}
        collapsed = [answer for answer in got if "collapsed" in status_of(answer)]
        assert len(collapsed) == 9
        assert all(is_status(answer, "sidecar; fwd=uri-miss; ttl=60; collapsed") for answer in collapsed)
        assert not cache.store.flights


async def test_those_who_wait_read_along_while_the_body_comes() -> None:
    gate, end = asyncio.Event(), asyncio.Event()
    async with cached(answers((gate, KNOWN + b"firs", end, b"last"))) as cache:
        async with client(cache.proxy.address) as one, client(cache.proxy.address) as two:
            await one.send(GET)
            await eventually(lambda: cache.store.flights, "nobody went forward")
            await two.send(GET)
            await waited(cache, 1)
            gate.set()
            for each in (one, two):
                await each.until(b"firs")
            async with client(cache.proxy.address) as late:
                await late.send(GET)
                await late.until(b"firs")
                end.set()
                for each in (one, two, late):
                    assert await each.exactly(4) == b"last"
        assert len(cache.asked) == 1
        assert len(cache.entries) == 1


async def test_a_stream_of_unknown_length_serves_those_who_wait_when_it_has_ended() -> None:
    gate, end = asyncio.Event(), asyncio.Event()
    async with cached(answers((gate, CHUNKED + b"4\r\nfirs\r\n", end, b"4\r\nlast\r\n0\r\n\r\n"))) as cache:
        tasks = begin(cache, 3)
        await waited(cache, 2)
        gate.set()
        await eventually(lambda: cache.store.filling, "no body comes")
        assert not any(task.done() for task in tasks)
        end.set()
        assert [answer.body for answer in await asyncio.gather(*tasks)] == [b"firslast"] * 3
        assert len(cache.asked) == 1


async def test_an_answer_that_may_not_be_shared_sends_all_others_forward_at_once() -> None:
    gate, others = asyncio.Event(), asyncio.Event()
    private = reply(b"mine", b"Cache-Control: private")
    async with cached(in_turn((gate, private), (others, private))) as cache:
        tasks = begin(cache, 5)
        await waited(cache, 4)
        gate.set()
        await eventually(lambda: len(cache.asked) == 5, "the others do not go forward together")
        others.set()
        got = [status_of(answer) for answer in await asyncio.gather(*tasks)]
        assert sorted(got) == ["sidecar; fwd=uri-miss"] + ["sidecar; fwd=uri-miss; collapsed=?0"] * 4


async def test_nobody_waits_again_for_an_answer_that_could_not_be_shared() -> None:
    gate = asyncio.Event()
    private = reply(b"mine", b"Cache-Control: private")
    async with cached(in_turn(private, (gate, private))) as cache:
        await cache.get()
        tasks = begin(cache, 3)
        await eventually(lambda: len(cache.asked) == 4, "they wait for each other")
        gate.set()
        assert {status_of(answer) for answer in await asyncio.gather(*tasks)} == {"sidecar; fwd=uri-miss"}


async def test_a_fetch_that_fails_sends_the_others_forward() -> None:
    gate = asyncio.Event()
    async with cached(in_turn((gate, reset), reply(b"hello", FRESH))) as cache:
        tasks = begin(cache, 4)
        await waited(cache, 3)
        gate.set()
        got = await asyncio.gather(*tasks)
        assert sorted(answer.status for answer in got) in ([200, 200, 200, 502], [200, 200, 200, 200])


async def test_a_client_that_leaves_before_the_answer_hands_the_fetch_to_another() -> None:
    gate, second = asyncio.Event(), asyncio.Event()
    serve = in_turn((gate, reply(b"1", FRESH)), (second, reply(b"2", FRESH)))
    async with cached(serve) as cache:
        async with client(cache.proxy.address) as leader:
            await leader.send(GET)
            await eventually(lambda: cache.asked, "nobody went forward")
            tasks = begin(cache, 3)
            await waited(cache, 3)
        await eventually(lambda: len(cache.asked) == 2, "nobody took over")
        await waited(cache, 2)
        second.set()
        assert [answer.body for answer in await asyncio.gather(*tasks)] == [b"2"] * 3
        assert len(cache.asked) == 2


async def test_a_client_that_leaves_within_the_body_takes_it_from_nobody() -> None:
    gate, end = asyncio.Event(), asyncio.Event()
    async with cached(answers((gate, KNOWN + b"firs", end, b"last"))) as cache:
        async with client(cache.proxy.address) as leader:
            await leader.send(GET)
            await eventually(lambda: cache.asked, "nobody went forward")
            tasks = begin(cache, 2)
            await waited(cache, 2)
            gate.set()
            await leader.until(b"firs")
        end.set()
        assert [answer.body for answer in await asyncio.gather(*tasks)] == [b"firslast"] * 2
        assert len(cache.asked) == 1


async def test_a_client_that_leaves_within_a_body_of_unknown_length_takes_it_from_nobody() -> None:
    gate, end = asyncio.Event(), asyncio.Event()
    async with cached(answers((gate, CHUNKED + b"4\r\nfirs\r\n", end, b"4\r\nlast\r\n0\r\n\r\n"))) as cache:
        async with client(cache.proxy.address) as leader:
            await leader.send(GET)
            await eventually(lambda: cache.asked, "nobody went forward")
            tasks = begin(cache, 2)
            await waited(cache, 2)
            gate.set()
            await leader.until(b"firs")
        end.set()
        assert [answer.body for answer in await asyncio.gather(*tasks)] == [b"firslast"] * 2
        assert len(cache.asked) == 1


async def test_a_client_that_reads_slowly_keeps_nobody_waiting() -> None:
    size = 900_000
    gate = asyncio.Event()
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n" % size
    async with cached(answers((gate, head, b"x" * size))) as cache:
        async with client(cache.proxy.address, receive_buffer=4096) as slow:
            await slow.send(GET)
            await eventually(lambda: cache.asked, "nobody went forward")
            tasks = begin(cache, 1)
            await waited(cache, 1)
            gate.set()
            await slow.head()
            assert len((await asyncio.wait_for(tasks[0], 5)).body) == size
            await eventually(lambda: cache.entries, "the slow client keeps it out of the store")


async def test_another_variant_does_not_take_the_answer_it_waited_for() -> None:
    gate = asyncio.Event()
    lines = (FRESH, b"Vary: X-A")
    async with cached(in_turn((gate, reply(b"1", *lines)), reply(b"2", *lines))) as cache:
        first = begin(cache, 1, b"X-A: 1")
        await eventually(lambda: cache.asked, "nobody went forward")
        second = begin(cache, 1, b"X-A: 2")
        await waited(cache, 1)
        gate.set()
        assert (await first[0]).body == b"1"
        assert (await second[0]).body == b"2"


async def test_known_variants_do_not_wait_for_each_other() -> None:
    gate = asyncio.Event()
    lines = (b"Cache-Control: max-age=0", b'ETag: "1"', b"Vary: X-A")
    one, two = reply(b"1", *lines), reply(b"2", *lines)
    async with cached(in_turn(one, two, (gate, one), two)) as cache:
        await cache.get(b"/a", b"X-A: 1")
        await cache.get(b"/a", b"X-A: 2")
        cache.store._marks.clear()
        first = begin(cache, 1, b"X-A: 1")
        await eventually(lambda: len(cache.asked) == 3, "nobody went forward")
        await cache.get(b"/a", b"X-A: 2")
        gate.set()
        await first[0]


async def test_patience_has_an_end() -> None:
    gate = asyncio.Event()
    serve = in_turn((gate, reply(b"1", FRESH)), reply(b"2", FRESH))
    async with cached(serve, collapseTimeout="50ms") as cache:
        first = begin(cache, 1)
        await eventually(lambda: cache.asked, "nobody went forward")
        assert (await cache.get()).body == b"2"
        gate.set()
        assert (await first[0]).body == b"1"


async def test_without_patience_everybody_goes_forward() -> None:
    gate = asyncio.Event()
    async with cached(answers((gate, reply(b"1", FRESH))), collapseTimeout="0s") as cache:
        tasks = begin(cache, 3)
        await eventually(lambda: len(cache.asked) == 3, "somebody waits")
        gate.set()
        await asyncio.gather(*tasks)


async def test_the_answer_to_an_authorized_request_is_not_handed_to_those_who_wait() -> None:
    gate = asyncio.Event()
    async with cached(in_turn((gate, reply(b"mine", FRESH)), reply(b"all", FRESH))) as cache:
        own = begin(cache, 1, b"Authorization: Bearer x")
        await eventually(lambda: cache.asked, "nobody went forward")
        other = begin(cache, 1)
        await waited(cache, 1)
        gate.set()
        assert (await own[0]).body == b"mine"
        assert (await other[0]).body == b"all"


async def test_a_validation_is_shared_too() -> None:
    gate = asyncio.Event()
    lines = (FRESH, b'ETag: "1"')
    async with cached(answers(reply(b"hello", *lines), (gate, reply(b"", *lines, status=b"304 N")))) as cache:
        await cache.get()
        cache.pass_time(100)
        tasks = begin(cache, 4)
        await waited(cache, 3)
        gate.set()
        assert {answer.body for answer in await asyncio.gather(*tasks)} == {b"hello"}
        assert len(cache.asked) == 2


async def test_what_was_invalidated_while_it_was_fetched_is_not_stored() -> None:
    gate = asyncio.Event()
    async with cached(in_turn((gate, reply(b"old", FRESH)), reply(b"done"))) as cache:
        tasks = begin(cache, 1)
        await eventually(lambda: cache.asked, "nobody went forward")
        await cache.get(b"/a", method=b"POST")
        gate.set()
        assert (await tasks[0]).body == b"old"
        assert cache.entries == []


async def test_requests_for_other_things_do_not_wait() -> None:
    async with cached(by_target(a=reply(b"a", FRESH), b=reply(b"b", FRESH))) as cache:
        got = await asyncio.gather(cache.get(b"/a"), cache.get(b"/b"))
        assert [answer.body for answer in got] == [b"a", b"b"]
        assert len(cache.asked) == 2
