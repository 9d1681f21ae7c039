"""One fetch that others wait for (RFC 9111 §4: collapsed requests), and a body that several read while it comes.

The fetch reads the upstream on its own (`pump`), as far as an entry may be large: a client that reads slowly keeps
neither the store nor the other clients waiting. A body of unknown length that proves too large is handed to its first
reader under back-pressure, and those who wait go on their own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal, TypeAlias

from sidecar.errors import UpstreamReset
from sidecar.filters.cache.entry import Entry, Extras
from sidecar.filters.cache.fields import Fields, selecting
from sidecar.model import RawHeaders, Response

_AHEAD = 65_536  # bytes held for the reader of a body that is not stored

Landing: TypeAlias = "Literal['stored', 'alone', 'again'] | tuple[Entry, Fill, Response]"
"""What became of a fetch: look into the store, go alone, begin again, or read along."""


class Flight:
    """A fetch under way."""

    __slots__ = ("asked", "extras", "landed", "open", "outdated", "waiting")

    def __init__(self, extras: Extras, asked: Fields) -> None:
        self.extras = extras
        self.asked = asked  # the fields of its request
        self.landed: asyncio.Future[Landing] = asyncio.get_running_loop().create_future()
        self.open = False  # its body is on its way: others may read along, or wait for its end
        self.waiting = 0  # requests
        self.outdated = False  # what it fetches was invalidated meanwhile

    def suits(self, extras: Extras, asked: Fields, vary: Sequence[tuple[bytes, ...]]) -> bool:
        """Whether another request may expect the same answer, by what is known of the URI's Vary."""
        mine = self.asked
        return self.extras == extras and all(selecting(names, mine) == selecting(names, asked) for names in vary)

    def is_waited_for(self) -> bool:
        """Whether there are requests that would take what it fetches, and have not got it."""
        return self.waiting > 0 and not self.landed.done()

    def land(self, how: Landing) -> None:
        """Tell those who wait, once."""
        if not self.landed.done():
            self.landed.set_result(how)


class Fill:
    """A response body on its way into the store."""

    def __init__(self, room: Callable[[int], bool], settled: Callable[[bytes | None], None]) -> None:
        self.chunks: list[bytes] = []
        self.taken = 0  # chunks that were handed over and are gone
        self.size = 0
        self.passing = False  # too large to be stored: handed through
        self.ended = False
        self.error: BaseException | None = None
        self.trailers: RawHeaders = []
        self.readers = 0
        self.task: asyncio.Task[None] | None = None
        self.wanted: Callable[[], bool] = _nobody  # whether somebody waits for its end without reading
        self._room = room  # asked for each chunk whether it may be kept
        self._settled: Callable[[bytes | None], None] | None = settled
        self._held = 0
        self._waiting: list[asyncio.Future[None]] = []

    def add(self, chunk: bytes) -> None:
        """Take a chunk."""
        self.chunks.append(chunk)
        self.size += len(chunk)
        self._held += len(chunk)
        if not self.passing and not self._room(len(chunk)):
            self.passing = True
            self.settle(None)
        self._wake()

    def finish(self, trailers: RawHeaders) -> None:
        """It is whole."""
        self.trailers, self.ended = trailers, True
        self._wake()

    def fail(self, error: BaseException) -> None:
        """It will never be whole."""
        if not self.ended and self.error is None:
            self.error = error
            self._wake()

    def settle(self, body: bytes | None) -> None:
        """Say, once, what there is to store: the whole body, or nothing."""
        settled, self._settled = self._settled, None
        if settled is not None:
            settled(body)

    async def drained(self) -> None:
        """Wait until the reader of a body that is handed through has caught up."""
        while self.passing and self._held >= _AHEAD and self.readers:
            await self.changed()

    def take(self, at: int) -> bytes | None:
        """The chunk of a reader's position, if it is here."""
        here = at - self.taken
        if here >= len(self.chunks):
            return None
        chunk = self.chunks[here]
        if self.passing:  # one reader: nobody needs it any more
            del self.chunks[: here + 1]
            self.taken = at + 1
            self._held = sum(map(len, self.chunks))
            self._wake()
        return chunk

    async def changed(self) -> None:
        """Wait until anything happens."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


def _nobody() -> bool:
    return False


class Reader:
    """One response's part in a fill; the last one to leave ends a fetch that is not whole."""

    __slots__ = ("_at", "_fill", "_response", "_upstream")

    def __init__(self, fill: Fill, response: Response, upstream: Response) -> None:
        self._fill = fill
        self._response = response
        self._upstream = upstream
        self._at = 0
        fill.readers += 1
        response.on_close(self.aclose)

    def __aiter__(self) -> "Reader":
        return self

    async def __anext__(self) -> bytes:
        fill = self._fill
        while (chunk := fill.take(self._at)) is None:
            if fill.ended:
                self._response.trailers = fill.trailers
                raise StopAsyncIteration
            if fill.error is not None:
                raise fill.error
            await fill.changed()
        self._at += 1
        return chunk

    async def aclose(self) -> None:
        """Leave."""
        fill = self._fill
        fill.readers -= 1
        if fill.readers or fill.ended or fill.task is None or fill.wanted():
            return
        fill.fail(UpstreamReset("the fetch was given up"))
        fill.task.cancel()
        await asyncio.wait((fill.task,))
        fill.settle(None)  # a task that was never begun has done nothing
        await self._upstream.aclose()


async def pump(upstream: Response, body: AsyncIterator[bytes], fill: Fill) -> None:
    """Read the body into the fill, and give the upstream back."""
    try:
        async for chunk in body:
            fill.add(chunk)
            if fill.passing and not fill.readers:
                break  # it is not stored, and nobody reads
            await fill.drained()
        else:
            if not fill.passing:
                fill.settle(b"".join(fill.chunks))
            fill.finish(upstream.trailers)
    except Exception as error:  # noqa: BLE001 - it belongs to whoever reads
        fill.fail(error)
    finally:
        fill.fail(UpstreamReset("the fetch was given up"))
        fill.settle(None)
        await upstream.aclose()
