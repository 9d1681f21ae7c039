"""A request body that can be sent again as long as it fits the replay limit.

The first attempt reads the source and what it read is kept, up to the limit; a later attempt reads what was kept and
goes on. Beyond the limit nothing is kept, and the request cannot be repeated.
"""

from collections.abc import AsyncIterator


class ReplayBody:
    """Wraps the source of a streamed body; call `attempt()` for each attempt."""

    def __init__(self, source: AsyncIterator[bytes], limit: int) -> None:
        self._source = source
        self._limit = limit
        self._kept: list[bytes] = []
        self._size = 0
        self._ended = False
        self.replayable = True

    def attempt(self) -> AsyncIterator[bytes]:
        """The body from its beginning; only one attempt may be read at a time."""
        return self._read()

    async def _read(self) -> AsyncIterator[bytes]:
        at = 0
        while True:
            while at < len(self._kept):
                at += 1
                yield self._kept[at - 1]
            if self._ended:
                return
            try:
                data = await anext(self._source)
            except StopAsyncIteration:
                self._ended = True
                return
            self._size += len(data)
            if self.replayable and self._size <= self._limit:
                self._kept.append(data)
                at += 1
            else:
                self.replayable = False
                self._kept.clear()
                at = 0
            yield data
