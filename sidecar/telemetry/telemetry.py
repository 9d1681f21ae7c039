"""The facade the shells use: `begin` a request's trace, `end` it; here it is decided what is recorded where.

Tracing is on when spans have somewhere to go: an endpoint variable (OTEL_EXPORTER_OTLP_ENDPOINT or _TRACES_ENDPOINT)
or OTEL_TRACES_EXPORTER is set. The OpenTelemetry default, localhost:4318 without being asked, would have each
unconfigured sidecar knock at a port that is not its own. With tracing off, a caller's context passes untouched; a
listener that does not `continue` contexts drops it.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from sidecar.config import model as config
from sidecar.model import Answer, Request, Trace
from sidecar.telemetry import access_log as access
from sidecar.telemetry.access_log import AccessLog
from sidecar.telemetry.arrival import ARRIVAL_FIELDS, Arrival
from sidecar.telemetry.environment import boolean, known_methods, log, span_limits, words
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.propagation import KNOWN_PROPAGATORS, TRACE_FIELDS, Propagator, fields_of
from sidecar.telemetry.resource import attributes
from sidecar.telemetry.sampling import Sampler, from_environment
from sidecar.telemetry.sinks import Sink, build_sinks
from sidecar.telemetry.spans import Recorder, Span
from sidecar.telemetry.trace import DROPPED, PASSED, RequestTrace

if TYPE_CHECKING:
    import aiohttp

TraceContext: TypeAlias = Literal["continue", "restart", "ignore"]

_WANTED = TRACE_FIELDS | ARRIVAL_FIELDS


class Telemetry:
    """Traces, metrics and the access log of one process."""

    def __init__(  # noqa: PLR0913 - the parts, by name
        self,
        *,
        metrics: Metrics,
        sinks: Sequence[Sink],
        recorder: Recorder,
        propagator: Propagator,
        sampler: Sampler,
        rng: random.Random,
        access_log: AccessLog | None = None,
        resource: Mapping[str, str] | None = None,
    ) -> None:
        self.metrics = metrics
        self._sinks = tuple(sinks)
        self._recorder = recorder
        self._propagator = propagator
        self._sampler = sampler
        self._rng = rng
        self._access_log = access_log
        self._resource = resource or {}
        self._idle = not sinks and access_log is None

    @property
    def tracing(self) -> bool:
        """Whether spans have somewhere to go."""
        return bool(self._sinks)

    def begin(self, request: Request, trace_context: TraceContext) -> Trace:
        """The trace of a request that just came: decides whether it is recorded, and under which ids.

        `continue` takes the caller's context as parent, `restart` links to it, `ignore` looks away.
        Only the first lets the caller's fields pass upstream.
        """
        if self._idle:
            return PASSED if trace_context == "continue" else DROPPED
        fields = fields_of(request.headers, _WANTED)
        arrival, untrusted = Arrival(request, fields), trace_context != "continue"
        trace = RequestTrace(arrival, self._propagator, self._rng, untrusted=untrusted)
        if not self._sinks:
            trace.note_caller(self._propagator.extract(fields))
            return trace
        context = None if trace_context == "ignore" else self._propagator.extract(fields)
        trace.start(context, fields, self._sampler)
        return trace

    def end(self, request: Request, answer: Answer) -> None:
        """Record the request and its attempts: metrics, spans where the trace is sampled, the access log."""
        metrics = self.metrics
        metrics.request(
            listener=request.listener,
            route=request.route,
            cluster=request.cluster,
            method=request.method,
            status=answer.status,
            seconds=answer.duration,
        )
        for attempt in request.attempts:
            metrics.attempt(
                cluster=attempt.cluster,
                method=request.method,
                status=attempt.status,
                error_type=attempt.error_type,
                seconds=max((attempt.end_ns or answer.end_ns) - attempt.start_ns, 0) / 1e9,
            )
        trace = request.trace
        if not isinstance(trace, RequestTrace):
            return
        if trace.sampled:
            self._record(request, trace, answer)
        if self._access_log is not None and self._access_log.wants(answer):
            self._access_log.write(access.line(request, trace.arrival, answer, trace.trace_id, trace.span_id))

    def _record(self, request: Request, trace: RequestTrace, answer: Answer) -> None:
        recorder, identity = self._recorder, trace.identity()
        spans = [recorder.server(identity, trace.arrival, request, answer)]
        for attempt in request.attempts:
            if not attempt.span_id:
                attempt.span_id = trace.new_span_id()  # ended before anything was sent
            spans.append(recorder.client(identity, request, attempt, answer))
        for sink in self._sinks:
            sink.put(spans)

    async def run(self) -> None:
        """Export until cancelled."""
        async with asyncio.TaskGroup() as group:
            for sink in self._sinks:
                group.create_task(sink.run())
            await asyncio.get_running_loop().create_future()

    async def aclose(self, within: float = 2.0) -> None:
        """Flush, `within` seconds at most; what is lost is counted."""
        async with asyncio.TaskGroup() as group:
            for sink in self._sinks:
                group.create_task(sink.aclose(within))
            if self._access_log is not None:
                group.create_task(self._access_log.aclose(within))

    def control_trace_configs(self) -> "list[aiohttp.TraceConfig]":
        """For the `aiohttp.ClientSession`s of the sidecar's own calls but the exporter's; empty with tracing off."""
        if not self._sinks:
            return []
        try:
            from sidecar.telemetry.control import trace_configs  # noqa: PLC0415 - brings the SDK, which nothing else needs
        except ValueError as error:  # opentelemetry.propagate refuses names in OTEL_PROPAGATORS that are not installed
            log.warning("the sidecar's own calls are not traced: %s", ascii(str(error)[:200]))
            return []

        def put(spans: Sequence[Span]) -> None:
            for sink in self._sinks:
                sink.put(spans)

        return trace_configs(put, self._sampler, self._resource)


def build(
    environ: Mapping[str, str],
    *,
    access_log: config.AccessLog | None,
    version: str,
    rng: random.Random | None = None,
) -> Telemetry:
    """Telemetry as `OTEL_*` and the access-log section say; raises ConfigError whose `path` is the variable or field.

    Words of an enumeration that are not known are warned about and ignored, as the specification asks.
    """
    rng = rng or random.Random()  # noqa: S311 - ids must be distinct, not secret
    methods = known_methods(environ)
    metrics = Metrics(methods)
    resource: dict[str, str] = {}
    sinks: list[Sink] = []
    if not boolean(environ, "OTEL_SDK_DISABLED"):
        resource = attributes(environ, version, rng)
        sinks = build_sinks(environ, resource, version, metrics, rng)
    return Telemetry(
        metrics=metrics,
        sinks=sinks,
        recorder=Recorder(span_limits(environ), methods),
        propagator=_propagator(environ),
        sampler=from_environment(environ),
        rng=rng,
        access_log=AccessLog(access_log, rng, metrics.log_lines_dropped) if access_log else None,
        resource=resource,
    )


def _propagator(environ: Mapping[str, str]) -> Propagator:
    names = words(environ, "OTEL_PROPAGATORS", "tracecontext,baggage")
    for name in names:
        if name not in KNOWN_PROPAGATORS:
            log.warning("OTEL_PROPAGATORS: %s is not known and ignored", ascii(name[:80]))
    return Propagator(names)
