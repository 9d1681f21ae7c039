"""One downstream connection as aiohttp's `web.RequestHandler`, and the small things it is told.

What all requests of a connection share (peer, trust, pseudonym) is worked out once, here.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractAccessLogger

from sidecar.errors import BadRequest, TooManyConnections
from sidecar.listener.http1.deadline import Deadline
from sidecar.listener.peers import peer_address
from sidecar.model import Address, Origin

if TYPE_CHECKING:
    from sidecar.listener.front import AiohttpFront


class NoAccessLog(AbstractAccessLogger):
    """The front writes none: telemetry does, with what only it knows."""

    @property
    def enabled(self) -> bool:
        """Off."""
        return False

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Never called."""


class Written(web.StreamResponse):
    """Tells aiohttp that the answer has been written already, and whether the connection lives on."""

    def __init__(self, *, keep: bool) -> None:
        super().__init__()
        self._keep = keep

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection lives on."""
        return self._keep

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to prepare."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""


class Connection(web.RequestHandler):
    """A downstream connection; what all its requests share is worked out once."""

    origin: Origin
    peer: Address
    front: "AiohttpFront"
    serving = False  # a request runs
    content: StreamReader | None = None  # the body of the last request
    counted = False
    _head: Deadline  # of a request head that has begun
    _begun = False
    _stalled: asyncio.TimerHandle | None = None  # runs while the client does not read

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Learn the peer, and turn it away where too many are connected."""
        super().connection_made(transport)
        self._head = Deadline(asyncio.get_running_loop(), self._too_slow)
        self.peer = peer_address(transport.get_extra_info("peername"))
        self.origin = self.front.service.origin_of(self.peer, secure=transport.get_extra_info("sslcontext") is not None)
        self.counted = True
        self.front.open += 1
        if self.front.open > self.front.service.spec.limits.max_connections:
            self.front.refuse(self, TooManyConnections("too many connections"))

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count it no more, once."""
        if self.counted:
            self.counted = False
            self.front.open -= 1
            self._head.cancel()
        self._read_again()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Give a head that begins its time, for aiohttp gives it for ever."""
        if not self._begun and not self.serving and (self.content is None or self.content.is_eof()):
            self._begun = True
            self._head.within(self.front.service.spec.limits.header_timeout)
        super().data_received(data)

    def head_came(self, content: StreamReader) -> None:
        """A request runs; `content` is its body."""
        self.serving, self.content = True, content
        self._begun = False
        self._head.never()

    def pause_writing(self) -> None:
        """The client reads slowly: it has the body timeout to catch up."""
        super().pause_writing()
        transport = self.transport
        if transport is not None:
            within = self.front.service.spec.limits.body_timeout
            self._stalled = asyncio.get_running_loop().call_later(within, transport.abort)

    def resume_writing(self) -> None:
        """It has caught up."""
        self._read_again()
        super().resume_writing()

    def finish(self) -> None:
        """No more is written: what the client does not read in time is dropped, for a socket closes behind it."""
        if self.transport is not None and not self.transport.is_closing():  # uvloop raises on a closed one
            self.transport.set_write_buffer_limits(0)

    def force_close(self) -> None:
        """See aiohttp."""
        self.finish()
        super().force_close()

    def _read_again(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _too_slow(self) -> None:
        self.front.refuse(self, BadRequest("the request head did not come in time", 408))

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What aiohttp refused is answered as everything else is: with its cause."""
        del request
        if self.transport is not None and not self.transport.is_closing():
            self.front.refused(self, status, exc, message)
        return self.front.closing

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """A client that is gone while aiohttp reads the rest of its body is no failure of ours."""
        if self.transport is not None and not isinstance(kw.get("exc_info"), ConnectionError):
            super().log_exception(*args, **kw)


class Tail:
    """Catches what the client sent behind its request for a tunnel."""

    def __init__(self) -> None:
        self.data = bytearray()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Keep what comes."""
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """The client is gone; the tunnel will see."""
