"""What is asked of the API server."""

import pytest

from sidecar.discovery.collection import Collection, parts_of
from sidecar.discovery.kubernetes_client import ApiError


def test_slices_are_selected_by_the_names_of_their_services() -> None:
    slices = Collection(namespace="shop")
    assert slices.path == "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
    assert slices.selector(frozenset(["b", "a"])) == {"labelSelector": "kubernetes.io/service-name in (a,b)"}


def test_very_many_services_are_selected_as_all_of_the_namespace() -> None:
    many = frozenset(f"orders-{number}" for number in range(101))
    assert Collection(namespace="shop").selector(many) == {"labelSelector": "kubernetes.io/service-name"}


def test_an_endpoints_object_is_selected_by_its_name() -> None:
    endpoints = Collection(namespace="shop", service="orders")
    assert endpoints.path == "/api/v1/namespaces/shop/endpoints"
    assert endpoints.selector(frozenset(["orders"])) == {"fieldSelector": "metadata.name=orders"}


def test_the_message_of_a_server_cannot_write_lines_of_its_own() -> None:
    with pytest.raises(ApiError) as failure:
        parts_of({"type": "ERROR", "object": {"code": 410, "message": "a\nb\x1b[31m" + "x" * 1000}})
    assert failure.value.status == 410
    assert "\n" not in str(failure.value)
    assert "\x1b" not in str(failure.value)
    assert len(str(failure.value)) < 400
