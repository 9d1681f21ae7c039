"""The chart's rights: enough for discovery and no more."""

from typing import Any

import pytest

from tests.support.control_plane import SLICES, ApiError, ControlPlane, endpoint_slice, until
from tests.support.netns import ADDRESS
from tests.support.pod import Answer, address, send, upstream
from tests.support.team import Team

RULES_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
SLICE_RIGHTS = {("discovery.k8s.io", "endpointslices", verb) for verb in ("get", "list", "watch")}
SERVICE_RIGHTS = {("", "services", "get")}
SLICES_RULE = '{apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["get", "list", "watch"]}'
DROP_SLICES = '[{"op": "remove", "path": "/rules/0"}]'
ENDPOINTS_RIGHTS = {("", "endpoints", verb) for verb in ("get", "list", "watch")}


def rights(plane: ControlPlane, token: str, namespace: str) -> set[tuple[str, str, str]]:
    """All (group, resource, verb) that the token's owner has in the namespace, those of every account left out."""
    review = plane.call("POST", RULES_REVIEW, {"spec": {"namespace": namespace}}, token=token)
    rules: list[dict[str, Any]] = review["status"]["resourceRules"]
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule.get("apiGroups", [])
        for resource in rule.get("resources", [])
        for verb in rule["verbs"]
        if not resource.startswith("selfsubject")
    }


def test_the_chart_gives_accounts_of_its_namespace_exactly_slices_and_services(plane: ControlPlane) -> None:
    plane.create_namespace("rights")
    token = plane.token("rights", "default")
    assert rights(plane, token, "rights") == set()
    plane.install_chart("rights")
    assert rights(plane, token, "rights") == SLICE_RIGHTS | SERVICE_RIGHTS
    assert rights(plane, token, "default") == set()


def test_the_rights_let_discovery_read_and_nothing_be_changed(plane: ControlPlane) -> None:
    plane.create_namespace("reads")
    plane.install_chart("reads")
    token = plane.token("reads", "default")
    slices = SLICES.format("reads")
    assert plane.call("GET", slices, token=token)["items"] == []
    assert plane.call("GET", f"{slices}?watch=1&timeoutSeconds=1", token=token)
    for method, path in (
        ("DELETE", slices),
        ("GET", "/api/v1/namespaces/reads/secrets"),
        ("GET", SLICES.format("default")),
    ):
        with pytest.raises(ApiError, match="forbidden") as refused:
            plane.call(method, path, token=token)
        assert refused.value.status == 403


def test_an_account_of_another_namespace_gets_nothing(plane: ControlPlane) -> None:
    plane.create_namespace("mine")
    plane.create_namespace("theirs")
    plane.install_chart("mine")
    assert rights(plane, plane.token("theirs", "default"), "mine") == set()


def test_named_accounts_read_the_namespaces_of_their_upstreams(plane: ControlPlane) -> None:
    plane.create_namespace("callers")
    plane.create_namespace("upstreams")
    plane.create_service_account("callers", "web")
    plane.install_chart("callers", "--set", "rbac.namespaces={upstreams}", "--set", "rbac.serviceAccounts[0].name=web")
    web, other = plane.token("callers", "web"), plane.token("callers", "default")
    assert rights(plane, web, "upstreams") == SLICE_RIGHTS | SERVICE_RIGHTS
    assert rights(plane, web, "callers") == set()
    assert rights(plane, other, "upstreams") == set()


def test_the_endpoints_api_is_readable_only_where_the_setting_is_on(plane: ControlPlane) -> None:
    plane.create_namespace("old-style")
    plane.install_chart("old-style", "--set", "rbac.endpoints=true")
    token = plane.token("old-style", "default")
    assert rights(plane, token, "old-style") == SLICE_RIGHTS | SERVICE_RIGHTS | ENDPOINTS_RIGHTS


def test_cluster_wide_rights_reach_every_namespace_for_the_accounts_of_one(plane: ControlPlane) -> None:
    plane.create_namespace("everywhere")
    plane.create_namespace("stranger")
    plane.install_chart("everywhere", "--set", "rbac.clusterWide=true")
    try:
        assert rights(plane, plane.token("everywhere", "default"), "default") == SLICE_RIGHTS | SERVICE_RIGHTS
        assert rights(plane, plane.token("stranger", "default"), "default") == set()
    finally:
        plane.kubectl("delete", "clusterrole,clusterrolebinding", "everywhere-web-sidecar")


def test_a_sidecar_with_the_charts_rights_reaches_the_slices(team: Team) -> None:
    team.install()
    team.create_service("orders")
    with upstream("orders-1") as port, team.sidecar() as sidecar:
        team.put_slice(endpoint_slice("orders", [ADDRESS], port))
        assert send(f"orders.{team.name}") == Answer(200, "orders-1", "")
        assert "forbidden" not in sidecar.log


def test_without_the_right_to_slices_the_cluster_ip_is_used_and_the_missing_rule_named(team: Team) -> None:
    team.install()
    team.plane.kubectl("-n", team.name, "patch", "role", "web-sidecar", "--type=json", "-p", DROP_SLICES)
    cluster_ip = team.create_service("orders")
    with address(cluster_ip), upstream("by-cluster-ip", cluster_ip, 80), team.sidecar() as sidecar:
        assert send(f"orders.{team.name}") == Answer(200, "by-cluster-ip", "")
        assert f"add to a Role in namespace {team.name}: {SLICES_RULE}" in sidecar.log


def test_without_any_right_the_answer_names_the_missing_rule(team: Team) -> None:
    with team.sidecar() as sidecar:
        answer = send(f"orders.{team.name}")
        assert answer.status == 503
        assert f"add to a Role in namespace {team.name}:" in answer.proxy_status
        assert f"add to a Role in namespace {team.name}: {SLICES_RULE}" in sidecar.log


def test_a_role_removed_while_running_leaves_the_last_endpoints(team: Team) -> None:
    team.install()
    team.create_service("orders")
    with upstream("orders-1") as port, team.sidecar() as sidecar:
        team.put_slice(endpoint_slice("orders", [ADDRESS], port))
        assert send(f"orders.{team.name}").body == "orders-1"
        team.plane.kubectl("-n", team.name, "delete", "rolebinding,role", "web-sidecar")
        team.plane.restart_api()  # a running watch is not looked at again
        until(lambda: SLICES_RULE in sidecar.log, "the missing rule is in the log", 30)
        assert send(f"orders.{team.name}").body == "orders-1"
