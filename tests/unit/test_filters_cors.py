"""CORS by the letter of HTTPCORSFilter and Fetch: origins, wildcards, credentials, and what preflights are told.

The cases named after Gateway API are those of its conformance tests (HTTPRouteCORS, HTTPRouteCORSAllowCredentials).
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.model import Cors, CorsFilter
from sidecar.errors import ConfigError, Forbidden, NoHealthyEndpoint
from sidecar.filters import FilterContext, build
from sidecar.filters.cors import cors
from sidecar.filters.cors.origins import Origins
from sidecar.model import Headers, Request, Response
from tests.support.filters import Upstream, make, no_mirror, request
from tests.support.small_config import RULE, change, parse, refusal

FOO = b"https://www.foo.com"


def asking(origin: bytes | None = FOO, *lines: tuple[bytes, bytes], method: str = "GET") -> Request:
    origins = [(b"Origin", origin)] if origin is not None else []
    return request(method=method, headers=[*origins, *lines])


def preflight(origin: bytes = FOO, wanted: bytes = b"GET", *lines: tuple[bytes, bytes]) -> Request:
    return asking(origin, (b"Access-Control-Request-Method", wanted), *lines, method="OPTIONS")


def told(headers: Headers) -> dict[str, str]:
    """What is said of CORS, by the end of the name."""
    start = "access-control-"
    pairs = [(name.decode().lower(), value.decode()) for name, value in headers]
    found = {name.removeprefix(start): value for name, value in pairs if name.startswith(start)}
    assert len(found) == sum(name.startswith(start) for name, _ in pairs), "a field is there twice"
    return found


async def answer(spec: Cors, sent: Request, *given: tuple[bytes, bytes]) -> Headers:
    upstream = Upstream(Response(200, given))
    response = await make(CorsFilter(cors=spec))(sent, upstream)
    return response.headers


# --- origins --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "origin", "expected"),
    [
        (["https://www.foo.com"], b"https://www.foo.com", True),
        (["https://WWW.foo.com"], b"HTTPS://www.Foo.com", True),
        (["https://www.foo.com"], b"http://www.foo.com", False),
        (["https://www.foo.com"], b"https://www.foo.com:443", True),  # the default port is assumed
        (["https://www.foo.com:443"], b"https://www.foo.com", True),
        (["http://www.foo.com"], b"http://www.foo.com:80", True),
        (["https://www.foo.com"], b"https://www.foo.com:8443", False),
        (["https://www.foo.com:8443"], b"https://www.foo.com:8443", True),
        (["https://www.foo.com:8443"], b"https://www.foo.com", False),
        # anchored at both ends
        (["https://www.foo.com"], b"https://www.foo.com.evil.example", False),
        (["https://www.foo.com"], b"https://evil.example/https://www.foo.com", False),
        (["https://www.foo.com"], b"https://evilwww.foo.com", False),
        (["https://www.foo.com"], b"https://wwwxfoo.com", False),  # a dot is a dot
        (["https://www.foo.com"], b"https://www.foo.com\x00", False),
        (["https://www.foo.com"], b"https://www.foo.com@evil.example", False),
        # a wildcard takes any number of labels, at least one
        (["https://*.bar.com"], b"https://www.bar.com", True),
        (["https://*.bar.com"], b"https://xpto.www.bar.com", True),
        (["https://*.bar.com"], b"https://bar.com", False),
        (["https://*.bar.com"], b"https://.bar.com", False),
        (["https://*.bar.com"], b"https://evilbar.com", False),
        (["https://*.bar.com"], b"https://www.bar.com.evil.example", False),
        (["https://*.bar.com"], b"https://evil.example/.bar.com", False),
        (["https://*.bar.com"], b"https://evil.example?.bar.com", False),
        (["https://*.bar.com"], b"http://www.bar.com", False),
        (["https://*.bar.com"], b"https://www.bar.com:444", False),
        (["https://*.bar.com:444"], b"https://www.bar.com:444", True),
        (["https://*"], b"https://anything.example", True),
        (["https://*"], b"http://anything.example", False),
        (["http://*:8080"], b"http://[::1]:8080", True),
        (["http://[::1]:8080"], b"http://[::1]:8080", True),
        (["http://127.0.0.1:8080"], b"http://127.0.0.1:8080", True),
        # nobody, and everybody
        ([], b"https://www.foo.com", False),
        (["https://*"], b"null", False),
        (["https://www.foo.com"], b"", False),
        (["https://www.foo.com"], b"https://www.foo.com, https://www.foo.com", False),
        (["https://*"], b"https://" + b"a" * 600, False),
        (["https://*"], b"custom://app.example", False),
        (["*"], b"null", True),
        (["*"], b"custom://app.example", True),
        (["*"], b"", False),
        (["*"], b"https://" + b"a" * 600, False),
    ],
)
def test_an_origin_is_compared_whole(patterns: list[str], origin: bytes, expected: bool) -> None:
    assert Origins(patterns, "$").allow(origin) is expected


def test_verdicts_are_remembered_up_to_a_limit_and_stay_the_same() -> None:
    origins = Origins(["https://*.bar.com"], "$")
    for _ in range(2):
        for at in range(300):
            assert origins.allow(b"https://%d.bar.com" % at)
            assert not origins.allow(b"https://%d.evil.example" % at)
    assert len(origins._memo) == 256


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_nothing_around_an_origin_makes_it_allowed(before: bytes, after: bytes) -> None:
    origins = Origins(["https://www.foo.com"], "$")
    origin = before + FOO + after
    assert origins.allow(origin) is (origin.lower() in (FOO, FOO + b":443", FOO + b":0443", FOO + b":00443"))


@given(st.text(alphabet="abc.:/@-*%", max_size=20))
def test_an_origin_that_a_wildcard_takes_is_below_its_host(text: str) -> None:
    origin = f"https://{text}.bar.com".encode()
    if Origins(["https://*.bar.com"], "$").allow(origin):
        assert not set("/@:*%") & set(text)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "shop.example",
        "https://",
        "https://shop.example/",
        "https://shop.example/path",
        "https://a.*.example",
        "https://shop*.example",
        "ftp://shop.example",
        "https://shop.example:",
        "https://shop.example:0",
        "https://shop.example:70000",
        "https://user@shop.example",
        "null",
        "**",
    ],
)
def test_what_is_no_origin_is_an_error_of_the_configuration(origin: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(CorsFilter(cors=Cors(allow_origins=("https://a.example", origin))))
    assert caught.value.path == "$.f[0].cors.allowOrigins[1]"


@pytest.mark.parametrize(
    ("cors_", "text"),
    [
        ({"allowOrigins": ["*", "https://a.example"]}, "allowOrigins: `*` stands alone: it allows all others already"),
        ({"allowMethods": ["GET", "*"]}, "allowMethods: `*` stands alone"),
        ({"allowMethods": ["G T"]}, "allowMethods[0]: expected a method without spaces"),
        ({"allowMethods": ["GET", "get"]}, "allowMethods[1]: expected a method in upper case, got 'get'"),
        ({"allowMethods": ["GET", "GET"]}, "allowMethods[1]: method 'GET' is taken by"),
        ({"allowHeaders": ["a b"]}, "allowHeaders[0]: expected a header name"),
        ({"exposeHeaders": ["x", "X"]}, "exposeHeaders[1]: header 'x' is taken by"),
        ({"exposeHeaders": [f"x-{at}" for at in range(65)]}, "exposeHeaders: expected 64 at most, got 65"),
        ({"maxAge": 0}, "maxAge: expected 1 to 2147483647, got 0"),
        ({"allowOrigin": []}, ": unknown field `allowOrigin`; did you mean `allowOrigins`?"),
    ],
)
def test_what_gateway_api_refuses_is_refused(cors_: dict[str, Any], text: str) -> None:
    line = refusal(change(f"{RULE}.filters", [{"type": "CORS", "cors": cors_}]))
    start = f"$.{RULE}.filters[0].cors"
    assert line.startswith(start + text if text.startswith(":") else f"{start}.{text}")


def test_empty_settings_are_right_and_allow_nobody() -> None:
    config = parse(change(f"{RULE}.filters", [{"type": "CORS"}]))
    assert config.listeners[0].routes[0].rules[0].filters == (CorsFilter(cors=Cors()),)


# --- Gateway API's conformance tests ----------------------------------------------------------------------------------

MANY = Cors(
    allow_origins=("https://www.foo.com", "https://*.bar.com"),
    allow_methods=("GET", "OPTIONS"),
    allow_headers=("x-header-1", "x-header-2"),
    expose_headers=("x-header-3", "x-header-4"),
    allow_credentials=True,
    max_age=3600,
)


@pytest.mark.parametrize("origin", [FOO, b"https://www.bar.com", b"https://xpto.www.bar.com"])
async def test_gateway_api_a_preflight_of_an_origin_that_matches_is_allowed(origin: bytes) -> None:
    upstream = Upstream()
    lines = [(b"access-control-request-headers", b"x-header-1, x-header-2"), (b"Accept", b"*/*")]
    sent = preflight(origin, b"GET", *lines)
    response = await make(CorsFilter(cors=MANY))(sent, upstream)
    assert (response.status, response.body, upstream.requests) == (204, b"", [])
    assert told(response.headers) == {
        "allow-origin": origin.decode(),
        "allow-methods": "GET, OPTIONS",
        "allow-headers": "x-header-1, x-header-2",
        "expose-headers": "x-header-3, x-header-4",
        "allow-credentials": "true",
        "max-age": "3600",
    }


async def test_gateway_api_a_preflight_of_another_origin_is_refused_without_a_word_of_cors() -> None:
    upstream = Upstream()
    with pytest.raises(Forbidden, match=r"the origin 'https://foobar\.com' may not call here") as caught:
        await make(CorsFilter(cors=MANY))(preflight(b"https://foobar.com"), upstream)
    assert caught.value.headers == (("Vary", "Origin"),)
    assert upstream.requests == []


async def test_gateway_api_a_request_of_an_origin_that_matches_is_allowed() -> None:
    assert told(await answer(MANY, asking(FOO))) == {
        "allow-origin": "https://www.foo.com",
        "allow-credentials": "true",
        "expose-headers": "x-header-3, x-header-4",
    }


async def test_gateway_api_a_request_of_another_origin_goes_its_way_and_nobody_may_read_the_answer() -> None:
    headers = await answer(MANY, asking(b"https://foobar.com"))
    assert told(headers) == {}
    assert headers.get("vary") == "Origin"


async def test_gateway_api_a_wildcard_of_methods_is_sent_without_credentials() -> None:
    response = await make(CorsFilter(cors=Cors(allow_origins=("https://www.foo.com",), allow_methods=("*",))))(
        preflight(FOO, b"POST"), Upstream()
    )
    assert told(response.headers) == {
        "allow-origin": "https://www.foo.com",
        "allow-methods": "*",
        "max-age": "5",
    }


@pytest.mark.parametrize("origin", [b"https://foobar.com", b"https://foobar.com:12345", b"null"])
async def test_gateway_api_a_wildcard_of_origins_is_answered_by_itself_and_varies_by_nothing(origin: bytes) -> None:
    around = make(CorsFilter(cors=Cors(allow_origins=("*",), allow_methods=("PUT",))))
    response = await around(preflight(origin, b"PUT"), Upstream())
    assert told(response.headers) == {"allow-origin": "*", "allow-methods": "PUT", "max-age": "5"}
    assert response.headers.get("vary") is None
    response = await around(asking(origin, method="PUT"), Upstream(Response(200)))
    assert told(response.headers) == {"allow-origin": "*"}
    assert response.headers.get("vary") is None


async def test_gateway_api_with_credentials_wildcards_become_what_was_asked_for() -> None:
    spec = Cors(allow_origins=("*",), allow_methods=("*",), allow_headers=("*",), allow_credentials=True)
    around = make(CorsFilter(cors=spec))
    lines = [(b"access-control-request-headers", b"x-header-1"), (b"Access-Control-Request-Headers", b"x-header-2")]
    response = await around(preflight(b"https://other.foo.com", b"PUT", *lines), Upstream())
    assert told(response.headers) == {
        "allow-origin": "https://other.foo.com",
        "allow-credentials": "true",
        "allow-methods": "PUT",
        "allow-headers": "x-header-1, x-header-2",
        "max-age": "5",
    }
    assert response.headers.get("vary") == "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    bare = await around(preflight(FOO, b"PUT"), Upstream())  # nothing asked for, nothing said
    assert "allow-headers" not in told(bare.headers)
    odd = await around(preflight(FOO, b"P\xffT", (b"access-control-request-headers", b"a\xffb")), Upstream())
    assert told(odd.headers) == {
        "allow-origin": "https://www.foo.com",
        "allow-credentials": "true",
        "max-age": "5",
    }


# --- Fetch ----------------------------------------------------------------------------------------------------------

ONE = Cors(allow_origins=("https://www.foo.com",))


@pytest.mark.parametrize(
    "sent",
    [
        request(method="OPTIONS"),
        asking(FOO, method="OPTIONS"),
        asking(None, (b"Access-Control-Request-Method", b"PUT"), method="OPTIONS"),
        asking(FOO, (b"Access-Control-Request-Method", b"PUT"), method="GET"),
    ],
)
async def test_what_is_no_preflight_is_the_apps(sent: Request) -> None:
    upstream = Upstream()
    await make(CorsFilter(cors=ONE))(sent, upstream)
    assert upstream.requests == [sent]


async def test_two_origins_are_none_that_could_be_allowed() -> None:
    sent = asking(FOO, (b"origin", FOO))
    assert told(await answer(ONE, sent)) == {}
    assert told(await answer(Cors(allow_origins=("*",)), sent)) == {}


async def test_an_answer_without_an_origin_varies_too_lest_a_cache_hand_it_to_a_page() -> None:
    headers = await answer(ONE, asking(None), (b"Vary", b"Accept"))
    assert (told(headers), headers.get("vary")) == ({}, "Accept, Origin")


async def test_the_app_has_no_say_in_cors() -> None:
    own = [
        (b"access-control-allow-origin", b"*"),
        (b"Access-Control-Allow-Credentials", b"true"),
        (b"X", b"1"),
        (b"Access-Contact", b"me"),
    ]
    headers = await answer(ONE, asking(FOO), *own)
    assert told(headers) == {"allow-origin": "https://www.foo.com"}
    assert [line for line in headers if line[0] in (b"X", b"Access-Contact")] == own[2:]
    assert told(await answer(ONE, asking(b"https://evil.example"), *own)) == {}


async def test_with_credentials_a_wildcard_of_exposed_headers_is_spelled_out() -> None:
    given_ = [
        (b"Content-Type", b"a/b"),
        (b"X-One", b"1"),
        (b"x-one", b"2"),
        (b"Set-Cookie", b"a=b"),
        (b"ETag", b'"1"'),
    ]
    with_credentials = Cors(allow_origins=("*",), allow_credentials=True, expose_headers=("*",))
    assert told(await answer(with_credentials, asking(FOO), *given_))["expose-headers"] == "x-one, ETag"
    assert "expose-headers" not in told(await answer(with_credentials, asking(FOO)))
    without = Cors(allow_origins=("*",), expose_headers=("*",))
    assert told(await answer(without, asking(FOO), *given_))["expose-headers"] == "*"
    answered = await make(CorsFilter(cors=with_credentials))(preflight(), Upstream())
    assert "expose-headers" not in told(answered.headers)


async def test_authorization_stands_beside_the_wildcard_that_does_not_mean_it() -> None:
    spec = Cors(allow_origins=("*",), allow_headers=("*", "Authorization"))
    response = await make(CorsFilter(cors=spec))(preflight(), Upstream())
    assert told(response.headers)["allow-headers"] == "*, Authorization"


@pytest.mark.parametrize(("allowed", "asked"), [(False, b"true"), (True, b"false"), (True, None)])
async def test_a_private_network_is_opened_only_where_set_and_asked_for(allowed: bool, asked: bytes | None) -> None:
    lines = [(b"Access-Control-Request-Private-Network", asked)] if asked is not None else []
    spec = Cors(allow_origins=("*",), allow_private_network=allowed)
    response = await make(CorsFilter(cors=spec))(preflight(FOO, b"GET", *lines), Upstream())
    assert "allow-private-network" not in told(response.headers)


async def test_a_private_network_is_opened_where_set_and_asked_for() -> None:
    sent = preflight(FOO, b"GET", (b"access-control-request-private-network", b"true"))
    spec = Cors(allow_origins=("*",), allow_private_network=True)
    response = await make(CorsFilter(cors=spec))(sent, Upstream())
    assert told(response.headers)["allow-private-network"] == "true"


# --- in the chain -----------------------------------------------------------------------------------------------------


async def failing(_: Request) -> Response:
    raise NoHealthyEndpoint("nobody is there")


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (FOO, [("Access-Control-Allow-Origin", FOO.decode()), ("Vary", "Origin")]),
        (b"https://evil.example", [("Vary", "Origin")]),
        (None, [("Vary", "Origin")]),
    ],
)
async def test_a_page_that_may_read_answers_may_read_failures(
    origin: bytes | None, expected: list[tuple[str, str]]
) -> None:
    with pytest.raises(NoHealthyEndpoint) as caught:
        await make(CorsFilter(cors=ONE))(asking(origin), failing)
    assert list(caught.value.headers) == expected


async def test_a_failure_behind_a_wildcard_varies_by_nothing() -> None:
    with pytest.raises(NoHealthyEndpoint) as caught:
        await make(CorsFilter(cors=Cors(allow_origins=("*",))))(asking(), failing)
    assert caught.value.headers == (("Access-Control-Allow-Origin", "*"),)


class Spliced:
    """A tunnel that nobody joins."""

    async def join(self, downstream: object, early: bytes) -> tuple[int, int]:
        raise AssertionError((downstream, early))

    def abort(self) -> None:
        raise AssertionError("nobody aborts it")


async def test_a_websocket_is_no_fetch() -> None:
    switched = Response(101, tunnel=Spliced())
    response = await make(CorsFilter(cors=ONE))(asking(), Upstream(switched))
    assert (response, response.headers) == (switched, [])


async def test_outcomes_are_counted_and_noted() -> None:
    counted: list[tuple[str, str]] = []
    context = FilterContext(mirror=no_mirror, count=lambda kind, outcome: counted.append((kind, outcome)))
    around = build(CorsFilter(cors=ONE), context, "$")
    sent = [asking(FOO), asking(b"https://x.example"), preflight(), asking(None)]
    for each in sent:
        await around(each, Upstream())
    with pytest.raises(Forbidden):
        await around(preflight(b"https://x.example"), Upstream())
    words = ["allowed", "refused", "preflight_allowed", "preflight_refused"]
    assert counted == [("CORS", word) for word in words]
    assert [each.notes for each in sent] == [*({"sidecar.cors.outcome": word} for word in words[:3]), None]


def test_the_filter_says_in_a_line_who_may_call() -> None:
    context = FilterContext(mirror=no_mirror)
    assert cors(MANY, context, "$").explain() == (
        "CORS: https://www.foo.com, https://*.bar.com may call with credentials"
    )
    assert cors(Cors(), context, "$").explain() == "CORS: no other origin may call"
