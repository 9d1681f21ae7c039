"""A byte tunnel between two transports, after 101 or CONNECT: no parsing, back-pressure, half-close.

The protocols that the transports had before learn of the end of their connections.
"""

import asyncio
from typing import cast


class Splice:
    """The upstream's side (`model.Tunnel`): `join` it with the downstream's transport."""

    def __init__(self, upstream: asyncio.Transport, early: bytes = b"") -> None:
        self._upstream = upstream
        self._early = early

    async def join(self, downstream: object, early: bytes) -> tuple[int, int]:
        """Carry bytes until both directions have ended; returns the bytes sent up and down.

        `downstream` is an `asyncio.Transport`; `early` came from it before the switch.
        """
        down = cast("asyncio.Transport", downstream)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        up_end, down_end = _End(self._upstream, done), _End(down, done)
        up_end.other, down_end.other = down_end, up_end
        self._upstream.set_protocol(up_end)
        down.set_protocol(down_end)
        if early:
            down_end.data_received(early)
        if self._early:
            up_end.data_received(self._early)
        for transport in (self._upstream, down):
            if not transport.is_closing():
                transport.resume_reading()
        if self._upstream.is_closing() or down.is_closing():
            up_end.shut()
        try:
            await done
        finally:
            up_end.shut()
        return down_end.carried, up_end.carried

    def abort(self) -> None:
        """Drop the upstream's side."""
        self._upstream.abort()


class Held(asyncio.Protocol):
    """Keeps a new transport quiet until a tunnel takes it."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing is read before there is somewhere to write it."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.pause_reading()


class _End(asyncio.Protocol):
    """One end: what it receives is written to the other."""

    other: "_End"

    def __init__(self, transport: asyncio.Transport, done: "asyncio.Future[None]") -> None:
        self.transport = transport
        self.carried = 0
        self.ended = False  # it sends no more
        self._done = done
        self._before = transport.get_protocol()

    def data_received(self, data: bytes) -> None:
        self.carried += len(data)
        if not self.other.transport.is_closing():
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        if self.other.ended or not self.other.transport.can_write_eof():
            self.shut()
            return False
        if not self.other.transport.is_closing():
            self.other.transport.write_eof()
        return True  # half-closed: the other direction goes on

    def pause_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.shut()
        asyncio.get_running_loop().call_soon(self._before.connection_lost, exc)

    def shut(self) -> None:
        """Close both ends once what is buffered has gone out."""
        if not self._done.done():
            self._done.set_result(None)
        self.transport.close()
        self.other.transport.close()
