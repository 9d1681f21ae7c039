"""Fuzz target: bytes of an upstream, through the parser and the rules, to the bytes that a client would get.

Laws: no exception but a ProxyError, the same result whatever way the bytes are cut, and a response that is passed on
whole is read by another parser as the same message, without hop-by-hop fields.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

from sidecar.errors import ProxyError
from sidecar.forwarding.headers import HeaderRules, nominations
from sidecar.listener.outbound import Sender, interim
from sidecar.model import Headers, RawHeaders, Request, Response
from sidecar.upstream.exchange import Exchange
from sidecar.upstream.parser import ResponseParser
from tests.fuzz.reading import OURS, pieces, read_response

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
SEEDS = (
    b"\x00" + OK,
    b"\x01" + OK * 2,
    b"\x12HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK,
    b"\x03" + CHUNKED + b"Trailer: X\r\n\r\n2;a=b\r\nok\r\n0\r\nX: 1\r\n\r\n",
    b"\x04HTTP/1.0 200 \r\nConnection: x-a\r\nX-A: 1\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\nuntil the end",
    b"\x25HTTP/1.1 200 OK\r\nContent-Length: 99\r\nKeep-Alive: timeout=5\r\n\r\n",
    b"\x06HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
    b"\x07HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly",
    b"\x01HTTP/1.1 200 O\xfcK\r\nX: \xff\r\n Y\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"\x02HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
)
_CUTS = (0, 1, 2, 3, 7, 16, 61, 0)
_METHODS = (b"GET", b"HEAD", b"POST", b"GET")


@dataclass
class Run:
    """What one way of cutting came to."""

    exchange: Exchange
    parser: ResponseParser
    interims: list[tuple[int, bytes, RawHeaders]] = field(default_factory=list)
    error: str = ""

    def outcome(self) -> tuple[object, ...]:
        one = self.exchange
        head = (one.status, one.reason, one.headers, one.upgraded, self.interims)
        return (*head, b"".join(one.chunks), one.trailers, one.complete, bool(self.error) and not one.complete)


class _Connection:
    """The exchange's connection, of which only back-pressure and the end matter here."""

    def pause(self) -> None: ...

    resume = abort = pause


def run(data: bytes, cut: int, method: bytes, *, upgrade: bool) -> Run:
    """Let one parser take the bytes in pieces of `cut`."""
    exchange = Exchange(cast("Any", _Connection()), method.decode(), None, upgrade=b"websocket" if upgrade else None)
    result = Run(exchange, ResponseParser())
    exchange.interim = lambda *what: result.interims.append(what)
    result.parser.expect(exchange)
    for piece in pieces(data, cut):
        if exchange.complete or result.error or exchange.upgraded:
            break
        try:
            result.parser.feed(exchange, piece)
        except ProxyError as error:
            result.error = str(error)
    return result


def check(data: bytes, loop: asyncio.AbstractEventLoop) -> None:
    """All laws; the first byte says how the rest is cut, by which method was asked, and whether for an upgrade."""
    if not data:
        return
    how, wire = data[0], data[1:]
    method, cut, upgrade = _METHODS[how >> 4 & 3], _CUTS[how & 7], bool(how & 8)
    whole = run(wire, 0, method, upgrade=upgrade)
    if cut:
        other = run(wire, cut, method, upgrade=upgrade)
        assert other.outcome() == whole.outcome(), (cut, other.outcome(), whole.outcome())
    for status, reason, fields in whole.interims:
        text = interim(status, reason, fields)
        assert not {10, 0} & set(text.replace(b"\r\n", b"")), text
    exchange = whole.exchange
    if exchange.status and not exchange.upgraded and (exchange.complete or not whole.error):
        _judge(whole, method, loop)


class _Sink:
    def __init__(self) -> None:
        self.data = b""

    async def write(self, chunk: bytes) -> None:
        self.data += chunk


def _judge(whole: Run, method: bytes, loop: asyncio.AbstractEventLoop) -> None:
    """The client's reading of a response that came whole is ours; of one without end, so far."""
    exchange = whole.exchange
    fields, length, chunked = HeaderRules(()).for_downstream(exchange.headers, upgraded=False)
    judge_fields(exchange.headers, fields)
    if not exchange.complete:  # it would end with its connection, or be cut
        if chunked or length is not None:
            return
        exchange.complete = True
    body = b"".join(exchange.chunks)
    response = Response(exchange.status, fields, reason=exchange.reason)
    response.length, response.declared = (None if chunked else length), True
    response.body, response.trailers = body, exchange.trailers
    sink = _Sink()
    request = Request(method=method.decode(), target=b"/", authority="a", headers=Headers())
    close = loop.run_until_complete(Sender().send(sink, request, response, close=not whole.parser.persistent))
    read = read_response(sink.data, method, ended=close)
    assert (read.whole, read.left) == (True, b""), (read, sink.data)
    assert read.start == (b"%d" % exchange.status, exchange.reason), read
    assert (read.body, read.trailers) == (body, _trimmed(exchange.trailers))
    assert [pair for pair in read.fields if pair[0].lower() not in OURS] == _trimmed(fields), (read.fields, fields)


def _trimmed(fields: RawHeaders) -> RawHeaders:
    """White space behind a value is no part of it (RFC 9112 §5); llhttp leaves it, and it is passed on."""
    return [(name, value.rstrip(b" \t")) for name, value in fields]


def judge_fields(headers: RawHeaders, fields: Headers) -> None:
    """Nothing hop-by-hop and nothing nominated goes down."""
    nominated = frozenset[bytes]().union(*(nominations(v) for n, v in headers if n.lower() == b"connection"))
    names = {name.lower() for name, _ in fields}
    assert not names & OURS, names
    assert not names & (nominated - {b"content-length"}), names
