"""The cache over real sockets: what reaches the origin, and what the client gets."""

import pytest

from tests.support.caching import cached, reply, status_of
from tests.support.origin import answers

pytestmark = pytest.mark.usefixtures("each_engine")
FRESH = b"Cache-Control: max-age=60"


async def test_a_fresh_response_is_answered_without_the_origin() -> None:
    async with cached(answers(reply(b"hello", FRESH, b"X-Own: 1"))) as cache:
        first = await cache.get()
        second = await cache.get()
        assert len(cache.asked) == 1
        assert first.body == second.body == b"hello"
        assert second.value(b"x-own") == b"1"
        assert status_of(first).startswith("sidecar; fwd=uri-miss; ttl=60; stored")
        assert status_of(second).startswith("sidecar; hit; ttl=")
        assert second.value(b"age") in {b"0", b"1"}
