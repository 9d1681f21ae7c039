"""`sidecar inject` at the end of other tools: the Helm plugin and the kustomize function of this repository."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support import helm

ROOT = Path(__file__).parents[2]
POD = {
    "containers": [{"name": "app", "image": "registry.example/app:1", "ports": [{"name": "http", "containerPort": 80}]}]
}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "shop"},
    "spec": {"selector": {}, "template": {"metadata": {"labels": {"app": "shop"}}, "spec": POD}},
}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, first on the PATH, with the command `sidecar`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "sidecar"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sidecar "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return folder


def sidecar_of(document: dict[str, dict[str, dict[str, dict[str, list[dict[str, str]]]]]]) -> str:
    return document["spec"]["template"]["spec"]["initContainers"][0]["name"]


@pytest.mark.usefixtures("command")
def test_helm_renders_a_chart_through_the_post_renderer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (why := helm.obstacle()) is not None:
        pytest.skip(why)
    monkeypatch.setenv("HELM_DATA_HOME", str(tmp_path / "helm"))
    (tmp_path / "chart" / "templates").mkdir(parents=True)
    (tmp_path / "chart" / "Chart.yaml").write_text("{apiVersion: v2, name: shop, version: 1.0.0}")
    (tmp_path / "chart" / "templates" / "shop.yaml").write_text(yaml.safe_dump(DEPLOYMENT))
    helm.run("plugin", "install", str(helm.CHARTS / "post-renderer"))
    text = helm.run("template", "shop", str(tmp_path / "chart"), "--post-renderer", "sidecar-inject")
    assert sidecar_of(yaml.safe_load(text)) == "sidecar"


@pytest.mark.usefixtures("command")
def test_the_kustomize_function_takes_a_resource_list_and_gives_one(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("image: {tag: v9}")
    resources = {"apiVersion": "config.kubernetes.io/v1", "kind": "ResourceList", "items": [DEPLOYMENT]}
    done = subprocess.run(
        [str(ROOT / "deploy" / "kustomize" / "sidecar-inject")],
        input=yaml.safe_dump(resources),
        env={**os.environ, "SIDECAR_VALUES": str(values)},
        capture_output=True,
        text=True,
        check=True,
    )
    given = yaml.safe_load(done.stdout)
    assert given["kind"] == "ResourceList"
    assert sidecar_of(given["items"][0]) == "sidecar"
    assert "sidecar-proxy/sidecar:v9" in done.stdout
