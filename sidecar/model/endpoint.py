"""Addresses, and endpoints with what discovery says of them."""

from dataclasses import dataclass
from typing import NamedTuple


class Address(NamedTuple):
    """Where to connect: host and port, or a Unix socket as `Address("unix:/run/app.sock", 0)`."""

    host: str
    port: int

    @property
    def unix_path(self) -> str | None:
        """The path of the Unix socket, None for TCP."""
        return self.host[5:] if self.host.startswith("unix:") else None

    def __str__(self) -> str:
        if self.host.startswith("unix:"):
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


NOWHERE = Address("", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One upstream address of a cluster with what discovery says of it (EndpointSlice vocabulary)."""

    address: Address
    zone: str | None = None
    node: str | None = None
    weight: int = 1
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    for_zones: frozenset[str] = frozenset()
    for_nodes: frozenset[str] = frozenset()
    name: str | None = None  # the pod, for people

    @property
    def state(self) -> str:
        """One word for metrics and pages."""
        if self.ready:
            return "ready"
        if self.terminating:
            return "terminating"
        return "not_ready"
