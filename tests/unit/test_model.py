"""The types that everybody speaks."""

import pytest

from sidecar.model import Address, Endpoint, Headers, Request


@pytest.mark.parametrize(
    ("conditions", "state"),
    [({}, "ready"), ({"ready": False, "terminating": True}, "terminating"), ({"ready": False}, "not_ready")],
)
def test_an_endpoint_is_in_one_state(conditions: dict[str, bool], state: str) -> None:
    assert Endpoint(address=Address("10.0.0.1", 80), **conditions).state == state


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Address("10.0.0.1", 80), "10.0.0.1:80"),
        (Address("fd00::1", 80), "[fd00::1]:80"),
        (Address("unix:/run/app.sock", 0), "unix:/run/app.sock"),
    ],
)
def test_an_address_is_written_as_it_is_read(address: Address, text: str) -> None:
    assert str(address) == text


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [(b"/a%2Fb?x=1&x=2", "/a%2Fb", "x=1&x=2"), (b"/a", "/a", ""), (b"/a?", "/a", ""), (b"/\xff?\xfe", "/ÿ", "þ")],
)
def test_path_and_query_are_told_undecoded(target: bytes, path: str, query: str) -> None:
    request = Request(method="GET", target=target, authority="x", headers=Headers())
    assert (request.path, request.query) == (path, query)
