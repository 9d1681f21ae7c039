"""The textbook proxy with OpenTelemetry's own instrumentation of aiohttp's server and client, exporting by OTLP/HTTP.

Everything as the documentation has it; `OTEL_*` of the environment says where spans go.
"""

import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.aiohttp_server import AioHttpServerInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def instrument() -> None:
    """Before aiohttp's classes are used: they are replaced."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    AioHttpServerInstrumentor().instrument()
    AioHttpClientInstrumentor().instrument()


if __name__ == "__main__":
    instrument()
    import textbook  # after the classes are replaced; the file beside this one

    textbook.main(int(sys.argv[1]), sys.argv[2])
