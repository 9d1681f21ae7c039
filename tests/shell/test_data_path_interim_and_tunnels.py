"""1xx responses, upgrades and CONNECT on the wire."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.client import ask, client
from tests.support.origin import OK, Origin, OriginConnection, answers, close, unused_address
from tests.support.proxy import eventually, forward, reverse, running_proxy

pytestmark = pytest.mark.usefixtures("each_engine")

HOST = b"Host: shop.example\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
EXPECT = b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
UPGRADE = b"GET /chat HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nX-Key: 1\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Reply: 2\r\n\r\n"


# --- interim responses ----------------------------------------------------------------------------------------------


async def test_100_continue_passes_end_to_end_before_the_body_is_sent() -> None:
    async def serve(connection: OriginConnection) -> None:
        head = await connection.until(b"\r\n\r\n")
        assert b"Expect: 100-continue\r\n" in head
        assert len(connection.received) == connection.position, "the body came before the 100"
        await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await connection.exactly(5) == b"hello"
        await connection.send(OK)

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        await one.send(EXPECT)
        assert (await one.response()).status == 100
        await one.send(b"hello")
        assert (await one.response()).body == b"ok"


async def test_final_status_instead_of_100_closes_the_connection_since_the_body_may_never_come() -> None:
    async def serve(connection: OriginConnection) -> None:
        await connection.until(b"\r\n\r\n")
        await connection.send(b"HTTP/1.1 413 Too Big\r\nContent-Length: 2\r\n\r\nno")
        await connection.until_gone()

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(EXPECT)
            answer = await one.response()
            assert (answer.status, answer.body, answer.values(b"connection")) == (413, b"no", [b"close"])
        await asyncio.wait_for(origin.connections[0].gone.wait(), 5)


async def test_proxy_answers_100_itself_never_when_the_upstream_does_not() -> None:
    async def serve(connection: OriginConnection) -> None:
        await connection.request()  # waits for the body, as an origin does that knows no Expect
        await connection.send(OK)

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        await one.send(EXPECT)
        await origin.connected()
        await one.send(b"hello")
        answer = await one.response()
        assert (answer.status, answer.body) == (200, b"ok")


async def test_expect_with_the_body_sent_at_once_passes() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        for _ in range(2):
            assert (await one.ask(EXPECT + b"hello")).body == b"ok"
        assert origin.requests[0].body == b"hello"


async def test_early_hints_pass_with_their_fields_in_order() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nlink: </b.js>\r\n\r\n"
    async with Origin(answers(hints + b"HTTP/1.1 102 Processing\r\n\r\n" + OK)) as origin:
        async with running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
            for _ in range(2):
                first = await one.ask(GET)
                assert first.status == 103
                assert first.fields == [(b"Link", b"</a.css>; rel=preload"), (b"link", b"</b.js>")]
                assert (await one.response()).status == 102
                assert (await one.response()).body == b"ok"
            assert len(origin.connections) == 1


async def test_interim_responses_are_kept_from_http_1_0_clients() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    async with Origin(answers(hints + OK)) as origin, running_proxy(reverse(origin.address)) as proxy:
        assert (await ask(proxy.address, b"GET / HTTP/1.0\r\n" + HOST + b"\r\n")).status == 200


async def test_hop_by_hop_fields_of_interim_responses_end_here() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nConnection: X-Own\r\nX-Own: 1\r\nLink: </a>\r\n\r\n"
    async with Origin(answers(hints + OK)) as origin, running_proxy(reverse(origin.address)) as proxy:
        assert (await ask(proxy.address, GET)).fields == [(b"Link", b"</a>")]


# --- upgrades -------------------------------------------------------------------------------------------------------


async def echo(connection: OriginConnection) -> None:
    """Switches and echoes until the client's end, then says so and ends."""
    await connection.until(b"\r\n\r\n")
    await connection.send(SWITCH + b"early")
    seen = connection.position
    while True:
        try:
            await connection._more()
        except asyncio.IncompleteReadError:
            break
        await connection.send(bytes(connection.received[seen:]))
        seen = len(connection.received)
    await connection.send(b" and bye")
    connection.close()


async def test_upgrade_becomes_a_byte_tunnel_with_early_bytes_and_half_close() -> None:
    async with Origin(echo) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(UPGRADE)
            head = await one.head()
            assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
            assert b"Upgrade: websocket\r\nX-Reply: 2\r\n" in head
            assert b"Connection: Upgrade\r\n" in head
            assert await one.exactly(5) == b"early"
            await one.send(b"\x00\xff\r\n\r\n")
            assert await one.exactly(6) == b"\x00\xff\r\n\r\n"
            assert proxy.inflight == 1
            one.half_close()
            assert await one.end() == b" and bye"
        sent = origin.received
        assert b"Connection: Upgrade\r\nUpgrade: websocket\r\n" in sent
        await proxy.quiet()
        assert proxy.idle == 0


async def test_bytes_sent_right_behind_the_upgrade_request_reach_the_tunnel() -> None:
    async with Origin(echo) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(UPGRADE + b"first words")
            await one.head()
            assert await one.exactly(16) == b"earlyfirst words"
            one.half_close()
            assert await one.end() == b" and bye"


async def test_refused_upgrade_is_an_ordinary_response_and_the_connection_lives_on() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        for _ in range(2):
            answer = await one.ask(UPGRADE)
            assert (answer.status, answer.body) == (200, b"ok")
        assert (await one.ask(GET)).body == b"ok"
        await one.send(UPGRADE + GET)
        assert [(await one.response()).body for _ in range(2)] == [b"ok", b"ok"]
        assert len(origin.connections) == 1


@pytest.mark.parametrize("pieces", [1, 2, 3])
async def test_refused_upgrade_with_a_body_keeps_body_and_connection(pieces: int) -> None:
    head = (
        b"POST / HTTP/1.1\r\n"
        + HOST
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\n"
    )
    whole = head + b"hello"
    cuts = {1: [whole], 2: [head, b"hello"], 3: [head[:40], head[40:] + b"he", b"llo"]}[pieces]
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        for _ in range(3):
            for piece in cuts:
                await one.send(piece)
                await asyncio.sleep(0.01)
            assert (await one.response()).body == b"ok"
        assert [request.body for request in origin.requests] == [b"hello"] * 3


async def test_upgrade_needs_the_connection_field() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        await ask(proxy.address, b"GET / HTTP/1.1\r\n" + HOST + b"Upgrade: h2c\r\n\r\n")
        assert origin.requests[0].values(b"upgrade") == []


async def test_connection_field_named_upgrade_like_is_no_upgrade() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        request = b"GET / HTTP/1.1\r\n" + HOST + b"Connection: x-upgrade-later\r\nUpgrade: h2c\r\n\r\n"
        await ask(proxy.address, request)
        assert origin.requests[0].values(b"upgrade") == []


async def test_upgrade_split_over_two_connection_fields_is_seen() -> None:
    async with Origin(echo) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            request = (
                b"GET / HTTP/1.1\r\n"
                + HOST
                + b"Connection: keep-alive\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
            )
            await one.send(request)
            assert (await one.head()).startswith(b"HTTP/1.1 101")


async def test_101_nobody_asked_for_is_a_502() -> None:
    async with Origin(answers(SWITCH)) as origin, running_proxy(reverse(origin.address)) as proxy:
        answer = await ask(proxy.address, GET)
        assert answer.status == 502
        assert b"http_protocol_error" in answer.values(b"proxy-status")[0]
        await asyncio.wait_for(origin.connections[0].gone.wait(), 5)


async def test_tunnel_ends_when_the_upstream_is_gone() -> None:
    async def serve(connection: OriginConnection) -> None:
        await connection.until(b"\r\n\r\n")
        await connection.send(SWITCH)
        await connection.exactly(1)
        connection.reset()

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(UPGRADE)
            await one.head()
            await one.send(b"x")
            await one.end()
        await proxy.quiet()


async def test_tunnel_ends_when_the_client_is_gone() -> None:
    async with Origin(echo) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(UPGRADE)
            await one.until(b"early")
            one.reset()
            await asyncio.wait_for(origin.connections[0].gone.wait(), 5)
        await proxy.quiet()
        assert proxy.failures == 0


async def test_upstream_that_speaks_first_is_heard_though_a_filter_takes_its_time(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("""
import asyncio

async def wait(request, forward):
    response = await forward(request)
    await asyncio.sleep(0.1)
    return response
""")

    async def serve(connection: OriginConnection) -> None:
        await connection.until(b"\r\n\r\n")
        await connection.send(SWITCH)
        await asyncio.sleep(0.02)
        await connection.send(b"welcome")
        await connection.until(b"bye")
        connection.close()

    rule = {"filters": [{"type": "Python", "python": {"function": "slow:wait", "folder": str(tmp_path)}}]}
    async with Origin(serve) as origin, running_proxy(reverse(origin.address, rule=rule)) as proxy:
        async with client(proxy.address) as one:
            await one.send(UPGRADE)
            await one.head()
            assert await one.exactly(7) == b"welcome"
            await one.send(b"bye")
            assert await one.ended_whole()


async def test_tunnel_delivers_what_is_under_way_when_both_ends_have_said_all() -> None:
    """The upstream ends its direction first and reads late: what the proxy still holds then must arrive."""
    go = asyncio.Event()
    whole: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def serve(connection: OriginConnection) -> None:
        await connection.until(b"\r\n\r\n")
        await connection.send(SWITCH)
        connection.half_close()
        await go.wait()
        whole.set_result(len(await connection.rest()))

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(UPGRADE)
            await one.end()
            (held,) = proxy.pools()[0]._live
            assert held.transport is not None
            sent = 0
            while not held.transport.get_write_buffer_size():  # until the kernel takes no more
                await one.send(bytes(8192))
                sent += 8192
                await asyncio.sleep(0)
            one.half_close()
            await asyncio.sleep(0.05)  # the proxy sees it
            go.set()
            async with asyncio.timeout(5):
                assert await whole == sent
        await proxy.quiet()


async def test_tunnel_holds_back_a_sender_whose_peer_does_not_read() -> None:
    stalled = asyncio.Event()

    async def serve(connection: OriginConnection) -> None:
        await connection.until(b"\r\n\r\n")
        await connection.send(SWITCH)
        for _ in range(512):  # 32 MiB
            await connection.send(bytes(65_536))
        stalled.set()

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address, receive_buffer=65_536) as one:
            await one.send(UPGRADE)
            await one.head()
            pushed = await _still(lambda: origin.connections[0].pushed)
            assert not stalled.is_set()
            assert pushed < 16 << 20
            await one.exactly(32 << 20)
            assert stalled.is_set()


async def _still(value: Callable[[], int]) -> int:
    """The value once it has not moved for a while."""
    last = -1
    while last != value() or last == 0:
        last = value()
        await asyncio.sleep(0.1)
    return last


# --- CONNECT --------------------------------------------------------------------------------------------------------


async def test_connect_opens_a_tunnel_in_forward_mode() -> None:
    async def serve(connection: OriginConnection) -> None:
        await connection.send(b"hello first\n")
        await connection.send(await connection.until(b"\n"))
        assert await connection.rest() == b""
        await connection.send(b"bye")
        connection.close()

    async with Origin(serve) as origin, running_proxy(forward()) as proxy, client(proxy.address) as one:
        target = origin.address.encode()
        await one.send(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, target))
        head = await one.head()
        assert head == b"HTTP/1.1 200 Connection Established\r\n\r\n"
        assert await one.until(b"\n") == b"hello first\n"
        await one.send(b"\x16\x03\x01 not http\n")
        assert await one.until(b"\n") == b"\x16\x03\x01 not http\n"
        one.half_close()
        assert await one.end() == b"bye"
        assert origin.received == b"\x16\x03\x01 not http\n"


async def test_bytes_sent_right_behind_connect_reach_the_upstream() -> None:
    async with Origin() as origin, running_proxy(forward()) as proxy, client(proxy.address) as one:
        target = origin.address.encode()
        await one.send(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, target) + GET)
        await one.head()
        assert (await one.response()).body == b"ok"
        assert origin.received == GET


async def test_connect_to_nobody_is_a_502_and_ends_the_connection_lest_tunnelled_bytes_be_read_as_a_request() -> None:
    async with running_proxy(forward()) as proxy, client(proxy.address) as one:
        target = unused_address().encode()
        answer = await one.ask(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, target))
        assert answer.status == 502
        assert b"connection_refused" in answer.values(b"proxy-status")[0]
        assert answer.value(b"connection") == b"close"
        assert await one.end() == b""


@pytest.mark.parametrize("target", [b"nowhere", b"/path", b"host:0", b"host:99999", b"a@b:80"])
async def test_connect_to_no_authority_is_refused(target: bytes) -> None:
    async with running_proxy(forward()) as proxy:
        answer = await ask(proxy.address, b"CONNECT %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
        assert answer.status == 400


async def test_connect_to_a_reverse_proxy_is_refused() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        answer = await ask(proxy.address, b"CONNECT %b HTTP/1.1\r\nHost: x\r\n\r\n" % origin.address.encode())
        assert answer.status == 405
        assert origin.connections == []


async def test_client_that_leaves_while_a_tunnel_is_open_frees_it() -> None:
    async with Origin() as origin, running_proxy(forward()) as proxy:
        async with client(proxy.address) as one:
            target = origin.address.encode()
            await one.send(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, target))
            await one.head()
        await eventually(origin.connections[0].gone.is_set, "the tunnel stays open")
        await proxy.quiet()


async def test_upstream_that_closes_at_once_ends_the_tunnel() -> None:
    async def serve(connection: OriginConnection) -> None:
        close(connection)

    async with Origin(serve) as origin, running_proxy(forward()) as proxy, client(proxy.address) as one:
        target = origin.address.encode()
        await one.send(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, target))
        await one.head()
        assert await one.ended_whole()
