"""Which candidate takes the next request (pure; the dice are passed in).

Every policy honours weights. Where a turn can be counted, it is counted: `Rotation` gives each endpoint its turns
exactly over time, and power of two choices starts from it, so that endpoints of equal load get exactly their weights.
Whatever depends on the set of candidates is prepared in `rebuild`; a pick costs O(1), or O(log n) with unequal weights.
It does not decide who is a candidate (`members`).
"""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from heapq import heapify, heapreplace
from itertools import accumulate
from math import exp
from typing import Protocol

from sidecar.clusters.host import DECAY, Host
from sidecar.model import Address, Request

SAME_LATENCY = 2.0  # latencies within this factor are no difference: load decides
SAME_WEIGHTED = (
    8.0  # the same where weights differ: they are somebody's will, and only a much slower endpoint overrules it
)
FAST = 0.001  # seconds: a latency below this is no merit
PENALTY = 100.0  # factor on the load of an endpoint that asked to be left alone
_DEFERRALS = 4  # how often turns are put off before they are lost, until one is taken again
_DEBT = 4  # turns that an endpoint can owe for those of others
_REDRAWS = 4  # draws that may hit a tried endpoint before all candidates are looked at


class Dice(Protocol):
    """The part of `random.Random` that policies use."""

    def random(self) -> float:
        """A float in [0, 1)."""


class Rotation:
    """Whose turn it is: one after the other where weights are equal, else earliest deadline first (as Envoy's EDF).

    With unequal weights a turn may be deferred: who takes it in place of another pays with its own next turn, and the
    other stays first in line, so that weights hold over time. Both are bounded: no flood follows a bad time, and while
    it lasts the others have their turns.
    """

    __slots__ = ("_at", "_clock", "_heap", "_order")

    def __init__(self) -> None:
        self._order: list[Host] = []
        self._at = 0
        self._heap: list[tuple[float, int, Host, float]] = []  # deadline (or an earlier one), tie-breaker, host, period
        self._clock = 0.0

    def rebuild(self, hosts: Sequence[Host]) -> None:
        """Take a new set; who stays keeps the part of its period that it has waited already."""
        remaining = self._remaining()
        order = sorted(hosts, key=lambda host: remaining.get(host, host.phase))
        self._at = 0
        self._clock = 0.0
        if len({host.weight for host in hosts}) < 2:
            self._order, self._heap = order, []
            return
        for host in order:
            host.due = remaining.get(host, host.phase) * host.period
        self._order = []
        self._heap = [(host.due, at, host, host.period) for at, host in enumerate(order)]
        heapify(self._heap)

    def peek(self) -> Host:
        """The endpoint whose turn it is."""
        if self._order:
            return self._order[self._at]
        heap = self._heap
        due, at, host, period = heap[0]
        while due < host.due:  # it was charged since
            heapreplace(heap, (host.due, at, host, period))
            due, at, host, period = heap[0]
        self._clock = due
        return host

    def take(self, turn: Host, taker: Host) -> None:
        """`taker` takes the turn of `turn`, which is first in line; they may be the same."""
        if self._order:
            self._at = self._at + 1 if self._at + 1 < len(self._order) else 0
            return
        if taker is turn:
            turn.deferred = 0
        elif turn.deferred < _DEFERRALS:
            turn.deferred += 1
        else:
            turn.due += turn.period
            return
        taker.due = min(taker.due, self._clock + _DEBT * taker.period) + taker.period

    def _remaining(self) -> dict[Host, float]:
        """Of each endpoint, the part of its period until its turn."""
        size = len(self._order)
        turns = {host: ((at - self._at) % size + 1) / size for at, host in enumerate(self._order)}
        return turns or {host: (host.due - self._clock) / period for _, _, host, period in self._heap}


class Draw:
    """Weighted dice over the candidates."""

    __slots__ = ("_hosts", "_random", "_sums")

    def __init__(self, dice: Dice) -> None:
        self._random = dice.random
        self._hosts: Sequence[Host] = ()
        self._sums: list[float] = []  # running sums of the weights; empty where they are equal

    def rebuild(self, hosts: Sequence[Host]) -> None:
        """Take a new set, numbered by `Host.index`."""
        self._hosts = hosts
        equal = len({host.weight for host in hosts}) < 2
        self._sums = [] if equal else list(accumulate(host.weight for host in hosts))

    def any(self) -> Host:
        """One candidate."""
        if not self._sums:
            return self._hosts[int(self._random() * len(self._hosts))]
        at = bisect_right(self._sums, self._random() * self._sums[-1])
        return self._hosts[min(at, len(self._hosts) - 1)]

    def other(self, first: Host) -> Host:
        """One candidate that is not `first`; there must be two."""
        mine = first.index
        sums = self._sums
        if not sums:
            at = int(self._random() * (len(self._hosts) - 1))
            return self._hosts[at + 1 if at >= mine else at]
        point = self._random() * (sums[-1] - first.weight)
        if point >= sums[mine] - first.weight:
            point += first.weight
        at = bisect_right(sums, point)
        if at == mine or at == len(sums):  # rounding at an upper edge
            at = mine - 1 if mine else 1
        return self._hosts[at]


class Balancer(Protocol):
    """One policy over a set of candidates that is never empty when it picks."""

    def rebuild(self, hosts: Sequence[Host]) -> None:
        """Take a new set of candidates, numbered by `Host.index`."""

    def pick(self, request: Request, now: float) -> Host:
        """The endpoint for this request."""

    def pick_untried(self, request: Request, now: float, tried: Collection[Address]) -> Host | None:
        """The endpoint for this request that is not in `tried`; None: all were tried."""

    def explain(self, request: Request, now: float) -> tuple[Host | None, str]:
        """Who would be picked, as far as that is certain, and why; changes nothing."""


class RoundRobin:
    """By turns, exactly by weight."""

    def __init__(self) -> None:
        self._hosts: Sequence[Host] = ()
        self._rotation = Rotation()

    def rebuild(self, hosts: Sequence[Host]) -> None:
        """Take a new set."""
        self._hosts = hosts
        self._rotation.rebuild(hosts)

    def pick(self, _request: Request, _now: float) -> Host:
        """The next in turn."""
        host = self._rotation.peek()
        self._rotation.take(host, host)
        return host

    def pick_untried(self, request: Request, now: float, tried: Collection[Address]) -> Host | None:
        """The next in turn that was not tried."""
        return _redraw(self, request, now, tried) or next(iter(_untried(self._hosts, tried)), None)

    def explain(self, _request: Request, _now: float) -> tuple[Host | None, str]:
        """The next in turn."""
        return self._rotation.peek(), "it is its turn"


class RandomChoice:
    """By weighted dice."""

    def __init__(self, dice: Dice) -> None:
        self._hosts: Sequence[Host] = ()
        self._draw = Draw(dice)

    def rebuild(self, hosts: Sequence[Host]) -> None:
        """Take a new set."""
        self._hosts = hosts
        self._draw.rebuild(hosts)

    def pick(self, _request: Request, _now: float) -> Host:
        """Any."""
        return self._draw.any()

    def pick_untried(self, request: Request, now: float, tried: Collection[Address]) -> Host | None:
        """Any that was not tried."""
        return _redraw(self, request, now, tried) or next(iter(_untried(self._hosts, tried)), None)

    def explain(self, _request: Request, _now: float) -> tuple[Host | None, str]:
        """Nobody is certain."""
        return None, "any candidate, at random by weight"


class TwoChoices:
    """Power of two choices: the endpoint whose turn it is, unless another one drawn by lot is cheaper.

    `latency` False compares requests in flight alone (LEAST_REQUEST), True weighs them by latency (PEAK_EWMA).
    """

    def __init__(self, dice: Dice, *, latency: bool) -> None:
        self._latency = latency
        self._same = SAME_LATENCY
        self._hosts: Sequence[Host] = ()
        self._rotation = Rotation()
        self._draw = Draw(dice)

    def rebuild(self, hosts: Sequence[Host]) -> None:
        """Take a new set."""
        self._hosts = hosts
        self._rotation.rebuild(hosts)
        self._draw.rebuild(hosts)
        self._same = SAME_LATENCY if len({host.endpoint.weight for host in hosts}) < 2 else SAME_WEIGHTED

    def pick(self, _request: Request, now: float) -> Host:
        """The better of two."""
        turn = host = self._rotation.peek()
        if len(self._hosts) > 1:
            host = self._better(turn, self._draw.other(turn), now)
        self._rotation.take(turn, host)
        return host

    def pick_untried(self, request: Request, now: float, tried: Collection[Address]) -> Host | None:
        """The better of two that was not tried, or the best of those left."""
        host = _redraw(self, request, now, tried)
        if host is None:
            left = _untried(self._hosts, tried)
            return self._best(left, now) if left else None
        return host

    def explain(self, _request: Request, now: float) -> tuple[Host | None, str]:
        """The best of all: the most likely one, for each pick compares two only."""
        best = self._best(self._hosts, now)
        return best, "lowest score; each request compares the endpoint whose turn it is with one drawn by lot"

    def _better(self, first: Host, second: Host, now: float) -> Host:
        slow = other = 1.0
        # An endpoint without a sample is judged by its load alone: neither flooded for a score of zero nor starved.
        if self._latency and first.ewma and second.ewma:
            slow = max(first.ewma * exp((first.stamp - now) / DECAY), FAST)
            other = max(second.ewma * exp((second.stamp - now) / DECAY), FAST)
        if first.penalised_until > now:
            slow *= PENALTY
        if second.penalised_until > now:
            other *= PENALTY
        load = first.inflight * first.unit
        rival = (second.inflight + 1) * second.unit
        if slow > other * self._same or other > slow * self._same:
            return second if rival * other < (load + first.unit) * slow else first
        # Equally fast: the turn stands unless the other, with this request, is no busier than the first is without it.
        return second if rival <= load else first

    def _best(self, hosts: Sequence[Host], now: float) -> Host:
        return min(hosts, key=lambda host: score(host, now, latency=self._latency))


def score(host: Host, now: float, *, latency: bool = True) -> float:
    """What a request costs there: latency in seconds times load with this request, for its weight; lower is better."""
    load = (host.inflight + 1) * host.unit * (PENALTY if host.penalised_until > now else 1.0)
    return load * max(host.latency(now), FAST) if latency else load


def _redraw(balancer: Balancer, request: Request, now: float, tried: Collection[Address]) -> Host | None:
    """Pick until one is untried; with many candidates the first pick nearly always is."""
    for _ in range(_REDRAWS):
        host = balancer.pick(request, now)
        if host.endpoint.address not in tried:
            return host
    return None


def _untried(hosts: Sequence[Host], tried: Collection[Address]) -> list[Host]:
    return [host for host in hosts if host.endpoint.address not in tried]
