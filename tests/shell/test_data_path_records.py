"""What the access log says of each way a request can end: flag, status, cause, bytes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import ask, client
from tests.support.origin import OK, Origin, OriginConnection, answers, unused_address
from tests.support.proxy import Data, eventually, reverse, running_proxy

pytestmark = pytest.mark.usefixtures("each_engine")

HOST = b"Host: shop.example\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
CALM = {"outlier_detection": {"enabled": False}}


class Log:
    """The access log of a proxy under test."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "access.log"

    def config(self, *endpoints: str, **sections: Any) -> Data:
        return reverse(*endpoints, access_log={"path": str(self.path)}, **sections)

    async def lines(self, count: int = 1) -> list[dict[str, Any]]:
        """Its lines, once there are so many."""
        await eventually(lambda: self.path.exists() and self.path.read_bytes().count(b"\n") >= count, "no line came")
        return [json.loads(line) for line in self.path.read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


async def silent(connection: OriginConnection) -> None:
    await connection.until_gone()


async def test_good_request_is_told_with_its_bytes(log: Log) -> None:
    async with Origin() as origin, running_proxy(log.config(origin.address)) as proxy:
        await ask(proxy.address, b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello")
        (line,) = await log.lines()
        assert (line["response_code"], line["response_flags"], line["method"]) == (200, "-", "POST")
        assert (line["bytes_received"], line["bytes_sent"]) == (5, 2)


@pytest.mark.parametrize(
    ("rule", "serve", "status", "flag"),
    [
        ({"timeouts": {"request": "50ms"}}, silent, 504, "UT"),
        ({"timeouts": {"backendRequest": "50ms"}}, silent, 504, "UT"),
        ({"retry": {"codes": [503], "attempts": 1, "backoff": "1ms"}}, answers(OK.replace(b"200", b"503")), 503, "URX"),
        ({"matches": [{"path": {"value": "/other"}}]}, answers(OK), 404, "NR"),
        ({}, answers(b"what?\r\n\r\n"), 502, "UPE"),
        ({}, answers((lambda connection: connection.reset(),)), 502, "UC"),
    ],
    ids=["request timeout", "attempt timeout", "retries used up", "no route", "malformed answer", "reset"],
)
async def test_failure_has_its_flag(log: Log, rule: Data, serve: Any, status: int, flag: str) -> None:
    async with Origin(serve) as origin, running_proxy(log.config(origin.address, rule=rule, cluster=CALM)) as proxy:
        assert (await ask(proxy.address, GET)).status == status
        (line,) = await log.lines()
        assert (line["response_code"], line["response_flags"]) == (status, flag)


async def test_refused_connection_is_uf_and_overflow_is_uo(log: Log) -> None:
    config = {"circuit_breakers": {"max_requests": 1}, **CALM}
    async with running_proxy(log.config(unused_address(), cluster=config)) as proxy:
        await ask(proxy.address, GET)
        assert (await log.lines())[0]["response_flags"] == "UF"
    log.path.unlink()
    async with Origin(silent) as origin, running_proxy(log.config(origin.address, cluster=config)) as proxy:
        async with client(proxy.address) as one:
            await one.send(GET)
            await origin.connected()
            assert (await ask(proxy.address, GET)).status == 503
            assert (await log.lines())[0]["response_flags"] == "UO"


async def test_client_that_leaves_is_dc_and_no_error(log: Log) -> None:
    async with Origin(silent) as origin, running_proxy(log.config(origin.address)) as proxy:
        async with client(proxy.address) as one:
            await one.send(GET)
            await origin.connected()
            one.reset()
            (line,) = await log.lines()
        assert line["response_flags"] == "DC"
        assert line["response_code_details"] == "the client went away"


async def test_malformed_request_is_dpe(log: Log) -> None:
    async with Origin() as origin, running_proxy(log.config(origin.address)) as proxy:
        await ask(proxy.address, b"what?\r\n\r\n")
        (line,) = await log.lines()
        assert (line["response_code"], line["response_flags"]) == (400, "DPE")


async def test_response_cut_short_is_told_with_the_status_that_went_out(log: Log) -> None:
    go = asyncio.Event()
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
    async with Origin(answers((begun, go, lambda connection: connection.close()))) as origin:
        async with running_proxy(log.config(origin.address)) as proxy, client(proxy.address) as one:
            await one.send(GET)
            await one.until(b"hello")
            go.set()
            await one.end()
            (line,) = await log.lines()
            assert (line["response_code"], line["response_flags"], line["bytes_sent"]) == (200, "UC", 5)
            assert "closed the connection before the response was complete" in line["response_code_details"]
