"""The chart's policy on a real API server makes of every pod what the generator makes of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.inject.patch import patch
from sidecar.inject.pointer import apply
from sidecar.inject.settings import Settings, settings
from tests.support import helm, pods
from tests.support.control_plane import ApiError, ControlPlane, until

LABEL = "sidecar-proxy.io/inject"
STATUS = "sidecar-proxy.io/status"
VALUES: dict[str, Path | None] = {
    "default values": None,
    "every value": helm.CHARTS / "sidecar" / "ci" / "full-values.yaml",
    "no inbound": helm.CHARTS / "sidecar" / "ci" / "cluster-wide-values.yaml",
}


class Cluster:
    """Two namespaces, of which one asks for the sidecar, and the chart's policy."""

    def __init__(self, plane: ControlPlane, number: int, values: Path | None) -> None:
        self.plane = plane
        self.restricted, self.bare, self.free = (f"{word}-{number}" for word in ("injected", "bare", "privileged"))
        asking = {LABEL: "enabled"}
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        for name, labels in (
            (self.restricted, asking | restricted),
            (self.bare, restricted),
            (self.free, asking),
            (f"{self.free}-bare", {}),
        ):
            plane.create_namespace(name)
            plane.call("PATCH", f"/api/v1/namespaces/{name}", {"metadata": {"labels": labels}})
        flags = ("--values", str(values)) if values else ()
        objects = helm.template(helm.CHARTS / "sidecar", "sidecar", "sidecar-system", *flags)
        kinds = ("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")
        self.policy = json.dumps({"apiVersion": "v1", "kind": "List", "items": helm.of_kind(objects, *kinds)})
        given: dict[str, Any] = yaml.safe_load(values.read_text()) if values else {}
        self.settings = settings(merged(given))

    def create(self, namespace: str, pod: pods.Manifest) -> pods.Manifest:
        """What the API server would make of the pod, without what differs each time."""
        made = self.plane.call("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict", pod)
        for field in ("uid", "creationTimestamp", "namespace", "managedFields"):
            made["metadata"].pop(field, None)
        for owner in (made["spec"], *made["spec"]["containers"], *made["spec"].get("initContainers", ())):
            for field in ("volumes", "volumeMounts"):  # the token that admission adds has a name of its own each time
                owner[field] = [each for each in owner.get(field, ()) if "kube-api-access" not in each["name"]]
        return made


def merged(values: dict[str, Any]) -> dict[str, Any]:
    """The chart's defaults with these values over them, as Helm does."""

    def over(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        trees = {
            key: over(defaults[key], given[key])
            for key in defaults.keys() & given.keys()
            if isinstance(defaults[key], dict)
        }
        return defaults | given | trees

    values = over(yaml.safe_load((helm.CHARTS / "sidecar" / "values.yaml").read_text()), values)
    values["config"]["existingConfigMap"] = values["config"]["existingConfigMap"] or values["fullnameOverride"]
    return values


@pytest.fixture(scope="module", params=VALUES)
def installed(request: pytest.FixtureRequest, shared_plane: ControlPlane, namespace: Any) -> Iterator[Cluster]:
    with namespace:
        number = list(VALUES).index(request.param)
        cluster = Cluster(shared_plane, number, VALUES[request.param])
        shared_plane.kubectl("apply", "--server-side", "-f", "-", stdin=cluster.policy)

        def acts() -> bool:
            return STATUS in cluster.create(cluster.restricted, pods.make("plain"))["metadata"].get("annotations", {})

        until(acts, "the policy acts", 20)
    yield cluster
    with namespace:
        shared_plane.kubectl("delete", "-f", "-", stdin=cluster.policy)

        def rests() -> bool:
            return not acts()

        until(rests, "the policy has gone", 20)


@pytest.fixture
def cluster(plane: ControlPlane, installed: Cluster) -> Cluster:
    """The installation, with the test's own thread in its network."""
    assert plane is installed.plane
    return installed


@pytest.mark.parametrize("name", pods.TABLE)
def test_the_policy_makes_what_the_generator_makes(cluster: Cluster, name: str) -> None:
    case = pods.TABLE[name]
    asking, silent = (cluster.restricted, cluster.bare) if case.restricted else (cluster.free, f"{cluster.free}-bare")
    by_policy = cluster.create(asking, pods.make(name))
    generated = pods.make(name)
    apply(generated, patch(generated, cluster.settings))
    assert by_policy == cluster.create(silent, generated)


def test_a_pod_opts_in_by_its_own_label_where_its_namespace_does_not(cluster: Cluster) -> None:
    assert STATUS not in cluster.create(cluster.bare, pods.make("plain"))["metadata"].get("annotations", {})
    asking = pods.pod(labels={LABEL: "enabled"})
    assert STATUS in cluster.create(cluster.bare, asking)["metadata"]["annotations"]
    both = cluster.create(cluster.restricted, asking)["spec"]["initContainers"]
    assert [each["name"] for each in both] == ["sidecar"]


def test_pod_security_still_refuses_an_unsafe_app(cluster: Cluster) -> None:
    unsafe = pods.pod({"name": "app", "image": "registry.example/app:1"})
    with pytest.raises(ApiError, match=r'violates PodSecurity.*container \\?"app\\?"') as refused:
        cluster.create(cluster.restricted, unsafe)
    assert 'container \\"sidecar\\"' not in str(refused.value)


def test_the_settings_of_the_test_are_not_the_defaults_twice(cluster: Cluster) -> None:
    assert (cluster.settings.image == Settings().image) == (cluster.restricted != "injected-1")
