"""The pools of a cluster: what its configuration says of connections, bound once."""

from collections.abc import Callable

from sidecar.config import model as config
from sidecar.model import Endpoint
from sidecar.upstream.budget import Budget
from sidecar.upstream.connect import Dialer, tls_context
from sidecar.upstream.pool import Pool


def pool_factory(spec: config.Cluster, path: str = "") -> Callable[[Endpoint], Pool]:
    """A function that makes the pool of an endpoint; raises ConfigError at `path` for unusable TLS files."""
    tls = tls_context(spec.tls, f"{path}.tls") if spec.tls is not None else None
    name = (spec.tls.sni if spec.tls else None) or (spec.dns.host if spec.dns else None)
    dialer = Dialer(timeout=spec.connect_timeout, tls=tls, server_name=name)
    limits = spec.circuit_breakers
    budget = Budget(limits.max_connections, limits.max_pending_requests)

    def make(endpoint: Endpoint) -> Pool:
        return Pool(
            endpoint.address,
            dialer=dialer,
            budget=budget,
            connect_timeout=spec.connect_timeout,
            idle_timeout=spec.idle_timeout,
            stream_idle_timeout=spec.stream_idle_timeout,
        )

    return make
