"""`OTEL_EXPORTER_OTLP_*`, `OTEL_BSP_*` and limits as the specification reads them."""

from pathlib import Path

import pytest

from sidecar.errors import ConfigError
from sidecar.telemetry.environment import SpanLimits, boolean, known_methods, span_limits
from sidecar.telemetry.otlp_settings import OtlpSettings, otlp_settings

PREFIX = "OTEL_EXPORTER_OTLP_"


def settings(**environ: str) -> OtlpSettings:
    return otlp_settings(
        {PREFIX + name if "BSP" not in name else name: value for name, value in environ.items()}, "1.2"
    )


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        ({}, "http://localhost:4318/v1/traces"),
        ({"ENDPOINT": ""}, "http://localhost:4318/v1/traces"),
        ({"ENDPOINT": "http://collector:4318"}, "http://collector:4318/v1/traces"),
        ({"ENDPOINT": "http://collector:4318/"}, "http://collector:4318/v1/traces"),
        ({"ENDPOINT": "https://host/tenant/"}, "https://host/tenant/v1/traces"),
        ({"TRACES_ENDPOINT": "http://collector/here"}, "http://collector/here"),
        ({"TRACES_ENDPOINT": "http://collector:4318"}, "http://collector:4318"),
        ({"ENDPOINT": "http://a", "TRACES_ENDPOINT": "http://b/x"}, "http://b/x"),
        ({"ENDPOINT": "http://[::1]:4318"}, "http://[::1]:4318/v1/traces"),
    ],
)
def test_the_general_endpoint_gets_a_path_and_the_one_for_traces_is_used_as_it_is(
    environ: dict[str, str], endpoint: str
) -> None:
    assert settings(**environ).endpoint == endpoint


@pytest.mark.parametrize(
    "value", ["collector:4318", "grpc://x", "http://", "http://a:99999", "http://[::1", "http://a\x00b", "/v1"]
)
def test_an_endpoint_that_is_no_url_is_refused(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(TRACES_ENDPOINT=value)
    assert caught.value.path == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


def test_the_host_for_logs_has_no_secret() -> None:
    assert settings(ENDPOINT="http://user:secret@collector:4318/path?key=1").host == "collector:4318"
    assert settings(ENDPOINT="https://collector").host == "collector"


def test_headers_of_traces_replace_the_general_ones() -> None:
    assert settings(HEADERS="x-key=a%20b, other=1").headers.items() >= {("x-key", "a b"), ("other", "1")}
    assert "x-key" not in settings(HEADERS="x-key=1", TRACES_HEADERS="other=2").headers


@pytest.mark.parametrize("value", ["authorization", "=x", "a=b%0d%0aInjected: 1", "caf%C3%A9=1"])
def test_malformed_headers_are_refused_without_showing_them(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(HEADERS=value)
    assert caught.value.path == "OTEL_EXPORTER_OTLP_HEADERS"
    assert value not in caught.value.reason


def test_times_are_milliseconds_and_sizes_spans() -> None:
    found = settings(
        TIMEOUT="1500",
        OTEL_BSP_SCHEDULE_DELAY="250",
        OTEL_BSP_MAX_QUEUE_SIZE="100",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10",
    )
    assert (found.timeout, found.schedule_delay, found.max_queue_spans, found.batch_spans) == (1.5, 0.25, 100, 10)
    found = settings()
    assert (found.timeout, found.schedule_delay, found.max_queue_spans, found.batch_spans) == (10, 5, 16_384, 512)
    assert settings(TIMEOUT="1500", TRACES_TIMEOUT="20").timeout == 0.02


def test_a_batch_is_no_larger_than_the_queue() -> None:
    assert settings(OTEL_BSP_MAX_QUEUE_SIZE="100").batch_spans == 100


@pytest.mark.parametrize("value", ["5s", "-1", "1.5", "٣", "9" * 20])
@pytest.mark.parametrize("name", ["OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_MAX_QUEUE_SIZE"])
def test_a_number_that_is_none_is_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(**{name: value})
    assert caught.value.path == name


@pytest.mark.parametrize(
    ("environ", "gzip", "warnings"),
    [
        ({}, False, 0),
        ({"COMPRESSION": "gzip"}, True, 0),
        ({"COMPRESSION": "GZIP"}, True, 0),
        ({"COMPRESSION": "none"}, False, 0),
        ({"COMPRESSION": "gzip", "TRACES_COMPRESSION": "none"}, False, 0),
        ({"COMPRESSION": "zstd"}, False, 1),
    ],
)
def test_compression_is_gzip_or_none(
    environ: dict[str, str], gzip: bool, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    found = settings(**environ)
    assert found.gzip is gzip
    assert ("Content-Encoding" in found.headers) is gzip
    assert len(caplog.records) == warnings


def test_without_files_there_is_no_tls_context_of_ours() -> None:
    assert settings(ENDPOINT="https://collector").ssl_context is None


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"CERTIFICATE": "missing.pem"}, "CERTIFICATE"),
        ({"TRACES_CERTIFICATE": "missing.pem"}, "TRACES_CERTIFICATE"),
        ({"CLIENT_KEY": "k.pem"}, "CLIENT_CERTIFICATE"),
        ({"CLIENT_CERTIFICATE": "c.pem"}, "CLIENT_KEY"),
        ({"CLIENT_CERTIFICATE": "c.pem", "CLIENT_KEY": "k.pem"}, "CLIENT_CERTIFICATE"),
    ],
)
def test_certificates_that_cannot_be_used_are_refused(environ: dict[str, str], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(**environ)
    assert caught.value.path == PREFIX + path


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError):
        settings(CERTIFICATE=str(tmp_path / "ca.pem"))


def test_the_systems_authorities_are_used_where_only_a_client_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(CLIENT_CERTIFICATE=str(tmp_path / "c"), CLIENT_KEY=str(tmp_path / "k"))
    assert "No such file" in caught.value.reason


# --- limits and words ------------------------------------------------------------------------------------------------


def test_the_limit_of_spans_goes_before_the_general_one() -> None:
    assert span_limits({}) == SpanLimits()
    general = {"OTEL_ATTRIBUTE_COUNT_LIMIT": "9", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "8"}
    assert span_limits(general) == SpanLimits(value_length=8, attributes=9, event_attributes=9)
    special = {
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1",
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "2",
        "OTEL_SPAN_EVENT_COUNT_LIMIT": "3",
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "4",
        "OTEL_SPAN_LINK_COUNT_LIMIT": "5",
    }
    assert span_limits(general | special) == SpanLimits(2, 1, 3, 4, 5)
    assert span_limits({"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "0"}).value_length == 0


@pytest.mark.parametrize(
    ("word", "value", "warnings"),
    [("true", True, 0), ("TRUE", True, 0), ("", False, 0), ("false", False, 0), ("1", False, 1)],
)
def test_only_true_is_true(word: str, value: str, warnings: int, caplog: pytest.LogCaptureFixture) -> None:
    assert boolean({"OTEL_SDK_DISABLED": word}, "OTEL_SDK_DISABLED") is value
    assert len(caplog.records) == warnings


def test_known_methods_can_be_named() -> None:
    assert "GET" in known_methods({})
    assert known_methods({"OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS": "GET, BREW"}) == {"GET", "BREW"}


def test_a_readable_authority_makes_a_context(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text(CERTIFICATE)
    context = settings(CERTIFICATE=str(authority)).ssl_context
    assert context is not None
    assert context.cert_store_stats()["x509"] == 1


CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUfPOuD7bIaPWzITQ4vJ8xHDd+sDcwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNDEzNDQxMFoYDzIxMjYxMDMx
MTM0NDEwWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATgdIYWQ3/4EWtG3JZ1I774D3wWcCQvRcuq90vqvhePcExp4Txrf/yO
4OE/oKysK9m6+nKjzp4SAHxOc0EFu6Szo28wbTAdBgNVHQ4EFgQUPY5BNYUOVkzC
Ej/CEE7F9ZCZ/0EwHwYDVR0jBBgwFoAUPY5BNYUOVkzCEj/CEE7F9ZCZ/0EwGgYD
VR0RBBMwEYIJbG9jYWxob3N0hwR/AAABMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZI
zj0EAwIDSAAwRQIhAOQ6cjxRQVODI4RN6b7IsHkxVkrCmm10LN9Pb9elW0dcAiAl
azBzOCvZyDIMZxTlGnMLZfAdD0xHpM8gi3u0XzS8+A==
-----END CERTIFICATE-----
"""
