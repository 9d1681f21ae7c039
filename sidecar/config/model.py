"""The configuration as frozen values. Parsing is in `load.py`; nothing here reads a file or the environment.

Spelling: what Gateway API has (routes, matches, filters, timeouts, retry) is spelled as there (camelCase);
what Envoy has (cluster settings) is spelled as there (snake_case). Durations are Gateway API's (GEP-2257): `2s`, `1m30s`.
"""

import re
from typing import Any, Literal, TypeAlias

import msgspec

_DURATION = re.compile(r"^(?:(\d{1,5})h)?(?:(\d{1,5})m)?(?:(\d{1,5})s)?(?:(\d{1,5})ms)?$")


class Duration(float):
    """Seconds, written as in GEP-2257: up to four groups of `h`, `m`, `s`, `ms`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> "Duration":
        """Parse `1h30m`, `2s`, `150ms`; raises ValueError naming the form."""
        match = _DURATION.match(text) if isinstance(text, str) else None
        if match is None or not text:
            raise ValueError(f"expected a duration such as '2s', '150ms' or '1m30s', got {text!r}")
        hours, minutes, seconds, millis = (int(group or 0) for group in match.groups())
        return cls(hours * 3600 + minutes * 60 + seconds + millis / 1000)

    def __str__(self) -> str:
        millis = round(self * 1000)
        units = ((3_600_000, 100_000, "h"), (60_000, 60, "m"), (1000, 60, "s"), (1, 1000, "ms"))
        parts = ((millis // size % wrap, unit) for size, wrap, unit in units)
        return "".join(f"{amount}{unit}" for amount, unit in parts if amount) or "0s"


class _Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every section: immutable, named fields only, unknown fields refused."""


class _Gateway(_Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A section spelled as in Gateway API."""


# --- routes (HTTPRoute, gateway.networking.k8s.io/v1) ---------------------------------------------------------------


class PathMatch(_Gateway, frozen=True, kw_only=True):
    """HTTPPathMatch."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: str = "/"


class NameMatch(_Gateway, frozen=True, kw_only=True):
    """HTTPHeaderMatch and HTTPQueryParamMatch."""

    name: str
    value: str
    type: Literal["Exact", "RegularExpression"] = "Exact"


class Match(_Gateway, frozen=True, kw_only=True):
    """HTTPRouteMatch: all conditions must hold."""

    path: PathMatch = PathMatch()
    headers: tuple[NameMatch, ...] = ()
    query_params: tuple[NameMatch, ...] = ()
    method: str | None = None


class HeaderValue(_Gateway, frozen=True, kw_only=True):
    """HTTPHeader."""

    name: str
    value: str


class HeaderModifier(_Gateway, frozen=True, kw_only=True):
    """HTTPHeaderFilter: `set` replaces, `add` appends, `remove` drops; in that order."""

    set: tuple[HeaderValue, ...] = ()
    add: tuple[HeaderValue, ...] = ()
    remove: tuple[str, ...] = ()


class PathModifier(_Gateway, frozen=True, kw_only=True):
    """HTTPPathModifier; the field named by `type` is required, the other forbidden."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None


class UrlRewrite(_Gateway, frozen=True, kw_only=True):
    """HTTPURLRewriteFilter."""

    hostname: str | None = None
    path: PathModifier | None = None


class RequestRedirect(_Gateway, frozen=True, kw_only=True):
    """HTTPRequestRedirectFilter."""

    scheme: Literal["http", "https"] | None = None
    hostname: str | None = None
    path: PathModifier | None = None
    port: int | None = None
    status_code: Literal[301, 302, 303, 307, 308] = 302


class BackendRef(_Gateway, frozen=True, kw_only=True):
    """HTTPBackendRef: a declared cluster's name, or with `port` a Service (of `namespace`, default the own one)."""

    name: str
    weight: int = 1
    namespace: str | None = None
    port: int | None = None


class RequestMirror(_Gateway, frozen=True, kw_only=True):
    """HTTPRequestMirrorFilter: a copy goes to `backendRef`, its answer is thrown away."""

    backend_ref: BackendRef
    percent: int = 100


class PythonFilter(_Gateway, frozen=True, kw_only=True):
    """`async def filter(request, forward)` of `module:function`, found in `folder`."""

    function: str
    folder: str = ""
    settings: dict[str, Any] = {}
    name: str = ""


class RequestHeaderModifierFilter(_Gateway, frozen=True, kw_only=True, tag_field="type", tag="RequestHeaderModifier"):
    """Changes request headers."""

    request_header_modifier: HeaderModifier


class ResponseHeaderModifierFilter(_Gateway, frozen=True, kw_only=True, tag_field="type", tag="ResponseHeaderModifier"):
    """Changes response headers."""

    response_header_modifier: HeaderModifier


class UrlRewriteFilter(_Gateway, frozen=True, kw_only=True, tag_field="type", tag="URLRewrite"):
    """Changes host and path of the request."""

    url_rewrite: UrlRewrite


class RequestRedirectFilter(_Gateway, frozen=True, kw_only=True, tag_field="type", tag="RequestRedirect"):
    """Answers with a redirect."""

    request_redirect: RequestRedirect


class RequestMirrorFilter(_Gateway, frozen=True, kw_only=True, tag_field="type", tag="RequestMirror"):
    """Sends a copy elsewhere."""

    request_mirror: RequestMirror


class PythonFilterFilter(_Gateway, frozen=True, kw_only=True, tag_field="type", tag="Python"):
    """Runs the operator's own code."""

    python: PythonFilter


FilterSpec: TypeAlias = (
    RequestHeaderModifierFilter | ResponseHeaderModifierFilter | UrlRewriteFilter | RequestRedirectFilter | RequestMirrorFilter
    | PythonFilterFilter
)  # fmt: skip


class RouteTimeouts(_Gateway, frozen=True, kw_only=True):
    """HTTPRouteTimeouts: of the whole request, and of one attempt; `0s` means none."""

    request: Duration | None = None
    backend_request: Duration | None = None


class Retry(_Gateway, frozen=True, kw_only=True):
    """HTTPRouteRetry (GEP-1731) and what Envoy adds to it."""

    codes: tuple[int, ...] = ()
    attempts: int = 1  # repeats beyond the first try
    backoff: Duration = Duration(0.025)
    per_try_timeout: Duration | None = msgspec.field(default=None, name="per_try_timeout")
    non_idempotent: bool = msgspec.field(default=False, name="retry_non_idempotent")  # repeat POST and PATCH too


class Rule(_Gateway, frozen=True, kw_only=True):
    """HTTPRouteRule."""

    name: str = ""
    matches: tuple[Match, ...] = ()
    filters: tuple[FilterSpec, ...] = ()
    timeouts: RouteTimeouts = RouteTimeouts()
    retry: Retry | None = None
    backend_refs: tuple[BackendRef, ...] = ()


class Route(_Gateway, frozen=True, kw_only=True):
    """HTTPRoute: hostnames (`*.shop.example` is a suffix match) and rules."""

    name: str = ""
    hostnames: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = (Rule(),)


# --- clusters (Envoy's names) ---------------------------------------------------------------------------------------


class StaticEndpoint(_Struct, frozen=True, kw_only=True):
    """One address with its weight and zone."""

    address: str
    weight: int = 1
    zone: str | None = None


class StaticSpec(_Struct, frozen=True, kw_only=True):
    """Endpoints written down: `host:port` (an IP address or a name) or `unix:/path`."""

    endpoints: tuple[str | StaticEndpoint, ...]


class KubernetesSpec(_Struct, frozen=True, kw_only=True):
    """A Service; `port` by number or name is the Service's port, needed where it has several."""

    service: str
    namespace: str | None = None
    port: int | str | None = None
    api: Literal["EndpointSlices", "Endpoints"] = "EndpointSlices"


class FileSpec(_Struct, frozen=True, kw_only=True):
    """EndpointSlice manifests (YAML or JSON, several documents) in a file, re-read when it changes."""

    path: str
    service: str
    namespace: str | None = None
    port: int | str | None = None


class DnsSpec(_Struct, frozen=True, kw_only=True):
    """A name: A and AAAA records with `port`, or SRV records, which bring port and weight."""

    host: str
    port: int | None = None
    type: Literal["ADDRESS", "SRV"] = "ADDRESS"
    nameservers: tuple[str, ...] = ()  # `ip` or `ip:port`; default: the system's


class TlsSpec(_Struct, frozen=True, kw_only=True):
    """TLS to the upstream."""

    sni: str | None = None  # default: the host of the cluster
    ca_file: str | None = None  # default: the system's trust store
    cert_file: str | None = None
    key_file: str | None = None
    insecure_skip_verify: bool = False


class HashPolicy(_Struct, frozen=True, kw_only=True):
    """What consistent hashing hashes; exactly one."""

    header: str | None = None
    cookie: str | None = None
    source_ip: bool = False


class CircuitBreakers(_Struct, frozen=True, kw_only=True):
    """Limits of the cluster; overflow is answered 503 at once."""

    max_connections: int = 1024
    max_pending_requests: int = 1024
    max_requests: int = 1024
    retry_budget_percent: float = 20.0  # of the requests in flight
    min_retry_concurrency: int = 3


class OutlierDetection(_Struct, frozen=True, kw_only=True):
    """When an endpoint is taken out for a while."""

    enabled: bool = True
    consecutive_5xx: int = 5  # any failure counts: connect, reset, timeout, 5xx
    consecutive_gateway_failure: int = 3  # connect, reset, timeout, 502, 503, 504
    base_ejection_time: Duration = Duration(30)  # times the number of ejections in a row
    max_ejection_time: Duration = Duration(300)
    max_ejection_percent: int = 50  # of the endpoints, rounded down; at least one when there are two or more
    panic_threshold: int = 30  # percent of endpoints left below which all are used again


class Cluster(_Struct, frozen=True, kw_only=True):
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


# --- listeners and the rest -----------------------------------------------------------------------------------------


class Limits(_Struct, frozen=True, kw_only=True):
    """What a downstream peer can make grow."""

    max_connections: int = 10_000
    max_header_count: int = 128
    max_header_bytes: int = 16_384  # one field line
    max_target_bytes: int = 8_190
    max_body_bytes: int | None = None  # None: streamed, unlimited
    replay_bytes: int = 65_536  # of a request body kept for a retry
    keepalive_timeout: Duration = Duration(75)  # idle downstream connection
    body_timeout: Duration = Duration(60)  # between two reads of a request body, or two writes of a response body


class Listener(_Struct, frozen=True, kw_only=True):
    """One address that takes requests."""

    name: str
    address: str  # `host:port`, `:port` or `unix:/path`
    mode: Literal["reverse", "forward"] = "reverse"  # forward: the Host names the Service or host to go to
    routes: tuple[Route, ...] = ()
    trusted_proxies: tuple[str, ...] = ("127.0.0.0/8", "::1/128")  # whose Forwarded and X-Forwarded-* are believed
    trace_context: Literal["continue", "restart", "ignore"] = "continue"
    limits: Limits = Limits()


class Admin(_Struct, frozen=True, kw_only=True):
    """The admin page (keep it on loopback; null: off); the probe port serves livez, readyz and metrics only."""

    address: str | None = "127.0.0.1:15020"
    probe_address: str | None = None


class Kubernetes(_Struct, frozen=True, kw_only=True):
    """How the API server is reached; default: in-cluster, else the kubeconfig of `KUBECONFIG`."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None  # own namespace; default: the service account's, the context's, `default`
    cluster_domain: str = "cluster.local"
    first_list_timeout: Duration = Duration(3)  # how long a first request waits for the first list


class AccessLog(_Struct, frozen=True, kw_only=True):
    """JSON lines, off without this section."""

    path: str = "-"  # `-`: standard output
    success_percent: float = 100.0  # of answers below 500 without a flag; failures are always written


class Drain(_Struct, frozen=True, kw_only=True):
    """What SIGTERM does: stop accepting after `delay`, finish what runs within `timeout`, then cut."""

    delay: Duration = Duration(0)
    timeout: Duration = Duration(25)


class Config(_Struct, frozen=True, kw_only=True):
    """The whole configuration."""

    listeners: tuple[Listener, ...]
    clusters: tuple[Cluster, ...] = ()
    admin: Admin = Admin()
    kubernetes: Kubernetes = Kubernetes()
    access_log: AccessLog | None = None
    drain: Drain = Drain()
    warm_timeout: Duration = Duration(5)  # how long start-up waits for the first lists
