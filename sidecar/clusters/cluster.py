"""One named set of endpoints: gives a lease for each attempt and learns from what came of it.

The shell around the room's decisions: it holds the state, reads the clock, writes the log. Connections are the pool's.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Collection
from math import inf

from sidecar.clusters import outlier
from sidecar.clusters.balancer import Balancer, RandomChoice, RoundRobin, TwoChoices
from sidecar.clusters.hashing import ConsistentHash
from sidecar.clusters.host import DEFAULT_LATENCY, Host, PoolLike
from sidecar.clusters.limits import CircuitLimits
from sidecar.clusters.members import Members
from sidecar.clusters.outcome import Cancelled, Outcome, Responded
from sidecar.clusters.outlier import Ejection
from sidecar.clusters.view import ClusterView, Explanation, cluster_view, explanation
from sidecar.config import model as config
from sidecar.errors import NoHealthyEndpoint, UpstreamOverflow
from sidecar.model import Address, Endpoint, Request

__all__ = ["Cluster", "Ejection", "Host", "Lease", "PoolLike"]

_log = logging.getLogger("sidecar.clusters")
_TYPICAL_SHARE = 1 / 64  # of one latency in the cluster's typical latency


class Lease:
    """One endpoint held for one attempt, until the response body has ended."""

    __slots__ = ("_cluster", "_finished", "_released", "_start", "host")

    def __init__(self, cluster: "Cluster", host: Host, start: float) -> None:
        self.host = host
        self._cluster = cluster
        self._start = start
        self._finished = False
        self._released = False

    def finish(self, outcome: Outcome) -> Ejection | None:
        """Say what the attempt came to, once, at the response head or the failure; returns the ejection it caused."""
        if self._finished:
            return None
        self._finished = True
        return self._cluster.learn(self.host, outcome, self._start)

    def release(self) -> None:
        """Give the endpoint back; may be called twice. Without `finish` it counts as cancelled."""
        if not self._released:
            self._released = self._finished = True
            self.host.inflight -= 1
            self._cluster.inflight -= 1


class Cluster:
    """The endpoints of one upstream with their state, from first list to `close`; not safe across threads.

    `pools` makes the connection pool of an endpoint, `now` is a monotonic clock in seconds.
    """

    def __init__(
        self,
        spec: config.Cluster,
        *,
        pools: Callable[[Endpoint], PoolLike],
        now: Callable[[], float],
        rng: random.Random,
        zone: str | None = None,
        node: str | None = None,
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.inflight = 0
        self.exists = True
        self.problem = ""
        self.origin = ""
        self.members = Members(pools=pools, dice=rng, zone=zone, node=node)
        self.limits = CircuitLimits(spec.circuit_breakers)
        self._now = now
        self._rng = rng
        self._balancer = _balancer(spec, rng)
        self._typical = 0.0  # seconds to a good answer, over all endpoints
        self._listed = asyncio.Event()

    # --- from discovery and configuration -------------------------------------------------------------------------

    def update(
        self, endpoints: tuple[Endpoint, ...], *, origin: str = "", problem: str = "", exists: bool = True
    ) -> None:
        """Take a list from discovery: known addresses keep their state; `origin` and `problem` are words for people."""
        self.origin, self.problem, self.exists = origin, problem, exists
        self.members.update(endpoints, self._now())
        self._listed.set()

    def reconfigure(self, spec: config.Cluster) -> None:
        """Take a new configuration; endpoints keep their state."""
        if (spec.lb_policy, spec.hash_policy) != (self.spec.lb_policy, self.spec.hash_policy):
            self._balancer = _balancer(spec, self._rng)
        self.spec = spec
        self.limits.reconfigure(spec.circuit_breakers)
        self.members.next_change = -inf

    @property
    def listed(self) -> bool:
        """Whether the first list is there."""
        return self._listed.is_set()

    def has_untried(self, tried: Collection[Address]) -> bool:
        """Whether a usable endpoint is left that is not in `tried`."""
        return any(host.endpoint.address not in tried for host in self.members.usable)

    async def wait_ready(self, timeout: float) -> bool:  # noqa: ASYNC109 - the caller's cap, answered, not raised
        """Whether the first list is there, waiting at most `timeout` seconds for it."""
        if not self._listed.is_set():
            try:
                async with asyncio.timeout(timeout):
                    await self._listed.wait()
            except TimeoutError:
                return False
        return True

    def close(self) -> None:
        """Close all pools; leases that run stay valid."""
        self.members.close()

    # --- per attempt -------------------------------------------------------------------------------------------------

    def lease(self, request: Request, tried: Collection[Address] = ()) -> Lease:
        """Choose an endpoint, one that is not in `tried` if there is any; the lease must be released.

        Raises NoHealthyEndpoint where there is none, UpstreamOverflow where `max_requests` run already.
        """
        if self.inflight >= self.limits.max_requests:
            raise UpstreamOverflow(
                f"cluster {self.name}: {self.inflight} requests in flight, max_requests is {self.limits.max_requests}"
            )
        now = self._now()
        if now >= self.members.next_change:
            self._refresh(now)
        if not self.members.candidates:
            raise NoHealthyEndpoint(self._why_none())
        host = (self._untried(request, now, tried) if tried else None) or self._balancer.pick(request, now)
        host.inflight += 1
        host.requests += 1
        self.inflight += 1
        return Lease(self, host, now)

    def learn(self, host: Host, outcome: Outcome, start: float) -> Ejection | None:
        """Score the outcome of an attempt begun at `start`; `Lease.finish` calls it."""
        now = self._now()
        health = host.health
        if isinstance(outcome, Responded) and outcome.status < 500 and outcome.status != 429:
            host.observe(outcome.latency, now)
            self._typical += (outcome.latency - self._typical) * (_TYPICAL_SHARE if self._typical else 1.0)
            if health.failures or health.probation or health.until is not None:
                self._recover(host, outcome, start, now)
            return None
        if isinstance(outcome, Cancelled):
            return None
        return self._blame(host, outcome, start, now)

    def retry_allowed(self) -> bool:
        """Whether the retry budget has room."""
        return self.limits.retry_allowed(self.inflight)

    def begin_retry(self) -> bool:
        """Take a place in the retry budget, if there is one; each True needs one `end_retry`."""
        return self.limits.begin_retry(self.inflight)

    def end_retry(self) -> None:
        """Give the place back."""
        self.limits.end_retry()

    # --- for people --------------------------------------------------------------------------------------------------

    def view(self) -> ClusterView:
        """What `/clusters` shows; times are seconds from now."""
        now = self._current()
        return cluster_view(self, now, listed=self._listed.is_set())

    def explain(self, request: Request) -> Explanation:
        """What `/explain` shows: the candidates with their scores and who would be chosen; changes nothing."""
        now = self._current()
        if not self.members.candidates:
            return explanation(self, now, None, self._why_none())
        return explanation(self, now, *self._balancer.explain(request, now))

    # --- inside ------------------------------------------------------------------------------------------------------

    def _current(self) -> float:
        now = self._now()
        if now >= self.members.next_change:
            self._refresh(now)
        return now

    def _refresh(self, now: float) -> None:
        panic = self.members.panic
        for host in self.members.refresh(self.spec, now):
            _log.info("cluster %s: endpoint %s is back on probation", self.name, host.endpoint.address)
        if self.members.panic != panic:
            _log.warning(
                "cluster %s: panic %s",
                self.name,
                "ended" if panic else "began: too few endpoints left, ejections are ignored",
            )
        self._balancer.rebuild(self.members.candidates)

    def _untried(self, request: Request, now: float, tried: Collection[Address]) -> Host | None:
        return self._balancer.pick_untried(request, now, tried) or self.members.untried_elsewhere(tried)

    def _recover(self, host: Host, outcome: Outcome, start: float, now: float) -> None:
        """A good answer after failures; one asked for after the ejection began ends it."""
        health = host.health
        if health.until is not None:
            if start < health.since:
                return
            outlier.restore(health, now)
            self.members.next_change = -inf
        if health.probation:
            self.members.next_change = -inf
        outlier.record(self.spec.outlier_detection, health, outcome)

    def _blame(self, host: Host, outcome: Outcome, start: float, now: float) -> Ejection | None:
        typical = self._typical or DEFAULT_LATENCY
        host.observe_failure(now - start, typical, now)
        if isinstance(outcome, Responded) and outcome.retry_after is not None and outcome.status in {429, 503}:
            host.penalise(outcome.retry_after, now)
        host.failures += outlier.is_failure(outcome)  # a 429 is dear, but no failure
        reason = outlier.record(self.spec.outlier_detection, host.health, outcome)
        if reason is None or host.health.until is not None or not self.members.room(self.spec, host):
            return None
        ejection = outlier.eject(self.spec.outlier_detection, host.health, host.endpoint.address, reason, now)
        self.members.next_change = -inf
        _log.warning(
            "cluster %s: endpoint %s ejected for %.0f s, ejection %d in a row: %s",
            self.name, ejection.address, ejection.duration, ejection.count, reason,
        )  # fmt: skip
        return ejection

    def _why_none(self) -> str:
        if not self._listed.is_set():
            return f"cluster {self.name}: no list of endpoints yet"
        cause = f": {self.problem}" if self.problem else ""
        if not self.members.hosts:
            return f"cluster {self.name} has no endpoints{cause}"
        return f"cluster {self.name}: none of {len(self.members.hosts)} endpoints is ready{cause}"


def _balancer(spec: config.Cluster, rng: random.Random) -> Balancer:
    if spec.lb_policy == "ROUND_ROBIN":
        return RoundRobin()
    if spec.lb_policy == "RANDOM":
        return RandomChoice(rng)
    if spec.lb_policy == "CONSISTENT_HASH":
        return ConsistentHash(spec.hash_policy or config.HashPolicy(source_ip=True), RandomChoice(rng))
    return TwoChoices(rng, latency=spec.lb_policy == "PEAK_EWMA")
