"""A raw origin on port 0: answers each connection as a coroutine or a script says, and keeps every byte it got.

`async with Origin(answers(OK)) as origin:` then `origin.address` for the configuration and
`origin.connections[0].received` for the bytes. What a script sends is sent as it is, be it HTTP or not.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from tests.support.wire import Wire

WITHIN = 5.0  # seconds a test waits for what must happen
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    head: bytes  # with the empty line
    body: bytes  # without chunk framing
    raw: bytes

    @property
    def line(self) -> bytes:
        return self.head.partition(b"\r\n")[0]

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """Field lines in order, split at `: `."""
        lines = self.head.split(b"\r\n")[1:-2]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name.lower()]


class _Reader(asyncio.StreamReader):
    """Tells that the peer has ended, whether or not anybody reads."""

    def __init__(self) -> None:
        super().__init__(limit=65_536, loop=asyncio.get_running_loop())
        self.ended = asyncio.Event()

    def feed_eof(self) -> None:
        self.ended.set()
        super().feed_eof()

    def set_exception(self, exc: Exception) -> None:
        self.ended.set()
        super().set_exception(exc)


class OriginConnection(Wire):
    """The origin's end of one connection; `requests` are those read by `request()`."""

    def __init__(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self.requests: list[Received] = []
        self.gone = reader.ended  # the peer has closed or reset

    async def request(self) -> Received | None:
        """Read one whole request; None where the peer closes instead."""
        begin = self.position
        try:
            head = await self.until(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        body, _ = await self.body(head)
        request = Received(head, body, bytes(self.received[begin : self.position]))
        self.requests.append(request)
        return request

    async def until_gone(self) -> None:
        """Read on until the peer closes."""
        await self.rest()


Serve: TypeAlias = Callable[[OriginConnection], Awaitable[None]]
Step: TypeAlias = bytes | asyncio.Event | Callable[[OriginConnection], Any]


def close(connection: OriginConnection) -> None:
    """A step: close in order."""
    connection.close()


def reset(connection: OriginConnection) -> None:
    """A step: close with a TCP reset."""
    connection.reset()


def answers(*replies: bytes | tuple[Step, ...]) -> Serve:
    """For each request the next reply, the last one again and again; a reply is bytes or steps.

    A step is bytes to send, an event to wait for, or a function of the connection.
    """

    async def serve(connection: OriginConnection) -> None:
        at = 0
        while await connection.request() is not None:
            reply = replies[min(at, len(replies) - 1)]
            at += 1
            for step in (reply,) if isinstance(reply, bytes) else reply:
                await _do(step, connection)

    return serve


def each_connection(*serves: Serve) -> Serve:
    """The first connection is served by the first, and so on; the last serves all others."""
    turn = iter(serves)
    last = serves[-1]

    async def serve(connection: OriginConnection) -> None:
        await next(turn, last)(connection)

    return serve


async def _do(step: Step, connection: OriginConnection) -> None:
    if isinstance(step, bytes):
        await connection.send(step)
    elif isinstance(step, asyncio.Event):
        await step.wait()
    else:
        step(connection)


class Origin:
    """Serves until its block ends; whatever a handler raises beyond a lost connection fails the test."""

    def __init__(
        self, serve: Serve | None = None, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.connections: list[OriginConnection] = []
        self.address = ""
        self._serve = serve or answers(OK)
        self._host, self._port = host, port
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[BaseException] = []
        self._changed = asyncio.Condition()

    @property
    def requests(self) -> list[Received]:
        """All requests read, by connection."""
        return [request for connection in self.connections for request in connection.requests]

    @property
    def received(self) -> bytes:
        """All bytes of all connections."""
        return b"".join(bytes(connection.received) for connection in self.connections)

    async def connected(self, count: int = 1) -> OriginConnection:
        """Wait until `count` connections came; returns the last."""
        async with asyncio.timeout(WITHIN), self._changed:
            await self._changed.wait_for(lambda: len(self.connections) >= count)
        return self.connections[count - 1]

    async def stop(self) -> None:
        """Be killed: no listening socket, every connection reset."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self.connections:
            connection.reset()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol, self._host, self._port, ssl=self._tls
        )
        self._port = self._server.sockets[0].getsockname()[1]
        self.address = f"{self._host}:{self._port}"
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        await self.stop()
        if kind is None and self._errors:
            raise self._errors[0]

    def _protocol(self) -> asyncio.Protocol:
        reader = _Reader()
        return asyncio.StreamReaderProtocol(reader, lambda _, writer: self._accept(reader, writer))

    def _accept(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        connection = OriginConnection(reader, writer)
        task = asyncio.get_running_loop().create_task(self._run(connection), name="origin")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, connection: OriginConnection) -> None:
        async with self._changed:
            self.connections.append(connection)
            self._changed.notify_all()
        try:
            await self._serve(connection)
            await connection.until_gone()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:  # noqa: BLE001 - raised when the block ends
            self._errors.append(error)
        finally:
            connection.close()


@contextmanager
def deaf_address() -> Iterator[str]:
    """An address that takes no connection and refuses none: its queue is full."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        host, port = listening.getsockname()
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        yield f"{host}:{port}"


def unused_address() -> str:
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
