"""A response as bytes: framing by what is known of the body and by the client's version."""

import re
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.listener.outbound import Sender, head, interim
from sidecar.model import Headers, RawHeaders, Request, Response

DATE = re.compile(rb"Date: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT\r\n")


class Written:
    """A client that takes everything, or is gone after some writes."""

    def __init__(self, writes: int = 1000) -> None:
        self.data = b""
        self.writes = 0
        self._most = writes

    async def write(self, chunk: bytes) -> None:
        if self.writes == self._most:
            raise ConnectionResetError
        self.writes += 1
        self.data += chunk


def request(version: str = "1.1", method: str = "GET") -> Request:
    return Request(method=method, target=b"/", authority="shop", headers=Headers(), version=version)


def upstreams(
    status: int = 200,
    headers: RawHeaders | None = None,
    body: bytes | AsyncIterator[bytes] = b"",
    *,
    length: int | None = None,
) -> Response:
    """A response whose framing the upstream declared."""
    response = Response(status, headers or [], body, reason=b"OK")
    response.length = length
    response.declared = True
    return response


async def stream(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def sent(response: Response, asked: Request, *, close: bool = False) -> tuple[bytes, bool, Sender]:
    sink, sender = Written(), Sender()
    ends = await sender.send(sink, asked, response, close=close)
    return sink.data, ends, sender


async def test_body_that_is_here_goes_out_in_one_write() -> None:
    sink = Written()
    response = upstreams(headers=[(b"content-length", b"2"), (b"X", b"\xff")], body=b"ok", length=2)
    assert not await Sender().send(sink, request(), response, close=False)
    assert sink.data == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX: \xff\r\n\r\nok"
    assert sink.writes == 1


@pytest.mark.parametrize("whole", [True, False])
async def test_unknown_length_is_chunked_with_trailers(whole: bool) -> None:
    response = upstreams(body=b"hello" if whole else stream(b"hel", b"lo"))
    response.trailers = [(b"X-Sum", b"7")]
    data, ends, sender = await sent(response, request())
    framed = b"5\r\nhello\r\n" if whole else b"3\r\nhel\r\n2\r\nlo\r\n"
    assert data == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\nX-Sum: 7\r\n\r\n"
    assert (ends, sender.sent) == (False, 5)


async def test_empty_body_of_unknown_length_is_one_last_chunk() -> None:
    data, _, _ = await sent(upstreams(), request())
    assert data.endswith(b"chunked\r\n\r\n0\r\n\r\n")


@pytest.mark.parametrize("whole", [True, False])
async def test_unknown_length_ends_with_the_connection_for_http_1_0(whole: bool) -> None:
    response = upstreams(body=b"hello" if whole else stream(b"hel", b"lo"))
    data, ends, _ = await sent(response, request("1.0"))
    assert data == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"
    assert ends


@pytest.mark.parametrize(
    ("version", "close", "line"),
    [
        ("1.1", False, b""),
        ("1.1", True, b"Connection: close\r\n"),
        ("1.0", False, b"Connection: keep-alive\r\n"),
        ("1.0", True, b"Connection: close\r\n"),
    ],
)
def test_connection_field_says_what_the_version_does_not(version: str, close: bool, line: bytes) -> None:
    assert head(upstreams(), request(version), close=close, chunked=False) == b"HTTP/1.1 200 OK\r\n" + line + b"\r\n"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("HEAD", 404)])
async def test_bodyless_message_ends_with_its_head(method: str, status: int) -> None:
    response = upstreams(status, [(b"Content-Length", b"5")], b"hello", length=5)
    data, ends, sender = await sent(response, request(method=method))
    assert data.endswith(b"Content-Length: 5\r\n\r\n")
    assert (ends, sender.sent) == (False, 0)


async def test_own_response_declares_length_and_date() -> None:
    data, _, _ = await sent(Response(404, [(b"X", b"1")], b"gone\n"), request())
    start, _, body = data.partition(b"\r\n\r\n")
    assert b"\r\nContent-Length: 5\r\n" in start + b"\r\n"
    assert DATE.search(start + b"\r\n")
    assert body == b"gone\n"


async def test_own_response_keeps_the_length_and_date_it_has() -> None:
    lines = [(b"content-length", b"5"), (b"DATE", b"today")]
    data, _, _ = await sent(Response(200, lines, b"gone\n"), request())
    assert data.lower().count(b"content-length") == data.lower().count(b"date:") == 1


async def test_own_204_has_no_length() -> None:
    data, _, _ = await sent(Response(204), request())
    assert b"ontent-" not in data


async def test_failure_of_the_client_reaches_the_caller_with_what_was_sent() -> None:
    sender = Sender()
    with pytest.raises(ConnectionResetError):
        await sender.send(Written(2), request(), upstreams(body=stream(b"a", b"b", b"c")), close=False)
    assert (sender.begun, sender.sent) == (True, 2)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
async def test_chunks_decode_to_the_body(parts: list[bytes]) -> None:
    data, _, _ = await sent(upstreams(body=stream(*parts)), request())
    rest, body = data.partition(b"\r\n\r\n")[2], b""
    while size := int(rest.partition(b"\r\n")[0], 16):
        chunk = rest.partition(b"\r\n")[2]
        body, rest = body + chunk[:size], chunk[size + 2 :]
    assert (body, rest) == (b"".join(parts), b"0\r\n\r\n")


def test_interim_response_keeps_its_fields_but_those_of_the_connection() -> None:
    lines = [
        (b"Link", b"</a>"),
        (b"Connection", b"X-Own, x-other"),
        (b"x-own", b"1"),
        (b"X-Other", b"2"),
        (b"Content-Length", b"0"),
        (b"Keep-Alive", b"x"),
        (b"link", b"</b>"),
    ]
    assert interim(103, b"Early Hints", lines) == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nlink: </b>\r\n\r\n"
    assert interim(100, b"", []) == b"HTTP/1.1 100 \r\n\r\n"
