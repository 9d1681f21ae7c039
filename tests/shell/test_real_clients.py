"""Differential: what real clients get from real servers through the sidecar is what they get without it.

The documented differences: `Via`, `X-Forwarded-*`, hop-by-hop fields, the framing field's place, `Date`'s value.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from tests.support import real
from tests.support.proxy import ENGINE, reverse, running_proxy
from tests.support.real import Answer, Ask, Case

pytestmark = pytest.mark.usefixtures("each_engine")

OURS = {"via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "te"}
HOST = ["Host", "shop.example"]


def case(method: str, path: str, *headers: list[str], body: str = "", chunked: bool = False) -> Case:
    return {"method": method, "path": path, "headers": [HOST, *headers], "body": body, "chunked": chunked}


CASES = [
    case(
        "GET", "/a%2Fb/%7Ec?x=1&y=%20+&z", ["X-CaSe", "MiXed"], ["Cookie", "a=1; b=2"], ["Authorization", "Basic eDp5"]
    ),
    case(
        "GET",
        "/echo",
        ["X-Long", "v" * 4000],
        ["Accept", "*/*"],
        ["If-None-Match", '"x", W/"y"'],
        ["Range", "bytes=0-1,4-5"],
    ),
    case("POST", "/echo", ["Content-Type", "text/plain"], body="hello world"),
    case("POST", "/echo", ["Content-Type", "text/plain"], body="in pieces " * 50, chunked=True),
    case("PUT", "/echo", ["Content-Type", "text/plain"], body="0123456789" * 30_000),
    case("DELETE", "/echo", ["Content-Type", "text/plain"], body="with a body"),
    case("PATCH", "/echo", ["Content-Type", "text/plain"], body="x"),
    case("OPTIONS", "/echo"),
    case("PROPFIND", "/echo", ["Depth", "1"]),
    case("HEAD", "/big"),
    case("GET", "/big"),
    case("GET", "/chunked"),
    case("GET", "/empty"),
    case("GET", "/missing"),
    case("GET", "/echo", ["Connection", "close"]),
]
CLIENTS: dict[str, Ask] = {
    "curl": real.ask_curl,
    "requests": real.ask_requests,
    "httpx": real.ask_httpx,
    "node": real.ask_node,
    "go": real.ask_go,
}
PAIRS = [("native", "node"), ("native", "go"), ("native", "uvicorn"), ("aiohttp", "node")]


@asynccontextmanager
async def origin(name: str) -> AsyncIterator[str]:
    """The address of an echoing server."""
    if name == "node":
        command: tuple[str, ...] = (real.tool("node"), str(real.HERE / "node" / "origin.mjs"))
    elif name == "go":
        command = (await real.go_program(), "serve")
    else:
        command = real.python("tests.support.asgi")
    async with real.serving(*command) as address:
        yield address


def comparable(answer: Answer) -> Answer:
    """Without the documented differences."""
    headers = [(name, "" if name.lower() == "date" else value) for name, value in answer["headers"]]
    plain = {**answer, "headers": [pair for pair in headers if pair[0].lower() not in HOP]}
    if answer["body"].startswith("{"):
        echoed = json.loads(answer["body"])
        echoed["headers"] = [pair for pair in echoed["headers"] if pair[0].lower() not in HOP | OURS]
        plain["body"] = echoed
    return plain


@pytest.mark.parametrize(("each_engine", "server"), PAIRS, indirect=["each_engine"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_client_and_server_understand_each_other_as_without_the_sidecar(client: str, server: str) -> None:
    ask = CLIENTS[client]
    async with origin(server) as address, running_proxy(reverse(address)) as proxy:
        straight = await ask(f"http://{address}", CASES)
        through = await ask(f"http://{proxy.address}", CASES)
    for asked, one, two in zip(CASES, straight, through, strict=True):
        assert comparable(two) == comparable(one), (asked["method"], asked["path"])
        assert _framed(two) == _framed(one), (asked["method"], asked["path"])
    assert [answer["status"] for answer in through].count(200) == 13


def _framed(answer: Answer) -> list[tuple[str, str]]:
    """How the message's end was marked."""
    found = [(name.lower(), value) for name, value in answer["headers"]]
    lengths = {"content-length", "transfer-encoding"}
    own = answer["body"].startswith("{")  # the echo's length tells of our own fields in it
    return [(name, "" if own else value) for name, value in found if name in lengths]


async def test_documented_differences_are_there() -> None:
    async with origin("uvicorn") as address, running_proxy(reverse(address)) as proxy:
        (answer,) = await real.ask_httpx(
            f"http://{proxy.address}", [case("GET", "/echo", ["X-Forwarded-For", "1.2.3.4"])]
        )
    echoed = dict(json.loads(answer["body"])["headers"])
    assert echoed["via"].startswith("1.1 in.")
    assert echoed["x-forwarded-for"] == "1.2.3.4, 127.0.0.1"
    assert (echoed["x-forwarded-proto"], echoed["x-forwarded-host"]) == ("http", "shop.example")
    assert not OURS & {name.lower() for name, _ in answer["headers"]}


@pytest.mark.parametrize("client", ["node", "go"])
async def test_trailers_reach_real_clients(client: str) -> None:
    async with origin("go") as address, running_proxy(reverse(address)) as proxy:
        (answer,) = await CLIENTS[client](f"http://{proxy.address}", [case("GET", "/chunked", ["TE", "trailers"])])
    assert [[name.lower(), value] for name, value in answer["trailers"]] == [["x-sum", "30"]]


@pytest.mark.parametrize("client", ["curl", "go"])
async def test_real_clients_wait_for_100_continue_and_get_it(client: str) -> None:
    asked = case("POST", "/echo", ["Expect", "100-continue"], ["Content-Type", "text/plain"], body="x" * 2_000_000)
    async with origin("node") as address, running_proxy(reverse(address)) as proxy:
        (answer,) = await CLIENTS[client](f"http://{proxy.address}", [asked])
    assert json.loads(answer["body"])["body"] == asked["body"]


async def test_early_hints_of_node_reach_curl() -> None:
    async with origin("node") as address, running_proxy(reverse(address)) as proxy:
        curl = real.tool("curl")
        process = await asyncio.create_subprocess_exec(
            curl, "--silent", "--include", f"http://{proxy.address}/early", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
    assert out.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert out.endswith(b"hinted")


async def test_method_that_nobody_knows_passes() -> None:
    if ENGINE.name == "aiohttp":
        pytest.skip("the aiohttp engine knows the registered methods only")
    async with origin("go") as address, running_proxy(reverse(address)) as proxy:
        (answer,) = await real.ask_curl(f"http://{proxy.address}", [case("BREW", "/echo")])
    assert json.loads(answer["body"])["method"] == "BREW"


LONG_AGO = "Wed, 01 Jan 2020 00:00:00 GMT"
NGINX = [
    case("GET", "/file.txt"),
    case("HEAD", "/file.txt"),
    case("GET", "/file.txt", ["Range", "bytes=0-9"]),
    case("GET", "/file.txt", ["Range", "bytes=0-9,100-109,-5"]),
    case("GET", "/file.txt", ["Range", "bytes=99999999-"]),
    case("GET", "/file.txt", ["If-Modified-Since", LONG_AGO]),
    case("GET", "/file.txt", ["If-Match", '"nothing"']),
    case("GET", "/file.txt", ["If-Range", '"nothing"'], ["Range", "bytes=0-9"]),
    case("GET", "/none"),
    case("GET", "/folder"),
    case("POST", "/any?x=%00", body="hello"),
    case("DELETE", "/any"),
    case("POST", "/file.txt", body="hello"),
]


@pytest.mark.parametrize("client", ["curl", "httpx"])
async def test_nginx_answers_ranges_conditions_and_redirects_as_without_the_sidecar(
    client: str, tmp_path: Path
) -> None:
    www = tmp_path / "www"
    (www / "folder").mkdir(parents=True)
    (www / "file.txt").write_text("0123456789" * 5000)
    moment = parsedate_to_datetime(LONG_AGO).timestamp()
    os.utime(www / "file.txt", (moment, moment))
    async with (
        real.nginx(tmp_path) as address,
        running_proxy(reverse(address)) as proxy,
        _relay(address) as straight_to,
    ):
        straight = await CLIENTS[client](f"http://{straight_to}", NGINX)
        through = await CLIENTS[client](f"http://{proxy.address}", NGINX)
    for asked, one, two in zip(NGINX, straight, through, strict=True):
        assert _without_boundary(two) == _without_boundary(one), asked
    assert {answer["status"] for answer in through} == {200, 206, 301, 304, 404, 405, 412, 416}


def _without_boundary(answer: Answer) -> Answer:
    """A new boundary is made up for each multipart response."""
    mark = next(
        (value.partition("boundary=")[2] for name, value in answer["headers"] if name.lower() == "content-type"), ""
    )
    text = json.dumps(comparable(answer))
    return dict(json.loads(text.replace(mark, "boundary") if mark else text))


@asynccontextmanager
async def _relay(unix: str) -> AsyncIterator[str]:
    """TCP in front of a Unix socket, byte for byte: the way to nginx without the sidecar."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(unix.removeprefix("unix:"))
        await asyncio.gather(carry(reader, up_writer), carry(up_reader, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    try:
        yield "{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()


async def test_websockets_talk_through_the_sidecar_as_without_it() -> None:
    async def answer(socket: ServerConnection) -> None:
        assert socket.request is not None
        await socket.send(socket.request.path)
        async for message in socket:
            await socket.send(message)
            if message == "bye":
                await socket.close(4001, "as asked")
                return

    async with serve(answer, "127.0.0.1", 0, subprotocols=[websockets.Subprotocol("chat")], max_size=None) as server:
        host, port = next(iter(server.sockets)).getsockname()
        async with running_proxy(reverse(f"{host}:{port}")) as proxy:
            async with connect(
                f"ws://{proxy.address}/a%20b?c=d",
                subprotocols=[websockets.Subprotocol("chat")],
                max_size=None,
                proxy=None,
            ) as socket:
                assert socket.subprotocol == "chat"
                assert await socket.recv() == "/a%20b?c=d"
                for message in ("text ü", b"\x00\xff" * 500_000, ""):
                    await socket.send(message)
                    assert await socket.recv() == message
                await (await socket.ping(b"here?"))
                await socket.send("bye")
                assert await socket.recv() == "bye"
                with pytest.raises(websockets.ConnectionClosedError):
                    await socket.recv()
                assert (socket.close_code, socket.close_reason) == (4001, "as asked")
