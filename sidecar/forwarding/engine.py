"""The attempt loop: attempt, judge, and either answer or try again. Decisions are in `retry` and `headers`.

A lease lasts as long as the response body: what must be given back hangs on the response and is called by `aclose`.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import cast

from sidecar.clusters.cluster import Cluster, Lease
from sidecar.clusters.outcome import Responded
from sidecar.errors import ConnectFailed, ProxyError, RequestTimeout
from sidecar.forwarding.attempt import Attempts, Progress, Tried, begin_attempt
from sidecar.forwarding.body import UpstreamBody, close_attempt
from sidecar.forwarding.headers import kept_trailers
from sidecar.forwarding.replay import ReplayBody
from sidecar.forwarding.retry import NO_RETRY, Retry, RetryPolicy, decide
from sidecar.model import Address, Attempt, Request, Response
from sidecar.upstream.pool import Pool
from sidecar.upstream.tunnel import Held, Splice


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the route says about one request; times in seconds."""

    retry: RetryPolicy = NO_RETRY
    attempt_timeout: float | None = None  # the smaller of `backendRequest` and `per_try_timeout`
    replay_bytes: int = 65_536


class Forwarder:
    """Forwards requests to clusters; one instance serves all listeners."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    async def forward(self, request: Request, cluster: Cluster, policy: Policy) -> Response:
        """Send the request until an attempt stands; raises ProxyError where none gave a response."""
        request.cluster = cluster.name
        body = request.body
        replay = None if body is None or isinstance(body, bytes) else ReplayBody(body, policy.replay_bytes)
        progress = Progress(replay, [])
        try:
            while True:
                tried = await self._attempts.make(request, cluster, policy.attempt_timeout, progress)
                wait = self._judge(request, cluster, policy.retry, tried, progress)
                if wait is None:
                    return self._stand(request, tried, policy.retry)
                await tried.drop()
                await _pause(wait, request.deadline)
        finally:
            if progress.budgeted:
                cluster.end_retry()

    async def tunnel(self, request: Request, cluster: Cluster) -> Response:
        """CONNECT: open a byte stream to an endpoint (RFC 9110 §9.3.6); one that refuses is followed by another."""
        request.cluster = cluster.name
        tried: list[Address] = []
        while True:
            lease = cluster.lease(request, tried)
            address = lease.host.endpoint.address
            attempt = begin_attempt(cluster, lease, request)
            try:
                held = await cast("Pool", lease.host.pool).dialer.dial(address, Held)
            except BaseException as failure:
                if isinstance(failure, ProxyError):
                    self._attempts.record(cluster, lease, attempt, failure)
                close_attempt(attempt)
                lease.release()
                tried.append(address)
                if isinstance(failure, ConnectFailed) and cluster.has_untried(tried):
                    continue
                raise
            lease.finish(Responded(200, (time.time_ns() - attempt.start_ns) / 1e9))
            return _tunnelled(
                Response(200, reason=b"Connection Established"),
                Splice(held.transport, idle=_idle(lease)),
                lease,
                attempt,
            )

    def _judge(
        self, request: Request, cluster: Cluster, policy: RetryPolicy, tried: Tried, progress: Progress
    ) -> float | None:
        """Seconds to wait before the next attempt, or None: let this one stand."""
        if isinstance(tried.outcome, int) and tried.outcome not in policy.codes:
            return None
        if progress.budgeted:
            progress.budgeted = False
            cluster.end_retry()
        attempt = tried.attempt
        progress.tried.append(attempt.address)
        decision = decide(
            policy,
            tried.outcome,
            method=request.method,
            replayable=progress.replayable,
            repeats=progress.repeats,
            free_repeats=progress.free_repeats,
            fresh_endpoint=cluster.has_untried(progress.tried),
            reused=attempt.reused,
        )
        if not isinstance(decision, Retry):
            return None
        if not decision.budgeted:
            progress.free_repeats += 1
            progress.fresh_connection = decision.reason == "stale-connection"
            if progress.fresh_connection:
                progress.tried.pop()  # nothing is wrong with the endpoint
        elif cluster.begin_retry():
            progress.budgeted, progress.fresh_connection = True, False
            progress.repeats += 1
        else:
            attempt.details = f"{attempt.details} (not retried: the retry budget is used up)".strip()
            return None
        self._attempts.metrics.retried(cluster.name, decision.reason)
        return self._attempts.rng.random() * decision.backoff

    def _stand(self, request: Request, tried: Tried, policy: RetryPolicy) -> Response:
        exchange, attempt, lease = tried.exchange, tried.attempt, tried.lease
        if exchange is None:
            close_attempt(attempt)
            lease.release()
            failure = cast("ProxyError", tried.outcome)
            if len(request.attempts) > 1:
                failure.args = (f"{failure} (after {len(request.attempts)} attempts)",)
            raise failure
        keeps_upgrade = exchange.upgraded or exchange.status == 426  # which must say what it wants: RFC 9110 §15.5.22
        headers, length, chunked = self._attempts.rules.for_downstream(exchange.headers, upgraded=keeps_upgrade)
        if not request.origin.announce:  # a proxy must, a gateway need not: RFC 9110 §7.6.3
            headers.append((b"Via", b"%b %b" % (exchange.version.encode(), request.origin.via)))
        response = Response(exchange.status, headers, reason=exchange.reason)
        if exchange.status in policy.codes:
            response.flag = "URX"
        if exchange.upgraded:
            exchange.cancel_timer()
            tunnel = Splice(exchange.connection.detach(), exchange.early, idle=_idle(lease))
            return _tunnelled(response, tunnel, lease, attempt)
        response.length = None if chunked else length
        response.declared = True
        response.delimited = chunked or length is not None
        whole = exchange.whole()
        if whole is None:
            body = UpstreamBody(exchange, response, lease, attempt)
            response.body = body
            response.on_close(body.aclose)
        else:  # the fast path: nothing is left to give back later
            exchange.cancel_timer()
            close_attempt(attempt)
            lease.release()
            response.body = whole
            if exchange.trailers:
                response.trailers = kept_trailers(exchange.headers, exchange.trailers)
        return response


def _idle(lease: Lease) -> float:
    return cast("Pool", lease.host.pool).stream_idle_timeout


def _tunnelled(response: Response, tunnel: Splice, lease: Lease, attempt: Attempt) -> Response:
    response.tunnel = tunnel
    response.on_close(lambda: close_attempt(attempt))
    response.on_close(lease.release)
    response.on_close(tunnel.abort)
    return response


async def _pause(wait: float, deadline: float | None) -> None:
    if deadline is not None and asyncio.get_running_loop().time() + wait >= deadline:
        raise RequestTimeout("the route's request timeout ran out between attempts")
    if wait > 0:
        await asyncio.sleep(wait)
