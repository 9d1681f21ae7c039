"""The front on aiohttp's `web.Server`: one handler, no application, router, middleware or access logger.

aiohttp accepts, parses, limits and keeps connections alive; the answer's bytes are written by the service as they are,
so that nothing is added to or taken from a response. Only public API: `web.Server`, `web.RequestHandler`,
`BaseRequest.writer`.
"""

import asyncio
import logging
import time
from functools import partial
from typing import Any, cast

from aiohttp import web

from sidecar.errors import BadRequest, ProxyError
from sidecar.listener.connection import Connection, NoAccessLog, Tail, Written
from sidecar.listener.inbound import build
from sidecar.listener.outbound import reset as end_by_reset
from sidecar.listener.outbound import write_interim
from sidecar.listener.service import Service
from sidecar.model import Headers, Request, Response, Tunnel

log = logging.getLogger("sidecar.listener")
_AT_ONCE = 0.001  # seconds that a cut waits for handlers: aiohttp takes 0 for no limit


class AiohttpFront(web.Server):
    """Serves one listener."""

    def __init__(self, service: Service) -> None:
        super().__init__(self._serve, handler_cancellation=True)
        self.service = service
        self.open = 0  # connections
        self.keeping, self.closing = Written(keep=True), Written(keep=False)

    def __call__(self) -> Connection:
        """Make the protocol of a new connection."""
        limits = self.service.spec.limits
        connection = Connection(
            self,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=limits.keepalive_timeout,
            max_line_size=limits.max_target_bytes,
            max_field_size=limits.max_header_bytes,
            max_headers=limits.max_header_count,
            auto_decompress=False,
            access_log_class=NoAccessLog,
            logger=log,
        )
        connection.front = self
        return connection

    def reconfigure(self) -> None:
        """New connections take the limits of the service's new configuration."""

    def close_idle(self) -> None:
        """Close connections without a request; the others close with their answer."""
        for connection in self.connections:
            if not cast("Connection", connection).serving:  # `close` would have aiohttp drop the body of one that does
                connection.force_close()

    async def aclose(self) -> None:
        """Close all connections and wait for their tasks."""
        await self.shutdown(_AT_ONCE)

    def refuse(self, connection: Connection, error: ProxyError) -> None:
        """Answer a connection that sent nothing usable, and close it."""
        if connection.transport is not None:
            connection.transport.write(self.service.refusal(error, connection.peer, connection.origin))
            connection.transport.close()

    def refused(self, connection: Connection, status: int, exc: BaseException | None, message: str | None) -> None:
        """The parser refused a message."""
        if status == 400:
            self.refuse(connection, BadRequest(_parser_reason(exc, message), _parser_status(exc)))
        else:
            log.error("unexpected failure in the front", exc_info=exc)
            self.refuse(connection, ProxyError("internal error"))

    async def _serve(self, incoming: web.BaseRequest) -> web.StreamResponse:
        """One request from its head to its last byte."""
        connection = cast("Connection", incoming.protocol)
        connection.head_came(incoming.content)
        limits = self.service.spec.limits
        started, now = asyncio.get_running_loop().time(), time.time_ns()
        refusal: ProxyError | None = None
        try:
            request = build(
                incoming,
                listener=self.service.spec.name,
                origin=connection.origin,
                peer=connection.peer,
                body_timeout=limits.body_timeout,
                max_body=limits.max_body_bytes,
                started=started,
                received_ns=now,
                named_ports=self.service.spec.mode == "forward",
            )
        except ProxyError as error:
            refusal = error
            request = Request(
                method=incoming.method, target=b"", authority="", headers=Headers(), peer=connection.peer,
                listener=self.service.spec.name, origin=connection.origin, started=started, received_ns=now,
            )  # fmt: skip
        if request.version == "1.1" and incoming.transport is not None:
            request.interim = partial(write_interim, incoming.transport)
        self.service.begin(request)
        try:
            keep = await self.service.serve(request, _Client(incoming, connection), refusal)
        finally:
            connection.serving = False
        if keep:
            return self.keeping
        connection.finish()
        return self.closing


class _Client:
    """The downstream's side of one request (`service.Client`)."""

    __slots__ = ("_connection", "_incoming", "write")

    def __init__(self, incoming: web.BaseRequest, connection: Connection) -> None:
        self._incoming = incoming
        self._connection = connection
        self.write = incoming.writer.write

    def closes(self, _response: Response) -> bool:
        """After what the client asked for, and after a body that was announced and may never come."""
        incoming = self._incoming
        if not incoming.keep_alive or incoming.method == "CONNECT":
            return True
        return not incoming.content.is_eof() and incoming.headers.get("Expect") is not None

    async def tunnel(self, start: bytes, tunnel: Tunnel) -> None:
        """Hand the transport over after 101 or a CONNECT that was granted."""
        tail = Tail()
        self._connection.set_parser(cast("Any", tail))
        transport = cast("asyncio.Transport", self._incoming.transport)
        transport.write(start)
        await tunnel.join(transport, bytes(tail.data))

    def cut(self, *, reset: bool) -> None:
        """End the connection within a response."""
        transport = self._connection.transport
        if reset and transport is not None:
            end_by_reset(transport)
        self._connection.force_close()


def _parser_reason(exc: BaseException | None, message: str | None) -> str:
    text = message or str(exc or "malformed request")
    return text.strip().partition("\n")[0]


def _parser_status(exc: BaseException | None) -> int:
    return 431 if exc.__class__.__name__ == "LineTooLong" else 400
