"""Time and space: what a slow, greedy or silent client can take, and that others are served meanwhile."""

import asyncio
import importlib.util
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.client import Client, ask, client
from tests.support.limited import limited
from tests.support.origin import OK, Origin, OriginConnection, answers
from tests.support.process import sidecar
from tests.support.proxy import ENGINE, eventually, reverse, running_proxy

pytestmark = pytest.mark.usefixtures("each_engine")

HOST = b"Host: shop.example\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
PARTIAL = b"GET / HTTP/1.1\r\n" + HOST + b"X-A: "
CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
MANY = 500  # connections, bounded so that the default run stays short
QUICK = 2.0  # seconds in which another client must be served


def limits(**values: object) -> dict[str, object]:
    return {"limits": values}


async def served(address: str) -> None:
    """Another client is unharmed."""
    async with asyncio.timeout(QUICK):
        assert (await ask(address, GET)).status == 200


# --- slow clients ---------------------------------------------------------------------------------------------------


async def test_head_that_does_not_come_in_time_is_a_408_however_it_dribbles() -> None:
    config = limits(header_timeout="200ms")
    async with Origin() as origin, running_proxy(reverse(origin.address, listener=config)) as proxy:
        async with client(proxy.address) as silent, client(proxy.address) as dribbling:
            await silent.send(PARTIAL)
            await dribbling.send(PARTIAL)
            dribble = asyncio.get_running_loop().create_task(_dribble(dribbling), name="test")
            await served(proxy.address)
            for one in (silent, dribbling):
                answer = await one.response()
                assert (answer.status, answer.values(b"connection")) == (408, [b"close"])
            assert await silent.ended_whole()
            dribble.cancel()
        assert len(origin.requests) == 1


async def _dribble(one: Client) -> None:
    try:
        while True:
            await one.send(b"a")
            await asyncio.sleep(0.02)
    except ConnectionError:
        pass


async def test_second_head_on_a_connection_has_its_time_too() -> None:
    config = limits(header_timeout="200ms")
    async with Origin() as origin, running_proxy(reverse(origin.address, listener=config)) as proxy:
        async with client(proxy.address) as one:
            assert (await one.ask(GET)).status == 200
            await one.send(PARTIAL)
            assert (await one.response()).status == 408


async def test_head_that_comes_slowly_but_in_time_is_served() -> None:
    config = limits(header_timeout="5s")
    async with Origin() as origin, running_proxy(reverse(origin.address, listener=config)) as proxy:
        async with client(proxy.address) as one:
            for _ in range(2):
                for byte in GET:
                    await one.send(bytes([byte]))
                assert (await one.response()).status == 200


@pytest.mark.parametrize("framing", [b"Content-Length: 100\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_body_that_stops_coming_is_a_408_and_the_origin_sees_no_whole_request(framing: bytes) -> None:
    config = limits(body_timeout="200ms")
    async with Origin() as origin, running_proxy(reverse(origin.address, listener=config)) as proxy:
        async with client(proxy.address) as one:
            await one.send(b"POST / HTTP/1.1\r\n" + HOST + framing + b"\r\n1")
            answer = await one.response()
            assert (answer.status, answer.values(b"connection")) == (408, [b"close"])
            await served(proxy.address)
        assert [request.line for request in origin.requests] == [b"GET / HTTP/1.1"]
        assert proxy.failures == 0


async def test_reader_that_stops_is_cut_and_holds_back_the_origin_meanwhile() -> None:
    size = 64 << 20
    pushed: list[OriginConnection] = []

    async def endless(connection: OriginConnection) -> None:
        await connection.request()
        pushed.append(connection)
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size >> 16):
            await connection.send(bytes(65_536))

    config = limits(body_timeout="300ms")
    async with Origin(endless) as origin, running_proxy(reverse(origin.address, listener=config)) as proxy:
        async with client(proxy.address, receive_buffer=4096) as one:
            await one.send(GET)
            await one.head()
            await asyncio.wait_for(_until_lost(pushed[0]), 5)
            assert pushed[0].pushed < 16 << 20
            await proxy.quiet()


async def _until_lost(connection: OriginConnection) -> None:
    await connection.gone.wait()


async def test_reader_of_a_tiny_window_that_goes_on_gets_all() -> None:
    body = bytes(range(256)) * 4096
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    config = limits(body_timeout="1s")
    async with Origin(answers(reply)) as origin, running_proxy(reverse(origin.address, listener=config)) as proxy:
        async with client(proxy.address, receive_buffer=2048) as one:
            assert (await one.ask(GET)).body == body


async def test_body_of_tiny_chunks_passes_whole_and_others_are_served() -> None:
    body = bytes(index % 251 for index in range(20_000))
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            sending = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
            await one.send(CHUNKED + sending)
            await served(proxy.address)
            await one.send(b"0\r\n\r\n")
            assert (await one.response()).status == 200
        assert body in [request.body for request in origin.requests]


# --- greedy clients -------------------------------------------------------------------------------------------------


async def test_thousands_of_header_lines_are_a_431_at_once() -> None:
    lines = b"".join(b"X-%d: 1\r\n" % number for number in range(5000))
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        async with asyncio.timeout(QUICK), client(proxy.address) as one:
            await one.send(b"GET / HTTP/1.1\r\n" + HOST + lines + b"\r\n")
            assert (await one.response()).status in ({431} if ENGINE.name == "native" else {431, 400})
        await served(proxy.address)
        assert len(origin.requests) == 1


async def test_head_without_end_is_refused_before_it_fills_the_memory() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        await one.send(b"GET / HTTP/1.1\r\n" + HOST)
        with pytest.raises(ConnectionError):
            for number in range(100_000):
                await one.send(b"X-%d: %b\r\n" % (number, bytes(1000).replace(b"\0", b"a")))
        assert one.pushed < 8 << 20
        assert origin.requests == []


async def test_pipelined_requests_are_held_back_while_the_first_is_served() -> None:
    release = asyncio.Event()
    async with Origin(answers((release, OK))) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    while True:
                        await one.send(GET * 1000)
            assert one.pushed < 16 << 20
            await _another(proxy.address, origin)
            release.set()
            for _ in range(100):
                assert (await one.response()).status == 200


async def _another(address: str, origin: Origin) -> None:
    """Another client's request reaches the origin."""
    async with client(address) as other:
        await other.send(GET)
        await origin.connected(2)


async def test_half_open_connections_are_closed_in_time_and_others_are_served() -> None:
    config = limits(header_timeout="1s", keepalive_timeout="1s")
    async with (
        Origin() as origin,
        running_proxy(reverse(origin.address, listener=config)) as proxy,
        AsyncExitStack() as open_,
    ):
        listener = proxy.proxy.listeners[0]
        most = 0
        for number in range(MANY):
            one = await open_.enter_async_context(client(proxy.address))
            if number % 2:
                await one.send(PARTIAL)
            most = max(most, listener.connections)
        assert most > 10
        await served(proxy.address)
        await eventually(lambda: not listener.connections, "half-open connections are left over", 10)


async def test_one_client_that_holds_all_connections_keeps_others_out_until_they_time_out() -> None:
    config = limits(max_connections=5, keepalive_timeout="300ms")
    async with (
        Origin() as origin,
        running_proxy(reverse(origin.address, listener=config)) as proxy,
        AsyncExitStack() as open_,
    ):
        held = [await open_.enter_async_context(client(proxy.address)) for _ in range(5)]
        assert (await held[0].ask(GET)).status == 200
        async with client(proxy.address) as other:
            assert (await other.response()).status == 503
        for one in held:
            assert await one.ended_whole()
        await served(proxy.address)


# --- a real process -------------------------------------------------------------------------------------------------


async def test_memory_for_a_connection_is_bounded(tmp_path: Path) -> None:
    async with Origin() as origin:
        file = tmp_path / "sidecar.yaml"
        file.write_text(json.dumps(_config(origin.address)))
        async with sidecar("run", "--config", str(file)) as process, AsyncExitStack() as open_:
            for _ in range(20):
                await served(process.address)
            before = process.memory("VmRSS")
            for _ in range(MANY):
                one = await open_.enter_async_context(client(process.address))
                await one.send(PARTIAL + b"a" * 4000)
            await served(process.address)
            each = (process.memory("VmRSS") - before) / MANY
            print(f"\n{ENGINE.name}: {each:.1f} KiB for a connection with 4 KB of an unfinished head")
            assert each < 64


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_accepting_pauses_when_descriptors_run_out_and_no_client_is_turned_away(
    loop: str, tmp_path: Path
) -> None:
    if loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    async with Origin() as origin:
        file = tmp_path / "sidecar.yaml"
        file.write_text(json.dumps(_config(origin.address)))
        async with limited(80, loop, "run", "--config", str(file)) as process, AsyncExitStack() as open_:
            many = [await open_.enter_async_context(client(process.address)) for _ in range(100)]
            assert (await many[0].ask(GET)).status == 200, "an upstream connection needs a descriptor too"
            assert "accepting pauses" in await process.line("file descriptors run out")
            descriptors = process.descriptors()
            assert descriptors < 80
            waiting = many[-1]
            await waiting.send(GET)
            for one in many[:-1]:
                one.close()
            assert (await waiting.response()).status == 200


def _config(origin: str) -> dict[str, object]:
    config = reverse(origin)
    config["listeners"][0]["engine"] = ENGINE.name
    return config


async def test_reader_that_stops_near_the_end_of_the_last_response_is_cut_too() -> None:
    """What is left fits the transport's buffer: nothing but the closing socket waits for the reader any more."""
    step, clients = 40_000, 64

    async def sized(connection: OriginConnection) -> None:
        while (request := await connection.request()) is not None:
            size = int(request.line.split(b" ")[1][1:])
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))

    config = limits(body_timeout="300ms")
    async with Origin(sized) as origin, running_proxy(reverse(origin.address, listener=config)) as proxy:
        async with AsyncExitStack() as open_:
            for number in range(clients):
                one = await open_.enter_async_context(client(proxy.address, receive_buffer=4096))
                size = 2_000_000 + number * step
                await one.send(b"GET /%d HTTP/1.1\r\n%bConnection: close\r\n\r\n" % (size, HOST))
                await one.head()
            listener = proxy.proxy.listeners[0]
            await eventually(lambda: not listener.connections, "connections are held by clients that do not read", 10)


async def test_tunnel_in_which_nothing_moves_ends_and_one_in_which_something_does_lives_on() -> None:
    async def echo(connection: OriginConnection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        while True:
            await connection.send(await connection.exactly(1))

    upgrade = b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    cluster = {"stream_idle_timeout": "200ms"}
    async with Origin(echo) as origin, running_proxy(reverse(origin.address, cluster=cluster)) as proxy:
        async with client(proxy.address) as silent, client(proxy.address) as talking:
            for one in (silent, talking):
                await one.send(upgrade)
                await one.head()
            ended = asyncio.get_running_loop().create_task(silent.ended_whole(), name="test")
            while not ended.done():
                await talking.send(b"x")
                assert await talking.exactly(1) == b"x"
                await asyncio.sleep(0.02)
            assert ended.result()
            await talking.send(b"y")
            assert await talking.exactly(1) == b"y"
