"""RequestMirror: a copy of the request goes to another backend, its answer is thrown away (HTTPRequestMirrorFilter).

The main request never waits for the copy. A streamed body is copied while it passes, up to a cap: the copy is sent once
the whole body has passed, and not at all where it is longer, or where the upstream answered without reading it.
Tunnels have no copy.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from sidecar.config.model import BackendRef, RequestMirror
from sidecar.errors import ProxyError
from sidecar.model import Filter, Handler, Headers, Request, Response

MAX_BODY = 65_536  # bytes of a streamed body kept for the copy


def request_mirror(spec: RequestMirror, mirror: Callable[[BackendRef, Request], None]) -> Filter:
    """Mirror `spec.percent` of 100 requests, exactly over each 100; `mirror` sends the copy and returns at once."""
    owed = 0

    def send(copy: Request) -> None:
        with suppress(ProxyError):  # a copy that cannot be sent is no failure of the request
            mirror(spec.backend_ref, copy)

    async def mirror_request(request: Request, forward: Handler) -> Response:
        nonlocal owed
        owed += spec.percent
        if owed >= 100:
            owed -= 100
            _mirror(request, send)
        return await forward(request)

    return mirror_request


def _mirror(request: Request, send: Callable[[Request], None]) -> None:
    if request.upgrade is not None or request.method == "CONNECT":
        return
    if request.body is None or isinstance(request.body, bytes):
        send(_copy(request))
    elif request.length is None or request.length <= MAX_BODY:
        request.body = _Tee(request, request.body, send)


def _copy(request: Request) -> Request:
    """The request as it is now, with no body where that is a stream."""
    return Request(
        method=request.method,
        target=request.target,
        authority=request.authority,
        headers=Headers(request.headers),
        body=request.body if isinstance(request.body, bytes) else None,
        length=request.length,
        scheme=request.scheme,
        version=request.version,
        peer=request.peer,
        listener=request.listener,
        origin=request.origin,
        started=request.started,
        received_ns=request.received_ns,
    )


class _Tee:
    """Passes a body on and keeps a copy, which it sends when the body has ended."""

    __slots__ = ("_body", "_copy", "_kept", "_request", "_send", "_size")

    def __init__(self, request: Request, body: AsyncIterator[bytes], send: Callable[[Request], None]) -> None:
        self._request = request
        self._body = body
        self._send = send
        self._copy: Request | None = _copy(request)  # None: sent, or given up
        self._kept: list[bytes] = []
        self._size = 0

    def __aiter__(self) -> "_Tee":
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._body)
        except StopAsyncIteration:
            self._finish()
            raise
        self._keep(chunk)
        return chunk

    def _keep(self, chunk: bytes) -> None:
        if self._copy is None:
            return
        self._size += len(chunk)
        if self._size > MAX_BODY:
            self._copy = None
            self._kept.clear()
        else:
            self._kept.append(chunk)

    def _finish(self) -> None:
        copy, self._copy = self._copy, None
        if copy is None:
            return
        copy.headers.discard("expect")  # the body is here, nobody needs to ask for it
        copy.set_body(b"".join(self._kept))
        copy.trailers = list(self._request.trailers)
        self._send(copy)
