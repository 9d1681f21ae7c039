"""The few types that everybody speaks: addresses, endpoints, headers, requests, responses, attempts.

Bytes of the wire stay bytes: a target is never decoded, a header list never becomes a mapping.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]


class Address(NamedTuple):
    """Where to connect: host and port, or a Unix socket as `Address("unix:/run/app.sock", 0)`."""

    host: str
    port: int

    @property
    def unix_path(self) -> str | None:
        """The path of the Unix socket, None for TCP."""
        return self.host[5:] if self.host.startswith("unix:") else None

    def __str__(self) -> str:
        if self.host.startswith("unix:"):
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


NOWHERE = Address("", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One upstream address of a cluster with what discovery says of it (EndpointSlice vocabulary)."""

    address: Address
    zone: str | None = None
    node: str | None = None
    weight: int = 1
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    for_zones: frozenset[str] = frozenset()
    for_nodes: frozenset[str] = frozenset()
    name: str | None = None  # the pod, for people

    @property
    def state(self) -> str:
        """One word for metrics and pages."""
        if self.ready:
            return "ready"
        if self.terminating:
            return "terminating"
        return "not_ready"


class Headers(list[tuple[bytes, bytes]]):
    """Header lines in wire order with case and duplicates; the methods find names without regard to case."""

    __slots__ = ()

    def get(self, name: str) -> str | None:
        """The first value of `name` as Latin-1 text, or None."""
        wanted = name.lower().encode("latin-1")
        return next((value.decode("latin-1") for key, value in self if key.lower() == wanted), None)

    def get_all(self, name: str) -> list[str]:
        """All values of `name`, in order."""
        wanted = name.lower().encode("latin-1")
        return [value.decode("latin-1") for key, value in self if key.lower() == wanted]

    def add(self, name: str, value: str) -> None:
        """Append a line."""
        self.append((name.encode("latin-1"), value.encode("latin-1")))

    def set(self, name: str, value: str) -> None:
        """Replace all lines of `name` by one, which takes the place of the first."""
        wanted = name.lower().encode("latin-1")
        line = (name.encode("latin-1"), value.encode("latin-1"))
        position = next((at for at, (key, _) in enumerate(self) if key.lower() == wanted), len(self))
        self[:] = [pair for pair in self if pair[0].lower() != wanted]
        self.insert(position, line)

    def discard(self, *names: str) -> None:
        """Drop all lines of these names."""
        gone = {name.lower().encode("latin-1") for name in names}
        self[:] = [pair for pair in self if pair[0].lower() not in gone]


@dataclass(slots=True)
class Attempt:
    """One try of one request on one endpoint, as spans, logs and answers tell it."""

    cluster: str
    address: Address
    resend: int  # 0 for the first try
    start_ns: int  # wall clock
    span_id: int = 0
    end_ns: int = 0
    status: int | None = None
    error_type: str | None = None
    details: str = ""
    reused: bool = False  # on a pooled connection
    scheme: str = "http"  # of the URL sent upstream: `https` over TLS
    events: list[tuple[int, str, dict[str, str | int | float]]] = field(default_factory=list)  # ns, name, attributes


@dataclass(slots=True)
class Answer:
    """How a request ended, as spans, metrics and logs tell it."""

    status: int | None  # None: nothing was sent
    end_ns: int  # wall clock
    duration: float  # seconds, from the head of the request to the last byte of the response
    sent: int = 0  # bytes of the response body sent downstream
    received: int = 0  # bytes of the request body read
    flag: str = "-"  # Envoy's response flag; `DC` where the client went away
    error_type: str | None = None
    details: str = ""
    cancelled: bool = False  # the client went away: no error of ours


class Trace(Protocol):
    """The trace of one request, begun by the listener and known to telemetry only."""

    sampled: bool
    trace_id: int
    span_id: int

    def inject(self, attempt: Attempt) -> RawHeaders | None:
        """Give the attempt its span id and return the fields to send in place of the caller's trace fields.

        None: send the caller's trace fields on as they are.
        """


@dataclass(frozen=True, slots=True)
class Origin:
    """What the upstream is told of the downstream connection; made once a connection."""

    via: bytes  # the pseudonym of the listener (RFC 9110 §7.6.3)
    trusted: bool  # the peer's Forwarded and X-Forwarded-* fields are believed
    announce: bool  # write X-Forwarded-*: a gateway does, a forward proxy for its own app does not
    peer: bytes
    scheme: bytes


NO_ORIGIN = Origin(b"sidecar", trusted=False, announce=False, peer=b"unknown", scheme=b"http")


class Request:
    """One downstream request on its way up. Filters may change method, target, authority, headers and body."""

    __slots__ = (
        "attempts", "authority", "body", "cluster", "deadline", "headers", "interim", "length", "listener", "method",
        "origin", "peer", "prefix", "received_ns", "route", "scheme", "started", "target", "trace", "trailers",
        "upgrade", "version",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - one place builds it, by name
        self,
        *,
        method: str,
        target: bytes,
        authority: str,
        headers: Headers,
        body: bytes | AsyncIterator[bytes] | None = None,
        length: int | None = 0,
        scheme: str = "http",
        version: str = "1.1",
        peer: Address = NOWHERE,
        listener: str = "",
        origin: Origin = NO_ORIGIN,
        upgrade: bytes | None = None,
        started: float = 0.0,
        received_ns: int = 0,
    ) -> None:
        self.method = method
        self.target = target  # origin-form, `*`, or authority-form for CONNECT; never decoded
        self.authority = authority  # host[:port] as the client named it
        self.headers = headers
        self.body = body  # bytes: already here whole; an iterator: streamed; None: no body
        self.length = length  # bytes of the body, None: unknown (chunked)
        self.trailers: RawHeaders = []  # filled once a streamed body has ended
        self.scheme = scheme
        self.version = version
        self.peer = peer
        self.listener = listener
        self.origin = origin
        self.upgrade = upgrade  # value of the Upgrade field, if the client asks for one
        self.started = started  # loop time
        self.received_ns = received_ns  # wall clock
        self.deadline: float | None = None  # loop time at which the route's `request` timeout ends
        self.interim: Callable[[int, bytes, RawHeaders], None] | None = None  # passes a 1xx response downstream
        self.trace: Trace | None = None
        self.route = ""  # name of the route taken, for spans and metrics
        self.prefix = b""  # the path prefix that the rule matched, for URLRewrite
        self.cluster = ""  # name of the cluster chosen
        self.attempts: list[Attempt] = []

    @property
    def trusted(self) -> bool:
        """Whether the peer's Forwarded and X-Forwarded-* fields are believed."""
        return self.origin.trusted

    @property
    def path(self) -> str:
        """The path as Latin-1 text, not decoded, without the query."""
        return self.target.partition(b"?")[0].decode("latin-1")

    @property
    def query(self) -> str:
        """What follows the `?`, not decoded; empty where there is none."""
        return self.target.partition(b"?")[2].decode("latin-1")

    def set_body(self, body: bytes | AsyncIterator[bytes] | None, length: int | None = None) -> None:
        """Replace the body; `length` is needed for an iterator of known length only."""
        self.body = body
        self.length = (0 if body is None else len(body)) if body is None or isinstance(body, bytes) else length
        _set_length(self.headers, self.length, always=bool(body))


class Response:
    """One response on its way down. A lease may hang on it: whoever drops it calls `aclose`."""

    __slots__ = ("_closers", "body", "error", "flag", "headers", "length", "reason", "status", "trailers", "tunnel")

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
        self.trailers: RawHeaders = []  # filled once a streamed body has ended
        self.tunnel = tunnel  # set after 101 and after CONNECT
        self.error: ProxyErrorLike | None = None  # the failure this response tells of
        self.flag = "-"  # Envoy's response flag, where the response is the upstream's own
        self._closers: list[Callable[[], Awaitable[None] | None]] = []

    def set_body(self, body: bytes | AsyncIterator[bytes], length: int | None = None) -> None:
        """Replace the body; framing follows: a known length is declared, an unknown one is sent in chunks."""
        self.body = body
        self.length = len(body) if isinstance(body, bytes) else length
        _set_length(self.headers, self.length, always=True)

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


def _set_length(headers: Headers, length: int | None, *, always: bool) -> None:
    headers.discard("transfer-encoding")
    if length is None or (not length and not always):
        headers.discard("content-length")
    else:
        headers.set("Content-Length", str(length))
