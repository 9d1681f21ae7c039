"""What every source of endpoints speaks: a `Snapshot` published at every change, and the counters it may move.

A snapshot holds all endpoints that are known, usable or not; choosing among them belongs to the clusters room.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from sidecar.model import Endpoint

Origin: TypeAlias = Literal["watch", "stale", "cluster_ip", "static", "file", "dns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The endpoints of one cluster at one moment.

    `origin` says where they come from; `stale`: last known, the source fails at present. `problem` is one clear line on
    why they are empty or not fresh and what to do, empty when all is well. `exists`: False when the Service is known
    not to exist.
    """

    endpoints: tuple[Endpoint, ...]
    origin: Origin
    problem: str = ""
    exists: bool = True


Publish: TypeAlias = Callable[[Snapshot], None]


class Source(Protocol):
    """A stream of snapshots."""

    async def follow(self, publish: Publish) -> None:
        """Publish a first snapshot soon and every change after it, until cancelled; returns if none can follow."""


class Metrics(Protocol):
    """The counters that discovery moves."""

    def relisted(self, namespace: str, reason: str) -> None:
        """A namespace had to be listed anew."""

    def skipped(self, kind: str) -> None:
        """A malformed `slice`, `endpoint` or `port` was left out."""
