"""The demo as a person runs it: the whole tour, its end by signals, and what it says when something does not hold."""

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from sidecar.demo import client, main, process
from sidecar.demo.client import Client
from sidecar.demo.collector import Collector
from sidecar.demo.process import Process
from sidecar.demo.screen import Screen
from sidecar.demo.stage import Stage
from sidecar.demo.tour import show
from sidecar.demo.traffic import by_upstream, failures, percentile, send
from sidecar.demo.upstream import Upstream, serve
from sidecar.errors import StartError

ROOT = Path(__file__).parents[2]
MARK = "SIDECAR_DEMO_TEST"


class Output(io.StringIO):
    """What the demo prints; a test can wait for words in it."""

    def __init__(self) -> None:
        super().__init__()
        self._written = asyncio.Event()

    def write(self, text: str) -> int:
        self._written.set()
        return super().write(text)

    async def shows(self, words: str) -> str:
        """All of the text, once the words are in it."""
        async with asyncio.timeout(20):
            while words not in self.getvalue():
                self._written.clear()
                await self._written.wait()
        return self.getvalue()


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """An environment whose demo must leave no process and no file; both are looked for at the end."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # what it had chosen before
    # Settings of the caller that must not reach the demo.
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    yield dict(os.environ)
    assert _processes(mark) == []
    assert list(tmp_path.iterdir()) == []


def _processes(mark: str) -> list[str]:
    """The command lines of all processes whose environment bears the mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text())
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found


def test_the_tour_holds_prints_table_and_tree_and_leaves_nothing_behind(
    clean: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert clean
    code = main(once=True)
    text = capsys.readouterr().out
    assert code == 0, text
    assert "NOT HELD" not in text
    assert [line[:2] for line in text.splitlines() if re.match(r"\d\. ", line)] == ["1.", "2.", "3.", "4.", "5."]
    table = re.findall(r"^   (orders-[abc]) +(\d+) .* (\d+)%   127\.0\.0\.1:\d+ +\d+$", text, re.MULTILINE)
    assert [name for name, _, _ in table] == ["orders-a", "orders-b", "orders-c"]
    assert sum(int(count) for _, count, _ in table) == 600
    tree = re.findall(r"^   (SERVER|├─ CLIENT|└─ CLIENT) GET.*?(ERROR)?$", text, re.MULTILINE)
    assert tree == [("SERVER", ""), ("├─ CLIENT", "ERROR"), ("└─ CLIENT", "")]
    assert re.search(r"http\.request\.resend_count +1\n", text)
    assert max(map(len, text.splitlines())) <= 96


def _start(environ: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """The demo as a process; the caller reads its output."""
    command = [sys.executable, "-m", "sidecar", "demo", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environ, cwd=ROOT, encoding="utf-8")


@pytest.mark.parametrize(("number", "further"), [("SIGINT", "SIGINT"), ("SIGTERM", "SIGHUP")])
def test_a_signal_during_the_tour_ends_all_that_was_started(clean: dict[str, str], number: str, further: str) -> None:
    with _start(clean) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("1. Balance"):
                break
        demo.send_signal(signal.Signals[number])
        demo.send_signal(signal.Signals[further])  # impatience must not interrupt the cleaning up
        rest, errors = demo.communicate(timeout=15)
    assert (demo.returncode, errors) == (1, "")
    assert rest.endswith("Interrupted; everything that was started has ended.\n")


def test_a_reader_who_leaves_ends_it_quietly(clean: dict[str, str]) -> None:
    with _start(clean, "--once") as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("1. Balance"):
                break
        demo.stdout.close()
        demo.stdout = None
        _, errors = demo.communicate(timeout=15)
    assert (demo.returncode, errors) == (1, "")


async def test_it_stays_up_with_urls_to_try_until_it_is_cancelled(clean: dict[str, str]) -> None:
    assert clean
    out = Output()
    async with asyncio.TaskGroup() as tasks:
        staying = tasks.create_task(show(Screen(out), once=False, steps=()))
        text = await out.shows("Ctrl-C ends everything.")
        urls = re.findall(r"curl (?:-i )?'?http://([\d.:]+)(/\S+?)'? ", text)
        assert [target.partition("?")[0] for _, target in urls] == ["/hello", "/clusters", "/explain", "/metrics"]
        for address, target in urls:
            caller = Client(address)
            assert (await caller.ask(target)).status == 200
            caller.close()
        staying.cancel()
    assert staying.result() == 0
    assert out.getvalue().endswith("Ending what was started.\n")


async def test_what_does_not_hold_is_named_and_the_result_is_1(clean: dict[str, str]) -> None:
    assert clean

    async def lie(_stage: Stage, screen: Screen) -> None:
        screen.claim("the moon is cheese", held=False)

    async def lose(stage: Stage, _screen: Screen) -> None:
        admin, stage.admin = stage.admin, next(iter(stage.names))  # an upstream has no such page
        await stage.behave("orders-a", fail_next=1)
        try:
            await stage.endpoints()
        finally:
            stage.admin = admin

    async def crash(stage: Stage, _screen: Screen) -> None:
        await stage.sidecar.kill()
        await stage.endpoints()

    async def nest(_stage: Stage, _screen: Screen) -> None:
        raise ExceptionGroup("deep", [ExceptionGroup("deeper", [ValueError("at the bottom")])])

    out = Output()
    assert (
        await show(Screen(out), once=False, steps=(lie, lose, crash, nest)) == 1
    )  # with no sidecar it does not stay up
    text = out.getvalue()
    assert "4 of 4 claims did NOT hold" in text
    assert "   - the moon is cheese" in text
    assert re.search(r"this step could be done \(ValueError: 127.0.0.1:\d+/clusters answers 503\)", text)
    assert re.search(r"NOT HELD  this step could be done \(ConnectionRefusedError: .*\)", text)
    assert "this step could be done (ValueError: at the bottom)" in text
    assert "   sidecar | ready: listening on 127.0.0.1:" in text
    assert "NOT HELD  the sidecar runs until Ctrl-C" in text


async def test_a_process_that_does_not_start_is_named_with_its_last_words() -> None:
    async with Process("the upstream", ("-c", "import sys; sys.exit('no\\nluck')"), os.environ) as started:
        with pytest.raises(StartError, match=r"the upstream ended with 1 before it was ready\n  \| no\n  \| luck"):
            await started.ready()


async def test_a_process_that_is_never_ready_is_given_up_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_START_WITHIN", 0.2)
    async with Process("the sleeper", ("-c", "import time; time.sleep(60)"), os.environ) as started:
        with pytest.raises(StartError, match=r"the sleeper was not ready within 0.2 s; it said nothing"):
            await started.ready()
    with pytest.raises(ProcessLookupError):
        os.kill(started.pid, 0)


async def test_a_process_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_END_WITHIN", 0.1)
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "sys.stderr.write('ready: listening on nowhere\\nand more')\n"
        "sys.stderr.flush()\n"
        "time.sleep(60)"
    )
    async with Process("the stubborn", ("-c", code), os.environ) as started:
        await started.ready()
        assert started.address == "nowhere"
    assert started.lines == ["ready: listening on nowhere", "and more"]
    with pytest.raises(ProcessLookupError):
        os.kill(started.pid, 0)


@asynccontextmanager
async def _answering(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server whose connections each answer one request with the next of `answers` and then end; its requests."""
    requests: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answers[len(requests) - 1])
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}", requests


_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_the_client_never_sends_a_request_twice() -> None:
    async with _answering(_OK, _OK) as (address, requests):
        asker = Client(address)
        assert await asker.ask("/a", headers="x: 1\r\n") == (200, b"ok")
        with pytest.raises((EOFError, ConnectionError)):  # the kept connection has ended
            await asker.ask("/b")
        assert await asker.ask("/c", method="POST") == (200, b"ok")
        asker.close()
    assert [request.split(b" HTTP")[0] for request in requests] == [b"GET /a", b"POST /c"]
    assert b"x: 1\r\n" in requests[0]


async def test_the_client_heeds_connection_close_and_refuses_what_it_cannot_delimit() -> None:
    closing = _OK.replace(b"Content-Length", b"Connection: Close\r\nContent-Length")
    async with _answering(closing, b"HTTP/1.1 200 OK\r\n\r\nendless") as (address, _):
        asker = Client(address)
        assert (await asker.ask("/")).body == b"ok"
        with pytest.raises(ValueError, match="Content-Length"):
            await asker.ask("/")


async def test_the_client_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PATIENCE", 0.1)
    async with _answering(_OK[:-1]) as (address, _):
        with pytest.raises(EOFError):  # cut short
            await Client(address).ask("/")
    async with _upstream(Upstream("slow", delay_ms=60_000)) as address:
        with pytest.raises(TimeoutError, match=r"within 0.1 s"):
            await Client(address).ask("/")


@asynccontextmanager
async def _upstream(upstream: Upstream) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(upstream.answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"{host}:{port}"
    finally:
        await runner.cleanup()


async def test_an_upstream_behaves_as_it_is_told_and_says_what_it_saw() -> None:
    async with _upstream(Upstream("orders-a", delay_ms=0)) as address:
        asker = Client(address)

        async def ask(target: str, method: str = "GET", headers: str = "") -> tuple[int, dict[str, object]]:
            status, body = await asker.ask(target, method=method, headers=headers)
            return status, json.loads(body)

        seen = "traceparent: 00-1-2-01\r\n"
        assert await ask("/hello", headers=seen) == (200, {"upstream": "orders-a", "traceparent": "00-1-2-01"})
        told = {"upstream": "orders-a", "delay_ms": 5, "fail_next": 1, "refused": []}
        assert await ask("/demo/behave?delay_ms=5&fail_next=1", "POST") == (200, told)
        assert await ask("/demo/behave?fail_next=9") == (200, told)  # a GET changes nothing
        assert (await ask("/hello", headers=seen))[0] == 503
        assert (await ask("/hello"))[0] == 200
        assert (await ask("/demo/behave"))[1] == told | {"fail_next": 0, "refused": ["00-1-2-01"]}
        assert (await asker.ask("/demo/behave?delay_ms=soon", method="POST")).status == 400
        asker.close()


async def test_an_upstream_says_where_it_listens(capsys: pytest.CaptureFixture[str]) -> None:
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(serve("orders-z"))
        said = ""
        async with asyncio.timeout(5):
            while not said:
                await asyncio.sleep(0.01)
                said = capsys.readouterr().err
        caller = Client(said.removeprefix("ready: listening on ").strip())
        assert json.loads((await caller.ask("/")).body)["upstream"] == "orders-z"
        caller.close()
        serving.cancel()


async def test_traffic_counts_every_failure_and_tells_apart_before_and_after() -> None:
    upstream = Upstream("orders-a", delay_ms=0, fail_next=3)
    moments: list[float] = []

    async def happen() -> float:
        moments.append(asyncio.get_running_loop().time())
        return moments[0]

    async with _upstream(upstream) as address:
        run = await send(address, 60, midway=20, happen=happen)
    assert len(run.answers) == 60
    assert by_upstream(run.answers) == {"orders-a": 57}
    assert all("status 503" in answer.problem for answer in failures(run.answers))
    assert all(answer.started < moments[0] for answer in run.before)
    assert all(answer.started >= moments[0] for answer in run.after)
    assert len(run.before) + len(run.after) == 60
    assert len(run.before) >= 20
    gone = await send(address, 5)
    assert len(failures(gone.answers)) == 5
    assert "ConnectionRefusedError" in gone.answers[0].problem
    assert gone.after == []


async def test_percentiles_are_of_those_answers_in_milliseconds() -> None:
    async with _upstream(Upstream("orders-a", delay_ms=20)) as address:
        answers = (await send(address, 3)).answers
    assert 20 <= percentile(answers, 50) <= percentile(answers, 99) == max(one.seconds for one in answers) * 1000
    assert percentile([], 99) == 0


async def test_the_receiver_takes_traces_alone_and_gives_what_came_in_time() -> None:
    async with Collector() as collector:
        caller = Client(collector.endpoint.removeprefix("http://"))
        assert (await caller.ask("/v1/metrics", method="POST")).status == 404
        assert (await caller.ask("/v1/traces")).status == 404
        assert (await caller.ask("/v1/traces", method="POST")).status == 200
        assert await collector.trace("ab" * 16, spans=1, within=0.05) == []
        caller.close()
