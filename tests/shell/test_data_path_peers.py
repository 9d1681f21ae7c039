"""Real counterparts on both sides of the data path: the `websockets` library, aiohttp's client, nginx."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.support.client import ask, client
from tests.support.origin import unused_address
from tests.support.proxy import eventually, reverse, running_proxy

pytestmark = pytest.mark.usefixtures("each_engine")

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
GET = b"GET %b HTTP/1.1\r\nHost: shop.example\r\n\r\n"


async def test_websocket_client_and_server_talk_through_the_proxy() -> None:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        async with running_proxy(reverse(f"127.0.0.1:{port}")) as proxy:
            async with connect(f"ws://{proxy.address}/chat?room=1", max_size=None) as one:
                for message in ("hello", b"\x00\xff" * 10, "ä€😀", b"x" * 3_000_000, ""):
                    await one.send(message)
                    assert await one.recv() == message
                pong = await one.ping()
                await pong
                assert proxy.inflight == 1
            await proxy.quiet()
            assert one.close_code == 1000


async def test_websocket_server_that_closes_is_seen_with_its_code_and_reason() -> None:
    async def leave(connection: ServerConnection) -> None:
        await connection.close(4001, "enough")

    async with serve(leave, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with running_proxy(reverse(f"127.0.0.1:{port}")) as proxy, connect(f"ws://{proxy.address}/") as one:
            with pytest.raises(ConnectionClosed):
                await one.recv()
            assert (one.close_code, one.close_reason) == (4001, "enough")


async def test_aiohttp_client_keeps_its_connection_through_gzip_redirects_and_cookies() -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/away":
            return web.Response(status=302, headers={"Location": "/home?a=1"})
        response = web.Response(text=f"{request.raw_path} {request.headers.get('Cookie')} " + "x" * 5000)
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        response.enable_compression()
        return response

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with running_proxy(reverse(f"127.0.0.1:{port}")) as proxy:
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
                for _ in range(3):
                    async with session.get(f"http://{proxy.address}/away") as response:
                        text = await response.text()
                        assert text.startswith("/home?a=1 ")
                        assert response.headers["Content-Encoding"] == "deflate"
                        assert set(response.cookies) == {"a", "b"}
                assert "a=1" in text
                async with session.post(f"http://{proxy.address}/p", data=b"x" * 100_000) as response:
                    assert response.status == 200
    finally:
        await runner.cleanup()


@asynccontextmanager
async def nginx(folder: Path) -> AsyncIterator[str]:
    """A real nginx with a few locations, on a free port."""
    address = unused_address()
    root = folder / "www"
    root.mkdir()
    (root / "small.txt").write_bytes(b"small\n")
    (root / "large.bin").write_bytes(bytes(range(256)) * 20_000)
    settings = folder / "nginx.conf"
    settings.write_text(f"""
daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
events {{}}
http {{
  access_log off; root {root}; keepalive_requests 20;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen {address};
    location /nothing {{ return 204; }}
    location /moved {{ return 301 /small.txt; }}
    location /echo {{ return 200 "$request_uri $http_x_a"; }}
    location /zip {{ gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any; alias {root}/large.bin; }}
  }}
}}
""")
    process = await asyncio.create_subprocess_exec(
        str(NGINX), "-p", str(folder), "-c", str(settings), stderr=asyncio.subprocess.PIPE
    )
    try:
        await eventually(lambda: process.returncode is not None or _listens(address), "nginx does not start")
        yield address
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


def _listens(address: str) -> bool:
    import socket  # noqa: PLC0415 - here only

    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
async def test_nginx_as_origin_is_spoken_to_correctly(tmp_path: Path) -> None:
    async with nginx(tmp_path) as address, running_proxy(reverse(address)) as proxy, client(proxy.address) as one:
        for _ in range(15):  # nginx closes after 20 requests: nobody notices
            assert (await one.ask(GET % b"/small.txt")).body == b"small\n"
            assert (await one.ask(GET % b"/nothing")).status == 204
            assert (await one.ask(GET % b"/moved")).status == 301
            assert (await one.ask(GET % b"/missing")).status == 404
        assert (await one.ask(GET % b"/echo/a%2Fb?x=%27&x=2")).body == b"/echo/a%2Fb?x=%27&x=2 "
        large = await one.ask(GET % b"/large.bin")
        assert hashlib.sha256(large.body).digest() == hashlib.sha256(bytes(range(256)) * 20_000).digest()
        head = await one.ask(b"HEAD /large.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        assert head.values(b"content-length") == [b"5120000"]
        request = b"GET /large.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=10-19\r\n\r\n"
        part = await one.ask(request)
        assert (part.status, part.body) == (206, bytes(range(10, 20)))
        etag = large.values(b"etag")[0]
        request = b"GET /large.bin HTTP/1.1\r\nHost: a\r\nIf-None-Match: %b\r\n\r\n" % etag
        assert (await one.ask(request)).status == 304
        zipped = await one.ask(b"GET /zip HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        assert zipped.values(b"transfer-encoding") == [b"chunked"]
        assert zipped.values(b"content-encoding") == [b"gzip"]
        assert zipped.body[:2] == b"\x1f\x8b"


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
async def test_nginx_that_goes_away_is_a_502(tmp_path: Path) -> None:
    async with nginx(tmp_path) as address:
        async with running_proxy(reverse(address)) as proxy:
            assert (await ask(proxy.address, GET % b"/small.txt")).status == 200
    async with running_proxy(reverse(address)) as proxy:
        assert (await ask(proxy.address, GET % b"/small.txt")).status == 502
