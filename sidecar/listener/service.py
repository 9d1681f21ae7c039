"""From a parsed request to its last byte and its record: what every front shares, whatever parsed the bytes.

A front makes the `Request` and offers itself as the `Client`; nothing here knows sockets or parsers.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from sidecar.config.model import Listener as ListenerSpec
from sidecar.errors import ProxyError
from sidecar.forwarding.max_forwards import LIMITED, last_hop
from sidecar.listener.answers import error_response
from sidecar.listener.outbound import Sender, head
from sidecar.listener.peers import Networks, is_trusted
from sidecar.model import Address, Answer, Handler, Headers, Origin, Request, Response, Tunnel
from sidecar.telemetry.telemetry import Telemetry

log = logging.getLogger("sidecar.listener")


class Client(Protocol):
    """The downstream's side of one request."""

    def closes(self, response: Response) -> bool:
        """Whether the connection cannot carry another request after this response."""

    async def write(self, chunk: bytes) -> None:
        """Write, waiting while the client reads slowly; raises ConnectionError when it is gone."""

    async def tunnel(self, start: bytes, tunnel: Tunnel) -> None:
        """Write the head, then hand the bytes over until both ends are done."""

    def cut(self, *, reset: bool) -> None:
        """End the connection within a response; `reset` where nothing else tells that the rest is missing."""


class Service:
    """Serves the requests of one listener."""

    def __init__(
        self,
        spec: ListenerSpec,
        handler: Callable[[], Handler],
        telemetry: Telemetry,
        *,
        trusted: Networks,
        via: bytes,
    ) -> None:
        self.spec = spec
        self.draining = False
        self.busy = 0  # requests that run
        self._quiet: asyncio.Future[None] | None = None
        self._handler = handler  # called once a request: a reload swaps what it returns
        self._telemetry = telemetry
        self._trusted = trusted
        self._via = via

    def reconfigure(self, spec: ListenerSpec, trusted: Networks) -> None:
        """Take limits and trust from a new configuration; connections that are open keep their trust."""
        self.spec, self._trusted = spec, trusted

    def origin_of(self, peer: Address, *, secure: bool) -> Origin:
        """What upstreams are told of a connection from `peer`."""
        return Origin(
            self._via,
            trusted=is_trusted(peer, self._trusted),
            announce=self.spec.mode == "reverse",
            peer=b"unknown" if peer.unix_path is not None else peer.host.encode("latin-1"),
            scheme=b"https" if secure else b"http",
            proxies=tuple(self._trusted),
        )

    async def idle(self, within: float) -> None:
        """Wait until no request runs, `within` seconds at most."""
        if self.busy:
            self._quiet = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._quiet,), timeout=within)

    def begin(self, request: Request) -> None:
        """Start the request's trace."""
        request.trace = self._telemetry.begin(request, self.spec.trace_context)

    async def serve(self, request: Request, client: Client, refusal: ProxyError | None = None) -> bool:
        """Answer one request that `begin` was called for; returns whether the connection may live on."""
        sender = Sender()
        response: Response | None = None
        self.busy += 1
        try:
            response = error_response(refusal, request) if refusal is not None else await self._answer(request)
            if response.tunnel is not None:
                await client.tunnel(head(response, request, close=False, chunked=False), response.tunnel)
                close = True
            else:
                failed = isinstance(response.error, ProxyError) and response.error.close
                close = self.draining or failed or client.closes(response)
                close = await sender.send(client, request, response, close=close)
        except BaseException as error:
            self._broken(request, response, sender, error)
            if not isinstance(error, Exception):
                raise
            marked = response is not None and (response.length is not None or request.version == "1.1")
            client.cut(reset=not marked)
            return False
        else:
            self._end(request, response.status, sender, response.error, response.flag)
        finally:
            self.busy -= 1
            if not self.busy and self._quiet is not None and not self._quiet.done():
                self._quiet.set_result(None)
            if response is not None:
                await response.aclose()
        return not close

    def refusal(self, error: ProxyError, peer: Address, origin: Origin) -> bytes:
        """The answer to bytes that were no request, which is counted and traced like any other."""
        loop = asyncio.get_running_loop()
        nobody = Request(
            method="_OTHER", target=b"", authority="", headers=Headers(), peer=peer, listener=self.spec.name,
            origin=origin, started=loop.time(), received_ns=time.time_ns(),
        )  # fmt: skip
        nobody.trace = self._telemetry.begin(nobody, "ignore")
        response = error_response(error, None)
        body = response.body if isinstance(response.body, bytes) else b""
        self._end(nobody, error.status, Sender(), error)
        return head(response, nobody, close=True, chunked=False) + body

    async def _answer(self, request: Request) -> Response:
        try:
            if request.method in LIMITED and (answer := last_hop(request)) is not None:
                return answer
            return await self._handler()(request)
        except ProxyError as error:
            return error_response(error, request)
        except Exception:
            log.exception("unexpected failure while serving a request")
            return error_response(ProxyError("internal error"), request)

    def _broken(self, request: Request, response: Response | None, sender: Sender, error: BaseException) -> None:
        """The answer could not be finished: the client went away, or the upstream's body broke."""
        status = response.status if response is not None and sender.begun else None
        if isinstance(error, ProxyError):
            self._end(request, status, sender, error)
        elif isinstance(error, asyncio.CancelledError | ConnectionError):
            answer = _account(request, status, sender)
            answer.flag, answer.details, answer.cancelled = "DC", "the client went away", True
            self._telemetry.end(request, answer)
        else:
            log.error("unexpected failure while sending a response", exc_info=error)
            self._end(request, status, sender, ProxyError("internal error"))

    def _end(self, request: Request, status: int | None, sender: Sender, error: object, flag: str = "-") -> None:
        answer = _account(request, status, sender)
        answer.flag = flag
        if isinstance(error, ProxyError):
            answer.flag, answer.error_type, answer.details = error.flag, error.error_type, str(error)
        self._telemetry.end(request, answer)


def _account(request: Request, status: int | None, sender: Sender) -> Answer:
    duration = asyncio.get_running_loop().time() - request.started
    body = request.body
    received = len(body) if isinstance(body, bytes) else int(getattr(body, "received", 0))
    return Answer(status, request.received_ns + int(duration * 1e9), duration, sender.sent, received)
