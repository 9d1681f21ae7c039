"""The admin pages over real sockets, read as a browser, a kubelet and `sidecar explain` read them."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from sidecar.admin.client import AdminError, explain
from sidecar.admin.pages import Pages, Question
from sidecar.admin.server import AdminServer
from sidecar.admin.view import Page, Phase
from sidecar.cli import main
from sidecar.config.model import Admin
from sidecar.errors import ConfigError, StartError
from tests.support.process import WITHIN, run, sidecar, start

ENDPOINTS = [
    {"address": "10.0.0.1:80", "state": "ready", "score_ms": 1.23456, "why": None},
    {"address": "10.0.0.2:80", "state": "ejected", "score_ms": 20.0, "why": "503\n"},
]


class Proxy:
    """A proxy in the phase that a test wants, with one cluster."""

    def __init__(self) -> None:
        self.phase: Phase = "active"
        self.reasons: list[str] = []
        self.drained = 0
        self.left = 0
        self.pages: list[Page] = [
            {"name": "orders", "source": "static", "endpoints": ENDPOINTS},
            {"name": "empty", "endpoints": []},
        ]

    def not_ready(self) -> list[str]:
        return self.reasons

    def metrics(self) -> bytes:
        return b"# TYPE up gauge\nup 1.0\n"

    def config(self) -> Page:
        return {"listeners": [{"name": "a"}]}

    def clusters(self) -> list[Page]:
        return self.pages

    def explain(self, method: str, url: str, headers: list[tuple[str, str]], listener: str | None) -> Page:
        if url == "nonsense":
            raise ValueError("expected a URL")
        return {
            "request": {"method": method, "url": url, "headers": [list(pair) for pair in headers]},
            "listener": listener,
            "taken": True,
            "filters": ["a", "b"],
            "candidates": [{"address": "10.0.0.1:80", "score": 1.5}],
            "backends": [{"name": "a", "cluster": {"policy": "RANDOM", "candidates": []}}, {"name": "b"}],
        }

    def purge(self, url: str) -> int | None:
        if not url:
            raise ValueError("expected a URL")
        return {"*": None}.get(url, 3)

    def leave(self) -> None:
        self.left += 1

    def drain(self) -> None:
        self.drained += 1


@pytest.fixture
def proxy() -> Proxy:
    return Proxy()


@pytest.fixture
async def server(proxy: Proxy) -> AsyncIterator[AdminServer]:
    async with AdminServer(proxy, Admin(address="127.0.0.1:0", probe_address="127.0.0.1:0")) as server:
        yield server


@pytest.fixture
async def session(server: AdminServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://{server.address}") as session:
        yield session


async def test_livez_is_ok_in_every_phase(session: aiohttp.ClientSession, proxy: Proxy) -> None:
    for phase in ("warming", "active", "draining"):
        proxy.phase = phase
        async with session.get("/livez") as response:
            assert (response.status, await response.text()) == (200, "ok\n")
            assert response.headers["Cache-Control"] == "no-store"
            assert "Access-Control-Allow-Origin" not in response.headers


async def test_readyz_is_ok_when_active_and_nothing_is_missing(session: aiohttp.ClientSession) -> None:
    async with session.get("/readyz") as response:
        assert (response.status, await response.text()) == (200, "ok\n")
    async with session.get("/readyz?verbose") as response:
        assert (response.status, await response.text()) == (200, "phase: active\nok\n")
    async with session.head("/readyz") as response:
        assert (response.status, await response.text()) == (200, "")


async def test_readyz_names_the_reasons_one_a_line(session: aiohttp.ClientSession, proxy: Proxy) -> None:
    proxy.phase = "warming"
    proxy.reasons = ["cluster orders: no list yet", "cluster billing: no list yet"]
    async with session.get("/readyz") as response:
        assert response.status == 503
        assert (await response.text()).splitlines() == proxy.reasons
    async with session.get("/readyz?verbose") as response:
        assert (await response.text()).splitlines()[-1] == "not ready"


async def test_a_draining_proxy_is_not_ready(session: aiohttp.ClientSession, proxy: Proxy) -> None:
    proxy.phase = "draining"
    async with session.get("/readyz") as response:
        assert (response.status, await response.text()) == (503, "the proxy is draining\n")


async def test_metrics_come_as_prometheus_text(session: aiohttp.ClientSession) -> None:
    async with session.get("/metrics") as response:
        assert await response.read() == b"# TYPE up gauge\nup 1.0\n"
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_config_comes_as_json(session: aiohttp.ClientSession) -> None:
    async with session.get("/config") as response:
        assert await response.json() == {"listeners": [{"name": "a"}]}


async def test_clusters_come_as_json_or_as_a_table(session: aiohttp.ClientSession) -> None:
    async with session.get("/clusters") as response:
        assert [cluster["name"] for cluster in await response.json()] == ["orders", "empty"]
    table = (
        "name: orders\n"
        "source: static\n"
        "endpoints:\n"
        "  ADDRESS      STATE    SCORE_MS  WHY\n"
        "  10.0.0.1:80  ready    1.235     -\n"
        "  10.0.0.2:80  ejected  20        503\\n\n"
        "\n"
        "name: empty\n"
        "endpoints: -\n"
    )
    async with session.get("/clusters?format=text") as response:
        assert await response.text() == table
    async with session.get("/clusters", headers={"Accept": "text/plain"}) as response:
        assert await response.text() == table
    async with session.get("/clusters?format=json", headers={"Accept": "text/plain"}) as response:
        assert response.content_type == "application/json"


async def test_no_clusters_are_a_dash_in_the_table(session: aiohttp.ClientSession, proxy: Proxy) -> None:
    proxy.pages = []
    async with session.get("/clusters?format=text") as response:
        assert await response.text() == "-\n"


async def test_explain_passes_the_whole_question_on(session: aiohttp.ClientSession) -> None:
    query = [
        ("url", "http://a/b?c=%2F"),
        ("method", "POST"),
        ("header", "a: 1"),
        ("header", "b:2:3"),
        ("listener", "in"),
    ]
    async with session.get("/explain", params=query) as response:
        answer = await response.json()
    assert answer["request"] == {"method": "POST", "url": "http://a/b?c=%2F", "headers": [["a", "1"], ["b", "2:3"]]}
    assert answer["listener"] == "in"


@pytest.mark.parametrize(
    ("query", "words"),
    [("", "expected /explain?url"), ("?url=/&header=x", "name:value"), ("?url=nonsense", "expected a URL")],
)
async def test_a_question_without_sense_is_a_400(session: aiohttp.ClientSession, query: str, words: str) -> None:
    async with session.get(f"/explain{query}") as response:
        assert response.status == 400
        assert words in await response.text()


async def test_drain_takes_post_only(session: aiohttp.ClientSession, proxy: Proxy) -> None:
    async with session.get("/drain") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
    assert proxy.drained == 0
    async with session.post("/drain") as response:
        assert response.status == 202
    assert proxy.drained == 1
    async with session.post("/livez") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET")


async def test_the_leave_command_tells_a_running_sidecar_that_its_pod_goes_away(
    server: AdminServer, proxy: Proxy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asyncio.to_thread(main, ["leave", "--admin", str(server.address)]) == 0
    assert (proxy.left, proxy.drained) == (1, 0)
    assert await asyncio.to_thread(main, ["leave", "--admin", str(server.probe_address)]) == 1
    assert "answered 404" in capsys.readouterr().err


async def test_a_web_page_in_a_browser_cannot_drain(
    session: aiohttp.ClientSession, proxy: Proxy, server: AdminServer
) -> None:
    for origin in ("http://evil.example", "null", "http://["):
        async with session.post("/drain", headers={"Origin": origin}) as response:
            assert response.status == 403
    assert proxy.drained == 0
    async with session.post("/drain", headers={"Origin": f"http://{server.address}"}) as response:
        assert response.status == 202


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:15020", 200),
        ("10.1.2.3:15020", 200),
        ("[::1]:15020", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.nip.io:15020", 403),
        ("x@localhost", 200),
        ("localhost/x", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
async def test_only_names_of_this_machine_are_answered(session: aiohttp.ClientSession, host: str, status: int) -> None:
    async with session.get("/config", headers={"Host": host}) as response:
        assert response.status == status


def test_the_configured_host_is_answered(proxy: Proxy) -> None:
    pages = Pages(proxy, hosts=frozenset({"box.example"}))
    for host, status in (("Box.example:15020", 200), ("x.box.example", 403), (None, 200)):
        assert pages.answer(Question(method="GET", path="/config", query={}, host=host)).status == status


async def test_an_unknown_page_lists_the_pages(session: aiohttp.ClientSession) -> None:
    for path, status in (("/", 200), ("/nope", 404)):
        async with session.get(path) as response:
            text = await response.text()
            assert response.status == status
            assert all(
                page in text for page in ("/livez", "/readyz", "/metrics", "/config", "/clusters", "/explain", "/drain")
            )


async def test_the_probe_address_serves_probes_and_metrics_only(server: AdminServer) -> None:
    async with aiohttp.ClientSession(f"http://{server.probe_address}") as session:
        for path, status in (
            ("/livez", 200),
            ("/readyz", 200),
            ("/metrics", 200),
            ("/config", 404),
            ("/clusters", 404),
            ("/explain", 404),
        ):
            async with session.get(path, headers={"Host": "app.shop.svc"}) as response:
                assert response.status == status
        async with session.post("/drain") as response:
            assert response.status == 404


async def test_no_address_means_no_socket(proxy: Proxy) -> None:
    async with AdminServer(proxy, Admin(address=None)) as server:
        assert (server.address, server.probe_address) == (None, None)


async def test_a_taken_address_is_named_with_its_field_and_the_other_is_let_go(proxy: Proxy) -> None:
    with socket.socket() as taken, socket.socket() as free:
        for each in (taken, free):
            each.bind(("127.0.0.1", 0))
        taken.listen()
        first, second = (each.getsockname()[1] for each in (free, taken))
        free.close()
        with pytest.raises(
            StartError,
            match=r"^cannot listen on .*:\d+ \(Address already in use\): free it, or change `admin\.probe_address`$",
        ):
            await AdminServer(
                proxy, Admin(address=f"127.0.0.1:{first}", probe_address=f"127.0.0.1:{second}")
            ).__aenter__()
        async with AdminServer(proxy, Admin(address=f"127.0.0.1:{first}")) as server:
            assert server.address == ("127.0.0.1", first)


async def test_explain_of_the_command_line_prints_text_over_tcp_and_unix_sockets(
    proxy: Proxy, server: AdminServer, tmp_path: Path
) -> None:
    unix = f"unix:{tmp_path}/admin.sock"
    async with AdminServer(proxy, Admin(address=unix)) as other:
        assert str(other.address) == unix
        for address in (str(server.address), unix):
            text = await asyncio.to_thread(explain, address, "/x", "PUT", [("a", "1 & 2")], "in")
            assert text == (
                "request:\n"
                "  method: PUT\n"
                "  url: /x\n"
                "  headers:\n"
                '    - ["a", "1 & 2"]\n'
                "listener: in\n"
                "taken: yes\n"
                "filters:\n"
                "  - a\n"
                "  - b\n"
                "candidates:\n"
                "  ADDRESS      SCORE\n"
                "  10.0.0.1:80  1.5\n"
                "backends:\n"
                "  name: a\n"
                "  cluster:\n"
                "    policy: RANDOM\n"
                "    candidates: -\n"
                "\n"
                "  name: b\n"
            )


async def test_explain_of_the_command_line_says_why_it_has_no_answer(server: AdminServer) -> None:
    with pytest.raises(AdminError, match="answered 400: expected a URL"):
        await asyncio.to_thread(explain, str(server.address), "nonsense", "GET", [], None)
    with pytest.raises(AdminError, match="answered 404"):
        await asyncio.to_thread(explain, str(server.probe_address), "/", "GET", [], None)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(AdminError, match=r"no sidecar answers at .* \(Connection refused\): is it running"):
            await asyncio.to_thread(explain, f":{unused.getsockname()[1]}", "/", "GET", [], None)
    with pytest.raises(ConfigError, match="--admin: expected"):
        await asyncio.to_thread(explain, "nowhere", "/", "GET", [], None)


async def test_explain_of_the_command_line_survives_what_is_no_http() -> None:
    async def shout(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-x\r\n")
        writer.close()

    async with await asyncio.start_server(shout, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(AdminError, match="no sidecar answers"):
            await asyncio.to_thread(explain, f"127.0.0.1:{port}", "/", "GET", [], None)


async def test_the_explain_command_prints_the_answer(server: AdminServer, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["explain", "/x", "--method", "PUT", "--header", "a: 1", "--listener", "in", "--admin", str(server.address)]
    assert await asyncio.to_thread(main, words) == 0
    out, err = capsys.readouterr()
    assert out.startswith("request:\n  method: PUT\n  url: /x\n")
    assert "listener: in\n" in out
    assert err == ""


async def test_ctrl_c_ends_a_command_without_a_stack_trace() -> None:
    asked = asyncio.Event()

    async def never(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await process.wait()
        writer.close()

    async with await asyncio.start_server(never, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        process = await start("explain", "/", "--admin", f"127.0.0.1:{port}")
        await asyncio.wait_for(asked.wait(), WITHIN)
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), WITHIN)
    assert process.returncode == 1
    assert err == b""


async def test_explain_and_the_pages_tell_of_a_running_sidecar(tmp_path: Path) -> None:
    admin = f"unix:{tmp_path}/admin.sock"
    async with sidecar("proxy", "--from", "127.0.0.1:0", "--to", "127.0.0.1:9", "--admin", admin):
        code, out, _ = await run("explain", "http://shop.example/a?b=c", "--admin", admin)
        assert code == 0
        assert "target: /a?b=c\n" in out
        assert "127.0.0.1:9" in out
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(f"{tmp_path}/admin.sock")) as session:
            async with session.get("http://localhost/config") as response:
                config = await response.json()
                assert config["clusters"][0]["static"] == {"endpoints": ["127.0.0.1:9"]}
            async with session.get("http://localhost/clusters?format=text") as response:
                assert "127.0.0.1:9" in await response.text()
            async with session.get("http://localhost/readyz") as response:
                assert (response.status, await response.text()) == (200, "ok\n")
            async with session.get("http://localhost/metrics") as response:
                assert b"# TYPE sidecar_" in await response.read()
