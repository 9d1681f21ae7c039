"""Laws of the replayed request body: each attempt reads the same bytes, and no more than the limit is kept."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.forwarding.replay import ReplayBody

pieces = st.lists(st.binary(min_size=1, max_size=8), max_size=12)


class Source:
    """A body in pieces; fails where it is told to."""

    def __init__(self, parts: list[bytes], fails: bool = False) -> None:
        self.parts = list(parts)
        self.read = 0
        self._fails = fails

    def __aiter__(self) -> "Source":
        return self

    async def __anext__(self) -> bytes:
        if self.read == len(self.parts):
            if self._fails:
                raise ValueError("the source broke")
            raise StopAsyncIteration
        self.read += 1
        return self.parts[self.read - 1]


async def read(body: AsyncIterator[bytes], pieces_wanted: int | None = None) -> bytes:
    got = b""
    count = 0
    while pieces_wanted is None or count < pieces_wanted:
        try:
            got += await anext(body)
        except StopAsyncIteration:
            break
        count += 1
    return got


@given(pieces, st.lists(st.integers(0, 14), max_size=4))
def test_each_attempt_reads_the_body_from_its_beginning(parts: list[bytes], stops: list[int]) -> None:
    """Attempts that stopped anywhere are followed by one that reads all."""

    async def play() -> None:
        body = ReplayBody(Source(parts), limit=1000)
        whole = b"".join(parts)
        for stop in stops:
            assert whole.startswith(await read(body.attempt(), stop))
            assert body.replayable
        assert await read(body.attempt()) == whole
        assert await read(body.attempt()) == whole

    asyncio.run(play())


@given(pieces, st.integers(0, 40))
def test_first_attempt_reads_all_and_nothing_is_kept_beyond_the_limit(parts: list[bytes], limit: int) -> None:
    async def play() -> None:
        body = ReplayBody(Source(parts), limit)
        whole = b"".join(parts)
        assert await read(body.attempt()) == whole
        assert body.replayable == (len(whole) <= limit)
        assert sum(len(part) for part in body._kept) <= limit

    asyncio.run(play())


@given(pieces, pieces, st.integers(1, 30))
def test_body_kept_so_far_is_sent_again_even_if_it_then_outgrows_the_limit(
    first: list[bytes], then: list[bytes], limit: int
) -> None:
    async def play() -> None:
        body = ReplayBody(Source(first + then), limit)
        await read(body.attempt(), len(first))
        if body.replayable:
            assert await read(body.attempt()) == b"".join(first + then)

    asyncio.run(play())


async def test_failure_of_the_source_reaches_every_attempt() -> None:
    body = ReplayBody(Source([b"a"], fails=True), limit=10)
    for _ in range(2):
        attempt = body.attempt()
        assert await anext(attempt) == b"a"
        with pytest.raises(ValueError, match="the source broke"):
            await anext(attempt)


async def test_source_is_not_read_ahead() -> None:
    source = Source([b"a", b"b", b"c"])
    body = ReplayBody(source, limit=10)
    attempt = body.attempt()
    assert source.read == 0
    await anext(attempt)
    assert source.read == 1
