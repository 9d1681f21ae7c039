"""The `sidecar` command as its users run it."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.support.otlp_receiver import OtlpReceiver
from tests.support.process import run, sidecar

REQUESTS = 20


class Upstream:
    """A real server that remembers the trace contexts it saw."""

    def __init__(self) -> None:
        self.traceparents: list[str] = []
        self.port = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.traceparents.append(request.headers.get("traceparent", ""))
        return web.Response(text=f"{self.port} {request.path_qs}")


@pytest.fixture
async def upstreams() -> AsyncIterator[list[Upstream]]:
    """Two of them."""
    runners = []
    servers = [Upstream(), Upstream()]
    for each in servers:
        runner = web.ServerRunner(web.Server(each.answer))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        each.port = runner.addresses[0][1]
        runners.append(runner)
    yield servers
    for runner in runners:
        await runner.cleanup()


def to(upstreams: list[Upstream]) -> list[str]:
    return [word for each in upstreams for word in ("--to", f"127.0.0.1:{each.port}")]


async def test_proxy_forwards_without_a_configuration_and_uses_every_upstream(upstreams: list[Upstream]) -> None:
    async with (
        sidecar("proxy", "--from", "127.0.0.1:0", *to(upstreams)) as proxy,
        aiohttp.ClientSession() as client,
    ):
        seen = set()
        for number in range(REQUESTS):
            async with client.get(f"{proxy.url}/a?n={number}") as response:
                text = await response.text()
                assert text.endswith(f"/a?n={number}")
                seen.add(text.split()[0])
        assert seen == {str(each.port) for each in upstreams}


async def test_each_request_delivers_one_server_and_one_client_span_chained_to_what_the_upstream_saw(
    upstreams: list[Upstream],
) -> None:
    async with OtlpReceiver() as receiver:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        async with (
            sidecar("proxy", "--from", "127.0.0.1:0", *to(upstreams), environ=environ) as proxy,
            aiohttp.ClientSession() as client,
        ):
            for _ in range(REQUESTS):
                async with client.get(proxy.url) as response:
                    assert response.status == 200
            await receiver.wait_for(2 * REQUESTS)
        servers = {each.span_id: each for each in receiver.spans if each.span.kind == each.span.SPAN_KIND_SERVER}
        clients = [each for each in receiver.spans if each.span.kind == each.span.SPAN_KIND_CLIENT]
        assert len(servers) == len(clients) == REQUESTS
        assert len(receiver.spans) == 2 * REQUESTS
        for each in clients:
            assert servers[each.parent_id].trace_id == each.trace_id
        sent = {f"00-{each.trace_id}-{each.span_id}" for each in clients}
        assert sent == {text.rpartition("-")[0] for upstream in upstreams for text in upstream.traceparents}
        assert all(
            attribute.value.string_value == "shop"
            for each in clients
            for attribute in each.resource.attributes
            if attribute.key == "service.name"
        )


async def test_sigterm_lets_a_running_request_finish_and_exits_with_0() -> None:
    arrived, release = asyncio.Event(), asyncio.Event()

    async def slow(_: web.BaseRequest) -> web.StreamResponse:
        arrived.set()
        await release.wait()
        return web.Response(text="whole")

    runner = web.ServerRunner(web.Server(slow))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    upstream = f"127.0.0.1:{runner.addresses[0][1]}"
    async with (
        sidecar("proxy", "--from", "127.0.0.1:0", "--to", upstream) as proxy,
        aiohttp.ClientSession() as client,
        asyncio.TaskGroup() as tasks,
    ):
        answer = tasks.create_task(_text(client, proxy.url))
        await arrived.wait()
        end = tasks.create_task(proxy.terminate())
        await _refused(proxy.address)
        release.set()
        assert await answer == "whole"
        assert await end == 0
    await runner.cleanup()


async def test_an_idle_sidecar_ends_within_a_second_of_sigterm(upstreams: list[Upstream]) -> None:
    async with sidecar("proxy", "--from", "127.0.0.1:0", *to(upstreams)) as proxy, aiohttp.ClientSession() as client:
        await _text(client, proxy.url)  # leaves a keep-alive connection on both sides
        begun = time.monotonic()
        assert await proxy.terminate() == 0
        assert time.monotonic() - begun < 1


async def test_a_port_in_use_is_one_clear_line_and_exit_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = await run("proxy", "--from", f"127.0.0.1:{port}", "--to", "127.0.0.1:9")
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("proxy", "--from", "127.0.0.1:0", "--to", "ftp://x"), "ftp://x"),
        (("proxy", "--from", "nonsense", "--to", "127.0.0.1:1"), "nonsense"),
        (("proxy", "--from", "127.0.0.1:0"), "--to"),
        (("run", "--config", "no-such-file.yaml"), "no-such-file.yaml"),
        (("check", "--config", "no-such-file.yaml"), "no-such-file.yaml"),
        (("fly",), "fly"),
    ],
)
async def test_bad_usage_is_one_line_that_names_the_word_and_exit_2(words: tuple[str, ...], part: str) -> None:
    code, _, err = await run(*words)
    assert code == 2
    assert part in err
    assert "Traceback" not in err


def config_text(upstream: Upstream, body: str = "") -> str:
    return f"""
listeners:
  - name: in
    address: 127.0.0.1:0
    routes: [{{rules: [{{backendRefs: [{{name: app}}]{body}}}]}}]
clusters: [{{name: app, static: {{endpoints: ["127.0.0.1:{upstream.port}"]}}}}]
admin: {{address: null}}
"""


async def test_sighup_and_a_changed_file_reload_and_a_broken_one_is_refused_with_its_field(
    upstreams: list[Upstream], tmp_path: Path
) -> None:
    file = tmp_path / "sidecar.yaml"
    file.write_text(config_text(upstreams[0]))
    async with sidecar("run", "--config", str(file)) as proxy, aiohttp.ClientSession() as client:
        assert (await _text(client, proxy.url)).startswith(str(upstreams[0].port))
        file.write_text(config_text(upstreams[1]))
        await proxy.line("reloaded")
        assert (await _text(client, proxy.url)).startswith(str(upstreams[1].port))
        file.write_text(config_text(upstreams[0], ", timout: 3s"))
        assert "$.listeners[0].routes[0].rules[0]" in await proxy.line("timout")
        assert (await _text(client, proxy.url)).startswith(str(upstreams[1].port))
        file.write_text(config_text(upstreams[0]))
        proxy.process.send_signal(signal.SIGHUP)
        await proxy.line("reloaded")
        assert (await _text(client, proxy.url)).startswith(str(upstreams[0].port))


async def _text(client: aiohttp.ClientSession, url: str) -> str:
    async with client.get(url) as response:
        return await response.text()


async def _refused(address: str) -> None:
    """Wait until nothing accepts there any more."""
    host, port = address.split(":")
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except ConnectionRefusedError:
                return
            except ConnectionResetError:  # it waited in the queue of a socket that is being closed
                continue
            writer.close()
            await asyncio.sleep(0)
