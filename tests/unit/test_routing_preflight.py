"""Preflights find the rule of the request that is to follow, though they are OPTIONS requests."""

import pytest

from sidecar.config.model import Cors, CorsFilter, Match, NameMatch, PathMatch, Route, Rule
from sidecar.errors import NoRoute
from sidecar.model import Request
from sidecar.routing import Router
from tests.support.filters import request

CORS = CorsFilter(cors=Cors(allow_origins=("*",)))


def rule(name: str, path: str, method: str | None = None, *, cors: bool = True, header: str | None = None) -> Rule:
    headers = (NameMatch(name=header, value="1"),) if header is not None else ()
    match = Match(path=PathMatch(value=path), method=method, headers=headers)
    return Rule(name=name, matches=(match,), filters=(CORS,) if cors else ())


def preflight(target: bytes, wanted: bytes) -> Request:
    lines = [(b"Origin", b"https://a.example"), (b"access-control-request-method", wanted)]
    return request(target, method="OPTIONS", headers=lines)


def taken(rules: list[Rule], sent: Request) -> str:
    return Router([Route(rules=tuple(rules))]).match(sent).name


def test_a_rule_with_cors_takes_the_preflights_of_its_method() -> None:
    rules = [rule("read", "/a", "GET"), rule("write", "/a", "PUT"), rule("other", "/b")]
    assert taken(rules, preflight(b"/a/x", b"GET")) == "read"
    assert taken(rules, preflight(b"/a/x", b"PUT")) == "write"
    assert taken(rules, preflight(b"/b", b"DELETE")) == "other"
    with pytest.raises(NoRoute):
        taken(rules, preflight(b"/a", b"DELETE"))
    with pytest.raises(NoRoute):
        taken(rules, request(b"/a", method="OPTIONS"))  # no preflight


def test_a_rule_without_cors_takes_none_of_them() -> None:
    with pytest.raises(NoRoute):
        taken([rule("read", "/a", "GET", cors=False)], preflight(b"/a", b"GET"))


def test_a_preflight_comes_before_the_apps_own_options() -> None:
    rules = [rule("options", "/a", "OPTIONS", cors=False), rule("read", "/a", "GET")]
    assert taken(rules, preflight(b"/a", b"GET")) == "read"
    assert taken(rules, preflight(b"/a", b"PUT")) == "options"
    assert taken(rules, request(b"/a", method="OPTIONS")) == "options"


def test_a_match_that_asks_for_fields_takes_no_preflight_for_it_carries_none() -> None:
    rules = [rule("beta", "/a", "GET", header="x-beta"), rule("all", "/a", "GET")]
    assert taken(rules, preflight(b"/a", b"GET")) == "all"


def test_explain_says_why_a_request_is_not_taken() -> None:
    router = Router([Route(rules=(rule("read", "/a", "GET"),))])
    (verdict,) = router.explain(request(b"/a", method="PUT"))
    assert not verdict.taken
    assert "the method is 'PUT', not GET" in verdict.reason
