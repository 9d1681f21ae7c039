"""Hands spans to any SDK `SpanExporter`: `console`, OTLP over gRPC, any of the group `opentelemetry_traces_exporter`.

Imported only when such an exporter is configured, since it brings the SDK. Exporters block, so they run in one daemon
thread behind a bounded queue; a hanging exporter holds up neither requests nor the end of the process.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SdkEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from sidecar.errors import ConfigError
from sidecar.telemetry.environment import log
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.spans import SERVER, Span

_GROUP = "opentelemetry_traces_exporter"
_EXTRAS = {"otlp_proto_grpc": "grpc"}


def load_exporter(name: str, variable: str) -> SpanExporter:
    """The exporter of this entry point; raises ConfigError that names `variable` and what to install."""
    found = next(iter(entry_points(group=_GROUP, name=name)), None)
    if found is None:
        extra = _EXTRAS.get(name)
        hint = f"install sidecar[{extra}]" if extra else f"no installed package has it as entry point of {_GROUP}"
        raise ConfigError(variable, f"the exporter {name[:80]!a} is not there: {hint}")
    try:
        exporter = found.load()()
    except Exception as error:
        # Whatever a foreign package raises while it is made, the operator sees which setting asked for it.
        raise ConfigError(variable, f"the exporter {name} does not start: {str(error)[:200]!a}") from error
    if not isinstance(exporter, SpanExporter):
        raise ConfigError(variable, f"the entry point {name} makes no SpanExporter")
    return exporter


class Readable:
    """Makes the SDK's read-only spans; what limits dropped has no place in their public constructor."""

    def __init__(self, resource: Mapping[str, str], version: str, schema_url: str) -> None:
        self._resource = Resource(resource, schema_url)
        self._scope = InstrumentationScope("sidecar", version, schema_url)

    def __call__(self, span: Span) -> ReadableSpan:
        """The span as exporters take it."""
        state = TraceState.from_header([span.trace_state])
        flags = TraceFlags(span.flags)
        parent = SpanContext(span.trace_id, span.parent_id, span.remote, flags, state) if span.parent_id else None
        return ReadableSpan(
            name=span.shape.name,
            context=SpanContext(span.trace_id, span.span_id, is_remote=False, trace_flags=flags, trace_state=state),
            parent=parent,
            resource=self._resource,
            attributes=dict(span.shape.attributes) | dict(span.attributes),
            events=[SdkEvent(event.name, dict(event.attributes), event.time_ns) for event in span.events],
            links=[
                Link(
                    SpanContext(
                        link.trace_id, link.span_id, is_remote=True, trace_flags=TraceFlags(link.flags),
                        trace_state=TraceState.from_header([link.trace_state]),
                    )
                )
                for link in span.links
            ],
            kind=SpanKind.SERVER if span.shape.kind == SERVER else SpanKind.CLIENT,
            status=Status(StatusCode.ERROR if span.shape.error else StatusCode.UNSET),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=self._scope,
        )  # fmt: skip


class BridgeExporter:
    """A sink in front of a blocking exporter; batches of `batch` spans, or `delay` seconds after the first."""

    def __init__(
        self, exporter: SpanExporter, readable: Readable, metrics: Metrics, *, batch: int, most: int, delay: float
    ) -> None:
        self._exporter = exporter
        self._readable = readable
        self._metrics = metrics
        self._batch = batch
        self._most = most
        self._delay = delay
        self._queue: queue.SimpleQueue[Span | None] = queue.SimpleQueue()
        self._done = threading.Event()
        self._down = False
        self._taken = 0  # by the thread, not yet exported
        self._thread = threading.Thread(target=self._work, name="span-exporter", daemon=True)
        self._thread.start()

    def put(self, spans: Sequence[Span]) -> None:
        """Take spans, or drop those that find no room."""
        for span in spans:
            if self._queue.qsize() >= self._most:
                self._metrics.spans_dropped(1, "queue_full")
            else:
                self._queue.put(span)

    async def run(self) -> None:
        """The thread does the work."""

    async def aclose(self, within: float) -> None:
        """Export what is queued, `within` seconds at most; the rest is counted as dropped."""
        self._queue.put(None)
        if not await asyncio.to_thread(self._done.wait, within):
            self._metrics.spans_dropped(max(self._queue.qsize() - 1, 0) + self._taken, "shutdown")
            log.warning("the span exporter did not end within %g s; its spans are dropped", within)

    def _work(self) -> None:
        more = True
        while more:
            spans, more = self._collect()
            self._taken = len(spans)
            if spans:
                self._export(spans)
            self._taken = 0
        try:
            self._exporter.shutdown()
        finally:
            self._done.set()

    def _collect(self) -> tuple[list[Span], bool]:
        """A batch, and whether there will be another."""
        spans: list[Span] = []
        wait: float | None = None
        until = 0.0
        while len(spans) < self._batch:
            try:
                span = self._queue.get(timeout=wait)
            except queue.Empty:
                break
            if span is None:
                return spans, False
            if not spans:
                until = time.monotonic() + self._delay
            spans.append(span)
            wait = max(until - time.monotonic(), 0.0)
        return spans, True

    def _export(self, spans: list[Span]) -> None:
        try:
            delivered = self._exporter.export([self._readable(span) for span in spans]) is SpanExportResult.SUCCESS
            reason = "no success"
        except Exception as error:  # noqa: BLE001 - a foreign exporter may raise anything, and the thread must live on
            delivered, reason = False, type(error).__name__
        if delivered:
            self._metrics.spans_exported(len(spans))
        else:
            self._metrics.spans_dropped(len(spans), "export_failed")
            if not self._down:
                log.warning("the span exporter %s fails: %s", type(self._exporter).__name__, reason)
        self._down = not delivered
