"""The small pure parts of Auth: challenges, headers nobody else may write, tokens seen before."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import BadRequest, Forbidden, Unauthorized
from sidecar.filters.auth import challenge
from sidecar.filters.auth.identity import Identity
from sidecar.filters.auth.verified import Grant, Verified
from sidecar.listener.answers import error_response
from sidecar.model import Headers
from tests.support.filters import request


def test_challenges_are_those_of_the_standards() -> None:
    assert challenge.bearer("r") == 'Bearer realm="r"'
    assert challenge.bearer("r", "invalid_token", "it expired") == (
        'Bearer realm="r", error="invalid_token", error_description="it expired"'
    )
    assert challenge.bearer("r", "insufficient_scope", scope="a b").endswith('error="insufficient_scope", scope="a b"')
    assert challenge.basic('a "b" \\c') == 'Basic realm="a \\"b\\" \\\\c", charset="UTF-8"'
    assert challenge.api_key("caf\u00e9") == 'ApiKey realm="caf?"'


def test_the_answer_carries_the_challenge() -> None:
    answer = error_response(Unauthorized("who?", "Basic x"), request())
    assert (answer.status, answer.headers.get("www-authenticate")) == (401, "Basic x")
    assert "error=http_request_denied" in (answer.headers.get("proxy-status") or "")
    assert error_response(Forbidden("no", "Bearer x"), None).headers.get("www-authenticate") == "Bearer x"
    assert error_response(Forbidden("no"), None).headers.get("www-authenticate") is None


# --- headers that only the sidecar writes ----------------------------------------------------------------------------

OWN = Identity(["X-User", "X_Team"], ["Authorization"])


def test_copies_of_the_client_are_replaced_however_they_are_spelled() -> None:
    sent = Headers(
        [
            (b"x-USER", b"1"),
            (b"X_User", b"2"),
            (b"A", b"3"),
            (b"x-team", b"4"),
            (b"AUTHORIZATION", b"5"),
            (b"X-Users", b"6"),
            (b"Connection", b"close"),
        ]
    )
    OWN.write(sent, [(b"X-User", b"ann")])
    assert sent == [(b"A", b"3"), (b"X-Users", b"6"), (b"Connection", b"close"), (b"X-User", b"ann")]


@pytest.mark.parametrize("value", [b"x-user", b"close, X-User", b"x_user", b"keep-alive,x-team "])
def test_nobody_has_them_dropped_by_the_next_hop(value: bytes) -> None:
    with pytest.raises(BadRequest):
        OWN.write(Headers([(b"connection", value)]), [])


def test_what_is_only_dropped_may_be_named_by_connection() -> None:
    sent = Headers([(b"Connection", b"authorization")])
    OWN.write(sent, [])
    assert sent == [(b"Connection", b"authorization")]


def test_without_such_headers_nothing_is_touched() -> None:
    sent = Headers([(b"X-User", b"1")])
    Identity(()).write(sent, [])
    assert sent == [(b"X-User", b"1")]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([b"X-User", b"x_uSer", b"X-User-", b"XUser", b"B"]), st.just(b"v"))))
def test_only_the_sidecars_line_has_the_name(lines: list[tuple[bytes, bytes]]) -> None:
    sent = Headers(lines)
    OWN.write(sent, [(b"X-User", b"ann")])
    named = [value for name, value in sent if name.lower().replace(b"_", b"-") == b"x-user"]
    assert named == [b"ann"]


# --- tokens seen before ----------------------------------------------------------------------------------------------


def test_a_grant_lasts_until_it_ends_or_the_keys_change() -> None:
    seen = Verified(10)
    assert seen.get(b"a", 1, 0) is None
    seen.put(b"a", 1, Grant(100.0, []))
    assert seen.get(b"a", 1, 99.9) == Grant(100.0, [])
    assert seen.get(b"b", 1, 0) is None
    assert seen.get(b"a", 1, 100.0) is None
    assert len(seen) == 0
    seen.put(b"a", 1, Grant(100.0, []))
    assert seen.get(b"a", 2, 0) is None
    assert len(seen) == 0
    seen.put(b"a", 1, Grant(100.0, []))
    assert len(seen) == 0, "verified with keys that are gone"


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), max_size=60))
def test_grants_are_bounded_and_the_oldest_goes_first(order: list[int]) -> None:
    seen = Verified(5)
    seen.get(b"", 1, 0)
    for number in order:
        seen.put(b"%d" % number, 1, Grant(9.0, []))
        assert len(seen) <= 5
        assert seen.get(b"%d" % number, 1, 0) is not None
