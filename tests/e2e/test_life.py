"""A pod's life with its sidecar on a real cluster, in order: injected, under load through every event, uninstalled.

Each scenario prints what was sent, what failed and the longest time without an answer.
"""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support import e2e

pytestmark = pytest.mark.usefixtures("shop")
needs_disturb = pytest.mark.skipif("E2E_DISTURB" not in os.environ, reason="needs E2E_DISTURB")


def statuses(app: str) -> list[dict[str, Any]]:
    return [status for pod in e2e.pods(app) for status in pod["status"]["initContainerStatuses"]]


def test_every_pod_of_the_labelled_restricted_namespace_has_a_native_sidecar() -> None:
    for app in ("web", "orders", "prices", "stock", "collector", "load"):
        for pod in e2e.pods(app):
            assert pod["spec"]["initContainers"][0]["name"] == "sidecar"
            status = json.loads(pod["metadata"]["annotations"]["sidecar-proxy.io/status"])
            assert status["ports"] == ([] if app == "load" else ["app:8080=http"])
        assert all(status["ready"] and not status["restartCount"] for status in statuses(app))


def test_helm_test_passes() -> None:
    text = e2e.run("helm", "test", e2e.RELEASE, "--namespace", e2e.SYSTEM, "--logs", f"--timeout={e2e.SECONDS}s")
    assert "kubernetes.default" in text


def test_the_services_named_port_reaches_the_sidecar() -> None:
    slices = e2e.get("endpointslices", "--selector", "kubernetes.io/service-name=web")["items"]
    assert [port["port"] for piece in slices for port in piece["ports"]] == [15006]


def test_traffic_is_spread_over_all_pods_and_each_request_names_its_client() -> None:
    with e2e.scenario("steady traffic", tail=10) as seen:
        pass
    names = {pod["metadata"]["name"] for pod in e2e.pods("web")}
    assert set(seen["pods"]) == names
    assert min(seen["pods"].values()) > 0.15 * seen["sent"]
    answer = json.loads(e2e.execute("load", "get", "http://web/"))
    client = e2e.pods("load")[0]["status"]["podIP"]
    assert client in answer["headers"]["X-Forwarded-For"]
    assert answer["upstream"]["pod"].startswith("orders-")


def test_rolling_update_fails_no_request() -> None:
    with e2e.scenario("rolling update of web", tail=5):
        e2e.kubectl("-n", e2e.SHOP, "rollout", "restart", "deployment/web")
        e2e.rolled_out("web")


def test_rolling_update_behind_the_first_service_fails_no_request() -> None:
    with e2e.scenario("rolling update of orders", tail=5):
        e2e.kubectl("-n", e2e.SHOP, "rollout", "restart", "deployment/orders")
        e2e.rolled_out("orders")


def test_scaling_down_and_up_fails_no_request() -> None:
    with e2e.scenario("web scaled 3 to 1 to 5", tail=5) as seen:
        for replicas in (1, 5):
            e2e.kubectl("-n", e2e.SHOP, "scale", "deployment/web", f"--replicas={replicas}")
            e2e.rolled_out("web")
            e2e.until(lambda: len(e2e.pods("web")) == replicas, "the pods are there")  # noqa: B023 - within the turn
            time.sleep(5)
    assert len(seen["pods"]) >= 5
    e2e.kubectl("-n", e2e.SHOP, "scale", "deployment/web", "--replicas=3")
    e2e.rolled_out("web")


def test_an_eviction_fails_no_request() -> None:
    with e2e.scenario("eviction of a web pod", tail=5):
        name = e2e.pods("web")[0]["metadata"]["name"]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": e2e.SHOP}}
        path = f"/api/v1/namespaces/{e2e.SHOP}/pods/{name}/eviction"
        e2e.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
        e2e.rolled_out("web")


def test_a_pod_killed_loses_at_most_what_it_had_in_flight() -> None:
    workers = 4
    with e2e.scenario("kill of a web pod", tail=6, lost=workers):
        name = e2e.pods("web")[0]["metadata"]["name"]
        e2e.kubectl("-n", e2e.SHOP, "delete", "pod", name, "--force", "--grace-period=0")
        e2e.rolled_out("web")


def test_clients_are_told_to_go_elsewhere_as_soon_as_the_pods_end_begins() -> None:
    pod = e2e.pods("stock")[0]
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(e2e.execute, "load", "farewell", f"{pod['status']['podIP']}:15006")
        time.sleep(2)
        e2e.kubectl("-n", e2e.SHOP, "delete", "pod", pod["metadata"]["name"], "--wait=false")
        told = json.loads(asking.result())
    assert told["status"] == 200
    assert told["before"] > 0
    e2e.rolled_out("stock")


def test_a_websocket_lives_through_the_end_of_its_pod_until_the_grace_ends() -> None:
    with ThreadPoolExecutor(1) as threads:
        echoing = threads.submit(e2e.execute, "load", "websocket", "stock", "4")
        time.sleep(1)
        e2e.kubectl("-n", e2e.SHOP, "rollout", "restart", "deployment/stock")
        echoed = json.loads(echoing.result())["echoed"]
    e2e.rolled_out("stock")
    assert echoed >= 8


def test_a_job_completes_with_its_sidecar() -> None:
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once", "namespace": e2e.SHOP},
        "spec": {"backoffLimit": 0, "template": e2e.template("once", "get", "http://web/", restartPolicy="Never")},
    }
    before = time.monotonic()
    e2e.apply(job)
    e2e.kubectl("-n", e2e.SHOP, "wait", "--for=condition=complete", "job/once", f"--timeout={e2e.SECONDS}s")
    print(f"\njob complete after {time.monotonic() - before:.1f} s")
    assert json.loads(e2e.kubectl("-n", e2e.SHOP, "logs", "job/once", "-c", "app"))["pod"].startswith("web-")


def test_configuration_is_reloaded_from_a_config_map_without_a_failed_request() -> None:
    pod = e2e.pods("load")[0]
    variables = {each["name"]: each.get("value", "") for each in pod["spec"]["initContainers"][0]["env"]}
    config = json.loads(variables["SIDECAR_CONFIG"])
    outbound = next(listener for listener in config["listeners"] if listener["name"] == "outbound")
    marked = {
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {"set": [{"name": "x-reloaded", "value": "yes"}]},
    }
    rule = {"filters": [marked], "backendRefs": [{"name": "web", "port": 80}]}
    outbound["routes"] = [{"hostnames": ["web"], "rules": [rule]}]
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "sidecar", "namespace": e2e.SHOP},
        "data": {"sidecar.yaml": json.dumps(config)},
    }

    def reloaded() -> bool:
        return "x-reloaded" in e2e.execute("load", "get", "http://web/").lower()

    before = time.monotonic()
    with e2e.scenario("configuration by ConfigMap"):
        assert not reloaded()
        e2e.apply(config_map)
        e2e.until(reloaded, "the configuration is in force")
        print(f"\nin force after {time.monotonic() - before:.1f} s")
    with e2e.scenario("the ConfigMap taken away"):
        e2e.kubectl("-n", e2e.SHOP, "delete", "configmap", "sidecar")
        e2e.until(lambda: not reloaded(), "the default is in force again")


def test_a_collector_that_is_down_fails_no_request() -> None:
    assert json.loads(e2e.execute("collector", "get", "http://127.0.0.1:8080/exported"))["exported"] > 0
    with e2e.scenario("collector down", tail=15):
        e2e.kubectl("-n", e2e.SHOP, "scale", "deployment/collector", "--replicas=0")
        e2e.until(lambda: not e2e.pods("collector"), "the collector is gone")
    e2e.kubectl("-n", e2e.SHOP, "scale", "deployment/collector", "--replicas=1")
    e2e.rolled_out("collector")


@needs_disturb
@pytest.mark.parametrize(("what", "seconds"), [("crash", 0), ("freeze", 20), ("crash", 60)])
def test_an_api_server_that_is_away_fails_no_request(what: str, seconds: float) -> None:
    with e2e.scenario(f"API server: {what} {seconds} s", tail=5):
        e2e.disturb(what, seconds)
        e2e.until(api_server_answers, "the API server is back")


def api_server_answers() -> bool:
    try:
        return e2e.kubectl("get", "--raw", "/readyz") == "ok"
    except AssertionError:
        return False


def test_rights_taken_away_fail_no_request() -> None:
    name = f"{e2e.SYSTEM}-{e2e.RELEASE}"
    binding = e2e.kubectl("get", "clusterrolebinding", name, "-o", "json")
    with e2e.scenario("rights taken away and given back", tail=10):
        e2e.kubectl("delete", "clusterrolebinding", name)
        e2e.kubectl("-n", e2e.SHOP, "delete", "pod", e2e.pods("orders")[0]["metadata"]["name"])
        e2e.rolled_out("orders")
        time.sleep(5)
        given = json.loads(binding)
        given["metadata"] = {key: given["metadata"][key] for key in ("name", "labels", "annotations")}
        e2e.kubectl("create", "-f", "-", stdin=json.dumps(given))


def test_uninstall_leaves_nothing_and_running_pods_go_on() -> None:
    with e2e.scenario("uninstall", tail=5):
        e2e.run("helm", "uninstall", e2e.RELEASE, "--namespace", e2e.SYSTEM, "--wait")
    kinds = "clusterrole,clusterrolebinding,mutatingadmissionpolicy,mutatingadmissionpolicybinding"
    left = e2e.kubectl("get", kinds, "--output", "name") + e2e.kubectl(
        "get", "all,configmap", "-n", e2e.SYSTEM, "-o", "name"
    )
    assert [name for name in left.split() if "sidecar" in name] == []
    e2e.kubectl("-n", e2e.SHOP, "rollout", "restart", "deployment/stock")
    e2e.until(lambda: all("initContainers" not in pod["spec"] for pod in e2e.pods("stock")), "new pods are bare")
    e2e.rolled_out("stock")
