"""The configuration as frozen values. Parsing is in `load.py`; nothing here reads a file or the environment.

Spelling: what Gateway API has (routes, matches, filters, timeouts, retry) is spelled as there (camelCase); what Envoy
has (cluster settings) is spelled as there (snake_case). Durations are Gateway API's (GEP-2257): `2s`, `1m30s`.
"""

from typing import Literal

from sidecar.config.auth import (
    AllowList,
    ApiKeyAuth,
    Auth,
    AuthFilter,
    BasicAuth,
    ClaimHeader,
    ClaimRule,
    ForwardAuth,
    Jwks,
    JwtAuth,
    ServiceAccountAuth,
)
from sidecar.config.cache import Cache, CacheDisk, CacheFilter
from sidecar.config.clusters import (
    CircuitBreakers,
    Cluster,
    DnsSpec,
    FileSpec,
    HashPolicy,
    KubernetesSpec,
    OutlierDetection,
    StaticEndpoint,
    StaticSpec,
    TlsSpec,
)
from sidecar.config.compress import Compress, CompressFilter, DecompressRequests
from sidecar.config.cors import Cors, CorsFilter
from sidecar.config.routes import (
    BackendRef,
    FilterSpec,
    HeaderModifier,
    HeaderValue,
    Match,
    NameMatch,
    PathMatch,
    PathModifier,
    PythonFilter,
    PythonFilterFilter,
    RequestHeaderModifierFilter,
    RequestMirror,
    RequestMirrorFilter,
    RequestRedirect,
    RequestRedirectFilter,
    ResponseHeaderModifierFilter,
    Retry,
    Route,
    RouteTimeouts,
    Rule,
    UrlRewrite,
    UrlRewriteFilter,
)
from sidecar.config.sections import Duration, Section

__all__ = [
    "AccessLog",
    "Admin",
    "AllowList",
    "ApiKeyAuth",
    "Auth",
    "AuthFilter",
    "BackendRef",
    "BasicAuth",
    "Cache",
    "CacheDisk",
    "CacheFilter",
    "CircuitBreakers",
    "ClaimHeader",
    "ClaimRule",
    "Cluster",
    "Compress",
    "CompressFilter",
    "Config",
    "Cors",
    "CorsFilter",
    "DecompressRequests",
    "DnsSpec",
    "Drain",
    "Duration",
    "FileSpec",
    "FilterSpec",
    "ForwardAuth",
    "HashPolicy",
    "HeaderModifier",
    "HeaderValue",
    "Jwks",
    "JwtAuth",
    "Kubernetes",
    "KubernetesSpec",
    "Limits",
    "Listener",
    "Match",
    "NameMatch",
    "OutlierDetection",
    "PathMatch",
    "PathModifier",
    "PythonFilter",
    "PythonFilterFilter",
    "RequestHeaderModifierFilter",
    "RequestMirror",
    "RequestMirrorFilter",
    "RequestRedirect",
    "RequestRedirectFilter",
    "ResponseHeaderModifierFilter",
    "Retry",
    "Route",
    "RouteTimeouts",
    "Rule",
    "ServiceAccountAuth",
    "StaticEndpoint",
    "StaticSpec",
    "TlsSpec",
    "UrlRewrite",
    "UrlRewriteFilter",
]


class Limits(Section, frozen=True, kw_only=True):
    """What a downstream peer can make grow."""

    max_connections: int = 10_000
    max_header_count: int = 128
    max_header_bytes: int = 16_384  # one field line
    max_target_bytes: int = 8_190
    max_body_bytes: int | None = None  # None: streamed, unlimited
    replay_bytes: int = 65_536  # of a request body kept for a retry
    header_timeout: Duration = Duration(30)  # from the first byte of a request head to its last
    keepalive_timeout: Duration = Duration(75)  # idle downstream connection
    body_timeout: Duration = Duration(60)  # between two reads of a request body, or two writes of a response body


class Listener(Section, frozen=True, kw_only=True):
    """One address that takes requests."""

    name: str
    address: str  # `host:port`, `:port` or `unix:/path`
    engine: Literal["native", "aiohttp"] = "native"  # aiohttp: known methods only, no request trailers
    mode: Literal["reverse", "forward"] = "reverse"  # forward: the Host names the Service or host to go to
    routes: tuple[Route, ...] = ()
    trusted_proxies: tuple[str, ...] = ("127.0.0.0/8", "::1/128")  # whose Forwarded and X-Forwarded-* are believed
    trace_context: Literal["continue", "restart", "ignore"] = "continue"
    limits: Limits = Limits()


class Admin(Section, frozen=True, kw_only=True):
    """The admin page (keep it on loopback; null: off); the probe port serves livez, readyz and metrics only."""

    address: str | None = "127.0.0.1:15020"
    probe_address: str | None = None


class Kubernetes(Section, frozen=True, kw_only=True):
    """How the API server is reached; default: in-cluster, else the kubeconfig of `KUBECONFIG`."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None  # own namespace; default: the service account's, the context's, `default`
    cluster_domain: str = "cluster.local"
    trace_calls: bool = False  # spans for calls to the API server too, at 4.5 MB of memory
    first_list_timeout: Duration = Duration(3)  # how long a first request waits for the first list


class AccessLog(Section, frozen=True, kw_only=True):
    """JSON lines, off without this section."""

    path: str = "-"  # `-`: standard output
    success_percent: float = 100.0  # of answers below 500 without a flag; failures are always written


class Drain(Section, frozen=True, kw_only=True):
    """What SIGTERM does: stop accepting after `delay`, finish what runs within `timeout`, then cut."""

    delay: Duration = Duration(0)
    timeout: Duration = Duration(25)


class Config(Section, frozen=True, kw_only=True):
    """The whole configuration."""

    listeners: tuple[Listener, ...]
    clusters: tuple[Cluster, ...] = ()
    admin: Admin = Admin()
    kubernetes: Kubernetes = Kubernetes()
    access_log: AccessLog | None = None
    drain: Drain = Drain()
    warm_timeout: Duration = Duration(5)  # how long start-up waits for the first lists
