"""Parts of the stage: the proxy's configuration, a connection at the origin, and what an answer of our own must be."""

import asyncio
from typing import TYPE_CHECKING, Any

from tests.support.corpus import Case, request_length

if TYPE_CHECKING:
    from tests.support.stage import Stage

AUX = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\naux"


def config(origin: str) -> dict[str, Any]:
    """The proxy's configuration: one listener for each kind of case."""
    routes = [{"rules": [{"backendRefs": [{"name": "app"}]}]}]
    limits = {"max_header_bytes": 1000, "max_header_count": 10, "max_target_bytes": 500, "max_body_bytes": 10}
    free = {"engine": "native", "address": "127.0.0.1:0"}
    listeners = [
        {"name": "in", "routes": routes, **free},
        {"name": "limited", "routes": routes, "limits": limits, **free},
        {"name": "untrusted", "routes": routes, "trusted_proxies": [], **free},
        {"name": "out", "mode": "forward", **free},
    ]
    return {
        "listeners": listeners,
        "clusters": [{"name": "app", "static": {"endpoints": [origin]}}],
        "admin": {"address": None},
        "drain": {"timeout": "2s"},
    }


LISTENERS = ("in", "limited", "untrusted", "out")


class Upstream(asyncio.Protocol):
    """One connection at the origin."""

    def __init__(self, stage: "Stage") -> None:
        self.stage = stage
        self.data = b""  # what is not yet a whole request
        self.seen = b""  # whole requests of the case
        self.lost = False
        self.ended = False
        self.answered = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # asyncio hands a Transport to a stream protocol

    def data_received(self, data: bytes) -> None:
        self.data += data
        while self.data:
            length = request_length(self.data)
            if self.data.partition(b" ")[2].startswith(b"/aux"):
                if length is None:
                    break
                self.data = self.data[length:]
                self.transport.write(AUX)
                continue
            self.stage.arrived(self, length)
            if length is None or self.stage.tunnelled:
                break
            self.seen += self.data[:length]
            self.data = self.data[length:]
        self.stage.changed.set()

    def eof_received(self) -> bool:
        self.ended = True
        self.stage.changed.set()
        return self.stage.tunnelled

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.lost = True
        self.stage.changed.set()


def judge_own(case: Case, seen: bytes) -> None:
    """An answer of the proxy's own: its cause in Proxy-Status, its length, and whether it closes."""
    head, _, body = seen.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % case.client), f"client saw {seen!r}"
    lines = head.split(b"\r\n")
    error = case.error or ("http_protocol_error" if case.client == 502 else "http_request_error")
    status = next((line for line in lines if line.startswith(b"Proxy-Status: ")), b"")
    assert status.startswith(b'Proxy-Status: sidecar; error=%b; details="' % error.encode()), seen
    assert case.says.encode() in body, f"{case.says!r} is not said in {seen!r}"
    assert (b"Connection: close" in lines) == (case.connection == "close"), seen
    if case.method != "HEAD":
        assert b"Content-Length: %d" % len(body) in lines, seen
        assert body.startswith(b"%d " % case.client), seen
