"""The five steps of the tour: what each does to the real sidecar, and the claims that must hold.

A step prints its headline, its figures and its claims; it leaves the stage as the next one expects it. Traffic runs
while something happens, and is told apart by the moment at which a request started.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from sidecar.demo.client import Client
from sidecar.demo.screen import Screen
from sidecar.demo.spans import Span
from sidecar.demo.stage import FIRST, Stage
from sidecar.demo.traffic import CALLERS, Answer, by_upstream, failures, percentile, send
from sidecar.demo.tree import draw

Step: TypeAlias = Callable[[Stage, Screen], Awaitable[None]]

DEAD, FRESH, SLOW = "orders-b", "orders-d", "orders-c"
SLOW_MS, USUAL_MS = 250, 10
_TRIES = 60  # requests until one meets the upstream that is to fail


async def balance(stage: Stage, screen: Screen) -> None:
    """Every upstream takes its part."""
    total = 600
    screen.headline("1. Balance", f"{total} requests, {CALLERS} at a time. Each goes to the better of two upstreams.")
    answers = await send(stage.sidecar.address, total)
    counts = by_upstream(answers)
    rows = [(*_latency(name, answers), f"{counts[name] / total:.0%}", stage.upstreams[name].address) for name in FIRST]
    screen.table(("upstream", ">requests", ">p50 ms", ">p99 ms", ">share", "address"), rows)
    _none_failed(screen, answers)
    screen.claim("every upstream took its part: at least 20 %", min(counts[name] for name in FIRST) >= total * 0.2)


async def kill(stage: Stage, screen: Screen) -> None:
    """An upstream dies under load and nobody notices."""
    total = 900
    screen.headline(
        f"2. Kill {DEAD} while requests run",
        f"{total} requests; after 300 of them SIGKILL ends {DEAD}, which the slices go on to name. Requests that were on "
        "their way to it are tried elsewhere, and the sidecar ejects it.",
    )
    now = asyncio.get_running_loop().time
    died: list[float] = []
    retries = await stage.metric("sidecar_retries_total")

    async def strike() -> None:
        await stage.upstreams[DEAD].kill()
        died.append(now())

    answers = await send(stage.sidecar.address, total, midway=300, do=strike)
    rows = await stage.endpoints()
    before, after = _split(answers, died[0])
    _moved(screen, "the kill", before, after, {name: row["state"] for name, row in sorted(rows.items())})
    retries = await stage.metric("sidecar_retries_total") - retries
    screen.say(f"   {retries} attempts were made again on another upstream; {DEAD}: {rows[DEAD]['why']}")
    _none_failed(screen, answers)
    left = [name for name in FIRST if name != DEAD]
    screen.claim("the two others took all the traffic", all(by_upstream(after)[name] for name in left))
    screen.claim(f"the sidecar ejected {DEAD}", rows[DEAD]["state"] == "ejected")


async def edit(stage: Stage, screen: Screen) -> None:
    """The slices change and traffic follows."""
    total = 1200
    names = [FRESH if name == DEAD else name for name in FIRST]
    screen.headline(
        f"3. Edit the slices: {FRESH} in place of {DEAD}",
        f"A fourth upstream starts; {total} requests run, and after 200 of them the file of EndpointSlices is replaced. "
        "No restart, no reload: a new endpoint is warmed up (here within 1 s) and takes its part.",
    )
    with screen.doing(f"starting {FRESH}"):
        await stage.add_upstreams(FRESH)
    now = asyncio.get_running_loop().time
    edited: list[float] = []

    async def replace() -> None:
        edited.append(now())
        stage.publish(names)

    answers = await send(stage.sidecar.address, total, midway=200, do=replace)
    before, after = _split(answers, edited[0])
    rows = await stage.endpoints()
    states = {DEAD: "not in the slices"} | {name: row["state"] for name, row in rows.items()}
    _moved(screen, "the edit", before, after, dict(sorted(states.items())))
    first = min((answer.started - edited[0] for answer in answers if answer.upstream == FRESH), default=None)
    if first is not None:
        screen.say(f"   first request to {FRESH}: {first * 1000:.0f} ms after the edit")
    _none_failed(screen, answers)
    screen.claim(f"traffic followed: {FRESH} answered within 1 s of the edit", first is not None and first < 1)
    screen.claim("the sidecar knows the endpoints of the slices and no other", rows.keys() == set(names))


async def slow(stage: Stage, screen: Screen) -> None:
    """An upstream becomes slow and traffic avoids it."""
    total = 1200
    screen.headline(
        f"4. Make {SLOW} slow",
        f"{SLOW} now takes {SLOW_MS} ms for an answer. The sidecar is not told: it measures. {total} requests; by turns a "
        f"third of them would wait {SLOW_MS} ms.",
    )
    names = list(stage.names.values())
    await stage.behave(SLOW, delay_ms=SLOW_MS)
    answers = await send(stage.sidecar.address, total)
    await stage.behave(SLOW, delay_ms=USUAL_MS)
    share = by_upstream(answers)[SLOW] / total
    rows = [(*_latency(name, answers), f"{by_upstream(answers)[name] / total:.1%}") for name in names if name != DEAD]
    screen.table(("upstream", ">requests", ">p50 ms", ">p99 ms", ">share"), rows)
    p99 = percentile(answers, 99)
    screen.say(f"   p99 of all requests: {p99:.0f} ms; {SLOW} alone: {SLOW_MS} ms")
    _none_failed(screen, answers)
    screen.claim(f"traffic avoids {SLOW}: {share:.1%} of the requests, less than 5 %", share < 0.05)
    screen.claim(f"the 99th percentile ({p99:.0f} ms) is less than half of {SLOW_MS} ms", p99 < SLOW_MS / 2)


async def trace(stage: Stage, screen: Screen) -> None:
    """One retried request, from the caller's traceparent to the upstreams'."""
    failing = FIRST[0]
    screen.headline(
        "5. One trace of a retried request",
        f"{failing} answers its next request 503; the route retries that on another upstream. The caller sent a "
        "traceparent, and the spans come from the OTLP receiver.",
    )
    await stage.behave(failing, fail_next=1)
    trace_id, caller_id, seen = await _retried(stage, failing)
    screen.claim("the caller got a 200 all the same", bool(seen[-1]))
    spans = await stage.collector.trace(trace_id, spans=3, within=5)
    screen.say(f"\n   trace {trace_id}, begun by the caller's span {caller_id}")
    for line in draw(spans, stage.names):
        screen.say(f"   {line}")
    screen.say()
    servers = [span for span in spans if span.kind == "SERVER"]
    clients = [span for span in spans if span.kind == "CLIENT"]
    screen.claim("one SERVER span, a child of the caller's", [span.parent_id for span in servers] == [caller_id])
    screen.claim(
        "two CLIENT spans below it: 503, then 200",
        [(_status(span), span.parent_id) for span in clients] == [(code, servers[0].span_id) for code in (503, 200)]
        if servers
        else False,
    )
    expected = [f"00-{trace_id}-{span.span_id}-01" for span in clients]
    screen.claim("each upstream saw the id of its own attempt in traceparent", seen == expected)
    exported = await stage.metric("sidecar_spans_exported_total")
    dropped = await stage.metric("sidecar_spans_dropped_total")
    screen.claim(f"no span was dropped; {exported} were exported in this tour", dropped == 0)


STEPS: tuple[Step, ...] = (balance, kill, edit, slow, trace)


async def _retried(stage: Stage, failing: str) -> tuple[str, str, list[str]]:
    """Send requests until one was refused by `failing`: its trace id, the caller's span id, the traceparents seen."""
    client = Client(stage.sidecar.address)
    try:
        for _ in range(_TRIES):
            trace_id, caller_id = (f"{random.getrandbits(bits) or 1:0{bits // 4}x}" for bits in (128, 64))  # noqa: S311
            reply = await client.ask("/hello", headers=f"traceparent: 00-{trace_id}-{caller_id}-01\r\n")
            refused: list[str] = (await stage.behave(failing))["refused"]
            if refused:
                answered = str(json.loads(reply.body).get("traceparent", "")) if reply.status == 200 else ""
                return trace_id, caller_id, [refused[-1], answered]
    finally:
        client.close()
    raise ValueError(f"none of {_TRIES} requests reached {failing}")


def _latency(name: str, answers: Iterable[Answer]) -> tuple[str, int, str, str]:
    """Name, count, p50 and p99 of what one upstream answered."""
    own = [answer for answer in answers if answer.upstream == name]
    return name, len(own), *(f"{percentile(own, percent):.1f}" if own else "-" for percent in (50, 99))


def _none_failed(screen: Screen, answers: Sequence[Answer]) -> None:
    failed = failures(answers)
    for answer in failed[:3]:
        screen.say(f"   failed: {answer.problem}")
    screen.claim(f"no request failed: {len(failed)} of {len(answers)}", not failed)


def _split(answers: Iterable[Answer], moment: float) -> tuple[list[Answer], list[Answer]]:
    """Those that started before the moment, and the others."""
    before: list[Answer] = []
    after: list[Answer] = []
    for answer in answers:
        (before if answer.started < moment else after).append(answer)
    return before, after


def _moved(
    screen: Screen, event: str, before: Iterable[Answer], after: Iterable[Answer], states: Mapping[str, str]
) -> None:
    """A table of who answered before an event and after it."""
    then, now = by_upstream(before), by_upstream(after)
    rows = [(name, then[name], now[name], state) for name, state in states.items()]
    screen.table(("upstream", f">before {event}", ">after it", "the sidecar says"), rows)


def _status(span: Span) -> object:
    return span.attributes.get("http.response.status_code")
