"""Messages pass the data path exactly: targets, fields, bodies, framing, both ways, for real sockets."""

import asyncio
from pathlib import Path

import pytest

from tests.support.client import ask, client
from tests.support.origin import OK, Origin, OriginConnection, answers, close
from tests.support.proxy import forward, reverse, running_proxy

pytestmark = pytest.mark.usefixtures("each_engine")

HOST = b"Host: shop.example\r\n"


def get(target: bytes, *lines: bytes, version: bytes = b"1.1") -> bytes:
    return b"GET %b HTTP/%b\r\n%b%b\r\n" % (target, version, HOST, b"".join(line + b"\r\n" for line in lines))


def response(*lines: bytes, body: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\n%b\r\n%b" % (status, b"".join(line + b"\r\n" for line in lines), body)


# --- targets and fields ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        b"/a%2Fb/%7e?x=1&x=2&q=%27",
        b"/",
        b"/?",
        b"//double//slash/",
        b"/../a/./b/..",
        b"/%",
        b"/a;v=1,2?a[]=1&b={}|^`",
        b"/x?http://other/?y#",
        b"/" + b"a" * 8000,
        b"/a+b%20c%2B?%00",
        b"/:80/@host",
    ],
)
async def test_target_reaches_the_origin_unchanged_to_the_byte(target: bytes) -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        answer = await ask(proxy.address, get(target))
        if target.endswith(b"#"):  # a fragment is no part of a target (RFC 9112 §3.2.1)
            assert answer.status in {200, 400}
            return
        assert answer.status == 200
        assert origin.requests[0].line == b"GET %b HTTP/1.1" % target


async def test_request_fields_keep_case_order_duplicates_and_bytes() -> None:
    lines = [
        (b"X-b", b"2"),
        (b"x-A", b"1"),
        (b"X-B", b"3"),
        (b"Cookie", b"a=1; b=2"),
        (b"cookie", b"c=3"),
        (b"X-Empty", b""),
        (b"X-Latin", b"\xe4\xf6\xff \x80"),
        (b"X-Utf", "ä€😀".encode()),
        (b"X-Tab", b"a\tb"),
        (b"X-Comma", b"a, b ,c"),
        (b"Accept", b"*/*"),
    ]
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        assert (await ask(proxy.address, get(b"/", *[b"%b: %b" % line for line in lines]))).status == 200
        seen = origin.requests[0].fields
        own = {b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
        assert seen[0] == (b"Host", b"shop.example")
        assert [line for line in seen[1:] if line[0].lower() not in own] == lines


async def test_response_fields_keep_case_order_duplicates_and_bytes() -> None:
    lines = [
        (b"x-b", b"2"),
        (b"Set-Cookie", b"a=1; Path=/"),
        (b"X-A", b"\xe4\xff\x80"),
        (b"set-cookie", b"b=2; HttpOnly"),
        (b"Set-Cookie", b"a=1; Path=/"),
        (b"X-Empty", b""),
        (b"Server", b"origin"),
        (b"Date", b"Tue, 01 Jan 2030 00:00:00 GMT"),
        (b"content-length", b"2"),
        (b"X-Z", b"a, b"),
    ]
    reply = response(*[b"%b: %b" % line for line in lines], body=b"ok", status=b"200 Very Fine")
    async with Origin(answers(reply)) as origin, running_proxy(reverse(origin.address)) as proxy:
        answer = await ask(proxy.address, get(b"/"))
        assert answer.fields == lines
        assert (answer.reason, answer.body) == (b"Very Fine", b"ok")


async def test_nothing_is_added_to_a_response() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        assert (await ask(proxy.address, get(b"/"))).head + b"ok" == OK


async def test_hop_by_hop_and_nominated_fields_end_here_upwards() -> None:
    request = get(
        b"/",
        b"Connection: keep-alive, X-Secret, x-OTHER",
        b"X-Secret: 1",
        b"X-Other: 2",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Authorization: Basic eDp5",
        b"TE: gzip",
        b"X-Kept: 3",
    )
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        await ask(proxy.address, request)
        names = {name.lower() for name, _ in origin.requests[0].fields}
        assert names == {b"host", b"x-kept", b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}


async def test_hop_by_hop_and_nominated_fields_end_here_downwards() -> None:
    reply = response(
        b"Connection: X-Secret, keep-alive",
        b"X-Secret: 1",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Upgrade: h2c",
        b"X-Kept: 2",
        b"Content-Length: 0",
    )
    async with Origin(answers(reply)) as origin, running_proxy(reverse(origin.address)) as proxy:
        answer = await ask(proxy.address, get(b"/"))
        assert answer.fields == [(b"X-Kept", b"2"), (b"Content-Length", b"0")]


async def test_connection_cannot_nominate_the_framing_away() -> None:
    reply = response(b"Connection: content-length", b"Content-Length: 2", body=b"ok")
    async with Origin(answers(reply)) as origin, running_proxy(reverse(origin.address)) as proxy:
        post = b"POST / HTTP/1.1\r\n" + HOST + b"Connection: content-length, host\r\nContent-Length: 5\r\n\r\nhello"
        async with client(proxy.address) as one:
            assert (await one.ask(post)).body == b"ok"
            assert (await one.ask(post)).body == b"ok"
        assert [request.body for request in origin.requests] == [b"hello", b"hello"]
        assert origin.requests[0].values(b"host") == [b"shop.example"]


async def test_te_trailers_is_told_to_the_upstream_as_our_own() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        await ask(proxy.address, get(b"/", b"TE: trailers", b"Connection: TE"))
        assert origin.requests[0].values(b"te") == [b"trailers"]
        assert origin.requests[0].values(b"connection") == [b"TE"]


async def test_host_is_kept_as_the_client_wrote_it() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        await ask(proxy.address, b"GET / HTTP/1.1\r\nX-First: 1\r\nhOST: Shop.Example:8080\r\n\r\n")
        assert origin.requests[0].fields[:2] == [(b"X-First", b"1"), (b"hOST", b"Shop.Example:8080")]


async def test_absolute_form_becomes_origin_form_and_its_authority_the_host() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        request = b"GET http://shop.example:81/a%2Fb?x HTTP/1.1\r\nHost: other\r\nA: b\r\n\r\n"
        assert (await ask(proxy.address, request)).status == 200
        assert (await ask(proxy.address, b"GET HTTP://shop.example?q HTTP/1.1\r\nHost: x\r\n\r\n")).status == 200
        assert (await ask(proxy.address, b"OPTIONS http://shop.example HTTP/1.1\r\nHost: x\r\n\r\n")).status == 200
        assert origin.requests[0].raw.startswith(b"GET /a%2Fb?x HTTP/1.1\r\nHost: shop.example:81\r\nA: b\r\n")
        assert origin.requests[1].raw.startswith(b"GET /?q HTTP/1.1\r\nHost: shop.example\r\n")
        assert origin.requests[2].line == b"OPTIONS * HTTP/1.1"


async def test_forward_proxy_takes_absolute_form_to_the_host_it_names() -> None:
    async with Origin() as origin, running_proxy(forward()) as proxy:
        request = b"GET http://%b/x HTTP/1.1\r\nHost: ignored\r\nProxy-Connection: keep-alive\r\n\r\n"
        async with client(proxy.address) as one:
            for _ in range(2):
                assert (await one.ask(request % origin.address.encode())).body == b"ok"
        host = origin.address.encode()
        assert origin.requests[0].raw.startswith(b"GET /x HTTP/1.1\r\nHost: %b\r\nVia: " % host)
        assert len(origin.connections) == 1


# --- bodies and framing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE", b"GET", b"OPTIONS", b"REPORT"])
async def test_body_of_known_length_passes_with_any_method(method: bytes) -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        request = b"%b / HTTP/1.1\r\n%bContent-Length: 5\r\n\r\nhello" % (method, HOST)
        assert (await ask(proxy.address, request)).status == 200
        assert origin.requests[0].body == b"hello"
        assert origin.requests[0].values(b"content-length") == [b"5"]
        assert origin.requests[0].values(b"transfer-encoding") == []


async def test_content_length_of_zero_passes() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        await ask(proxy.address, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n")
        assert origin.requests[0].values(b"content-length") == [b"0"]


@pytest.mark.parametrize("in_one_piece", [True, False])
async def test_chunked_request_body_passes_chunked(in_one_piece: bool) -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        parts = [
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
            b"5;ext=1\r\nhello\r\n",
            b"1\r",
            b"\n \r\n5\r\nwor",
            b"ld\r\n0\r\n\r\n",
        ]
        if in_one_piece:
            await one.send(b"".join(parts))
        else:
            for part in parts:
                await one.send(part)
                await asyncio.sleep(0)
        assert (await one.response()).body == b"ok"
        request = origin.requests[0]
        assert request.body == b"hello world"
        assert request.values(b"transfer-encoding") == [b"chunked"]
        assert request.values(b"content-length") == []


async def test_empty_chunked_request_body_passes() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        request = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        for _ in range(2):
            assert (await one.ask(request)).body == b"ok"
        assert origin.requests[0].raw.endswith(b"\r\n\r\n0\r\n\r\n")


async def test_chunked_response_passes_chunked_and_whole() -> None:
    go = asyncio.Event()
    reply = (
        response(b"Transfer-Encoding: chunked", b"X-A: 1", body=b"5\r\nhello\r\n"),
        go,
        b"6;x=y\r\n world\r\n0\r\n\r\n",
    )
    async with Origin(answers(reply)) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(get(b"/"))
            assert b"Transfer-Encoding: chunked" in await one.head()
            assert await one.exactly(10) == b"5\r\nhello\r\n"  # streamed: the rest has not been sent yet
            go.set()
            assert await one.until(b"0\r\n\r\n") == b"6\r\n world\r\n0\r\n\r\n"
            assert (await one.ask(get(b"/"))).body == b"hello world"
        assert len(origin.connections) == 1


async def test_response_trailers_pass() -> None:
    reply = response(
        b"Transfer-Encoding: chunked", b"Trailer: X-Sum", body=b"2\r\nok\r\n0\r\nX-Sum: 7\r\nx-b: \r\n\r\n"
    )
    async with Origin(answers(reply)) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            for _ in range(2):
                answer = await one.ask(get(b"/"))
                assert (answer.body, answer.trailers) == (b"ok", [(b"X-Sum", b"7"), (b"x-b", b"")])
                assert answer.values(b"trailer") == [b"X-Sum"]


async def test_streamed_response_trailers_pass() -> None:
    go = asyncio.Event()
    reply = (response(b"Transfer-Encoding: chunked", body=b"2\r\nok\r\n"), go, b"0\r\nX-Sum: 7\r\n\r\n")
    async with Origin(answers(reply)) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(get(b"/"))
            await one.until(b"ok\r\n")
            go.set()
            assert await one.until(b"\r\n\r\n") == b"0\r\nX-Sum: 7\r\n\r\n"


async def test_response_without_length_ends_with_its_connection() -> None:
    reply = (b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nhello", close)
    async with Origin(answers(reply)) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            for _ in range(2):
                answer = await one.ask(get(b"/"))
                assert answer.body == b"hello"
                assert answer.values(b"transfer-encoding") == [b"chunked"]
        assert len(origin.connections) == 2


async def test_response_of_an_http_1_0_upstream_passes() -> None:
    reply = (b"HTTP/1.0 200 OK\r\nX-A: 1\r\n\r\nhello", close)
    async with Origin(answers(reply)) as origin, running_proxy(reverse(origin.address)) as proxy:
        assert (await ask(proxy.address, get(b"/"))).body == b"hello"


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""],
)
async def test_head_has_no_body_and_keeps_the_connection(framing: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\n%bX-A: 1\r\n\r\n" % framing
    async with Origin(answers(head, OK)) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            answer = await one.ask(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n")
            assert answer.values(b"x-a") == [b"1"]
            if b"Length" in framing:
                assert answer.values(b"content-length") == [b"5"]
            assert (await one.ask(get(b"/"))).body == b"ok"


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nX-A: 1\r\nContent-Length: 500\r\n\r\n",
        b'HTTP/1.1 304 Not Modified\r\nX-A: 1\r\nETag: "x"\r\n\r\n',
        b"HTTP/1.1 304 Not Modified\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_bodyless_statuses_end_with_their_head(reply: bytes) -> None:
    async with Origin(answers(reply, OK)) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            answer = await one.ask(get(b"/"))
            assert (answer.status, answer.values(b"x-a")) == (int(reply[9:12]), [b"1"])
            assert (await one.ask(get(b"/"))).body == b"ok"
        assert len(origin.connections) == 1


async def test_205_and_unknown_statuses_pass() -> None:
    for status in (b"205 Reset", b"299 Odd", b"418 Teapot", b"599 ", b"451"):
        reply = response(b"Content-Length: 0", status=status)
        async with Origin(answers(reply)) as origin, running_proxy(reverse(origin.address)) as proxy:
            answer = await ask(proxy.address, get(b"/"))
            assert answer.status == int(status[:3])
            assert answer.reason == status[4:]


# --- connections ----------------------------------------------------------------------------------------------------


async def test_keep_alive_is_used_on_both_sides() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        for number in range(20):
            assert (await one.ask(get(b"/%d" % number))).body == b"ok"
        assert [request.line for request in origin.requests] == [b"GET /%d HTTP/1.1" % number for number in range(20)]
        assert len(origin.connections) == 1
        assert proxy.idle == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def serve(connection: OriginConnection) -> None:
        while (request := await connection.request()) is not None:
            body = request.line.split()[1]
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with Origin(serve) as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        post = b"POST /p HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc"
        await one.send(get(b"/0") + post + b"".join(get(b"/%d" % number) for number in range(1, 60)))
        expected = [b"/0", b"/p", *(b"/%d" % number for number in range(1, 60))]
        assert [(await one.response()).body for _ in expected] == expected


async def test_client_asking_for_close_gets_it() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        answer = await one.ask(get(b"/", b"Connection: close"))
        assert answer.values(b"connection") == [b"close"]
        assert await one.ended_whole()
        assert proxy.idle == 1  # the upstream's connection is another matter
        assert origin.requests[0].values(b"connection") == []


async def test_upstream_asking_for_close_gets_it_and_the_client_does_not_notice() -> None:
    reply = (response(b"Connection: close", b"Content-Length: 2", body=b"ok"), close)
    async with Origin(answers(reply)) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            for _ in range(3):
                answer = await one.ask(get(b"/"))
                assert (answer.body, answer.values(b"connection")) == (b"ok", [])
        assert len(origin.connections) == 3


async def test_http_1_0_client_gets_close_by_default_and_no_chunks() -> None:
    chunked = response(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n")
    async with Origin(answers(chunked)) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            answer = await one.ask(get(b"/", version=b"1.0"))
            assert (answer.body, answer.values(b"transfer-encoding")) == (b"hello", [])
            assert answer.values(b"connection") == [b"close"]
            assert await one.ended_whole()
        assert origin.requests[0].line == b"GET / HTTP/1.1"


async def test_http_1_0_client_without_host_is_served() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        assert (await ask(proxy.address, b"GET /old HTTP/1.0\r\n\r\n")).body == b"ok"
        assert origin.requests[0].line == b"GET /old HTTP/1.1"
        assert len(origin.requests[0].values(b"host")) == 1


async def test_http_1_0_client_asking_for_keep_alive_gets_it() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        for _ in range(2):
            answer = await one.ask(get(b"/", b"Connection: keep-alive", version=b"1.0"))
            assert (answer.body, answer.values(b"connection")) == (b"ok", [b"keep-alive"])


async def test_unix_sockets_carry_both_sides(tmp_path: Path) -> None:
    async with Origin() as origin:
        path = f"unix:{tmp_path}/in.sock"
        async with running_proxy(reverse(origin.address, listener={"address": path})) as first:
            assert (await ask(path, get(b"/"))).body == b"ok"
            async with running_proxy(reverse(path)) as second:
                assert (await ask(second.address, get(b"/"))).body == b"ok"
                await first.quiet()
