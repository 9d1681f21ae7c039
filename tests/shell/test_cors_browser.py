"""CORS as a real browser enforces it: a page of one origin calls the sidecar at another and says what it could read."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar.lifecycle.view import View
from tests.support.browser import CHROMIUM, WITHIN, browser, serving
from tests.support.origin import Origin, OriginConnection
from tests.support.proxy import Data, reverse, running_proxy

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(90),
    pytest.mark.skipif(not CHROMIUM, reason="no chromium: install it, or name it in CHROMIUM"),
]

PAGE = """<!doctype html><script>
document.cookie = "session=1; domain=shop.example";
const seen = (headers) => ["x-shown", "x-hidden"].filter((each) => headers.has(each)).join(" ");
async function run([path, options]) {
  try {
    const answer = await fetch(BASE + path, options);
    return [answer.status, (await answer.text()).slice(0, 16), seen(answer.headers)].join(", ");
  } catch (error) {
    return error.name;
  }
}
(async () => {
  const found = [];
  for (const call of CALLS) found.push(await run(call));
  await fetch("/found", {method: "POST", body: JSON.stringify(found)});
})();
</script>"""
REFUSED = "TypeError"  # all that fetch tells a page


async def app(connection: OriginConnection) -> None:
    """Answers with the method and whether a cookie came."""
    while (request := await connection.request()) is not None:
        body = request.line.split()[0] + (b" cookie" if request.values(b"cookie") else b"")
        lines = (
            b"HTTP/1.1 200 OK",
            b"Content-Length: %d" % len(body),
            b"X-Shown: 1",
            b"X-Hidden: 1",
            b"Access-Control-Allow-Origin: *",  # the app's own word does not count
        )
        await connection.send(b"\r\n".join(lines) + b"\r\n\r\n" + body)


def rule(path: str, backend: str = "app", **cors: object) -> Data:
    return {
        "matches": [{"path": {"value": path}}],
        "filters": [{"type": "CORS", "cors": cors}],
        "backendRefs": [{"name": backend}],
    }


def rules(port: int) -> list[Data]:
    shop = f"http://*.shop.example:{port}"
    return [
        rule("/some", allowOrigins=[shop], allowMethods=["PUT"], allowHeaders=["X-Team"], exposeHeaders=["X-Shown"]),
        rule("/all", allowOrigins=["*"], allowMethods=["*"], allowHeaders=["*"], exposeHeaders=["*"], maxAge=600),
        rule(
            "/session",
            allowOrigins=[shop],
            allowMethods=["*"],
            allowHeaders=["*"],
            exposeHeaders=["*"],
            allowCredentials=True,
        ),
        rule("/other", allowOrigins=["https://elsewhere.example"], allowMethods=["*"]),
        rule("/gone", "gone", allowOrigins=[shop]),
    ]


@dataclass(frozen=True)
class Seen:
    """What the page could read, what the app got, and the proxy's metrics."""

    page: list[str]
    app: list[str]
    metrics: str


async def run(profile: Path, host: str, *calls: tuple[str, Data]) -> Seen:
    """Open a page of `host` which makes these calls, one after the other."""
    async with Origin(app) as origin, serving() as site:
        spec = reverse(origin.address, listener={"routes": [{"rules": rules(site.port)}]})
        spec["clusters"].append({"name": "gone", "static": {"endpoints": ["127.0.0.1:1"]}})
        async with running_proxy(spec) as proxy:
            base = f"http://api.shop.example:{proxy.address.rpartition(':')[2]}"
            site.html = PAGE.replace("BASE", json.dumps(base)).replace("CALLS", json.dumps(calls))
            async with browser(f"http://{host}:{site.port}/", profile), asyncio.timeout(WITHIN):
                found = await site.found
            metrics = View(proxy.proxy).metrics().decode()
        lines = [request.line.decode().removesuffix(" HTTP/1.1") for request in origin.requests]
        return Seen(found, lines, metrics)


TEAM = {"X-Team": "a"}


async def test_a_page_that_may_call_reads_what_it_may_and_no_more(tmp_path: Path) -> None:
    seen = await run(
        tmp_path,
        "web.shop.example",
        ("/some", {}),
        ("/some", {"method": "PUT", "headers": TEAM}),
        ("/some", {"method": "DELETE"}),
        ("/some", {"method": "PUT", "headers": {"X-Other": "a"}}),
        ("/some", {"credentials": "include"}),
        ("/all", {"method": "PATCH", "headers": {"X-Any": "a"}}),
        ("/all", {"method": "PATCH", "headers": {"X-Any": "b"}}),
        ("/all", {"credentials": "include"}),
        ("/session", {"credentials": "include"}),
        ("/session", {"method": "PATCH", "headers": {"Authorization": "Bearer a"}, "credentials": "include"}),
        ("/gone", {}),
    )
    assert seen.page == [
        "200, GET, x-shown",
        "200, PUT, x-shown",
        REFUSED,
        REFUSED,
        REFUSED,
        "200, PATCH, x-shown x-hidden",
        "200, PATCH, x-shown x-hidden",
        REFUSED,
        "200, GET cookie, x-shown x-hidden",
        "200, PATCH cookie, x-shown x-hidden",
        "502, 502 Bad Gateway:, ",
    ]
    assert seen.app == [  # what failed its preflight never came
        "GET /some", "PUT /some", "GET /some", "PATCH /all", "PATCH /all", "GET /all", "GET /session", "PATCH /session",
    ]  # fmt: skip
    # for PUT, DELETE and PUT again to /some, once for PATCH to /all (remembered for maxAge), for PATCH to /session
    assert 'filter="CORS",outcome="preflight_allowed"} 5.0' in seen.metrics


@pytest.mark.parametrize("host", ["shop.example", "evilshop.example", "web.shop.example.evil.example"])
async def test_a_page_that_may_not_call_reads_nothing_and_changes_nothing(tmp_path: Path, host: str) -> None:
    seen = await run(
        tmp_path,
        host,
        ("/some", {}),
        ("/some", {"method": "PUT"}),
        ("/session", {"credentials": "include"}),
        ("/other", {}),
        ("/other", {"method": "DELETE"}),
        ("/gone", {}),
        ("/all", {}),
    )
    assert seen.page == [REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, "200, GET, x-shown x-hidden"]
    assert seen.app == ["GET /some", "GET /session", "GET /other", "GET /all"]  # CORS hides answers, not requests
    assert 'filter="CORS",outcome="preflight_refused"} 2.0' in seen.metrics
