"""Our response becomes bytes: head and body in one write where the body is here, else in chunks under back-pressure."""

import asyncio
import socket
import struct
from email.utils import formatdate
from typing import Protocol

from sidecar.forwarding.headers import HOP_BY_HOP, nominations
from sidecar.listener.answers import reason_phrase
from sidecar.model import RawHeaders, Request, Response

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends RST
BODYLESS = frozenset({204, 304})
_INTERIM_ENDS = HOP_BY_HOP | {b"content-length"}  # a 1xx response has no body


class Sink(Protocol):
    """Where bytes go (aiohttp's AbstractStreamWriter)."""

    async def write(self, chunk: bytes) -> None:
        """Write, waiting while the client reads slowly; raises ConnectionError when it is gone."""


def head(response: Response, request: Request, *, close: bool, chunked: bool) -> bytes:
    """The status line and header lines."""
    reason = response.reason or (reason_phrase(response.status).encode() if response.error is not None else b"")
    lines = [b"HTTP/1.1 %d %b\r\n" % (response.status, reason)]
    headers: RawHeaders = response.headers
    ready = response.ready
    if ready is not None and headers[: len(ready[0])] == ready[0]:  # nobody has touched them
        lines.append(ready[1])
        headers = headers[len(ready[0]) :]
    lines += [b"%b: %b\r\n" % pair for pair in headers]
    if chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif not response.declared:
        lines += _own_framing(response)
    if close:
        lines.append(b"Connection: close\r\n")
    elif request.version == "1.0" and response.tunnel is None:
        lines.append(b"Connection: keep-alive\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def is_bodyless(response: Response, request: Request) -> bool:
    """Whether the message ends with its head (RFC 9112 §6.3)."""
    return request.method == "HEAD" or response.status in BODYLESS


def interim(status: int, reason: bytes, headers: RawHeaders) -> bytes:
    """The bytes of a 1xx response."""
    gone = _INTERIM_ENDS.union(*(nominations(value) for name, value in headers if name.lower() == b"connection"))
    lines = b"".join(b"%b: %b\r\n" % pair for pair in headers if pair[0].lower() not in gone)
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, lines)


def write_interim(transport: asyncio.Transport, status: int, reason: bytes, headers: RawHeaders) -> None:
    """Pass a 1xx response on, unless the client is gone."""
    if not transport.is_closing():
        transport.write(interim(status, reason, headers))


def reset(transport: asyncio.Transport) -> None:
    """End a connection by a TCP reset: what is buffered is lost, and the client can tell."""
    peer = transport.get_extra_info("socket")
    if peer is not None and peer.family != socket.AF_UNIX:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


class Sender:
    """Sends one response and counts what it sent."""

    __slots__ = ("begun", "sent")

    def __init__(self) -> None:
        self.sent = 0  # bytes of the body
        self.begun = False  # the head has gone out: nothing else can be answered

    async def send(self, sink: Sink, request: Request, response: Response, *, close: bool) -> bool:
        """Send head and body; returns whether the connection must end to mark the body's end.

        Raises what the body raises: the client can tell by the missing end (RFC 9112 §8).
        """
        body = response.body
        if is_bodyless(response, request):
            self.begun = True
            await sink.write(head(response, request, close=close, chunked=False))
            return close
        chunked = response.length is None and request.version == "1.1"
        close = close or (response.length is None and not chunked)
        start = head(response, request, close=close, chunked=chunked)
        self.begun = True
        if isinstance(body, bytes):
            self.sent = len(body)
            if chunked:
                end = b"0\r\n%b\r\n" % _trailers(response)
                await sink.write(b"%b%x\r\n%b\r\n%b" % (start, len(body), body, end) if body else start + end)
            else:
                await sink.write(start + body if body else start)
            return close
        await sink.write(start)
        async for data in body:
            self.sent += len(data)
            await sink.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        if chunked:
            await sink.write(b"0\r\n%b\r\n" % _trailers(response))
        return close


def _own_framing(response: Response) -> list[bytes]:
    """What a response of our own or of a filter lacks: its length, and the date (RFC 9110 §6.6.1)."""
    names = {name.lower() for name, _ in response.headers}
    lines = []
    bare = response.tunnel is not None or response.status in BODYLESS
    if response.length is not None and b"content-length" not in names and not bare:
        lines.append(b"Content-Length: %d\r\n" % response.length)
    if b"date" not in names and response.tunnel is None:
        lines.append(b"Date: %b\r\n" % formatdate(usegmt=True).encode())
    return lines


def _trailers(response: Response) -> bytes:
    return b"".join(b"%b: %b\r\n" % pair for pair in response.trailers)
