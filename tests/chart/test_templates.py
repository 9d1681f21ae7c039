"""The chart's templates say the same as the generator, for a table of settings, and what they say is safe."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.inject import container
from sidecar.inject.settings import Settings
from sidecar.inject.settings import settings as settings_of
from tests.support import helm

FULL = yaml.safe_load((helm.CHARTS / "sidecar" / "ci" / "full-values.yaml").read_text())
TABLE: dict[str, dict[str, Any]] = {
    "defaults": {},
    "tagged image": {"image": {"repository": "registry.example:5000/team/proxy", "tag": "main", "pullPolicy": "Never"}},
    "pinned image": {"image": {"digest": "sha256:" + "0" * 64}},
    "other ports": {"ports": {"outbound": 1, "inbound": 2, "admin": 3, "probe": 65535}},
    "no inbound": {"inbound": {"enabled": False}},
    "other inbound name": {"inbound": {"portName": "web", "appPort": 3000}},
    "slow start": {"startup": {"failureThreshold": 300}},
    "resources": {"resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": 2, "memory": "1Gi"}}},
    "otel": {"otel": {"OTEL_TRACES_SAMPLER_ARG": "0.1", "OTEL_SDK_DISABLED": "true", "OTEL_B": "a=b: '\"#{"}},
    "https too": {"outbound": {"https": True}},
    "no proxy": {"noProxy": ["metadata.example", "10.0.0.0/8"]},
    "extras": {
        "extraEnv": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}, {"name": "B", "value": "1"}],
        "extraVolumes": [{"name": "filters", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "filters", "mountPath": "/filters", "readOnly": True}],
    },
    "everything": FULL,
}  # fmt: skip


def render(charts: Path, folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The pod template of the example app with these values of the sidecar chart."""
    file = folder / "values.json"
    file.write_text(json.dumps({"sidecar": values}))
    objects = helm.template(charts / "example-app", "web", "shop", "--values", str(file))
    (deployment,) = helm.of_kind(objects, "Deployment")
    return dict(deployment["spec"]["template"])


def merged(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """As Helm merges values: objects by key, everything else replaced."""
    trees = [key for key in defaults.keys() & values.keys() if isinstance(defaults[key], dict)]
    return {**defaults, **values, **{key: merged(defaults[key], values[key]) for key in trees}}


def settings(values: dict[str, Any]) -> Settings:
    """The chart's values as the generator's settings."""
    everything = merged(yaml.safe_load((helm.CHARTS / "sidecar" / "values.yaml").read_text()), values)
    return settings_of(everything)


@pytest.mark.parametrize("values", TABLE.values(), ids=TABLE)
def test_the_template_renders_what_the_generator_makes(charts: Path, tmp_path: Path, values: dict[str, Any]) -> None:
    spec = render(charts, tmp_path, values)["spec"]
    chosen = settings(values)
    assert spec["initContainers"] == [container.container(chosen)]
    assert spec["volumes"][:-1] == container.volumes(chosen, values.get("fullnameOverride", "web-sidecar"))
    assert spec["containers"][0]["env"][:-2] == container.app_environment(chosen)


def test_the_values_and_the_settings_have_the_same_defaults() -> None:
    assert settings({}) == Settings()


def test_an_existing_config_map_is_mounted(charts: Path, tmp_path: Path) -> None:
    spec = render(charts, tmp_path, {"config": {"existingConfigMap": "mine"}})["spec"]
    assert spec["volumes"][:-1] == container.volumes(Settings(), "mine")


def test_a_template_that_drifts_is_noticed(charts: Path, tmp_path: Path) -> None:
    spec = render(charts, tmp_path, {"ports": {"probe": 15022}})["spec"]
    assert spec["initContainers"] != [container.container(Settings())]
