"""One attempt: take a connection, write the request, wait for the response head, and tell everybody how it went."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

from sidecar.clusters.cluster import Cluster, Lease
from sidecar.clusters.outcome import ConnectFailed as NoConnection
from sidecar.clusters.outcome import Outcome, ProtocolBroken, Reset, Responded, TimedOut
from sidecar.errors import (
    ConnectFailed,
    ConnectTimeout,
    ProxyError,
    RequestTimeout,
    UpstreamError,
    UpstreamOverflow,
    UpstreamReset,
    UpstreamTimeout,
)
from sidecar.forwarding.body import close_attempt
from sidecar.forwarding.headers import HeaderRules
from sidecar.forwarding.replay import ReplayBody
from sidecar.model import Address, Attempt, RawHeaders, Request
from sidecar.telemetry.metrics import Metrics
from sidecar.upstream.connection import Connection
from sidecar.upstream.exchange import Exchange
from sidecar.upstream.pool import Pool

_RETRY_AFTER_STATUS = frozenset({429, 503})


@dataclass(slots=True)
class Progress:
    """What the loop has tried so far for one request."""

    replay: ReplayBody | None  # a streamed request body
    tried: list[Address]
    repeats: int = 0  # retries that the policy allowed
    free_repeats: int = 0  # retries of what cannot have been processed
    fresh_connection: bool = False  # the pooled one was stale: take a new one
    budgeted: bool = False  # the retry budget counts the attempt that runs

    @property
    def replayable(self) -> bool:
        """Whether the request body can be sent again."""
        return self.replay is None or self.replay.replayable


@dataclass(slots=True)
class Tried:
    """An attempt at its response head, or at its failure."""

    lease: Lease
    attempt: Attempt
    outcome: int | ProxyError  # a status, or what went wrong
    exchange: Exchange | None

    async def drop(self) -> None:
        """Another attempt follows: let go of this one, and of the request body."""
        close_attempt(self.attempt)
        self.lease.release()
        if self.exchange is not None:
            await self.exchange.aclose()


def begin_attempt(cluster: Cluster, lease: Lease, request: Request) -> Attempt:
    """The record of an attempt that begins now."""
    attempt = Attempt(cluster.name, lease.host.endpoint.address, len(request.attempts), time.time_ns())
    if cluster.spec.tls is not None:
        attempt.scheme = "https"
    request.attempts.append(attempt)
    return attempt


class Attempts:
    """Makes attempts; one instance serves all listeners."""

    def __init__(self, rules: HeaderRules, metrics: Metrics, rng: random.Random) -> None:
        self.rules = rules
        self.metrics = metrics
        self.rng = rng

    async def make(self, request: Request, cluster: Cluster, limit: float | None, progress: Progress) -> Tried:
        """Lease and send within `limit` seconds; a failure of the upstream is an outcome, a refused lease is raised."""
        lease = cluster.lease(request, progress.tried)
        attempt = begin_attempt(cluster, lease, request)
        try:
            exchange = await self._send(request, lease, attempt, limit, progress)
        except ProxyError as failure:
            self.record(cluster, lease, attempt, failure)
            return Tried(lease, attempt, failure, None)
        except BaseException:
            close_attempt(attempt)
            lease.release()
            raise
        self.record(cluster, lease, attempt, exchange.status, exchange)
        return Tried(lease, attempt, exchange.status, exchange)

    def record(
        self,
        cluster: Cluster,
        lease: Lease,
        attempt: Attempt,
        outcome: int | ProxyError,
        exchange: Exchange | None = None,
    ) -> None:
        """Tell the span, the balancer and the outlier detector; an ejection is an event of this attempt."""
        if isinstance(outcome, int):
            verdict: Outcome | None = _responded(attempt, outcome, exchange)
        else:
            attempt.error_type, attempt.details = outcome.error_type, str(outcome)
            verdict = _blame(outcome)
        ejection = lease.finish(verdict) if verdict is not None else None
        if ejection is not None:
            self.metrics.ejected(cluster.name, ejection.reason)
            facts: dict[str, str | int | float] = {
                "network.peer.address": str(attempt.address),
                "sidecar.ejection.reason": ejection.reason,
            }
            attempt.events.append((time.time_ns(), "sidecar.ejection", facts))

    async def _send(
        self, request: Request, lease: Lease, attempt: Attempt, limit: float | None, progress: Progress
    ) -> Exchange:
        loop = asyncio.get_running_loop()
        deadline = request.deadline
        if limit is not None:
            own = loop.time() + limit
            deadline = own if deadline is None else min(deadline, own)
        pool = cast("Pool", lease.host.pool)
        connection = None if progress.fresh_connection else pool.take()
        if connection is None:
            connection = await _open(pool, deadline, request.deadline)
        attempt.reused = connection.used
        try:
            exchange = self._write(request, attempt, connection, progress)
            if deadline is not None:
                exchange.timer = loop.call_at(deadline, exchange.fail, _timed_out(deadline, request.deadline, attempt))
            await exchange.head()
        except BaseException as failure:
            if isinstance(failure, UpstreamTimeout | RequestTimeout):
                failure.blameless = connection.starved
            connection.abort()
            await connection.settle()
            raise
        return exchange

    def _write(self, request: Request, attempt: Attempt, connection: Connection, progress: Progress) -> Exchange:
        head = self.rules.head(request, request.trace.inject(attempt) if request.trace is not None else None)
        body: bytes | AsyncIterator[bytes] | None
        chunked = request.length is None
        if progress.replay is not None:
            body = progress.replay.attempt()
        else:
            body = cast("bytes | None", request.body)
            if chunked and body is not None:
                body = chunked_body(body, request.trailers)
        return connection.begin(request, head, body, chunked=chunked)


def chunked_body(body: bytes, trailers: RawHeaders) -> bytes:
    """A whole body in one chunk, with its trailers."""
    end = b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % pair for pair in trailers])
    return b"%x\r\n%b\r\n%b" % (len(body), body, end) if body else end


async def _open(pool: Pool, deadline: float | None, request_deadline: float | None) -> Connection:
    if deadline is None:
        return await pool.open()
    try:
        async with asyncio.timeout_at(deadline):
            return await pool.open()
    except TimeoutError:
        if deadline == request_deadline:
            raise RequestTimeout("the route's request timeout ran out while connecting") from None
        raise ConnectTimeout(f"no connection to {pool.address} within the attempt's timeout") from None


def _timed_out(deadline: float, request_deadline: float | None, attempt: Attempt) -> ProxyError:
    if deadline == request_deadline:
        return RequestTimeout("the route's request timeout ran out")
    return UpstreamTimeout(f"no whole response from {attempt.address} within the attempt's timeout")


def _responded(attempt: Attempt, status: int, exchange: Exchange | None) -> Responded:
    attempt.status = status
    if status >= 500:
        attempt.error_type = str(status)
    after = _retry_after(exchange) if status in _RETRY_AFTER_STATUS and exchange is not None else None
    return Responded(status, (time.time_ns() - attempt.start_ns) / 1e9, after)


def _blame(failure: ProxyError) -> Outcome | None:
    """What the endpoint is blamed for; None: nothing of its doing."""
    match failure:
        case ConnectFailed():
            return NoConnection(timeout=isinstance(failure, ConnectTimeout))
        case UpstreamReset():
            return None if failure.unsent else Reset()
        case UpstreamTimeout() | RequestTimeout():
            return None if failure.blameless else TimedOut()
        case UpstreamError() if not isinstance(failure, UpstreamOverflow):
            return ProtocolBroken()
        case _:
            return None


def _retry_after(exchange: Exchange) -> float | None:
    for name, value in exchange.headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) < 7:
            return float(value)
    return None
