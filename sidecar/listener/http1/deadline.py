"""One timer for all that a connection waits for: set seldom, it looks when it fires at what the deadline is now."""

import asyncio
from collections.abc import Callable
from math import inf


class Deadline:
    """`until` moves the deadline at the price of a comparison; `expired` is called once it has passed."""

    __slots__ = ("_at", "_expired", "_loop", "_timer", "_when")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._at = inf
        self._timer: asyncio.TimerHandle | None = None
        self._when = inf  # when the timer fires

    def within(self, seconds: float) -> None:
        """Let the deadline be that many seconds from now."""
        self._at = self._loop.time() + seconds
        if self._at < self._when:
            self._arm()

    def never(self) -> None:
        """Nothing is waited for."""
        self._at = inf

    def cancel(self) -> None:
        """The connection is gone."""
        self._at = inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._when = None, inf

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._when = self._at
        self._timer = self._loop.call_at(self._at, self._look)

    def _look(self) -> None:
        self._timer, self._when = None, inf
        if self._at == inf:
            return
        if self._loop.time() >= self._at:
            self._at = inf
            self._expired()
        else:
            self._arm()
