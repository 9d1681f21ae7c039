"""What a Service object says."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.discovery.service import Service, ServicePort, parse_service
from sidecar.model import Address

HTTP = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}
ADMIN = {"name": "admin", "port": 81, "targetPort": "admin"}


def parsed(**spec: Any) -> Service:
    return parse_service({"spec": spec})


def test_ports_are_known_by_number_and_name() -> None:
    service = parsed(ports=[HTTP, ADMIN, {"name": "dns", "port": 53, "protocol": "UDP"}, {"port": "x"}, 3])
    assert service.ports == (ServicePort("http", 80, 8080), ServicePort("admin", 81, None))
    assert service.port("admin") == service.port(81) == service.ports[1]
    assert service.port(8080) is None
    assert service.describe_ports() == "80 http, 81 admin"


def test_no_port_wanted_means_the_only_one_or_that_of_http() -> None:
    assert parsed(ports=[ADMIN]).port(None) == ServicePort("admin", 81, None)
    assert parsed(ports=[ADMIN, HTTP]).port(None) == ServicePort("http", 80, 8080)
    assert parsed(ports=[ADMIN, ADMIN | {"port": 82}]).port(None) is None
    assert parsed(ports=[{"port": 5000}]).describe_ports() == "5000"
    assert parsed().describe_ports() == "none"


@pytest.mark.parametrize(
    ("spec", "families", "address"),
    [
        ({"clusterIP": "10.96.0.1"}, ("IPv4", "IPv6"), Address("10.96.0.1", 80)),
        ({"clusterIPs": ["10.96.0.1", "fd00::1"]}, ("IPv6", "IPv4"), Address("fd00::1", 80)),
        ({"clusterIP": "10.96.0.1"}, ("IPv6",), None),
        ({"clusterIP": "None"}, ("IPv4",), None),
        ({"clusterIP": ""}, ("IPv4",), None),
        ({}, ("IPv4",), None),
    ],
)
def test_the_cluster_ip_of_the_preferred_family(
    spec: dict[str, Any], families: tuple[str, ...], address: Address | None
) -> None:
    assert parsed(ports=[HTTP], **spec).cluster_address(None, families) == address


def test_an_unknown_port_has_no_cluster_address() -> None:
    assert parsed(ports=[HTTP], clusterIP="10.96.0.1").cluster_address(81, ("IPv4",)) is None


def test_only_an_external_name_stands_for_a_name() -> None:
    assert parsed(type="ExternalName", externalName="a.example").external_name == "a.example"
    assert parsed(type="ClusterIP", externalName="a.example").external_name is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["spec", "ports", "port", "name", "clusterIPs", "clusterIP"]), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["spec"]), JSON))
def test_no_manifest_makes_the_parser_raise(manifest: dict[str, Any]) -> None:
    parse_service(manifest).cluster_address(None, ("IPv4",))
