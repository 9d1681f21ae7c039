"""Decides where spans go, from OTEL_TRACES_EXPORTER and the endpoint variables, and builds that.

OTLP over HTTP is our own exporter; everything else goes through the bridge, which is imported for that alone.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Protocol

from sidecar.telemetry.environment import log, seconds, text, words
from sidecar.telemetry.exporter import OtlpExporter
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.otlp import Envelope
from sidecar.telemetry.otlp_settings import batch_limits, for_traces, otlp_settings
from sidecar.telemetry.resource import SCHEMA_URL
from sidecar.telemetry.spans import Span

_EXPORTER = "OTEL_TRACES_EXPORTER"
_BRIDGED_PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/json": "otlp_json_http"}


class Sink(Protocol):
    """Where spans go."""

    def put(self, spans: Sequence[Span]) -> None:
        """Take spans without blocking, or drop and count them."""

    async def run(self) -> None:
        """Work until cancelled."""

    async def aclose(self, within: float) -> None:
        """Deliver what is left, `within` seconds at most."""


def build_sinks(
    environ: Mapping[str, str], resource: Mapping[str, str], version: str, metrics: Metrics, rng: random.Random
) -> list[Sink]:
    """The sinks; none where nothing is configured. Raises ConfigError naming the variable."""
    sinks: list[Sink] = []
    for name in _exporters(environ):
        if name == "otlp_proto_http":
            envelope = Envelope(resource, "sidecar", version, SCHEMA_URL)
            sinks.append(OtlpExporter(otlp_settings(environ, version), envelope, metrics, rng))
        else:
            variable = _EXPORTER if name in words(environ, _EXPORTER, "") else for_traces(environ, "PROTOCOL")
            sinks.append(_bridge(environ, resource, version, metrics, name, variable))
    return sinks


def _exporters(environ: Mapping[str, str]) -> list[str]:
    """The names of entry points; `otlp` is resolved by its protocol."""
    asked = any(text(environ, name) for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
    names = words(environ, _EXPORTER, "otlp" if asked else "none")
    return [_otlp(environ) if name == "otlp" else name for name in names if name != "none"]


def _otlp(environ: Mapping[str, str]) -> str:
    protocol = text(environ, name := for_traces(environ, "PROTOCOL"), default="http/protobuf").lower()
    if protocol not in ("http/protobuf", *_BRIDGED_PROTOCOLS):
        log.warning("%s: %s is not known; http/protobuf is used", name, ascii(protocol[:80]))
    return _BRIDGED_PROTOCOLS.get(protocol, "otlp_proto_http")


def _bridge(
    environ: Mapping[str, str], resource: Mapping[str, str], version: str, metrics: Metrics, name: str, variable: str
) -> Sink:
    from sidecar.telemetry.bridge import BridgeExporter, Readable, load_exporter  # noqa: PLC0415 - brings the SDK

    batch, most = batch_limits(environ)
    return BridgeExporter(
        load_exporter(name, variable),
        Readable(resource, version, SCHEMA_URL),
        metrics,
        batch=batch,
        most=most,
        delay=seconds(environ, "OTEL_BSP_SCHEDULE_DELAY", default_ms=5_000),
    )
