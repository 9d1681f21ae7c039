"""`mode: forward`: the authority of a request names the Service or the host to go to; its cluster is made on first use.

A name that may be a Service or a DNS name is asked for as a Service first, as the resolver in a pod would; one that is
no Service goes to DNS. The first request waits for the first list, with a cap.
"""

from collections.abc import Callable
from ipaddress import ip_address

from sidecar.clusters.cluster import Cluster
from sidecar.clusters.registry import MAX_ON_DEMAND, Clusters
from sidecar.config import model as config
from sidecar.config.address import parse_address
from sidecar.discovery.hosts import ServiceHost, service_of
from sidecar.errors import BadRequest
from sidecar.model import NOWHERE

STRANGER_FOR = 60.0  # seconds
_DEFAULT_PORTS = {"http": 80, "https": 443}


class OnDemand:
    """Finds the cluster of an authority."""

    def __init__(
        self,
        clusters: Clusters,
        *,
        namespace: Callable[[], str],
        available: Callable[[], bool],
        settings: config.Kubernetes,
        now: Callable[[], float],
    ) -> None:
        self._clusters = clusters
        self._namespace = namespace  # the sidecar's own
        self._available = available  # whether there is a Kubernetes API to ask
        self._settings = settings
        self._now = now
        self._strangers: dict[str, float] = {}  # names that are no Service, and until when that is believed

    async def cluster(self, authority: str, scheme: str) -> Cluster:
        """The cluster that serves `authority`; raises BadRequest where it names nothing."""
        service = None
        if self._available():
            service = service_of(authority, namespace=self._namespace(), cluster_domain=self._settings.cluster_domain)
        if service is not None and (service.certain or not self._is_known_stranger(authority)):
            cluster = self._clusters.on_demand(service_spec(service, scheme))
            await cluster.wait_ready(self._settings.first_list_timeout)
            if cluster.exists or service.certain:
                return cluster
            self._remember_stranger(authority)
            self._clusters.forget(cluster.name)  # else a watch would stay on a namespace such as `com`
        cluster = self._clusters.on_demand(_host_spec(authority, scheme))
        await cluster.wait_ready(self._settings.first_list_timeout)
        return cluster

    def _is_known_stranger(self, authority: str) -> bool:
        return self._strangers.get(authority, 0.0) > self._now()

    def _remember_stranger(self, authority: str) -> None:
        """Ask the API server about this name again only after a while."""
        if len(self._strangers) >= MAX_ON_DEMAND:
            self._strangers.pop(next(iter(self._strangers)))
        self._strangers[authority] = self._now() + STRANGER_FOR

    async def service(self, ref: config.BackendRef) -> Cluster:
        """The cluster of a backendRef that names a Service by `port`."""
        namespace = ref.namespace or self._namespace()
        found = ServiceHost(service=ref.name, namespace=namespace, port=ref.port, certain=True)
        cluster = self._clusters.on_demand(service_spec(found, "http"))
        await cluster.wait_ready(self._settings.first_list_timeout)
        return cluster


def service_spec(service: ServiceHost, scheme: str) -> config.Cluster:
    """The cluster of a Service."""
    port = "" if service.port is None else f":{service.port}"
    return config.Cluster(
        name=f"{service.service}.{service.namespace}.svc{port}" + ("+tls" if scheme == "https" else ""),
        kubernetes=config.KubernetesSpec(service=service.service, namespace=service.namespace, port=service.port),
        tls=config.TlsSpec(sni=f"{service.service}.{service.namespace}.svc") if scheme == "https" else None,
    )


def _host_spec(authority: str, scheme: str) -> config.Cluster:
    try:
        address = parse_address(authority, _DEFAULT_PORTS[scheme])
    except ValueError:
        address = NOWHERE
    if not address.host or not address.port:  # a Unix socket has no port: clients may not name one
        raise BadRequest(f"the authority {authority!r} names no host and port")
    host, text = address.host.lower(), str(address).lower()
    tls = config.TlsSpec(sni=host) if scheme == "https" else None
    name = text + ("+tls" if tls else "")
    try:
        ip_address(host)
    except ValueError:
        return config.Cluster(name=name, dns=config.DnsSpec(host=host, port=address.port), tls=tls)
    return config.Cluster(name=name, static=config.StaticSpec(endpoints=(text,)), tls=tls)
