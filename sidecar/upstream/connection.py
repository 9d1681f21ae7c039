"""One HTTP/1.1 connection to an endpoint: writes requests, has responses parsed, one exchange at a time.

It decides whether it may be used again; the pool decides whether it will be. One timer a connection serves both the
idle time in the pool and the idle time within an exchange, so that a request sets no timer of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import cast

from sidecar.errors import ProxyError, UpstreamReset, UpstreamTimeout
from sidecar.model import Address, RawHeaders, Request
from sidecar.upstream.exchange import Exchange
from sidecar.upstream.parser import ResponseParser
from sidecar.upstream.pump import Pump

_MARGIN = 0.5  # seconds by which we stop reusing a connection before the upstream closes it


class Connection(asyncio.Protocol):
    """See the module; the pool makes it, `begin` writes a request on it."""

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
        self.transport: asyncio.Transport | None = None
        self.used = False  # it has carried a request: the upstream may close it as the next one is sent
        self._idle_timeout = idle_timeout
        self._stream_idle_timeout = stream_idle_timeout
        self._period = min(idle_timeout, stream_idle_timeout)
        self._on_free = on_free
        self._on_lost = on_lost
        self._parser = ResponseParser()
        self._exchange: Exchange | None = None
        self._pump: Pump | None = None
        self._active_at = loop.time()
        self._timer: asyncio.TimerHandle | None = None

    # --- the requester's side -------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether a request may be written now."""
        transport = self.transport
        return (
            self._parser.persistent and self._exchange is None and transport is not None and not transport.is_closing()
        )

    @property
    def starved(self) -> bool:
        """Whether the request is not whole because the client has not sent the rest of its body."""
        return self._pump is not None and self._pump.starved

    def begin(
        self, request: Request, head: bytes, body: bytes | AsyncIterator[bytes] | None, *, chunked: bool
    ) -> Exchange:
        """Write a request and return its exchange at once; `head` ends with the empty line.

        A streamed body is pumped by a task that the connection owns; `request.trailers` is read when it has ended.
        Raises UpstreamReset(unsent) where the connection is gone already.
        """
        if self.transport is None or self.transport.is_closing():
            raise UpstreamReset("the connection closed before the request was sent", unsent=True)
        exchange = Exchange(self, request.method, request.interim, upgrade=request.upgrade)
        self._exchange = exchange
        self._parser.expect(exchange)
        self._moved()
        if body is None or isinstance(body, bytes):
            self.transport.write(head + body if body else head)
        else:
            self.transport.write(head)
            trailers = request.trailers if chunked else None
            self._pump = Pump(self.transport, body, trailers, failed=exchange.fail, moved=self._moved)
        return exchange

    def detach(self) -> asyncio.Transport:
        """Give up the transport to a tunnel, which reads on: the connection is no longer of HTTP."""
        transport = cast("asyncio.Transport", self.transport)
        self.pause()
        self._exchange = None
        self._parser.persistent = False
        self._stop_timer()
        return transport

    def abort(self) -> None:
        """Close at once without finishing what is buffered."""
        self._parser.persistent = False
        if self._pump is not None:
            self._pump.stop()
        if self.transport is not None:
            self.transport.abort()

    def close(self) -> None:
        """Close when what is written has gone out."""
        self._parser.persistent = False
        if self.transport is not None:
            self.transport.close()

    def pause(self) -> None:
        """Stop reading: the reader of the exchange is behind."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        self._moved()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def moved_on(self, exchange: Exchange) -> bool:
        """Whether another exchange has begun since."""
        return self._exchange is not None and self._exchange is not exchange

    async def settle(self) -> None:
        """Wait until nothing reads the request body any more, so that another attempt may."""
        if self._pump is not None:
            await self._pump.settle()

    # --- asyncio.Protocol -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the connection's one timer."""
        self.transport = cast("asyncio.Transport", transport)
        self._timer = self.loop.call_later(self._period, self._tick)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; whatever it refuses ends the connection."""
        exchange = self._exchange
        if exchange is None:  # bytes that answer nothing
            self.abort()
            return
        self._moved()
        try:
            self._parser.feed(exchange, data)
        except ProxyError as error:
            exchange.fail(error)
        if exchange.complete:
            self._free(exchange)  # only now: extra bytes behind the response must have been seen

    def eof_received(self) -> bool:
        """A response without length ends here; the transport then closes."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End the exchange, by success where the response has no other end."""
        self._parser.persistent = False
        self._stop_timer()
        if self._pump is not None:
            self._pump.stop()
        exchange, self._exchange = self._exchange, None
        if exchange is not None and not exchange.complete and exchange.error is None:
            if exchange.status and exc is None and not exchange.upgraded and _ends_with_connection(exchange.headers):
                exchange.complete = True
            else:
                clean = self._parser.untouched(exchange)
                moment = _moment(exchange, clean=clean)
                exchange.error = UpstreamReset(f"{self.address} closed the connection {moment}", clean=clean)
            exchange.wake()
        self.transport = None
        self._on_lost(self)

    def pause_writing(self) -> None:
        """The upstream reads slowly."""
        if self._pump is not None:
            self._pump.pause()

    def resume_writing(self) -> None:
        """The upstream has caught up."""
        if self._pump is not None:
            self._pump.resume()

    # --- inner ----------------------------------------------------------------------------------------------------

    def _moved(self) -> None:
        self._active_at = self.loop.time()

    def _free(self, exchange: Exchange) -> None:
        if self._exchange is not exchange:
            return
        self._exchange = None
        pump, self._pump = self._pump, None
        if pump is not None and not pump.sent:  # the answer came first: what is unsent cannot be taken back
            self._pump = pump
            self.abort()
        elif self.usable:
            self.used = True
            self._hurry()
            self._on_free(self)
        else:
            self.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        idle = self.loop.time() - self._active_at
        exchange = self._exchange
        limit = self._stream_idle_timeout if exchange is not None else self._pool_timeout()
        if idle < limit:
            self._timer = self.loop.call_later(max(min(limit - idle, self._period), 0.01), self._tick)
        elif exchange is None:
            self.close()
        else:
            exchange.fail(UpstreamTimeout(f"no byte from {self.address} for {limit:g} s"))

    def _hurry(self) -> None:
        """The timer that runs is too late for an upstream that keeps idle connections for less than we do."""
        limit = self._pool_timeout()
        if limit < self._idle_timeout:
            self._stop_timer()
            self._timer = self.loop.call_later(limit, self._tick)

    def _pool_timeout(self) -> float:
        promised = self._parser.keep_alive
        return self._idle_timeout if promised is None else min(self._idle_timeout, max(0.0, promised - _MARGIN))


def _ends_with_connection(headers: RawHeaders) -> bool:
    return not any(name.lower() in {b"content-length", b"transfer-encoding"} for name, _ in headers)


def _moment(exchange: Exchange, *, clean: bool) -> str:
    if exchange.status:
        return "before the response was complete"
    return "before it answered" if clean else "within the response head"
