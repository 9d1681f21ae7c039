"""One HTTP/1.1 connection to an endpoint: writes requests, parses responses (llhttp, strict), one exchange at a time.

It decides whether it may be used again; the pool decides whether it will be. One timer a connection serves both the
idle time in the pool and the idle time within an exchange, so that a request sets no timer of its own.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import cast

import httptools

from sidecar.errors import ProxyError, UpstreamProtocol, UpstreamReset, UpstreamTimeout
from sidecar.model import Address, RawHeaders, Request
from sidecar.upstream.exchange import HIGH_WATER, Exchange

MAX_HEAD = 131_072  # bytes of one response head
MAX_FIELDS = 256  # header lines, and trailer lines
MAX_INTERIM = 64  # 1xx responses before the final one
_KEEP_ALIVE_TIMEOUT = re.compile(rb"timeout\s*=\s*\"?(\d{1,6})")


class Connection(asyncio.Protocol):
    """See the module; the pool makes it, `exchange` begins a request on it."""

    def __init__(
        self,
        address: Address,
        loop: asyncio.AbstractEventLoop,
        *,
        idle_timeout: float,
        stream_idle_timeout: float,
        on_free: Callable[["Connection"], None],
        on_lost: Callable[["Connection"], None],
    ) -> None:
        self.address = address
        self.loop = loop
        self.exchanges = 0
        self.transport: asyncio.Transport | None = None
        self._idle_timeout = self._keep_alive = idle_timeout
        self._stream_idle_timeout = stream_idle_timeout
        self._on_free = on_free
        self._on_lost = on_lost
        self._exchange: Exchange | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._fields: RawHeaders = []
        self._reason = b""
        self._head_bytes = 0
        self._interims = 0
        self._is_interim = False
        self._reusable = True
        self._sent = True  # the whole request has been written
        self._pump: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._write_paused = False
        self._active_at = loop.time()
        self._timer: asyncio.TimerHandle | None = None

    # --- the requester's side -------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether a request may be written now."""
        return (
            self._reusable and self._exchange is None and self.transport is not None and not self.transport.is_closing()
        )

    def begin(
        self, request: Request, head: bytes, body: bytes | AsyncIterator[bytes] | None, *, chunked: bool
    ) -> Exchange:
        """Write a request and return its exchange at once; `head` ends with the empty line.

        A streamed body is pumped by a task that the connection owns; `request.trailers` is read when it has ended.
        Raises UpstreamReset(unsent) where the connection is gone already.
        """
        if self.transport is None or self.transport.is_closing():
            raise UpstreamReset("the connection closed before the request was sent", unsent=True)
        exchange = Exchange(self, request.method, request.interim, upgrade=request.upgrade is not None)
        self._exchange = exchange
        self.exchanges += 1
        self._active_at = self.loop.time()
        self._head_bytes = self._interims = 0
        if body is None or isinstance(body, bytes):
            self.transport.write(head + body if body else head)
        else:
            self._sent = False
            self.transport.write(head)
            pump = self._send_body(exchange, body, request.trailers if chunked else None)
            self._pump = self.loop.create_task(pump, name="request body")
        return exchange

    def detach(self) -> asyncio.Transport:
        """Give up the transport to a tunnel: the connection is no longer of HTTP."""
        transport = cast("asyncio.Transport", self.transport)
        self._exchange = None
        self._reusable = False
        self._stop_timer()
        return transport

    def abort(self) -> None:
        """Close at once without finishing what is buffered."""
        self._reusable = False
        self._stop_pump()
        if self.transport is not None:
            self.transport.abort()

    def close(self) -> None:
        """Close when what is written has gone out."""
        self._reusable = False
        if self.transport is not None:
            self.transport.close()

    def pause(self) -> None:
        """Stop reading: the reader of the exchange is behind."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        self._active_at = self.loop.time()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    # --- asyncio.Protocol -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the connection's one timer."""
        self.transport = cast("asyncio.Transport", transport)
        self._timer = self.loop.call_later(self._idle_timeout, self._tick)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; whatever it refuses ends the connection."""
        exchange = self._exchange
        if exchange is None:  # bytes that answer nothing
            self.abort()
            return
        self._active_at = self.loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as switch:
            exchange.early = data[cast("int", switch.args[0]) :]
        except httptools.HttpParserCallbackError as error:
            self._refuse(exchange, error.__context__)
        except httptools.HttpParserError as error:
            self._refuse(exchange, error)
        if exchange.complete:
            self._free(exchange)  # only now: extra bytes behind the response must have been seen
        elif not exchange.status:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                exchange.fail(UpstreamProtocol(f"response head over {MAX_HEAD} bytes"))

    def eof_received(self) -> bool:
        """A response without length ends here; the transport then closes."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End the exchange, by success where the response has no other end."""
        self._reusable = False
        self._stop_timer()
        self._stop_pump()
        self.resume_writing()
        exchange, self._exchange = self._exchange, None
        if exchange is not None and not exchange.complete and exchange.error is None:
            if exchange.status and exc is None and not exchange.upgraded and _ends_with_connection(exchange.headers):
                exchange.complete = True
            else:
                clean = not (exchange.status or self._head_bytes or self._fields)
                exchange.error = UpstreamReset(
                    f"{self.address} closed the connection {_moment(exchange, clean)}", clean=clean
                )
            exchange.wake()
        self.transport = None
        self._on_lost(self)

    def pause_writing(self) -> None:
        """The upstream reads slowly."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """The upstream has caught up."""
        self._write_paused = False
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    # --- httptools callbacks --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A second response to one request cannot be trusted, nor what follows it."""
        if self._exchange is None or self._exchange.complete:
            self._reusable = False

    def on_status(self, reason: bytes) -> None:
        """Keep the reason phrase."""
        self._reason = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect header lines, and after the body trailer lines."""
        if len(self._fields) >= MAX_FIELDS:
            raise UpstreamProtocol(f"response with more than {MAX_FIELDS} header lines")
        self._fields.append((name, value))
        if len(name) == 10 and name.lower() == b"keep-alive":
            found = _KEEP_ALIVE_TIMEOUT.search(value)
            if found:  # half a second less than the upstream's own, lest both close and reuse
                self._keep_alive = min(self._idle_timeout, max(0.0, int(found[1]) - 0.5))

    def on_headers_complete(self) -> None:
        """Publish the head: interim ones through the callback, the final one to the reader."""
        exchange = self._exchange
        if exchange is None or exchange.complete:
            return
        status = self._parser.get_status_code()
        fields, self._fields = self._fields, []
        reason, self._reason = self._reason, b""
        if status < 200 and status != 101:
            self._pass_interim(exchange, status, reason, fields)
            return
        if status == 101:
            if not exchange.upgrade:
                raise UpstreamProtocol("101 Switching Protocols that nobody asked for")
            exchange.upgraded = True
        exchange.status, exchange.reason, exchange.headers = status, reason, fields
        if not self._parser.should_keep_alive() and not (exchange.method == "HEAD" and self._head_persists(fields)):
            self._reusable = False
        if exchange.method == "HEAD" and not exchange.upgraded:  # the parser cannot be told that no body follows
            self._parser = httptools.HttpResponseParser(self)
            self._finish(exchange)
        exchange.wake()

    def on_body(self, data: bytes) -> None:
        """Hand body bytes to the reader."""
        exchange = self._exchange
        if exchange is not None and not exchange.complete:
            exchange.feed(data)
        else:
            self._reusable = False

    def on_message_complete(self) -> None:
        """The final response is whole."""
        if self._is_interim:
            self._is_interim = False
            return
        exchange = self._exchange
        if exchange is not None and exchange.status and not exchange.upgraded and not exchange.complete:
            exchange.trailers, self._fields = self._fields, []
            self._finish(exchange)

    # --- inner ----------------------------------------------------------------------------------------------------

    def _pass_interim(self, exchange: Exchange, status: int, reason: bytes, fields: RawHeaders) -> None:
        self._is_interim = True
        self._interims += 1
        if self._interims > MAX_INTERIM:
            raise UpstreamProtocol(f"more than {MAX_INTERIM} interim responses")
        if exchange.interim is not None:
            exchange.interim(status, reason, fields)

    def _head_persists(self, fields: RawHeaders) -> bool:
        """The parser, which waits for the body of a response to HEAD, cannot say: RFC 9112 §9.3 does."""
        closes = any(name.lower() == b"connection" and b"close" in value.lower() for name, value in fields)
        return self._parser.get_http_version() == "1.1" and not closes

    def _finish(self, exchange: Exchange) -> None:
        exchange.complete = True
        if exchange.size >= HIGH_WATER:  # paused for the reader, who will not resume what is complete
            self.resume()
        exchange.wake()

    def _free(self, exchange: Exchange) -> None:
        if self._exchange is not exchange:
            return
        self._exchange = None
        if not self._sent:  # the answer came before the whole request was read: what is unsent cannot be taken back
            self.abort()
        elif self.usable:
            self._on_free(self)
        else:
            self.close()

    def _refuse(self, exchange: Exchange, cause: BaseException | None) -> None:
        self._reusable = False
        if exchange.complete:
            self.abort()
        elif isinstance(cause, ProxyError):
            exchange.fail(cause)
        else:
            exchange.fail(UpstreamProtocol(f"malformed response from {self.address}: {cause}"))

    async def _send_body(self, exchange: Exchange, body: AsyncIterator[bytes], trailers: RawHeaders | None) -> None:
        """Pump the body; `trailers` None: it is not sent in chunks."""
        try:
            async for data in body:
                if self.transport is None or self.transport.is_closing():
                    return
                if trailers is None:
                    self.transport.write(data)
                elif data:
                    self.transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))
                self._active_at = self.loop.time()
                if self._write_paused:
                    self._writable = self.loop.create_future()
                    await self._writable
            if trailers is not None and self.transport is not None:
                self.transport.write(b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % pair for pair in trailers]))
            self._sent = True
        except ProxyError as error:
            exchange.fail(error)
        except Exception as error:  # noqa: BLE001 - the body's source failed; its reader hears of it and decides
            failure = UpstreamReset("the request body ended early", clean=False)
            failure.__cause__ = error
            exchange.fail(failure)

    async def settle(self) -> None:
        """Wait until nothing reads the request body any more, so that another attempt may."""
        pump = self._pump
        if pump is not None and not pump.done():
            pump.cancel()
            await asyncio.wait((pump,))

    def _stop_pump(self) -> None:
        if self._pump is not None and not self._pump.done():
            self._pump.cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        idle = self.loop.time() - self._active_at
        limit = self._keep_alive if self._exchange is None else self._stream_idle_timeout
        if idle < limit:
            wait = min(limit - idle, self._idle_timeout) if self._exchange is not None else limit - idle
            self._timer = self.loop.call_later(max(wait, 0.01), self._tick)
        elif self._exchange is None:
            self.close()
        else:
            self._exchange.fail(UpstreamTimeout(f"no byte from {self.address} for {limit:g} s"))


def _ends_with_connection(headers: RawHeaders) -> bool:
    return not any(name.lower() in {b"content-length", b"transfer-encoding"} for name, _ in headers)


def _moment(exchange: Exchange, clean: bool) -> str:
    if exchange.status:
        return "before the response was complete"
    return "before it answered" if clean else "within the response head"
