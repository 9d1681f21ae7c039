"""Judges routes that parsed: the rules that HTTPRoute states beside its schema, and that every backend exists.

Source: gateway.networking.k8s.io/v1 HTTPRoute, field comments and CEL rules. Regular expressions are judged where they
are compiled.
"""

import re
from collections.abc import Collection
from typing import assert_never

from sidecar.config import fields
from sidecar.config.cache import check_cache
from sidecar.config.check_auth import check_auth
from sidecar.config.compress import check_compress
from sidecar.config.cors import check_cors
from sidecar.config.model import (
    AuthFilter,
    BackendRef,
    CacheFilter,
    CompressFilter,
    CorsFilter,
    FilterSpec,
    HeaderModifier,
    Match,
    NameMatch,
    PathMatch,
    PathModifier,
    PythonFilterFilter,
    RequestHeaderModifierFilter,
    RequestMirrorFilter,
    RequestRedirect,
    RequestRedirectFilter,
    ResponseHeaderModifierFilter,
    Retry,
    Route,
    RouteTimeouts,
    Rule,
    UrlRewriteFilter,
)
from sidecar.errors import ConfigError

_PATH = re.compile(r"/[!-\"$->@-~]*")  # visible ASCII without `#` and `?`
_MAX_WEIGHT = 1_000_000


def check_route(route: Route, path: str, clusters: Collection[str]) -> None:
    """Raise ConfigError for the first thing in `route` that cannot be meant; `clusters` are the declared names."""
    if route.name:
        fields.name(route.name, f"{path}.name")
    for at, hostname in enumerate(route.hostnames):
        fields.hostname(hostname, f"{path}.hostnames[{at}]", wildcard=True)
    if not route.rules:
        raise ConfigError(f"{path}.rules", "expected at least one rule")
    for at, rule in enumerate(route.rules):
        _rule(rule, f"{path}.rules[{at}]", clusters)


def _rule(rule: Rule, path: str, clusters: Collection[str]) -> None:
    if rule.name:
        fields.name(rule.name, f"{path}.name")
    for at, match in enumerate(rule.matches):
        _match(match, f"{path}.matches[{at}]")
    for at, spec in enumerate(rule.filters):
        _filter(spec, rule, f"{path}.filters[{at}]", clusters)
    _filters_together(rule, path)
    _timeouts(rule.timeouts, f"{path}.timeouts")
    if rule.retry is not None:
        _retry(rule.retry, f"{path}.retry")
    for at, ref in enumerate(rule.backend_refs):
        _backend(ref, f"{path}.backendRefs[{at}]", clusters)


def _match(match: Match, path: str) -> None:
    _path_match(match.path, f"{path}.path.value")
    if match.method is not None:
        fields.token(match.method, f"{path}.method", "a method")
    for at, header in enumerate(match.headers):
        fields.token(header.name, f"{path}.headers[{at}].name", "a header name")
    fields.unique((header.name for header in match.headers), f"{path}.headers", "header")
    for at, param in enumerate(match.query_params):
        _param(param, f"{path}.queryParams[{at}].name")
    fields.unique((param.name for param in match.query_params), f"{path}.queryParams", "query parameter")


def _param(param: NameMatch, path: str) -> None:
    if not param.name:
        raise ConfigError(path, "expected the name of a query parameter, got ''")


def _path_match(match: PathMatch, path: str) -> None:
    if match.type == "RegularExpression":
        return
    if not match.value.startswith("/"):
        raise ConfigError(path, f"expected a path that starts with `/`, got {match.value!a}")
    lowered = match.value.lower()
    for part in ("//", "/./", "/../", "%2f", "#", "?"):
        if part in lowered:
            raise ConfigError(path, f"expected a path without `{part}`, got {match.value!a}")
    if lowered.endswith(("/.", "/..")):
        raise ConfigError(path, f"expected a path that does not end in `.` or `..`, got {match.value!a}")


def _filter(spec: FilterSpec, rule: Rule, path: str, clusters: Collection[str]) -> None:
    match spec:
        case RequestHeaderModifierFilter():
            _headers(spec.request_header_modifier, f"{path}.requestHeaderModifier")
        case ResponseHeaderModifierFilter():
            _headers(spec.response_header_modifier, f"{path}.responseHeaderModifier")
        case UrlRewriteFilter():
            _host_and_path(spec.url_rewrite.hostname, spec.url_rewrite.path, rule, f"{path}.urlRewrite")
        case RequestRedirectFilter():
            _redirect(spec.request_redirect, rule, f"{path}.requestRedirect")
        case RequestMirrorFilter():
            _backend(spec.request_mirror.backend_ref, f"{path}.requestMirror.backendRef", clusters)
            fields.between(spec.request_mirror.percent, f"{path}.requestMirror.percent", 0, 100)
        case _:
            _own_filter(spec, path)


def _own_filter(spec: AuthFilter | CacheFilter | CompressFilter | CorsFilter | PythonFilterFilter, path: str) -> None:
    """Those that are not of HTTPRoute's core."""
    match spec:
        case AuthFilter():
            check_auth(spec.auth, f"{path}.auth")
        case CompressFilter():
            check_compress(spec.compress, f"{path}.compress")
        case CacheFilter():
            check_cache(spec.cache, f"{path}.cache")
        case CorsFilter():
            check_cors(spec.cors, f"{path}.cors")
        case PythonFilterFilter():
            _function(spec.python.function, f"{path}.python.function")
        case _:
            assert_never(spec)


def _headers(modifier: HeaderModifier, path: str) -> None:
    for field, values in (("set", modifier.set), ("add", modifier.add)):
        for at, header in enumerate(values):
            fields.header_name(header.name, f"{path}.{field}[{at}].name")
            fields.header_value(header.value, f"{path}.{field}[{at}].value")
        fields.unique((header.name for header in values), f"{path}.{field}", "header")
    for at, name in enumerate(modifier.remove):
        fields.header_name(name, f"{path}.remove[{at}]")


def _host_and_path(hostname: str | None, modifier: PathModifier | None, rule: Rule, path: str) -> None:
    if hostname is not None:
        fields.hostname(hostname, f"{path}.hostname")
    if modifier is not None:
        _path_modifier(modifier, rule, f"{path}.path")


def _path_modifier(modifier: PathModifier, rule: Rule, path: str) -> None:
    wanted, given, other = "replaceFullPath", modifier.replace_full_path, modifier.replace_prefix_match
    if modifier.type == "ReplacePrefixMatch":
        wanted, given, other = "replacePrefixMatch", other, given
    if given is None:
        raise ConfigError(path, f"type {modifier.type} needs the field `{wanted}`")
    if other is not None:
        raise ConfigError(path, f"type {modifier.type} takes the field `{wanted}` only")
    if not _PATH.fullmatch(given) and (given or wanted == "replaceFullPath"):
        raise ConfigError(
            f"{path}.{wanted}", f"expected a percent-encoded path from `/` on, without query, got {given!a}"
        )
    if modifier.type == "ReplacePrefixMatch" and any(match.path.type != "PathPrefix" for match in rule.matches):
        raise ConfigError(path, "type ReplacePrefixMatch needs every match of the rule to be of type PathPrefix")


def _redirect(redirect: RequestRedirect, rule: Rule, path: str) -> None:
    _host_and_path(redirect.hostname, redirect.path, rule, path)
    if redirect.port is not None:
        fields.port(redirect.port, f"{path}.port")


def _function(text: str, path: str) -> None:
    module, colon, function = text.partition(":")
    if not (colon and function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ConfigError(path, f"expected `module:function`, got {text!a}")


def _filters_together(rule: Rule, path: str) -> None:
    redirects = [at for at, spec in enumerate(rule.filters) if isinstance(spec, RequestRedirectFilter)]
    rewrites = [at for at, spec in enumerate(rule.filters) if isinstance(spec, UrlRewriteFilter)]
    if len(redirects) + len(rewrites) > 1:
        at = sorted(redirects + rewrites)[1]
        raise ConfigError(f"{path}.filters[{at}]", "a rule takes one URLRewrite or one RequestRedirect")
    caches = [at for at, spec in enumerate(rule.filters) if isinstance(spec, CacheFilter)]
    if len(caches) > 1:
        raise ConfigError(f"{path}.filters[{caches[1]}]", "a rule takes one Cache")
    if redirects and rule.backend_refs:
        raise ConfigError(f"{path}.backendRefs", "a rule with a RequestRedirect takes no backendRefs")


def _timeouts(timeouts: RouteTimeouts, path: str) -> None:
    request, backend = timeouts.request, timeouts.backend_request
    if request and backend is not None and backend > request:
        raise ConfigError(f"{path}.backendRequest", f"expected no more than `request` ({request}), got {backend}")


def _retry(retry: Retry, path: str) -> None:
    fields.between(retry.attempts, f"{path}.attempts", 0, 100)
    for at, code in enumerate(retry.codes):
        fields.between(code, f"{path}.codes[{at}]", 400, 599)


def _backend(ref: BackendRef, path: str, clusters: Collection[str]) -> None:
    fields.between(ref.weight, f"{path}.weight", 0, _MAX_WEIGHT)
    if ref.port is not None:
        fields.port(ref.port, f"{path}.port")
        fields.label(ref.name, f"{path}.name")
        if ref.namespace is not None:
            fields.label(ref.namespace, f"{path}.namespace")
        return
    if ref.namespace is not None:
        raise ConfigError(path, "field `namespace` goes with `port`, which makes the name one of a Service")
    if ref.name not in clusters:
        declared = f"declared are {', '.join(f'`{name}`' for name in clusters)}" if clusters else "none is declared"
        hint = "with `port` it would be a Kubernetes Service"
        raise ConfigError(f"{path}.name", f"no cluster {ref.name!a}: {declared}; {hint}")
