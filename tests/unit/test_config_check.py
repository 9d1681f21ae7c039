"""What fields mean together: names, addresses, ranges, sources."""

import pytest

from sidecar.config.load import parse
from tests.support.configs import Data
from tests.support.small_config import CLUSTER, RULE, SMALL, change, refusal


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
