"""What an attempt came to, as the attempt loop reports it to the cluster.

It decides nothing; `outlier` and `host` say what each outcome means for an endpoint.
"""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Responded:
    """A response head arrived after `latency` seconds; `retry_after` is its Retry-After field in seconds."""

    status: int
    latency: float
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """No connection was made; `timeout`: not refused, but not made in time."""

    timeout: bool = False


@dataclass(frozen=True, slots=True)
class TimedOut:
    """No response head in time."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection ended before the response head came."""


@dataclass(frozen=True, slots=True)
class ProtocolBroken:
    """What came is no HTTP."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The client went away: blames nobody."""


Outcome: TypeAlias = Responded | ConnectFailed | TimedOut | Reset | ProtocolBroken | Cancelled
