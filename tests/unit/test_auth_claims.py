"""Claims: times, issuer, audience (RFC 7519 §4.1), rules, and the headers that are made of them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.config.model import ClaimHeader, ClaimRule
from sidecar.filters.auth.claims import Expected, account_of, broken, header_lines, header_value, judge, lookup
from sidecar.filters.auth.tokens import RefusedToken

NOW = 1_700_000_000.0
EXPECTED = Expected("me", frozenset({"a", "b"}), 30.0)
GOOD: dict[str, Any] = {"iss": "me", "aud": "a", "exp": NOW + 60}


def judged(**changes: object) -> float:
    return judge({**GOOD, **changes}, EXPECTED, NOW)


def refused(**changes: object) -> str:
    with pytest.raises(RefusedToken) as error:
        judged(**changes)
    return error.value.outcome


def test_a_token_holds_until_its_end_and_the_leeway() -> None:
    assert judged() == NOW + 90
    assert judged(exp=NOW - 29.5) == NOW + 0.5
    assert refused(exp=NOW - 30) == "expired"


def test_times_to_come_are_refused_beyond_the_leeway() -> None:
    assert judged(nbf=NOW + 30, iat=NOW + 30)
    assert refused(nbf=NOW + 31) == "not_yet_valid"
    assert refused(iat=NOW + 31) == "not_yet_valid"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["1700000000", True, [], {}, 2**53, -(2**53), 1e300, 10**400])
def test_what_is_no_time_is_refused(name: str, value: object) -> None:
    assert refused(**{name: value}) == "malformed"


def test_a_token_without_an_end_is_refused() -> None:
    assert refused(exp=None) == "malformed"


@pytest.mark.parametrize("issuer", [None, "", "ME", "me ", ["me"], 1])
def test_the_issuer_is_the_one_expected_letter_by_letter(issuer: object) -> None:
    assert refused(iss=issuer) == "issuer"


@pytest.mark.parametrize("audience", ["b", ["x", "b"], ["a", 1]])
def test_one_of_the_audiences_is_enough(audience: object) -> None:
    assert judged(aud=audience)


@pytest.mark.parametrize("audience", [None, "", "ab", ["ab"], [], 1, {"a": 1}, [["a"]]])
def test_a_token_for_others_is_refused(audience: object) -> None:
    assert refused(aud=audience) == "audience"


def test_without_expected_audiences_any_is_right() -> None:
    for audience in ("x", None):
        assert judge({**GOOD, "aud": audience}, Expected("me", frozenset(), 0), NOW) == NOW + 60


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["iss", "aud", "exp", "nbf", "iat"]), st.none() | st.floats() | st.text()))
def test_whatever_claims_say_they_are_judged(claims: dict[str, object]) -> None:
    try:
        ends = judge(claims, EXPECTED, NOW)
    except RefusedToken:
        return
    assert ends > NOW


# --- rules -----------------------------------------------------------------------------------------------------------

NESTED: dict[str, Any] = {
    "scope": "read write",
    "tier": "gold",
    "level": 3,
    "verified": True,
    "https://x.example/roles": ["a", "b"],
    "realm": {"roles": ["ops"], "a/b": {"~": 1}},
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tier", "gold"),
        ("https://x.example/roles", ["a", "b"]),
        ("/realm/roles", ["ops"]),
        ("/realm/a~1b/~0", 1),
        ("/tier", "gold"),
        ("/tier/x", None),
        ("/realm/none/x", None),
        ("none", None),
        ("realm.roles", None),
    ],
)
def test_a_claim_is_found_by_name_or_by_pointer(name: str, value: object) -> None:
    assert lookup(NESTED, name) == value


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        (ClaimRule(claim="tier", equals="gold"), True),
        (ClaimRule(claim="tier", equals="gol"), False),
        (ClaimRule(claim="level", equals="3"), True),
        (ClaimRule(claim="verified", equals="true"), True),
        (ClaimRule(claim="verified", equals="True"), False),
        (ClaimRule(claim="tier", one_of=("silver", "gold")), True),
        (ClaimRule(claim="tier", one_of=("silver",)), False),
        (ClaimRule(claim="scope", equals="read"), False),
        (ClaimRule(claim="scope", contains="read"), True),
        (ClaimRule(claim="scope", contains="rea"), False),
        (ClaimRule(claim="scope", contains="read write"), False),
        (ClaimRule(claim="https://x.example/roles", contains="b"), True),
        (ClaimRule(claim="https://x.example/roles", contains="c"), False),
        (ClaimRule(claim="https://x.example/roles", equals="a"), False),
        (ClaimRule(claim="/realm/roles", contains="ops"), True),
        (ClaimRule(claim="realm", contains="roles"), False),
        (ClaimRule(claim="level", contains="3"), False),
        (ClaimRule(claim="none", contains=""), False),
        (ClaimRule(claim="none", equals="None"), False),
    ],
)
def test_a_rule_holds_or_not(rule: ClaimRule, holds: bool) -> None:
    assert broken([rule], NESTED) == (None if holds else rule)


def test_the_first_rule_that_does_not_hold_is_named() -> None:
    good, bad = ClaimRule(claim="tier", equals="gold"), ClaimRule(claim="none", equals="x")
    assert broken([good, bad, bad], NESTED) is bad
    assert broken([], {}) is None


# --- service accounts ------------------------------------------------------------------------------------------------


def test_a_service_account_is_named_twice_alike() -> None:
    bound = {"kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "web"}}}
    assert account_of({**bound, "sub": "system:serviceaccount:shop:web"}) == ("shop", "web")
    for claims in (
        {},
        {"sub": "system:serviceaccount:shop:web"},
        {**bound, "sub": "system:serviceaccount:shop:admin"},
        {**bound, "sub": None},
        {"kubernetes.io": {"namespace": 1, "serviceaccount": {"name": "web"}}},
        {"kubernetes.io": {"namespace": "shop", "serviceaccount": "web"}},
    ):
        with pytest.raises(RefusedToken, match="service account"):
            account_of(claims)


# --- headers ---------------------------------------------------------------------------------------------------------


def lines(value: object) -> list[tuple[bytes, bytes]]:
    return header_lines([ClaimHeader(claim="x", header="X-X")], {"x": value})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ann", b"ann"),
        ("a b", b"a b"),
        ("\u00e9", "\u00e9".encode()),
        (7, b"7"),
        (1.5, b"1.5"),
        (False, b"false"),
        (["a", 1], b"a,1"),
    ],
)
def test_a_claim_becomes_a_header_as_it_stands(value: object, text: bytes) -> None:
    assert lines(value) == [(b"X-X", text)]


@pytest.mark.parametrize("value", [None, "", {}, {"a": 1}, []])
def test_what_has_no_text_has_no_header(value: object) -> None:
    assert lines(value) == []


@pytest.mark.parametrize(
    "value",
    [
        " ann",
        "ann ",
        "a\r\nX-Admin: 1",
        "a\tb",
        "a\0",
        "a\x7f",
        "\ud800\n",
        ["a,b"],
        ["a", {}],
        ["a", ""],
        [" a"],
        [["a"]],
    ],
)
def test_what_would_arrive_as_something_else_is_refused(value: object) -> None:
    with pytest.raises(RefusedToken, match="cannot be a header"):
        lines(value)


@settings(deadline=None)
@given(st.text())
def test_a_header_value_is_one_line_that_nobody_trims(text: str) -> None:
    value = header_value(text)
    if value is not None:
        assert value == value.strip() == text.encode("utf-8", "surrogatepass")
        assert not any(byte < 32 or byte == 127 for byte in value)
