"""Spans of the sidecar's own calls (API server, JWKS), by opentelemetry-instrumentation-aiohttp-client.

Imported only when tracing is on, since it brings the SDK. The instrumentation still writes the names of the old
conventions unless told otherwise by private means, so spans are renamed to the stable ones on their way; query
strings and stack traces are left out.
"""

from collections.abc import Callable, Mapping, Sequence

import aiohttp
from opentelemetry.context import Context
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, SamplingResult
from opentelemetry.sdk.trace.sampling import Sampler as SdkSampler
from opentelemetry.trace import Link, SpanKind, StatusCode, TraceState
from opentelemetry.util.types import Attributes

from sidecar.telemetry.arrival import clean
from sidecar.telemetry.sampling import Sampler
from sidecar.telemetry.spans import CLIENT, Pairs, Shape, Span

_STABLE = {
    "http.method": "http.request.method",
    "http.url": "url.full",
    "http.status_code": "http.response.status_code",
    "net.peer.name": "server.address",
    "net.peer.port": "server.port",
}


def trace_configs(
    put: Callable[[Sequence[Span]], None], sampler: Sampler, resource: Mapping[str, str]
) -> list[aiohttp.TraceConfig]:
    """What to give to `aiohttp.ClientSession(trace_configs=…)`."""
    provider = TracerProvider(sampler=_Adapter(sampler), resource=Resource(resource), shutdown_on_exit=False)
    provider.add_span_processor(_Processor(put))
    return [create_trace_config(tracer_provider=provider)]


class _Adapter(SdkSampler):
    """Our sampler as the SDK's; these calls are roots."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: Context | None,  # noqa: ARG002
        trace_id: int,
        name: str,  # noqa: ARG002
        kind: SpanKind | None = None,  # noqa: ARG002
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002
        trace_state: TraceState | None = None,  # noqa: ARG002
    ) -> SamplingResult:
        if self._sampler(trace_id, None):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        return SamplingResult(Decision.DROP)

    def get_description(self) -> str:
        return "sidecar"


class _Processor(SpanProcessor):
    """Finished spans of the SDK to our sinks."""

    def __init__(self, put: Callable[[Sequence[Span]], None]) -> None:
        self._put = put

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context is None or not context.trace_flags.sampled or span.start_time is None or span.end_time is None:
            return
        pairs: Pairs = []
        for key, value in (span.attributes or {}).items():
            name = _STABLE.get(key, key)
            if isinstance(value, str):
                pairs.append((name, clean(value.partition("?")[0] if name == "url.full" else value)))
            elif isinstance(value, int | float):
                pairs.append((name, value))
        shape = Shape(span.name, CLIENT, pairs, error=span.status.status_code is StatusCode.ERROR)
        self._put(
            [
                Span(
                    shape,
                    context.trace_id,
                    context.span_id,
                    0,
                    False,
                    int(context.trace_flags),
                    "",
                    span.start_time,
                    span.end_time,
                    [],
                )
            ]
        )
