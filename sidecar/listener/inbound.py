"""aiohttp's request becomes ours: raw target, raw header list, body as bytes or as an iterator under back-pressure."""

import asyncio
from collections.abc import Sequence

from aiohttp import StreamReader, web

from sidecar.errors import BadRequest, LoopDetected
from sidecar.forwarding.headers import nominations, offered_upgrade
from sidecar.listener.target import read
from sidecar.model import Address, Headers, Origin, Request


class DownstreamBody:
    """The request body as it arrives; an iterator, not a generator: a cancelled read must lose nothing."""

    __slots__ = ("_content", "_timeout", "limit", "received")

    def __init__(self, content: StreamReader, timeout: float, limit: int | None) -> None:
        self._content = content
        self._timeout = timeout
        self.limit = limit
        self.received = 0

    def __aiter__(self) -> "DownstreamBody":
        return self

    async def __anext__(self) -> bytes:
        if self._content.at_eof():
            raise StopAsyncIteration
        try:
            async with asyncio.timeout(self._timeout):
                data = await self._content.readany()
        except TimeoutError:
            raise BadRequest(f"no byte of the request body for {self._timeout:g} s", 408) from None
        except web.RequestPayloadError as error:
            raise BadRequest(f"malformed request body: {error}") from error
        if not data:
            raise StopAsyncIteration
        self.received += len(data)
        if self.limit is not None and self.received > self.limit:
            raise BadRequest(f"request body over {self.limit} bytes", 413)
        return data


def build(  # noqa: PLR0913 - what the connection knows, by name
    incoming: web.BaseRequest,
    *,
    listener: str,
    origin: Origin,
    peer: Address,
    body_timeout: float,
    max_body: int | None,
    started: float,
    received_ns: int,
    named_ports: bool,
) -> Request:
    """Read the request's head; raises BadRequest where its parts contradict each other."""
    headers = Headers(incoming.raw_headers)
    fields = incoming.headers
    method = incoming.method
    asked = read(
        method.encode("latin-1"),
        _bytes(incoming.raw_path),
        [_bytes(value) for value in fields.getall("Host", ())],
        minor=incoming.version.minor,
        named_ports=named_ports,
    )
    if "Via" in fields and loops(fields.getall("Via"), origin.via.decode()):
        raise LoopDetected("the request came through this listener before: its name stands in Via (RFC 9110 §7.6.3)")
    upgrade = fields.get("Upgrade")
    if upgrade is not None and b"upgrade" not in nominations(_joined(fields.getall("Connection", ()))):
        upgrade = None
    version = "1.1" if incoming.version.minor else "1.0"
    request = Request(
        method=method, target=asked.target, authority=asked.authority.decode("latin-1"), headers=headers,
        scheme=asked.scheme or origin.scheme.decode(), version=version, peer=peer, listener=listener, origin=origin,
        upgrade=offered_upgrade(upgrade.encode("latin-1")) if upgrade is not None else None,
        started=started, received_ns=received_ns,
    )  # fmt: skip
    if method != "CONNECT":
        _body(request, incoming, body_timeout, max_body)
    return request


def _joined(values: Sequence[str]) -> bytes:
    return _bytes(",".join(values))


def _bytes(text: str) -> bytes:
    """What the parser decoded, as it was on the wire."""
    return text.encode("utf-8", "surrogateescape")


def loops(via: Sequence[str], own: str) -> bool:
    """Whether this listener's pseudonym stands in a `Via` field."""
    return any(own in value for value in via)


def _body(request: Request, incoming: web.BaseRequest, timeout: float, limit: int | None) -> None:
    content = incoming.content
    declared = incoming.headers.get("Content-Length")
    coding = incoming.headers.get("Transfer-Encoding")
    chunked = coding is not None
    if coding is not None and coding.lower() != "chunked":
        raise BadRequest("a Transfer-Encoding other than a single `chunked` (RFC 9112 §6.1)", 501)
    if not chunked and declared is None:
        request.length = 0
        return
    length = None if chunked else int(declared or 0)
    if limit is not None and length is not None and length > limit:
        raise BadRequest(f"request body of {length} bytes, over the limit of {limit}", 413)
    request.length = length
    if content.is_eof():  # it came with the head: no reader, no second write
        request.body = content.read_nowait(-1)
        if limit is not None and len(request.body) > limit:
            raise BadRequest(f"request body over the limit of {limit} bytes", 413)
        if length is None and not request.body:
            request.body = b""
    else:
        request.body = DownstreamBody(content, timeout, limit)
