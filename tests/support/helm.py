"""Helm for tests: where it is, and what a chart renders to."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

CHARTS = Path(__file__).parents[2] / "deploy" / "helm"

POLICY_API = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"  # from Kubernetes 1.36


class HelmError(Exception):
    """Helm refused; the text is what it printed."""


def find() -> str | None:
    """The command: `HELM`, else on the PATH, else beside the API server of `KUBEBUILDER_ASSETS`."""
    assets = Path(os.environ.get("KUBEBUILDER_ASSETS", ""), "helm")
    return os.environ.get("HELM") or shutil.which("helm") or (str(assets) if assets.is_file() else None)


def obstacle() -> str | None:
    """Why Helm cannot be run here, or None."""
    return None if find() else "needs helm: on the PATH, by HELM, or in KUBEBUILDER_ASSETS"


def run(*arguments: str) -> str:
    """What helm prints; raises HelmError where it refuses."""
    command = find()
    assert command is not None
    done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise HelmError(done.stdout + done.stderr)
    return done.stdout


def template(chart: Path, release: str, namespace: str, *arguments: str) -> list[dict[str, Any]]:
    """The objects that the chart renders to."""
    text = run("template", release, str(chart), "--namespace", namespace, "--api-versions", POLICY_API, *arguments)
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(objects: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    """Those of the kinds, in order."""
    return [item for item in objects if item["kind"] in kinds]
