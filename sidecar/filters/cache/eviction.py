"""Which entries stay when there is no room: S3-FIFO (Yang et al., SOSP 2023). Pure.

A small queue (a tenth of the room) takes what is new; only what was asked for again while it waited there moves to the
main queue, so that a scan over many entries flushes the tenth and not the rest. Names that left the small queue are
remembered for a while (ghosts): who comes back goes to the main queue at once. In the main queue whoever was used gets
another round.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
_SMALL = 10  # one part in ten
_MOST_USES = 3


class _Item:
    __slots__ = ("size", "uses")

    def __init__(self, size: int) -> None:
        self.size = size
        self.uses = 0


class S3Fifo(Generic[K]):
    """Names with sizes; who must go is told, the room is handed in: it may change with the configuration."""

    def __init__(self) -> None:
        self.size = 0
        self._small: dict[K, _Item] = {}
        self._main: dict[K, _Item] = {}
        self._ghosts: dict[K, None] = {}
        self._small_size = 0

    def __len__(self) -> int:
        return len(self._small) + len(self._main)

    def __contains__(self, key: K) -> bool:
        return key in self._main or key in self._small

    def use(self, key: K) -> None:
        """It was asked for."""
        item = self._main.get(key) or self._small.get(key)
        if item is not None and item.uses < _MOST_USES:
            item.uses += 1

    def add(self, key: K, size: int, room: int, most: int) -> list[K]:
        """Take a name, at its new size where it is known; returns who must go for it, itself if it is too large.

        `room` in units of size, `most` names.
        """
        self.remove(key)
        if size > room:
            return [key]
        item = _Item(size)
        if key in self._ghosts:
            del self._ghosts[key]
            self._main[key] = item
        else:
            self._small[key] = item
            self._small_size += size
        self.size += size
        gone: list[K] = []
        while self.size > room or len(self) > most:
            gone += self._evict(room)
        return gone

    def remove(self, key: K) -> None:
        """Forget it."""
        item = self._small.pop(key, None)
        if item is not None:
            self._small_size -= item.size
        else:
            item = self._main.pop(key, None)
        if item is not None:
            self.size -= item.size

    def _evict(self, room: int) -> list[K]:
        if self._small and (self._small_size * _SMALL > room or not self._main):
            return self._from_small()
        return self._from_main() if self._main else self._from_small()

    def _from_small(self) -> list[K]:
        key = next(iter(self._small))
        item = self._small.pop(key)
        self._small_size -= item.size
        if item.uses > 1:
            item.uses = 0
            self._main[key] = item
            return []
        self.size -= item.size
        self._ghosts[key] = None
        while len(self._ghosts) > max(len(self._main), len(self._small)):
            del self._ghosts[next(iter(self._ghosts))]
        return [key]

    def _from_main(self) -> list[K]:
        key = next(iter(self._main))
        item = self._main.pop(key)
        if item.uses:
            item.uses -= 1
            self._main[key] = item
            return []
        self.size -= item.size
        return [key]
