"""Who the telemetry says it is from."""

import random
import re

import pytest
from opentelemetry.sdk.resources import OTELResourceDetector

from sidecar.errors import ConfigError
from sidecar.telemetry.resource import attributes

POD = {
    "POD_NAME": "orders-7d9f-x2x",
    "POD_NAMESPACE": "shop",
    "POD_UID": "8f2c",
    "POD_IP": "10.1.2.3",
    "NODE_NAME": "node-1",
    "CONTAINER_NAME": "sidecar",
}


def resource(**environ: str) -> dict[str, str]:
    return attributes(environ, "1.2", random.Random(1))


def test_the_pods_identity_comes_from_the_downward_api() -> None:
    found = resource(**POD, APP_NAME="orders")
    assert found == {
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "sidecar",
        "telemetry.sdk.version": "1.2",
        "service.name": "orders",
        "service.namespace": "shop",
        "service.instance.id": "shop.orders-7d9f-x2x.sidecar",
        "k8s.pod.name": "orders-7d9f-x2x",
        "k8s.namespace.name": "shop",
        "k8s.pod.uid": "8f2c",
        "k8s.pod.ip": "10.1.2.3",
        "k8s.node.name": "node-1",
        "k8s.container.name": "sidecar",
    }


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "sidecar"),
        ({"CONTAINER_NAME": "proxy"}, "proxy"),
        ({"CONTAINER_NAME": "proxy", "POD_NAME": "pod"}, "pod"),
        ({"POD_NAME": "pod", "APP_NAME": "app"}, "app"),
        ({"APP_NAME": "app", "OTEL_RESOURCE_ATTRIBUTES": "service.name=said"}, "said"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=said", "OTEL_SERVICE_NAME": "named"}, "named"),
        ({"APP_NAME": " ", "OTEL_SERVICE_NAME": ""}, "sidecar"),
    ],
)
def test_the_service_is_named_by_the_first_that_is_set(environ: dict[str, str], name: str) -> None:
    assert resource(**environ)["service.name"] == name


def test_outside_a_pod_the_instance_is_random() -> None:
    first, second = (attributes({}, "1", random.Random(seed))["service.instance.id"] for seed in (1, 2))
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", first)
    assert first != second


def test_what_the_operator_says_wins_over_the_pod() -> None:
    found = resource(**POD, OTEL_RESOURCE_ATTRIBUTES="k8s.pod.name=other,service.instance.id=me,team=a%2Cb")
    assert (found["k8s.pod.name"], found["service.instance.id"], found["team"]) == ("other", "me", "a,b")


@pytest.mark.parametrize("value", ["a=1", "a=1,b=2", "a = 1 , b=2", "a=x%20y", "a=b=c", "a=", "a=1,"])
def test_resource_attributes_are_read_as_the_sdk_reads_them(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", value)
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    theirs = dict(OTELResourceDetector().detect().attributes)
    ours = resource(OTEL_RESOURCE_ATTRIBUTES=value)
    assert {key: ours[key] for key in theirs} == theirs


def test_malformed_resource_attributes_are_refused_without_showing_them() -> None:
    with pytest.raises(ConfigError) as caught:
        resource(OTEL_RESOURCE_ATTRIBUTES="a=1,secret")
    assert caught.value.path == "OTEL_RESOURCE_ATTRIBUTES"
    assert "secret" not in caught.value.reason
