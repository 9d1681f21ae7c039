"""Routes, spelled as in Gateway API (HTTPRoute, gateway.networking.k8s.io/v1): camelCase."""

from typing import Any, Literal, TypeAlias

import msgspec

from sidecar.config.auth import AuthFilter
from sidecar.config.cache import CacheFilter
from sidecar.config.compress import CompressFilter
from sidecar.config.cors import CorsFilter
from sidecar.config.sections import Duration, GatewaySection


class PathMatch(GatewaySection, frozen=True, kw_only=True):
    """HTTPPathMatch."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: str = "/"


class NameMatch(GatewaySection, frozen=True, kw_only=True):
    """HTTPHeaderMatch and HTTPQueryParamMatch."""

    name: str
    value: str
    type: Literal["Exact", "RegularExpression"] = "Exact"


class Match(GatewaySection, frozen=True, kw_only=True):
    """HTTPRouteMatch: all conditions must hold."""

    path: PathMatch = PathMatch()
    headers: tuple[NameMatch, ...] = ()
    query_params: tuple[NameMatch, ...] = ()
    method: str | None = None


class HeaderValue(GatewaySection, frozen=True, kw_only=True):
    """HTTPHeader."""

    name: str
    value: str


class HeaderModifier(GatewaySection, frozen=True, kw_only=True):
    """HTTPHeaderFilter: `set` replaces, `add` appends, `remove` drops; in that order."""

    set: tuple[HeaderValue, ...] = ()
    add: tuple[HeaderValue, ...] = ()
    remove: tuple[str, ...] = ()


class PathModifier(GatewaySection, frozen=True, kw_only=True):
    """HTTPPathModifier; the field named by `type` is required, the other forbidden."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None


class UrlRewrite(GatewaySection, frozen=True, kw_only=True):
    """HTTPURLRewriteFilter."""

    hostname: str | None = None
    path: PathModifier | None = None


class RequestRedirect(GatewaySection, frozen=True, kw_only=True):
    """HTTPRequestRedirectFilter."""

    scheme: Literal["http", "https"] | None = None
    hostname: str | None = None
    path: PathModifier | None = None
    port: int | None = None
    status_code: Literal[301, 302, 303, 307, 308] = 302


class BackendRef(GatewaySection, frozen=True, kw_only=True):
    """HTTPBackendRef: a declared cluster's name, or with `port` a Service (of `namespace`, default the own one)."""

    name: str
    weight: int = 1
    namespace: str | None = None
    port: int | None = None


class RequestMirror(GatewaySection, frozen=True, kw_only=True):
    """HTTPRequestMirrorFilter: a copy goes to `backendRef`, its answer is thrown away."""

    backend_ref: BackendRef
    percent: int = 100


class PythonFilter(GatewaySection, frozen=True, kw_only=True):
    """`async def filter(request, forward)` of `module:function`, found in `folder`."""

    function: str
    folder: str = ""
    settings: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies an empty default
    name: str = ""


class RequestHeaderModifierFilter(
    GatewaySection, frozen=True, kw_only=True, tag_field="type", tag="RequestHeaderModifier"
):
    """Changes request headers."""

    request_header_modifier: HeaderModifier


class ResponseHeaderModifierFilter(
    GatewaySection, frozen=True, kw_only=True, tag_field="type", tag="ResponseHeaderModifier"
):
    """Changes response headers."""

    response_header_modifier: HeaderModifier


class UrlRewriteFilter(GatewaySection, frozen=True, kw_only=True, tag_field="type", tag="URLRewrite"):
    """Changes host and path of the request."""

    url_rewrite: UrlRewrite


class RequestRedirectFilter(GatewaySection, frozen=True, kw_only=True, tag_field="type", tag="RequestRedirect"):
    """Answers with a redirect."""

    request_redirect: RequestRedirect


class RequestMirrorFilter(GatewaySection, frozen=True, kw_only=True, tag_field="type", tag="RequestMirror"):
    """Sends a copy elsewhere."""

    request_mirror: RequestMirror


class PythonFilterFilter(GatewaySection, frozen=True, kw_only=True, tag_field="type", tag="Python"):
    """Runs the operator's own code."""

    python: PythonFilter


FilterSpec: TypeAlias = (
    RequestHeaderModifierFilter
    | ResponseHeaderModifierFilter
    | UrlRewriteFilter
    | RequestRedirectFilter
    | RequestMirrorFilter
    | CompressFilter
    | CacheFilter
    | CorsFilter
    | PythonFilterFilter
    | AuthFilter
)


class RouteTimeouts(GatewaySection, frozen=True, kw_only=True):
    """HTTPRouteTimeouts: of the whole request, and of one attempt; `0s` means none."""

    request: Duration | None = None
    backend_request: Duration | None = None


class Retry(GatewaySection, frozen=True, kw_only=True):
    """HTTPRouteRetry (GEP-1731) and what Envoy adds to it."""

    codes: tuple[int, ...] = ()
    attempts: int = 1  # repeats beyond the first try
    backoff: Duration = Duration(0.025)
    per_try_timeout: Duration | None = msgspec.field(default=None, name="per_try_timeout")
    non_idempotent: bool = msgspec.field(default=False, name="retry_non_idempotent")  # repeat POST and PATCH too


class Rule(GatewaySection, frozen=True, kw_only=True):
    """HTTPRouteRule."""

    name: str = ""
    matches: tuple[Match, ...] = ()
    filters: tuple[FilterSpec, ...] = ()
    timeouts: RouteTimeouts = RouteTimeouts()
    retry: Retry | None = None
    backend_refs: tuple[BackendRef, ...] = ()


class Route(GatewaySection, frozen=True, kw_only=True):
    """HTTPRoute: hostnames (`*.shop.example` is a suffix match) and rules."""

    name: str = ""
    hostnames: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = (Rule(),)
