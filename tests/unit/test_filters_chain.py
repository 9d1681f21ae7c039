"""The order of filters, and the filters without a loop of their own: headers, rewrite, redirect."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.model import (
    HeaderModifier,
    HeaderValue,
    PathModifier,
    RequestHeaderModifierFilter,
    RequestRedirect,
    RequestRedirectFilter,
    ResponseHeaderModifierFilter,
    UrlRewrite,
    UrlRewriteFilter,
)
from sidecar.errors import BadRequest, ConfigError
from sidecar.filters import chain
from sidecar.filters.path_modifier import replace_prefix
from sidecar.model import Filter, Handler, Headers, Request, Response
from tests.support.filters import Upstream, make, request


def header(name: str, value: str) -> HeaderValue:
    return HeaderValue(name=name, value=value)


# --- chain ----------------------------------------------------------------------------------------------------------


def test_without_filters_the_chain_is_the_rest_of_the_path_itself() -> None:
    upstream = Upstream()
    assert chain([], upstream) is upstream


async def test_filters_run_in_the_order_of_the_route_and_answers_come_back_through_them_in_reverse() -> None:
    seen: list[str] = []

    def named(name: str) -> Filter:
        async def note(request_: Request, forward: Handler) -> Response:
            seen.append(f"{name} up")
            response = await forward(request_)
            seen.append(f"{name} down")
            return response

        return note

    await chain([named("a"), named("b")], Upstream())(request())
    assert seen == ["a up", "b up", "b down", "a down"]


# --- header modifiers -----------------------------------------------------------------------------------------------

MODIFIER = HeaderModifier(
    set=(header("My-Header", "bar"), header("new", "1")),
    add=(header("x-list", "c"), header("x-other", "d")),
    remove=("x-GONE",),
)


async def test_request_headers_are_set_added_and_removed_and_the_rest_keeps_place_case_and_bytes() -> None:
    sent = request(
        headers=[
            (b"X-Keep", b" a\xff"),
            (b"my-header", b"foo"),
            (b"x-gone", b"1"),
            (b"X-List", b"a"),
            (b"MY-HEADER", b"baz"),
        ]
    )
    upstream = Upstream()
    await chain([make(RequestHeaderModifierFilter(request_header_modifier=MODIFIER))], upstream)(sent)
    assert upstream.requests[0].headers == [
        (b"Host", b"shop.example"), (b"X-Keep", b" a\xff"), (b"My-Header", b"bar"), (b"X-List", b"a"), (b"new", b"1"),
        (b"x-list", b"c"), (b"x-other", b"d"),
    ]  # fmt: skip


async def test_response_headers_are_changed_on_the_way_down_and_the_response_stays_the_same_one() -> None:
    answer = Response(200, [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2"), (b"X-Gone", b"1"), (b"X-gone", b"2")])
    upstream = Upstream(answer)
    spec = HeaderModifier(add=(header("Set-Cookie", "c=3"),), remove=("x-gone",))
    response = await chain([make(ResponseHeaderModifierFilter(response_header_modifier=spec))], upstream)(request())
    assert response is answer
    assert response.headers.get_all("set-cookie") == ["a=1", "b=2", "c=3"]
    assert "x-gone" not in {name.lower().decode() for name, _ in response.headers}
    assert upstream.requests[0].headers == [(b"Host", b"shop.example")]


NAMES = st.sampled_from(["a", "A", "b", "B", "c", "d"])


@given(
    st.lists(st.tuples(NAMES, st.sampled_from(["1", "2"]))),
    st.permutations(["a", "b", "c", "d"]),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
async def test_one_pass_does_what_set_then_add_then_remove_do(
    lines: list[tuple[str, str]], names: list[str], cuts: tuple[int, int]
) -> None:
    first, second = cuts[0], cuts[0] + cuts[1]
    spec = HeaderModifier(
        set=tuple(header(name, "set") for name in names[:first]),
        add=tuple(header(name, "add") for name in names[first:second]),
        remove=tuple(names[second:]),
    )
    sent = request()
    sent.headers = Headers((name.encode(), value.encode()) for name, value in lines)
    expected = Headers(sent.headers)
    for each in spec.set:
        expected.set(each.name, each.value)
    for each in spec.add:
        expected.add(each.name, each.value)
    expected.discard(*spec.remove)
    await make(RequestHeaderModifierFilter(request_header_modifier=spec))(sent, Upstream())
    assert sent.headers == expected


@pytest.mark.parametrize(
    ("modifier", "path", "reason"),
    [
        (
            HeaderModifier(set=(header("HOST", "x"),)),
            "set[0].name",
            "the host is changed by the `hostname` of a URLRewrite filter",
        ),
        (
            HeaderModifier(remove=("a", "host")),
            "remove[1]",
            "the host is changed by the `hostname` of a URLRewrite filter",
        ),
        (
            HeaderModifier(set=(header("a", "1"),), add=(header("b", "1"), header("A", "2"))),
            "add[1].name",
            "a header takes one action, and set[0].name is `A` already",
        ),
        (HeaderModifier(remove=("x", "X")), "remove[1]", "a header takes one action, and remove[0] is `X` already"),
    ],
)
def test_the_host_and_a_second_action_for_a_header_are_refused(
    modifier: HeaderModifier, path: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make(RequestHeaderModifierFilter(request_header_modifier=modifier))
    assert (caught.value.path, caught.value.reason) == (f"$.f[0].requestHeaderModifier.{path}", reason)


def test_a_second_action_for_a_response_header_is_refused() -> None:
    modifier = HeaderModifier(set=(header("a", "1"),), remove=("a",))
    with pytest.raises(ConfigError, match=r"\$\.f\[0\]\.responseHeaderModifier\.remove\[0\]"):
        make(ResponseHeaderModifierFilter(response_header_modifier=modifier))


# --- paths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "prefix", "replacement", "expected"),
    [  # HTTPPathModifier.replacePrefixMatch, the table of its comment
        (b"/foo/bar", b"/foo", b"/xyz", b"/xyz/bar"),
        (b"/foo/bar", b"/foo", b"/xyz/", b"/xyz/bar"),
        (b"/foo/bar", b"/foo/", b"/xyz", b"/xyz/bar"),
        (b"/foo/bar", b"/foo/", b"/xyz/", b"/xyz/bar"),
        (b"/foo", b"/foo", b"/xyz", b"/xyz"),
        (b"/foo/", b"/foo", b"/xyz", b"/xyz/"),
        (b"/foo/bar", b"/foo", b"", b"/bar"),
        (b"/foo/", b"/foo", b"", b"/"),
        (b"/foo", b"/foo", b"", b"/"),
        (b"/foo/", b"/foo", b"/", b"/"),
        (b"/foo", b"/foo", b"/", b"/"),
        # and what follows from it
        (b"/bar", b"", b"/xyz", b"/xyz/bar"),
        (b"/bar", b"/", b"", b"/bar"),
        (b"/foo/a%2Fb/%7e", b"/foo", b"/x", b"/x/a%2Fb/%7e"),
        (b"/foobar", b"/foo", b"/xyz", b"/foobar"),
        (b"/other", b"/foo", b"/xyz", b"/other"),
    ],
)
def test_a_prefix_is_replaced_as_in_the_specification(
    path: bytes, prefix: bytes, replacement: bytes, expected: bytes
) -> None:
    assert replace_prefix(path, prefix, replacement) == expected


FULL = PathModifier(type="ReplaceFullPath", replace_full_path="/one")
PREFIX = PathModifier(type="ReplacePrefixMatch", replace_prefix_match="/v2")
NOTHING = PathModifier(type="ReplacePrefixMatch", replace_prefix_match="")


@pytest.mark.parametrize("value", ["one", "", "/a?b", "/a#b"])
def test_a_replacement_that_is_no_path_is_refused(value: str) -> None:
    modifier = PathModifier(type="ReplaceFullPath", replace_full_path=value)
    with pytest.raises(ConfigError) as caught:
        make(UrlRewriteFilter(url_rewrite=UrlRewrite(path=modifier)))
    assert caught.value.path == "$.f[0].urlRewrite.path.replaceFullPath"
    with pytest.raises(ConfigError) as caught:
        make(RequestRedirectFilter(request_redirect=RequestRedirect(path=modifier)))
    assert caught.value.path == "$.f[0].requestRedirect.path.replaceFullPath"


def test_a_prefix_replacement_may_be_empty_but_not_relative() -> None:
    modifier = PathModifier(type="ReplacePrefixMatch", replace_prefix_match="v2")
    with pytest.raises(ConfigError, match="replacePrefixMatch: expected a path that starts with `/`"):
        make(UrlRewriteFilter(url_rewrite=UrlRewrite(path=modifier)))


# --- URLRewrite -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "target", "expected"),
    [
        (UrlRewrite(path=FULL), b"/foo/x?a=%27&a=2?", b"/one?a=%27&a=2?"),
        (UrlRewrite(path=FULL), b"/foo", b"/one"),
        (UrlRewrite(path=PREFIX), b"/foo/a%2Fb?q", b"/v2/a%2Fb?q"),
        (UrlRewrite(path=PREFIX), b"/foo?", b"/v2?"),
        (UrlRewrite(path=NOTHING), b"/foo", b"/"),
        (UrlRewrite(path=FULL), b"*", b"*"),
        (UrlRewrite(hostname="other.example"), b"/foo?q", b"/foo?q"),
    ],
)
async def test_a_rewrite_changes_the_path_and_keeps_the_query(spec: UrlRewrite, target: bytes, expected: bytes) -> None:
    sent = request(target)
    sent.prefix = b"/foo"
    upstream = Upstream()
    await make(UrlRewriteFilter(url_rewrite=spec))(sent, upstream)
    assert upstream.requests[0].target == expected


async def test_a_rewritten_host_is_the_one_of_the_header_too() -> None:
    sent = request(host="shop.example:8080", headers=[(b"X", b"1")])
    await make(UrlRewriteFilter(url_rewrite=UrlRewrite(hostname="other.example")))(sent, Upstream())
    assert sent.authority == "other.example"
    assert sent.headers == [(b"Host", b"other.example"), (b"X", b"1")]


async def test_without_a_hostname_the_host_stays() -> None:
    sent = request(host="Shop.Example:8080")
    await make(UrlRewriteFilter(url_rewrite=UrlRewrite(path=FULL)))(sent, Upstream())
    assert (sent.authority, sent.headers) == ("Shop.Example:8080", [(b"Host", b"Shop.Example:8080")])


# --- RequestRedirect ------------------------------------------------------------------------------------------------


async def redirected(spec: RequestRedirect, sent: Request) -> Response:
    upstream = Upstream()
    sent.prefix = b"/foo"
    response = await make(RequestRedirectFilter(request_redirect=spec))(sent, upstream)
    assert upstream.requests == []
    return response


@pytest.mark.parametrize(
    ("spec", "scheme", "host", "location"),
    [
        # the scheme of the redirect brings its port, and a well-known port is not written
        (RequestRedirect(scheme="https"), "http", "shop.example:8080", b"https://shop.example/foo/x?q=%27"),
        (RequestRedirect(scheme="http"), "https", "shop.example", b"http://shop.example/foo/x?q=%27"),
        (RequestRedirect(scheme="https", port=443), "http", "shop.example", b"https://shop.example/foo/x?q=%27"),
        (RequestRedirect(scheme="http", port=80), "https", "shop.example", b"http://shop.example/foo/x?q=%27"),
        (RequestRedirect(scheme="https", port=80), "http", "shop.example", b"https://shop.example:80/foo/x?q=%27"),
        (RequestRedirect(scheme="http", port=443), "http", "shop.example", b"http://shop.example:443/foo/x?q=%27"),
        (RequestRedirect(scheme="https", port=8443), "http", "shop.example", b"https://shop.example:8443/foo/x?q=%27"),
        # without a scheme it is the request's, and the port the one the client came to
        (RequestRedirect(hostname="new.example"), "http", "shop.example:8080", b"http://new.example:8080/foo/x?q=%27"),
        (RequestRedirect(hostname="new.example"), "http", "shop.example:80", b"http://new.example/foo/x?q=%27"),
        (RequestRedirect(hostname="new.example"), "https", "shop.example:443", b"https://new.example/foo/x?q=%27"),
        (RequestRedirect(hostname="new.example"), "https", "shop.example", b"https://new.example/foo/x?q=%27"),
        (RequestRedirect(port=8443), "https", "shop.example:443", b"https://shop.example:8443/foo/x?q=%27"),
        (RequestRedirect(port=80), "http", "shop.example:8080", b"http://shop.example/foo/x?q=%27"),
        (RequestRedirect(path=PREFIX), "http", "[::1]:8080", b"http://[::1]:8080/v2/x?q=%27"),
        (RequestRedirect(path=FULL), "http", "[::1]", b"http://[::1]/one?q=%27"),
    ],
)
async def test_the_location_follows_the_port_rules_of_the_specification(
    spec: RequestRedirect, scheme: str, host: str, location: bytes
) -> None:
    response = await redirected(spec, request(b"/foo/x?q=%27", scheme=scheme, host=host))
    assert (response.status, response.reason, response.body) == (302, b"Found", b"")
    assert response.headers == [(b"Location", location), (b"Content-Length", b"0")]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_has_the_status_of_the_filter(status: int) -> None:
    spec = RequestRedirect(scheme="https", status_code=status)  # type: ignore[arg-type]  # one of the literals
    assert (await redirected(spec, request())).status == status


async def test_a_target_without_path_is_redirected_to_the_root() -> None:
    response = await redirected(RequestRedirect(scheme="https"), request(b"*", method="OPTIONS"))
    assert response.headers.get("location") == "https://shop.example/"


async def test_a_path_that_looks_like_a_host_stays_a_path() -> None:
    response = await redirected(RequestRedirect(path=NOTHING), request(b"/foo//evil.example"))
    assert response.headers.get("location") == "http://shop.example//evil.example"


async def test_a_redirect_needs_a_host() -> None:
    with pytest.raises(BadRequest):
        await redirected(RequestRedirect(scheme="https"), request(b"//evil.example", host=""))
    response = await redirected(RequestRedirect(hostname="new.example"), request(host=""))
    assert response.headers.get("location") == "http://new.example/"
