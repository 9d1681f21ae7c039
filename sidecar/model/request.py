"""One downstream request on its way up."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from sidecar.model.endpoint import NOWHERE, Address
from sidecar.model.headers import Headers, RawHeaders, set_length
from sidecar.model.records import Attempt, Trace


@dataclass(frozen=True, slots=True)
class Origin:
    """What the upstream is told of the downstream connection; made once a connection."""

    via: bytes  # the pseudonym of the listener (RFC 9110 §7.6.3)
    trusted: bool  # the peer's Forwarded and X-Forwarded-* fields are believed
    announce: bool  # write X-Forwarded-*: a gateway does, a forward proxy for its own app does not
    peer: bytes
    scheme: bytes
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()  # whose word on the client is believed


NO_ORIGIN = Origin(b"sidecar", trusted=False, announce=False, peer=b"unknown", scheme=b"http")


class Request:
    """One downstream request on its way up. Filters may change method, target, authority, headers and body."""

    __slots__ = (
        "attempts", "authenticated", "authority", "body", "cluster", "deadline", "headers", "interim", "length",
        "listener", "method", "notes", "origin", "peer", "prefix", "received_ns", "route", "scheme", "started",
        "target", "trace", "trailers", "upgrade", "version",
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
        self.scheme, self.version = scheme, version
        self.peer = peer
        self.listener = listener
        self.origin = origin
        self.upgrade = upgrade  # value of the Upgrade field, if the client asks for one
        self.started = started  # loop time
        self.received_ns = received_ns  # wall clock
        self.deadline: float | None = None  # loop time at which the route's `request` timeout ends
        self.interim: Callable[[int, bytes, RawHeaders], None] | None = None  # passes a 1xx response downstream
        self.trace: Trace | None = None
        self.route = self.cluster = ""  # names of the route taken and the cluster chosen, for spans and metrics
        self.prefix = b""  # the path prefix that the rule matched, for URLRewrite
        self.attempts: list[Attempt] = []
        self.authenticated = False  # by its credentials, whatever is left of them: for a shared cache (RFC 9111 §3.5)
        self.notes: dict[str, str | int] | None = None  # what filters tell the span, by attribute name

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
        set_length(self.headers, self.length, always=bool(body))
