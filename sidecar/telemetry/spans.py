"""Decides what spans say: name, status and attributes of a request's SERVER and each attempt's CLIENT span.

Source: OpenTelemetry semantic conventions v1.44.0, "HTTP spans" (stable). Pure; neither samples nor encodes.
A span is a `Shape`, the part that repeats from request to request and is kept, and the few values of its own.
A CLIENT span ends with its attempt, body included. `error.type` is one of `sidecar.errors`, or the status code as text.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from sidecar.model import Address, Answer, Attempt, Request
from sidecar.telemetry.arrival import Arrival, clean, host_and_port
from sidecar.telemetry.environment import KNOWN_METHODS, SpanLimits

Value: TypeAlias = str | bool | int | float
Pairs: TypeAlias = list[tuple[str, Value]]
Own: TypeAlias = list[tuple[str, str | int]]
"""Attributes of one span alone: text and numbers, no booleans, which would equal 1 where encoded attributes are
kept.
"""

ServerFacts: TypeAlias = tuple[str, str, str, str, bytes, str, str, int | None, str | None, str]
ClientFacts: TypeAlias = tuple[str, str, str, str, Address, int, int | None, str | None]

Kind = TypeVar("Kind", Value, str | int)
Facts = TypeVar("Facts", ServerFacts, ClientFacts)

SERVER, CLIENT = 2, 3  # Span.SpanKind of trace.proto
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MOST_SHAPES = 512
_LONGEST_KEPT = 256  # characters of a value that may live in a kept shape
_CANCELLED = "cancelled"


class Shape:
    """Name, kind, status and the attributes whose values repeat; `encoded` is the encoder's."""

    __slots__ = ("attributes", "encoded", "error", "kind", "name")

    def __init__(self, name: str, kind: int, attributes: Pairs, *, error: bool) -> None:
        self.name = name
        self.kind = kind
        self.attributes = tuple(attributes)
        self.error = error
        self.encoded = b""


class Event(NamedTuple):
    """A moment in a span."""

    time_ns: int
    name: str
    attributes: Pairs
    dropped: int = 0


class Link(NamedTuple):
    """The caller's span where it is not the parent."""

    trace_id: int
    span_id: int
    flags: int
    trace_state: str


class Span(NamedTuple):
    """A finished span, ready to be encoded."""

    shape: Shape
    trace_id: int
    span_id: int
    parent_id: int  # 0: a root
    remote: bool  # the parent is in another process
    flags: int  # W3C trace flags
    trace_state: str
    start_ns: int
    end_ns: int
    attributes: Own
    events: Sequence[Event] = ()
    links: Sequence[Link] = ()
    dropped_attributes: int = 0
    dropped_events: int = 0
    dropped_links: int = 0
    has_extras: bool = False  # anything beyond `attributes`


class Identity(NamedTuple):
    """Where the spans of a request stand in their trace."""

    trace_id: int
    span_id: int
    parent_id: int
    flags: int
    trace_state: str
    link: Link | None = None


class Recorder:
    """Makes spans; keeps up to 512 shapes of each kind and starts over when they are more."""

    def __init__(self, limits: SpanLimits = SpanLimits(), methods: frozenset[str] = KNOWN_METHODS) -> None:  # noqa: B008 - frozen
        self._limits = limits
        self._methods = methods
        self._servers: dict[ServerFacts, Shape] = {}
        self._clients: dict[ClientFacts, Shape] = {}
        # Known attributes are two dozen at most: a limit above that need not be looked at for each span.
        self._few = limits.attributes < 32 or limits.value_length is not None

    def server(self, identity: Identity, arrival: Arrival, request: Request, answer: Answer) -> Span:
        """The span of the request."""
        agent = arrival.user_agent
        kept_agent = agent if len(agent) <= _LONGEST_KEPT else b""
        authority = arrival.authority if len(arrival.authority) <= _LONGEST_KEPT else ""
        error_type = None if answer.cancelled else _server_error(answer)
        facts = (
            arrival.method[:_LONGEST_KEPT], arrival.scheme, authority, request.version, kept_agent, request.route,
            request.cluster, answer.status, error_type, answer.flag,
        )  # fmt: skip
        shape = self._servers.get(facts)
        if shape is None:
            shape = _keep(self._servers, facts, self._server_shape(facts))
        peer = request.peer
        path = arrival.path
        own: Own = [
            ("url.path", path if path.isprintable() else clean(path)),
            ("client.address", arrival.client(peer)),
            ("network.peer.address", peer.unix_path or peer.host),
        ]
        if peer.port:
            own.append(("network.peer.port", peer.port))
        if request.notes:
            own += [(name, clean(value) if isinstance(value, str) else value) for name, value in request.notes.items()]
        if agent is not kept_agent:
            own.append(("user_agent.original", clean(agent.decode("utf-8", "backslashreplace"))))
        parent_id, link = identity.parent_id, identity.link
        links = (link,) if link else ()
        span = Span(
            shape, identity.trace_id, identity.span_id, parent_id, parent_id != 0, identity.flags, identity.trace_state,
            request.received_ns, answer.end_ns, own, (), links, 0, 0, 0, link is not None,
        )  # fmt: skip
        return self._limited(span) if self._few or link else span

    def client(self, identity: Identity, request: Request, attempt: Attempt, answer: Answer) -> Span:
        """The span of one attempt; unfinished ones end with the answer."""
        authority = request.authority
        kept = authority if len(authority) <= _LONGEST_KEPT else ""
        error_type = _client_error(attempt, answer)
        facts = (
            request.method[:_LONGEST_KEPT], attempt.scheme, kept, attempt.cluster, attempt.address, attempt.resend,
            attempt.status, error_type,
        )  # fmt: skip
        shape = self._clients.get(facts)
        if shape is None:
            shape = _keep(self._clients, facts, self._client_shape(facts))
        events = (
            [_event(time_ns, name, attributes) for time_ns, name, attributes in attempt.events]
            if attempt.events
            else ()
        )
        span = Span(
            shape, identity.trace_id, attempt.span_id, identity.span_id, False, identity.flags, identity.trace_state,
            attempt.start_ns, attempt.end_ns or answer.end_ns, [("url.full", _url(request, attempt.scheme))],
            events, (), 0, 0, 0, bool(events),
        )  # fmt: skip
        return self._limited(span) if self._few or events else span

    def _method(self, method: str) -> tuple[str, Pairs]:
        """The name's first word and the attributes of the method."""
        if method in self._methods:
            return method, [("http.request.method", method)]
        original = clean(method)
        return "HTTP", [("http.request.method", "_OTHER"), ("http.request.method_original", original)]

    def _server_shape(self, facts: ServerFacts) -> Shape:
        method, scheme, authority, version, agent, route, cluster, status, error_type, flag = facts
        word, pairs = self._method(method)
        pairs.append(("url.scheme", scheme))
        host, port = host_and_port(authority)
        optional: tuple[tuple[str, Value | None], ...] = (
            ("server.address", host or None),
            ("server.port", port),
            ("http.route", route or None),
            ("http.response.status_code", status),
            ("error.type", error_type),
            ("network.protocol.version", version),
            ("user_agent.original", clean(agent.decode("utf-8", "backslashreplace")) or None),
            ("sidecar.cluster", cluster or None),
            ("sidecar.response_flag", flag if flag != "-" else None),
        )
        pairs += ((key, value) for key, value in optional if value is not None)
        return Shape(f"{word} {route}" if route else word, SERVER, pairs, error=error_type is not None)

    def _client_shape(self, facts: ClientFacts) -> Shape:
        method, scheme, authority, cluster, address, resend, status, error_type = facts
        word, pairs = self._method(method)
        host, port = host_and_port(authority)
        unix = address.unix_path
        optional: tuple[tuple[str, Value | None], ...] = (
            ("server.address", host or address.unix_path or address.host),
            ("server.port", port or _DEFAULT_PORTS.get(scheme)),
            ("network.peer.address", unix or address.host),
            ("network.peer.port", address.port if unix is None else None),
            ("network.transport", "unix" if unix is not None else None),
            ("network.protocol.version", "1.1"),
            ("http.request.resend_count", resend or None),
            ("http.response.status_code", status),
            ("error.type", None if error_type == _CANCELLED else error_type),
            ("sidecar.cluster", cluster or None),
        )
        pairs += ((key, value) for key, value in optional if value is not None)
        return Shape(word, CLIENT, pairs, error=error_type not in (None, _CANCELLED))

    def _limited(self, span: Span) -> Span:
        """The span within the limits; the attributes of its own go first, then the last of the shape."""
        limits = self._limits
        shape, own = span.shape, span.attributes
        room = max(limits.attributes - len(shape.attributes), 0)
        dropped = max(len(shape.attributes) + len(own) - limits.attributes, 0)
        if limits.value_length is not None or dropped > len(own):
            kept = _cut(list(shape.attributes[: limits.attributes]), limits.value_length)
            shape = Shape(shape.name, shape.kind, kept, error=shape.error)
        events = [_limited_event(event, limits) for event in span.events[: limits.events]]
        links = span.links[: limits.links]
        return span._replace(
            shape=shape,
            attributes=_cut(own[:room], limits.value_length),
            events=events,
            links=links,
            dropped_attributes=dropped,
            dropped_events=len(span.events) - len(events),
            dropped_links=len(span.links) - len(links),
            has_extras=bool(dropped or span.events or span.links),
        )


def _keep(shapes: dict[Facts, Shape], facts: Facts, shape: Shape) -> Shape:
    if len(shapes) >= _MOST_SHAPES:
        shapes.clear()
    shapes[facts] = shape
    return shape


def _server_error(answer: Answer) -> str | None:
    """A 5xx, no answer at all, or an answer that was cut short; a 4xx is the client's own."""
    status = answer.status
    if status is None:
        return answer.error_type or "_OTHER"
    if status >= 500:
        return answer.error_type or str(status)
    return answer.error_type if status < 400 else None


def _client_error(attempt: Attempt, answer: Answer) -> str | None:
    """The failure of the attempt; `cancelled` where the client's leaving ended it, which is no error."""
    if attempt.error_type is not None:
        return attempt.error_type
    if attempt.status is not None:
        return str(attempt.status) if attempt.status >= 400 else None
    return _CANCELLED if answer.cancelled else None


def _url(request: Request, scheme: str) -> str:
    """`url.full` without userinfo and query."""
    path = request.path
    url = f"{scheme}://{request.authority.rpartition('@')[2]}{path if path.startswith('/') else ''}"
    return url if url.isprintable() else clean(url)


def _event(time_ns: int, name: str, attributes: dict[str, str | int | float]) -> Event:
    return Event(
        time_ns, name, [(key, clean(value) if isinstance(value, str) else value) for key, value in attributes.items()]
    )


def _limited_event(event: Event, limits: SpanLimits) -> Event:
    kept = event.attributes[: limits.event_attributes]
    return event._replace(attributes=_cut(kept, limits.value_length), dropped=len(event.attributes) - len(kept))


def _cut(pairs: list[tuple[str, Kind]], longest: int | None) -> list[tuple[str, Kind]]:
    if longest is None:
        return pairs
    return [(key, value[:longest] if isinstance(value, str) else value) for key, value in pairs]
