"""Clusters, spelled as in Envoy: snake_case."""

from typing import Literal

from sidecar.config.sections import Duration, Section


class StaticEndpoint(Section, frozen=True, kw_only=True):
    """One address with its weight and zone."""

    address: str
    weight: int = 1
    zone: str | None = None


class StaticSpec(Section, frozen=True, kw_only=True):
    """Endpoints written down: `host:port` (an IP address or a name) or `unix:/path`."""

    endpoints: tuple[str | StaticEndpoint, ...]


class KubernetesSpec(Section, frozen=True, kw_only=True):
    """A Service; `port` by number or name is the Service's port, needed where it has several."""

    service: str
    namespace: str | None = None
    port: int | str | None = None
    api: Literal["EndpointSlices", "Endpoints"] = "EndpointSlices"


class FileSpec(Section, frozen=True, kw_only=True):
    """EndpointSlice manifests (YAML or JSON, several documents) in a file, re-read when it changes."""

    path: str
    service: str
    namespace: str | None = None
    port: int | str | None = None


class DnsSpec(Section, frozen=True, kw_only=True):
    """A name: A and AAAA records with `port`, or SRV records, which bring port and weight."""

    host: str
    port: int | None = None
    type: Literal["ADDRESS", "SRV"] = "ADDRESS"
    nameservers: tuple[str, ...] = ()  # `ip` or `ip:port`; default: the system's


class TlsSpec(Section, frozen=True, kw_only=True):
    """TLS to the upstream."""

    sni: str | None = None  # default: the host of the cluster
    ca_file: str | None = None  # default: the system's trust store
    cert_file: str | None = None
    key_file: str | None = None
    insecure_skip_verify: bool = False


class HashPolicy(Section, frozen=True, kw_only=True):
    """What consistent hashing hashes; exactly one."""

    header: str | None = None
    cookie: str | None = None
    source_ip: bool = False


class CircuitBreakers(Section, frozen=True, kw_only=True):
    """Limits of the cluster; overflow is answered 503 at once."""

    max_connections: int = 1024
    max_pending_requests: int = 1024
    max_requests: int = 1024
    retry_budget_percent: float = 20.0  # of the requests in flight
    min_retry_concurrency: int = 3


class OutlierDetection(Section, frozen=True, kw_only=True):
    """When an endpoint is taken out for a while."""

    enabled: bool = True
    consecutive_5xx: int = 5  # any failure counts: connect, reset, timeout, 5xx
    consecutive_gateway_failure: int = 3  # connect, reset, timeout, 502, 503, 504
    base_ejection_time: Duration = Duration(30)  # times the number of ejections in a row
    max_ejection_time: Duration = Duration(300)
    max_ejection_percent: int = 50  # of the endpoints, rounded down; at least one when there are two or more
    panic_threshold: int = 30  # percent of endpoints left below which all are used again


class Cluster(Section, frozen=True, kw_only=True):
    """One named set of endpoints, from exactly one source."""

    name: str
    static: StaticSpec | None = None
    kubernetes: KubernetesSpec | None = None
    file: FileSpec | None = None
    dns: DnsSpec | None = None
    tls: TlsSpec | None = None
    lb_policy: Literal["PEAK_EWMA", "ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "CONSISTENT_HASH"] = "PEAK_EWMA"
    hash_policy: HashPolicy | None = None
    connect_timeout: Duration = Duration(1)
    idle_timeout: Duration = Duration(3)  # of a pooled connection
    stream_idle_timeout: Duration = Duration(300)  # no byte either way while a request runs
    slow_start_window: Duration = Duration(10)
    circuit_breakers: CircuitBreakers = CircuitBreakers()
    outlier_detection: OutlierDetection = OutlierDetection()
