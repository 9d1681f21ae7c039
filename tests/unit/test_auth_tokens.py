"""Tokens before any key is asked: form, header, size; and whatever else comes in their place."""

import json
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.filters.auth.tokens import MAX_TOKEN, RefusedToken, bearer_token, parse_object, read_header

ALLOWED = frozenset({"RS256", "ES256"})


def segment(value: object) -> bytes:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(data).rstrip(b"=")


def made(header: object, payload: object = None) -> bytes:
    return b".".join((segment(header), segment({} if payload is None else payload), b"c2ln"))


def refused(token: bytes) -> RefusedToken:
    with pytest.raises(RefusedToken) as error:
        read_header(token, ALLOWED)
    return error.value


# --- where it stands -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"Bearer abc", b"bearer abc", b"BEARER   abc "])
def test_the_scheme_is_read_without_regard_to_case(text: bytes) -> None:
    assert bearer_token([text]) == b"abc"


def test_every_character_of_a_bearer_token_is_one() -> None:
    """RFC 6750 §2.1: b64token."""
    assert bearer_token([b"Bearer aZ09-._~+/=="]) == b"aZ09-._~+/=="


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ([], "missing"),
        ([b""], "missing"),
        ([b"Basic YTpi"], "missing"),
        ([b"Bearerabc"], "missing"),
        ([b"Bearer"], "malformed"),
        ([b"Bearer "], "malformed"),
        ([b"Bearer a b"], "malformed"),
        ([b"Bearer a,b"], "malformed"),
        ([b"Bearer a\xe9"], "malformed"),
        ([b"Bearer =a"], "malformed"),
        ([b"Bearer a", b"Bearer a"], "ambiguous"),
        ([b"Basic YTpi", b"Bearer a"], "ambiguous"),
        ([b"Bearer " + b"a" * MAX_TOKEN], "malformed"),
    ],
)
def test_what_is_no_bearer_token_has_a_word(values: list[bytes], outcome: str) -> None:
    with pytest.raises(RefusedToken) as error:
        bearer_token(values)
    assert error.value.outcome == outcome


# --- what its header says --------------------------------------------------------------------------------------------


def test_algorithm_and_key_are_read() -> None:
    assert read_header(made({"alg": "ES256", "kid": "k", "typ": "JWT", "cty": "json"}), ALLOWED) == ("ES256", "k")
    assert read_header(made({"alg": "RS256"}), ALLOWED) == ("RS256", None)


@pytest.mark.parametrize("algorithm", ["none", "NONE", "", "HS256", "es256", "RS256 ", None, 1, ["RS256"], {}])
def test_an_algorithm_that_is_not_configured_is_refused(algorithm: object) -> None:
    assert refused(made({"alg": algorithm})).outcome == "algorithm"


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": True},
        {"b64": False},
        {"enc": "A128GCM"},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"cty": "jwt"},
        {"cty": ["json"]},
        {"kid": 1},
        {"kid": ["k"]},
        {"kid": "k" * 257},
    ],
)
def test_a_header_that_asks_for_more_is_refused(header: dict[str, object]) -> None:
    assert refused(made({"alg": "ES256", **header})).outcome == "malformed"


@pytest.mark.parametrize("pointer", [{"jwk": {"kty": "EC"}}, {"jku": "https://evil.example"}, {"x5c": ["AA"]}])
def test_keys_that_a_token_brings_along_are_not_looked_at(pointer: dict[str, object]) -> None:
    assert read_header(made({"alg": "ES256", **pointer}), ALLOWED) == ("ES256", None)


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b".",
        b"..",
        b"a.b",
        b"a..c",
        b"a.b.c.d",
        b"a.b.c.d.e",
        b"a.b.c.d.e.f",
        b"a.b.c=",
        b"a.b.c\n",
        b"!.b.c",
        b"a.b.c",
        segment(b"[]") + b".b.c",
        segment(b"nonsense") + b".b.c",
        segment(b"\xff{}") + b".b.c",
        segment(b'{"alg":"ES256","alg":"none"}') + b".b.c",
        segment(b'{"alg":"ES256","x":NaN}') + b".b.c",
        segment(b'{"alg":"ES256","x":1e999}') + b".b.c",
        segment(b"[" * 1500) + b".b.c",
        segment({"alg": "ES256", "x": "x" * 2048}) + b".b.c",
        segment(b'{"alg":"ES256"}') + b"a.b.c",
    ],
)
def test_what_is_no_token_is_refused_before_any_key_is_asked(token: bytes) -> None:
    assert refused(token).outcome == "malformed"


def test_numbers_stay_what_they_are() -> None:
    assert parse_object(b'{"a":1.5,"b":10}', "x") == {"a": 1.5, "b": 10}


@settings(deadline=None)
@given(st.binary(max_size=200) | st.builds(made, st.dictionaries(st.sampled_from(["alg", "kid", "crit"]), st.text())))
def test_whatever_comes_is_read_or_refused(token: bytes) -> None:
    try:
        found = read_header(token, ALLOWED)
    except RefusedToken:
        return
    assert found.algorithm in ALLOWED
