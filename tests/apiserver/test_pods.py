"""The example app's pods, judged by a real API server with Pod Security `restricted` enforced."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support import helm
from tests.support.control_plane import ApiError, ControlPlane

NAMESPACE = "restricted"


@pytest.fixture
def pod(tmp_path: Path) -> dict[str, object]:
    """The pod that the example app's Deployment makes."""
    charts = tmp_path / "helm"
    shutil.copytree(helm.CHARTS, charts, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    helm.run("dependency", "update", str(charts / "example-app"))
    (deployment,) = helm.of_kind(helm.template(charts / "example-app", "web", NAMESPACE), "Deployment")
    template = deployment["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": "web"},
        "spec": template["spec"],
    }


def test_a_namespace_with_pod_security_restricted_takes_the_pod(plane: ControlPlane, pod: dict[str, object]) -> None:
    plane.create_namespace(NAMESPACE)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    plane.call("PATCH", f"/api/v1/namespaces/{NAMESPACE}", {"metadata": {"labels": labels}})
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All&fieldValidation=Strict"
    made = plane.call("POST", pods, pod)
    (sidecar,) = made["spec"]["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert "/var/run/secrets/kubernetes.io/serviceaccount" in {mount["mountPath"] for mount in sidecar["volumeMounts"]}
    unsafe = json.loads(json.dumps(pod).replace('"runAsNonRoot": true', '"runAsNonRoot": false'))
    with pytest.raises(ApiError, match="violates PodSecurity"):
        plane.call("POST", pods, unsafe)
