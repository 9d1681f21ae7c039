"""One timer for many deadlines: it fires when the last one set has passed, and not before."""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sidecar.listener.http1.deadline import Deadline


class Loop(asyncio.AbstractEventLoop):
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[asyncio.TimerHandle] = []
        self.set = 0

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, **_: Any) -> asyncio.TimerHandle:
        self.set += 1
        handle = asyncio.TimerHandle(when, callback, args, self)
        self.timers.append(handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self.timers.remove(handle)

    def advance(self, to: float) -> None:
        while due := [timer for timer in self.timers if timer.when() <= to]:
            first = min(due, key=lambda timer: timer.when())
            self.timers.remove(first)
            self.now = max(self.now, first.when())
            first._run()
        self.now = to


class Setup:
    def __init__(self) -> None:
        self.loop = Loop()
        self.fired: list[float] = []
        self.deadline = Deadline(self.loop, lambda: self.fired.append(self.loop.now))


def test_it_fires_once_when_it_has_passed() -> None:
    setup = Setup()
    setup.deadline.within(2)
    setup.loop.advance(1.9)
    assert setup.fired == []
    setup.loop.advance(10)
    assert setup.fired == [2]
    assert setup.loop.timers == []


def test_a_later_deadline_costs_no_timer_and_is_kept() -> None:
    setup = Setup()
    for second in range(100):
        setup.loop.advance(second / 100)
        setup.deadline.within(2)
    assert setup.loop.set == 1
    setup.loop.advance(5)
    assert setup.fired == [2.99]


def test_an_earlier_deadline_is_kept_too() -> None:
    setup = Setup()
    setup.deadline.within(10)
    setup.deadline.within(1)
    assert len(setup.loop.timers) == 1
    setup.loop.advance(20)
    assert setup.fired == [1]


def test_what_is_no_longer_waited_for_does_not_fire() -> None:
    setup = Setup()
    setup.deadline.within(1)
    setup.deadline.never()
    setup.loop.advance(5)
    assert setup.fired == []
    setup.deadline.within(1)
    setup.loop.advance(9)
    assert setup.fired == [6]


def test_cancelling_leaves_no_timer() -> None:
    setup = Setup()
    setup.deadline.cancel()
    setup.deadline.within(1)
    setup.deadline.cancel()
    assert setup.loop.timers == []
    setup.loop.advance(5)
    assert setup.fired == []


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(1, 9)), max_size=20))
def test_it_fires_exactly_at_the_deadlines_that_were_not_moved(steps: list[tuple[int, int | None]]) -> None:
    setup, expected, at = Setup(), [], inf
    for pause, seconds in steps:
        then = setup.loop.now + pause
        if at <= then:
            expected.append(at)
            at = inf
        setup.loop.advance(then)
        if seconds is None:
            setup.deadline.never()
            at = inf
        else:
            setup.deadline.within(seconds)
            at = then + seconds
    setup.loop.advance(1000)
    assert setup.fired == expected + ([at] if at < inf else [])
