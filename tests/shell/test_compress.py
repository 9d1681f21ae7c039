"""Compress between a real app and clients that really decode: nothing is held back, nothing comes twice or changed."""

import asyncio
import subprocess
import sys

import aiohttp
import pytest

from sidecar.config.load import from_command_line
from sidecar.lifecycle.view import View
from tests.support.client import Answered, ask, client
from tests.support.codings import CODINGS, decode, encode, reader
from tests.support.origin import WITHIN, Origin, Step, answers, reset
from tests.support.proxy import Data, eventually, reverse, running_proxy

TEXT = b"<p>hello world, hello filters</p>\n" * 200
each_coding = pytest.mark.parametrize("coding", CODINGS)
pytestmark = pytest.mark.usefixtures("each_engine")


def around(**settings: object) -> Data:
    """A rule with the filter."""
    return {"filters": [{"type": "Compress", "compress": settings}]}


def page(body: bytes = TEXT, *lines: bytes) -> bytes:
    head = b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Type: text/html", b"Content-Length: %d" % len(body), *lines])
    return head + b"\r\n\r\n" + body


def get(accept: str, *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    head = [f"{method} / HTTP/{version}", "Host: a", f"Accept-Encoding: {accept}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n"


def decoded(answered: Answered) -> bytes:
    return decode((answered.value(b"content-encoding") or b"").decode(), answered.body)


@each_coding
async def test_a_client_that_decodes_reads_what_the_app_sent(coding: str) -> None:
    async with Origin(answers(page(TEXT, b'ETag: "1"', b"Accept-Ranges: bytes"))) as origin:
        async with running_proxy(reverse(origin.address, rule=around())) as proxy:
            async with aiohttp.ClientSession(headers={"Accept-Encoding": coding}) as session:
                async with session.get(f"http://{proxy.address}/") as response:
                    assert await response.read() == TEXT
                    assert response.headers["Content-Encoding"] == coding
                    assert response.headers["Vary"] == "Accept-Encoding"
                    assert response.headers["ETag"] == 'W/"1"'
                    assert "Accept-Ranges" not in response.headers
                    assert int(response.headers["Content-Length"]) < len(TEXT) / 5
            assert origin.requests[0].values(b"accept-encoding") == [coding.encode()]


@each_coding
@pytest.mark.parametrize("accept", ["event-stream", "html"])
async def test_events_and_trickled_bodies_arrive_when_they_are_sent(coding: str, accept: str) -> None:
    go = [asyncio.Event() for _ in range(3)]
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/{accept}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    steps: list[Step] = [head]
    for at, event in enumerate(go):
        steps += [event, b"9\r\ndata: %d\n\n\r\n" % at]
    async with Origin(answers((*steps, b"0\r\n\r\n"))) as origin:
        async with running_proxy(reverse(origin.address, rule=around())) as proxy, client(proxy.address) as one:
            await one.send(get(coding))
            assert f"Content-Encoding: {coding}".encode() in await one.head()
            read = reader(coding)
            for at, event in enumerate(go):
                event.set()
                got = b""
                async with asyncio.timeout(WITHIN):
                    while len(got) < 9:
                        size = int((await one.until(b"\r\n")).strip(), 16)
                        got += read(await one.exactly(size))
                        await one.exactly(2)
                assert got == b"data: %d\n\n" % at


@each_coding
async def test_a_large_body_streams_through_and_is_whole(coding: str) -> None:
    body = b"".join(b"%d: %s\n" % (at, TEXT[at % 97 : at % 97 + 60]) for at in range(40_000))
    async with Origin(answers(page(body))) as origin:
        async with running_proxy(reverse(origin.address, rule=around(cpuBudget=100))) as proxy:
            answered = await ask(proxy.address, get(coding))
            assert answered.value(b"transfer-encoding") == b"chunked"
            assert decoded(answered) == body
            assert len(answered.body) < len(body) / 4


async def test_head_is_answered_as_get_but_for_the_length() -> None:
    reply = page(TEXT, b'ETag: "1"')
    async with Origin(answers(reply.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", reply)) as origin:
        async with running_proxy(reverse(origin.address, rule=around())) as proxy:
            head = await ask(proxy.address, get("br", method="HEAD"))
            got = await ask(proxy.address, get("br"))
            assert head.fields == [field for field in got.fields if field[0].lower() != b"content-length"]
            assert head.value(b"content-encoding") == b"br"


async def test_a_range_comes_as_the_app_cut_it() -> None:
    part = b"HTTP/1.1 206 Partial Content\r\nContent-Type: text/html\r\nContent-Range: bytes 0-1999/6800\r\n"
    part += b'ETag: "1"\r\nContent-Length: 2000\r\n\r\n' + TEXT[:2000]
    async with Origin(answers(part)) as origin, running_proxy(reverse(origin.address, rule=around())) as proxy:
        answered = await ask(proxy.address, get("gzip", "Range: bytes=0-1999"))
        assert (answered.status, answered.body, answered.value(b"etag")) == (206, TEXT[:2000], b'"1"')
        assert (answered.value(b"content-encoding"), answered.value(b"vary")) == (None, b"Accept-Encoding")


async def test_nothing_is_encoded_twice_neither_by_two_filters_nor_after_the_app() -> None:
    twice = {"filters": [{"type": "Compress"}, {"type": "Compress"}]}
    own = encode("gzip", TEXT * 100)
    async with Origin(answers(page(TEXT), page(own, b"Content-Encoding: gzip"))) as origin:
        async with running_proxy(reverse(origin.address, rule=twice)) as proxy:
            async with client(proxy.address) as one:
                ours, theirs = await one.ask(get("gzip")), await one.ask(get("gzip, br"))
            assert (ours.values(b"content-encoding"), decoded(ours)) == ([b"gzip"], TEXT)
            assert (theirs.values(b"content-encoding"), theirs.body) == ([b"gzip"], own)


async def test_a_range_of_what_is_never_encoded_varies_by_nothing() -> None:
    part = b"HTTP/1.1 206 Partial Content\r\nContent-Type: image/png\r\nContent-Range: bytes 0-1/9\r\n"
    async with Origin(answers(part + b"Content-Length: 2\r\n\r\nab")) as origin:
        async with running_proxy(reverse(origin.address, rule=around())) as proxy:
            assert (await ask(proxy.address, get("gzip"))).value(b"vary") is None


@pytest.mark.parametrize("order", [("Cache", "Compress"), ("Compress", "Cache")])
async def test_each_client_reads_what_it_can_out_of_a_cache_on_either_side(order: tuple[str, str]) -> None:
    fresh = page(TEXT, b'ETag: "1"', b"Cache-Control: max-age=60")
    async with Origin(answers(fresh)) as origin:
        async with running_proxy(
            reverse(origin.address, rule={"filters": [{"type": each} for each in order]})
        ) as proxy:
            for coding in (*CODINGS, *CODINGS):
                answered = await ask(proxy.address, get(coding))
                assert (decoded(answered), answered.values(b"vary")) == (TEXT, [b"Accept-Encoding"])
                assert (await ask(proxy.address, get("identity"))).body == TEXT
            again = await ask(proxy.address, get("gzip", 'If-None-Match: W/"1"'))
            assert (again.status, again.value(b"etag")) == (304, b'W/"1"')
        assert len(origin.requests) == (4 if order[0] == "Cache" else 1)


@pytest.mark.parametrize("line", [b"Cache-Control: no-transform", b"Content-Digest: sha-256=:AA==:"])
async def test_what_must_not_change_does_not(line: bytes) -> None:
    async with Origin(answers(page(TEXT, line))) as origin:
        async with running_proxy(reverse(origin.address, rule=around())) as proxy:
            answered = await ask(proxy.address, get("gzip"))
            assert (answered.body, answered.value(b"vary")) == (TEXT, None)


async def test_a_session_cookie_over_tls_is_not_compressed_together_with_what_a_page_reflects() -> None:
    async with Origin(answers(page(TEXT, b"Set-Cookie: session=secret"))) as origin:
        async with running_proxy(reverse(origin.address, rule=around())) as proxy:
            tls = await ask(proxy.address, get("gzip", "X-Forwarded-Proto: https"))
            plain = await ask(proxy.address, get("gzip"))
            assert (tls.body, decoded(plain)) == (TEXT, TEXT)


async def test_a_client_that_takes_nothing_at_hand_is_told_406() -> None:
    async with Origin(answers(page())) as origin, running_proxy(reverse(origin.address, rule=around())) as proxy:
        answered = await ask(proxy.address, get("identity;q=0, deflate"))
        assert (answered.status, answered.value(b"vary")) == (406, b"Accept-Encoding")
        assert b"sidecar; error=http_request_denied" in (answered.value(b"proxy-status") or b"")
        metrics = View(proxy.proxy).metrics()
        assert b'filter="Compress",outcome="not_acceptable"} 1.0' in metrics


async def test_a_body_that_breaks_is_cut_off_not_ended() -> None:
    start = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    held = asyncio.Event()
    async with Origin(answers((start, held, reset))) as origin:
        async with running_proxy(reverse(origin.address, rule=around())) as proxy, client(proxy.address) as one:
            await one.send(get("gzip"))
            await one.head()
            held.set()
            assert not (await one.end()).endswith(b"0\r\n\r\n")


async def test_a_client_that_leaves_gives_its_place_back() -> None:
    start = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    async with Origin(answers((start, asyncio.Event()))) as origin:
        async with running_proxy(reverse(origin.address, rule=around(maxStreams=1))) as proxy:
            async with client(proxy.address) as one:
                await one.send(get("gzip"))
                assert b"Content-Encoding: gzip" in await one.head()
                assert _explained(proxy.proxy).endswith("1 streams of 1")
            await eventually(lambda: _explained(proxy.proxy).endswith("0 streams of 1"), "the place is still held")


def _explained(proxy: object) -> str:
    page_ = View(proxy).explain("GET", "/", [], None)  # type: ignore[arg-type]  # the proxy under test
    (line,) = page_["filters"]  # type: ignore[misc]  # one filter
    return str(line)


async def test_trailers_come_behind_the_encoded_body() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n"
    reply = chunked % (len(TEXT), TEXT) + b"0\r\nX-Sum: 1\r\n\r\n"
    async with Origin(answers(reply)) as origin, running_proxy(reverse(origin.address, rule=around())) as proxy:
        answered = await ask(proxy.address, get("zstd"))
        assert (decoded(answered), answered.trailers) == (TEXT, [(b"X-Sum", b"1")])


async def test_an_old_client_reads_to_the_end() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
    half = len(TEXT) // 2
    parts = (TEXT[:half], TEXT[half:])
    steps = (chunked, *(b"%x\r\n%b\r\n" % (len(part), part) for part in parts), b"0\r\n\r\n")
    async with Origin(answers(steps)) as origin, running_proxy(reverse(origin.address, rule=around())) as proxy:
        answered = await ask(proxy.address, get("gzip", version="1.0"))
        assert decoded(answered) == TEXT
        assert answered.value(b"transfer-encoding") is None


# --- requests ---------------------------------------------------------------------------------------------------------


def post(body: bytes, coding: str, *, chunked: bool = False) -> bytes:
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: %b\r\n%b\r\n\r\n" % (coding.encode(), framing)
    return head + (b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)


@each_coding
@pytest.mark.parametrize("chunked", [True, False])
async def test_the_app_reads_a_plain_body_where_that_is_set(coding: str, chunked: bool) -> None:
    async with Origin() as origin:
        async with running_proxy(reverse(origin.address, rule=around(decompressRequests={}))) as proxy:
            assert (await ask(proxy.address, post(encode(coding, TEXT), coding, chunked=chunked))).status == 200
        (received,) = origin.requests
        assert (received.body, received.values(b"content-encoding")) == (TEXT, [])


async def test_the_app_reads_an_encoded_body_as_it_came_where_nothing_is_set() -> None:
    body = encode("gzip", TEXT)
    async with Origin() as origin, running_proxy(reverse(origin.address, rule=around())) as proxy:
        assert (await ask(proxy.address, post(body, "gzip"))).status == 200
        assert (origin.requests[0].body, origin.requests[0].values(b"content-encoding")) == (body, [b"gzip"])


@each_coding
async def test_a_bomb_that_streams_is_413_and_the_app_never_gets_it(coding: str) -> None:
    limits = {"maxSize": 10**9, "maxRatio": 50}
    bomb = encode(coding, b"\0" * 30_000_000)
    async with Origin() as origin:
        async with running_proxy(reverse(origin.address, rule=around(decompressRequests=limits))) as proxy:
            async with client(proxy.address) as one:
                await one.send(post(bomb, coding)[: -len(bomb)])  # the head alone: the body is a stream
                await one.send(bomb)
                answered = await one.response(method="POST")
            assert answered.status == 413
        assert len(origin.received) < 60 * len(bomb) + 100_000


@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [(b"no gzip", "gzip", 400), (encode("gzip", TEXT)[:-4], "gzip", 400), (b"x", "deflate", 415)],
)
async def test_a_body_that_is_not_what_it_says_is_the_clients_mistake(body: bytes, coding: str, status: int) -> None:
    async with Origin() as origin:
        async with running_proxy(reverse(origin.address, rule=around(decompressRequests={}))) as proxy:
            answered = await ask(proxy.address, post(body, coding))
            assert answered.status == status
            assert (answered.value(b"accept-encoding") is not None) is (status == 415)


# --- the laptop, and what it costs not to have it ---------------------------------------------------------------------


async def test_the_command_line_asks_for_it_by_one_word() -> None:
    async with Origin(answers(page())) as origin:
        config = from_command_line("127.0.0.1:0", [origin.address], compress=True)
        async with running_proxy(config) as proxy:
            assert decoded(await ask(proxy.address, get("zstd"))) == TEXT


def test_a_filter_that_is_not_configured_is_not_imported() -> None:
    lines = (
        "import sys",
        "from sidecar.config.load import from_command_line",
        "from sidecar.lifecycle.assemble import check",
        "check(from_command_line(':0', ['a:1']))",
        "found = [name for name in sys.modules if name.startswith('sidecar.filters.c')]",
        "print(*found)",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["sidecar.filters.context"]
