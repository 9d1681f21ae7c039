"""A request body as it arrives on a native connection: fed by the protocol, read by one reader, under back-pressure."""

import asyncio
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import TYPE_CHECKING

from sidecar.errors import BadRequest, ProxyError
from sidecar.listener.http1.chunked import ChunkedDecoder
from sidecar.model import RawHeaders

if TYPE_CHECKING:
    from sidecar.listener.http1.connection import Connection

HIGH_WATER = 65_536  # bytes held for the reader before the client's socket is left unread


class Body:
    """An iterator, not a generator: a cancelled read must lose nothing."""

    __slots__ = (
        "_chunks", "_connection", "_decoder", "_hop", "_left", "_limit", "_paused", "_size", "_waiter",
        "complete", "error", "received", "trailers",
    )  # fmt: skip

    def __init__(
        self, connection: "Connection", length: int | None, limit: int | None, hop: AbstractSet[bytes]
    ) -> None:
        """`length` None: chunked. `limit`: bytes beyond which it is refused with 413. `hop`: trailers that end here."""
        self.complete = False
        self.error: ProxyError | None = None
        self.received = 0
        self.trailers: RawHeaders = []
        self._connection = connection
        self._decoder = ChunkedDecoder() if length is None else None
        self._left = length or 0
        self._limit = limit
        self._hop = hop
        self._chunks: list[bytes] = []
        self._size = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def left(self) -> int | None:
        """Bytes still to come, None where only the last chunk will tell."""
        return None if self._decoder is not None else self._left

    def feed(self, data: bytes) -> bytes:
        """Take bytes off the wire; returns what lies behind the body."""
        if self.error is not None:
            return b""
        rest = b""
        if self._decoder is None:
            taken = data if len(data) <= self._left else data[: self._left]
            rest = data[len(taken) :]
            self._left -= len(taken)
            self._take(taken)
            self.complete = not self._left
        else:
            try:
                for chunk in self._decoder.feed(data):
                    self._take(chunk)
            except BadRequest as error:
                self.fail(error)
                return b""
            if self._decoder.done:
                rest = self._decoder.rest
                self.trailers += [pair for pair in self._decoder.trailers if pair[0].lower() not in self._hop]
                self.complete = True
        if self._limit is not None and self.received > self._limit:
            self.complete = False
            self.fail(BadRequest(f"request body over {self._limit} bytes", 413))
        self._wake()
        return rest

    def fail(self, error: ProxyError) -> None:
        """The body cannot be read to its end."""
        if not self.complete and self.error is None:
            self.error = error
            self._wake()

    def whole(self) -> bytes:
        """All that came, for a body that is complete."""
        chunks, self._chunks = self._chunks, []
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def discard(self) -> None:
        """Nobody reads what has come."""
        self._chunks.clear()
        self._size = 0
        self._resume()

    async def drained(self, most: int) -> bool:
        """Whether the rest could be read, `most` bytes of it, so that the next request can be."""
        self.discard()
        before = self.received
        with suppress(ProxyError):
            async for _ in self:
                if self.received - before > most:
                    return False
        return self.complete

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self.error is not None:
                raise self.error
            if self.complete:
                raise StopAsyncIteration
            self._waiter = self._connection.loop.create_future()
            self._connection.awaits_body()
            try:
                await self._waiter
            finally:
                self._connection.awaits_nothing()
        data = self.whole()
        self._size = 0
        self._resume()
        return data

    def _take(self, data: bytes) -> None:
        if data:
            self._chunks.append(data)
            self.received += len(data)
            self._size += len(data)
            if self._size >= HIGH_WATER and not self._paused:
                self._paused = True
                self._connection.pause()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._connection.resume()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
