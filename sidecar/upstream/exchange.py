"""One request's response as it arrives: the head, then the body under back-pressure, then the trailers.

The connection feeds it from parser callbacks; one reader consumes it. It outlives the connection's part in it: once the
message is complete the connection goes back to its pool while the reader may still hold buffered bytes.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.errors import ProxyError
from sidecar.model import RawHeaders

if TYPE_CHECKING:
    from sidecar.upstream.connection import Connection

HIGH_WATER = 65_536  # bytes buffered for the reader before the upstream's socket is left unread

Interim = Callable[[int, bytes, RawHeaders], None]


class Exchange:
    """An asynchronous iterator over the response body; `await head()` first."""

    __slots__ = (
        "chunks",
        "complete",
        "connection",
        "early",
        "error",
        "headers",
        "interim",
        "method",
        "reason",
        "size",
        "status",
        "timer",
        "trailers",
        "upgrade",
        "upgraded",
        "version",
        "waiter",
    )

    def __init__(
        self, connection: "Connection", method: str, interim: Interim | None, *, upgrade: bytes | None
    ) -> None:
        self.connection = connection
        self.method = method
        self.interim = interim  # passes 1xx responses on
        self.upgrade = upgrade  # the protocols that the request asks for
        self.status = 0  # 0 until the final head is here
        self.reason = b""
        self.version = "1.1"
        self.headers: RawHeaders = []
        self.trailers: RawHeaders = []
        self.chunks: list[bytes] = []
        self.size = 0
        self.complete = False
        self.upgraded = False
        self.early = b""  # first bytes of the protocol switched to
        self.error: ProxyError | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.timer: asyncio.TimerHandle | None = None  # the attempt's timeout

    async def head(self) -> None:
        """Wait for the final response head; raises ProxyError."""
        while not self.status:
            if self.error is not None:
                raise self.error
            await self._wait()

    def whole(self) -> bytes | None:
        """The body if it is here completely, which ends the exchange; else None."""
        if not self.complete:
            return None
        chunks, self.chunks = self.chunks, []
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def __aiter__(self) -> "Exchange":
        return self

    async def __anext__(self) -> bytes:
        while not self.chunks:
            if self.complete:
                raise StopAsyncIteration
            if self.error is not None:
                raise self.error
            await self._wait()
        chunks, self.chunks = self.chunks, []
        if self.size >= HIGH_WATER and not self.complete:
            self.connection.resume()
        self.size = 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def feed(self, data: bytes) -> None:
        """Take body bytes from the parser."""
        self.chunks.append(data)
        self.size += len(data)
        if self.size >= HIGH_WATER:
            self.connection.pause()
        self.wake()

    def finish(self) -> None:
        """The response is whole; reading goes on, for the reader does not resume what is complete."""
        self.complete = True
        if self.size >= HIGH_WATER:
            self.connection.resume()
        self.wake()

    def fail(self, error: ProxyError) -> None:
        """End the exchange with an error; the connection is dropped. Nothing happens once it is complete."""
        if self.complete or self.error is not None:
            return
        self.error = error
        self.connection.abort()
        self.wake()

    def cancel_timer(self) -> None:
        """The attempt's timeout has nothing more to say."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    async def aclose(self) -> None:
        """Nobody reads on: an incomplete exchange takes its connection with it, and its request body is let go."""
        self.cancel_timer()
        if not self.complete:
            self.connection.abort()
        if not self.connection.moved_on(self):  # else its request body is another one, which must go on
            await self.connection.settle()

    def wake(self) -> None:
        """Let the reader look again."""
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def _wait(self) -> None:
        self.waiter = self.connection.loop.create_future()
        await self.waiter
