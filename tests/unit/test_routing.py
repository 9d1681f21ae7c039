"""Which rule takes a request: HTTPRoute's sentences, one test each, and the router against a plain reading."""

import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.model import Match, NameMatch, PathMatch, Route, Rule
from sidecar.errors import ConfigError, NoRoute
from sidecar.model import Headers, Request
from sidecar.routing import Matched, Router


def ask(
    target: str = "/", *, host: str = "shop.example", method: str = "GET", headers: Sequence[tuple[str, str]] = ()
) -> Request:
    lines = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return Request(method=method, target=target.encode(), authority=host, headers=Headers(lines))


def prefix(value: str) -> PathMatch:
    return PathMatch(value=value)


def exact(value: str) -> PathMatch:
    return PathMatch(type="Exact", value=value)


def regex(value: str) -> PathMatch:
    return PathMatch(type="RegularExpression", value=value)


def rule(name: str, path: PathMatch | None = None, **others: object) -> Rule:
    return Rule(name=name, matches=(Match(path=path or PathMatch(), **others),))  # type: ignore[arg-type]  # test shorthand


def one_route(*rules: Rule) -> Router:
    return Router([Route(rules=rules)])


def taken(router: Router, request: Request) -> str | None:
    try:
        return router.match(request).name
    except NoRoute:
        return None


# --- paths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["/abc", "/abc/"])
@pytest.mark.parametrize(
    ("target", "expected"),
    [("/abc", True), ("/abc/", True), ("/abc/def", True), ("/abc?x=/", True), ("/abcd", False), ("/ab", False),
     ("/", False), ("/ABC", False), ("/x/abc", False), ("/abc//def", True), ("//abc", False)],
)  # fmt: skip
def test_a_path_prefix_matches_whole_segments_and_its_trailing_slash_is_ignored(
    value: str, target: str, *, expected: bool
) -> None:
    assert (taken(one_route(rule("it", prefix(value))), ask(target)) == "it") is expected


@pytest.mark.parametrize(
    ("target", "expected"), [("/abc", True), ("/abc?q", True), ("/abc/", False), ("/Abc", False), ("/abcd", False)]
)
def test_an_exact_path_matches_that_path_alone_whatever_the_query(target: str, *, expected: bool) -> None:
    assert (taken(one_route(rule("it", exact("/abc"))), ask(target)) == "it") is expected


@pytest.mark.parametrize(
    ("target", "expected"), [("/v1/a", True), ("/v22/a?x", True), ("/v1/a/b", False), ("/x/v1/a", False)]
)
def test_a_regular_expression_matches_the_full_path(target: str, *, expected: bool) -> None:
    assert (taken(one_route(rule("it", regex(r"/v\d+/a"))), ask(target)) == "it") is expected


def test_a_rule_without_matches_takes_every_request() -> None:
    router = Router([Route(rules=(Rule(name="all"),))])
    assert taken(router, ask("/any/thing")) == "all"


@pytest.mark.parametrize(("method", "target"), [("OPTIONS", "*"), ("CONNECT", "db.shop:5432")])
def test_a_target_without_path_is_taken_by_the_prefix_slash_alone(method: str, target: str) -> None:
    special = [rule("pattern", regex(".*")), rule("exact", exact("/x")), rule("prefix", prefix("/x"))]
    assert taken(one_route(*special), ask(target, method=method)) is None
    assert taken(one_route(*special, rule("all")), ask(target, method=method)) == "all"


def test_matching_changes_no_byte_of_the_request() -> None:
    request = ask("/a%2Fb/%7e?x=1&x=2&q=%27", host="Shop.Example:80", headers=[("X-Team", "Shop")])
    before = (request.method, request.target, request.authority, list(request.headers))
    match = Match(
        path=prefix("/a%2Fb"),
        headers=(NameMatch(name="x-team", value="Shop"),),
        query_params=(NameMatch(name="q", value="'"),),
    )
    assert taken(Router([Route(rules=(Rule(name="it", matches=(match,)),))]), request) == "it"
    assert (request.method, request.target, request.authority, list(request.headers)) == before


# --- headers, query parameters, method ------------------------------------------------------------------------------


def test_header_names_match_in_any_case_and_values_to_the_letter() -> None:
    router = one_route(rule("it", headers=(NameMatch(name="X-Team", value="shop"),)))
    assert taken(router, ask(headers=[("x-tEAM", "shop")])) == "it"
    assert taken(router, ask(headers=[("x-team", "Shop")])) is None
    assert taken(router, ask()) is None


def test_a_repeated_header_is_one_list() -> None:
    router = one_route(rule("it", headers=(NameMatch(name="accept", value="a, b"),)))
    assert taken(router, ask(headers=[("Accept", "a"), ("x", "y"), ("accept", "b")])) == "it"
    assert taken(router, ask(headers=[("Accept", "a")])) is None


def test_of_equal_header_names_in_a_match_only_the_first_counts() -> None:
    router = one_route(rule("it", headers=(NameMatch(name="x", value="1"), NameMatch(name="X", value="2"))))
    assert taken(router, ask(headers=[("x", "1")])) == "it"
    assert taken(router, ask(headers=[("x", "2")])) is None


def test_a_header_pattern_matches_the_full_value() -> None:
    router = one_route(rule("it", headers=(NameMatch(name="x", value="v[12]", type="RegularExpression"),)))
    assert taken(router, ask(headers=[("x", "v2")])) == "it"
    assert taken(router, ask(headers=[("x", "v23")])) is None


def test_header_values_beyond_ascii_are_latin_1_as_everywhere() -> None:
    router = one_route(rule("it", headers=(NameMatch(name="x", value="é"),)))
    assert taken(router, ask(headers=[("x", "é")])) == "it"


@pytest.mark.parametrize(
    ("target", "expected"),
    [("/?v=2", True), ("/?a&v=2&b=", True), ("/?v=2&v=3", True), ("/?v=3&v=2", False), ("/?V=2", False), ("/", False),
     ("/?%76=%32", True), ("/?v=2#", False), ("/?v", False), ("/?v==2", False)],
)  # fmt: skip
def test_the_first_value_of_a_query_parameter_counts_and_is_decoded_for_the_comparison(
    target: str, *, expected: bool
) -> None:
    router = one_route(rule("it", query_params=(NameMatch(name="v", value="2"),)))
    assert (taken(router, ask(target)) == "it") is expected


def test_of_equal_query_parameter_names_in_a_match_only_the_first_counts_and_case_matters() -> None:
    names = (NameMatch(name="v", value="1"), NameMatch(name="v", value="2"), NameMatch(name="V", value="3"))
    router = one_route(rule("it", query_params=names))
    assert taken(router, ask("/?v=1&V=3")) == "it"
    assert taken(router, ask("/?v=1")) is None


def test_a_query_pattern_sees_decoded_utf_8() -> None:
    router = one_route(rule("it", query_params=(NameMatch(name="q", value="caf.", type="RegularExpression"),)))
    assert taken(router, ask("/?q=caf%C3%A9")) == "it"
    assert taken(router, ask("/?q=caf%C3")) == "it"  # broken UTF-8 is one replacement character, no failure


def test_the_method_is_compared_to_the_letter() -> None:
    router = one_route(rule("it", method="PURGE"))
    assert taken(router, ask(method="PURGE")) == "it"
    assert taken(router, ask(method="purge")) is None


def test_all_conditions_of_a_match_and_any_match_of_a_rule() -> None:
    both = Match(path=prefix("/foo"), headers=(NameMatch(name="version", value="v2"),))
    router = Router([Route(rules=(Rule(name="it", matches=(both, Match(path=prefix("/v2/foo")))),))])
    assert taken(router, ask("/foo", headers=[("version", "v2")])) == "it"
    assert taken(router, ask("/v2/foo/bar")) == "it"
    assert taken(router, ask("/foo")) is None


# --- precedence -----------------------------------------------------------------------------------------------------

ONE = (NameMatch(name="a", value="1"),)
TWO = (*ONE, NameMatch(name="b", value="2"))
LADDER = [  # HTTPRouteRule.matches, from the highest precedence to the lowest; all hold for the request of the test
    rule("exact, method", exact("/a/b"), method="GET"),
    rule("exact, two headers", exact("/a/b"), headers=TWO),
    rule("exact", exact("/a/b")),
    rule("long pattern", regex("/a/[b]"), headers=ONE),
    rule("short pattern, method", regex("/./."), method="GET"),
    rule("short pattern", regex("/a/.")),
    rule("long prefix, method", prefix("/a/b"), method="GET"),
    rule("long prefix, two headers", prefix("/a/b/"), headers=TWO),
    rule("long prefix, one header, two parameters", prefix("/a/b"), headers=ONE, query_params=TWO),
    rule("long prefix, one header, one parameter", prefix("/a/b"), headers=ONE, query_params=ONE),
    rule("long prefix, one header", prefix("/a/b"), headers=ONE),
    rule("long prefix", prefix("/a/b")),
    rule("short prefix, method and all", prefix("/a"), method="GET", headers=TWO, query_params=TWO),
    rule("slash, method", method="GET"),
    rule("slash"),
    rule("slash again"),
]


@given(rules=st.permutations(LADDER[:-2]), apart=st.booleans())
def test_precedence_is_exact_then_longest_prefix_then_method_headers_and_parameters(
    rules: list[Rule], *, apart: bool
) -> None:
    request = ask("/a/b?a=1&b=2", headers=[("a", "1"), ("b", "2")])
    left = [*rules, *LADDER[-2:]]
    for expected in LADDER:
        router = Router([Route(rules=(each,)) for each in left]) if apart else one_route(*left)
        assert taken(router, request) == expected.name
        left.remove(expected)


def test_the_first_route_and_in_it_the_first_rule_win_a_tie() -> None:
    routes = [Route(name="b", rules=(rule("1"), rule("2"))), Route(name="a", rules=(rule("3"),))]
    assert taken(Router(routes), ask()) == "1"
    assert taken(Router(routes[::-1]), ask()) == "3"


# --- hostnames ------------------------------------------------------------------------------------------------------


def hosts(*each: Sequence[str]) -> Router:
    return Router([Route(hostnames=tuple(names), rules=(Rule(name=" ".join(names) or "any"),)) for names in each])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("test.example.com", "*.example.com"),
        ("foo.test.example.com", "*.example.com"),
        ("a.b.c.example.com", "*.c.example.com"),
        ("example.com", None),
        (".example.com", None),
        ("testexample.com", None),
        ("exact.example.com", "exact.example.com"),
        ("EXACT.Example.COM:8443", "exact.example.com"),
        ("exact.example.com.", "exact.example.com"),
        ("other.test", None),
        ("[::1]:80", None),
        ("[::1]", None),
        ("", None),
        ("a" * 300 + ".example.com", None),
    ],
)
def test_a_wildcard_takes_one_label_or_more_and_the_most_specific_host_wins(host: str, expected: str | None) -> None:
    names: list[list[str]] = [["*.example.com"], ["exact.example.com"], ["*.c.example.com"]]
    assert taken(hosts(*names), ask(host=host)) == expected
    assert taken(hosts(*reversed(names)), ask(host=host)) == expected
    assert taken(hosts([], *names), ask(host=host)) == (expected or "any")


def test_a_specific_host_goes_before_an_exact_path_of_a_less_specific_one() -> None:
    router = Router(
        [
            Route(hostnames=("*.example",), rules=(rule("wildcard", exact("/a")),)),
            Route(rules=(rule("any", exact("/a")),)),
            Route(hostnames=("shop.example",), rules=(rule("host", prefix("/")),)),
        ]
    )
    assert taken(router, ask("/a")) == "host"


def test_rules_of_a_less_specific_host_take_what_those_of_the_more_specific_one_do_not() -> None:
    router = Router(
        [
            Route(hostnames=("shop.example",), rules=(rule("host", prefix("/a")),)),
            Route(hostnames=("*.example",), rules=(rule("wildcard", prefix("/b")),)),
            Route(rules=(rule("any", prefix("/")),)),
        ]
    )
    assert [taken(router, ask(target)) for target in ("/a", "/b", "/c")] == ["host", "wildcard", "any"]


def test_a_route_answers_to_each_of_its_hostnames() -> None:
    router = hosts(["a.example", "*.b.example"])
    assert taken(router, ask(host="a.example")) == taken(router, ask(host="x.b.example")) == "a.example *.b.example"


# --- what a match tells ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route_name", "rule_name", "path", "name", "matched_prefix"),
    [
        ("shop", "api", prefix("/api/"), "api", b"/api"),
        ("shop", "", prefix("/api/"), "shop/api/*", b"/api"),
        ("", "", prefix("/api"), "/api/*", b"/api"),
        ("shop", "", prefix("/"), "shop", b""),
        ("", "", prefix("/"), "", b""),
        ("shop", "", exact("/"), "shop/", b""),
        ("", "", regex("/v[0-9]/x"), "/v[0-9]/x", b""),
    ],
)
def test_a_match_is_named_by_the_operators_words_and_never_by_the_request(
    route_name: str, rule_name: str, path: PathMatch, name: str, matched_prefix: bytes
) -> None:
    route = Route(name=route_name, rules=(Rule(name=rule_name, matches=(Match(path=path),)),))
    found = Router([route]).match(ask("/v1/x" if path.type == "RegularExpression" else path.value))
    assert found == Matched(route, route.rules[0], name, matched_prefix, 0)


def test_rules_are_numbered_across_routes() -> None:
    router = Router(
        [Route(rules=(rule("0", exact("/0")), rule("1", exact("/1")))), Route(rules=(rule("2", exact("/2")),))]
    )
    assert [router.match(ask(f"/{number}")).number for number in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ask("/x", host="other.test"), "no route has the host 'other.test'"),
        (ask("/x\x07?secret"), r"no rule of the host 'shop.example' takes GET '/x\x07'"),
        (ask("*", method="OPTIONS"), "no rule of the host 'shop.example' takes OPTIONS '*'"),
    ],
)
def test_no_route_says_what_was_looked_at_without_control_bytes_and_query(request_: Request, message: str) -> None:
    router = Router([Route(hostnames=("shop.example",), rules=(rule("it", prefix("/a")),))])
    with pytest.raises(NoRoute) as caught:
        router.match(request_)
    assert str(caught.value) == message


def test_no_route_stays_short_whatever_the_peer_sends() -> None:
    with pytest.raises(NoRoute) as caught:
        one_route(rule("it", prefix("/a"))).match(ask("/" + "x" * 8000, host="h" * 8000))
    assert len(str(caught.value)) < 600


def test_without_routes_nothing_is_taken() -> None:
    assert taken(Router([]), ask()) is None


# --- errors of the configuration ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "path"),
    [
        (Match(path=regex("/(")), "$.listeners[0].routes[1].rules[0].matches[1].path.value"),
        (Match(method="get"), "$.listeners[0].routes[1].rules[0].matches[1].method"),
        (Match(path=regex("a{9999999999}")), "$.listeners[0].routes[1].rules[0].matches[1].path.value"),
        (Match(path=regex("a" * 1025)), "$.listeners[0].routes[1].rules[0].matches[1].path.value"),
        (
            Match(headers=(NameMatch(name="a", value="b"), NameMatch(name="x", value="[", type="RegularExpression"))),
            "$.listeners[0].routes[1].rules[0].matches[1].headers[1].value",
        ),
        (
            Match(headers=(NameMatch(name="x", value="\u20ac"),)),
            "$.listeners[0].routes[1].rules[0].matches[1].headers[0].value",
        ),
        (
            Match(query_params=(NameMatch(name="x", value="*", type="RegularExpression"),)),
            "$.listeners[0].routes[1].rules[0].matches[1].queryParams[0].value",
        ),
    ],
)
def test_what_does_not_compile_or_could_never_match_is_named_by_its_field(match: Match, path: str) -> None:
    routes = [Route(), Route(rules=(Rule(matches=(Match(), match)),))]
    with pytest.raises(ConfigError) as caught:
        Router(routes, "$.listeners[0].routes")
    assert caught.value.path == path
    assert caught.value.reason.startswith("expected")


# --- the router against a plain reading -----------------------------------------------------------------------------

PATHS = st.sampled_from(["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b"])
NAMES = st.lists(
    st.sampled_from([NameMatch(name="a", value="1"), NameMatch(name="b", value="2")]), unique=True, max_size=2
)
MATCHES = st.builds(
    lambda kind, path, method, headers, params: Match(
        path=PathMatch(type=kind, value=path), method=method, headers=tuple(headers), query_params=tuple(params)
    ),
    st.sampled_from(["Exact", "PathPrefix", "RegularExpression"]), PATHS, st.sampled_from([None, "GET"]), NAMES, NAMES,
)  # fmt: skip
HOSTNAMES = st.lists(st.sampled_from(["a.x.example", "*.x.example", "*.example"]), unique=True, max_size=2).map(tuple)
ROUTES = st.lists(
    st.builds(
        lambda names, rules: Route(hostnames=names, rules=tuple(Rule(matches=tuple(each)) for each in rules)),
        HOSTNAMES,
        st.lists(st.lists(MATCHES, max_size=3), min_size=1, max_size=3),
    ),
    max_size=4,
)
REQUESTS = st.builds(
    lambda path, query, host, method, headers: ask(path + query, host=host, method=method, headers=headers),
    PATHS,
    st.sampled_from(["", "?a=1", "?a=1&b=2", "?b=2&a=%31", "?a=2&a=1"]),
    st.sampled_from(["a.x.example", "b.x.example:80", "x.example", "example", "other"]),
    st.sampled_from(["GET", "POST"]),
    st.sampled_from([(), (("A", "1"),), (("a", "1"), ("B", "2"))]),
)


def plain_reading(routes: Sequence[Route], request: Request) -> int | None:
    """The specification as one sort over all matches that hold."""
    host = request.authority.partition(":")[0]
    path, _, query = request.target.decode().partition("?")
    params: dict[str, str] = {}
    for pair in query.split("&"):
        params.setdefault(pair.partition("=")[0], pair.partition("=")[2].replace("%31", "1"))
    found, number = [], -1
    for route in routes:
        fits = [
            (not h.startswith("*"), len(h))
            for h in route.hostnames
            if h == host or (h[0] == "*" and host.endswith(h[1:]))
        ]
        for each in route.rules:
            number += 1
            for match in each.matches or (Match(),):
                value = match.path.value
                kind = match.path.type
                under = (path + "/").startswith(value.rstrip("/") + "/")
                if (
                    (fits or not route.hostnames)
                    and (under if kind == "PathPrefix" else path == value)
                    and match.method in (None, request.method)
                    and all(request.headers.get(h.name) == h.value for h in match.headers)
                    and all(params.get(q.name) == q.value for q in match.query_params)
                ):
                    order = ["Exact", "RegularExpression", "PathPrefix"].index(kind)
                    length = len(value.rstrip("/") if kind == "PathPrefix" else value)
                    rest = (match.method is None, -len(match.headers), -len(match.query_params), number)
                    tier = max(fits, default=(False, 0))
                    found.append(((not tier[0], -tier[1]), order, -length, rest, number))
    return min(found)[-1] if found else None


@given(ROUTES, REQUESTS)
def test_the_index_finds_what_a_plain_sort_over_all_matches_finds(routes: list[Route], request: Request) -> None:
    router = Router(routes)
    expected = plain_reading(routes, request)
    try:
        number: int | None = router.match(request).number
    except NoRoute:
        number = None
    assert number == expected


@given(ROUTES, REQUESTS)
def test_explain_agrees_with_match(routes: list[Route], request: Request) -> None:
    router = Router(routes, "$.r")
    verdicts = router.explain(request)
    expected = plain_reading(routes, request)
    assert [number for number, verdict in enumerate(verdicts) if verdict.taken] == (
        [] if expected is None else [expected]
    )
    assert [verdict.path for verdict in verdicts] == [
        f"$.r[{at}].rules[{number}]" for at, route in enumerate(routes) for number in range(len(route.rules))
    ]
    holds = ("takes the request", "matches, but another rule takes precedence")
    assert all(verdict.reason in holds for verdict in verdicts) is (expected is not None and all(
        plain_reading([Route(hostnames=route.hostnames, rules=(each,))], request) is not None
        for route in routes for each in route.rules
    )) or not verdicts  # fmt: skip


def test_explain_names_each_condition_that_fails_and_shows_no_header_value() -> None:
    conditions = Match(
        path=exact("/a"), method="POST",
        headers=(NameMatch(name="Authorization", value="secret"),), query_params=(NameMatch(name="v", value="2"),),
    )  # fmt: skip
    routes = [
        Route(name="one", rules=(Rule(matches=(conditions, Match(path=prefix("/x")))),)),
        Route(hostnames=("other.example", "*.b.example"), rules=(rule("two"),)),
        Route(rules=(rule("three"), rule("four"))),
    ]
    verdicts = Router(routes).explain(ask("/b?v=1", headers=[("authorization", "hidden")]))
    assert [(each.name, each.taken, each.reason) for each in verdicts] == [
        (
            "one/a",
            False,
            (
                "the path is '/b', not Exact /a, the method is 'GET', not POST, the header authorization does not "
                "match, the query parameter v does not match; or: the path is '/b', not PathPrefix /x"
            ),
        ),
        ("two", False, "the host is 'shop.example', not one of other.example, *.b.example"),
        ("three", True, "takes the request"),
        ("four", False, "matches, but another rule takes precedence"),
    ]


def test_explain_says_that_a_target_without_path_is_no_path() -> None:
    (verdict,) = one_route(rule("it", exact("/a"))).explain(ask("*", method="OPTIONS"))
    assert verdict.reason == "the path is '*', not Exact /a"


# --- cost -----------------------------------------------------------------------------------------------------------


def calls(router: Router, request: Request) -> int:
    count = 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        router.match(request)
    finally:
        sys.setprofile(before)
    return count


def test_a_thousand_routes_take_as_many_steps_as_one() -> None:
    def route(number: int) -> Route:
        return Route(
            hostnames=(f"h{number % 100}.example", "*.any.example"), rules=(rule("it", prefix(f"/api/{number}")),)
        )

    one, many = Router([route(7)]), Router([route(number) for number in range(1000)])
    for host in ("h7.example", "x.any.example"):
        request = ask("/api/7/orders/1", host=host)
        assert calls(many, request) == calls(one, request)


def test_a_path_of_many_segments_takes_as_many_steps_as_the_longest_prefix_has() -> None:
    router = one_route(rule("it", prefix("/a/b")), rule("all"))
    assert calls(router, ask("/" * 8000)) == calls(router, ask("/" * 8))
