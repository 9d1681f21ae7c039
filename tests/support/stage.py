"""Plays wire cases: a raw client, a proxy (in this process or another), a raw origin that records every byte.

Requests whose path begins with `/aux` are the stage's own; every other byte that reaches the origin is the case's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Self

from tests.support.client import Client, client
from tests.support.corpus import Case, pattern, plain, request_length, wire
from tests.support.origin import unused_address
from tests.support.stage_parts import LISTENERS, Upstream, judge_own

WITHIN = 2.0
MAX_PIECES = 1_200  # a longer text is sent in pieces of a few bytes


class Stage:
    """`async with` it; `at(addresses)` tells where the proxy listens; `play` a case."""

    def __init__(self) -> None:
        self.address = ""
        self.addresses: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.changed = asyncio.Event()
        self.connections: list[Upstream] = []
        self.quiet: Callable[[], Awaitable[None]]  # waits until no lease is held and no upstream connection is busy
        self.case: Case | None = None
        self.run = "whole"
        self.used: list[Upstream] = []  # by the case
        self._server: asyncio.Server | None = None
        self._open = AsyncExitStack()
        self._other: Client | None = None  # one connection for all barriers
        self._sending: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(self._connected, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await self._open.aclose()
        self._server.close()
        for connection in self.connections:
            connection.transport.abort()

    @property
    def tunnelled(self) -> bool:
        return self.case is not None and bool(self.case.steps)

    def at(self, addresses: list[str]) -> None:
        self.addresses = dict(zip(LISTENERS, addresses, strict=True))
        self.names = {"origin": self.address, "closed": unused_address(), **self.addresses}

    def arrived(self, connection: Upstream, length: int | None) -> None:
        """Bytes of the case are here: answer them when it is time."""
        case = self.case
        assert case is not None, f"bytes after their case: {connection.data!r}"
        if connection in self.used:
            self.used.remove(connection)
        self.used.append(connection)
        ready = b"\r\n\r\n" in connection.data if case.origin_at == "head" else length is not None
        if case.steps or not ready or connection.answered:
            return
        connection.answered = True
        self._sending.append(asyncio.get_running_loop().create_task(self._answer(connection, case), name="origin"))

    async def play(self, case: Case, run: str) -> None:
        """Play one case in one way; raises AssertionError where what is seen is not what must be."""
        self.case, self.run, self.used, self._sending = case, run, [], []
        for connection in self.connections:
            connection.answered = False
            connection.data = connection.seen = b""
        self.connections = [connection for connection in self.connections if not connection.lost]
        try:
            async with asyncio.timeout(WITHIN):
                async with client(self.addresses[case.listener]) as one:
                    if run == "behind":
                        await self._behind(case, one)
                    elif case.steps:
                        await self._steps(case, one)
                    else:
                        await self._single(case, one, wire(case.send, self.names))
                await self._barrier(case)
        except TimeoutError:
            seen = b"".join(connection.seen + connection.data for connection in self.used)
            raise AssertionError(f"hangs; client saw {bytes(one.received)!r}, upstream saw {seen!r}") from None
        finally:
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)
            if case.steps:
                for connection in self.used:
                    connection.transport.close()  # a tunnel whose client is gone lives on while its origin does
            self.case = None

    async def _behind(self, case: Case, one: Client) -> None:
        first = self._aux(case, "behind")
        if case.steps:
            await one.send(first)
            assert (await one.response()).body == b"aux"
            await self._steps(case, one)
            return
        one._writer.write(first + wire(case.send, self.names))
        assert (await one.response()).body == b"aux"
        await self._single(case, one, b"")

    async def _single(self, case: Case, one: Client, data: bytes) -> None:
        await self._send(one._writer.transport, data)
        begin = one.position
        await self._read(case, one)
        self._judge_client(case, bytes(one.received[begin : one.position]))
        if case.connection.startswith("pipelined"):
            for _ in range(int(case.connection.split()[1])):
                assert (await one.response()).body == b"aux"
        if case.connection.startswith(("keep", "pipelined")):
            assert (await one.ask(self._aux(case, "after"))).body == b"aux"
        else:
            assert await one.ended_whole()

    async def _read(self, case: Case, one: Client) -> None:
        if case.connection in {"cut", "reset"}:
            await one.end()
            gone = one._reader.exception()
            assert isinstance(gone, ConnectionError) == (case.connection == "reset"), gone
            return
        while True:
            answer = await one.response(method=case.method)
            if answer.status >= 200:
                return

    async def _steps(self, case: Case, one: Client) -> None:
        for step in case.steps:
            ((verb, text),) = step.items()
            if verb == "send":
                await self._send(one._writer.transport, wire(text, self.names))
            elif verb == "answer":
                await self._send(self.used[-1].transport, wire(text, self.names))
            elif verb == "client":
                await self._expect_client(one, wire(text, self.names))
            elif verb == "upstream":
                await self._expect_upstream(wire(text, self.names))
            elif verb == "upstream_ends":
                mark = wire(text, self.names)
                await self._until(lambda mark=mark: self.used[-1].data.endswith(mark))
                self.used[-1].data = b""
            elif verb == "unasked":
                await self._unasked(wire(text, self.names))
            elif verb == "after":
                assert (await one.ask(self._aux(case, "after"))).body == b"aux"
            else:
                await self._ends(verb, text, one)

    async def _unasked(self, data: bytes) -> None:
        """Send bytes on every idle connection, and wait until the proxy has thrown them away."""
        for connection in self.connections:
            await self._send(connection.transport, data)
        await self._until(lambda: all(connection.lost or connection.ended for connection in self.connections))

    async def _ends(self, verb: str, who: str, one: Client) -> None:
        if verb == "half_close":
            one.half_close() if who == "client" else self.used[-1].transport.write_eof()
        elif verb == "close":
            one.close() if who == "client" else self.used[-1].transport.close()
        elif verb == "ended" and who == "client":
            assert await one.ended_whole()
        elif verb == "ended":
            await self._until(lambda: self.used[-1].ended or self.used[-1].lost)
            assert self.used[-1].data == b"", self.used[-1].data
        else:
            raise AssertionError(f"no such step: {verb}")

    async def _expect_client(self, one: Client, expected: bytes) -> None:
        """Exactly these bytes, with holes within the first line end that fits."""
        wanted = pattern(expected)
        while not (found := wanted.match(one.received, one.position)):
            await one._more()
        one.position = found.end()

    async def _expect_upstream(self, expected: bytes) -> None:
        wanted = pattern(expected)
        await self._until(lambda: self.used and wanted.match(self.used[-1].data))
        found = wanted.match(self.used[-1].data)
        assert found is not None
        self.used[-1].data = self.used[-1].data[found.end() :]

    def _judge_client(self, case: Case, seen: bytes) -> None:
        if isinstance(case.client, int):
            judge_own(case, seen)
        elif case.client is not None:
            expected = plain(wire(case.client, self.names))
            assert pattern(expected).fullmatch(plain(seen)), f"client saw {plain(seen)!r}, not {expected!r}"

    async def _barrier(self, case: Case) -> None:
        """What was on its way to the origin is there once an answer to something later has come."""
        drop = case.pool == "drop" or case.upstream == "unfinished"
        if drop:
            used = self.used[-1:] if case.steps else self.used
            await self._until(lambda: all(connection.lost or connection.ended for connection in used))
        if self._other is None:
            self._other = await self._open.enter_async_context(client(self.addresses["in"]))
        assert (await self._other.ask(self._aux(case, "barrier", "in"))).body == b"aux"
        if case.pool == "keep":
            assert not any(connection.lost for connection in self.used), "the upstream's connection was thrown away"
        if case.steps:
            return
        seen = b"".join(connection.seen + connection.data for connection in self.used)
        if case.upstream == "nothing":
            assert seen == b"", f"upstream saw {seen!r}"
        elif case.upstream == "unfinished":
            assert request_length(seen) is None, f"upstream saw a whole request: {seen!r}"
        elif case.upstream:
            expected = plain(wire(case.upstream, self.names))
            assert pattern(expected).fullmatch(plain(seen)), f"upstream saw {plain(seen)!r}, not {expected!r}"

    def _aux(self, case: Case, word: str, listener: str = "") -> bytes:
        base = f"http://{self.address}" if (listener or case.listener) == "out" else ""
        return f"GET {base}/aux-{word} HTTP/1.1\r\nHost: aux\r\n\r\n".encode()

    async def _answer(self, connection: Upstream, case: Case) -> None:
        await self._send(connection.transport, wire(case.origin, self.names))
        if case.origin_end == "close":
            connection.transport.close()
        elif case.origin_end == "reset":
            connection.transport.abort()

    async def _send(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        """In one piece, or in single bytes, each of which the other side has the time to read."""
        if self.run != "split":
            transport.write(data)
            return
        step = max(1, len(data) // MAX_PIECES)
        for at in range(0, len(data), step):
            if transport.is_closing():
                return
            transport.write(data[at : at + step])
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def _until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    def _connected(self) -> Upstream:
        connection = Upstream(self)
        self.connections.append(connection)
        if self.case is not None and self.case.listener == "out" and self.tunnelled:
            self.used.append(connection)  # of CONNECT: it may say nothing
        return connection
