"""What responses may be: each refusal ends the connection, and its reader hears the cause."""

from typing import Any, cast

import pytest

from sidecar.errors import UpstreamProtocol
from sidecar.upstream.exchange import Exchange
from sidecar.upstream.parser import MAX_HEAD, ResponseParser

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class _Connection:
    def pause(self) -> None: ...

    resume = abort = pause


def parse(*pieces: bytes, method: str = "GET") -> Exchange:
    exchange = Exchange(cast("Any", _Connection()), method, None, upgrade=None)
    parser = ResponseParser()
    parser.expect(exchange)
    for piece in pieces:
        parser.feed(exchange, piece)
    return exchange


def test_reason_phrase_is_whole_wherever_the_network_cuts_it() -> None:
    for cut in range(1, len(OK)):
        assert parse(OK[:cut], OK[cut:]).reason == b"OK", OK[:cut]


@pytest.mark.parametrize("status", [102, 103, 199])
@pytest.mark.parametrize("framing", [b"Content-Length: 39", b"Transfer-Encoding: chunked"])
def test_interim_response_with_a_body_cannot_swallow_the_final_head(status: int, framing: bytes) -> None:
    with pytest.raises(UpstreamProtocol, match="interim response"):
        parse(b"HTTP/1.1 %d \r\n%b\r\n\r\n" % (status, framing) + OK + OK)


def test_interim_response_that_declares_no_byte_is_let_pass() -> None:
    assert parse(b"HTTP/1.1 103 \r\nContent-Length: 0\r\n\r\n" + OK).whole() == b"ok"


@pytest.mark.parametrize("status", [b"000", b"020", b"099"])
def test_status_below_100_is_refused(status: bytes) -> None:
    with pytest.raises(UpstreamProtocol, match="of status"):
        parse(b"HTTP/1.1 " + status + b" OK\r\nContent-Length: 2\r\n\r\nok" + OK)


@pytest.mark.parametrize("byte", [b"\x00", b"\x07", b"\x1b", b"\x7f"])
def test_control_bytes_in_the_reason_phrase_are_refused(byte: bytes) -> None:
    with pytest.raises(UpstreamProtocol, match="reason phrase"):
        parse(b"HTTP/1.1 200 O" + byte + b"K\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("name", [b"Content-Type", b"trailer", b"Set-Cookie", b"Host"])
def test_trailers_that_frame_or_route_are_refused(name: bytes) -> None:
    with pytest.raises(UpstreamProtocol, match="behind a body"):
        parse(CHUNKED + b"2\r\nok\r\n0\r\n" + name + b": 5\r\n\r\n")


@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 OK\r\nX: ", CHUNKED + b"2\r\nok\r\n0\r\nX: ", CHUNKED + b"2\r\nok\r\n5;a="],
    ids=["header line", "trailer line", "chunk extension"],
)
def test_line_without_end_is_refused_before_it_fills_the_memory(start: bytes) -> None:
    with pytest.raises(UpstreamProtocol, match=f"over {MAX_HEAD} bytes"):
        parse(start, *[b"a" * 4096] * 64)


def test_long_body_in_large_pieces_is_not_taken_for_a_long_head() -> None:
    size = 4 * MAX_HEAD
    exchange = parse(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    assert len(exchange.whole() or b"") == size
