"""The laws of parsing; YAML, files and the command line."""

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.config import model
from sidecar.config.load import dump, from_command_line, load, load_text, parse
from sidecar.errors import ConfigError
from tests.support.configs import Data, configs
from tests.support.small_config import change

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


_FORWARD = b"name: a, address: ':1', mode: forward"
_RECURSIVE = b"{type: Python, python: {function: 'a:b', settings: &a {x: *a}}}"


def test_the_configuration_of_the_design_is_right() -> None:
    config = load_text(GOOD.encode(), "sidecar.yaml")
    assert [listener.name for listener in config.listeners] == ["outbound", "inbound"]
    rule = config.listeners[1].routes[0].rules[0]
    assert rule.timeouts.backend_request == 2
    assert rule.retry == model.Retry(codes=(503,), attempts=2)
    assert config.clusters[2].tls == model.TlsSpec()


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(configs)
def test_dump_and_parse_are_inverse(data: Data) -> None:
    config = parse(data)
    assert parse(dump(config)) == config
    assert load_text(yaml.safe_dump(json.loads(json.dumps(dump(config)))).encode(), "x") == config


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
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
    with contextlib.suppress(ConfigError):
        parse(broken)  # nothing else is raised


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
            b"listeners: [{%s, routes: [{rules: [{filters: [%s]}]}]}]" % (_FORWARD, _RECURSIVE),
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
    limits = b"{<<: &l {max_connections: 1}, max_connections: 2}"
    text = b"listeners: [{name: 2001-01-01, address: ':1', mode: forward, limits: %s}]" % limits
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


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    data = change("access_log", {"path": "log/access"})
    data["kubernetes"] = {"kubeconfig": "kube/config"}
    tls = {"ca_file": "ca.crt", "cert_file": "/dev/null", "key_file": "/dev/null"}
    data["clusters"].append({"name": "b", "file": {"path": "slices.yaml", "service": "b"}, "tls": tls})
    (tmp_path / "ca.crt").touch()
    (tmp_path / "sidecar.yaml").write_text(json.dumps(data))
    config = load(tmp_path / "sidecar.yaml")
    assert config.access_log == model.AccessLog(path=f"{tmp_path}/log/access")
    assert config.kubernetes.kubeconfig == f"{tmp_path}/kube/config"
    assert config.clusters[1].file == model.FileSpec(path=f"{tmp_path}/slices.yaml", service="b")
    assert config.clusters[1].tls == model.TlsSpec(
        ca_file=f"{tmp_path}/ca.crt", cert_file="/dev/null", key_file="/dev/null"
    )


def test_standard_output_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text(json.dumps(change("access_log", {})))
    assert load(tmp_path / "sidecar.yaml").access_log == model.AccessLog(path="-")


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
