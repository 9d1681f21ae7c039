"""The five steps of the tour: what each does to the real sidecar, and the claims that must hold.

A step prints its headline, its figures and its claims; it leaves the stage as the next one expects it. Traffic runs
while something happens, and is told apart by the moment at which a request started.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from sidecar.demo.client import Client
from sidecar.demo.screen import Screen
from sidecar.demo.spans import Span
from sidecar.demo.stage import FIRST, Stage
from sidecar.demo.traffic import CALLERS, Answer, Run, by_upstream, failures, percentile, send
from sidecar.demo.tree import draw

Step: TypeAlias = Callable[[Stage, Screen], Awaitable[None]]

DEAD, FRESH, SLOW = "orders-b", "orders-d", "orders-c"
SLOW_MS, USUAL_MS = 1000, 10
_TRIES = 60  # requests until one meets the upstream that is to fail


async def balance(stage: Stage, screen: Screen) -> None:
    """Every upstream takes its part."""
    total = 600
    screen.headline("1. Balance", f"{total} requests, {CALLERS} at a time. Each goes to the better of two upstreams.")
    answers = (await send(stage.sidecar.address, total)).answers
    counts = by_upstream(answers)
    rows = []
    for name in FIRST:
        process = stage.upstreams[name]
        rows.append((*_latency(name, answers), f"{counts[name] / total:.0%}", process.address, process.pid))
    screen.table(("upstream", ">requests", ">p50 ms", ">p99 ms", ">share", "address", ">process"), rows)
    _none_failed(screen, answers)
    screen.claim("every upstream took its part: at least 10 %", min(counts[name] for name in FIRST) >= total * 0.1)


async def kill(stage: Stage, screen: Screen) -> None:
    """An upstream dies under load and nobody notices."""
    total = 900
    screen.headline(
        f"2. Kill {DEAD} while requests run",
        f"{total} requests; after 300 of them SIGKILL ends {DEAD}, and the slices still name it. What was on its way "
        "there is sent to another upstream, and the sidecar ejects the dead one.",
    )
    retries = await stage.metric("sidecar_retries_total")

    async def strike() -> float:
        await stage.upstreams[DEAD].kill()
        return asyncio.get_running_loop().time()

    run = await send(stage.sidecar.address, total, midway=300, happen=strike)
    rows = await stage.endpoints()
    _moved(screen, "the kill", run, {name: row["state"] for name, row in rows.items()})
    retries = await stage.metric("sidecar_retries_total") - retries
    screen.say(f"   {retries} attempts were made again elsewhere; why {DEAD} is ejected:")
    screen.say(f"   {rows[DEAD]['why'] or '(not yet: a failure or two make it unattractive, three eject it)'}")
    _none_failed(screen, run.answers)
    after = by_upstream(run.after)
    screen.claim("the two others took all the traffic", after.keys() == set(FIRST) - {DEAD})
    left_alone = rows[DEAD]["state"] == "ejected" or retries <= total // 100
    screen.claim(f"the sidecar ejected {DEAD}, or tried it for less than 1 % of the requests", left_alone)


async def edit(stage: Stage, screen: Screen) -> None:
    """The slices change and traffic follows."""
    total = 1200
    screen.headline(
        f"3. Edit the slices: {FRESH} in place of {DEAD}",
        f"A fourth upstream starts. {total} requests; after 200 of them the file of EndpointSlices is replaced. No "
        "restart, no reload; a new endpoint is warmed up, here within 1 s, and then takes its part.",
    )
    with screen.doing(f"starting {FRESH}"):
        await stage.add_upstreams(FRESH)
    names = {*FIRST, FRESH} - {DEAD}

    async def replace() -> float:
        moment = asyncio.get_running_loop().time()
        stage.publish(sorted(names))
        return moment

    run = await send(stage.sidecar.address, total, midway=200, happen=replace)
    states = {name: row["state"] for name, row in (await stage.endpoints()).items()}
    _moved(screen, "the edit", run, {DEAD: "not in the slices"} | states)
    waits = [answer.started - run.moment for answer in run.after if answer.upstream == FRESH]
    if waits:
        screen.say(f"   the first request to {FRESH} came {min(waits) * 1000:.0f} ms after the edit")
    _none_failed(screen, run.answers)
    screen.claim(f"traffic followed: {FRESH} answers within 1 s of the edit", bool(waits) and min(waits) < 1)
    screen.claim("the sidecar has the endpoints of the slices and no other", states.keys() == names)


async def slow(stage: Stage, screen: Screen) -> None:
    """An upstream becomes slow and traffic avoids it."""
    total = 1500
    screen.headline(
        f"4. Make {SLOW} slow",
        f"{SLOW} now takes {SLOW_MS} ms for an answer. The sidecar is not told: it measures. {total} requests; with "
        f"round robin a third of them would wait {SLOW_MS} ms.",
    )
    await stage.behave(SLOW, delay_ms=SLOW_MS)
    answers = (await send(stage.sidecar.address, total)).answers
    await stage.behave(SLOW, delay_ms=USUAL_MS)
    counts = by_upstream(answers)
    rows = [(*_latency(name, answers), f"{counts[name] / total:.1%}") for name in sorted(counts.keys() | {SLOW})]
    screen.table(("upstream", ">requests", ">p50 ms", ">p99 ms", ">share"), rows)
    share, p99 = counts[SLOW] / total, percentile(answers, 99)
    _none_failed(screen, answers)
    screen.claim(f"traffic avoids {SLOW}: {share:.1%} of the requests, less than 5 %", share < 0.05)
    screen.claim(f"p99 of all requests is {p99:.0f} ms, less than half of {SLOW}'s {SLOW_MS} ms", p99 < SLOW_MS / 2)


async def trace(stage: Stage, screen: Screen) -> None:
    """One retried request, from the caller's traceparent to the upstreams'."""
    failing = FIRST[0]
    screen.headline(
        "5. One trace of a retried request",
        f"{failing} answers its next request 503; the route retries that on another upstream. The caller sent a "
        "traceparent, and the spans come from the OTLP receiver.",
    )
    await stage.behave(failing, fail_next=1)
    sent = await _retried(stage, failing)
    spans = await stage.collector.trace(sent.trace_id, spans=3, within=5)
    screen.say(f"\n   trace {sent.trace_id}, begun by the caller's span {sent.span_id}")
    for line in draw(spans, stage.names):
        screen.say(f"   {line}")
    screen.say()
    servers = [span for span in spans if span.kind == "SERVER"]
    clients = [span for span in spans if span.kind == "CLIENT"]
    screen.claim("the caller got a 200 all the same", sent.status == 200)
    screen.claim("one SERVER span, a child of the caller's", [span.parent_id for span in servers] == [sent.span_id])
    screen.claim("two CLIENT spans, children of that: 503, then 200", _attempts(servers, clients) == [503, 200])
    expected = [f"00-{sent.trace_id}-{span.span_id}-01" for span in clients]
    screen.claim("each upstream saw the id of its own attempt in traceparent", list(sent.seen) == expected)
    exported = await stage.metric("sidecar_spans_exported_total")
    dropped = await stage.metric("sidecar_spans_dropped_total")
    screen.claim(f"no span of the tour was dropped; {exported} were exported", dropped == 0)


STEPS: tuple[Step, ...] = (balance, kill, edit, slow, trace)


class _Sent(NamedTuple):
    """A retried request: what the caller sent and got, and the `traceparent` of each attempt as upstreams saw it."""

    trace_id: str
    span_id: str
    status: int
    seen: tuple[str, str]


async def _retried(stage: Stage, failing: str) -> _Sent:
    """Send requests until `failing` has refused one."""
    client = Client(stage.sidecar.address)
    try:
        for _ in range(_TRIES):
            trace_id, span_id = f"{random.getrandbits(128) or 1:032x}", f"{random.getrandbits(64) or 1:016x}"
            reply = await client.ask("/hello", headers=f"traceparent: 00-{trace_id}-{span_id}-01\r\n")
            refused: list[str] = (await stage.behave(failing))["refused"]
            if refused:
                return _Sent(trace_id, span_id, reply.status, (refused[-1], json.loads(reply.body)["traceparent"]))
    finally:
        client.close()
    raise ValueError(f"none of {_TRIES} requests reached {failing}")


def _attempts(servers: Sequence[Span], clients: Sequence[Span]) -> list[object]:
    """The statuses of the attempts, in order, that are children of the one SERVER span."""
    parents = {span.span_id for span in servers}
    return [span.attributes.get("http.response.status_code") for span in clients if span.parent_id in parents]


def _latency(name: str, answers: Iterable[Answer]) -> tuple[str, int, str, str]:
    """Name, count, p50 and p99 of what one upstream answered."""
    own = [answer for answer in answers if answer.upstream == name]
    return name, len(own), f"{percentile(own, 50):.1f}", f"{percentile(own, 99):.1f}"


def _none_failed(screen: Screen, answers: Sequence[Answer]) -> None:
    failed = failures(answers)
    for answer in failed[:3]:
        screen.say(f"   failed: {answer.problem}")
    screen.claim(f"no request failed: {len(failed)} of {len(answers)}", not failed)


def _moved(screen: Screen, event: str, run: Run, states: Mapping[str, str]) -> None:
    """A table of who answered before an event and after it."""
    before, after = by_upstream(run.before), by_upstream(run.after)
    rows = [(name, before[name], after[name], state) for name, state in sorted(states.items())]
    screen.table(("upstream", f">before {event}", ">after it", "the sidecar says"), rows)
