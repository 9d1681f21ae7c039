"""Attacks on the cache: each is a request made to leave something behind for others."""

import asyncio
import contextlib

import pytest

from tests.support.caching import cached, in_turn, reply, status_of
from tests.support.client import ask
from tests.support.origin import answers, close
from tests.support.proxy import reverse, running_proxy

FRESH = b"Cache-Control: max-age=60"


@pytest.mark.parametrize(
    "name", [b"X-Forwarded-Host", b"X-Forwarded-Proto", b"X-Original-URL", b"X-Rewrite-URL", b"X-Host"]
)
async def test_a_field_by_which_apps_make_urls_poisons_its_own_key_only(name: bytes) -> None:
    async with cached(in_turn(reply(b"evil", FRESH), reply(b"good", FRESH))) as cache:
        await cache.get(b"/a", name + b": evil.example")
        assert (await cache.get()).body == b"good"
        assert (await cache.get(b"/a", name + b": evil.example")).body == b"evil"


async def test_what_the_data_path_replaces_is_no_part_of_the_key() -> None:
    async with cached(answers(reply(b"hello", FRESH))) as cache:
        config = reverse(
            cache.origin.address,
            rule={"filters": [{"type": "Cache"}]},
            listener={"trusted_proxies": []},
        )
        async with running_proxy(config) as untrusting:
            for line in (b"", b"X-Forwarded-Host: evil\r\n", b"Forwarded: host=evil\r\n"):
                got = await ask(untrusting.address, b"GET /a HTTP/1.1\r\nHost: a\r\n%b\r\n" % line)
            assert status_of(got).startswith("sidecar; hit")
            assert len(cache.asked) == 1
            assert cache.asked[0].values(b"X-Forwarded-Host") == [b"a"]


@pytest.mark.parametrize("name", [b"X-HTTP-Method-Override", b"X-HTTP-Method", b"X-Method-Override"])
async def test_a_get_that_means_another_method_is_neither_answered_nor_stored(name: bytes) -> None:
    async with cached(answers(reply(b"hello", FRESH))) as cache:
        assert status_of(await cache.get(b"/a", name + b": DELETE")) == "sidecar; fwd=bypass"
        assert cache.entries == []
        await cache.get()
        await cache.get(b"/a", name + b": DELETE")
        assert len(cache.asked) == 3


async def test_a_get_with_a_body_is_neither_answered_nor_stored() -> None:
    async with cached(answers(reply(b"hello", FRESH))) as cache:
        assert status_of(await cache.get(body=b"q=evil")) == "sidecar; fwd=bypass"
        assert cache.entries == []


@pytest.mark.parametrize("status", [b"400 Bad", b"403 No", b"413 Large", b"431 Large", b"500 Oops", b"503 Oops"])
async def test_an_error_made_by_a_request_is_not_kept_for_others(status: bytes) -> None:
    async with cached(in_turn(reply(b"error", FRESH, status=status), reply(b"good", FRESH))) as cache:
        await cache.get(b"/a", b"X-Odd: " + b"x" * 2000)
        assert (await cache.get()).body == b"good"


@pytest.mark.parametrize(
    "refused",
    [
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % FRESH,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    ],
)
async def test_a_response_whose_framing_is_refused_is_not_stored(refused: bytes) -> None:
    async with cached(in_turn((refused, close), reply(b"good", FRESH))) as cache:
        with contextlib.suppress(asyncio.IncompleteReadError):  # a body that breaks cuts the client off
            await cache.get()
        assert cache.entries == []
        assert (await cache.get()).body == b"good"


async def test_a_response_that_splits_into_two_is_stored_as_one() -> None:
    second = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\nevil"
    async with cached(in_turn(reply(b"good", FRESH) + second, reply(b"other", FRESH))) as cache:
        await cache.get(b"/a")
        assert (await cache.get(b"/b")).body == b"other"
        assert {entry.body for entry in cache.entries} == {b"good", b"other"}


async def test_unkeyed_fields_can_be_kept_from_the_app() -> None:
    lines = (
        b"User-Agent: evil", b"Cookie: a=b", b"X-Debug: 1", b"X-Tenant: t", b"Accept-Encoding: gzip",
        b"Authorization: Bearer x", b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )  # fmt: skip
    async with cached(answers(reply(b"hello", FRESH)), unkeyed="drop", keyHeaders=["X-Tenant"]) as cache:
        await cache.get(b"/a", *lines)
        names = {name.lower() for name, _ in cache.asked[0].fields}
        assert not names & {b"user-agent", b"cookie", b"x-debug"}
        assert names >= {b"x-tenant", b"accept-encoding", b"authorization", b"traceparent", b"host"}
        await cache.get(b"/a", *lines, method=b"POST")
        assert cache.asked[1].values(b"Cookie") == [b"a=b"]


async def test_a_location_on_another_origin_invalidates_nothing() -> None:
    moved = reply(b"", b"Location: http://other.example/a")
    async with cached(in_turn(reply(b"hello", FRESH), moved)) as cache:
        await ask(cache.proxy.address, b"GET /a HTTP/1.1\r\nHost: other.example\r\n\r\n")
        await cache.get(b"/b", method=b"POST")
        assert len(cache.entries) == 1


async def test_quotes_that_do_not_close_keep_a_response_out() -> None:
    async with cached(answers(reply(b"hello", b'Cache-Control: max-age=60, x="'))) as cache:
        await cache.get()
        assert cache.entries == []


async def test_rules_do_not_share_what_they_store_unless_they_say_so() -> None:
    canary = {"matches": [{"headers": [{"name": "X-Canary", "value": "1"}]}], "filters": [{"type": "Cache"}]}
    async with cached(in_turn(reply(b"main", FRESH), reply(b"canary", FRESH))) as cache:
        rules = [
            {**canary, "backendRefs": [{"name": "app"}]},
            {"filters": [{"type": "Cache"}], "backendRefs": [{"name": "app"}]},
        ]
        config = reverse(cache.origin.address)
        config["listeners"][0]["routes"] = [{"rules": rules}]
        async with running_proxy(config) as proxy:
            get = b"GET /a HTTP/1.1\r\nHost: a\r\n%b\r\n"
            assert (await ask(proxy.address, get % b"")).body == b"main"
            assert (await ask(proxy.address, get % b"X-Canary: 1\r\n")).body == b"canary"
            assert (await ask(proxy.address, get % b"")).body == b"main"
            assert len(cache.asked) == 2
