"""The pods that our manifests make, judged by a real API server with Pod Security `restricted` enforced."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import helm
from tests.support.control_plane import ApiError, ControlPlane

KIND = Path(__file__).parents[2] / "deploy" / "kind"


def pods_of(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pods that the Deployments make."""
    made = []
    for deployment in helm.of_kind(objects, "Deployment"):
        template = deployment["spec"]["template"]
        metadata = {**template["metadata"], "name": deployment["metadata"]["name"]}
        made.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    return made


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example app's chart with its dependency."""
    charts = tmp_path / "helm"
    shutil.copytree(helm.CHARTS, charts, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    helm.run("dependency", "update", str(charts / "example-app"))
    return charts / "example-app"


def restricted(plane: ControlPlane, namespace: str) -> str:
    """Make the namespace; gives where to try a pod."""
    plane.create_namespace(namespace)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    plane.call("PATCH", f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": labels}})
    return f"/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict"


def test_a_namespace_with_pod_security_restricted_takes_the_example_app(plane: ControlPlane, example: Path) -> None:
    pods = restricted(plane, "restricted")
    (pod,) = pods_of(helm.template(example, "web", "restricted"))
    made = plane.call("POST", pods, pod)
    (sidecar,) = made["spec"]["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert "/var/run/secrets/kubernetes.io/serviceaccount" in {mount["mountPath"] for mount in sidecar["volumeMounts"]}
    unsafe = json.loads(json.dumps(pod).replace('"runAsNonRoot": true', '"runAsNonRoot": false'))
    with pytest.raises(ApiError, match="violates PodSecurity"):
        plane.call("POST", pods, unsafe)


def test_the_sample_shop_of_make_kind_is_taken_too(plane: ControlPlane, example: Path) -> None:
    shop = list(yaml.safe_load_all((KIND / "shop.yaml").read_text()))
    objects = helm.template(example, "web", "shop", "--values", str(KIND / "values.yaml"))
    pods = restricted(plane, "shop")
    names = [plane.call("POST", pods, pod)["metadata"]["name"] for pod in pods_of([*shop, *objects])]
    assert names == ["jaeger", "web"]
    everything = yaml.safe_dump_all([*shop, *objects])
    plane.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", stdin=everything)
