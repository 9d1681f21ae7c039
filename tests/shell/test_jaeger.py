"""A second, independent judge of our spans: a real Jaeger, read through its API.

`JAEGER` names the command that runs it as `JAEGER OTLP_HTTP_PORT QUERY_PORT`.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from tests.support.process import sidecar

pytestmark = pytest.mark.jaeger


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
async def jaeger() -> AsyncIterator[tuple[str, str]]:
    """Its OTLP endpoint and its query address."""
    command = os.environ.get("JAEGER")
    if not command:
        pytest.skip("JAEGER is not set: no Jaeger to read traces back from")
    otlp, query = free_port(), free_port()
    process = await asyncio.create_subprocess_exec(
        command, str(otlp), str(query), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{query}"
    try:
        async with aiohttp.ClientSession() as client, asyncio.timeout(30):
            while not await _answers(client, f"{url}/api/services"):
                assert process.returncode is None, "Jaeger ended"
                await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{otlp}", url
    finally:
        process.terminate()
        await process.wait()


async def test_jaeger_shows_the_retried_request_as_one_tree(jaeger: tuple[str, str]) -> None:
    otlp, query = jaeger

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="good")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    good, dead = runner.addresses[0][1], free_port()
    trace_id = os.urandom(16).hex()
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp, "OTEL_SERVICE_NAME": "shop", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    words = ("proxy", "--from", "127.0.0.1:0", "--to", f"127.0.0.1:{good}", "--to", f"127.0.0.1:{dead}")
    async with sidecar(*words, environ=environ) as proxy, aiohttp.ClientSession() as client:
        for number in range(30):  # until one began with the dead endpoint; an ejection ends that
            headers = {"traceparent": f"00-{trace_id}-{number + 1:016x}-01"}
            async with client.get(f"{proxy.url}/orders?secret=1", headers=headers) as response:
                assert response.status == 200
        async with asyncio.timeout(20):
            while len(trace := await _trace(client, query, trace_id)) < 61:
                await asyncio.sleep(0.2)
    await runner.cleanup()
    tags = [{tag["key"]: tag["value"] for tag in span["tags"]} for span in trace]
    servers = [each for each in tags if each["span.kind"] == "server"]
    resent = [each for each in tags if each.get("http.request.resend_count") == 1]
    assert len(servers) == 30
    assert all(each["url.path"] == "/orders" and "url.query" not in each for each in servers)
    assert resent
    assert all(each["network.peer.port"] == good for each in resent)
    assert {span["processID"] for span in trace} == {"p1"}


async def _answers(client: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with client.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def _trace(client: aiohttp.ClientSession, query: str, trace_id: str) -> list[dict[str, object]]:
    async with client.get(f"{query}/api/traces/{trace_id}") as response:
        found = (await response.json())["data"] if response.status == 200 else []
        return found[0]["spans"] if found else []
