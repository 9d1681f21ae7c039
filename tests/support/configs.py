"""Hypothesis strategies that make right configurations as plain data, every field of it."""

from collections.abc import Callable
from typing import Any, TypeAlias

from hypothesis import strategies as st

from sidecar.config.model import Duration

Data: TypeAlias = dict[str, Any]
Strategy: TypeAlias = st.SearchStrategy[Any]

durations = st.integers(1, 10**8).map(lambda millis: str(Duration(millis / 1000)))
_count = st.integers(1, 10_000)
_percent = st.integers(0, 100)
_port = st.integers(1, 65535)
_label = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
_token = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,8}", fullmatch=True)
_text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)
_path = st.from_regex(r"/([a-z0-9]{1,3}/){0,2}[a-z0-9]{0,3}", fullmatch=True)
_ip = st.ip_addresses().map(str)


def _some(required: Data | None = None, **optional: Strategy) -> Strategy:
    return st.fixed_dictionaries(required or {}, optional=optional)


def _address(port: Strategy) -> Strategy:
    hosts = st.one_of(_label, st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"))
    return st.builds(lambda host, number: f"{host}:{number}", hosts, port) | _path.filter(
        lambda text: len(text) > 1
    ).map("unix:{}".format)


def _named(values: Strategy, key: Callable[[Data], str]) -> Strategy:
    return st.lists(values, max_size=3, unique_by=key)


_match_of = _some({"name": _token, "value": _text}, type=st.sampled_from(["Exact", "RegularExpression"]))
_path_match = _some(type=st.sampled_from(["Exact", "PathPrefix", "RegularExpression"]), value=_path)
_match = _some(
    path=_path_match,
    method=_token,
    headers=_named(_match_of, lambda match: match["name"].lower()),
    queryParams=_named(_match_of, lambda match: match["name"]),
)
_headers = _named(
    st.fixed_dictionaries({"name": _token.map("x-{}".format), "value": _text}), lambda header: header["name"].lower()
)
_modifier = _some(set=_headers, add=_headers, remove=st.lists(_token.map("x-{}".format), max_size=2))
_full_path = st.fixed_dictionaries({"type": st.just("ReplaceFullPath"), "replaceFullPath": _path})
_settings = st.dictionaries(
    _text, st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | _text, st.lists, max_leaves=3), max_size=2
)


def _backend(clusters: list[str]) -> Strategy:
    weight = st.integers(0, 1_000_000)
    service = _some({"name": _label, "port": _port}, weight=weight, namespace=_label)
    return _some({"name": st.sampled_from(clusters)}, weight=weight) | service if clusters else service


_claim_headers = _named(st.fixed_dictionaries({"claim": _label, "header": _label}), lambda each: each["header"])
_jwks = _some(file=st.just("keys"), refreshInterval=durations, minInterval=durations, timeout=durations).map(
    lambda spec: spec if "file" in spec else {**spec, "url": "https://id.example/keys"}
)
_claim_rule = st.one_of(
    st.fixed_dictionaries({"claim": _label, "equals": _text}),
    st.fixed_dictionaries({"claim": _label, "oneOf": st.lists(_text, min_size=1, max_size=2)}),
    st.fixed_dictionaries({"claim": _label, "contains": _text}),
)
_token_auth = {"claimsToHeaders": _claim_headers, "stripCredentials": st.booleans(), "realm": _label}
_auth = st.one_of(
    st.fixed_dictionaries(
        {
            "jwt": _some(
                {"issuer": _label, "audiences": st.lists(_label, max_size=2), "jwks": _jwks},
                algorithms=st.lists(st.sampled_from(["RS256", "EdDSA"]), max_size=2),
                leeway=st.just("1m"),
                rules=st.lists(_claim_rule, max_size=2),
                **_token_auth,
            )
        }
    ),
    st.fixed_dictionaries({"jwt": _some({"issuer": _label, "audiences": st.just([]), "secretFile": st.just("s")})}),
    st.fixed_dictionaries(
        {
            "serviceAccount": _some(
                {"audiences": st.lists(_label, min_size=1, max_size=2), "issuer": _label},
                namespaces=st.lists(_label, max_size=2),
                accounts=st.lists(_label.map("shop/{}".format), max_size=2),
                jwks=_jwks,
                **_token_auth,
            )
        }
    ),
    st.fixed_dictionaries({"basic": _some({"usersFile": _path}, userHeader=_label, realm=_label)}),
    st.fixed_dictionaries({"apiKey": _some({"keysFile": _path}, header=_label, query=_label, nameHeader=_label)}),
    st.fixed_dictionaries(
        {
            "forward": _some(
                {"url": st.just("http://auth:4180/verify")},
                timeout=durations,
                requestHeaders=st.lists(_label, max_size=2),
                responseHeaders=st.lists(_label, max_size=2),
                clientHeaders=st.lists(_label, max_size=2),
            )
        }
    ),
    st.fixed_dictionaries({"allow": st.fixed_dictionaries({"addresses": st.lists(_ip, min_size=1, max_size=2)})}),
)


def _filters(clusters: list[str]) -> Strategy:
    mirror = _some({"backendRef": _backend(clusters)}, percent=_percent)
    python = _some({"function": st.just("a.b:c")}, folder=_text, settings=_settings, name=_text)
    origins = st.lists(_label.map("https://*.{}".format), max_size=2, unique=True) | st.just(["*"])
    names = st.lists(_label, max_size=2, unique=True)
    cors = _some(
        allowOrigins=origins,
        allowMethods=st.just(["*"]) | st.just(["GET", "PUT"]),
        allowHeaders=names,
        exposeHeaders=names,
        allowCredentials=st.booleans(),
        allowPrivateNetwork=st.booleans(),
        maxAge=_count,
    )
    compress = _some(
        encodings=st.none() | st.permutations(["zstd", "br", "gzip"]),
        types=st.lists(_label.map("text/{}".format), max_size=2),
        minSize=_count,
        cpuBudget=st.integers(1, 100),
        maxStreams=_count,
        withSetCookie=st.booleans(),
        decompressRequests=st.none() | _some(maxSize=_count, maxRatio=_count),
    )
    kinds = {
        ("Auth", "auth"): _auth,
        ("CORS", "cors"): cors,
        ("Compress", "compress"): compress,
        ("RequestHeaderModifier", "requestHeaderModifier"): _modifier,
        ("ResponseHeaderModifier", "responseHeaderModifier"): _modifier,
        ("URLRewrite", "urlRewrite"): _some(hostname=_label, path=_full_path),
        ("RequestMirror", "requestMirror"): mirror,
        ("Python", "python"): python,
    }
    each = [st.fixed_dictionaries({"type": st.just(name), field: value}) for (name, field), value in kinds.items()]
    return st.lists(st.one_of(each), max_size=3, unique_by=lambda spec: spec["type"])


def _rule(clusters: list[str]) -> Strategy:
    retry = _some(
        codes=st.lists(st.integers(400, 599), max_size=2),
        attempts=_percent,
        backoff=durations,
        per_try_timeout=durations,
        retry_non_idempotent=st.booleans(),
    )
    return _some(
        name=_token,
        matches=st.lists(_match, max_size=2),
        filters=_filters(clusters),
        timeouts=_some(request=durations)
        | _some(backendRequest=durations)
        | st.just({"request": "2s", "backendRequest": "1s"}),
        retry=retry,
        backendRefs=st.lists(_backend(clusters), max_size=2),
    )


def _route(clusters: list[str]) -> Strategy:
    hostnames = st.lists(_label | _label.map("*.{}.example".format), max_size=2)
    return _some(name=_token, hostnames=hostnames, rules=st.lists(_rule(clusters), min_size=1, max_size=2))


def _listeners(clusters: list[str]) -> Strategy:
    numbers = (
        "max_connections",
        "max_header_count",
        "max_header_bytes",
        "max_target_bytes",
        "max_body_bytes",
        "replay_bytes",
    )
    timeouts = ("header_timeout", "keepalive_timeout", "body_timeout")
    limits = _some(**dict.fromkeys(numbers, _count), **dict.fromkeys(timeouts, durations))
    listener = _some(
        {"name": _token, "address": _address(st.just(0)), "routes": st.lists(_route(clusters), min_size=1, max_size=2)},
        mode=st.sampled_from(["reverse", "forward"]),
        trusted_proxies=st.lists(_ip, max_size=2),
        engine=st.sampled_from(["aiohttp", "native"]),
        trace_context=st.sampled_from(["continue", "restart", "ignore"]),
        limits=limits,
    )
    return st.lists(
        listener, min_size=1, max_size=2, unique_by=(lambda each: each["name"], lambda each: each["address"])
    )


_endpoint = _address(_port) | _some({"address": _address(_port)}, weight=_percent, zone=_text)
_endpoints = st.lists(
    _endpoint, min_size=1, max_size=3, unique_by=lambda each: each if isinstance(each, str) else each["address"]
)
_service = {"namespace": _label, "port": _port | _label}
_sources = st.one_of(
    st.fixed_dictionaries({"static": st.fixed_dictionaries({"endpoints": _endpoints})}),
    st.fixed_dictionaries(
        {"kubernetes": _some({"service": _label}, api=st.sampled_from(["EndpointSlices", "Endpoints"]), **_service)}
    ),
    st.fixed_dictionaries({"file": _some({"service": _label, "path": _path}, **_service)}),
    st.fixed_dictionaries(
        {"dns": _some({"host": _label, "port": _port}, type=st.just("ADDRESS"), nameservers=st.lists(_ip, max_size=2))}
    ),
    st.just({"dns": {"host": "_http._tcp.x.example", "type": "SRV"}}),
)
_hashes = st.one_of(
    st.fixed_dictionaries({"header": _token}), st.fixed_dictionaries({"cookie": _token}), st.just({"source_ip": True})
)
_policies = st.one_of(
    _some(lb_policy=st.sampled_from(["PEAK_EWMA", "ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"])),
    st.fixed_dictionaries({"lb_policy": st.just("CONSISTENT_HASH"), "hash_policy": _hashes}),
)
_breakers = ("max_connections", "max_pending_requests", "max_requests", "min_retry_concurrency")
_settings_of_cluster = _some(
    tls=_some(sni=_label, ca_file=st.just("/dev/null"), insecure_skip_verify=st.booleans())
    | st.just({"cert_file": "/dev/null", "key_file": "/dev/null"}),
    connect_timeout=durations,
    idle_timeout=durations,
    stream_idle_timeout=durations,
    slow_start_window=durations,
    circuit_breakers=_some(**dict.fromkeys(_breakers, _count), retry_budget_percent=st.floats(0, 100)),
    outlier_detection=_some(
        {"base_ejection_time": st.just("1ms")},
        enabled=st.booleans(),
        consecutive_5xx=_count,
        consecutive_gateway_failure=_count,
        max_ejection_time=durations,
        max_ejection_percent=_percent,
        panic_threshold=_percent,
    ),
)


def _clusters(names: list[str]) -> Strategy:
    bodies = st.tuples(_sources, _policies, _settings_of_cluster).map(
        lambda parts: {**parts[0], **parts[1], **parts[2]}
    )
    return st.tuples(*([bodies] * len(names))).map(
        lambda each: [{"name": name, **body} for name, body in zip(names, each, strict=True)]
    )


def _config(names: list[str]) -> Strategy:
    return _some(
        {"listeners": _listeners(names), "clusters": _clusters(names)},
        admin=_some(address=st.none() | st.just("127.0.0.1:0"), probe_address=st.none() | st.just(":0")),
        kubernetes=_some(
            kubeconfig=_path,
            context=_text,
            namespace=_label,
            cluster_domain=_label,
            trace_calls=st.booleans(),
            first_list_timeout=durations,
        ),
        access_log=st.none() | _some(path=st.just("-") | _path, success_percent=st.floats(0, 100)),
        drain=_some(delay=durations, timeout=durations),
        warm_timeout=durations,
    )


configs: Strategy = st.lists(_token, max_size=2, unique=True).flatmap(_config)
