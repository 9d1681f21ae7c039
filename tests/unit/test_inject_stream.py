"""`sidecar inject`: streams of manifests in and out."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.cli import main
from sidecar.errors import ConfigError
from sidecar.inject.annotations import CONFIG_PREFIX
from sidecar.inject.settings import Settings
from sidecar.inject.stream import POD_AT, rewrite

SERVICE = """\
# the shop's Service
apiVersion: v1
kind: Service
metadata: {name: shop}  # flow style, and two  spaces
"""
DEPLOYMENT = """\
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop  # its name
spec:
  template:
    spec:
      # the containers
      containers:
        - name: app  # the app
          image: "registry.example/app:1"
          ports:
            - name: http
              containerPort: 8080  # in front
"""


def manifest(kind: str, spec: object = None) -> dict[str, Any]:
    spec = {"containers": [{"name": "app"}]} if spec is None else spec
    inner: Any = {"spec": spec}
    for step in reversed(POD_AT[kind]):
        inner = {step: inner}
    return {"kind": kind, "metadata": {"name": "shop"}, **inner}


def pod_of(document: dict[str, Any]) -> dict[str, Any]:
    for step in POD_AT[document["kind"]]:
        document = document[step]
    return document


@pytest.mark.parametrize("kind", POD_AT)
def test_every_kind_that_holds_a_pod_gets_the_sidecar_where_its_pod_is(kind: str) -> None:
    result = rewrite(json.dumps(manifest(kind)), Settings())
    made = pod_of(json.loads(result.text))
    assert made["spec"]["initContainers"][0]["name"] == "sidecar"
    assert "sidecar-proxy.io/status" in made["metadata"]["annotations"]
    assert result.notes == [f"{kind}/shop: sidecar put in"]


def test_comments_order_and_untouched_documents_stay() -> None:
    result = rewrite(SERVICE + DEPLOYMENT, Settings())
    assert result.text.startswith(SERVICE + "---\napiVersion: apps/v1\n")
    for piece in (
        "name: shop  # its name",
        "      # the containers\n      containers:\n        - name: app  # the app\n",
    ):
        assert piece in result.text
    assert 'image: "registry.example/app:1"' in result.text
    assert "            - containerPort: 8080  # in front" in result.text


def test_a_stream_that_was_injected_comes_out_byte_by_byte() -> None:
    once = rewrite(SERVICE + DEPLOYMENT, Settings())
    again = rewrite(once.text, Settings())
    assert again.text == once.text
    assert again.notes == ["Deployment/shop: left alone: it has a sidecar already, or says no"]


def test_what_was_put_in_can_be_taken_out() -> None:
    there = rewrite(DEPLOYMENT, Settings())
    back = rewrite(there.text, Settings(), undo=True)
    assert yaml.safe_load(back.text) == yaml.safe_load(DEPLOYMENT)
    assert "# the app" in back.text
    assert back.notes == ["Deployment/shop: sidecar taken out"]
    assert rewrite(back.text, Settings(), undo=True).notes == [
        "Deployment/shop: left alone: injection has not been here"
    ]


@pytest.mark.parametrize("kind", ["List", "ResourceList", "PodList"])
def test_lists_are_gone_through_and_their_pods_share_nothing(kind: str) -> None:
    text = yaml.safe_dump({"kind": kind, "items": [manifest("Pod"), {"kind": "Service"}, manifest("Job"), None]})
    result = rewrite(text, Settings(extra_env=({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}},)))
    assert "&id" not in result.text
    items = yaml.safe_load(result.text)["items"]
    assert [("initContainers" in json.dumps(item)) for item in items] == [True, False, True, False]


def test_a_pod_that_cannot_take_it_is_named_with_the_reason() -> None:
    pod = manifest("Pod", {"hostNetwork": True, "containers": [{"name": "app"}]})
    result = rewrite(json.dumps(pod), Settings())
    assert result.notes == ["Pod/shop: no sidecar: hostNetwork: its ports would be the node's"]
    assert rewrite(result.text, Settings()).text == result.text


@pytest.mark.parametrize(
    "text", ["", "---\n", "# nothing\n", "a: 1\n---\n- b\n", '{"kind": "Service"}', "--- # x\nkind: X\n..."]
)
def test_what_holds_no_pod_comes_out_as_it_is(text: str) -> None:
    assert rewrite(text, Settings()).text == text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [", "not YAML: "),
        ("{a", "not JSON: "),
        (
            json.dumps({"kind": "Deployment", "metadata": {"name": "x"}}),
            "Deployment/x: expected a pod at spec.template.spec.containers",
        ),
        (json.dumps(manifest("Pod", {"containers": [1]})), "Pod/shop: no pod as Kubernetes knows it"),
        (
            json.dumps(manifest("Pod") | {"metadata": {"name": "x", "annotations": {f"{CONFIG_PREFIX}cpu-limt": "1"}}}),
            f"Pod/x: annotation {CONFIG_PREFIX}cpu-limt: unknown; did you mean {CONFIG_PREFIX}cpu-limit?",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        rewrite(text, Settings())
    assert str(refused.value).startswith(complaint)


def test_a_status_that_is_none_of_ours_is_refused_by_name() -> None:
    pod = manifest("Pod") | {"metadata": {"name": "x", "annotations": {"sidecar-proxy.io/status": "injected"}}}
    with pytest.raises(ConfigError, match=r"^Pod/x: no pod as Kubernetes knows it"):
        rewrite(json.dumps(pod), Settings(), undo=True)


def test_the_command_reads_files_and_values_and_notes_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, one, two = tmp_path / "shop.yaml", tmp_path / "one.yaml", tmp_path / "two.yaml"
    file.write_text(DEPLOYMENT)
    one.write_text("image: {repository: registry.example/sidecar}\nrbac: {create: false}\n")
    two.write_text("image: {tag: v9}\n")
    assert main(["inject", "-f", str(file), "--values", str(one), "--values", str(two)]) == 0
    out, err = capsys.readouterr()
    assert "image: registry.example/sidecar:v9" in out
    assert err == "Deployment/shop: sidecar put in\n"


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ("ports: {outbond: 1}", "values.yaml: $.ports: Object contains unknown field `outbond`"),
        ("- a", "values.yaml: expected values of the chart"),
        ("a: [", "values.yaml: not YAML"),
    ],
)
def test_values_that_cannot_be_meant_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: str, complaint: str
) -> None:
    (tmp_path / "values.yaml").write_text(values)
    assert main(["inject", "-f", str(tmp_path / "none"), "--values", str(tmp_path / "values.yaml")]) == 2
    assert complaint in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inject", "-f", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml: cannot read it: " in capsys.readouterr().err
