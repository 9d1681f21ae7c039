"""Configurations, right and wrong: the laws of parsing, and what each mistake is answered with."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.config import model
from sidecar.config.diagnose import explain
from sidecar.config.load import dump, from_command_line, load, load_text, parse
from sidecar.config.redact import redacted
from sidecar.config.schema import schema
from sidecar.errors import ConfigError
from tests.support.configs import Data, configs

GOOD = """
listeners:
  - name: outbound
    address: 127.0.0.1:15001
    mode: forward
  - name: inbound
    address: 0.0.0.0:15006
    routes:
      - hostnames: ["shop.example"]
        rules:
          - matches: [{path: {type: PathPrefix, value: /api}, method: GET}]
            filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-team, value: shop}]}}]
            timeouts: {request: 10s, backendRequest: 2s}
            retry: {codes: [503], attempts: 2}
            backendRefs: [{name: app, weight: 90}, {name: canary, weight: 10}]
clusters:
  - {name: app, static: {endpoints: ["127.0.0.1:8080"]}}
  - {name: canary, kubernetes: {namespace: shop, service: canary, port: http}}
  - {name: billing, dns: {host: billing.example, port: 443}, tls: {}}
  - {name: legacy, file: {path: endpoints.yaml, service: legacy}}
  - {name: local, static: {endpoints: ["unix:/run/app.sock"]}}
admin: {address: 127.0.0.1:15020}
"""
SMALL = {
    "listeners": [{"name": "in", "address": ":8080", "routes": [{"rules": [{"backendRefs": [{"name": "app"}]}]}]}],
    "clusters": [{"name": "app", "static": {"endpoints": ["127.0.0.1:9000"]}}],
}
RULE = "listeners[0].routes[0].rules[0]"
CLUSTER = "clusters[0]"


def change(path: str, value: object) -> Data:
    """SMALL with one field set; `path` is as in errors, without `$.`."""
    data: Any = copy.deepcopy(SMALL)
    at = data
    keys = [int(key) if key.isdigit() else key for key in path.replace("[", ".").replace("]", "").split(".")]
    for key in keys[:-1]:
        at = at[key] if isinstance(key, int) or key in at else at.setdefault(key, {})
    at[keys[-1]] = value
    return data


def refusal(data: object) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(data)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_the_configuration_of_the_design_is_right() -> None:
    config = load_text(GOOD.encode(), "sidecar.yaml")
    assert [listener.name for listener in config.listeners] == ["outbound", "inbound"]
    rule = config.listeners[1].routes[0].rules[0]
    assert rule.timeouts.backend_request == 2
    assert rule.retry == model.Retry(codes=(503,), attempts=2)
    assert config.clusters[2].tls == model.TlsSpec()


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(configs)
def test_dump_and_parse_are_inverse(data: Data) -> None:
    config = parse(data)
    assert parse(dump(config)) == config
    assert load_text(yaml.safe_dump(json.loads(json.dumps(dump(config)))).encode(), "x") == config or _has_files(config)


def _has_files(config: model.Config) -> bool:
    return any(
        cluster.tls is not None and (cluster.tls.ca_file or cluster.tls.cert_file) for cluster in config.clusters
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    configs, st.data(), st.sampled_from([None, True, -1, 1.5, float("nan"), "", "x y", [], {}, {"x": 1}, {1: 2}, [[]]])
)
def test_one_wrong_value_anywhere_is_a_config_error_or_right(data: Data, draw: st.DataObject, value: object) -> None:
    broken = copy.deepcopy(data)
    at: Any = broken
    while True:
        keys = list(range(len(at))) if isinstance(at, list) else list(at)
        key = draw.draw(st.sampled_from(keys))
        if not isinstance(at[key], dict | list) or not at[key] or draw.draw(st.booleans()):
            break
        at = at[key]
    at[key] = value
    try:
        parse(broken)
    except ConfigError as error:
        assert error.path.startswith("$")
        assert "\n" not in str(error)
        assert "msgspec" not in str(error)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, "$: expected a mapping, got nothing"),
        ([], "$: expected a mapping, got a list"),
        ({}, "$: field `listeners` is missing"),
        ({"listeners": []}, "$.listeners: expected at least one listener"),
        ({1: 2}, "$: expected field names that are strings, got 1; quote it"),
        (change("listner", 1), "$: unknown field `listner`; did you mean `listeners`?"),
        (change("listeners[0].name", 7), "$.listeners[0].name: expected a string, got 7; quote it"),
        (change("listeners[0].name", True), "$.listeners[0].name: expected a string, got true; quote it"),
        (change("listeners[0].name", None), "$.listeners[0].name: expected a string, got nothing"),
        (change("listeners[0].name", []), "$.listeners[0].name: expected a string, got a list"),
        (change("listeners[0].mode", "frward"), "$.listeners[0].mode: unknown value 'frward'; did you mean `forward`?"),
        (change("listeners[0].mode", 1), "$.listeners[0].mode: unknown value 1; known values: `forward`, `reverse`"),
        (change("listeners[0].routes", {}), "$.listeners[0].routes: expected a list, got a mapping"),
        (
            change("listeners[0].limits.max_connections", True),
            "$.listeners[0].limits.max_connections: expected an integer, got true",
        ),
        (
            change("listeners[0].limits.max_body_bytes", "1"),
            "$.listeners[0].limits.max_body_bytes: expected an integer, got '1'",
        ),
        (change(f"{RULE}.timout", "1s"), f"$.{RULE}: unknown field `timout`; did you mean `timeouts`?"),
        (change(f"{RULE}.backend_refs", []), f"$.{RULE}: unknown field `backend_refs`; did you mean `backendRefs`?"),
        (
            change(f"{RULE}.timeouts", {"request": 5}),
            f"$.{RULE}.timeouts.request: expected a duration such as '2s', '150ms' or '1m30s', got 5",
        ),
        (change(f"{RULE}.filters", [{}]), f"$.{RULE}.filters[0]: field `type` is missing; known values: `"),
        (change(f"{RULE}.filters", [{"type": []}]), f"$.{RULE}.filters[0].type: unknown value a list; known values: `"),
        (change(f"{RULE}.filters", ["x"]), f"$.{RULE}.filters[0]: expected a mapping, got 'x'"),
        (
            change(f"{RULE}.filters", [{"type": "UrlRewrite"}]),
            f"$.{RULE}.filters[0].type: unknown value 'UrlRewrite'; did you mean `URLRewrite`?",
        ),
        (
            change(f"{RULE}.filters", [{"type": "URLRewrite", "rewrite": {}}]),
            f"$.{RULE}.filters[0]: unknown field `rewrite`; did you mean `urlRewrite`?",
        ),
        (change(f"{RULE}.filters", [{"type": "URLRewrite"}]), f"$.{RULE}.filters[0]: field `urlRewrite` is missing"),
        (
            change(f"{RULE}.filters", [{"type": "Python", "python": {"function": "a:b", "settings": {1: 2}}}]),
            f"$.{RULE}.filters[0].python.settings: expected field names that are strings, got 1; quote it",
        ),
        (
            change("clusters[0].static.endpoints", [5]),
            "$.clusters[0].static.endpoints[0]: expected a string, got 5; quote it",
        ),
        (
            change("clusters[0].static.endpoints", [{"adress": ""}]),
            "$.clusters[0].static.endpoints[0]: unknown field `adress`",
        ),
        (change("clusters[0].tls", 5), "$.clusters[0].tls: expected a mapping, got 5"),
        (
            change("clusters[0].outlier_detection.enabled", "no"),
            "$.clusters[0].outlier_detection.enabled: expected true or false",
        ),
        (
            change("clusters[0].circuit_breakers.retry_budget_percent", "9"),
            ".retry_budget_percent: expected a number, got '9'",
        ),
        (change("x" * 200, 1), "$: unknown field `xxx"),
        (change("listeners[0].mode", "x" * 200), "$.listeners[0].mode: unknown value 'xxx"),
        (change("admin", {"address": 1}), "$.admin.address: expected a string, got 1; quote it"),
    ],
)
def test_what_does_not_fit_the_schema_is_named(data: object, text: str) -> None:
    assert text in refusal(data)


def test_a_refusal_that_the_walk_cannot_explain_keeps_its_own_words() -> None:
    error = explain(msgspec.ValidationError("something else"), SMALL)
    assert str(error) == "$: something else"


def modifier(**fields: object) -> list[Data]:
    return [{"type": "RequestHeaderModifier", "requestHeaderModifier": fields}]


def rewrite(**path: object) -> list[Data]:
    return [{"type": "URLRewrite", "urlRewrite": {"path": path}}]


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("listeners[0].name", "", "$.listeners[0].name: expected 1 to 253 visible ASCII characters"),
        ("listeners[0].name", "a b", "$.listeners[0].name: "),
        ("listeners[0].address", "nowhere", "$.listeners[0].address: expected 'host:port'"),
        ("listeners[0].address", ":99999", "$.listeners[0].address: expected a port"),
        ("listeners[0].routes", [], "$.listeners[0]: expected `routes`, or `mode: forward`"),
        ("listeners[0].trusted_proxies", ["10.0.0.1/8"], ".trusted_proxies[0]: expected an address range"),
        ("listeners[0].trusted_proxies", ["::/0", "x"], ".trusted_proxies[1]: expected an address range"),
        ("listeners[0].limits.max_connections", 0, ".limits.max_connections: expected 1 or more, got 0"),
        ("listeners[0].limits.max_body_bytes", -1, ".limits.max_body_bytes: expected 0 or more, got -1"),
        ("listeners[0].limits.body_timeout", "0s", ".limits.body_timeout: expected a duration above zero"),
        (
            "listeners",
            [*SMALL["listeners"], {**SMALL["listeners"][0], "address": ":1"}],
            "$.listeners[1].name: listener 'in' is taken by",
        ),
        (
            "listeners",
            [*SMALL["listeners"], {**SMALL["listeners"][0], "name": "b"}],
            "$.listeners[1].address: ':8080' is taken by $.listen",
        ),
        ("admin.address", ":8080", "$.admin.address: ':8080' is taken by $.listeners[0].address"),
        (
            "admin.probe_address",
            "127.0.0.1:15020",
            "$.admin.probe_address: '127.0.0.1:15020' is taken by $.admin.address",
        ),
        ("admin.probe_address", "x", "$.admin.probe_address: expected"),
        ("listeners[0].routes[0].name", "a b", "$.listeners[0].routes[0].name: "),
        ("listeners[0].routes[0].rules", [], "$.listeners[0].routes[0].rules: expected at least one rule"),
        ("listeners[0].routes[0].hostnames", ["Shop.example"], ".hostnames[0]: expected a host name in lower case"),
        ("listeners[0].routes[0].hostnames", ["a", "*"], ".hostnames[1]: expected a host name"),
        (f"{RULE}.name", "a b", f"$.{RULE}.name: "),
        (
            f"{RULE}.matches",
            [{"path": {"value": "api"}}],
            ".matches[0].path.value: expected a path that starts with `/`",
        ),
        (f"{RULE}.matches", [{"path": {"value": "/a%2Fb"}}], ".matches[0].path.value: expected a path without `%2f`"),
        (
            f"{RULE}.matches",
            [{"path": {"value": "/a/.."}}],
            ".matches[0].path.value: expected a path that does not end",
        ),
        (f"{RULE}.matches", [{"method": "G ET"}], ".matches[0].method: expected a method without spaces"),
        (f"{RULE}.matches", [{"headers": [{"name": "a:", "value": ""}]}], ".headers[0].name: expected a header name"),
        (
            f"{RULE}.matches",
            [{"headers": [{"name": "a", "value": "1"}, {"name": "A", "value": "2"}]}],
            ".headers[1].name: header 'a' is",
        ),
        (f"{RULE}.matches", [{"queryParams": [{"name": "", "value": ""}]}], ".queryParams[0].name: expected the name"),
        (
            f"{RULE}.matches",
            [{"queryParams": [{"name": "a", "value": ""}] * 2}],
            ".queryParams[1].name: query parameter 'a' is taken",
        ),
        (
            f"{RULE}.filters",
            modifier(set=[{"name": "a b", "value": ""}]),
            ".requestHeaderModifier.set[0].name: expected a header name",
        ),
        (
            f"{RULE}.filters",
            modifier(add=[{"name": "a", "value": "\n"}]),
            ".requestHeaderModifier.add[0].value: expected a value",
        ),
        (
            f"{RULE}.filters",
            modifier(add=[{"name": "Connection", "value": "x"}]),
            ".add[0].name: `Connection` frames the message",
        ),
        (f"{RULE}.filters", modifier(set=[{"name": "a", "value": ""}] * 2), ".set[1].name: header 'a' is taken by"),
        (
            f"{RULE}.filters",
            modifier(remove=["transfer-encoding"]),
            ".remove[0]: `transfer-encoding` frames the message",
        ),
        (
            f"{RULE}.filters",
            [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": [""]}}],
            ".responseHeaderModifier.remove[0]: expected a header name",
        ),
        (
            f"{RULE}.filters",
            [{"type": "URLRewrite", "urlRewrite": {"hostname": "*.a"}}],
            ".urlRewrite.hostname: expected a host name",
        ),
        (
            f"{RULE}.filters",
            rewrite(type="ReplaceFullPath"),
            ".urlRewrite.path: type ReplaceFullPath needs the field `replaceFullPath`",
        ),
        (
            f"{RULE}.filters",
            rewrite(type="ReplaceFullPath", replaceFullPath="/", replacePrefixMatch="/"),
            ".urlRewrite.path: type ReplaceFullPath takes the field `replaceFullPath` only",
        ),
        (
            f"{RULE}.filters",
            rewrite(type="ReplaceFullPath", replaceFullPath=""),
            ".path.replaceFullPath: expected a percent-encoded path",
        ),
        (
            f"{RULE}.filters",
            rewrite(type="ReplacePrefixMatch", replacePrefixMatch="/a?b"),
            ".path.replacePrefixMatch: expected a percent",
        ),
        (
            "listeners[0].routes[0].rules",
            [
                {
                    "matches": [{"path": {"type": "Exact"}}],
                    "filters": rewrite(type="ReplacePrefixMatch", replacePrefixMatch=""),
                }
            ],
            ".filters[0].urlRewrite.path: type ReplacePrefixMatch needs every match",
        ),
        (
            f"{RULE}.filters",
            [{"type": "RequestRedirect", "requestRedirect": {"port": 0}}],
            ".requestRedirect.port: expected 1 to 65535",
        ),
        (
            f"{RULE}.filters",
            [{"type": "RequestRedirect", "requestRedirect": {}}],
            f"$.{RULE}.backendRefs: a rule with a RequestRedirect",
        ),
        (
            f"{RULE}.filters",
            rewrite(type="ReplaceFullPath", replaceFullPath="/") * 2,
            ".filters[1]: a rule takes one URLRewrite or one",
        ),
        (
            f"{RULE}.filters",
            [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "x"}}}],
            ".requestMirror.backendRef.name: no cluster 'x': declared are `app`",
        ),
        (
            f"{RULE}.filters",
            [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "app"}, "percent": 101}}],
            ".requestMirror.percent: expected 0 to 100, got 101",
        ),
        (
            f"{RULE}.filters",
            [{"type": "Python", "python": {"function": "a.b"}}],
            ".python.function: expected `module:function`, got 'a.b'",
        ),
        (
            f"{RULE}.timeouts",
            {"request": "1s", "backendRequest": "2s"},
            ".timeouts.backendRequest: expected no more than `request` (1s)",
        ),
        (f"{RULE}.retry", {"attempts": -1}, ".retry.attempts: expected 0 to 100, got -1"),
        (f"{RULE}.retry", {"codes": [503, 200]}, ".retry.codes[1]: expected 400 to 599, got 200"),
        (
            f"{RULE}.backendRefs",
            [{"name": "app", "weight": -1}],
            ".backendRefs[0].weight: expected 0 to 1000000, got -1",
        ),
        (
            f"{RULE}.backendRefs",
            [{"name": "ap"}],
            f"$.{RULE}.backendRefs[0].name: no cluster 'ap': declared are `app`; with `port` it would be a Kubernetes Service",
        ),
        (
            f"{RULE}.backendRefs",
            [{"name": "app", "namespace": "x"}],
            ".backendRefs[0]: field `namespace` goes with `port`",
        ),
        (
            f"{RULE}.backendRefs",
            [{"name": "app", "port": 65536}],
            ".backendRefs[0].port: expected 1 to 65535, got 65536",
        ),
        (
            f"{RULE}.backendRefs",
            [{"name": "a.b", "port": 80}],
            ".backendRefs[0].name: expected up to 63 lower-case letters",
        ),
        (
            f"{RULE}.backendRefs",
            [{"name": "a", "port": 80, "namespace": "B"}],
            ".backendRefs[0].namespace: expected up to 63",
        ),
        ("clusters", [], f"$.{RULE}.backendRefs[0].name: no cluster 'app': none is declared"),
        ("clusters", SMALL["clusters"] * 2, "$.clusters[1].name: cluster 'app' is taken by $.clusters[0]"),
        (
            "clusters",
            [{"name": "app"}],
            "$.clusters[0]: expected exactly one of `static`, `kubernetes`, `file`, `dns`, got none",
        ),
        (f"{CLUSTER}.dns", {"host": "a", "port": 1}, "`dns`, got `static` and `dns`"),
        (f"{CLUSTER}.static.endpoints", [], "$.clusters[0].static.endpoints: expected at least one endpoint"),
        (f"{CLUSTER}.static.endpoints", ["a:1", "a"], "$.clusters[0].static.endpoints[1]: expected 'host:port'"),
        (f"{CLUSTER}.static.endpoints", ["a:0"], "$.clusters[0].static.endpoints[0]: expected 1 to 65535, got 0"),
        (f"{CLUSTER}.static.endpoints", [":80"], "$.clusters[0].static.endpoints[0]: expected host:port, got ':80'"),
        (f"{CLUSTER}.static.endpoints", ["a:1", {"address": "a:1"}], ".endpoints[1]: endpoint 'a:1' is taken by"),
        (f"{CLUSTER}.static.endpoints", [{"address": "a"}], "$.clusters[0].static.endpoints[0].address: expected"),
        (
            f"{CLUSTER}.static.endpoints",
            [{"address": "a:1", "weight": -1}],
            ".endpoints[0].weight: expected 0 to 1000000",
        ),
        (f"{CLUSTER}.tls", {"cert_file": "x"}, "$.clusters[0].tls: fields `cert_file` and `key_file` go together"),
        (f"{CLUSTER}.tls", {"sni": "a b"}, "$.clusters[0].tls.sni: expected a DNS name"),
        (
            f"{CLUSTER}.hash_policy",
            {"header": "x"},
            "$.clusters[0]: `hash_policy` and `lb_policy: CONSISTENT_HASH` go together",
        ),
        (
            f"{CLUSTER}.lb_policy",
            "CONSISTENT_HASH",
            "$.clusters[0]: `hash_policy` and `lb_policy: CONSISTENT_HASH` go together",
        ),
        (f"{CLUSTER}.connect_timeout", "0s", "$.clusters[0].connect_timeout: expected a duration above zero"),
        (
            f"{CLUSTER}.circuit_breakers",
            {"max_requests": 0},
            ".circuit_breakers.max_requests: expected 1 or more, got 0",
        ),
        (
            f"{CLUSTER}.circuit_breakers",
            {"min_retry_concurrency": -1},
            ".min_retry_concurrency: expected 0 or more, got -1",
        ),
        (
            f"{CLUSTER}.circuit_breakers",
            {"retry_budget_percent": float("nan")},
            ".retry_budget_percent: expected 0 to 100, got nan",
        ),
        (
            f"{CLUSTER}.outlier_detection",
            {"consecutive_5xx": 0},
            ".outlier_detection.consecutive_5xx: expected 1 or more",
        ),
        (
            f"{CLUSTER}.outlier_detection",
            {"panic_threshold": 101},
            ".outlier_detection.panic_threshold: expected 0 to 100",
        ),
        (
            f"{CLUSTER}.outlier_detection",
            {"base_ejection_time": "0s"},
            ".base_ejection_time: expected a duration above zero",
        ),
        (
            f"{CLUSTER}.outlier_detection",
            {"max_ejection_time": "1s"},
            ".max_ejection_time: expected `base_ejection_time` (30s) or more",
        ),
        ("kubernetes", {"first_list_timeout": "0s"}, "$.kubernetes.first_list_timeout: expected a duration above zero"),
        ("kubernetes", {"cluster_domain": "a b"}, "$.kubernetes.cluster_domain: expected a DNS name"),
        ("kubernetes", {"namespace": "A"}, "$.kubernetes.namespace: expected up to 63"),
        ("access_log", {"success_percent": 101}, "$.access_log.success_percent: expected 0 to 100"),
        ("access_log", {"path": ""}, "$.access_log.path: expected a file"),
    ],
)
def test_what_cannot_be_meant_is_named(path: str, value: object, text: str) -> None:
    assert text in refusal(change(path, value))


@pytest.mark.parametrize(
    ("cluster", "text"),
    [
        ({"dns": {"host": "a b", "port": 1}}, "$.clusters[0].dns.host: expected a DNS name"),
        ({"dns": {"host": "a"}}, "$.clusters[0].dns: field `port` is missing"),
        ({"dns": {"host": "a", "port": 0}}, "$.clusters[0].dns.port: expected 1 to 65535"),
        ({"dns": {"host": "a", "type": "SRV", "port": 1}}, "$.clusters[0].dns.port: SRV records bring the port"),
        (
            {"dns": {"host": "a", "port": 1, "nameservers": ["x"]}},
            ".nameservers[0]: expected `ip` or `ip:port`, got 'x'",
        ),
        (
            {"dns": {"host": "a", "port": 1, "nameservers": ["::1", "1.1.1.1:53", "[::1]:x"]}},
            ".nameservers[2]: expected a port",
        ),
        ({"kubernetes": {"service": "A"}}, "$.clusters[0].kubernetes.service: expected up to 63"),
        ({"kubernetes": {"service": "a", "namespace": ""}}, "$.clusters[0].kubernetes.namespace: expected up to 63"),
        ({"kubernetes": {"service": "a", "port": 0}}, "$.clusters[0].kubernetes.port: expected 1 to 65535"),
        (
            {"kubernetes": {"service": "a", "port": "Http"}},
            "$.clusters[0].kubernetes.port: expected a port number or the name",
        ),
        (
            {"kubernetes": {"service": "a", "api": "Endpoint"}},
            ".api: unknown value 'Endpoint'; did you mean `Endpoints`?",
        ),
        ({"file": {"service": "a", "path": ""}}, "$.clusters[0].file.path: expected a file"),
    ],
)
def test_a_source_that_cannot_be_meant_is_named(cluster: Data, text: str) -> None:
    assert text in refusal(change("clusters", [{"name": "app", **cluster}]))


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ({}, "$.clusters[0].hash_policy: expected exactly one of `header`, `cookie`, `source_ip: true`"),
        ({"header": "a", "source_ip": True}, "$.clusters[0].hash_policy: expected exactly one of"),
        ({"cookie": "a b"}, "$.clusters[0].hash_policy.cookie: expected a cookie name"),
    ],
)
def test_a_hash_policy_names_exactly_one_thing(policy: Data, text: str) -> None:
    cluster = {**SMALL["clusters"][0], "lb_policy": "CONSISTENT_HASH", "hash_policy": policy}
    assert text in refusal(change("clusters", [cluster]))


def test_port_zero_may_be_listened_on_many_times() -> None:
    listener = SMALL["listeners"][0]
    config = parse(change("listeners", [{**listener, "name": name, "address": ":0"} for name in "ab"]))
    assert len(config.listeners) == 2


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"", "F: $: expected a mapping, got nothing"),
        (b"listeners: [", "F:2:1: while parsing a flow node, did not find expected node content"),
        (b"a: 1\na: 2", "F:2:1: the key 'a' is there twice"),
        (b"a:\n  b: 1\n  'b': 2", "F:3:3: the key 'b' is there twice"),
        (b"a: \x01", "F: not YAML: unacceptable character"),
        (b"\x80abc", "F: not YAML: "),
        (b"a: 1\n---\nb: 1", "F:2:1: expected a single document"),
        (b"a: !!python/object:os.system x", "F:1:4: could not determine a constructor"),
        (b"? [a]\n: 1", "F:1:3: while constructing a mapping, found unhashable key"),
        (b"[" * 5000, "F:1:"),
        (b"listeners: &a\n  - *a\n", "F: $.listeners[0]: expected a mapping, got a list"),
        (
            b"listeners: [{name: a, address: ':1', mode: forward, routes: [{rules: [{filters: "
            b"[{type: Python, python: {function: 'a:b', settings: &a {x: *a}}}]}]}]}]",
            "F: $: a value contains itself",
        ),
    ],
)
def test_what_is_no_yaml_is_named_with_its_line_and_column(text: bytes, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text, "F")
    assert str(caught.value).startswith(error)
    assert "\n" not in str(caught.value)


def test_a_date_stays_text_and_merged_keys_are_not_twice() -> None:
    text = b"listeners: [{name: 2001-01-01, address: ':1', mode: forward, limits: {<<: &l {max_connections: 1}, max_connections: 2}}]"
    listener = load_text(text, "F").listeners[0]
    assert (listener.name, listener.limits.max_connections) == ("2001-01-01", 2)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.yaml: cannot read it: No such file or directory"):
        load(tmp_path / "nope.yaml")
    with pytest.raises(ConfigError, match="cannot read it: Is a directory"):
        load(tmp_path)


def test_a_missing_file_of_tls_is_named_with_its_field(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text(json.dumps(change("clusters[0].tls", {"ca_file": str(path)})))
    assert load(path).clusters[0].tls == model.TlsSpec(ca_file=str(path))
    path.write_text(json.dumps(change("clusters[0].tls", {"ca_file": "/nope/ca.crt"})))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert (
        str(caught.value) == f"{path}: $.clusters[0].tls.ca_file: cannot read '/nope/ca.crt': No such file or directory"
    )


def test_a_command_line_becomes_one_listener_and_one_cluster() -> None:
    config = from_command_line(":8080", ["127.0.0.1:9001", "unix:/run/a.sock", "http://b"])
    assert config.listeners[0].address == ":8080"
    assert config.clusters[0].static == model.StaticSpec(endpoints=("127.0.0.1:9001", "unix:/run/a.sock", "b:80"))
    assert config.clusters[0].tls is None
    assert config.admin.address is None
    assert parse(dump(config)) == config


def test_https_upstreams_get_tls_and_an_admin_address_is_taken() -> None:
    config = from_command_line("http://127.0.0.1:8080/", ["https://a", "https://[::1]:8443/"], ":1")
    assert config.listeners[0].address == "127.0.0.1:8080"
    assert config.clusters[0].static == model.StaticSpec(endpoints=("a:443", "[::1]:8443"))
    assert config.clusters[0].tls == model.TlsSpec()
    assert config.admin.address == ":1"


@pytest.mark.parametrize(
    ("from_", "to", "admin", "text"),
    [
        ("nowhere", ["a:1"], None, "--from: expected 'host:port'"),
        ("https://a:1", ["a:1"], None, "--from: the sidecar does not listen with TLS"),
        (":1", ["ftp://a:1"], None, "--to: expected http:// or https://, got 'ftp://a:1'"),
        (":1", ["http://a/b"], None, "--to: expected a URL without path"),
        (":1", ["a"], None, "--to: expected 'host:port'"),
        (":1", ["a:1", "a:1"], None, "--to: endpoint 'a:1' is taken"),
        (":1", ["a:1", "https://b"], None, "--to: either all of them are https:// or none"),
        (":1", ["a:1"], ":1", "--admin: ':1' is taken by $.listeners[0].address"),
        (":1", ["a:1"], "x", "--admin: expected 'host:port'"),
    ],
)
def test_a_wrong_address_on_the_command_line_names_its_option(
    from_: str, to: list[str], admin: str | None, text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        from_command_line(from_, to, admin)
    assert str(caught.value).startswith(text)


def test_secrets_are_hidden_and_the_rest_is_shown() -> None:
    secret = "s3cret"  # noqa: S105 - the test's own
    rule = {
        "matches": [{"headers": [{"name": "X-Api-Key", "value": secret}, {"name": "x-team", "value": "shop"}]}],
        "filters": [
            *modifier(set=[{"name": "Authorization", "value": secret}], add=[{"name": "x-b", "value": "seen"}]),
            {
                "type": "ResponseHeaderModifier",
                "responseHeaderModifier": {"add": [{"name": "set-cookie", "value": secret}]},
            },
            {
                "type": "Python",
                "python": {
                    "function": "a:b",
                    "settings": {
                        "db_password": secret,
                        "deep": [{"TOKEN": {"a": secret}}],
                        "secrets": [secret],
                        "url": "seen",
                    },
                },
            },
        ],
    }
    shown = json.dumps(redacted(parse(change("listeners[0].routes[0].rules", [rule]))))
    assert secret not in shown
    assert shown.count("seen") == 2
    assert '"shop"' in shown


def test_a_redacted_configuration_without_secrets_is_the_dumped_one() -> None:
    config = load_text(GOOD.encode(), "F")
    assert redacted(config) == json.loads(json.dumps(dump(config)))


def test_the_schema_in_the_documentation_is_the_one_of_the_structs() -> None:
    written = json.loads((Path(__file__).parents[2] / "docs" / "config.schema.json").read_text())
    assert written == json.loads(json.dumps(schema())), (
        "run `python -m sidecar.config.schema > docs/config.schema.json`"
    )


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(configs)
def test_the_schema_takes_every_right_configuration(data: Data) -> None:
    jsonschema.Draft202012Validator(schema()).validate(json.loads(json.dumps(data)))


def test_the_schema_refuses_unknown_fields_and_wrong_durations() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    for data in (change("x", 1), change("warm_timeout", "5x"), change("listeners[0].mode", "x"), {}):
        assert not validator.is_valid(data)
