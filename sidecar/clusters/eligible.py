"""Which endpoints may take requests, as kube-proxy decides it (pure).

`CategorizeEndpoints` of Kubernetes' pkg/proxy/topology.go, KEP-1669 and KEP-3015. It knows nothing of load or failures.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sidecar.model import Endpoint


class Eligible(NamedTuple):
    """`usable`: all that may take requests; `preferred`: those of them that the topology hints name for us."""

    usable: tuple[Endpoint, ...]
    preferred: tuple[Endpoint, ...]


def choose(endpoints: Sequence[Endpoint], *, zone: str | None = None, node: str | None = None) -> Eligible:
    """The ready endpoints, else those that serve while terminating; hints narrow the ready ones only.

    An endpoint of weight 0 is left out as long as there is another one.
    """
    ready = _weighted(tuple(endpoint for endpoint in endpoints if endpoint.ready))
    if not ready:
        last = _weighted(tuple(endpoint for endpoint in endpoints if endpoint.serving and endpoint.terminating))
        return Eligible(last, last)
    return Eligible(ready, _near(ready, zone, node))


def _near(ready: tuple[Endpoint, ...], zone: str | None, node: str | None) -> tuple[Endpoint, ...]:
    """The hinted endpoints; one endpoint without a hint disables hints of that kind for all."""
    if node is not None and all(endpoint.for_nodes for endpoint in ready):
        same_node = tuple(endpoint for endpoint in ready if node in endpoint.for_nodes)
        if same_node:
            return same_node
    if zone is not None and all(endpoint.for_zones for endpoint in ready):
        same_zone = tuple(endpoint for endpoint in ready if zone in endpoint.for_zones)
        if same_zone:
            return same_zone
    return ready


def _weighted(endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    return tuple(endpoint for endpoint in endpoints if endpoint.weight > 0) or endpoints
