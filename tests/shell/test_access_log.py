"""The access log: real files, pipes and full disks."""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sidecar.config.model import AccessLog as Settings
from sidecar.errors import ConfigError
from sidecar.model import Answer
from sidecar.telemetry.access_log import AccessLog, failed
from sidecar.telemetry.telemetry import TraceContext, build
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.spans import answer, request
from tests.support.telemetry import record, running, until

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LOST = "sidecar_access_log_dropped_total"


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_a_line_has_the_fields_of_envoys_default_log(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with running({}, access_log=Settings(path=str(path))) as telemetry:
        asked = request(
            headers=(
                ("User-Agent", "curl/8"),
                ("X-Forwarded-For", "1.2.3.4"),
                ("X-Request-Id", "r-1"),
                ("traceparent", TRACEPARENT),
            )
        )
        asked.route = "items"
        told = answer(503, "connect_failed", "UF")
        told.details = "10.0.0.1:9000 refused"
        assert record(telemetry, asked, told) == [None]
    assert lines(path) == [
        {
            "start_time": "2023-11-14T22:13:20.000Z",
            "method": "GET",
            "path": "/items/7",
            "protocol": "HTTP/1.1",
            "response_code": 503,
            "response_flags": "UF",
            "response_code_details": "10.0.0.1:9000 refused",
            "bytes_received": 3,
            "bytes_sent": 12,
            "duration": 5,
            "upstream_host": "10.0.0.1:9000",
            "upstream_cluster": "orders",
            "attempts": 1,
            "route_name": "items",
            "authority": "orders.shop:8080",
            "user_agent": "curl/8",
            "x_forwarded_for": "1.2.3.4",
            "request_id": "r-1",
            "trace_id": TRACEPARENT[3:35],
            "span_id": None,
            "downstream_remote_address": "127.0.0.1:40000",
        }
    ]


async def test_a_traced_request_is_logged_with_the_ids_of_its_span(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with OtlpReceiver() as receiver:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "1"}
        async with running(environ, access_log=Settings(path=str(path))) as telemetry:
            record(telemetry)
            server, _ = await receiver.wait_for(2)
    [entry] = lines(path)
    assert (entry["trace_id"], entry["span_id"]) == (server.trace_id, server.span_id)


@pytest.mark.parametrize("trace_context", ["restart", "ignore"])
async def test_an_untrusted_context_is_neither_logged_nor_passed_on(
    trace_context: TraceContext, tmp_path: Path
) -> None:
    path = tmp_path / "access.log"
    async with running({}, access_log=Settings(path=str(path))) as telemetry:
        assert record(telemetry, request(headers=(("traceparent", TRACEPARENT),)), trace_context=trace_context) == [{}]
    assert lines(path)[0]["trace_id"] is None


async def test_what_never_reached_an_upstream_is_logged_too(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with running({}, access_log=Settings(path=str(path))) as telemetry:
        record(telemetry, answered=answer(None, "cancelled", "DC", cancelled=True), attempts=())
    [entry] = lines(path)
    assert (entry["response_code"], entry["upstream_host"], entry["attempts"], entry["response_code_details"]) == (
        0,
        None,
        0,
        "cancelled",
    )


async def test_values_of_peers_are_escaped_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with running({}, access_log=Settings(path=str(path))) as telemetry:
        headers = (("User-Agent", "x\x1b[31m\xff\u0085"), ("X-Request-Id", "r" * 5000))
        record(telemetry, request(target=b"/" + b"a" * 5000, headers=headers))
    [raw] = path.read_text().splitlines()
    entry = json.loads(raw)
    assert entry["user_agent"] == "x\\x1b[31m\\xff\\x85"
    assert (len(entry["path"]), len(entry["request_id"])) == (1024, 1024)
    assert "\x1b" not in raw


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (answer(200), False),
        (answer(404), False),
        (answer(500), True),
        (answer(None), True),
        (answer(200, flag="UC"), True),
        (answer(404, "no_route"), True),
    ],
)
async def test_failures_are_always_written(told: Answer, expected: bool, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    assert failed(told) is expected
    async with running({}, access_log=Settings(path=str(path), success_percent=0)) as telemetry:
        record(telemetry, answered=told)
    assert len(lines(path)) == expected


async def test_successes_are_sampled(tmp_path: Path) -> None:
    log = AccessLog(Settings(path=str(tmp_path / "log"), success_percent=25), random.Random(1), lambda _: None)
    wanted = sum(log.wants(answer(200)) for _ in range(4000))
    assert 900 < wanted < 1100
    await log.aclose(5)


async def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with running({}, access_log=Settings(path=str(path))) as telemetry:
        record(telemetry)
        await until(lambda: path.stat().st_size > 0)
        path.rename(tmp_path / "access.log.1")
        record(telemetry)
        await until(path.exists)
        path.rename(tmp_path / "access.log.2")
        path.touch()
        record(telemetry)
    assert [len(lines(tmp_path / f"access.log{suffix}")) for suffix in (".1", ".2", "")] == [1, 1, 1]


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        build({}, access_log=Settings(path=str(tmp_path / "missing" / "log")), version="1")
    assert caught.value.path == "$.access_log.path"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
async def test_a_full_disk_costs_lines_and_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    lost: list[int] = []
    log = AccessLog(Settings(path="/dev/full"), random.Random(1), lost.append)
    log.write(b"one\n")
    await until(lambda: sum(lost) == 1)
    log.write(b"two\n")
    await log.aclose(5)
    assert sum(lost) == 2
    assert len(caplog.records) == 1


async def test_a_stalled_reader_costs_lines_and_neither_requests_nor_the_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    lost: list[int] = []
    log = AccessLog(Settings(path=str(path)), random.Random(1), lost.append)
    before = time.monotonic()
    for _ in range(20_000):
        log.write(b"x" * 99 + b"\n")
    assert time.monotonic() - before < 2
    assert sum(lost) > 0
    dropped = sum(lost)
    await log.aclose(0.05)
    assert sum(lost) > dropped
    os.close(reader)  # the thread gets EPIPE and ends
    await asyncio.to_thread(log._done.wait, 5)


def test_a_dash_is_standard_output() -> None:
    code = """
import asyncio
from sidecar.config.model import AccessLog
from tests.support.telemetry import record, running

async def main():
    async with running({}, access_log=AccessLog()) as telemetry:
        record(telemetry)
        record(telemetry)

asyncio.run(main())
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert [json.loads(line)["method"] for line in printed.splitlines()] == ["GET", "GET"]
