"""Measured on some systems only.

Growth with endpoints and routes, each filter, WebSocket, memory with Kubernetes discovery, and how well the balancer
avoids a slow endpoint.
"""

import select
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.credentials import ISSUER, KEY_FILE, bearer
from bench.load import quantile, request
from bench.machine import Failed
from bench.measure import RATE, Lengths, Metrics, running
from bench.origin import Around
from bench.systems import KUBERNETES, PEERS, SYSTEMS, System

SCALES = (1, 10, 100, 1_000)  # endpoints, and as many routes
_JWT = {"issuer": ISSUER, "audiences": ["bench"], "secretFile": str(KEY_FILE)}
_SHOP = {"set": [{"name": "x-team", "value": "shop"}]}


@dataclass(frozen=True)
class Chain:
    """A rule's filters, and what the request has for them."""

    filters: Sequence[Mapping[str, Any]]
    field: str = ""


FILTERS = {  # a new filter is a new row here
    "none": Chain(()),
    "RequestHeaderModifier": Chain(({"type": "RequestHeaderModifier", "requestHeaderModifier": _SHOP},)),
    "ResponseHeaderModifier": Chain(({"type": "ResponseHeaderModifier", "responseHeaderModifier": _SHOP},)),
    "URLRewrite": Chain(({"type": "URLRewrite", "urlRewrite": {"hostname": "orders.internal"}},)),
    "Python, one that does nothing": Chain(
        ({"type": "Python", "python": {"function": "pass_on:pass_on", "folder": str(PEERS)}},)
    ),
    "CORS, an allowed origin": Chain(
        ({"type": "CORS", "cors": {"allowOrigins": ["https://shop.example"]}},), "Origin: https://shop.example"
    ),
    "Compress, a body too small": Chain(({"type": "Compress", "compress": {}},), "Accept-Encoding: gzip"),
    "Auth, a token seen before": Chain(({"type": "Auth", "auth": {"jwt": _JWT}},), bearer()),
    "Cache, a hit": Chain(({"type": "Cache", "cache": {}},)),
}
POLICIES = {  # column: system, its policy
    "envoy round robin": ("envoy", "ROUND_ROBIN"),
    "envoy least request": ("envoy", "LEAST_REQUEST"),
    "aiohttp": ("aiohttp", ""),
    "native": ("native", ""),
}
BALANCE_RATE = 200  # requests a second
_SOCKETS, _MESSAGE = 16, 64  # WebSockets, bytes of payload
UPGRADE = request(
    "/ws",
    extra="Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
)
_FRAME = b"\x82" + bytes([0x80 | _MESSAGE]) + b"\x01\x02\x03\x04" + b"m" * _MESSAGE  # binary, masked: RFC 6455 §5.2


def scale(system: System, around: Around, lengths: Lengths) -> Metrics:
    """CPU saturated and p99 at 500/s with 1 to 1,000 endpoints and routes; each request takes the next route."""
    metrics = {}
    for number in SCALES:
        endpoints = [(f"127.0.{1 + n // 250}.{1 + n % 250}", around.origin) for n in range(number)]
        requests = [request(f"/r{n}/200") if number > 1 else request("/r/200") for n in range(number)]
        with running(system, around, endpoints=endpoints, routes=number) as served:
            served.closed(requests, lengths.special)  # opens the connections
            _, metrics[f"scale_{number}_cpu"] = served.closed(requests, lengths.special)
            result, _ = served.open(requests, RATE, lengths.special)
            metrics[f"scale_{number}_p99"] = result.quantile(0.99)
    return metrics


def filters(system: System, around: Around, lengths: Lengths) -> Metrics:
    """CPU for a request through one filter; `none` is what to compare with."""
    metrics = {}
    for name, chain in FILTERS.items():
        requests = [request(extra=chain.field)]
        with running(system, around, filters=chain.filters, probe=requests[0]) as served:
            served.closed(requests, lengths.warm)
            _, metrics[f"filter_{name}"] = served.closed(requests, lengths.special)
    return metrics


def websocket(system: System, around: Around, lengths: Lengths) -> Metrics:
    """CPU for one message there and back, on 16 WebSockets that each wait for the echo."""
    with running(system, around, endpoints=[("127.0.0.1", around.echo)], probe=UPGRADE) as served:
        sockets = [_handshake(served.address) for _ in range(_SOCKETS)]
        served.sent += len(sockets)
        try:
            _echo(sockets, lengths.warm)
            before = served.process.cpu()
            messages = _echo(sockets, lengths.special)
            return {"websocket": (served.process.cpu() - before) / messages * 1e6}
        finally:
            for sock in sockets:
                sock.close()


def balance(column: str, around: Around, lengths: Lengths) -> Metrics:
    """p50 and p99 in ms at 200/s over ten endpoints of which one is 50 times slower."""
    key, policy = POLICIES[column]
    endpoints = [("127.0.0.1", port) for port in around.slow]
    with running(SYSTEMS[key], around, endpoints=endpoints, balance=policy) as served:
        served.open([request()], BALANCE_RATE, lengths.special)  # it learns
        result, _ = served.open([request()], BALANCE_RATE, 2 * lengths.special)
    return {"balance_p50": quantile(result.latencies, 0.5) * 1e3, "balance_p99": quantile(result.latencies, 0.99) * 1e3}


def kubernetes(key: str, around: Around, lengths: Lengths) -> Metrics:
    """Memory with tracing on and endpoints watched from an API server, at rest and after load."""
    with running(KUBERNETES[key], around) as served:
        time.sleep(1)  # the watch is established
        idle = served.process.rss()
        served.closed([request()], lengths.closed)
        served.closed([request("/1m")], lengths.large, 4)
        return {"rss_idle": idle, "rss_after": served.process.rss()}


def _handshake(address: tuple[str, int]) -> socket.socket:
    sock = socket.create_connection(address, timeout=10)
    sock.sendall(UPGRADE)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        more = sock.recv(4096)
        if not more:
            break
        answer += more
    if answer[9:12] != b"101":
        raise Failed(f"the WebSocket was refused: {answer[:100]!a}")
    return sock


def _echo(sockets: Sequence[socket.socket], seconds: float) -> int:
    """Each sends its next message when the last has come back whole; how many came back."""
    poll = select.epoll()
    waiting = {sock.fileno(): (sock, len(_FRAME)) for sock in sockets}
    for number in waiting:
        poll.register(number, select.EPOLLIN)
    until = time.perf_counter() + seconds
    messages, busy = 0, len(sockets)
    for sock in sockets:
        sock.send(_FRAME)
    while busy:
        events = poll.poll(10)
        if not events:
            raise Failed("a WebSocket message did not come back")
        for number, _ in events:
            sock, left = waiting[number]
            left -= len(sock.recv(4096))
            if not left:
                messages += 1
                left = len(_FRAME)
                if time.perf_counter() < until:
                    sock.send(_FRAME)
                else:
                    busy -= 1
            waiting[number] = (sock, left)
    poll.close()
    return messages


ON = {
    scale: ("envoy", "aiohttp", "native"),
    filters: ("aiohttp", "native"),
    websocket: ("nginx", "envoy", "caddy", "aiohttp", "native"),
}
