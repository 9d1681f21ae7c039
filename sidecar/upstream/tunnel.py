"""A byte tunnel between two transports, after 101 or CONNECT: no parsing, back-pressure, half-close.

The protocols that the transports had before learn of the end of their connections.
"""

import asyncio
from typing import cast

LINGER = 30.0  # seconds for what is under way to arrive once both ends have said all


class Splice:
    """The upstream's side (`model.Tunnel`): `join` it with the downstream's transport."""

    def __init__(self, upstream: asyncio.Transport, early: bytes = b"", *, idle: float) -> None:
        """`idle`: seconds without a byte either way after which both ends are closed; it may take twice as long."""
        self._upstream = upstream
        self._early = early
        self._idle = idle
        self._gone = False  # asyncio's transports cannot be aborted any more

    async def join(self, downstream: object, early: bytes) -> tuple[int, int]:
        """Carry bytes until both connections have ended; returns the bytes sent up and down.

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
        for end in (up_end, down_end):
            if end.transport.is_closing():
                end.connection_lost(None)  # whoever had it may have been told already
            else:
                end.transport.resume_reading()
        try:
            await self._until(done, up_end, down_end)
        finally:
            done.cancel()  # where it was given up before the end: each end now hands back for itself
            up_end.shut()
            self._gone = up_end.lost
            down_end.hand_back()
            up_end.hand_back()
        return down_end.carried, up_end.carried

    async def _until(self, done: "asyncio.Future[None]", up: "_End", down: "_End") -> None:
        """Wait for the end; of a peer that vanished nothing but silence tells."""
        seen = -1
        while not done.done():
            if up.carried + down.carried == seen:
                up.shut()
                await done
            else:
                seen = up.carried + down.carried
                await asyncio.wait((done,), timeout=self._idle)

    def abort(self) -> None:
        """Drop the upstream's side."""
        if not self._gone:
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
        self.lost = False  # its connection has ended
        self._done = done
        self._before: asyncio.BaseProtocol | None = transport.get_protocol()
        self._why: Exception | None = None
        self._linger: asyncio.TimerHandle | None = None

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
        self.lost, self._why = True, exc
        if self._linger is not None:
            self._linger.cancel()
        self.shut()
        if self.other.lost and not self._done.done():
            self._done.set_result(None)
        elif self._done.done():
            self.hand_back()

    def shut(self) -> None:
        """Close both ends once what is buffered has gone out, which it may take `LINGER` seconds for."""
        for end in (self, self.other):
            if not end.lost and end._linger is None:  # noqa: SLF001 - its twin
                end.transport.close()
                end._linger = asyncio.get_running_loop().call_later(LINGER, end.transport.abort)  # noqa: SLF001

    def hand_back(self) -> None:
        """Tell the protocol that the transport had before that the connection has ended, once."""
        if self.lost and self._before is not None:
            asyncio.get_running_loop().call_soon(self._before.connection_lost, self._why)
            self._before = None
