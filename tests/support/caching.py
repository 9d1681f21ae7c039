"""A proxy with a cache before a scripted origin, and the words of the tests about it."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sidecar.filters.cache.entry import Entry
from sidecar.filters.cache.store import Store
from tests.support.client import Answered, ask
from tests.support.origin import Origin, OriginConnection, Received, Serve, Step
from tests.support.proxy import Running, reverse, running_proxy


def reply(body: bytes = b"hello", *lines: bytes, status: bytes = b"200 OK") -> bytes:
    """A response with a length."""
    head = b"".join(b"%b\r\n" % line for line in lines)
    length = b"" if status[:3] in {b"304", b"204"} else b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 %b\r\n%b%b\r\n%b" % (status, length, head, body)


@dataclass
class Cached:
    """The proxy, its origin, and short ways to ask."""

    proxy: Running
    origin: Origin

    async def get(self, target: bytes = b"/a", *lines: bytes, method: bytes = b"GET", body: bytes = b"") -> Answered:
        """One request on a connection of its own."""
        extra = b"".join(b"%b\r\n" % line for line in lines)
        length = b"Content-Length: %d\r\n" % len(body) if body else b""
        request = b"%b %b HTTP/1.1\r\nHost: shop.example\r\n%b%b\r\n%b" % (method, target, extra, length, body)
        return await ask(self.proxy.address, request)

    @property
    def asked(self) -> list[Received]:
        """What reached the origin."""
        return self.origin.requests

    @property
    def store(self) -> Store:
        """The first store."""
        return cast("Store", next(iter(self.proxy.proxy.keeper._kept.values())))

    @property
    def entries(self) -> list[Entry]:
        """All that is stored."""
        return [entry for each in self.store._resources.values() for entry in each.entries.values()]

    def pass_time(self, seconds: float) -> None:
        """Let everything stored be older."""
        for entry in self.entries:
            entry.received -= seconds
            entry.expires -= seconds
            entry.head = None


@asynccontextmanager
async def cached(
    serve: Serve, *, folder: Path | None = None, rule: dict[str, Any] | None = None, **settings: object
) -> AsyncIterator[Cached]:
    """A running proxy whose one rule has a Cache filter with these settings."""
    filters = [{"type": "Cache", "cache": settings}]
    async with Origin(serve) as origin:
        config = reverse(origin.address, rule={"filters": filters, **(rule or {})})
        async with running_proxy(config, folder=folder) as proxy:
            yield Cached(proxy, origin)


def status_of(answer: Answered) -> str:
    """What Cache-Status says."""
    return b", ".join(answer.values(b"cache-status")).decode()


def is_status(answer: Answered, wanted: str) -> bool:
    """Whether Cache-Status says this; a busy machine may take some seconds off its ttl."""
    given, said = _parts(status_of(answer)), _parts(wanted)
    return given[0] == said[0] and (given[1] is said[1] is None or abs(int(given[1] or 0) - int(said[1] or 0)) <= 4)


def _parts(text: str) -> tuple[str, str | None]:
    found = re.search(r"ttl=(-?\d+)", text)
    return re.sub(r"ttl=-?\d+", "ttl", text), found[1] if found else None


def age_of(answer: Answered) -> int:
    """The one Age of an answer."""
    (value,) = answer.values(b"age")
    return int(value)


def in_turn(*replies: bytes | tuple[Step, ...]) -> Serve:
    """As `answers`, but over all connections: each request gets the next reply."""
    at = 0

    async def serve(connection: OriginConnection) -> None:
        nonlocal at
        while await connection.request() is not None:
            at += 1
            for step in _steps(replies[min(at, len(replies)) - 1]):
                if isinstance(step, bytes):
                    await connection.send(step)
                elif isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    step(connection)

    return serve


def _steps(one: bytes | tuple[Step, ...]) -> tuple[Step, ...]:
    return (one,) if isinstance(one, bytes) else one


def by_target(**replies: bytes) -> Serve:
    """The same answer for each request of a path: `by_target(a=...)` answers `/a`."""

    async def serve(connection: OriginConnection) -> None:
        while (request := await connection.request()) is not None:
            name = request.line.split(b" ")[1].decode().strip("/").partition("?")[0]
            await connection.send(replies[name])

    return serve
