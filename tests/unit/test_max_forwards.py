"""Max-Forwards: counted down for TRACE and OPTIONS, answered at zero, left alone by all others (who do not ask)."""

import pytest

from sidecar.errors import BadRequest
from sidecar.forwarding.max_forwards import last_hop
from sidecar.model import Headers, Request


def request(method: str, *lines: tuple[bytes, bytes], length: int | None = 0) -> Request:
    return Request(method=method, target=b"/x?y", authority="a", headers=Headers(lines), length=length)


@pytest.mark.parametrize(("value", "left"), [(b"1", b"0"), (b"010", b"9"), (b"999999999", b"999999998")])
def test_it_is_counted_down_in_its_place(value: bytes, left: bytes) -> None:
    asked = request("OPTIONS", (b"A", b"1"), (b"MAX-forwards", value), (b"B", b"2"))
    assert last_hop(asked) is None
    assert asked.headers == [(b"A", b"1"), (b"MAX-forwards", left), (b"B", b"2")]


def test_without_the_field_the_request_goes_on() -> None:
    assert last_hop(request("TRACE")) is None


def test_options_is_answered_at_zero() -> None:
    answer = last_hop(request("OPTIONS", (b"Max-Forwards", b"0")))
    assert answer is not None
    assert (answer.status, answer.body) == (200, b"")


def test_trace_tells_back_what_came_without_secrets() -> None:
    secrets = [(b"Cookie", b"a"), (b"AUTHORIZATION", b"b"), (b"proxy-authorization", b"c")]
    answer = last_hop(request("TRACE", (b"Host", b"a"), *secrets, (b"Max-Forwards", b"0")))
    assert answer is not None
    assert answer.headers == [(b"Content-Type", b"message/http")]
    assert answer.body == b"TRACE /x?y HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"


@pytest.mark.parametrize("values", [[b""], [b"-1"], [b"x"], [b"1, 2"], [b"1", b"1"], [b"1" * 10]])
def test_what_is_no_plain_number_is_refused(values: list[bytes]) -> None:
    with pytest.raises(BadRequest, match="Max-Forwards"):
        last_hop(request("OPTIONS", *[(b"Max-Forwards", value) for value in values]))


@pytest.mark.parametrize("length", [5, None])
def test_trace_with_content_is_refused(length: int | None) -> None:
    with pytest.raises(BadRequest, match="TRACE"):
        last_hop(request("TRACE", length=length))
