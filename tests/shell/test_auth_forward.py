"""Forward-auth through a running proxy, with a real service that decides, is slow, wrong or gone."""

import asyncio
from pathlib import Path

import pytest

from sidecar.lifecycle.view import View
from tests.support.client import ask
from tests.support.issuer import answer, auth, get, scripted
from tests.support.origin import Origin, Received, unused_address
from tests.support.proxy import Data, eventually, reverse, running_proxy


def asking(url: str, **fields: object) -> Data:
    return auth(forward={"url": url, **fields})


async def test_the_service_is_told_of_the_request_and_what_comes_back_replaces_what_the_client_said() -> None:
    def decide(request: Received) -> bytes:
        assert request.body == b""
        return answer(b"", "200 OK", "X-User: ann", "X-Team: shop", "X-Secret: 1", "Set-Cookie: session=2")

    async with scripted(decide) as service, Origin() as origin:
        rule = asking(service.url, responseHeaders=["X-User"], clientHeaders=["Set-Cookie"])
        async with running_proxy(reverse(origin.address, rule=rule)) as proxy:
            lines = ("Cookie: a=1", "X-User: root", "x_user: root", "X-Team: mine", "X-Forwarded-Method: GET", "X-N: 1")
            sent = get("Bearer \u00e9", *lines, path="/p?q=%20&r")
            answered = await ask(proxy.address, sent.replace(b"GET", b"DELETE", 1))
        told = service.requests[0]
        assert told.line == b"GET /keys HTTP/1.1"
        assert {name.lower(): value for name, value in told.fields} == {
            b"host": service.address.encode(),
            b"x-forwarded-method": b"DELETE",
            b"x-forwarded-proto": b"http",
            b"x-forwarded-host": b"shop.example",
            b"x-forwarded-uri": b"/p?q=%20&r",
            b"x-forwarded-for": b"127.0.0.1",
            b"authorization": "Bearer \u00e9".encode(),
            b"cookie": b"a=1",
        }
        passed = origin.requests[0]
        assert (passed.values(b"x-user"), passed.values(b"x_user")) == ([b"ann"], [])
        assert (passed.values(b"x-team"), passed.values(b"x-secret")) == ([b"mine"], [])
        assert answered.values(b"set-cookie") == [b"session=2"]
        assert answered.value(b"x-user") is None


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (
            answer(
                b"log in", "401 Unauthorized", 'WWW-Authenticate: Bearer realm="x"', "Connection: x-hop", "X-Hop: 1"
            ),
            401,
        ),
        (answer(b"", "302 Found", "Location: https://login.example/?next=1", "Set-Cookie: s=1"), 302),
        (answer(b"no", "403 Forbidden", "Keep-Alive: timeout=5"), 403),
        (answer(b"", "304 Not Modified"), 304),
        (b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", 403),
        (b"HTTP/1.1 499 Odd\r\nContent-Length: 0\r\n\r\n", 499),
    ],
)
async def test_its_refusal_is_the_clients_answer(reply: bytes, status: int) -> None:
    async with scripted(reply) as service, Origin() as origin:
        async with running_proxy(reverse(origin.address, rule=asking(service.url))) as proxy:
            answered = await ask(proxy.address, get())
            assert (answered.status, origin.requests) == (status, [])
            kept = [
                line for line in reply.split(b"\r\n") if line.lower().startswith((b"www-auth", b"location", b"set-"))
            ]
            assert all(line in answered.head for line in kept)
            assert answered.value(b"x-hop") is None
            assert answered.value(b"keep-alive") is None
            assert answered.body in {b"", b"no", b"log in"}


@pytest.mark.parametrize(
    "reply",
    [
        answer(b"", "500 Internal Server Error"),
        answer(b"", "599 Odd"),
        answer(b"x" * 70_000, "403 Forbidden"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_a_service_that_is_wrong_lets_nobody_pass(reply: bytes) -> None:
    async with scripted(reply) as service, Origin() as origin:
        async with running_proxy(reverse(origin.address, rule=asking(service.url))) as proxy:
            answered = await ask(proxy.address, get())
            assert (answered.status, origin.requests) == (503, [])


async def test_a_service_that_is_slow_or_gone_lets_nobody_pass() -> None:
    async with scripted(answer(b"")) as service, Origin() as origin:
        service.go.clear()
        async with running_proxy(reverse(origin.address, rule=asking(service.url, timeout="300ms"))) as proxy:
            answered = await ask(proxy.address, get())
            assert (answered.status, origin.requests) == (503, [])
            assert b"no answer within 0.3 s" in answered.body
            service.go.set()
            assert (await ask(proxy.address, get())).status == 200, "it is back"
        async with running_proxy(reverse(origin.address, rule=asking(f"http://{unused_address()}/"))) as proxy:
            assert (await ask(proxy.address, get())).status == 503


async def test_credentials_that_are_no_text_are_not_sent_changed() -> None:
    async with scripted(answer(b"")) as service, Origin() as origin:
        async with running_proxy(reverse(origin.address, rule=asking(service.url))) as proxy:
            answered = await ask(proxy.address, get("Bearer x").replace(b"Bearer x", b"Bearer \xe9"))
            assert (answered.status, service.requests, origin.requests) == (400, [], [])


async def test_a_certificate_file_that_is_none_lets_nobody_pass(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("none")
    async with Origin() as origin:
        rule = asking("https://127.0.0.1:1/", caFile="ca.crt")
        async with running_proxy(reverse(origin.address, rule=rule), folder=tmp_path) as proxy:
            assert (await ask(proxy.address, get())).status == 503


async def test_a_reload_waits_for_those_that_are_asked_about(tmp_path: Path) -> None:
    async with scripted(answer(b"")) as service, scripted(answer(b"", "403 Forbidden")) as other, Origin() as origin:
        data = reverse(origin.address, rule=asking(service.url))
        async with running_proxy(data, folder=tmp_path) as proxy, asyncio.TaskGroup() as tasks:
            service.go.clear()
            under_way = tasks.create_task(ask(proxy.address, get()), name="test")
            await eventually(lambda: service.requests, "the service was not asked")
            await proxy.reload(reverse(origin.address, rule=asking(other.url)))
            assert (await ask(proxy.address, get())).status == 403
            service.go.set()
            assert (await under_way).status == 200
            (line,) = View(proxy.proxy).explain("GET", "/", [], None)["filters"]  # type: ignore[misc]  # a list of one
            assert line == f"Auth forward: asks {other.url}"
