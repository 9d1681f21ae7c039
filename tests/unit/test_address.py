"""Addresses as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.address import parse_address, parse_upstream_url
from sidecar.model import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        (":8080", Address("", 8080)),
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("[::1]:80", Address("::1", 80)),
        ("[fe80::1%eth0]:80", Address("fe80::1%eth0", 80)),
        ("orders.example:443", Address("orders.example", 443)),
        ("unix:/run/app.sock", Address("unix:/run/app.sock", 0)),
    ],
)
def test_the_forms_of_an_address(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", ":", "host", "host:", "host:x", "host:70000", "host:-1", "::1:80", "[::1", "[::1]", "[::1]80", "[x]:80",
     "[abc]:80", "unix:", "unix:run", "unix:/", "unix:/a\0b", "http://host:80", "a b:80", "host:8 0", "user@host:80"],
)  # fmt: skip
def test_another_form_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_address(text)


def test_the_default_port_stands_in() -> None:
    assert parse_address("host", 80) == Address("host", 80)
    assert parse_address("[::1]", 80) == Address("::1", 80)
    with pytest.raises(ValueError, match="expected"):
        parse_address("", 80)


@pytest.mark.parametrize(
    ("text", "address", "tls"),
    [
        ("127.0.0.1:9001", Address("127.0.0.1", 9001), False),
        ("http://host", Address("host", 80), False),
        ("http://host:9001/", Address("host", 9001), False),
        ("HTTPS://host", Address("host", 443), True),
        ("https://[::1]:8443", Address("::1", 8443), True),
        ("unix:/run/app.sock", Address("unix:/run/app.sock", 0), False),
    ],
)
def test_the_forms_of_an_upstream(text: str, address: Address, tls: bool) -> None:
    assert parse_upstream_url(text) == (address, tls)


@pytest.mark.parametrize(
    "text",
    ["", ":80", "host", "host:0", "ftp://host", "http://", "http://host/path", "http://host?x", "http://host#x",
     "http://:80", "http://host:x", "https://host:0"],
)  # fmt: skip
def test_another_form_of_an_upstream_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_upstream_url(text)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="without user name") as failure:
        parse_upstream_url("http://me:hunter2@host")
    assert "hunter2" not in str(failure.value)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_an_address_survives_being_written(host: object, port: int) -> None:
    address = Address(str(host), port)
    assert parse_address(str(address)) == address
