"""The listening sockets of one listener. Where file descriptors run out, clients wait in the kernel's queue.

Left alone, asyncio logs a failed `accept` thousands of times a second, and uvloop takes connections and closes them.
So accepting pauses before the last descriptor: a quarter of the limit stays free for upstreams, probes and files.
"""

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path

BACKLOG = 1024  # connections that wait in the kernel
PAUSE = 0.1  # seconds between two looks whether descriptors are free again
_UNLIMITED = 1 << 20
_QUIET = 60.0  # seconds between two warnings

log = logging.getLogger("sidecar.listener")


class Acceptor:
    """Accepts from `listen` until `stop`; a protocol of `make` serves each connection."""

    def __init__(self, make: Callable[[], asyncio.Protocol]) -> None:
        self._make = make
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._limit = limit if 0 < limit < _UNLIMITED else _UNLIMITED
        self._backlog = min(BACKLOG, max(self._limit // 4, 1))  # so many may be taken at once before we can pause
        self._most = self._limit - self._limit // 4 - self._backlog
        self._servers: list[asyncio.Server] = []
        self._sockets: list[socket.socket] = []  # keep the kernel's queue while nobody accepts
        self._crowded = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._warned = -inf

    async def listen(self, host: str | None, port: int) -> Sequence[socket.socket]:
        """Bind (`host` None: all addresses) and accept; returns the sockets. Raises OSError."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._accepted, host, port, backlog=self._backlog)
        self._servers = [server]
        self._sockets = [socket.socket(fileno=os.dup(each.fileno())) for each in server.sockets]
        self._task = loop.create_task(self._pause_when_crowded(), name="accepting")
        return self._sockets

    async def listen_unix(self, path: str) -> None:
        """Bind a Unix socket, whose clients are local: it does not pause. Raises OSError."""
        _unlink_socket(path)
        loop = asyncio.get_running_loop()
        self._servers = [await loop.create_unix_server(self._make, path, backlog=self._backlog)]

    def stop(self) -> None:
        """Accept no more; what waits in the queue is reset."""
        if self._task is not None:
            self._task.cancel()
        self._close()
        for each in self._sockets:
            each.close()
        self._sockets = []

    async def aclose(self) -> None:
        """Stop, and wait until that is done."""
        self.stop()
        if self._task is not None:
            await asyncio.wait((self._task,))

    def _accepted(self) -> asyncio.Protocol:
        if not self._crowded.is_set() and self._full():
            self._crowded.set()
        return self._make()

    def _full(self) -> bool:
        """Whether the next descriptor would be one of those kept free: the kernel gives out the lowest."""
        try:
            descriptor = os.dup(self._sockets[0].fileno())
        except OSError:
            return True
        os.close(descriptor)
        return descriptor >= self._most

    async def _pause_when_crowded(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._crowded.wait()
            self._close()
            if loop.time() - self._warned > _QUIET:
                self._warned = loop.time()
                log.warning("file descriptors run out (limit %d): accepting pauses until some are free", self._limit)
            while not await self._resumed():
                await asyncio.sleep(PAUSE)  # descriptors are freed by whoever closes, without a word
            self._crowded.clear()

    async def _resumed(self) -> bool:
        loop = asyncio.get_running_loop()
        try:
            for each in () if self._full() else self._sockets:
                server = await loop.create_server(self._accepted, sock=each.dup(), backlog=self._backlog)
                self._servers.append(server)
        except OSError:  # the last descriptor went in between
            self._close()
        return bool(self._servers)

    def _close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers = []


def _unlink_socket(path: str) -> None:
    """A socket file left by a process that is gone would keep its name taken for ever."""
    with suppress(FileNotFoundError):
        if Path(path).is_socket():
            Path(path).unlink()
