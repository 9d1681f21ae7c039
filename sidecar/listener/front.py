"""The downstream front on aiohttp's `web.Server`: one handler, no application, router, middleware or access logger.

aiohttp accepts, parses, limits and keeps connections alive; the answer's bytes are written here as they are, so that
nothing is added to or taken from a response. Only public API: `web.Server`, `web.RequestHandler`, `BaseRequest.writer`.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from aiohttp import web

from sidecar.config.model import Listener as ListenerSpec
from sidecar.errors import BadRequest, ProxyError
from sidecar.listener.answers import error_response
from sidecar.listener.connection import Connection, NoAccessLog, Tail, Written
from sidecar.listener.inbound import Networks, build, is_trusted
from sidecar.listener.outbound import Sender, head, interim
from sidecar.model import Address, Answer, Handler, Headers, Origin, RawHeaders, Request, Response
from sidecar.telemetry.telemetry import Telemetry

log = logging.getLogger("sidecar.listener")


class Front(web.Server):
    """Serves one listener."""

    def __init__(
        self,
        spec: ListenerSpec,
        handler: Callable[[], Handler],
        telemetry: Telemetry,
        *,
        trusted: Networks,
        via: bytes,
    ) -> None:
        super().__init__(self._serve, handler_cancellation=True)
        self.spec = spec
        self.draining = False
        self.busy = self.open = 0  # requests, connections
        self._quiet: asyncio.Future[None] | None = None
        self._handler = handler  # called once a request: a reload swaps what it returns
        self._telemetry = telemetry
        self._trusted = trusted
        self._via = via
        self.keeping, self.closing = Written(keep=True), Written(keep=False)

    def __call__(self) -> Connection:
        """Make the protocol of a new connection."""
        limits = self.spec.limits
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

    def origin_of(self, peer: Address, *, secure: bool) -> Origin:
        """What upstreams are told of a connection from `peer`."""
        return Origin(
            self._via,
            trusted=is_trusted(peer, self._trusted),
            announce=self.spec.mode == "reverse",
            peer=_forwarded_for(peer),
            scheme=b"https" if secure else b"http",
        )

    def reconfigure(self, spec: ListenerSpec, trusted: Networks) -> None:
        """Take limits and trust from a new configuration; connections that are open keep theirs."""
        self.spec, self._trusted = spec, trusted

    def close_idle(self) -> None:
        """Close connections without a request; the others close with their answer."""
        for connection in self.connections:
            if cast("Connection", connection).serving:
                connection.close()
            else:
                connection.force_close()

    async def idle(self, within: float) -> None:
        """Wait until no request runs, `within` seconds at most."""
        if self.busy:
            self._quiet = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._quiet,), timeout=within)

    def refuse(self, transport: asyncio.Transport, error: ProxyError) -> None:
        """Answer a connection that sent nothing usable, and close it."""
        response = error_response(error, None)
        nobody = Request(method="GET", target=b"", authority="", headers=Headers())
        transport.write(head(response, nobody, close=True, chunked=False) + cast("bytes", response.body))
        transport.close()

    def refused(self, connection: Connection, status: int, exc: BaseException | None, message: str | None) -> None:
        """The parser refused a message: answer, count and trace it."""
        if status == 400:
            error: ProxyError = BadRequest(_parser_reason(exc, message), _parser_status(exc))
        else:
            log.error("unexpected failure in the front", exc_info=exc)
            error = ProxyError("internal error")
        loop = asyncio.get_running_loop()
        request = Request(
            method="_OTHER",
            target=b"",
            authority="",
            headers=Headers(),
            peer=connection.peer,
            listener=self.spec.name,
            origin=connection.origin,
            started=loop.time(),
            received_ns=time.time_ns(),
        )
        request.trace = self._telemetry.begin(request, "ignore")
        self.refuse(cast("asyncio.Transport", connection.transport), error)
        self._end(request, error.status, Sender(), error)

    async def _serve(self, incoming: web.BaseRequest) -> web.StreamResponse:
        """One request from its head to its last byte."""
        connection = cast("Connection", incoming.protocol)
        request, response = self._begin(incoming, connection)
        sender = Sender()
        self.busy += 1
        connection.serving = True
        try:
            if response is None:
                response = await self._answer(request)
            if response.tunnel is not None:
                await self._tunnel(incoming, connection, request, response)
                close = True
            else:
                close = await self._send(incoming, request, response, sender)
        except BaseException as error:
            self._broken(request, response, sender, error)
            if isinstance(error, Exception):
                _cut(connection, request, response)
                return self.closing
            raise
        else:
            failure = response.error
            self._end(request, response.status, sender, failure, response.flag)
        finally:
            self.busy -= 1
            connection.serving = False
            if not self.busy and self._quiet is not None and not self._quiet.done():
                self._quiet.set_result(None)
            if response is not None:
                await response.aclose()
        return self.closing if close else self.keeping

    def _begin(self, incoming: web.BaseRequest, connection: Connection) -> tuple[Request, Response | None]:
        limits = self.spec.limits
        started, now = asyncio.get_running_loop().time(), time.time_ns()
        refusal: Response | None = None
        try:
            request = build(
                incoming,
                listener=self.spec.name,
                origin=connection.origin,
                peer=connection.peer,
                body_timeout=limits.body_timeout,
                max_body=limits.max_body_bytes,
                started=started,
                received_ns=now,
            )
        except ProxyError as error:
            request = Request(
                method=incoming.method, target=b"", authority="", headers=Headers(), origin=connection.origin
            )
            request.peer, request.listener, request.started, request.received_ns = (
                connection.peer, self.spec.name, started, now,
            )  # fmt: skip
            refusal = error_response(error, request)
        request.trace = self._telemetry.begin(request, self.spec.trace_context)
        if request.version == "1.1" and incoming.transport is not None:
            request.interim = partial(_write_interim, incoming.transport)
        return request, refusal

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handler()(request)
        except ProxyError as error:
            return error_response(error, request)
        except Exception:
            log.exception("unexpected failure while serving a request")
            return error_response(ProxyError("internal error"), request)

    async def _send(self, incoming: web.BaseRequest, request: Request, response: Response, sender: Sender) -> bool:
        failed = isinstance(response.error, ProxyError) and response.error.close
        close = self.draining or failed or not incoming.keep_alive
        if not close and not incoming.content.is_eof() and incoming.headers.get("Expect") is not None:
            close = True  # the body that was announced may never come
        return await sender.send(incoming.writer, request, response, close=close)

    async def _tunnel(
        self, incoming: web.BaseRequest, connection: Connection, request: Request, response: Response
    ) -> None:
        """Hand the transport over after 101 or a CONNECT that was granted."""
        tail = Tail()
        connection.set_parser(cast("Any", tail))
        transport = cast("asyncio.Transport", incoming.transport)
        transport.write(head(response, request, close=False, chunked=False))
        assert response.tunnel is not None  # noqa: S101 - the caller looked
        await response.tunnel.join(transport, bytes(tail.data))

    def _broken(self, request: Request, response: Response | None, sender: Sender, error: BaseException) -> None:
        """The answer could not be finished: the client went away, or the upstream's body broke."""
        status = response.status if response is not None and sender.begun else None
        if isinstance(error, ProxyError):
            self._end(request, status, sender, error)
        elif isinstance(error, asyncio.CancelledError | ConnectionError):
            answer = self._account(request, status, sender)
            answer.flag, answer.details, answer.cancelled = "DC", "the client went away", True
            self._telemetry.end(request, answer)
        else:
            log.error("unexpected failure while sending a response", exc_info=error)
            self._end(request, status, sender, ProxyError("internal error"))

    def _end(self, request: Request, status: int | None, sender: Sender, error: object = None, flag: str = "-") -> None:
        answer = self._account(request, status, sender)
        answer.flag = flag
        if isinstance(error, ProxyError):
            answer.flag, answer.error_type, answer.details = error.flag, error.error_type, str(error)
        self._telemetry.end(request, answer)

    def _account(self, request: Request, status: int | None, sender: Sender) -> Answer:
        duration = asyncio.get_running_loop().time() - request.started
        received = getattr(request.body, "received", None)
        if received is None:
            received = len(request.body) if isinstance(request.body, bytes) else 0
        return Answer(status, request.received_ns + int(duration * 1e9), duration, sender.sent, received)


def _cut(connection: Connection, request: Request, response: Response | None) -> None:
    """End the connection so that the client can tell that the message is not whole (RFC 9112 §8)."""
    marked = response is not None and (response.length is not None or request.version == "1.1")
    if not marked and connection.transport is not None:  # only a reset tells where the end is not marked
        connection.transport.abort()
    connection.force_close()


def _write_interim(transport: asyncio.Transport, status: int, reason: bytes, headers: RawHeaders) -> None:
    if not transport.is_closing():
        transport.write(interim(status, reason, headers))


def _forwarded_for(peer: Address) -> bytes:
    return b"unknown" if peer.unix_path is not None else peer.host.encode("latin-1")


def _parser_reason(exc: BaseException | None, message: str | None) -> str:
    text = message or str(exc or "malformed request")
    return text.strip().partition("\n")[0]


def _parser_status(exc: BaseException | None) -> int:
    name = exc.__class__.__name__
    if name == "LineTooLong":
        return 431
    return 400
