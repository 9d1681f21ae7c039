"""Nothing leaks between requests or clients: bytes, cookies, credentials, names, connections, control bytes in logs."""

import asyncio
import json
import random
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.client import Client, ask, client
from tests.support.origin import OK, Origin, OriginConnection, Received, Serve, answers, reset
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.proxy import ENGINE, forward, reverse, running_proxy

pytestmark = pytest.mark.usefixtures("each_engine")

HOST = b"Host: shop.example\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
SECRET = b"top-secret"


def get(path: bytes, *lines: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\n%b%b\r\n" % (path, HOST, b"".join(line + b"\r\n" for line in lines))


async def test_unfinished_request_of_one_client_gets_into_no_other() -> None:
    partial = [
        b"GET /secret HTTP/1.1\r\n" + HOST + b"X-Secret: " + SECRET,
        b"POST /secret HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\n" + SECRET,
        b"POST /secret HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nff\r\n" + SECRET,
    ]
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        for data in partial:
            async with client(proxy.address) as victim:
                await victim.send(data)
                assert (await ask(proxy.address, get(b"/mine"))).body == b"ok"
        assert (await ask(proxy.address, get(b"/mine"))).body == b"ok"
        assert [request.line for request in origin.requests] == [b"GET /mine HTTP/1.1"] * 4
        assert all(SECRET not in request.raw for request in origin.requests)


async def test_cookies_are_kept_for_nobody() -> None:
    reply = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=" + SECRET + b"\r\nContent-Length: 0\r\n\r\n"
    async with Origin(answers(reply)) as origin, running_proxy(reverse(origin.address)) as proxy:
        async with client(proxy.address) as one:
            for _ in range(2):
                assert (await one.ask(GET)).values(b"set-cookie") == [b"session=" + SECRET]
        await ask(proxy.address, GET)
        assert len(origin.requests) == 3
        assert not any(request.values(b"cookie") for request in origin.requests)


async def test_credentials_of_one_request_are_not_those_of_the_next() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy, client(proxy.address) as one:
        await one.send(get(b"/", b"Authorization: Basic " + SECRET, b"Cookie: a=" + SECRET) + GET)
        await one.response()
        await one.response()
        await ask(proxy.address, GET)
        first, second, third = origin.requests
        assert first.values(b"authorization") == [b"Basic " + SECRET]
        assert SECRET not in second.raw + third.raw


async def test_credentials_for_the_proxy_stay_here() -> None:
    async with Origin() as origin, running_proxy(forward()) as proxy:
        target = f"http://{origin.address}/".encode()
        await ask(
            proxy.address, b"GET %b HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic %b\r\n\r\n" % (target, SECRET)
        )
        assert SECRET not in origin.requests[0].raw


async def test_spelling_of_field_names_is_each_clients_own() -> None:
    async with Origin() as origin, running_proxy(reverse(origin.address)) as proxy:
        for name in (b"X-TOKEN", b"x-token", b"X-Token"):
            await ask(proxy.address, get(b"/", name + b": 1"))
        found = [name for request in origin.requests for name, _ in request.fields if name.lower() == b"x-token"]
        assert found == [b"X-TOKEN", b"x-token", b"X-Token"]


async def test_connection_is_reused_by_no_one_after_anything_went_wrong_on_it() -> None:
    """Each request carries a number, and each whole answer must carry the same one, whatever happened before."""
    rng = random.Random(7)
    async with Origin(_numbering(rng)) as origin, running_proxy(_patient(origin.address)) as proxy:
        async with asyncio.TaskGroup() as group:
            for lane in range(6):
                group.create_task(_lane(proxy.address, lane, rng), name="test")
        await proxy.quiet()
        good = [request for request in origin.requests if b"/good" in request.line]
        assert len(good) >= 6 * 10


def _patient(address: str) -> dict[str, object]:
    rule = {"timeouts": {"request": "200ms"}}
    return reverse(address, rule=rule, cluster={"outlier_detection": {"enabled": False}})


async def _lane(address: str, lane: int, rng: random.Random) -> None:
    for turn in range(10):
        number = b"%d-%d" % (lane, turn)
        fault = rng.choice([b"extra", b"reset", b"slow", b"late", b"abort", b"head"])
        async with client(address) as bad:
            method = b"HEAD" if fault == b"head" else b"POST"
            await bad.send(b"%b /%b/%b HTTP/1.1\r\n%bContent-Length: 3\r\n\r\nbad" % (method, fault, number, HOST))
            if fault != b"abort":
                await _whatever(bad, method)
        assert (await ask(address, get(b"/good/" + number))).body == number


async def _whatever(bad: Client, method: bytes) -> None:
    """An answer, a cut or a timeout: none of it is judged here."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        await bad.response(method=method.decode())


def _numbering(rng: random.Random) -> Serve:
    async def serve(connection: OriginConnection) -> None:
        while (request := await connection.request()) is not None:
            await _answer(connection, request, rng)

    return serve


async def _answer(connection: OriginConnection, request: Received, rng: random.Random) -> None:
    _, fault, number = request.line.split(b" ")[1].split(b"/")
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(number), number)
    if fault == b"extra":
        await connection.send(whole + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
    elif fault == b"reset":
        await connection.send(whole[: rng.randrange(len(whole))])
        reset(connection)
    elif fault in {b"slow", b"abort"}:
        await asyncio.sleep(0.3)
        await connection.send(whole)
    elif fault == b"late":
        await connection.send(whole[:-1])
        await asyncio.sleep(0.3)
        await connection.send(whole[-1:])
    elif fault == b"head":
        await connection.send(whole)  # with a body that a response to HEAD has not
    else:
        await connection.send(whole)


# --- what is told of requests -----------------------------------------------------------------------------------------

ODD = b"\x9b31m\xc2\x85\xe2\x80\xa8 \xff"  # C1 controls, a line separator and broken UTF-8, all of them obs-text
TRAP = b"curl\t" + ODD


async def test_control_bytes_of_clients_reach_neither_the_access_log_nor_spans(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with OtlpReceiver() as receiver, Origin(answers(OK)) as origin:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        config = reverse(origin.address, access_log={"path": str(path)})
        async with running_proxy(config, environ) as proxy:
            target = b"/x" if ENGINE.name == "aiohttp" else b"/x\x9b\xc2\x85"
            lines = (b"User-Agent: " + TRAP, b"X-Request-Id: " + TRAP, b"X-Forwarded-For: " + TRAP)
            assert (await ask(proxy.address, get(target, *lines, b"X-Forwarded-Host: " + ODD))).status == 200
            await ask(proxy.address, b"GET / HTTP/1.1\r\nHost: \x1b[31m\r\n\r\n")
            await receiver.wait_for(2)
        spans = receiver.spans
    texts = [value for line in path.read_text().splitlines() for value in json.loads(line).values()]
    texts += [value for span in spans for value in (span.span.name, *span.attributes.values())]
    told = [text for text in texts if isinstance(text, str)]
    assert any("31m" in text for text in told)
    for text in told:
        assert not [char for char in text if ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 or char in "\u2028\u2029"], (
            text
        )


async def test_control_bytes_of_peers_reach_no_log_and_no_other_client(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        Origin(answers(b"HTTP/1.1 200 \x1b[31m\r\n\r\n")) as origin,
        running_proxy(reverse(origin.address)) as proxy,
    ):
        answer = await ask(proxy.address, GET)
        assert answer.status == 502
        assert b"\x1b" not in answer.head + answer.body
        await ask(proxy.address, b"GET / HTTP/1.1\r\nHost: a\r\n\x1b[31m: b\r\n\r\n")
    assert "\x1b" not in caplog.text


async def test_error_tells_a_client_of_its_own_attempts_alone() -> None:
    async with Origin(answers((reset,))) as origin, running_proxy(reverse(origin.address)) as proxy:
        for _ in range(3):
            answer = await ask(proxy.address, get(b"/secret?" + SECRET, b"Accept: application/json"))
            assert len(json.loads(answer.body)["attempts"]) == 1
            assert SECRET not in answer.body
