"""What one small request costs in things that can be counted, which are the same on every machine.

Client and origin live in threads with blocking sockets, so that all that happens on the loop is the proxy's.
The numbers are budgets: lower one when the code does with less, raise one only with a reason in the commit.
"""

import asyncio
import gc
import socket
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

import pytest

from tests.support.proxy import Running, reverse, running_proxy

pytestmark = pytest.mark.usefixtures("each_engine")

REQUEST = b"GET /a?b=c HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 10:00:00 GMT\r\nContent-Type: application/json\r\n"
ANSWER = HEAD + b"Content-Length: 200\r\nCache-Control: private\r\nX-Served-By: a\r\n\r\n" + b"x" * 200
MANY = 20
TRACED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SERVICE_NAME": "test"}


class Cost(NamedTuple):
    """Of one request, on the loop's thread."""

    tasks: int  # created
    timers: int  # armed
    writes: int  # system calls that send
    reads: int  # system calls that receive
    objects: int  # made by a Python `__init__` of the sidecar
    calls: int  # of Python functions of the sidecar, a coroutine that resumes counted again


BUDGET = {
    ("aiohttp", "untraced"): Cost(tasks=1, timers=0, writes=2, reads=2, objects=13, calls=123),
    ("aiohttp", "traced"): Cost(tasks=1, timers=0, writes=2, reads=2, objects=15, calls=161),
    ("native", "untraced"): Cost(tasks=0, timers=0, writes=2, reads=2, objects=13, calls=125),
    ("native", "traced"): Cost(tasks=0, timers=0, writes=2, reads=2, objects=15, calls=163),
}
HELD = 300_000  # bytes that a request holds at most at once; 262,144 of them are the buffer that asyncio reads into
LEFT = 64  # bytes that a request may leave behind: none, but for what others in the process do


@contextmanager
def origin() -> Iterator[str]:
    """Answers each request on one connection at a time, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_answer, args=(listening,), daemon=True)
        thread.start()
        yield "{}:{}".format(*listening.getsockname())
    thread.join(5)


def _answer(listening: socket.socket) -> None:
    try:
        connection, _ = listening.accept()
    except OSError:
        return
    with connection:
        while connection.recv(4_096):
            connection.sendall(ANSWER)


class Counting:
    """Counts on the thread that enters it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: Counter[str] = Counter()
        self._thread = threading.get_ident()
        loop = asyncio.get_running_loop()
        loop.set_task_factory(self._task)
        monkeypatch.setattr(asyncio, "Task", self._class())  # aiohttp makes eager tasks without the loop
        monkeypatch.setattr(loop, "call_at", self._noted("timers", loop.call_at))
        for name in ("send", "sendmsg"):
            monkeypatch.setattr(socket.socket, name, self._noted("writes", getattr(socket.socket, name)))
        for name in ("recv", "recv_into"):
            monkeypatch.setattr(socket.socket, name, self._noted("reads", getattr(socket.socket, name)))

    def _noted(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **named: Any) -> Any:
            if threading.get_ident() == self._thread:
                self.seen[what] += 1
            return function(*arguments, **named)

        return noted

    def _class(self) -> "type[asyncio.Task[Any]]":
        counting = self

        class Counted(asyncio.Task):  # type: ignore[type-arg]  # generic at run time only in its annotations
            def __init__(self, *arguments: Any, **named: Any) -> None:
                counting.seen["tasks"] += 1
                super().__init__(*arguments, **named)

        return Counted

    def _task(self, loop: asyncio.AbstractEventLoop, work: Any, **named: Any) -> "asyncio.Task[Any]":
        return asyncio.Task(work, loop=loop, **named)

    def _called(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        ours = "/sidecar/" in code.co_filename
        self.seen["calls"] += ours
        self.seen["objects"] += code.co_name == "__init__" and (ours or code.co_filename == "<string>")  # a dataclass's

    async def cost(self, ask: Callable[[int], None]) -> Cost:
        """Of one request: what twice as many cost more."""
        few, many = await self._during(ask, MANY), await self._during(ask, 2 * MANY)
        more = {name: many[name] - few[name] for name in Cost._fields}
        assert not any(value % MANY for value in more.values()), f"not the same for every request: {more}"
        return Cost(**{name: value // MANY for name, value in more.items()})

    async def _during(self, ask: Callable[[int], None], number: int) -> Counter[str]:
        self.seen = Counter()
        sys.setprofile(self._called)
        try:
            await asyncio.get_running_loop().run_in_executor(None, ask, number)
        finally:
            sys.setprofile(None)
        return self.seen


def asker(proxy: Running) -> tuple[socket.socket, Callable[[int], None]]:
    """A connection, and a function that sends so many requests on it, one after the other."""
    host, _, port = proxy.address.rpartition(":")
    sock = socket.create_connection((host, int(port)), timeout=10)

    def ask(number: int) -> None:
        for _ in range(number):
            sock.sendall(REQUEST)
            answer = b""
            while not answer.endswith(b"x" * 200):
                more = sock.recv(4_096)
                assert more, answer
                answer += more
            assert answer.startswith(b"HTTP/1.1 200")

    return sock, ask


@pytest.mark.parametrize("tracing", ["untraced", "traced"])
async def test_a_small_request_costs_no_more_than_its_budget(
    tracing: str, each_engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    with origin() as upstream:
        async with running_proxy(reverse(upstream), TRACED if tracing == "traced" else {}) as proxy:
            sock, ask = asker(proxy)
            with sock, monkeypatch.context() as patch:
                await loop.run_in_executor(None, ask, 5)  # connects, fills memos
                counting = Counting(patch)
                try:
                    cost = await counting.cost(ask)
                finally:
                    loop.set_task_factory(None)
    budget = BUDGET[each_engine, tracing]
    assert cost[:5] == budget[:5], cost
    assert cost.calls <= budget.calls, cost  # newer Pythons call less: comprehensions are inlined


async def test_a_small_request_holds_little_memory_and_leaves_none() -> None:
    loop = asyncio.get_running_loop()
    with origin() as upstream:
        async with running_proxy(reverse(upstream)) as proxy:
            sock, ask = asker(proxy)
            with sock:
                await loop.run_in_executor(None, ask, MANY)
                gc.collect()
                tracemalloc.start()
                try:
                    await loop.run_in_executor(None, ask, MANY)
                    before, _ = tracemalloc.get_traced_memory()
                    tracemalloc.reset_peak()
                    await loop.run_in_executor(None, ask, 10 * MANY)
                    after, peak = tracemalloc.get_traced_memory()
                finally:
                    tracemalloc.stop()
    assert peak - before < HELD
    assert after - before < LEFT * 10 * MANY
