"""Who is there and who of them is a candidate (no I/O; pools come from a function passed in).

Joins what discovery says (`eligible`), what was seen (`outlier`) and slow start into a list of candidates with weights.
The list is made anew only when something changes: an update, an ejection's begin or end, a step of a slow start.
"""

from collections.abc import Callable, Iterable, Sequence
from math import inf

from sidecar.clusters import eligible, outlier
from sidecar.clusters.balancer import Dice
from sidecar.clusters.host import Host, PoolLike
from sidecar.config import model as config
from sidecar.model import Address, Endpoint

LEAST_SHARE = 0.1  # of its weight that an endpoint gets at the start of its slow start, and on probation
_STEPS = 20  # of a slow start


class Members:
    """The endpoints of one cluster."""

    def __init__(
        self, *, pools: Callable[[Endpoint], PoolLike], dice: Dice, zone: str | None, node: str | None
    ) -> None:
        self._pools = pools
        self._dice = dice
        self._zone = zone
        self._node = node
        self._endpoints: tuple[Endpoint, ...] = ()
        self._listed = False  # whether there was a usable endpoint ever
        self.hosts: dict[Address, Host] = {}
        self.usable: list[Host] = []  # discovery allows them
        self.preferred: list[Host] = []  # of those, the ones near us
        self.candidates: list[Host] = []  # of those, the ones that are well
        self.panic = False
        self.next_change = inf  # when `refresh` must be called again

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:
        """Take a new list; known addresses keep their state, pools of those gone are closed."""
        if endpoints == self._endpoints:
            return
        self._endpoints = endpoints
        wanted = {endpoint.address: endpoint for endpoint in endpoints}
        for address in self.hosts.keys() - wanted.keys():
            self.hosts.pop(address).pool.close()
        for address, endpoint in wanted.items():
            if address in self.hosts:
                self.hosts[address].endpoint = endpoint
            else:
                self.hosts[address] = Host(endpoint, self._pools(endpoint), self._dice.random())
        before = set(self.usable)
        chosen = eligible.choose(tuple(wanted.values()), zone=self._zone, node=self._node)
        self.usable = [self.hosts[endpoint.address] for endpoint in chosen.usable]
        self.preferred = [self.hosts[endpoint.address] for endpoint in chosen.preferred]
        for host in self.usable:
            # The first list is no arrival: everybody in it has been there for who knows how long.
            if self._listed and host not in before:
                host.warm_from = now
        self._listed = self._listed or bool(self.usable)
        self.next_change = -inf

    def refresh(self, spec: config.Cluster, now: float) -> list[Host]:
        """End ejections that are due and make the list of candidates anew; returns who came back."""
        ejected = {host.health: host for host in self.usable if host.health.until is not None}
        back = [ejected[health] for health in outlier.due(spec.outlier_detection, ejected, len(self.usable), now)]
        for host in back:
            outlier.restore(host.health, now)
        well = sum(1 for host in self.usable if host.health.until is None)
        self.panic = outlier.in_panic(spec.outlier_detection, well, len(self.usable))
        self.candidates = self.preferred if self.panic else (_well(self.preferred) or _well(self.usable))
        ends = [host.health.until for host in self.usable if host.health.until is not None]
        self.next_change = min(self._weigh(spec, now), *ends, inf)
        return back

    def room(self, spec: config.Cluster, host: Host) -> bool:
        """Whether this endpoint may be ejected: one that is going away is left to discovery."""
        if host not in self.usable:
            return False
        out = sum(1 for host in self.usable if host.health.until is not None)
        return out < outlier.allowance(spec.outlier_detection, len(self.usable))

    def untried_elsewhere(self, tried: Iterable[Address]) -> Host | None:
        """For a request that tried every candidate: a well one not near us, else the one ejected longest ago."""
        gone_by = frozenset(tried)
        rest = [host for host in self.usable if host.endpoint.address not in gone_by]
        return min(rest, key=lambda host: (host.health.until is not None, host.health.since), default=None)

    def close(self) -> None:
        """Close all pools."""
        self.update((), 0.0)

    def _weigh(self, spec: config.Cluster, now: float) -> float:
        """Give every candidate its place and weight; returns when weights change next."""
        window = float(spec.slow_start_window)
        step = inf
        for host in self.hosts.values():
            host.index = -1
        for at, host in enumerate(self.candidates):
            host.index = at
            host.share = warm_share(host.warm_from, window, now)
            if host.share >= 1.0:
                host.warm_from = None
            else:
                step = window / _STEPS
            if host.health.probation:
                host.share = LEAST_SHARE
            host.weight = host.share * max(host.endpoint.weight, 1)  # all are 0, or none is
            host.period = 1.0 / host.weight
        mean = sum(host.weight for host in self.candidates) / max(len(self.candidates), 1)
        for host in self.candidates:
            host.unit = mean * host.period
        return now + step


def warm_share(since: float | None, window: float, now: float) -> float:
    """The share of its weight that an endpoint gets in slow start, rising evenly from `LEAST_SHARE` to 1."""
    if since is None or now - since >= window:
        return 1.0
    return LEAST_SHARE + (1.0 - LEAST_SHARE) * max(now - since, 0.0) / window


def _well(hosts: Sequence[Host]) -> list[Host]:
    return [host for host in hosts if host.health.until is None]
