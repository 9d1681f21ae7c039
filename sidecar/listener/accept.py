"""The listening sockets of one listener. Where file descriptors run out, clients wait in the kernel's queue.

Left alone, asyncio logs a failed `accept` thousands of times a second, and uvloop takes connections and closes them.
So connections are accepted here, a few at a time, and not with the last descriptors: a quarter of the limit, 1,024 at
most, stays free for upstreams, probes and files.
"""

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import NamedTuple

BACKLOG = 1024  # connections that wait in the kernel
BATCH = 16  # connections taken at once before others have their turn
PAUSE = 0.1  # seconds between two looks whether descriptors are free again
_QUIET = 60.0  # seconds between two warnings
_UNLIMITED = 1 << 20

log = logging.getLogger("sidecar.listener")


class Descriptors(NamedTuple):
    """How many there are, and the number from which they are kept free: the kernel gives out the lowest."""

    limit: int
    most: int


def descriptors() -> Descriptors:
    """As the process may open them now."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limit = soft if 0 < soft < _UNLIMITED else _UNLIMITED
    return Descriptors(limit, limit - min(limit // 4, 1024))


class Acceptor:
    """Accepts from `listen` until `stop`; a protocol of `make` serves each connection."""

    def __init__(self, make: Callable[[], asyncio.Protocol]) -> None:
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._descriptors = descriptors()
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()  # of connections that are not made yet
        self._timer: asyncio.TimerHandle | None = None  # runs while accepting pauses
        self._warned = -inf

    async def listen(self, host: str | None, port: int) -> tuple[str, int]:
        """Bind (`host` None: all addresses) and accept; returns the first address bound. Raises OSError."""
        server = await self._loop.create_server(asyncio.Protocol, host, port, start_serving=False)
        self._sockets = [socket.socket(fileno=os.dup(each.fileno())) for each in server.sockets]
        server.close()
        self._start()
        name = self._sockets[0].getsockname()
        return name[0], name[1]

    def listen_unix(self, path: str) -> None:
        """Bind a Unix socket and accept. Raises OSError."""
        _unlink_socket(path)
        bound = socket.socket(socket.AF_UNIX)
        self._sockets = [bound]
        try:
            bound.bind(path)
        except OSError:
            self.stop()
            raise
        self._start()

    def stop(self) -> None:
        """Accept no more; what waits in the queue is reset."""
        if self._timer is not None:
            self._timer.cancel()
        for each in self._sockets:
            self._loop.remove_reader(each)
            each.close()
        self._sockets = []

    async def aclose(self) -> None:
        """Stop, and wait until that is done."""
        self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _start(self) -> None:
        for each in self._sockets:
            each.setblocking(False)
            each.listen(BACKLOG)
        self._resume()

    def _resume(self) -> None:
        self._timer = None
        for each in self._sockets:
            self._loop.add_reader(each, self._accept, each)

    def _accept(self, listening: socket.socket) -> None:
        """Take what waits; the last one taken before a pause is served too."""
        for _ in range(BATCH):
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # EMFILE, ENFILE, ENOBUFS, ENOMEM
                self._pause(error.strerror or str(error))
                return
            task = self._loop.create_task(self._connect(accepted), name="accepted connection")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if accepted.fileno() >= self._descriptors.most:
                self._pause(f"{self._descriptors.limit} are allowed")
                return

    async def _connect(self, accepted: socket.socket) -> None:
        with suppress(OSError):  # it is gone already
            accepted.setblocking(False)
            if accepted.family != socket.AF_UNIX:
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._make, accepted)

    def _pause(self, reason: str) -> None:
        for each in self._sockets:
            self._loop.remove_reader(each)
        self._timer = self._loop.call_later(PAUSE, self._resume)
        if self._loop.time() - self._warned > _QUIET:
            log.warning("file descriptors run out (%s): accepting pauses until some are free", reason)
            self._warned = self._loop.time()


def _unlink_socket(path: str) -> None:
    """A socket file left by a process that is gone would keep its name taken for ever."""
    with suppress(FileNotFoundError):
        if Path(path).is_socket():
            Path(path).unlink()
