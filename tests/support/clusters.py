"""What tests of the clusters room share: a clock in the hand, pools that only count, endpoints, and a simulation.

The simulation sends requests through a real `Cluster` in virtual time: open loop, `rate` requests a second,
each endpoint answering as `serve` says. Same seed, same run.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

from sidecar.clusters.cluster import Cluster, Ejection, Lease
from sidecar.clusters.outcome import Outcome, Responded
from sidecar.config import model as config
from sidecar.model import Address, Endpoint, Headers, Request


class Clock:
    """Stands still until moved."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class CountingPool:
    """Opens no connection; knows whether it was closed."""

    idle = 0
    active = 0

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def address(number: int) -> Address:
    return Address(f"10.0.{number // 256}.{number % 256}", 8080)


def endpoints(size: int, **fields: object) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(address=address(number), **fields) for number in range(size))  # type: ignore[arg-type]  # fields of Endpoint by name


def request(peer: str = "10.9.0.1", **headers: str) -> Request:
    lines = Headers((name.encode(), value.encode()) for name, value in headers.items())
    return Request(method="GET", target=b"/", authority="shop", headers=lines, peer=Address(peer, 40000))


def cluster(
    clock: Clock, members: Iterable[Endpoint] = (), *, seed: int = 1, zone: str | None = None, **spec: object
) -> Cluster:
    made = Cluster(
        config.Cluster(name="shop", **spec),  # type: ignore[arg-type]  # fields of the section by name
        pools=lambda _endpoint: CountingPool(),
        now=clock,
        rng=random.Random(seed),
        zone=zone,
    )
    made.update(tuple(members))
    return made


def attempt(of: Cluster, outcome: Outcome, **how: object) -> tuple[Address, Ejection | None]:
    """One whole attempt, over in no time."""
    lease = of.lease(request(), **how)  # type: ignore[arg-type]  # passed on
    ejection = lease.finish(outcome)
    lease.release()
    return lease.host.endpoint.address, ejection


@dataclass
class Run:
    """What came of a simulation."""

    sent: Counter[Address] = field(default_factory=Counter)
    failed: int = 0
    latencies: list[float] = field(default_factory=list)
    ejections: list[Ejection] = field(default_factory=list)

    def share(self, of: Address) -> float:
        return self.sent[of] / self.sent.total()

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


Serve = Callable[[Address, float], tuple[Outcome, float]]  # (endpoint, now) -> outcome and seconds until it


def answers(latency: Callable[[Address], float]) -> Serve:
    """All is well; latency by endpoint."""
    return lambda endpoint, _now: (Responded(200, latency(endpoint)), latency(endpoint))


def simulate(of: Cluster, clock: Clock, serve: Serve, *, requests: int = 10_000, rate: float = 500.0) -> Run:
    """Send `requests` in virtual time, no retry; a failure is what is no status below 500."""
    run = Run()
    order = count()
    running: list[tuple[float, int, Lease, Outcome, float]] = []
    begun = clock.now
    ask = request()

    def finish_until(time: float) -> None:
        while running and running[0][0] <= time:
            clock.now, _, lease, outcome, start = heapq.heappop(running)
            ejection = lease.finish(outcome)
            lease.release()
            if ejection:
                run.ejections.append(ejection)
            run.latencies.append(clock.now - start)
            run.failed += not (isinstance(outcome, Responded) and outcome.status < 500)

    for number in range(requests):
        finish_until(begun + number / rate)
        clock.now = begun + number / rate
        lease = of.lease(ask)
        outcome, seconds = serve(lease.host.endpoint.address, clock.now)
        run.sent[lease.host.endpoint.address] += 1
        heapq.heappush(running, (clock.now + seconds, next(order), lease, outcome, clock.now))
    finish_until(float("inf"))
    return run
