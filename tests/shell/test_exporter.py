"""Spans on their way to a collector: a real receiver, decoded by the official classes."""

import asyncio
import importlib.util
import logging
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from sidecar.telemetry.telemetry import TraceContext
from sidecar.telemetry.trace import DROPPED, PASSED
from tests.support.otlp_receiver import OtlpReceiver, Reply, attributes, partial_success
from tests.support.spans import answer, attempt, request
from tests.support.telemetry import counted, record, running, until

EXPORTED, LOST = "sidecar_spans_exported_total", "sidecar_spans_dropped_total"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def environ(receiver: OtlpReceiver, **more: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "10"} | more


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_a_request_delivers_one_server_span_and_one_client_span_for_each_attempt_chained_by_their_ids() -> None:
    async with OtlpReceiver() as receiver, running(environ(receiver, OTEL_SERVICE_NAME="shop")) as telemetry:
        asked = request(headers=(("traceparent", TRACEPARENT), ("tracestate", "a=1")))
        tried = (attempt(0, None, "connect_failed", span_id=0), attempt(1, 200, span_id=0))
        sent = record(telemetry, asked, attempts=tried)
        server, first, second = await receiver.wait_for(3)
        assert server.trace_id == first.trace_id == second.trace_id == TRACEPARENT[3:35]
        assert server.parent_id == TRACEPARENT[36:52]
        assert first.parent_id == second.parent_id == server.span_id
        assert [fields["traceparent"][36:52] for fields in sent if fields] == [first.span_id, second.span_id]
        assert [fields["tracestate"] for fields in sent if fields] == ["a=1", "a=1"]
        assert (first.attributes["error.type"], second.attributes["http.request.resend_count"]) == ("connect_failed", 1)
        assert server.span.status.code == 0
        assert attributes(server.resource.attributes)["service.name"] == "shop"
        assert (server.scope.name, server.scope.version) == ("sidecar", "1.2")
        assert server.span.trace_state == "a=1"


async def test_an_attempt_that_sent_nothing_has_a_span_with_an_id() -> None:
    async with OtlpReceiver() as receiver, running(environ(receiver)) as telemetry:
        asked = request()
        asked.trace = telemetry.begin(asked, "continue")
        asked.attempts = [attempt(status=None, error_type="no_healthy_endpoint", span_id=0)]
        telemetry.end(asked, answer(503))
        spans = await receiver.wait_for(2)
        assert int(spans[1].span_id, 16)


async def test_unsampled_requests_deliver_nothing_and_are_counted() -> None:
    async with OtlpReceiver() as receiver, running(environ(receiver, OTEL_TRACES_SAMPLER="always_off")) as telemetry:
        record(telemetry)
        assert (
            counted(
                telemetry,
                "http_client_request_duration_seconds_count",
                cluster="orders",
                method="GET",
                status_class="2xx",
                error_type="",
            )
            == 1
        )
    assert not receiver.requests


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"])
async def test_bodies_are_gzipped_where_asked(variable: str) -> None:
    async with OtlpReceiver() as receiver, running(environ(receiver, **{variable: "gzip"})) as telemetry:
        record(telemetry)
        await receiver.wait_for(2)
        assert receiver.requests[0].headers["Content-Encoding"] == "gzip"


async def test_headers_say_what_comes_and_what_the_operator_added() -> None:
    async with (
        OtlpReceiver() as receiver,
        running(environ(receiver, OTEL_EXPORTER_OTLP_HEADERS="x-tenant=a%20b")) as telemetry,
    ):
        record(telemetry)
        await receiver.wait_for(2)
        headers = receiver.requests[0].headers
        assert headers["Content-Type"] == "application/x-protobuf"
        assert headers["X-Tenant"] == "a b"
        assert "traceparent" not in headers
        assert "Content-Encoding" not in headers


async def test_the_endpoint_for_traces_is_used_as_it_is() -> None:
    async with OtlpReceiver("/custom") as receiver:
        variables = {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": receiver.endpoint + "/custom",
            "OTEL_BSP_SCHEDULE_DELAY": "0",
        }
        async with running(variables) as telemetry:
            record(telemetry)
            await receiver.wait_for(2)


async def test_a_full_batch_goes_without_waiting_for_the_delay() -> None:
    variables = {"OTEL_BSP_SCHEDULE_DELAY": "3600000", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"}
    async with OtlpReceiver() as receiver, running(environ(receiver, **variables)) as telemetry:
        for _ in range(4):
            record(telemetry)
        await receiver.wait_for(8)
        assert len(receiver.requests) == 2
        record(telemetry)
    assert len(receiver.spans) == 10


async def test_a_batch_of_a_mebibyte_goes_without_waiting_for_the_delay() -> None:
    async with OtlpReceiver() as receiver, running(environ(receiver, OTEL_BSP_SCHEDULE_DELAY="3600000")) as telemetry:
        for _ in range(80):
            record(telemetry, request(target=b"/" + b"x" * 8000))
        await receiver.wait_for(120)
        assert len(receiver.spans) < 160
    assert len(receiver.spans) == 160


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_answers_that_ask_for_it_are_tried_again_after_the_time_they_name(status: int) -> None:
    async with OtlpReceiver() as receiver, running(environ(receiver)) as telemetry:
        receiver.replies.append(Reply(status, {"Retry-After": "0"}))
        record(telemetry)
        await receiver.wait_for(2)
        assert len(receiver.requests) == 2
    assert counted(telemetry, EXPORTED) == 2


@pytest.mark.parametrize("status", [400, 404, 413, 500, 501, 307])
async def test_other_answers_are_not_tried_again_and_counted(status: int) -> None:
    async with OtlpReceiver() as receiver, running(environ(receiver)) as telemetry:
        receiver.replies.append(Reply(status, {"Location": "/elsewhere"}))
        record(telemetry)
        await receiver.wait_for_requests(1)
        record(telemetry, request("PUT"))
        spans = await receiver.wait_for(2)
        assert spans[0].attributes["http.request.method"] == "PUT"
        assert len(receiver.requests) == 2
        assert counted(telemetry, LOST, reason="refused") == 2
    assert counted(telemetry, EXPORTED) == 2


async def test_a_collector_that_keeps_failing_loses_the_batch_after_six_tries() -> None:
    async with OtlpReceiver() as receiver, running(environ(receiver)) as telemetry:
        receiver.replies.extend([Reply(503, {"Retry-After": "0"})] * 6)
        record(telemetry)
        await receiver.wait_for_requests(6)
        record(telemetry)
        await receiver.wait_for(2)
        assert counted(telemetry, LOST, reason="unavailable") == 2


async def test_a_batch_is_given_up_when_the_time_of_an_export_is_over() -> None:
    async with OtlpReceiver() as receiver, running(environ(receiver, OTEL_BSP_EXPORT_TIMEOUT="100")) as telemetry:
        receiver.replies.append(Reply(503))
        record(telemetry)
        await receiver.wait_for_requests(1)
        record(telemetry, request("PUT"))
        spans = await receiver.wait_for(2)
        assert spans[0].attributes["http.request.method"] == "PUT"
        assert counted(telemetry, LOST, reason="unavailable") == 2


async def test_rejected_spans_are_counted_logged_once_and_not_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    async with OtlpReceiver() as receiver, running(environ(receiver)) as telemetry:
        receiver.replies.extend([Reply(body=partial_success(1, "no\x1b[31m"))] * 2)
        for round_ in (1, 2, 3):
            record(telemetry)
            await receiver.wait_for(2 * round_)
    assert len(receiver.requests) == 3
    assert (counted(telemetry, EXPORTED), counted(telemetry, LOST, reason="rejected")) == (4, 2)
    [line] = [entry.getMessage() for entry in caplog.records if "rejected" in entry.getMessage()]
    assert "no\\x1b" in line


async def test_a_long_answer_is_not_read_to_its_end() -> None:
    async with OtlpReceiver() as receiver, running(environ(receiver)) as telemetry:
        receiver.replies.append(Reply(body=bytes(300_000)))
        record(telemetry)
        await receiver.wait_for(2)
        record(telemetry)
        await receiver.wait_for(4)
    assert counted(telemetry, EXPORTED) == 4


async def test_an_outage_is_one_line_its_end_another_and_no_span_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    receiver = OtlpReceiver()
    receiver.port = free_port()
    async with running(environ(receiver)) as telemetry:
        record(telemetry)
        await until(lambda: bool(caplog.records))
        async with receiver:
            record(telemetry)
            await receiver.wait_for(4)
        lines = [
            (entry.levelname, entry.getMessage().split("(")[0])
            for entry in caplog.records
            if entry.name == "sidecar.telemetry"
        ]
        host = f"127.0.0.1:{receiver.port}"
        assert lines == [
            ("WARNING", f"the collector at {host} does not take spans "),
            ("INFO", f"the collector at {host} takes spans again"),
        ]


async def test_a_collector_that_does_not_answer_in_time_is_tried_again() -> None:
    async with OtlpReceiver() as receiver, running(environ(receiver, OTEL_EXPORTER_OTLP_TIMEOUT="50")) as telemetry:
        receiver.open.clear()
        record(telemetry)
        await receiver.wait_for_requests(2)
        receiver.open.set()


async def test_a_slow_collector_fills_the_queue_and_no_more() -> None:
    variables = {"OTEL_BSP_MAX_QUEUE_SIZE": "6", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2"}
    async with OtlpReceiver() as receiver, running(environ(receiver, **variables)) as telemetry:
        receiver.open.clear()
        record(telemetry)
        await receiver.wait_for_requests(1)
        for _ in range(10):
            record(telemetry)
        assert counted(telemetry, LOST, reason="queue_full") == 16
        receiver.open.set()
        await receiver.wait_for(6)
    assert counted(telemetry, EXPORTED) == 6


async def test_the_queue_is_bounded_in_bytes() -> None:
    async with (
        OtlpReceiver() as receiver,
        running(
            environ(receiver, OTEL_BSP_MAX_QUEUE_SIZE="1000000", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="1000000")
        ) as telemetry,
    ):
        receiver.open.clear()
        for _ in range(700):
            record(telemetry, request(target=b"/" + b"x" * 8000))
        dropped = counted(telemetry, LOST, reason="queue_full")
        assert 1400 - (8 << 20) / 8000 < dropped < 1400 - (7 << 20) / 9000
        receiver.open.set()


async def test_closing_delivers_what_is_queued_also_without_a_running_loop() -> None:
    async with OtlpReceiver() as receiver, running(environ(receiver, OTEL_BSP_SCHEDULE_DELAY="3600000")) as telemetry:
        for _ in range(300):
            record(telemetry)
    assert len(receiver.spans) == 600
    assert len(receiver.requests) == 2


async def test_a_post_on_its_way_at_the_end_is_waited_for_and_not_repeated() -> None:
    async with OtlpReceiver() as receiver:
        async with running(environ(receiver)) as telemetry:
            receiver.open.clear()
            record(telemetry)
            await receiver.wait_for_requests(1)
            asyncio.get_running_loop().call_later(0.05, receiver.open.set)
        assert (len(receiver.requests), len(receiver.spans)) == (1, 2)
        assert counted(telemetry, LOST, reason="shutdown") == 0


async def test_closing_waits_no_longer_than_it_may_and_counts_what_is_lost() -> None:
    async with OtlpReceiver() as receiver:
        receiver.open.clear()
        async with running(environ(receiver), within=0.1) as telemetry:
            record(telemetry)
            await receiver.wait_for_requests(1)
            before = time.monotonic()
        assert time.monotonic() - before < 1
        assert counted(telemetry, LOST, reason="shutdown") == 2


async def test_closing_gives_up_at_once_where_nobody_listens() -> None:
    async with running({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}) as telemetry:
        record(telemetry)
        before = time.monotonic()
    assert time.monotonic() - before < 1
    assert counted(telemetry, LOST, reason="shutdown") == 2


async def test_closing_ends_a_wait_for_the_next_try() -> None:
    async with OtlpReceiver() as receiver:
        async with running(environ(receiver)) as telemetry:
            receiver.replies.append(Reply(503, {"Retry-After": "60"}))
            record(telemetry)
            await receiver.wait_for_requests(1)
            before = time.monotonic()
        assert time.monotonic() - before < 1
        assert len(receiver.spans) == 2


def certificate(folder: Path) -> tuple[str, str]:
    """A key and a certificate for 127.0.0.1 that is its own authority."""
    key, certificate = str(folder / "key.pem"), str(folder / "cert.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    extension = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([*command.split(), *extension], check=True, capture_output=True)
    return key, certificate


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
async def test_a_collector_is_reached_over_tls_with_the_authority_and_the_certificate_named(tmp_path: Path) -> None:
    key, chain = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=chain)
    context.load_cert_chain(chain, key)
    context.verify_mode = ssl.CERT_REQUIRED
    variables = {
        "OTEL_EXPORTER_OTLP_CERTIFICATE": chain,
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": key,
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": chain,
    }
    async with OtlpReceiver(tls=context) as receiver, running(environ(receiver, **variables)) as telemetry:
        record(telemetry)
        await receiver.wait_for(2)


# --- what is on and what is off --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
    ],
)
async def test_with_tracing_off_contexts_pass_untouched_or_not_at_all_and_metrics_count(
    variables: dict[str, str],
) -> None:
    async with running(variables) as telemetry:
        assert not telemetry.tracing
        assert telemetry.control_trace_configs() == []
        asked = request(headers=(("traceparent", TRACEPARENT),))
        assert telemetry.begin(asked, "continue") is PASSED
        assert telemetry.begin(asked, "restart") is telemetry.begin(asked, "ignore") is DROPPED
        assert PASSED.inject(attempt()) is None
        assert DROPPED.inject(attempt()) == []
        record(telemetry)
        labels = {"listener": "outbound", "route": "", "cluster": "orders", "method": "GET", "status_class": "2xx"}
        assert counted(telemetry, "http_server_request_duration_seconds_count", **labels) == 1


async def test_an_exporter_named_without_an_endpoint_uses_the_default_one() -> None:
    async with running({"OTEL_TRACES_EXPORTER": "otlp"}) as telemetry:
        assert telemetry.tracing


async def test_contexts_are_restarted_with_a_link_or_ignored_as_the_listener_says() -> None:
    async with OtlpReceiver() as receiver, running(environ(receiver)) as telemetry:
        words: tuple[TraceContext, ...] = ("restart", "ignore")
        for trace_context in words:
            asked = request(headers=(("traceparent", TRACEPARENT), ("tracestate", "a=1")))
            [sent] = record(telemetry, asked, trace_context=trace_context)
            assert sent is not None
            assert list(sent) == ["traceparent"]
            assert TRACEPARENT[3:35] not in sent["traceparent"]
        restarted, _, ignored, _ = await receiver.wait_for(4)
        assert (restarted.parent_id, ignored.parent_id) == ("", "")
        [link] = restarted.span.links
        assert (link.trace_id.hex(), link.span_id.hex(), link.trace_state) == (
            TRACEPARENT[3:35],
            TRACEPARENT[36:52],
            "a=1",
        )
        assert not ignored.span.links


async def test_unknown_words_are_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    variables = {"OTEL_PROPAGATORS": "tracecontext,jaeger", "OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}
    async with OtlpReceiver() as receiver, running(environ(receiver, **variables)):
        assert [entry.getMessage().split(":")[0] for entry in caplog.records] == [
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_PROPAGATORS",
        ]


async def test_the_sidecars_own_calls_are_traced_with_stable_names_and_no_query() -> None:
    async def serve(asked: web.BaseRequest) -> web.Response:
        seen.append(asked.headers.get("traceparent", ""))
        return web.Response(status=503)

    seen: list[str] = []
    runner = web.ServerRunner(web.Server(serve))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/apis"
    async with OtlpReceiver() as receiver, running(environ(receiver)) as telemetry:
        async with aiohttp.ClientSession(trace_configs=telemetry.control_trace_configs()) as session:
            await (await session.get(url + "?token=secret")).read()
        [call] = await receiver.wait_for(1)
        assert (
            call.attributes.items()
            >= {"http.request.method": "GET", "url.full": url, "http.response.status_code": 503}.items()
        )
        assert "secret" not in str(call.span)
        assert (call.span.kind, call.span.status.code, call.parent_id) == (3, 2, "")
        assert seen == [f"00-{call.trace_id}-{call.span_id}-{call.span.flags & 0xFF:02x}"]
        assert len(receiver.requests) == 1
    await runner.cleanup()


async def test_own_calls_that_are_not_sampled_deliver_nothing() -> None:
    async with OtlpReceiver() as receiver, running(environ(receiver, OTEL_TRACES_SAMPLER="always_off")) as telemetry:
        session = aiohttp.ClientSession(trace_configs=telemetry.control_trace_configs())
        async with session, session.get(receiver.endpoint) as response:
            assert response.status == 404
    assert not receiver.requests


@pytest.mark.skipif(importlib.util.find_spec("opentelemetry.propagators.jaeger") is not None, reason="it is installed")
def test_own_calls_are_not_traced_where_a_propagator_is_not_installed() -> None:
    code = """
from sidecar.telemetry.telemetry import build
environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
print(build(environ, access_log=None, version="1").control_trace_configs())
"""
    environment = os.environ | {"OTEL_PROPAGATORS": "jaeger"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "[]\n"
    assert "the sidecar's own calls are not traced" in done.stderr
