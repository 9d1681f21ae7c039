"""Request heads: what is read is what was written, what is refused is refused however the network cuts it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import BadRequest
from sidecar.listener.http1.head import MAX_HEAD, Head, HeadLimits, HeadParser, parse_fields

LIMITS = HeadLimits(target=200, line=100, count=8)
HOST = b"Host: a\r\n"
TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
NOTED = {b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"via"}

tokens = st.text(TOKEN, min_size=1, max_size=20).map(str.encode)
names = tokens.filter(lambda name: name.lower() not in NOTED)
values = st.binary(max_size=40).map(lambda data: bytes(b for b in data if b == 9 or 32 <= b != 127).strip(b" \t"))
targets = st.binary(max_size=40).map(lambda data: b"/" + bytes(b for b in data if 33 <= b != 127 and b != 35))
fields = st.lists(st.tuples(names, values), max_size=6)


def head(line: bytes, *lines: bytes) -> bytes:
    return b"".join(part + b"\r\n" for part in (line, *lines))


def parse(data: bytes, limits: HeadLimits = LIMITS) -> Head:
    return HeadParser(limits).parse(data)


def refused(data: bytes, limits: HeadLimits = LIMITS) -> tuple[int, str]:
    with pytest.raises(BadRequest) as caught:
        parse(data, limits)
    return caught.value.status, str(caught.value)


def read(pieces: list[bytes]) -> object:
    """What comes of bytes that come in pieces: a head, None where more is needed, or `refused`."""
    parser, buffer = HeadParser(LIMITS), b""
    try:
        for piece in pieces:
            seen, buffer = len(buffer), buffer + piece
            end = buffer.find(b"\r\n\r\n")
            if 0 <= end <= MAX_HEAD:
                return parser.parse(buffer[: end + 2])
            if buffer:
                parser.check_partial(buffer, seen)
    except BadRequest:
        return "refused"
    return None


@given(method=tokens, target=targets, lines=fields)
def test_what_is_written_is_what_is_read(method: bytes, target: bytes, lines: list[tuple[bytes, bytes]]) -> None:
    if method == b"CONNECT":
        return
    wire = head(b"%b %b HTTP/1.1" % (method, target), b"Host: a", *(b"%b: %b" % pair for pair in lines))
    found = parse(wire)
    assert (found.method.encode(), found.target, found.authority) == (method, target, b"a")
    assert found.headers == [(b"Host", b"a"), *lines]
    again = head(b"%b %b HTTP/1.1" % (method, found.target), *(b"%b: %b" % pair for pair in found.headers))
    assert again == wire


@given(target=targets, lines=fields, damage=st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=2)), max_size=2),
       cuts=st.lists(st.integers(0, 300), max_size=8))  # fmt: skip
def test_the_network_may_cut_a_head_anywhere(
    target: bytes, lines: list[tuple[bytes, bytes]], damage: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    wire = head(b"GET %b HTTP/1.1" % target, b"Host: a", *(b"%b: %b" % pair for pair in lines), b"")
    for at, text in damage:
        wire = wire[: at % len(wire)] + text + wire[at % len(wire) + 1 :]
    edges = sorted({0, len(wire), *(cut % (len(wire) + 1) for cut in cuts)})
    pieces = [wire[a:b] for a, b in pairwise(edges)]
    assert read(pieces) == read([wire]) == read([wire[at : at + 1] for at in range(len(wire))])


def test_head_says_all_that_frames_and_routes() -> None:
    found = parse(
        head(
            b"POST http://B:81/x?y HTTP/1.1", b"Host: a", b"Content-Length: 007 ", b"Connection: Upgrade, X",
            b"connection: close", b"Upgrade: a", b"UPGRADE: b", b"Expect: 100-Continue", b"Via: 1.1 x", b"via: 1.0 y",
        ),
        HeadLimits(target=200, line=100, count=10),
    )  # fmt: skip
    assert (found.target, found.authority, found.scheme, found.minor) == (b"/x?y", b"B:81", "http", 1)
    assert (found.length, found.close, found.upgrade, found.expects) == (7, True, b"a, b", True)
    assert found.listed >= {b"upgrade", b"x", b"close"}
    assert found.via == [b"1.1 x", b"1.0 y"]


def test_http_1_0_closes_unless_told_otherwise_and_knows_no_upgrade_nor_expectation() -> None:
    lines = (b"Connection: upgrade", b"Upgrade: a", b"Expect: 100-continue")
    found = parse(head(b"GET / HTTP/1.0", *lines))
    assert (found.close, found.upgrade, found.expects, found.authority) == (True, None, False, b"")
    assert not parse(head(b"GET / HTTP/1.0", b"Connection: Keep-Alive")).close


def test_chunked_has_no_length_and_nothing_has_none() -> None:
    assert parse(head(b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: Chunked")).length is None
    assert parse(head(b"POST / HTTP/1.1", b"Host: a")).length == 0


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"\x16\x03\x01", "TLS"),
        (b"GET /\r HTTP/1.1", "bare CR"),
        (b"GET /", "one space"),
        (b"G(T / HTTP/1.1", "token"),
        (b"GET / SPDY/1", "no HTTP version"),
        (b"GET / HTTP/1.10", "malformed HTTP version"),
        (b"GET /#a HTTP/1.1", "fragment"),
    ],
)
def test_bad_request_line_is_named(line: bytes, says: str) -> None:
    status, text = refused(head(line, b"Host: a"))
    assert (status, says in text) == (400, True), text


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET / HTTP/2.0", 505),
        (b"PRI * HTTP/2.0", 505),
        (b"GET / HTTP/1.2", 505),
        (b"M" * 65 + b" / HTTP/1.1", 501),
        (b"GET /" + b"a" * 200 + b" HTTP/1.1", 414),
    ],
)
def test_request_line_that_is_not_served_has_its_status(line: bytes, status: int) -> None:
    assert refused(head(line, b"Host: a"))[0] == status


@pytest.mark.parametrize(
    ("block", "says"),
    [
        (b"X: a\rb\r\n", "bare CR"),
        (b" X: a\r\n", "folded"),
        (b"X\r\n", "colon"),
        (b"X : a\r\n", "white space"),
        (b"X@: a\r\n", "token"),
        (b"X: \x01\r\n", "control"),
        (b"X: a\r\n\r\nY: b\r\n", "empty line"),
        (b"X: a", "end with CRLF"),
    ],
)
def test_bad_field_is_named_in_heads_and_in_trailers(block: bytes, says: str) -> None:
    assert says in refused(b"GET / HTTP/1.1\r\n" + block)[1]
    with pytest.raises(BadRequest, match=says):
        parse_fields(block)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([b"Content-Length: 1", b"Transfer-Encoding: chunked"], 400),
        ([b"Content-Length: 1", b"Content-Length: 1"], 400),
        ([b"Content-Length: +1"], 400),
        ([b"Content-Length: " + b"1" * 19], 400),
        ([b"Transfer-Encoding: x"], 400),
        ([b"Transfer-Encoding: gzip, chunked"], 501),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], 400),
        ([b"Expect: 200-ok"], 417),
        ([b"X: 1"] * 8, 431),
        ([b"X: " + b"a" * 98], 431),
    ],
)
def test_head_that_is_refused_has_its_status(lines: list[bytes], status: int) -> None:
    assert refused(head(b"POST / HTTP/1.1", b"Host: a", *lines))[0] == status


def test_chunks_in_http_1_0_are_refused() -> None:
    assert refused(head(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked"))[0] == 400


def test_many_short_lines_are_no_long_line() -> None:
    assert len(parse(head(b"GET / HTTP/1.1", b"Host: a", *[b"X: " + b"a" * 30] * 6)).headers) == 7


def test_trailers_lose_the_white_space_around_their_values() -> None:
    assert parse_fields(b"X:  a \t\r\ny:\r\n") == [(b"X", b"a"), (b"y", b"")]


def test_memo_of_names_is_bounded_and_forgets_nothing_that_matters() -> None:
    parser = HeadParser(LIMITS)
    for number in range(3000):
        parser.parse(head(b"GET / HTTP/1.1", b"Host: a", b"X-%d: 1" % number, b"Y" * 70 + b": 1"))
    assert len(parser._memo) <= 1024
    assert max(map(len, parser._memo)) <= 64
    assert parser.parse(head(b"GET / HTTP/1.1", b"HOST: b")).authority == b"b"


# --- heads that have not come whole ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("buffer", "status"),
    [
        (b"\x16", 400),
        (b"GET / HTTP/1.1\n", 400),
        (b"GET /\rx", 400),
        (b"GET / HTTP/1.1\r\nX: a\n", 400),
        (b"GET / HTTP/1.1\r\nX: a\rb", 400),
        (b"GET /" + b"a" * 197, 414),
        (b"GET / HTTP/2.0\r\n", 505),
        (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * (MAX_HEAD // 6), 431),
    ],
)
def test_what_can_no_longer_become_a_head_is_refused_at_once(buffer: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as caught:
        HeadParser(LIMITS).check_partial(buffer, 0)
    assert caught.value.status == status


def test_where_a_stray_byte_stands_is_told() -> None:
    with pytest.raises(BadRequest, match="request line"):
        HeadParser(LIMITS).check_partial(b"GET /\n", 0)
    with pytest.raises(BadRequest, match="header line"):
        HeadParser(LIMITS).check_partial(b"GET / HTTP/1.1\r\nX\n", 0)


def test_beginning_of_a_good_head_is_waited_for() -> None:
    wire = head(b"GET / HTTP/1.1", b"Host: a", b"")[:-1]
    for end in range(1, len(wire)):
        HeadParser(LIMITS).check_partial(wire[:end], end - 1)
