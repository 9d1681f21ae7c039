"""Where and how OTLP goes, from `OTEL_EXPORTER_OTLP_*` and `OTEL_BSP_*` (specification, "OTLP Exporter Configuration").

The variable for traces goes before the general one. The general endpoint gets `/v1/traces` appended, the one for
traces is used as it is.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from sidecar.errors import ConfigError
from sidecar.telemetry.environment import integer, log, pairs, seconds, text

_PREFIX = "OTEL_EXPORTER_OTLP_"
_BATCH_BYTES = 1 << 20
_QUEUE_BYTES = 8 << 20


MAX_QUEUE_SPANS = (
    16_384  # the specification's 2,048 are a tenth of a second of what one sidecar can send; bytes are bounded too
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpSettings:
    """How spans are sent; times in seconds."""

    endpoint: str
    headers: Mapping[str, str]
    timeout: float = 10.0  # of one POST
    export_timeout: float = 30.0  # of a batch with its repeats
    gzip: bool = False
    ssl_context: ssl.SSLContext | None = None
    schedule_delay: float = 5.0
    batch_spans: int = 512
    batch_bytes: int = _BATCH_BYTES
    max_queue_spans: int = MAX_QUEUE_SPANS
    max_queue_bytes: int = _QUEUE_BYTES

    @property
    def host(self) -> str:
        """The collector as logs name it: no userinfo, path or query."""
        url = urlsplit(self.endpoint)
        return f"{url.hostname}:{url.port}" if url.port else f"{url.hostname}"


def for_traces(environ: Mapping[str, str], name: str) -> str:
    """`OTEL_EXPORTER_OTLP_TRACES_<name>` where it is set, else `OTEL_EXPORTER_OTLP_<name>`."""
    special = f"{_PREFIX}TRACES_{name}"
    return special if text(environ, special) else _PREFIX + name


def otlp_settings(environ: Mapping[str, str], version: str) -> OtlpSettings:
    """The settings of the OTLP/HTTP exporter; raises ConfigError naming the variable."""
    batch, queue = batch_limits(environ)
    compression = text(environ, name := for_traces(environ, "COMPRESSION"), default="none").lower()
    if compression not in ("gzip", "none"):
        log.warning("%s: expected gzip or none; none is used", name)
    headers = {"Content-Type": "application/x-protobuf", "User-Agent": f"sidecar/{version} OTLP"}
    if compression == "gzip":
        headers["Content-Encoding"] = "gzip"
    return OtlpSettings(
        endpoint=_endpoint(environ),
        headers=headers | _headers(environ),
        timeout=seconds(environ, for_traces(environ, "TIMEOUT"), default_ms=10_000),
        gzip=compression == "gzip",
        ssl_context=_ssl_context(environ),
        export_timeout=seconds(environ, "OTEL_BSP_EXPORT_TIMEOUT", default_ms=30_000),
        schedule_delay=seconds(environ, "OTEL_BSP_SCHEDULE_DELAY", default_ms=5_000),
        batch_spans=batch,
        max_queue_spans=queue,
    )


def batch_limits(environ: Mapping[str, str]) -> tuple[int, int]:
    """Spans of a batch and of the queue; a batch larger than the queue is as large as the queue."""
    queue = integer(environ, "OTEL_BSP_MAX_QUEUE_SIZE", MAX_QUEUE_SPANS, minimum=1)
    return min(integer(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, minimum=1), queue), queue


def _headers(environ: Mapping[str, str]) -> dict[str, str]:
    name = for_traces(environ, "HEADERS")
    headers = pairs(environ, name)
    if any(not (key + value).isprintable() or not key.isascii() for key, value in headers.items()):
        raise ConfigError(name, "a header holds a character that HTTP does not allow")
    return headers


def _endpoint(environ: Mapping[str, str]) -> str:
    name = for_traces(environ, "ENDPOINT")
    value = text(environ, name, default="http://localhost:4318")
    try:
        url = urlsplit(value)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and value.isprintable()
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(name, "expected a URL such as http://collector:4318")
    return value if name.startswith(_PREFIX + "TRACES_") else value.rstrip("/") + "/v1/traces"


def _ssl_context(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """The context with the files of the environment, None where none is named."""
    authority, key, certificate = (
        for_traces(environ, name) for name in ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")
    )
    if not any(text(environ, name) for name in (authority, key, certificate)):
        return None
    try:
        context = ssl.create_default_context(cafile=text(environ, authority) or None)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(authority, f"cannot be read as PEM certificates: {error.strerror or error}") from None
    if bool(text(environ, key)) != bool(text(environ, certificate)):
        raise ConfigError(
            certificate if text(environ, key) else key, "needed too: a client certificate and its key go together"
        )
    if text(environ, certificate):
        try:
            context.load_cert_chain(text(environ, certificate), text(environ, key))
        except OSError as error:
            raise ConfigError(certificate, f"cannot be read with its key: {error.strerror or error}") from None
    return context
