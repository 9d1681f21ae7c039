"""When an endpoint is taken out for a while, and for how long (pure).

Envoy's outlier detection, made safe for two or three replicas: at least one endpoint may be out where there are two,
never all. Who comes back is on probation: the first failure takes it out again, the first good answer clears it.
Connect failures, resets, timeouts and broken answers count like a 502. A client that goes away blames nobody.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sidecar.clusters.outcome import Cancelled, ConnectFailed, Outcome, ProtocolBroken, Reset, Responded, TimedOut
from sidecar.config.model import OutlierDetection
from sidecar.model import Address

_GATEWAY = frozenset({502, 503, 504})
_WORDS = {
    TimedOut: "timeout",
    Reset: "connection reset",
    ProtocolBroken: "broken response",
    Cancelled: "client went away",
}


@dataclass(frozen=True, slots=True)
class Ejection:
    """An endpoint taken out: until when on the cluster's clock, for how many seconds, the how-manieth time in a row."""

    address: Address
    reason: str
    until: float
    duration: float
    count: int


class Health:
    """What outlier detection remembers of one endpoint."""

    __slots__ = ("count", "failures", "gateway_failures", "probation", "reason", "returned", "since", "until")

    def __init__(self) -> None:
        self.failures = 0  # in a row, of any kind
        self.gateway_failures = 0  # in a row
        self.count = 0  # ejections in a row
        self.since = 0.0  # start of the last ejection
        self.until: float | None = None  # its end; None: not ejected
        self.returned = 0.0  # when the last ejection ended
        self.probation = False  # returned, and no good answer yet
        self.reason = ""  # of the last ejection


def is_failure(outcome: Outcome) -> bool:
    """Whether the endpoint is to blame."""
    if isinstance(outcome, Responded):
        return outcome.status >= 500
    return not isinstance(outcome, Cancelled)


def record(spec: OutlierDetection, health: Health, outcome: Outcome) -> str | None:
    """Count the outcome; the reason for an ejection where one is due, whether or not there is room for it."""
    if isinstance(outcome, Cancelled):
        return None
    if not is_failure(outcome):
        health.failures = health.gateway_failures = 0
        health.probation = False
        return None
    gateway = not isinstance(outcome, Responded) or outcome.status in _GATEWAY
    health.failures += 1
    health.gateway_failures = health.gateway_failures + 1 if gateway else 0
    return _reason(spec, health, outcome) if spec.enabled else None


def _reason(spec: OutlierDetection, health: Health, outcome: Outcome) -> str | None:
    if health.probation:
        return f"still failing after its return: {describe(outcome)}"
    if health.gateway_failures >= spec.consecutive_gateway_failure:
        return f"{health.gateway_failures} gateway failures in a row, the last: {describe(outcome)}"
    if health.failures >= spec.consecutive_5xx:
        return f"{health.failures} failures in a row, the last: {describe(outcome)}"
    return None


def allowance(spec: OutlierDetection, total: int) -> int:
    """How many of `total` endpoints may be out at once."""
    if total < 2:
        return 0
    return min(max(1, total * spec.max_ejection_percent // 100), total - 1)


def eject(spec: OutlierDetection, health: Health, address: Address, reason: str, now: float) -> Ejection:
    """Take the endpoint out, each time in a row for longer; healthy time since its return shortens the row."""
    healthy = now - health.returned
    health.count = max(0, health.count - int(healthy / max(spec.base_ejection_time, 0.001))) + 1
    duration = min(spec.base_ejection_time * health.count, max(spec.base_ejection_time, spec.max_ejection_time))
    health.since, health.until, health.reason = now, now + duration, reason
    return Ejection(address, reason, health.until, duration, health.count)


def restore(health: Health, now: float) -> None:
    """End the ejection; the endpoint is on probation."""
    health.until = None
    health.returned = now
    health.failures = health.gateway_failures = 0
    health.probation = True


def due(spec: OutlierDetection, ejected: Iterable[Health], total: int, now: float) -> list[Health]:
    """The ejections to end now: those whose time is over, and of too many for `total` those that end first."""
    by_end = sorted(ejected, key=lambda health: health.until or 0.0, reverse=True)
    running = sum(1 for health in by_end if health.until is not None and health.until > now)
    return by_end[min(running, allowance(spec, total) if spec.enabled else 0) :]


def in_panic(spec: OutlierDetection, healthy: int, total: int) -> bool:
    """Whether so few of `total` are left that all are used again."""
    return healthy * 100 < spec.panic_threshold * total


def describe(outcome: Outcome) -> str:
    """The outcome in words, for reasons."""
    if isinstance(outcome, Responded):
        return f"status {outcome.status}"
    if isinstance(outcome, ConnectFailed):
        return "connect timeout" if outcome.timeout else "connect failed"
    return _WORDS[type(outcome)]
