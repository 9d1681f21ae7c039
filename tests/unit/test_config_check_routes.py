"""The rules that HTTPRoute states beside its schema."""

import pytest

from sidecar.config.load import parse
from tests.support.configs import Data
from tests.support.small_config import RULE, change, refusal


def modifier(**fields: object) -> list[Data]:
    return [{"type": "RequestHeaderModifier", "requestHeaderModifier": fields}]


def test_a_regular_expression_may_start_with_anything() -> None:
    matches = [{"path": {"type": "RegularExpression", "value": ".*//%2f"}}]
    assert parse(change(f"{RULE}.matches", matches)).listeners[0].routes[0].rules[0].matches[0].path.value == ".*//%2f"


def rewrite(**path: object) -> list[Data]:
    return [{"type": "URLRewrite", "urlRewrite": {"path": path}}]


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("listeners[0].routes[0].name", "a b", "$.listeners[0].routes[0].name: "),
        ("listeners[0].routes[0].rules", [], "$.listeners[0].routes[0].rules: expected at least one rule"),
        ("listeners[0].routes[0].hostnames", ["Shop.example"], ".hostnames[0]: expected a host name in lower case"),
        ("listeners[0].routes[0].hostnames", ["a", "*"], ".hostnames[1]: expected a host name"),
        (f"{RULE}.name", "a b", f"$.{RULE}.name: "),
        (
            f"{RULE}.matches",
            [{"path": {"value": "api"}}],
            ".matches[0].path.value: expected a path that starts with `/`",
        ),
        (f"{RULE}.matches", [{"path": {"value": "/a%2Fb"}}], ".matches[0].path.value: expected a path without `%2f`"),
        (
            f"{RULE}.matches",
            [{"path": {"value": "/a/.."}}],
            ".matches[0].path.value: expected a path that does not end",
        ),
        (f"{RULE}.matches", [{"method": "G ET"}], ".matches[0].method: expected a method without spaces"),
        (f"{RULE}.matches", [{"headers": [{"name": "a:", "value": ""}]}], ".headers[0].name: expected a header name"),
        (
            f"{RULE}.matches",
            [{"headers": [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]}],
            ".headers[1].name: header 'a' is",
        ),
        (f"{RULE}.matches", [{"queryParams": [{"name": "", "value": ""}]}], ".queryParams[0].name: expected the name"),
        (
            f"{RULE}.matches",
            [{"queryParams": [{"name": "a", "value": ""}] * 2}],
            ".queryParams[1].name: query parameter 'a' is taken",
        ),
        (
            f"{RULE}.filters",
            modifier(set=[{"name": "a b", "value": ""}]),
            ".requestHeaderModifier.set[0].name: expected a header name",
        ),
        (
            f"{RULE}.filters",
            modifier(add=[{"name": "a", "value": "\n"}]),
            ".requestHeaderModifier.add[0].value: expected a value",
        ),
        (
            f"{RULE}.filters",
            modifier(add=[{"name": "Connection", "value": "x"}]),
            ".add[0].name: `Connection` frames the message",
        ),
        (f"{RULE}.filters", modifier(set=[{"name": "a", "value": ""}] * 2), ".set[1].name: header 'a' is taken by"),
        (
            f"{RULE}.filters",
            modifier(remove=["transfer-encoding"]),
            ".remove[0]: `transfer-encoding` frames the message",
        ),
        (
            f"{RULE}.filters",
            [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": [""]}}],
            ".responseHeaderModifier.remove[0]: expected a header name",
        ),
        (
            f"{RULE}.filters",
            [{"type": "URLRewrite", "urlRewrite": {"hostname": "*.a"}}],
            ".urlRewrite.hostname: expected a host name",
        ),
        (
            f"{RULE}.filters",
            rewrite(type="ReplaceFullPath"),
            ".urlRewrite.path: type ReplaceFullPath needs the field `replaceFullPath`",
        ),
        (
            f"{RULE}.filters",
            rewrite(type="ReplaceFullPath", replaceFullPath="/", replacePrefixMatch="/"),
            ".urlRewrite.path: type ReplaceFullPath takes the field `replaceFullPath` only",
        ),
        (
            f"{RULE}.filters",
            rewrite(type="ReplaceFullPath", replaceFullPath=""),
            ".path.replaceFullPath: expected a percent-encoded path",
        ),
        (
            f"{RULE}.filters",
            rewrite(type="ReplacePrefixMatch", replacePrefixMatch="/a?b"),
            ".path.replacePrefixMatch: expected a percent",
        ),
        (
            "listeners[0].routes[0].rules",
            [
                {
                    "matches": [{"path": {"type": "Exact"}}],
                    "filters": rewrite(type="ReplacePrefixMatch", replacePrefixMatch=""),
                }
            ],
            ".filters[0].urlRewrite.path: type ReplacePrefixMatch needs every match",
        ),
        (
            f"{RULE}.filters",
            [{"type": "RequestRedirect", "requestRedirect": {"port": 0}}],
            ".requestRedirect.port: expected 1 to 65535",
        ),
        (
            f"{RULE}.filters",
            [{"type": "RequestRedirect", "requestRedirect": {}}],
            f"$.{RULE}.backendRefs: a rule with a RequestRedirect",
        ),
        (
            f"{RULE}.filters",
            rewrite(type="ReplaceFullPath", replaceFullPath="/") * 2,
            ".filters[1]: a rule takes one URLRewrite or one",
        ),
        (
            f"{RULE}.filters",
            [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "x"}}}],
            ".requestMirror.backendRef.name: no cluster 'x': declared are `app`",
        ),
        (
            f"{RULE}.filters",
            [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "app"}, "percent": 101}}],
            ".requestMirror.percent: expected 0 to 100, got 101",
        ),
        (
            f"{RULE}.filters",
            [{"type": "Python", "python": {"function": "a.b"}}],
            ".python.function: expected `module:function`, got 'a.b'",
        ),
        (
            f"{RULE}.timeouts",
            {"request": "1s", "backendRequest": "2s"},
            ".timeouts.backendRequest: expected no more than `request` (1s)",
        ),
        (f"{RULE}.retry", {"attempts": -1}, ".retry.attempts: expected 0 to 100, got -1"),
        (f"{RULE}.retry", {"codes": [503, 200]}, ".retry.codes[1]: expected 400 to 599, got 200"),
        (
            f"{RULE}.backendRefs",
            [{"name": "app", "weight": -1}],
            ".backendRefs[0].weight: expected 0 to 1000000, got -1",
        ),
        (
            f"{RULE}.backendRefs",
            [{"name": "ap"}],
            f"$.{RULE}.backendRefs[0].name: no cluster 'ap': declared are `app`; with `port` it would be a Kube",
        ),
        (
            f"{RULE}.backendRefs",
            [{"name": "app", "namespace": "x"}],
            ".backendRefs[0]: field `namespace` goes with `port`",
        ),
        (
            f"{RULE}.backendRefs",
            [{"name": "app", "port": 65536}],
            ".backendRefs[0].port: expected 1 to 65535, got 65536",
        ),
        (
            f"{RULE}.backendRefs",
            [{"name": "a.b", "port": 80}],
            ".backendRefs[0].name: expected up to 63 lower-case letters",
        ),
        (
            f"{RULE}.backendRefs",
            [{"name": "a", "port": 80, "namespace": "B"}],
            ".backendRefs[0].namespace: expected up to 63",
        ),
    ],
)
def test_a_route_that_cannot_be_meant_is_named(path: str, value: object, text: str) -> None:
    assert text in refusal(change(path, value))
