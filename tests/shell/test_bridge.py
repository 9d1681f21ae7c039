"""Spans through SDK exporters: the console's, the official OTLP one, and exporters that block or fail."""

import importlib.util
import inspect
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from sidecar.errors import ConfigError
from sidecar.telemetry.bridge import BridgeExporter, Readable, load_exporter
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.spans import CLIENT, SERVER, Event, Link, Shape, Span
from sidecar.telemetry.telemetry import build
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.telemetry import until

SPAN = Span(
    Shape("GET", CLIENT, [("http.request.method", "GET"), ("http.response.status_code", 503)], error=True),
    trace_id=0x0AF7651916CD43DD8448EB211C80319C,
    span_id=0xB7AD6B7169203331,
    parent_id=0x00F067AA0BA902B7,
    remote=True,
    flags=3,
    trace_state="a=1,b=2",
    start_ns=1_700_000_000_000_000_000,
    end_ns=1_700_000_000_005_000_000,
    attributes=[("url.full", "http://orders/")],
    events=[Event(1_700_000_000_001_000_000, "ejected", [("reason", "5xx")])],
    links=[Link(5, 6, 1, "c=3")],
    has_extras=True,
)


class Blocking(SpanExporter):
    """An exporter that hangs until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.released = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - the SDK's signature
        self.entered.set()
        self.released.wait(10)
        return SpanExportResult.SUCCESS


class Failing(SpanExporter):
    """An exporter that refuses, raises, then works."""

    def __init__(self) -> None:
        self.calls = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - the SDK's signature
        self.calls += 1
        if self.calls == 1:
            return SpanExportResult.FAILURE
        if self.calls == 2:
            raise RuntimeError("broken")
        return SpanExportResult.SUCCESS


def bridge(
    exporter: SpanExporter, metrics: Metrics | None = None, *, batch: int = 512, most: int = 2048, delay: float = 0.01
) -> BridgeExporter:
    return BridgeExporter(
        exporter,
        Readable({"service.name": "shop"}, "1.2", ""),
        metrics or Metrics(),
        batch=batch,
        most=most,
        delay=delay,
    )


def counted(metrics: Metrics, name: str) -> float:
    return sum(
        sample.value for family in metrics.registry.collect() for sample in family.samples if sample.name == name
    )


async def test_an_sdk_exporter_gets_the_whole_span() -> None:
    exporter = InMemorySpanExporter()
    sink = bridge(exporter)
    sink.put([SPAN])
    await sink.aclose(5)
    [span] = exporter.get_finished_spans()
    context, parent = span.get_span_context(), span.parent
    assert context is not None
    assert parent is not None
    assert (context.trace_id, context.span_id, context.is_remote, int(context.trace_flags)) == (
        SPAN.trace_id,
        SPAN.span_id,
        False,
        3,
    )
    assert (parent.trace_id, parent.span_id, parent.is_remote) == (SPAN.trace_id, SPAN.parent_id, True)
    assert list(context.trace_state.items()) == [("a", "1"), ("b", "2")]
    assert (span.name, span.kind, span.start_time, span.end_time) == (
        "GET",
        SpanKind.CLIENT,
        SPAN.start_ns,
        SPAN.end_ns,
    )
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {}) == dict(SPAN.shape.attributes) | dict(SPAN.attributes)
    [event], [link] = span.events, span.links
    assert (event.name, event.timestamp, dict(event.attributes or {})) == (
        "ejected",
        SPAN.events[0].time_ns,
        {"reason": "5xx"},
    )
    assert (link.context.trace_id, link.context.span_id, link.context.trace_state.get("c")) == (5, 6, "3")
    assert span.resource.attributes["service.name"] == "shop"
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.version == "1.2"
    assert json.loads(span.to_json())["kind"] == "SpanKind.CLIENT"


async def test_a_root_server_span_has_no_parent() -> None:
    exporter = InMemorySpanExporter()
    sink = bridge(exporter)
    sink.put([SPAN._replace(parent_id=0, trace_state="", shape=Shape("GET", SERVER, [], error=False))])
    await sink.aclose(5)
    [span] = exporter.get_finished_spans()
    assert (span.parent, span.kind, span.status.status_code) == (None, SpanKind.SERVER, StatusCode.UNSET)


def test_the_sdks_public_constructor_still_takes_what_we_give_it() -> None:
    wanted = {
        "name",
        "context",
        "parent",
        "resource",
        "attributes",
        "events",
        "links",
        "kind",
        "status",
        "start_time",
        "end_time",
    }
    assert wanted | {"instrumentation_scope"} <= inspect.signature(ReadableSpan).parameters.keys()


async def test_the_official_otlp_exporter_delivers_through_the_bridge() -> None:
    async with OtlpReceiver() as receiver:
        metrics = Metrics()
        sink = bridge(OTLPSpanExporter(endpoint=receiver.endpoint + "/v1/traces"), metrics)
        sink.put([SPAN])
        [span] = await receiver.wait_for(1)
        assert (span.span_id, span.parent_id) == (f"{SPAN.span_id:016x}", f"{SPAN.parent_id:016x}")
        await sink.aclose(5)
        assert counted(metrics, "sidecar_spans_exported_total") == 1


async def test_a_full_batch_goes_without_waiting_for_the_delay() -> None:
    exporter = InMemorySpanExporter()
    sink = bridge(exporter, batch=2, delay=3600)
    sink.put([SPAN, SPAN, SPAN])
    await until(lambda: len(exporter.get_finished_spans()) == 2)
    await sink.aclose(5)
    assert len(exporter.get_finished_spans()) == 3


async def test_a_hanging_exporter_costs_spans_alone_and_holds_up_no_end() -> None:
    metrics, exporter = Metrics(), Blocking()
    sink = bridge(exporter, metrics, batch=1, most=2)
    sink.put([SPAN])
    await until(exporter.entered.is_set)
    before = time.monotonic()
    sink.put([SPAN] * 5)
    assert counted(metrics, "sidecar_spans_dropped_total") == 3
    await sink.aclose(0.05)
    assert time.monotonic() - before < 1
    assert counted(metrics, "sidecar_spans_dropped_total") == 6
    exporter.released.set()


async def test_a_failing_exporter_loses_spans_is_logged_once_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    metrics, exporter = Metrics(), Failing()
    sink = bridge(exporter, metrics, batch=1)
    sink.put([SPAN] * 3)
    await sink.aclose(5)
    assert counted(metrics, "sidecar_spans_dropped_total") == 2
    assert counted(metrics, "sidecar_spans_exported_total") == 1
    assert [entry.getMessage() for entry in caplog.records] == ["the span exporter Failing fails: no success"]


def test_an_exporter_that_is_not_installed_is_refused_with_the_extra_that_brings_it() -> None:
    if importlib.util.find_spec("opentelemetry.exporter.otlp.proto.grpc") is not None:
        pytest.skip("the gRPC exporter is installed")
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with pytest.raises(ConfigError) as caught:
        build(environ, access_log=None, version="1")
    assert caught.value.path == "OTEL_EXPORTER_OTLP_PROTOCOL"
    assert "sidecar[grpc]" in caught.value.reason


def test_an_unknown_exporter_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        build({"OTEL_TRACES_EXPORTER": "zipkin\x1b"}, access_log=None, version="1")
    assert caught.value.path == "OTEL_TRACES_EXPORTER"
    assert "zipkin\\x1b" in caught.value.reason


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("missing_module:Exporter", "does not start"),
        ("json:dumps", "does not start"),
        ("builtins:list", "makes no SpanExporter"),
    ],
)
def test_an_entry_point_that_makes_no_exporter_is_refused(
    target: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "broken-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[opentelemetry_traces_exporter]\nbroken = {target}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=reason):
        load_exporter("broken", "OTEL_TRACES_EXPORTER")


CONSOLE = """
import asyncio
from tests.support.telemetry import record, running

async def main():
    async with running({"OTEL_TRACES_EXPORTER": "console", "OTEL_BSP_SCHEDULE_DELAY": "1"}) as telemetry:
        record(telemetry)

asyncio.run(main())
"""

UNUSED = """
import sys
import sidecar.telemetry.telemetry as telemetry

telemetry.build({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, access_log=None, version="1")
print([name for name in sys.modules if name.startswith(("opentelemetry", "google.protobuf", "grpc"))])
"""


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_console_exporter_prints_the_spans_of_a_request() -> None:
    printed = python(CONSOLE)
    assert printed.count('"trace_id"') >= 2
    assert '"kind": "SpanKind.SERVER"' in printed
    assert '"kind": "SpanKind.CLIENT"' in printed


def test_neither_the_sdk_nor_protobuf_is_imported_for_our_own_exporter() -> None:
    assert python(UNUSED).strip() == "[]"
