"""A real OTLP/HTTP receiver on a free port, decoding with the official protobuf classes.

`async with OtlpReceiver() as receiver:` then `receiver.endpoint` for OTEL_EXPORTER_OTLP_ENDPOINT, `await
receiver.wait_for(n)`, `receiver.spans`. It can be told to answer with other statuses, to reject spans, or to hold its
answers.
"""

import asyncio
import gzip
import ssl
from collections import deque
from typing import NamedTuple, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.common.v1 import common_pb2 as common
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2


class Received(NamedTuple):
    """One span with what surrounds it."""

    span: trace_pb2.Span
    resource: resource_pb2.Resource
    scope: common.InstrumentationScope

    @property
    def attributes(self) -> dict[str, str | int | float | bool]:
        """The span's attributes."""
        return attributes(self.span.attributes)

    @property
    def trace_id(self) -> str:
        """In hex."""
        return self.span.trace_id.hex()

    @property
    def span_id(self) -> str:
        """In hex."""
        return self.span.span_id.hex()

    @property
    def parent_id(self) -> str:
        """In hex, empty for a root."""
        return self.span.parent_span_id.hex()


class Reply(NamedTuple):
    """What the receiver answers instead of 200 and an empty message."""

    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012 - read only
    body: bytes = b""


def attributes(pairs: object) -> dict[str, str | int | float | bool]:
    """Key-value messages as a dict."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}  # type: ignore[attr-defined]  # protobuf's repeated field


def partial_success(rejected: int, message: str) -> bytes:
    """The body of an answer that rejects spans."""
    partial = service.ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    return service.ExportTraceServiceResponse(partial_success=partial).SerializeToString()


class OtlpReceiver:
    """Spans are recorded for answers of status 200 only."""

    def __init__(self, path: str = "/v1/traces", tls: ssl.SSLContext | None = None) -> None:
        self.spans: list[Received] = []
        self.requests: list[web.BaseRequest] = []
        self.replies: deque[Reply] = deque()  # one for each of the next requests
        self.open = asyncio.Event()  # clear it to hold answers
        self.open.set()
        self.port = 0
        self._path = path
        self._tls = tls
        self._changed = asyncio.Condition()
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)

    @property
    def endpoint(self) -> str:
        """For OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.open.set()
        await self._runner.cleanup()

    async def wait_for(self, count: int, within: float = 5.0) -> list[Received]:
        """The spans, once there are `count` of them."""
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(lambda: len(self.spans) >= count)
        return self.spans

    async def wait_for_requests(self, count: int, within: float = 5.0) -> list[web.BaseRequest]:
        """The requests, once `count` of them came, answered or not."""
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        if request.method != "POST" or request.path != self._path:
            return web.Response(status=404)
        body = await request.read()  # aiohttp's server undoes Content-Encoding
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        message = service.ExportTraceServiceRequest.FromString(body)
        async with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
        await self.open.wait()
        reply = self.replies.popleft() if self.replies else Reply()
        if reply.status == 200:
            await self._record(message)
        return web.Response(
            status=reply.status, headers=reply.headers, body=reply.body, content_type="application/x-protobuf"
        )

    async def _record(self, message: service.ExportTraceServiceRequest) -> None:
        async with self._changed:
            for group in message.resource_spans:
                for scoped in group.scope_spans:
                    self.spans += (Received(span, group.resource, scoped.scope) for span in scoped.spans)
            self._changed.notify_all()
