"""Who the client is behind trusted proxies, as decisions may rest on it."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.model import Address, Headers, Origin, Request
from sidecar.telemetry.arrival import Arrival, ip_of

PROXIES = (ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"))
PEER = Address("10.0.0.1", 4000)


def arrival(*fields: tuple[str, str], trusted: bool = True) -> Arrival:
    lines = [(name.encode(), value.encode("latin-1")) for name, value in fields]
    origin = Origin(b"x", trusted=trusted, announce=True, peer=b"", scheme=b"http", proxies=PROXIES)
    request = Request(method="GET", target=b"/", authority="", headers=Headers(lines), peer=PEER, origin=origin)
    return Arrival(request, lines)


def client(*fields: tuple[str, str], trusted: bool = True, peer: Address = PEER) -> str | None:
    found = arrival(*fields, trusted=trusted).client_ip(peer)
    return None if found is None else str(found)


X = "x-forwarded-for"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((), "10.0.0.1"),
        (((X, "203.0.113.9"),), "203.0.113.9"),
        (((X, "1.1.1.1, 203.0.113.9"),), "203.0.113.9"),
        (((X, "1.1.1.1, 203.0.113.9, 10.0.0.2"),), "203.0.113.9"),
        (((X, "1.1.1.1"), (X, "203.0.113.9")), "203.0.113.9"),
        (((X, "10.0.0.3, 10.0.0.2"),), "10.0.0.3"),
        (((X, "203.0.113.9:80"),), "203.0.113.9"),
        (((X, "::ffff:203.0.113.9"),), "203.0.113.9"),
        (((X, "fe80::1%eth0"),), "fe80::1"),
        ((("forwarded", "for=1.1.1.1, for=203.0.113.9;by=x, for=10.0.0.2"),), "203.0.113.9"),
        ((("forwarded", 'proto=http;for="[2001:db8::1]:80"'),), "2001:db8::1"),
        ((("forwarded", "for=203.0.113.9"), (X, "203.0.113.9")), "203.0.113.9"),
        ((("x-forwarded-proto", "https"),), "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_that_is_no_trusted_proxy(fields: tuple[tuple[str, str], ...], expected: str) -> None:
    assert client(*fields) == expected
    assert client(*fields, trusted=False) == "10.0.0.1"


@pytest.mark.parametrize(
    "fields",
    [
        ((X, ""),),
        ((X, "unknown"),),
        ((X, "203.0.113.9, unknown"),),
        ((X, "203.0.113.9,"),),
        ((X, "localhost"),),
        ((X, ",".join(["10.0.0.2"] * 33)),),
        (("forwarded", "for=_hidden"),),
        (("forwarded", "proto=https"),),
        (("forwarded", "for=203.0.113.9;"),),
        (("forwarded", 'for="'), ("forwarded", "for=203.0.113.9")),
        (("forwarded", "for=1.1.1.1"), (X, "203.0.113.9")),
        (("forwarded", "for=_hidden"), (X, "203.0.113.9")),
    ],
)
def test_in_doubt_there_is_no_client(fields: tuple[tuple[str, str], ...]) -> None:
    assert client(*fields) is None


def test_a_peer_without_an_address_is_no_client_unless_it_names_one() -> None:
    socket = Address("unix:", 0)
    assert client(peer=socket) is None
    assert client((X, "203.0.113.9"), peer=socket) == "203.0.113.9"


def test_addresses_of_dual_stack_sockets_are_ipv4() -> None:
    assert ip_of("::ffff:10.0.0.1") == ip_address("10.0.0.1")
    assert ip_of("2001:db8::1") == ip_address("2001:db8::1")
    assert ip_of("name") is None


@settings(deadline=None)
@given(st.lists(st.ip_addresses().map(str), min_size=1, max_size=4))
def test_nothing_a_client_writes_in_front_changes_who_it_is(chain: list[str]) -> None:
    honest = client((X, "203.0.113.9"))
    assert client((X, f"{', '.join(chain)}, 203.0.113.9")) == honest
    assert client(("forwarded", f"for={chain[0] if ':' not in chain[0] else '_x'}"), (X, "203.0.113.9")) in {
        None,
        honest,
    }
