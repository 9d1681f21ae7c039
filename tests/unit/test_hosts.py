"""Which hosts name a Service."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.discovery.hosts import ServiceHost, service_of


def look(authority: str) -> ServiceHost | None:
    return service_of(authority, namespace="home", cluster_domain="cluster.local")


@pytest.mark.parametrize(
    ("authority", "service", "namespace", "port", "certain"),
    [
        ("orders", "orders", "home", None, False),
        ("orders:80", "orders", "home", 80, False),
        ("orders:http", "orders", "home", "http", False),
        ("orders:", "orders", "home", None, False),
        ("Orders.SHOP", "orders", "shop", None, False),
        ("orders.shop.svc", "orders", "shop", None, True),
        ("orders.shop.svc:8080", "orders", "shop", 8080, True),
        ("orders.shop.svc.cluster.local", "orders", "shop", None, True),
        ("ORDERS.shop.svc.Cluster.Local.:HTTP", "orders", "shop", "http", True),
        ("orders.", "orders", "home", None, False),
    ],
)
def test_the_forms_of_a_service(
    authority: str, service: str, namespace: str, port: int | str | None, certain: bool
) -> None:
    expected = ServiceHost(service=service, namespace=namespace, port=port, certain=certain)
    assert look(authority) == expected


@pytest.mark.parametrize(
    "authority",
    [
        "", ".", "..", "10.0.0.1", "10.0.0.1:80", "127.1", "[::1]", "[::1]:80", "::1", "localhost", "localhost:80",
        "a.localhost", "LOCALHOST.", "www.shop.example", "orders.shop.svc.cluster", "orders.shop.svc.other.local",
        "pod.orders.shop.svc", "web-0.orders.shop.svc.cluster.local", "orders.shop.svc.cluster.local.local", "orders_1",
        "-orders", "orders-", "orders:99999", "orders:0", "orders:ht--tp", "orders:-", "user@orders", "orders/x",
        "orders shop", "örders", "a" * 64, "orders\n",
    ],
)  # fmt: skip
def test_other_hosts_name_no_service(authority: str) -> None:
    assert look(authority) is None


def test_the_cluster_domain_is_a_setting() -> None:
    found = service_of("orders.shop.svc.k8s.example", namespace="home", cluster_domain="k8s.example.")
    assert found is not None
    assert found.certain


@given(st.text(max_size=40))
def test_any_text_has_an_answer(text: str) -> None:
    found = look(text)
    assert found is None or (found.service and found.namespace)
