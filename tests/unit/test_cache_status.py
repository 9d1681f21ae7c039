"""Cache-Status, what an unsafe request invalidates, and what a purge means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.filters.cache.invalidation import invalidated, purged
from sidecar.filters.cache.status import forwarded, hit, identifier

URI = ("http", "shop.example", b"/cart?x=1")


def test_the_name_of_the_cache_is_a_token_or_a_string() -> None:
    assert identifier("sidecar") == b"sidecar"
    assert identifier('My "own" \\ cache') == b'"My \\"own\\" \\\\ cache"'


def test_a_hit_says_how_long_it_stays_fresh_or_since_when_it_is_stale() -> None:
    assert hit(b"me", 376.4) == b"me; hit; ttl=376"
    assert hit(b"me", -412) == b"me; hit; ttl=-412"


def test_what_went_forward_says_why_and_never_hit() -> None:
    assert forwarded(b"me", "uri-miss") == b"me; fwd=uri-miss"
    assert (
        forwarded(b"me", "stale", status=304, ttl=60, stored=True) == b"me; fwd=stale; fwd-status=304; ttl=60; stored"
    )
    assert forwarded(b"me", "uri-miss", collapsed=True) == b"me; fwd=uri-miss; collapsed"
    assert forwarded(b"me", "uri-miss", collapsed=False) == b"me; fwd=uri-miss; collapsed=?0"


def test_an_unsafe_request_invalidates_its_target_and_what_the_answer_names_of_the_same_origin() -> None:
    answer = {b"location": b"/orders/7", b"content-location": b"http://Shop.example:80/cart"}
    assert invalidated(URI, answer) == [URI, ("http", "shop.example", b"/orders/7"), ("http", "shop.example", b"/cart")]
    assert invalidated(URI, {b"location": b"?x=1"}) == [URI]


@pytest.mark.parametrize(
    "location",
    [b"http://other.example/a", b"https://shop.example/a", b"//other/a", b"http://[x/", b"http://shop.example:81/"],
)
def test_another_origin_is_not_invalidated(location: bytes) -> None:
    assert invalidated(URI, {b"location": location}) == [URI]


@given(st.binary(max_size=40))
def test_no_location_breaks_the_invalidation(location: bytes) -> None:
    assert invalidated(URI, {b"location": location})[0] == URI


def test_a_purge_means_one_url_with_any_scheme_all_that_begin_so_or_everything() -> None:
    one = purged("http://Shop.example:80/a?b")
    assert one(("http", "shop.example", b"/a?b"))
    assert one(("https", "shop.example:80", b"/a?b"))
    assert not one(("http", "shop.example", b"/a"))
    start = purged("https://shop.example/img/*")
    assert start(("http", "shop.example", b"/img/x"))
    assert not start(("http", "shop.example", b"/other"))
    assert not start(("http", "other.example", b"/img/x"))
    assert purged("*")(URI)
    assert purged("http://shop.example")(("http", "shop.example", b"/"))


@pytest.mark.parametrize("url", ["", "/a", "ftp://a/b", "http:///a", "shop.example/a"])
def test_what_is_no_url_purges_nothing(url: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        purged(url)
