"""Sends many requests and notes how each went. Its callers never repeat a request: what fails counts.

Something can happen while they run; what came of that is told by the moment at which a request started.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from sidecar.demo.client import Client

CALLERS = 12  # requests on their way at one time


@dataclass(frozen=True, slots=True)
class Answer:
    """How one request went; times in seconds, `started` by the loop's clock."""

    started: float
    seconds: float
    upstream: str  # which one answered; empty where it failed
    problem: str = ""  # empty: answered 200


class Run(NamedTuple):
    """The answers of a run, and the moment at which something happened in it."""

    answers: list[Answer]
    moment: float = inf

    @property
    def before(self) -> list[Answer]:
        """Those to requests that started before the moment."""
        return [answer for answer in self.answers if answer.started < self.moment]

    @property
    def after(self) -> list[Answer]:
        """Those to requests that started later."""
        return [answer for answer in self.answers if answer.started >= self.moment]


async def send(
    address: str, total: int, *, midway: int = 0, happen: Callable[[], Awaitable[float]] | None = None
) -> Run:
    """Send `total` requests; `happen` runs beside them once `midway` are answered, and returns its moment."""
    answers: list[Answer] = []
    tickets = iter(range(total))
    reached = asyncio.Event()
    moment = inf

    async def caller() -> None:
        client = Client(address)
        try:
            for _ in tickets:  # shared by all callers
                answers.append(await _one(client))
                if len(answers) >= midway:
                    reached.set()
        finally:
            client.close()

    async with asyncio.TaskGroup() as tasks:
        for number in range(CALLERS):
            tasks.create_task(caller(), name=f"caller {number}")
        if happen is not None:
            await reached.wait()
            moment = await happen()
    return Run(answers, moment)


async def _one(client: Client) -> Answer:
    now = asyncio.get_running_loop().time
    started = now()
    try:
        reply = await client.ask("/hello")
        if reply.status == 200:
            return Answer(started, now() - started, json.loads(reply.body)["upstream"])
        problem = f"status {reply.status}: {reply.body[:100]!a}"
    except (OSError, EOFError, ValueError) as error:
        problem = f"{type(error).__name__}: {error}"
    return Answer(started, now() - started, "", problem)


def failures(answers: Iterable[Answer]) -> list[Answer]:
    """Those that were not answered 200."""
    return [answer for answer in answers if answer.problem]


def by_upstream(answers: Iterable[Answer]) -> Counter[str]:
    """How many each upstream answered."""
    return Counter(answer.upstream for answer in answers if answer.upstream)


def percentile(answers: Iterable[Answer], percent: float) -> float:
    """The latency in milliseconds that so many percent of the answers did not exceed; 0 without answers."""
    ordered: Sequence[float] = sorted(answer.seconds for answer in answers)
    if not ordered:
        return 0.0
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] * 1000
