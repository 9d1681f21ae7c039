"""One downstream connection: finds heads, feeds bodies, serves one request after the other in one task.

Pipelined requests wait in the buffer, which has a limit; what the connection waits for has a deadline, always.
"""

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from sidecar.errors import BadRequest, LoopDetected, ProxyError, TooManyConnections
from sidecar.listener.http1.body import Body
from sidecar.listener.http1.deadline import Deadline
from sidecar.listener.http1.head import MAX_HEAD, Head
from sidecar.listener.outbound import reset as end_by_reset
from sidecar.listener.outbound import write_interim
from sidecar.listener.peers import peer_address
from sidecar.model import Request, Response, Tunnel

if TYPE_CHECKING:
    from sidecar.listener.http1.front import NativeFront

MAX_PIPELINED = 65_536  # bytes of later requests held while one is served
MAX_DRAINED = 262_144  # bytes of an unread body that are read so that the connection can live on
LINGER = 2.0  # seconds for the client to read our last answer before the connection closes

Waiting: TypeAlias = Literal["nothing", "request", "head", "body", "reader", "close"]


class Connection(asyncio.Protocol):
    """See the module; it is the `Client` of its requests."""

    def __init__(self, front: "NativeFront", loop: asyncio.AbstractEventLoop) -> None:
        self.front = front
        self.loop = loop
        self.serving = False
        self._transport: asyncio.Transport
        self._buffer = b""
        self._body: Body | None = None
        self._head: Head | None = None  # of the request that is served
        self._arrival: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._write_paused = self._read_paused = self._ended = False
        self._late = 0  # bytes that came after the last answer
        self._waiting: Waiting = "nothing"
        self._deadline = Deadline(loop, self._expired)

    # --- asyncio.Protocol -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Learn the peer and begin to serve, unless too many are connected."""
        self._transport = cast("asyncio.Transport", transport)
        self.peer = peer_address(transport.get_extra_info("peername"))
        secure = transport.get_extra_info("sslcontext") is not None
        self.origin = self.front.service.origin_of(self.peer, secure=secure)
        self.front.connections.add(self)
        self._task = self.loop.create_task(self._run(), name="downstream connection")

    def data_received(self, data: bytes) -> None:
        """Feed the body that is being received, else the buffer of heads."""
        if self._ended:  # thrown away, but not without end
            self._late += len(data)
            if self._late > MAX_DRAINED:
                self._transport.abort()
            return
        if self._body is not None:
            data = self._body.feed(data)
            if not self._body.complete:
                return
            self._body = None
            if not data:
                return
        self._buffer = self._buffer + data if self._buffer else data
        if self._arrival is not None:
            if not self._arrival.done():
                self._arrival.set_result(None)
        elif len(self._buffer) > MAX_PIPELINED and not self._read_paused:
            self.pause()

    def eof_received(self) -> bool:
        """The client is gone: a request that runs is given up (as in nginx and Go; half-close is for tunnels)."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what runs."""
        del exc
        self._ended = True
        self.front.connections.discard(self)
        self._deadline.cancel()
        self._task.cancel()

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._write_paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # --- the client of a request ----------------------------------------------------------------------------------

    def closes(self, response: Response) -> bool:
        """After what the client asked for, after a body that may never come or is too long to wait for."""
        head, body = cast("Head", self._head), self._body
        if head.close or response.status == 101 or head.method == "CONNECT":
            return True  # what was meant for a tunnel that was refused is no request, whenever it comes
        if body is None:
            return False
        return body.error is not None or head.expects or body.left is None or body.left > MAX_DRAINED

    async def write(self, chunk: bytes) -> None:
        """Write, waiting while the client reads slowly; raises ConnectionError when it is gone."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self._transport.write(chunk)
        if self._write_paused:
            await self._read()

    async def _read(self) -> None:
        """Wait until the client has read."""
        self._writable = self.loop.create_future()
        self._wait_for("reader", self.front.service.spec.limits.body_timeout)
        try:
            await self._writable
        finally:
            self.awaits_nothing()

    async def tunnel(self, start: bytes, tunnel: Tunnel) -> None:
        """Hand the transport over; it comes back closed."""
        self._transport.write(start)
        early, self._buffer = self._buffer, b""
        await tunnel.join(self._transport, early)

    def cut(self, *, reset: bool) -> None:
        """End the connection within a response."""
        if reset:
            end_by_reset(self._transport)
        else:
            self.close()

    def pause(self) -> None:
        """Stop reading."""
        self._read_paused = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        self._read_paused = False
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def awaits_body(self) -> None:
        """The reader of the body waits for the client."""
        self._wait_for("body", self.front.service.spec.limits.body_timeout)

    def awaits_nothing(self) -> None:
        """The connection waits for the upstream, or works."""
        self._waiting = "nothing"
        self._deadline.never()

    def close(self) -> None:
        """Close once what is written has been read, in time: the socket alone would wait for ever."""
        if self._transport.is_closing():
            return
        self._transport.set_write_buffer_limits(0)
        if self._write_paused:
            self._wait_for("reader", self.front.service.spec.limits.body_timeout)
        self._transport.close()

    def abort(self) -> "asyncio.Task[None]":
        """Drop the connection and what runs on it; the task to wait for."""
        self._task.cancel()
        self._transport.abort()
        return self._task

    # --- serving --------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            if len(self.front.connections) > self.front.service.spec.limits.max_connections:
                self._refuse(TooManyConnections("too many connections"))
                return
            while (head := await self._next_head()) is not None:
                self.serving = True
                keep = await self._serve(head)
                self.serving = False
                if not keep or not (self._body is None or await self._body.drained(MAX_DRAINED)):
                    break
            await self._linger()
        except ProxyError as error:
            self._refuse(error)
            await self._linger()
        finally:
            self._ended = True
            self._transport.close()

    async def _next_head(self) -> Head | None:
        """The next request's head, None where the client is done; raises BadRequest."""
        if self._read_paused:
            self.resume()
        limits = self.front.service.spec.limits
        seen = 0
        blank = False
        self._wait_for("request", limits.keepalive_timeout)
        while True:
            if not blank and self._buffer.startswith(b"\r\n"):  # RFC 9112 §2.2: one empty line is ignored
                self._buffer, blank = self._buffer[2:], True
            buffer = self._buffer
            if buffer:
                end = buffer.find(b"\r\n\r\n", max(0, seen - 3))
                if 0 <= end <= MAX_HEAD:
                    self.awaits_nothing()
                    self._buffer = buffer[end + 4 :]
                    return self.front.parser.parse(buffer[: end + 2])
                self.front.parser.check_partial(buffer, seen)
                if self._waiting == "request":
                    self._wait_for("head", limits.header_timeout)
                seen = len(buffer)
            self._arrival = self.loop.create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None

    async def _serve(self, head: Head) -> bool:
        service = self.front.service
        limits = service.spec.limits
        self._head = head
        request = Request(
            method=head.method, target=head.target, authority=head.authority.decode("latin-1"), headers=head.headers,
            length=head.length, scheme=head.scheme or self.origin.scheme.decode(), peer=self.peer, origin=self.origin,
            version="1.1" if head.minor else "1.0", listener=service.spec.name, upgrade=head.upgrade,
            started=self.loop.time(), received_ns=time.time_ns(),
        )  # fmt: skip
        refusal: ProxyError | None = None
        if head.via and any(self.origin.via in value for value in head.via):
            refusal = LoopDetected("the request came through this listener before: its name stands in Via")
        if head.length != 0 and head.method != "CONNECT":
            refusal = self._receive(request, head, limits.max_body_bytes) or refusal
        if head.minor:
            request.interim = partial(write_interim, self._transport)
        service.begin(request)
        return await service.serve(request, self, refusal)

    def _receive(self, request: Request, head: Head, limit: int | None) -> ProxyError | None:
        """Begin to take the body: as bytes where it is here whole, else as a stream."""
        if limit is not None and head.length is not None and head.length > limit:
            self._body = Body(self, head.length, limit, head.listed)
            return BadRequest(f"request body of {head.length} bytes, over the limit of {limit}", 413)
        body = Body(self, head.length, limit, head.listed)
        if self._buffer:
            self._buffer = body.feed(self._buffer)
        request.trailers = body.trailers
        if body.complete:
            request.body = body.whole()
            return None
        self._body = body
        request.body = body
        return body.error

    def _refuse(self, error: ProxyError) -> None:
        """Answer bytes that were no request."""
        if not self._transport.is_closing():
            self._transport.write(self.front.service.refusal(error, self.peer, self.origin))

    async def _linger(self) -> None:
        """Let the client read the last answer: closing with unread bytes would reset it away (RFC 9112 §9.6)."""
        self._ended = True  # what comes now is thrown away
        if not self._transport.is_closing():
            self._transport.set_write_buffer_limits(0)  # a socket closes when all has been read, which may be never
            if self._write_paused:
                await self._read()
        if self._transport.is_closing() or not self._transport.can_write_eof():
            return
        self._transport.write_eof()
        self.resume()
        self._wait_for("close", LINGER)
        await self.loop.create_future()  # until the client closes, or the deadline does

    def _wait_for(self, what: Waiting, seconds: float) -> None:
        self._waiting = what
        self._deadline.within(seconds)

    def _expired(self) -> None:
        """What was waited for did not come."""
        if self._waiting == "head":
            self._refuse(BadRequest("the request head did not come in time", 408))
            self.close()
        elif self._waiting == "body" and self._body is not None:
            self._body.fail(BadRequest("the request body did not come in time", 408))
        elif self._waiting == "reader":
            self._transport.abort()
        else:
            self.close()
