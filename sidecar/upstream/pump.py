"""A streamed request body on its way to the upstream: a task of the connection, under back-pressure."""

import asyncio
from collections.abc import AsyncIterator, Callable

from sidecar.errors import ProxyError, UpstreamReset
from sidecar.model import RawHeaders


class Pump:
    """Writes one body; `failed` is told what ended it early, `moved` that bytes went out."""

    def __init__(
        self,
        transport: asyncio.Transport,
        body: AsyncIterator[bytes],
        trailers: RawHeaders | None,
        *,
        failed: Callable[[ProxyError], None],
        moved: Callable[[], None],
    ) -> None:
        """`trailers` is read when the body has ended; None: the body is not sent in chunks."""
        self.sent = False  # all of it has been written
        self._transport = transport
        self._body = body
        self._trailers = trailers
        self._failed = failed
        self._moved = moved
        self._paused = False
        self._writable: asyncio.Future[None] | None = None
        self._task = asyncio.get_running_loop().create_task(self._run(), name="request body")

    @property
    def starved(self) -> bool:
        """Whether it waits for more of the body, not for the upstream to read."""
        return not self.sent and not self._paused

    def pause(self) -> None:
        """The upstream reads slowly."""
        self._paused = True

    def resume(self) -> None:
        """It has caught up, or is gone."""
        self._paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def stop(self) -> None:
        """Read no more of the body."""
        if not self._task.done():
            self._task.cancel()

    async def settle(self) -> None:
        """Wait until nothing reads the body any more, so that another attempt may."""
        self.stop()
        if not self._task.done():
            await asyncio.wait((self._task,))

    async def _run(self) -> None:
        transport, chunked = self._transport, self._trailers is not None
        try:
            async for data in self._body:
                if transport.is_closing():
                    return
                if not chunked:
                    transport.write(data)
                elif data:
                    transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))
                self._moved()
                if self._paused:
                    self._writable = asyncio.get_running_loop().create_future()
                    await self._writable
            if self._trailers is not None and not transport.is_closing():
                transport.write(b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % pair for pair in self._trailers]))
            self.sent = True
        except ProxyError as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 - the body's source failed; its reader hears of it and decides
            failure = UpstreamReset("the request body ended early", clean=False)
            failure.__cause__ = error
            self._failed(failure)
