"""What a cluster tells people: the rows of `/clusters` and the candidates of `/explain`.

It reads, and changes nothing.
"""

from typing import Protocol, TypedDict

from sidecar.clusters.balancer import score
from sidecar.clusters.host import Host
from sidecar.clusters.limits import CircuitLimits
from sidecar.clusters.members import Members
from sidecar.config import model as config


class EndpointView(TypedDict):
    """One row; latencies and times in seconds."""

    address: str
    name: str | None
    state: str  # ready, terminating or not_ready, or `ejected`
    candidate: bool
    zone: str | None
    weight: int
    share: float  # of its weight, below 1 in slow start and on probation
    inflight: int
    latency: float | None  # None: not known
    score: float
    ejected_for: float | None
    ejections: int  # in a row
    probation: bool
    why: str  # of the last ejection
    penalised_for: float | None  # rest of a Retry-After
    requests: int
    failures: int
    idle: int
    active: int


class ClusterView(TypedDict):
    """One cluster."""

    name: str
    policy: str
    exists: bool
    listed: bool
    origin: str
    problem: str
    panic: bool
    inflight: int
    max_requests: int
    retries: int
    endpoints: list[EndpointView]


class Candidate(TypedDict):
    """One endpoint that could take the request."""

    address: str
    name: str | None
    score: float
    latency: float | None
    inflight: int
    weight: float  # with slow start


class Explanation(TypedDict):
    """Who could take a request and who would; `chosen` is None where that is left to chance."""

    cluster: str
    policy: str
    chosen: str | None
    why: str
    candidates: list[Candidate]


class Viewed(Protocol):
    """The parts of a cluster that are shown."""

    name: str
    spec: config.Cluster
    inflight: int
    exists: bool
    problem: str
    origin: str
    members: Members
    limits: CircuitLimits


def cluster_view(cluster: Viewed, now: float, *, listed: bool) -> ClusterView:
    """The cluster with all its endpoints."""
    return {
        "name": cluster.name,
        "policy": cluster.spec.lb_policy,
        "exists": cluster.exists,
        "listed": listed,
        "origin": cluster.origin,
        "problem": cluster.problem,
        "panic": cluster.members.panic,
        "inflight": cluster.inflight,
        "max_requests": cluster.limits.max_requests,
        "retries": cluster.limits.retries,
        "endpoints": [endpoint_view(host, now, _by_latency(cluster.spec)) for host in cluster.members.hosts.values()],
    }


def endpoint_view(host: Host, now: float, by_latency: bool) -> EndpointView:
    """One endpoint."""
    endpoint, health = host.endpoint, host.health
    ejected = health.until is not None
    return {
        "address": str(endpoint.address),
        "name": endpoint.name,
        "state": "ejected" if ejected else endpoint.state,
        "candidate": host.index >= 0,
        "zone": endpoint.zone,
        "weight": endpoint.weight,
        "share": host.share,
        "inflight": host.inflight,
        "latency": host.latency(now) if host.ewma else None,
        "score": score(host, now, latency=by_latency),
        "ejected_for": max(health.until - now, 0.0) if health.until is not None else None,
        "ejections": health.count,
        "probation": health.probation,
        "why": health.reason if ejected or health.probation else "",
        "penalised_for": host.penalised_until - now if host.penalised_until > now else None,
        "requests": host.requests,
        "failures": host.failures,
        "idle": host.pool.idle,
        "active": host.pool.active,
    }


def explanation(cluster: Viewed, now: float, chosen: Host | None, why: str) -> Explanation:
    """The candidates, best score first."""
    by_latency = _by_latency(cluster.spec)
    rows: list[Candidate] = [
        {
            "address": str(host.endpoint.address),
            "name": host.endpoint.name,
            "score": score(host, now, latency=by_latency),
            "latency": host.latency(now) if host.ewma else None,
            "inflight": host.inflight,
            "weight": host.weight,
        }
        for host in cluster.members.candidates
    ]
    return {
        "cluster": cluster.name,
        "policy": cluster.spec.lb_policy,
        "chosen": str(chosen.endpoint.address) if chosen else None,
        "why": why,
        "candidates": sorted(rows, key=lambda row: row["score"]),
    }


def _by_latency(spec: config.Cluster) -> bool:
    return spec.lb_policy != "LEAST_REQUEST"
