"""The load generator: one thread, raw sockets on epoll. It parses no more of an answer than where it ends.

Closed loop: every connection always has a request under way. Open loop: requests are due at fixed times whatever the
answers do, and latency counts from the due time, so that a stall is seen by all requests it delayed (no coordinated
omission). `late` tells how late the generator itself was.
"""

import re
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from bench.machine import Failed

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_WITHIN = 10.0  # seconds for what is under way when the time is over
Address = tuple[str, int]


@dataclass
class Result:
    """What came of it; times in seconds."""

    requests: int = 0
    errors: int = 0
    elapsed: float = 0.0
    body_bytes: int = 0
    latencies: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Of the latencies, in microseconds."""
        return quantile(self.latencies, share) * 1e6


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed."""
    if not values:
        return float("nan")
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def request(path: str = "/200", host: str = "bench.example", *, close: bool = False, extra: str = "") -> bytes:
    """A request as a browser's `fetch` sends it: five fields."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: bench/1.0",
        "Accept: application/json",
        "Accept-Language: en-GB,en;q=0.8",
        "X-Request-Id: 3f2c7a64-6f0a-4b76-9d57-0c4f7d1a2b3c",
    ]
    return "\r\n".join(
        [*lines, *(["Connection: close"] if close else []), *([extra] if extra else []), "", ""]
    ).encode()


class _Link:
    """One connection and where its answer stands."""

    __slots__ = ("chunked", "due", "left", "sock", "tail")

    def __init__(self, address: Address) -> None:
        self.sock = socket.create_connection(address, timeout=_WITHIN)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.left = -1  # of the body; -1: the head is awaited
        self.chunked = False
        self.tail = b""
        self.due = 0.0

    def ended(self, data: bytes, result: Result) -> bool:
        """Take what came; whether the answer is complete."""
        if self.left < 0:
            data = self.tail + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self.tail = data
                return False
            head, data, self.tail = data[:end], data[end + 4 :], b""
            if head[9:12] != b"200":
                result.errors += 1
            length = _LENGTH.search(head)
            self.chunked = length is None
            self.left = 1 if length is None else int(length[1])
        result.body_bytes += len(data)
        if self.chunked:
            self.tail = (self.tail + data)[-5:]
            self.left = 0 if self.tail.endswith(b"0\r\n\r\n") else 1
        else:
            self.left -= len(data)
        if self.left > 0:
            return False
        self.left, self.tail = -1, b""
        return True


class Load:
    """Connections to one address that send the given requests in turn."""

    def __init__(self, address: Address, requests: Sequence[bytes], connections: int) -> None:
        self._epoll = select.epoll()
        self._requests = requests
        self._next = 0
        self._links = {link.sock.fileno(): link for link in (_Link(address) for _ in range(connections))}
        for number in self._links:
            self._epoll.register(number, select.EPOLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links.values():
            link.sock.close()
        self._epoll.close()

    def closed(self, seconds: float) -> Result:
        """Keep every connection busy for so long."""
        result = Result()
        begin = time.perf_counter()
        until = begin + seconds
        for link in self._links.values():
            self._send(link, begin)
        busy = len(self._links)
        while busy:
            for number, _ in self._poll(until + _WITHIN):
                link = self._links[number]
                if self._take(link, result):
                    now = time.perf_counter()
                    if now < until:
                        self._send(link, now)
                    else:
                        busy -= 1
        result.elapsed = time.perf_counter() - begin
        return result

    def open(self, rate: float, seconds: float) -> Result:
        """Send `rate` requests a second, each at its due time or as soon after it as a connection is free."""
        result = Result()
        begin = time.perf_counter()
        step, count, sent, done = 1 / rate, int(rate * seconds), 0, 0
        free = deque(self._links.values())
        while done < count:
            now = time.perf_counter()
            while sent < count and free and begin + sent * step <= now:
                due = begin + sent * step
                result.late.append(now - due)
                self._send(free.popleft(), due)
                sent += 1
            due = begin + sent * step if sent < count and free else now + 1
            select.select(
                [self._epoll], [], [], max(0.0, due - time.perf_counter())
            )  # epoll's own timeout has whole ms
            for number, _ in self._epoll.poll(0):
                link = self._links[number]
                if self._take(link, result):
                    done += 1
                    free.append(link)
            if now > begin + seconds + _WITHIN:
                raise Failed("requests were not answered in time")
        result.elapsed = time.perf_counter() - begin
        return result

    def _poll(self, deadline: float) -> list[tuple[int, int]]:
        events = self._epoll.poll(1)
        if not events and time.perf_counter() > deadline:
            raise Failed("requests were not answered in time")
        return events

    def _send(self, link: _Link, due: float) -> None:
        link.due = due
        link.sock.send(self._requests[self._next])
        self._next = (self._next + 1) % len(self._requests)

    def _take(self, link: _Link, result: Result) -> bool:
        try:
            data = link.sock.recv(262_144)
        except BlockingIOError:
            return False
        if not data:
            raise Failed("a connection was closed within the load")
        if not link.ended(data, result):
            return False
        result.requests += 1
        result.latencies.append(time.perf_counter() - link.due)
        return True


def once(address: Address, wanted: bytes) -> bool:
    """Whether one request is answered with 200 (or 101) now."""
    try:
        with socket.create_connection(address, timeout=1) as sock:
            sock.sendall(wanted)
            return sock.recv(4096)[9:12] in (b"200", b"101")
    except OSError:
        return False
