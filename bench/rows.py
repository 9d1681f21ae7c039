"""What the sidecar is to reach: each row a ratio inside a round, with what it must be and what is aimed at."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.statistics import Lookup

TRACER, NGINX, TEXTBOOK = "envoy+otel", "nginx", "textbook"


@dataclass(frozen=True)
class Row:
    """`make(engine)` gives the function that makes a round's figure."""

    name: str
    must: float
    aim: float
    make: Callable[[str], Callable[[Lookup], float]]
    unit: str = "x"


def _traced(metric: str, base: str) -> Callable[[str], Callable[[Lookup], float]]:
    return lambda engine: lambda value: value(metric, f"{engine}+otel") / value(metric, base)


def _untraced(metric: str, base: str) -> Callable[[str], Callable[[Lookup], float]]:
    return lambda engine: lambda value: value(metric, engine) / value(metric, base)


def _added(metric: str) -> Callable[[str], Callable[[Lookup], float]]:
    """Latency less the origin's own, against Envoy's with its tracer."""
    return lambda engine: (
        lambda value: _share(
            value(metric, f"{engine}+otel") - value(metric, "direct"),
            value(metric, TRACER) - value(metric, "direct"),
        )
    )


def _tracing(engine: str) -> Callable[[Lookup], float]:
    return lambda value: _share(
        value("cpu_200", f"{engine}+otel") - value("cpu_200", engine),
        value("cpu_200", TRACER) - value("cpu_200", "envoy"),
    )


def _share(ours: float, theirs: float) -> float:
    """Of two differences; where noise ate one, the round says nothing."""
    if min(ours, theirs) <= 0:
        raise ZeroDivisionError
    return ours / theirs


def _memory(metric: str) -> Callable[[str], Callable[[Lookup], float]]:
    return lambda engine: lambda value: value(metric, f"{engine}+k8s") / value(metric, TRACER)


ROWS = (
    Row("CPU, 200 B, traced, against Envoy with its tracer", 0.95, 0.50, _traced("cpu_200", TRACER)),
    Row("CPU, 200 B, traced, against untraced textbook aiohttp", 0.48, 0.30, _traced("cpu_200", TEXTBOOK)),
    Row("CPU, 200 B, untraced, against nginx", 2.5, 1.6, _untraced("cpu_200", NGINX)),
    Row("what tracing adds, against what it adds to Envoy", 0.70, 0.35, _tracing),
    Row("added p50 at 500/s, traced, against Envoy with its tracer", 0.95, 0.60, _added("p50")),
    Row("added p99 at 500/s, traced, against Envoy with its tracer", 0.95, 0.60, _added("p99")),
    Row("RSS idle, Kubernetes discovery and tracing on, against Envoy", 0.75, 0.50, _memory("rss_idle")),
    Row("RSS after load, the same", 0.75, 0.50, _memory("rss_after")),
    Row("CPU for a streamed MiB, against Envoy", 0.9, 0.65, _untraced("cpu_1m", "envoy")),
    Row(
        "growth while 100 MiB pass, traced, MiB", 1.5, 0.5,
        lambda engine: lambda value: value("growth_100m", f"{engine}+otel"), unit="",
    ),
    Row(
        "CPU with 1,000 endpoints and routes, against 1", 1.15, 1.05,
        lambda engine: lambda value: value("scale_1000_cpu", engine) / value("scale_1_cpu", engine),
    ),
    Row(
        "one slow endpoint of ten: p99 against Envoy's least request", 0.3, 0.2,
        lambda engine: lambda value: value("balance_p99", engine) / value("balance_p99", "envoy least request"),
    ),
)  # fmt: skip


def verdict(row: Row, middle: float) -> str:
    """In a word."""
    if middle <= row.aim:
        return "aim"
    return "must" if middle <= row.must else "MISSED"
