"""The run-time state of one endpoint: load, latency, health, totals (pure).

The latency score is a peak-sensitive moving average (Finagle's PeakEwma): a higher latency counts at once, a lower one
as the old value fades, and without samples the score fades to nothing, so that an endpoint slow once is tried again.
"""

from math import exp
from typing import Protocol

from sidecar.clusters.outlier import Health
from sidecar.model import Endpoint

DECAY = 10.0  # seconds in which a latency fades to 37 %
FAILURE_FACTOR = 10.0  # a failure counts as a latency this many times the cluster's typical one
FAILURE_CAP = 5.0  # seconds that failures alone can make of a latency score
RETRY_AFTER_CAP = 300.0  # seconds of a Retry-After that are believed
DEFAULT_LATENCY = 0.03  # seconds, the typical latency before the first answer


class PoolLike(Protocol):
    """What the cluster needs of a connection pool."""

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""

    @property
    def active(self) -> int:
        """Connections that carry a request."""

    def close(self) -> None:
        """Close idle connections now and busy ones when they finish."""


class Host:
    """One endpoint of a cluster."""

    __slots__ = (
        "deferred", "due", "endpoint", "ewma", "failures", "health", "index", "inflight", "penalised_until",
        "period", "phase", "points", "pool", "requests", "share", "stamp", "unit", "warm_from", "weight",
    )  # fmt: skip

    def __init__(self, endpoint: Endpoint, pool: PoolLike, phase: float) -> None:
        self.endpoint = endpoint
        self.pool = pool
        self.phase = phase  # in [0, 1): where its first turn falls, so that many sidecars do not march in step
        self.inflight = 0
        self.ewma = 0.0  # seconds at `stamp`; 0: not known
        self.stamp = 0.0
        self.penalised_until = 0.0  # end of a Retry-After
        self.warm_from: float | None = None  # start of its slow start
        self.health = Health()
        self.requests = 0
        self.failures = 0
        self.points: list[float] = []  # on the hash ring
        # Set for all candidates together, when their set or a weight changes:
        self.index = -1  # place among the candidates; -1: no candidate
        self.share = 1.0  # of its weight, below 1 in slow start and on probation
        self.weight = 1.0  # with that share
        self.period = 1.0  # 1 / weight
        self.due = 0.0  # when its turn comes, in the rotation's own time
        self.deferred = 0  # how often in a row its turn was put off
        self.unit = 1.0  # what one request in flight means beside an endpoint of average weight

    def latency(self, now: float) -> float:
        """The latency score at `now`, in seconds; 0 where nothing is known."""
        return self.ewma * exp((self.stamp - now) / DECAY)

    def observe(self, latency: float, now: float) -> None:
        """Take a latency sample, in seconds."""
        old = self.ewma
        if latency >= old:
            self.ewma = latency
        else:
            fade = exp((self.stamp - now) / DECAY)
            self.ewma = old * fade + latency * (1.0 - fade)
        self.stamp = now

    def observe_failure(self, elapsed: float, typical: float, now: float) -> None:
        """Count a failure as a high latency, however fast it came: dearer than any peer, and dearer each time."""
        dear = min(max(FAILURE_FACTOR * typical, 2.0 * self.latency(now)), FAILURE_CAP)
        self.ewma = max(elapsed, dear, typical)
        self.stamp = now

    def penalise(self, retry_after: float, now: float) -> None:
        """Count the endpoint as dear for as long as it asked to be left alone."""
        self.penalised_until = max(self.penalised_until, now + min(retry_after, RETRY_AFTER_CAP))
