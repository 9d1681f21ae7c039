"""Telemetry under test: built from an environment, running, with what it counted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from prometheus_client.parser import text_string_to_metric_families

from sidecar.config.model import AccessLog
from sidecar.model import Answer, Attempt, Request
from sidecar.telemetry.telemetry import Telemetry, TraceContext, build
from tests.support.spans import answer, attempt, request


@asynccontextmanager
async def running(
    environ: dict[str, str], *, access_log: AccessLog | None = None, within: float = 2.0
) -> AsyncIterator[Telemetry]:
    """Telemetry whose exporters run; ended as the sidecar ends it."""
    telemetry = build(environ, access_log=access_log, version="1.2")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(telemetry.run())
        try:
            yield telemetry
        finally:
            task.cancel()
            await telemetry.aclose(within)


def record(
    telemetry: Telemetry,
    asked: Request | None = None,
    answered: Answer | None = None,
    attempts: tuple[Attempt, ...] | None = None,
    trace_context: TraceContext = "continue",
) -> list[dict[str, str] | None]:
    """One request from begin to end; what each attempt sent upstream."""
    asked = asked or request()
    asked.trace = telemetry.begin(asked, trace_context)
    sent: list[dict[str, str] | None] = []
    for tried in attempts if attempts is not None else (attempt(span_id=0),):
        asked.attempts.append(tried)
        lines = asked.trace.inject(tried)
        sent.append(None if lines is None else {name.decode(): value.decode("latin-1") for name, value in lines})
    telemetry.end(asked, answered or answer())
    return sent


def counted(telemetry: Telemetry, name: str, **labels: str) -> float:
    """The value of a sample on the metrics page, 0 where there is none."""
    for family in text_string_to_metric_families(telemetry.metrics.expose().decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return 0.0


async def until(condition: Callable[[], bool], within: float = 5.0) -> None:
    """Poll for what only another thread knows."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.005)
