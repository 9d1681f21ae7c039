"""The cache over real sockets: what reaches the origin, and what the client gets."""

import asyncio

import pytest

from tests.support.caching import age_of, by_target, cached, is_status, reply, status_of
from tests.support.client import ask, client
from tests.support.origin import answers, reset
from tests.support.proxy import eventually

pytestmark = pytest.mark.usefixtures("each_engine")
FRESH = b"Cache-Control: max-age=60"
STALE = b"Cache-Control: max-age=0"
TAG = b'ETag: "1"'
MODIFIED = b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"
NOT_MODIFIED = reply(b"", TAG, FRESH, status=b"304 Not Modified")


async def test_a_fresh_response_is_answered_without_the_origin() -> None:
    async with cached(answers(reply(b"hello", FRESH, b"X-Own: 1"))) as cache:
        first, second = await cache.get(), await cache.get()
        assert len(cache.asked) == 1
        assert first.body == second.body == b"hello"
        assert second.value(b"x-own") == b"1"
        assert is_status(first, "sidecar; fwd=uri-miss; ttl=60; stored")
        assert is_status(second, "sidecar; hit; ttl=60")
        assert age_of(second) < 4
        assert first.value(b"age") is None


async def test_age_is_what_the_origins_caches_said_and_the_time_in_store() -> None:
    async with cached(answers(reply(b"hello", FRESH, b"Age: 30"))) as cache:
        await cache.get()
        cache.pass_time(12)
        again = await cache.get()
        assert 42 <= age_of(again) < 46
        assert is_status(again, "sidecar; hit; ttl=18")


async def test_other_targets_hosts_and_queries_are_other_responses() -> None:
    async with cached(answers(reply(b"hello", FRESH))) as cache:
        for target in (b"/a", b"/a?x=1", b"/a?x=2", b"/b", b"/%61"):
            assert "uri-miss" in status_of(await cache.get(target))
        other = await ask(cache.proxy.address, b"GET /a HTTP/1.1\r\nHost: other.example\r\n\r\n")
        assert "uri-miss" in status_of(other)
        assert len(cache.asked) == 6


async def test_a_head_is_answered_from_a_get_and_itself_never_stored() -> None:
    async with cached(answers(reply(b"", FRESH, b"X-A: 1"), reply(b"hello", FRESH))) as cache:
        await cache.get(b"/a", method=b"HEAD")
        await cache.get()
        head = await cache.get(b"/a", method=b"HEAD")
        assert [request.line[:4] for request in cache.asked] == [b"HEAD", b"GET "]
        assert status_of(head).startswith("sidecar; hit")
        assert head.value(b"content-length") == b"5"


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH"])
async def test_an_unsafe_request_goes_to_the_origin_and_forgets_its_target(method: bytes) -> None:
    async with cached(answers(reply(b"1", FRESH), reply(b"done"), reply(b"2", FRESH))) as cache:
        await cache.get()
        answer = await cache.get(b"/a", method=method)
        assert status_of(answer) == "sidecar; fwd=method"
        assert (await cache.get()).body == b"2"


async def test_an_unsafe_request_that_fails_forgets_nothing() -> None:
    async with cached(answers(reply(b"1", FRESH), reply(b"no", status=b"409 Conflict"))) as cache:
        await cache.get()
        await cache.get(b"/a", method=b"POST")
        assert status_of(await cache.get()).startswith("sidecar; hit")


async def test_what_the_answer_to_an_unsafe_request_names_is_forgotten_too() -> None:
    pages = by_target(
        a=reply(b"a", FRESH), list=reply(b"l", FRESH), new=reply(b"", b"Location: /a", b"Content-Location: /list")
    )
    async with cached(pages) as cache:
        await cache.get(b"/a")
        await cache.get(b"/list")
        await cache.get(b"/new", method=b"POST")
        assert cache.entries == []


async def test_safe_methods_other_than_get_and_head_pass_and_forget_nothing() -> None:
    async with cached(answers(reply(b"hello", FRESH))) as cache:
        await cache.get()
        assert status_of(await cache.get(b"/a", method=b"OPTIONS")) == "sidecar; fwd=method"
        assert status_of(await cache.get()).startswith("sidecar; hit")


async def test_a_client_that_has_the_stored_response_gets_304() -> None:
    async with cached(answers(reply(b"hello", FRESH, TAG, MODIFIED))) as cache:
        await cache.get()
        answer = await cache.get(b"/a", b'If-None-Match: "0", "1"')
        assert (answer.status, answer.body) == (304, b"")
        assert answer.value(b"etag") == b'"1"'
        assert status_of(answer).startswith("sidecar; hit")
        since = await cache.get(b"/a", b"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT")
        assert since.status == 304
        assert len(cache.asked) == 1


async def test_conditions_for_the_origin_alone_go_to_the_origin() -> None:
    conflict = reply(b"", status=b"412 Precondition Failed")
    async with cached(answers(reply(b"hello", FRESH, TAG), conflict)) as cache:
        await cache.get()
        answer = await cache.get(b"/a", b'If-Match: "2"')
        assert answer.status == 412
        assert cache.asked[1].values(b"If-Match") == [b'"2"']
        assert status_of(answer) == "sidecar; fwd=request"
        assert status_of(await cache.get()).startswith("sidecar; hit")


async def test_conditions_on_what_is_not_stored_go_to_the_origin_as_they_are() -> None:
    async with cached(answers(NOT_MODIFIED)) as cache:
        answer = await cache.get(b"/a", b'If-None-Match: "1"')
        assert answer.status == 304
        assert cache.asked[0].values(b"If-None-Match") == [b'"1"']
        assert cache.entries == []


async def test_ranges_are_cut_from_a_complete_response() -> None:
    async with cached(answers(reply(b"0123456789", FRESH, TAG))) as cache:
        await cache.get()
        part = await cache.get(b"/a", b"Range: bytes=2-4")
        assert (part.status, part.body) == (206, b"234")
        assert part.value(b"content-range") == b"bytes 2-4/10"
        assert (await cache.get(b"/a", b"Range: bytes=2-4", b'If-Range: "0"')).status == 200
        assert (await cache.get(b"/a", b"Range: bytes=10-")).status == 416
        assert len(cache.asked) == 1


async def test_a_range_of_what_is_not_stored_passes_and_is_not_stored() -> None:
    part = reply(b"23", FRESH, b"Content-Range: bytes 2-3/10", status=b"206 Partial Content")
    async with cached(answers(part)) as cache:
        answer = await cache.get(b"/a", b"Range: bytes=2-3")
        assert (answer.status, answer.body) == (206, b"23")
        assert cache.asked[0].values(b"Range") == [b"bytes=2-3"]
        assert cache.entries == []


async def test_what_is_stale_is_validated_with_both_validators_and_served_with_the_new_fields() -> None:
    update = reply(b"", TAG, FRESH, b"X-Own: 2", status=b"304 Not Modified")
    async with cached(answers(reply(b"hello", STALE, TAG, MODIFIED, b"X-Own: 1", b"X-Keep: 1"), update)) as cache:
        await cache.get()
        answer = await cache.get()
        assert cache.asked[1].values(b"If-None-Match") == [b'"1"']
        assert cache.asked[1].values(b"If-Modified-Since") == [MODIFIED[15:]]
        assert (answer.status, answer.body) == (200, b"hello")
        assert (answer.values(b"x-own"), answer.value(b"x-keep")) == ([b"2"], b"1")
        assert is_status(answer, "sidecar; fwd=stale; fwd-status=304; ttl=60; stored")
        third = await cache.get()
        assert third.value(b"x-own") == b"2"
        assert status_of(third).startswith("sidecar; hit")
        assert third.value(b"content-length") == b"5"


async def test_a_client_with_another_copy_gets_the_whole_after_a_validation_and_one_with_this_copy_304() -> None:
    async with cached(answers(reply(b"hello", STALE, TAG), NOT_MODIFIED)) as cache:
        await cache.get()
        answer = await cache.get(b"/a", b'If-None-Match: "0"')
        assert cache.asked[1].values(b"If-None-Match") == [b'"1"']
        assert (answer.status, answer.body) == (200, b"hello")
        cache.pass_time(100)
        assert (await cache.get(b"/a", b'If-None-Match: "1"')).status == 304
        assert len(cache.asked) == 3


async def test_a_range_of_what_is_stale_is_cut_after_the_validation() -> None:
    async with cached(answers(reply(b"hello", STALE, TAG), NOT_MODIFIED)) as cache:
        await cache.get()
        part = await cache.get(b"/a", b"Range: bytes=1-2")
        assert (part.status, part.body) == (206, b"el")
        assert cache.asked[1].values(b"Range") == []


async def test_a_304_for_something_else_is_not_used_and_the_whole_is_asked_for() -> None:
    other = reply(b"", b'ETag: "2"', status=b"304 Not Modified")
    async with cached(answers(reply(b"old", STALE, TAG), other, reply(b"new", FRESH))) as cache:
        await cache.get()
        assert (await cache.get()).body == b"new"
        assert cache.asked[2].values(b"If-None-Match") == []
        assert status_of(await cache.get()).startswith("sidecar; hit")


async def test_a_full_answer_to_a_validation_is_used_and_takes_the_place_of_the_old() -> None:
    async with cached(answers(reply(b"old", STALE, TAG), reply(b"new", FRESH, b'ETag: "2"'))) as cache:
        await cache.get()
        assert (await cache.get()).body == b"new"
        assert (await cache.get()).body == b"new"
        assert len(cache.asked) == 2


async def test_an_answer_that_may_not_be_stored_takes_the_old_one_away() -> None:
    async with cached(answers(reply(b"old", STALE, TAG), reply(b"new", b"Cache-Control: no-store"))) as cache:
        await cache.get()
        assert (await cache.get()).body == b"new"
        assert cache.entries == []


async def test_cookies_of_a_validation_are_for_this_client_and_not_stored() -> None:
    update = reply(b"", TAG, FRESH, b"Set-Cookie: a=b", status=b"304 Not Modified")
    async with cached(answers(reply(b"hello", STALE, TAG), update)) as cache:
        await cache.get()
        assert (await cache.get()).value(b"set-cookie") == b"a=b"
        again = await cache.get()
        assert again.value(b"set-cookie") is None
        assert status_of(again).startswith("sidecar; hit")


@pytest.mark.parametrize("code", [b"500 Oops", b"502 Oops", b"503 Oops", b"504 Oops"])
async def test_stale_if_error_stands_in_for_a_server_error(code: bytes) -> None:
    lasting = b"Cache-Control: max-age=0, stale-if-error=600"
    async with cached(answers(reply(b"old", lasting, b"Age: 5"), reply(b"no", status=code))) as cache:
        await cache.get()
        answer = await cache.get()
        assert (answer.status, answer.body) == (200, b"old")
        assert 5 <= age_of(answer) < 9
        assert is_status(answer, f"sidecar; fwd=stale; fwd-status={code[:3].decode()}; ttl=-5")
        cache.pass_time(600)
        assert (await cache.get()).status == int(code[:3])


async def test_stale_if_error_stands_in_for_an_origin_that_is_gone() -> None:
    async with cached(answers(reply(b"old", b"Cache-Control: max-age=0, stale-if-error=600"))) as cache:
        await cache.get()
        await cache.origin.stop()
        assert (await cache.get()).body == b"old"


async def test_stale_if_error_of_the_configuration_and_of_the_request() -> None:
    script = answers(reply(b"old", STALE, TAG), reply(b"no", status=b"503 Oops"))
    async with cached(script, staleIfError="10m") as cache:
        await cache.get()
        assert (await cache.get()).body == b"old"
    async with cached(script) as cache:
        await cache.get()
        assert (await cache.get()).status == 503
        assert (await cache.get(b"/a", b"Cache-Control: stale-if-error=60")).body == b"old"


@pytest.mark.parametrize(
    "strict", [b"max-age=0, must-revalidate", b"max-age=0, proxy-revalidate", b"s-maxage=0", b"no-cache"]
)
async def test_what_must_be_validated_is_an_error_where_the_origin_is_gone(strict: bytes) -> None:
    lines = (b"Cache-Control: %b, stale-if-error=600, stale-while-revalidate=600" % strict, TAG)
    async with cached(answers(reply(b"old", *lines)), staleIfError="10m") as cache:
        await cache.get()
        await cache.origin.stop()
        answer = await cache.get(b"/a", b"Cache-Control: max-stale")
        assert answer.status == 502
        assert answer.value(b"cache-status") is None


async def test_stale_while_revalidate_answers_at_once_and_validates_behind() -> None:
    gate = asyncio.Event()
    lines = (b"Cache-Control: max-age=1, stale-while-revalidate=600", TAG)
    async with cached(answers(reply(b"old", *lines), (gate, reply(b"new", FRESH)))) as cache:
        await cache.get()
        cache.pass_time(10)
        for _ in range(3):
            answer = await cache.get()
            assert answer.body == b"old"
            assert is_status(answer, "sidecar; hit; ttl=-9")
        await eventually(lambda: len(cache.asked) == 2, "no validation")
        assert cache.asked[1].values(b"If-None-Match") == [b'"1"']
        gate.set()
        await eventually(lambda: cache.entries and cache.entries[0].body == b"new", "the new response was not stored")
        assert (await cache.get()).body == b"new"
        assert len(cache.asked) == 2


async def test_a_validation_behind_that_fails_leaves_what_is_stored() -> None:
    lines = (b"Cache-Control: max-age=1, stale-while-revalidate=600", TAG)
    async with cached(answers(reply(b"old", *lines), (reset,))) as cache:
        await cache.get()
        cache.pass_time(10)
        assert (await cache.get()).body == b"old"
        await eventually(lambda: len(cache.asked) >= 2 and not cache.store.refreshing, "no validation")
        assert (await cache.get()).body == b"old"


async def test_no_cache_is_validated_each_time() -> None:
    async with cached(
        answers(reply(b"hello", b"Cache-Control: no-cache", TAG), reply(b"", TAG, status=b"304 N"))
    ) as cache:
        await cache.get()
        for _ in range(2):
            answer = await cache.get()
            assert (answer.status, answer.body) == (200, b"hello")
        assert len(cache.asked) == 3


@pytest.mark.parametrize("control", [b"no-store", b"private", b"max-age=60, no-store", b""])
async def test_what_may_not_be_stored_is_asked_for_each_time(control: bytes) -> None:
    async with cached(answers(reply(b"hello", b"Cache-Control: %b" % control))) as cache:
        for _ in range(2):
            assert status_of(await cache.get()) == "sidecar; fwd=uri-miss"
        assert len(cache.asked) == 2


async def test_a_request_with_no_store_is_not_stored_and_may_be_answered_from_the_store() -> None:
    async with cached(answers(reply(b"hello", FRESH))) as cache:
        await cache.get(b"/a", b"Cache-Control: no-store")
        assert cache.entries == []
        await cache.get()
        assert status_of(await cache.get(b"/a", b"Cache-Control: no-store")).startswith("sidecar; hit")


@pytest.mark.parametrize(
    "line",
    [b"Cache-Control: no-cache", b"Cache-Control: max-age=5", b"Cache-Control: min-fresh=55", b"Pragma: no-cache"],
)
async def test_a_client_may_ask_for_something_fresher(line: bytes) -> None:
    async with cached(answers(reply(b"old", FRESH), reply(b"new", FRESH))) as cache:
        await cache.get()
        cache.pass_time(10)
        answer = await cache.get(b"/a", line)
        assert answer.body == b"new"
        assert status_of(answer).startswith("sidecar; fwd=request")
        assert (await cache.get()).body == b"new"
        assert len(cache.asked) == 2


async def test_request_directives_can_be_ignored() -> None:
    async with cached(answers(reply(b"old", FRESH)), requestDirectives=False) as cache:
        await cache.get()
        assert status_of(await cache.get(b"/a", b"Cache-Control: no-cache")).startswith("sidecar; hit")


async def test_max_stale_takes_a_stale_response() -> None:
    async with cached(answers(reply(b"old", FRESH))) as cache:
        await cache.get()
        cache.pass_time(70)
        answer = await cache.get(b"/a", b"Cache-Control: max-stale=20")
        assert is_status(answer, "sidecar; hit; ttl=-10")
        assert len(cache.asked) == 1


async def test_only_if_cached_is_answered_from_the_store_or_with_504() -> None:
    async with cached(answers(reply(b"hello", FRESH))) as cache:
        answer = await cache.get(b"/a", b"Cache-Control: only-if-cached")
        assert answer.status == 504
        assert answer.value(b"cache-status") is None
        await cache.get()
        assert (await cache.get(b"/a", b"Cache-Control: only-if-cached")).body == b"hello"
        assert len(cache.asked) == 1


async def test_an_immutable_response_is_not_validated_on_a_reload() -> None:
    async with cached(answers(reply(b"hello", b"Cache-Control: max-age=60, immutable", TAG))) as cache:
        await cache.get()
        assert status_of(await cache.get(b"/a", b"Cache-Control: max-age=0")).startswith("sidecar; hit")
        assert status_of(await cache.get(b"/a", b"Cache-Control: no-cache")).startswith("sidecar; fwd=request")


async def test_an_authorized_answer_serves_nobody_else_unless_it_says_so() -> None:
    pages = by_target(own=reply(b"own", FRESH), all=reply(b"all", b"Cache-Control: public, max-age=60"))
    async with cached(pages) as cache:
        for target in (b"/own", b"/all"):
            await cache.get(target, b"Authorization: Bearer x")
        assert status_of(await cache.get(b"/own")).startswith("sidecar; fwd=uri-miss")
        assert status_of(await cache.get(b"/all")).startswith("sidecar; hit")


async def test_vary_tells_responses_apart_and_what_means_the_same_together() -> None:
    lines = (FRESH, b"Vary: Accept-Encoding")
    async with cached(answers(reply(b"zipped", *lines), reply(b"plain", *lines))) as cache:
        await cache.get(b"/a", b"Accept-Encoding: gzip, br")
        plain = await cache.get()
        assert status_of(plain).startswith("sidecar; fwd=vary-miss")
        assert (await cache.get(b"/a", b"Accept-Encoding: br,GZIP")).body == b"zipped"
        assert (await cache.get()).body == b"plain"
        assert len(cache.asked) == 2


async def test_vary_star_is_never_reused() -> None:
    async with cached(answers(reply(b"hello", FRESH, b"Vary: *"))) as cache:
        await cache.get()
        await cache.get()
        assert len(cache.asked) == 2


async def test_key_headers_are_part_of_every_key() -> None:
    async with cached(answers(reply(b"1", FRESH), reply(b"2", FRESH)), keyHeaders=["X-Tenant"]) as cache:
        await cache.get(b"/a", b"X-Tenant: a")
        assert (await cache.get(b"/a", b"X-Tenant: b")).body == b"2"
        assert (await cache.get(b"/a", b"X-Tenant: a")).body == b"1"


async def test_private_and_no_cache_fields_reach_the_first_client_and_are_not_stored() -> None:
    lines = (
        b'Cache-Control: max-age=60, private="X-User", no-cache="Set-Cookie"',
        b"X-User: me",
        b"Set-Cookie: a=b",
        b"X-All: 1",
    )
    async with cached(answers(reply(b"hello", *lines))) as cache:
        first, second = await cache.get(), await cache.get()
        assert (first.value(b"x-user"), first.value(b"set-cookie")) == (b"me", b"a=b")
        assert (second.value(b"x-user"), second.value(b"set-cookie")) == (None, None)
        assert second.value(b"x-all") == b"1"
        assert len(cache.asked) == 1


async def test_cdn_cache_control_counts_instead_of_cache_control_and_is_passed_on() -> None:
    lines = (b"Cache-Control: no-store", b"CDN-Cache-Control: max-age=60", b"Other-Cache-Control: no-store")
    async with cached(answers(reply(b"hello", *lines))) as cache:
        await cache.get()
        again = await cache.get()
        assert status_of(again).startswith("sidecar; hit")
        for line in lines:
            name, _, value = line.partition(b": ")
            assert again.values(name) == [value]


async def test_heuristic_freshness_by_setting() -> None:
    lines = (MODIFIED, b"Date: Mon, 07 Nov 1994 08:49:37 GMT")
    async with cached(answers(reply(b"hello", MODIFIED)), heuristicPercent=10) as cache:
        await cache.get()
        assert is_status(await cache.get(), "sidecar; hit; ttl=86400")
    async with cached(answers(reply(b"hello", *lines))) as cache:
        await cache.get()
        assert cache.entries == []


async def test_cache_status_of_caches_before_this_one_is_kept() -> None:
    async with cached(answers(reply(b"hello", FRESH, b"Cache-Status: Origin; hit"))) as cache:
        await cache.get()
        first, own = (await cache.get()).values(b"cache-status")
        assert (first, own[:17]) == (b"Origin; hit", b"sidecar; hit; ttl")


async def test_cache_status_has_the_name_of_the_configuration_or_is_left_out() -> None:
    async with cached(answers(reply(b"hello", FRESH)), identifier="Shop CDN") as cache:
        assert status_of(await cache.get()).startswith('"Shop CDN"; fwd=uri-miss')
    async with cached(answers(reply(b"hello", FRESH)), identifier="") as cache:
        assert (await cache.get()).value(b"cache-status") is None
        assert (await cache.get()).value(b"cache-status") is None


async def test_a_response_with_a_cookie_is_stored_by_setting_only() -> None:
    lines = (FRESH, b"Set-Cookie: a=b")
    async with cached(answers(reply(b"hello", *lines))) as cache:
        await cache.get()
        assert cache.entries == []
    async with cached(answers(reply(b"hello", *lines)), storeSetCookie=True) as cache:
        await cache.get()
        assert (await cache.get()).value(b"set-cookie") == b"a=b"


async def test_a_head_brings_news_of_what_is_stored() -> None:
    same, other = reply(b"hello", FRESH, TAG, b"X-Own: 2"), reply(b"other!", FRESH, b'ETag: "2"')
    head = same[: same.index(b"\r\n\r\n") + 4]
    changed = other[: other.index(b"\r\n\r\n") + 4]
    async with cached(answers(reply(b"hello", FRESH, TAG), head, changed)) as cache:
        await cache.get()
        cache.pass_time(100)
        await cache.get(b"/a", method=b"HEAD")
        again = await cache.get()
        assert status_of(again).startswith("sidecar; hit")
        assert again.value(b"x-own") == b"2"
        cache.pass_time(100)
        await cache.get(b"/a", method=b"HEAD")
        assert cache.entries == []


async def test_statuses_without_a_body_and_redirects_are_stored() -> None:
    pages = by_target(
        none=reply(b"", FRESH, status=b"204 No Content"), moved=reply(b"", FRESH, b"Location: /b", status=b"301 Moved"),
        gone=reply(b"gone", FRESH, status=b"404 Not Found"),
    )  # fmt: skip
    async with cached(pages) as cache:
        for target, code in ((b"/none", 204), (b"/moved", 301), (b"/gone", 404)):
            await cache.get(target)
            again = await cache.get(target)
            assert again.status == code
            assert status_of(again).startswith("sidecar; hit")
        assert (await cache.get(b"/none")).value(b"content-length") is None


async def test_an_upgrade_passes_untouched() -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    async with cached(answers((switch, lambda connection: connection.close()))) as cache:
        answer = await cache.get(b"/a", b"Connection: Upgrade", b"Upgrade: echo")
        assert answer.status == 101


async def test_pipelined_hits_are_answered_in_order_on_one_connection() -> None:
    async with cached(by_target(a=reply(b"a", FRESH), b=reply(b"b", FRESH))) as cache:
        await cache.get(b"/a")
        await cache.get(b"/b")
        async with client(cache.proxy.address) as one:
            for name in (b"a", b"b", b"a"):
                assert (await one.ask(b"GET /%b HTTP/1.1\r\nHost: shop.example\r\n\r\n" % name)).body == name
        assert len(cache.asked) == 2
