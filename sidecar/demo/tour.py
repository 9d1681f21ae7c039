"""The demo from start to end: start everything, walk through the steps, and stay up or end.

A step that cannot be done (the sidecar went away, say) counts as not held, and the sidecar's last lines are shown.
"""

import asyncio
import contextlib
from collections.abc import Sequence

from sidecar.demo.screen import Screen
from sidecar.demo.stage import Stage
from sidecar.demo.steps import STEPS, Step


async def show(screen: Screen, *, once: bool, steps: Sequence[Step] = STEPS) -> int:
    """Start everything, walk through the steps, end everything; 0 if all held, else 1. Raises StartError."""
    screen.say("A tour of sidecar: a reverse proxy with three upstreams, all on this machine.\n")
    async with Stage(screen) as stage:
        _introduce(stage, screen)
        for step in steps:
            await _walk(step, stage, screen)
        _conclude(screen)
        if not once:
            await _stay(stage, screen)
    return 1 if screen.not_held else 0


def _introduce(stage: Stage, screen: Screen) -> None:
    screen.say(f"""
   caller ──> sidecar {stage.sidecar.address} ──> {", ".join(stage.upstreams)}
   (demo)        │
                 └─ spans ──> OTLP receiver {stage.collector.endpoint} (demo)""")


async def _walk(step: Step, stage: Stage, screen: Screen) -> None:
    """One step; what goes wrong with its sockets is a claim that does not hold."""
    problem: BaseException | None = None
    try:
        await step(stage, screen)
    except* (OSError, EOFError, ValueError, KeyError) as group:
        problem = _first(group)
    if problem is not None:
        screen.claim(f"this step could be done ({type(problem).__name__}: {problem})", held=False)
        for line in stage.sidecar.lines[-5:]:
            screen.say(f"   sidecar | {line}")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _conclude(screen: Screen) -> None:
    if screen.not_held:
        screen.say(f"\n{len(screen.not_held)} of {screen.claims} claims did NOT hold:")
        for claim in screen.not_held:
            screen.say(f"   - {claim}")
    else:
        screen.say(f"\nAll {screen.claims} claims held.")


async def _stay(stage: Stage, screen: Screen) -> None:
    """Keep everything up until a signal cancels this, or the sidecar ends."""
    proxy, admin = f"http://{stage.sidecar.address}", f"http://{stage.admin}"
    address, name = next(iter(stage.names.items()))
    lines = (
        (f"curl -i {proxy}/hello", "a request through the sidecar"),
        (f"curl '{admin}/clusters?format=text'", "its endpoints: state, load, latency"),
        (f"curl '{admin}/explain?url=/hello&format=text'", "where a request goes, and why"),
        (f"curl {admin}/metrics", "Prometheus metrics"),
        (f"curl -X POST '{address}/demo/behave?delay_ms=300'", f"make {name} slow"),
        (f"vi {stage.slices}", "edit the slices"),
    )
    width = max(len(command) for command, _ in lines)
    screen.say("\nEverything stays up. From another terminal, try:")
    for command, about in lines:
        screen.say(f"   {command:{width}}   {about}")
    screen.say("Ctrl-C ends everything.")
    with contextlib.suppress(asyncio.CancelledError):
        await stage.sidecar.ended()
        screen.claim("the sidecar runs until Ctrl-C", held=False)
    screen.say("\nEnding what was started.")
