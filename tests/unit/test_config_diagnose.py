"""What does not fit the schema is answered with its path, what was expected and what was found."""

import msgspec
import pytest

from sidecar.config.diagnose import explain
from tests.support.small_config import RULE, SMALL, change, refusal


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, "$: expected a mapping, got nothing"),
        ([], "$: expected a mapping, got a list"),
        ({}, "$: field `listeners` is missing"),
        ({"listeners": []}, "$.listeners: expected at least one listener"),
        ({1: 2}, "$: expected field names that are strings, got 1; quote it"),
        (change("listner", 1), "$: unknown field `listner`; did you mean `listeners`?"),
        (change("listeners[0].name", 7), "$.listeners[0].name: expected a string, got 7; quote it"),
        (change("listeners[0].name", True), "$.listeners[0].name: expected a string, got true; quote it"),
        (change("listeners[0].name", None), "$.listeners[0].name: expected a string, got nothing"),
        (change("listeners[0].name", []), "$.listeners[0].name: expected a string, got a list"),
        (change("listeners[0].mode", "frward"), "$.listeners[0].mode: unknown value 'frward'; did you mean `forward`?"),
        (change("listeners[0].mode", 1), "$.listeners[0].mode: unknown value 1; known values: `forward`, `reverse`"),
        (change("listeners[0].routes", {}), "$.listeners[0].routes: expected a list, got a mapping"),
        (
            change("listeners[0].limits.max_connections", True),
            "$.listeners[0].limits.max_connections: expected an integer, got true",
        ),
        (
            change("listeners[0].limits.max_body_bytes", "1"),
            "$.listeners[0].limits.max_body_bytes: expected an integer, got '1'",
        ),
        (change(f"{RULE}.timout", "1s"), f"$.{RULE}: unknown field `timout`; did you mean `timeouts`?"),
        (change(f"{RULE}.backend_refs", []), f"$.{RULE}: unknown field `backend_refs`; did you mean `backendRefs`?"),
        (
            change(f"{RULE}.timeouts", {"request": 5}),
            f"$.{RULE}.timeouts.request: expected a duration such as '2s', '150ms' or '1m30s', got 5",
        ),
        (change(f"{RULE}.filters", [{}]), f"$.{RULE}.filters[0]: field `type` is missing; known values: `"),
        (change(f"{RULE}.filters", [{"type": []}]), f"$.{RULE}.filters[0].type: unknown value a list; known values: `"),
        (change(f"{RULE}.filters", ["x"]), f"$.{RULE}.filters[0]: expected a mapping, got 'x'"),
        (
            change(f"{RULE}.filters", [{"type": "UrlRewrite"}]),
            f"$.{RULE}.filters[0].type: unknown value 'UrlRewrite'; did you mean `URLRewrite`?",
        ),
        (
            change(f"{RULE}.filters", [{"type": "URLRewrite", "rewrite": {}}]),
            f"$.{RULE}.filters[0]: unknown field `rewrite`; did you mean `urlRewrite`?",
        ),
        (change(f"{RULE}.filters", [{"type": "URLRewrite"}]), f"$.{RULE}.filters[0]: field `urlRewrite` is missing"),
        (
            change(f"{RULE}.filters", [{"type": "Python", "python": {"function": "a:b", "settings": {1: 2}}}]),
            f"$.{RULE}.filters[0].python.settings: expected field names that are strings, got 1; quote it",
        ),
        (
            change(
                f"{RULE}.filters", [{"type": "Python", "python": {"function": "a:b", "settings": {"a": 1}, "nam": ""}}]
            ),
            f"$.{RULE}.filters[0].python: unknown field `nam`; did you mean `name`?",
        ),
        (
            change("clusters[0].static.endpoints", [5]),
            "$.clusters[0].static.endpoints[0]: expected a string, got 5; quote it",
        ),
        (
            change("clusters[0].static.endpoints", [{"adress": ""}]),
            "$.clusters[0].static.endpoints[0]: unknown field `adress`",
        ),
        (change("clusters[0].tls", 5), "$.clusters[0].tls: expected a mapping, got 5"),
        (
            change("clusters[0].outlier_detection.enabled", "no"),
            "$.clusters[0].outlier_detection.enabled: expected true or false",
        ),
        (
            change("clusters[0].circuit_breakers.retry_budget_percent", "9"),
            ".retry_budget_percent: expected a number, got '9'",
        ),
        (change("x" * 200, 1), "$: unknown field `xxx"),
        (change("listeners[0].mode", "x" * 200), "$.listeners[0].mode: unknown value 'xxx"),
        (change("admin", {"address": 1}), "$.admin.address: expected a string, got 1; quote it"),
    ],
)
def test_what_does_not_fit_the_schema_is_named(data: object, text: str) -> None:
    assert text in refusal(data)


def test_a_refusal_that_the_walk_cannot_explain_keeps_its_own_words() -> None:
    error = explain(msgspec.ValidationError("something else"), SMALL)
    assert str(error) == "$: something else"
