"""One response on its way down, and the shapes of those who answer."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Protocol, TypeAlias

from sidecar.model.headers import Headers, RawHeaders, set_length
from sidecar.model.request import Request


class Response:
    """One response on its way down. A lease may hang on it: whoever drops it calls `aclose`."""

    __slots__ = (
        "_closers",
        "body",
        "declared",
        "delimited",
        "error",
        "flag",
        "headers",
        "length",
        "ready",
        "reason",
        "status",
        "trailers",
        "tunnel",
    )

    def __init__(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]] = (),
        body: bytes | AsyncIterator[bytes] = b"",
        *,
        reason: bytes = b"",
        length: int | None = None,
        tunnel: "Tunnel | None" = None,
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = Headers(headers)
        self.body = body
        self.length = len(body) if isinstance(body, bytes) else length  # None: unknown (chunked)
        self.declared = False  # `length` stands in the headers, as the upstream wrote it
        self.delimited = True  # the end of the body is marked: False where closing the connection ends it
        self.ready: tuple[RawHeaders, bytes] | None = None  # first header lines whose bytes are made, and the bytes
        self.trailers: RawHeaders = []  # filled once a streamed body has ended
        self.tunnel = tunnel  # set after 101 and after CONNECT
        self.error: ProxyErrorLike | None = None  # the failure this response tells of
        self.flag = "-"  # Envoy's response flag, where the response is the upstream's own
        self._closers: list[Callable[[], Awaitable[None] | None]] = []

    def set_body(self, body: bytes | AsyncIterator[bytes], length: int | None = None) -> None:
        """Replace the body; framing follows: a known length is declared, an unknown one is sent in chunks."""
        self.body = body
        self.length = len(body) if isinstance(body, bytes) else length
        self.declared = self.length is not None
        set_length(self.headers, self.length, always=True)

    def on_close(self, closer: Callable[[], Awaitable[None] | None]) -> None:
        """Call this when the response has been sent, or dropped; the last one added is the first called."""
        self._closers.append(closer)

    async def aclose(self) -> None:
        """Give back what hangs on the response; may be called twice."""
        while self._closers:
            waiting = self._closers.pop()()
            if waiting is not None:
                await waiting


class ProxyErrorLike(Protocol):
    """What logs and spans read of a `ProxyError`."""

    status: int
    flag: str
    proxy_error: str
    error_type: str


class Tunnel(Protocol):
    """The upstream's side of a byte stream after 101 or CONNECT."""

    async def join(self, downstream: object, early: bytes) -> tuple[int, int]:
        """Carry bytes both ways until both ends are done; returns bytes sent up and down.

        `downstream` is the client's asyncio.Transport (the model knows no I/O), `early` what it sent before the switch.
        """

    def abort(self) -> None:
        """Drop the upstream's side."""


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class Filter(Protocol):
    """A function around the rest of the path."""

    async def __call__(self, request: Request, forward: Handler) -> Response:
        """Answer the request, itself or by `await forward(request)`."""
