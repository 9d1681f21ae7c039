"""CORS between a real app and raw clients: preflights never reach the app, each rule has its own say."""

import pytest

from sidecar.lifecycle.view import View
from tests.support.client import Answered, ask
from tests.support.origin import Origin, answers
from tests.support.proxy import Data, reverse, running_proxy

pytestmark = pytest.mark.usefixtures("each_engine")

APP = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\nVary: Accept\r\n\r\nok"


def rule(path: str, origin: str, method: str | None = None, **more: object) -> Data:
    match = {"path": {"value": path}, **({"method": method} if method is not None else {})}
    cors = {"allowOrigins": [origin], "allowMethods": [method or "*"], **more}
    return {"matches": [match], "filters": [{"type": "CORS", "cors": cors}], "backendRefs": [{"name": "app"}]}


def routes(*rules: Data) -> Data:
    return {"routes": [{"rules": list(rules)}]}


async def asked(address: str, line: str, origin: str | None = None, wanted: str | None = None) -> Answered:
    lines = [f"{line} HTTP/1.1", "Host: a"]
    lines += [f"Origin: {origin}"] if origin is not None else []
    lines += [f"Access-Control-Request-Method: {wanted}"] if wanted is not None else []
    return await ask(address, "\r\n".join(lines).encode() + b"\r\n\r\n")


def said(answered: Answered) -> tuple[int, bytes | None, bytes | None]:
    return (
        answered.status,
        answered.value(b"access-control-allow-origin"),
        answered.value(b"access-control-allow-methods"),
    )


async def test_each_rule_has_its_own_say_and_a_preflight_finds_the_one_of_its_request() -> None:
    rules = (
        rule("/a", "https://one.example", "GET"),
        rule("/a", "https://two.example", "PUT"),
        rule("/", "https://three.example"),
    )
    async with Origin(answers(APP)) as origin:
        async with running_proxy(reverse(origin.address, listener=routes(*rules))) as proxy:
            at = proxy.address
            one, two, three = b"https://one.example", b"https://two.example", b"https://three.example"
            assert said(await asked(at, "OPTIONS /a", one.decode(), "GET")) == (204, one, b"GET")
            assert said(await asked(at, "OPTIONS /a", two.decode(), "PUT")) == (204, two, b"PUT")
            assert said(await asked(at, "OPTIONS /a", one.decode(), "PUT")) == (403, None, None)
            assert said(await asked(at, "OPTIONS /b", three.decode(), "PATCH")) == (204, three, b"*")
            assert origin.requests == []
            assert said(await asked(at, "GET /a", one.decode())) == (200, one, None)
            assert said(await asked(at, "PUT /a", two.decode())) == (200, two, None)
            refused = await asked(at, "GET /a", two.decode())
            assert said(refused) == (200, None, None)
            assert refused.values(b"vary") == [b"Accept, Origin"]
            metrics = View(proxy.proxy).metrics()
            assert b'filter="CORS",outcome="preflight_refused"} 1.0' in metrics
            assert b'filter="CORS",outcome="allowed"} 2.0' in metrics


async def test_options_that_are_no_preflights_reach_the_app() -> None:
    async with Origin(answers(APP)) as origin:
        async with running_proxy(reverse(origin.address, listener=routes(rule("/", "https://one.example")))) as proxy:
            assert (await asked(proxy.address, "OPTIONS /a")).status == 200
            assert (await asked(proxy.address, "OPTIONS *")).status == 200
            assert said(await asked(proxy.address, "OPTIONS /a", "https://one.example")) == (
                200,
                b"https://one.example",
                None,
            )
        assert [request.line for request in origin.requests] == [
            b"OPTIONS /a HTTP/1.1",
            b"OPTIONS * HTTP/1.1",
            b"OPTIONS /a HTTP/1.1",
        ]


async def test_a_page_may_read_why_the_app_is_not_there() -> None:
    rules = routes(rule("/", "https://one.example"))
    async with running_proxy(reverse("127.0.0.1:1", listener=rules)) as proxy:
        answered = await asked(proxy.address, "GET /", "https://one.example")
        assert said(answered) == (502, b"https://one.example", None)
        assert answered.values(b"vary") == [b"Origin"]


async def test_explain_says_who_may_call() -> None:
    rules = routes(rule("/", "https://*.example"))
    async with running_proxy(reverse("127.0.0.1:1", listener=rules)) as proxy:
        page = View(proxy.proxy).explain("GET", "/", [], None)
        assert page["filters"] == ["CORS: https://*.example may call"]
