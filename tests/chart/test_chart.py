"""The charts, rendered and linted by Helm."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

import sidecar
from deploy.helm.schema import VALUES_SCHEMA, combined
from sidecar.config import load as configuration
from sidecar.config.model import Config
from sidecar.inject.patch import spec_hash
from sidecar.inject.settings import settings
from tests.support import helm

CI_VALUES = sorted((helm.CHARTS / "sidecar" / "ci").glob("*-values.yaml"))


def load(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


def config_of(objects: list[dict[str, Any]]) -> Config:
    (config_map,) = helm.of_kind(objects, "ConfigMap")
    return configuration.load_text(config_map["data"]["sidecar.yaml"].encode(), "sidecar.yaml")


@pytest.mark.parametrize("chart", ["sidecar", "example-app"])
def test_the_chart_lints_strictly(charts: Path, chart: str) -> None:
    helm.run("lint", "--strict", str(charts / chart))


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_the_chart_lints_with_other_values(charts: Path, values: Path) -> None:
    helm.run("lint", "--strict", str(charts / "sidecar"), "--values", str(values))


@pytest.mark.parametrize("chart", ["sidecar", "example-app"])
def test_the_chart_carries_the_version_of_the_package(chart: str) -> None:
    about = load(helm.CHARTS / chart / "Chart.yaml")
    assert about["appVersion"] == about["version"] == sidecar.__version__


def test_the_chart_renders_for_every_supported_kubernetes_and_refuses_older_ones(charts: Path) -> None:
    for version in ("1.29.0", "1.35.8", "1.36.4", "1.37.0-gke.1"):
        assert helm.template(charts / "sidecar", "web", "shop", "--kube-version", version)
    with pytest.raises(helm.HelmError, match=r"requires kubeVersion: >=1\.29"):
        helm.template(charts / "sidecar", "web", "shop", "--kube-version", "1.28.9")


def test_the_default_configuration_has_both_listeners_and_the_probe_port(charts: Path) -> None:
    config = config_of(helm.template(charts / "sidecar", "web", "shop"))
    outbound, inbound = config.listeners
    assert (outbound.name, outbound.address, outbound.mode) == ("outbound", "127.0.0.1:15001", "forward")
    assert (inbound.name, inbound.address, inbound.mode) == ("inbound", "0.0.0.0:15006", "reverse")
    assert [ref.name for ref in inbound.routes[0].rules[0].backend_refs] == ["app"]
    (app,) = config.clusters
    assert app.static is not None
    assert app.static.endpoints == ("127.0.0.1:8080",)
    assert (config.admin.address, config.admin.probe_address) == ("127.0.0.1:15020", "0.0.0.0:15021")


def test_every_configuration_value_reaches_the_configuration(charts: Path) -> None:
    values = helm.CHARTS / "sidecar" / "ci" / "full-values.yaml"
    config = config_of(helm.template(charts / "sidecar", "web", "shop", "--values", str(values)))
    assert [listener.name for listener in config.listeners] == ["outbound", "inbound", "metrics"]
    assert [cluster.name for cluster in config.clusters] == ["app", "billing", "legacy"]
    assert [route.name for listener in config.listeners for route in listener.routes] == ["billing", "api", ""]
    assert config.kubernetes.cluster_domain == "cluster.example"
    assert config.drain.delay == 2.0
    assert config.warm_timeout == 3.0
    assert config.access_log is not None


def test_a_sidecar_without_inbound_has_no_app_cluster(charts: Path) -> None:
    config = config_of(helm.template(charts / "sidecar", "web", "shop", "--set", "inbound.enabled=false"))
    assert [listener.name for listener in config.listeners] == ["outbound"]
    assert config.clusters == ()


def test_an_existing_config_map_replaces_the_charts_own(charts: Path) -> None:
    values = "config.existingConfigMap=mine,rbac.create=false,injection.policy=disabled"
    assert helm.template(charts / "sidecar", "web", "shop", "--set", values) == []


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("portz.outbound=1", "portz"),
        ("rbac.verbs={delete}", "verbs"),
        ("ports.probe=70000", "maximum: got 70,000, want 65,535"),
        ("image.digest=latest", "digest"),
        ("otel.LOG_LEVEL=debug", "LOG_LEVEL"),
        ("inbound.portName=much-too-long-for-a-port", "portName"),
        ("config.extra.admin.address=:1", "admin"),
        ("config.extra.warm_timeout=5", "warm_timeout"),
        ("rbac.serviceAccounts[0].namespace=shop", "missing property 'name'"),
        ("config.extra.clusters[0].name=a,config.extra.clusters[0].statics=b", "statics"),
        ("inbound.routes[0].rules[0].timeouts.request=10", "/inbound/routes/0/rules/0/timeouts/request"),
    ],
)
def test_the_schema_refuses_what_the_chart_does_not_know(charts: Path, setting: str, complaint: str) -> None:
    with pytest.raises(helm.HelmError, match=re.escape(complaint)):
        helm.template(charts / "sidecar", "web", "shop", "--set", setting)


def test_the_schema_knows_the_configuration_as_the_sidecar_does() -> None:
    text = VALUES_SCHEMA.read_text()
    assert combined(text) == text, "run: python -m deploy.helm.schema"


def keys(tree: object, prefix: str = "") -> set[str]:
    """The paths of a tree of values, down to what has no fixed keys."""
    if not isinstance(tree, dict) or not tree or prefix == "resources":
        return {prefix}
    return {path for key, value in tree.items() for path in keys(value, f"{prefix}.{key}" if prefix else key)}


def test_values_schema_and_readme_name_the_same_values() -> None:
    chart = helm.CHARTS / "sidecar"
    values = keys(load(chart / "values.yaml"))

    def known(schema: dict[str, Any], prefix: str = "") -> set[str]:
        inner = schema.get("properties", {}) if schema.get("additionalProperties") is False else {}
        if not inner or prefix in ("resources", "config.extra"):
            return {prefix}
        return {path for key, sub in inner.items() for path in known(sub, f"{prefix}.{key}" if prefix else key)}

    schema = msgspec.json.decode((chart / "values.schema.json").read_bytes())
    assert known(schema) - {"global"} == values
    assert set(re.findall(r"^\| `([\w.]+)`", (chart / "README.md").read_text(), re.MULTILINE)) == values


def test_the_notes_say_what_is_next_and_warn_of_missing_rights(charts: Path) -> None:
    disabled = ("--set", "injection.policy=disabled")
    arguments = ("install", "web", str(charts / "sidecar"), "--dry-run=client", "--namespace", "shop", *disabled)
    notes = helm.run(*arguments, "--set", "rbac.create=false")
    assert 'include "sidecar.container" .Subcharts.sidecar' in notes
    assert "WARNING: rbac.create is off" in notes
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in notes
    assert "WARNING" not in helm.run(*arguments)


POLICY = ("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")


def test_a_cluster_without_the_policys_api_is_told_what_to_do_instead(charts: Path) -> None:
    with pytest.raises(helm.HelmError) as refused:
        helm.run("template", "sidecar", str(charts / "sidecar"), "--kube-version", "1.35.0")
    for word in ("v1.35.0", "Kubernetes 1.36", "injection.policy=disabled", "sidecar inject", "--api-versions"):
        assert word in str(refused.value)


def test_the_policy_comes_with_the_chart_but_not_with_an_app_that_depends_on_it(charts: Path) -> None:
    assert len(helm.of_kind(helm.template(charts / "sidecar", "sidecar", "system"), *POLICY)) == 3
    assert not helm.of_kind(helm.template(charts / "example-app", "web", "shop"), *POLICY)
    enabled = helm.template(charts / "example-app", "web", "shop", "--set", "sidecar.injection.policy=enabled")
    assert len(helm.of_kind(enabled, *POLICY)) == 3


def test_two_releases_have_policies_of_their_own_whose_bindings_name_them(charts: Path) -> None:
    names = set()
    for release, namespace in (("sidecar", "a"), ("sidecar", "b"), ("sidecar-canary", "a")):
        policy, *bindings = helm.of_kind(helm.template(charts / "sidecar", release, namespace), *POLICY)
        assert {binding["spec"]["policyName"] for binding in bindings} == {policy["metadata"]["name"]}
        names |= {(item["kind"], item["metadata"]["name"]) for item in (policy, *bindings)}
    assert len(names) == 9


def test_the_failure_policy_is_a_value(charts: Path) -> None:
    for value in ("Fail", "Ignore"):
        objects = helm.template(charts / "sidecar", "web", "shop", "--set", f"injection.failurePolicy={value}")
        assert helm.of_kind(objects, POLICY[0])[0]["spec"]["failurePolicy"] == value


def roles(objects: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """Each binding: its kind, where it is, whom it binds."""
    return {
        (item["kind"], item["metadata"].get("namespace", ""), subject["name"])
        for item in helm.of_kind(objects, "RoleBinding", "ClusterRoleBinding")
        for subject in item["subjects"]
    }


@pytest.mark.parametrize(
    ("values", "bound"),
    [
        ("", {("ClusterRoleBinding", "", "system:serviceaccounts")}),
        ("rbac.subjectNamespaces={shop}", {("ClusterRoleBinding", "", "system:serviceaccounts:shop")}),
        ("rbac.namespaces={shop}", {("RoleBinding", "shop", "system:serviceaccounts")}),
        ("injection.policy=disabled", {("RoleBinding", "system", "system:serviceaccounts:system")}),
        (
            "injection.policy=disabled,rbac.clusterWide=true",
            {("ClusterRoleBinding", "", "system:serviceaccounts:system")},
        ),
    ],
)
def test_rights_reach_as_far_as_the_policy_and_can_be_narrowed(
    charts: Path, values: str, bound: set[tuple[str, str, str]]
) -> None:
    flags = () if not values else ("--set", values)
    assert roles(helm.template(charts / "sidecar", "sidecar", "system", *flags)) == bound


def test_the_policy_and_the_generator_write_the_same_hash(charts: Path) -> None:
    for values in ({}, load(helm.CHARTS / "sidecar" / "ci" / "full-values.yaml")):
        flags = ("--values", str(helm.CHARTS / "sidecar" / "ci" / "full-values.yaml")) if values else ()
        (policy,) = helm.of_kind(helm.template(charts / "sidecar", "sidecar", "system", *flags), POLICY[0])
        assert spec_hash(settings(values)) in yaml.safe_dump(policy, width=10_000)
