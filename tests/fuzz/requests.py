"""Fuzz target: bytes of a client, through the native front as it is, to the bytes that an upstream would get.

Only the transport and the upstream are stand-ins. Laws: no exception but a refusal, whatever way the bytes are cut the
same requests come out, and what goes up is read by another parser as the same message, without hop-by-hop fields.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from sidecar.config.model import Limits, Listener
from sidecar.errors import ProxyError
from sidecar.forwarding.attempt import chunked_body
from sidecar.forwarding.headers import HeaderRules, nominations
from sidecar.listener.http1.front import NativeFront
from sidecar.listener.service import Service
from sidecar.model import Address, Origin, RawHeaders, Request, Response
from sidecar.telemetry.propagation import TRACE_FIELDS
from sidecar.telemetry.telemetry import Telemetry, build
from tests.fuzz.reading import OURS, Message, pieces, read_request

GET = b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
SEEDS = (
    b"\x00" + GET * 2,
    b"\x01\r\n" + GET,
    b"\x03" + POST + b"Content-Length: 5\r\n\r\nhello" + GET,
    b"\x05" + POST + b"Transfer-Encoding: chunked\r\nTE: trailers\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n" + GET,
    b"\x02GET http://b/ HTTP/1.1\r\nHost: a\r\nConnection: x-a, close\r\nX-A: 1\r\nForwarded: a\r\n\r\n",
    b"\x02GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, TE\r\nUpgrade: websocket\r\nTE: trailers\r\n\r\n",
    b"\x00OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\nVia: 1.0 b\r\nX-Forwarded-For: 1\r\n\r\n",
    b"\x01CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nearly",
    b"\x02" + POST + b"Expect: 100-continue\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    b"\x07" + POST + b"Transfer-Encoding:\tchunked \r\nContent-Length: 1\r\nX: \xff\r\n a\r\n\r\n0\r\n\r\n",
)
_LIMITS = Limits(max_header_count=8, max_header_bytes=128, max_target_bytes=96, max_body_bytes=4096)
_SPEC = Listener(name="in", address=":0", engine="native", limits=_LIMITS)
_CUTS = (0, 1, 2, 3, 7, 16, 61, 0)
_ROUNDS = 6  # of the loop after which nothing more happens by itself
_TELEMETRY: dict[str, Telemetry] = {}


@dataclass
class Seen:
    """One request as the handler had it, and its bytes upstream."""

    request: Request
    body: bytes
    refused: str
    head: bytes


@dataclass
class Run:
    """What one way of cutting came to."""

    seen: list[Seen] = field(default_factory=list)
    written: bytes = b""

    def outcome(self) -> list[tuple[object, ...]]:
        whole = [one for one in self.seen if not one.refused]  # how much of a bad one is seen is a matter of time
        requests = [(one.head, one.body, one.request.trailers) for one in whole]
        return [*requests, ("refused" if b"\r\nConnection: close\r\n" in self.written else "open",)]


class _Transport(asyncio.Transport):
    """Takes what is written; never full, never lost."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1)})
        self.data = bytearray()
        self.closing = False

    def write(self, data: Any) -> None:
        if not self.closing:
            self.data += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def run(data: bytes, cut: int) -> Run:
    """Let one connection take the bytes in pieces of `cut`."""
    result = Run()
    rules = HeaderRules(TRACE_FIELDS)

    async def handler(request: Request) -> Response:
        one = Seen(request, b"", "unfinished", rules.head(request, None))
        result.seen.append(one)
        if isinstance(request.body, bytes):
            one.body = request.body
        elif request.body is not None:
            try:
                async for chunk in request.body:
                    one.body += chunk
            except ProxyError as error:
                one.refused = str(error)
                raise
        one.refused = ""
        return Response(200)

    telemetry = _TELEMETRY.setdefault("one", build({}, access_log=None, version="0"))
    front = NativeFront(Service(_SPEC, lambda: handler, telemetry, trusted=(), via=b"fuzz.1"))
    connection, transport = front(), _Transport()
    connection.connection_made(transport)
    await _settle()
    for piece in pieces(data, cut):
        if transport.closing:
            break
        connection.data_received(piece)
        await _settle()
    connection.connection_lost(None)
    await asyncio.wait((connection._task,))
    if not connection._task.cancelled():
        failure = connection._task.exception()
        if failure is not None:
            raise failure
    result.written = bytes(transport.data)
    return result


async def _settle() -> None:
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)


def check(data: bytes, loop: asyncio.AbstractEventLoop) -> None:
    """All laws; the first byte says how the rest is cut."""
    if not data:
        return
    cut, wire = _CUTS[data[0] % len(_CUTS)], data[1:]
    whole = loop.run_until_complete(run(wire, 0))
    assert b"HTTP/1.1 500 " not in whole.written, whole.written
    tunnelled = any(
        one.request.method == "CONNECT" for one in whole.seen
    )  # what follows is not HTTP, whenever it comes
    if cut and not tunnelled:
        other = loop.run_until_complete(run(wire, cut))
        assert other.outcome() == whole.outcome(), (cut, other.outcome(), whole.outcome())
    for one in whole.seen:
        if not one.refused:
            _judge(one)


def _judge(one: Seen) -> None:
    """The upstream's reading of a whole request is ours."""
    request = one.request
    if request.method == "CONNECT":
        return
    wire = one.head + (chunked_body(one.body, request.trailers) if request.length is None else one.body)
    assert b"\n" not in wire[: len(one.head)].replace(b"\r\n", b"")
    assert b"\0" not in one.head
    judge_fields(request, one.head)
    if any(byte >= 0x80 for byte in request.target):  # passed on as it came; h11 takes ASCII only
        return
    read = read_request(wire)
    assert (read.whole, read.left) == (True, b""), read
    assert read.start == (request.method.encode(), request.target)
    assert (read.body, read.trailers) == (one.body, request.trailers)
    judge_message(request, read)


def judge_fields(request: Request, head: bytes) -> None:
    """Nothing hop-by-hop, nothing nominated; what is written there is written by us."""
    nominated = frozenset[bytes]().union(*(nominations(v) for n, v in request.headers if n.lower() == b"connection"))
    lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:-2]]
    names = [name.lower() for name, _, _ in lines]
    assert names.count(b"host") == 1
    assert (names.count(b"content-length"), names.count(b"transfer-encoding")) in ((0, 0), (1, 0), (0, 1))
    assert b"keep-alive" not in names
    assert b"proxy-connection" not in names
    assert b"proxy-authorization" not in names
    via = b"1.1 " + request.origin.via
    for name, _, value in lines:
        lower = name.lower()
        if lower == b"connection":
            assert value in (b"Upgrade", b"TE", b"Upgrade, TE"), value
        elif lower == b"te":
            assert value == b"trailers"
        elif lower == b"transfer-encoding":
            assert value == b"chunked"
        elif lower in nominated - OURS:
            own = lower in (b"host", b"content-length") or value == via or lower.startswith(b"x-forwarded-")
            assert own, (name, value)


def judge_message(request: Request, read: Message) -> None:
    """Every field that was to stay is there, in order, byte for byte."""
    kept = [pair for pair in read.fields if pair in request.headers and pair[0].lower() not in {*OURS, b"host"}]
    wanted = iter(request.headers)
    assert all(pair in wanted for pair in kept), (kept, request.headers)


def origin(*, trusted: bool = False, announce: bool = True) -> Origin:
    return Origin(b"fuzz.1", trusted=trusted, announce=announce, peer=b"192.0.2.1", scheme=b"http")


def request_of(headers: RawHeaders, **settings: Any) -> Request:
    """A request for the header rules alone."""
    from sidecar.model import Headers  # noqa: PLC0415

    return Request(headers=Headers(headers), peer=Address("192.0.2.1", 1), **settings)
