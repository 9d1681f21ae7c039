"""The tables that people read, in Markdown: ratios with their spread first, figures for orientation behind them."""

from collections.abc import Iterable, Sequence

from bench.rows import ROWS, verdict
from bench.special import FILTERS, POLICIES, SCALES
from bench.statistics import Samples, Spread
from bench.systems import KUBERNETES, SYSTEMS

ENGINES = ("aiohttp", "native")
DETAILS = (  # heading, metric, form
    ("CPU µs 10 KiB", "cpu_10k", ".0f"),
    ("at 500/s", "cpu_10k_500", ".0f"),
    ("CPU µs 1 MiB", "cpu_1m", ".0f"),
    ("at 50/s", "cpu_1m_50", ".0f"),
    ("growth MiB, 100 MiB", "growth_100m", ".1f"),
    ("RSS MiB idle", "rss_idle", ".0f"),
    ("after load", "rss_after", ".0f"),
    ("KiB a connection", "idle_kib", ".0f"),
    ("1,000 idle: CPU ms/s", "idle_cpu", ".1f"),
    ("start ms", "startup", ".0f"),
    ("WebSocket µs a message", "websocket", ".0f"),
)
_FOOT = """
Each cell is the median over the rounds (least to greatest). A ratio is made inside a round, where both sides were
measured within a few minutes; systems run in turn, in reverse order every other round. Figures in µs, ms and MiB
depend on the machine and on what else it does: compare ratios. CPU is the process's own clock, all threads and
child processes. The system measured has one core to itself; origin, load generator and OTLP receiver share the
other. Traced means: every request, two spans each, exported over OTLP/HTTP to a receiver that counted them; less
than 99 % of them would have ended the run (OTEL_BSP_MAX_QUEUE_SIZE is 65536 for the textbook proxy: with the SDK's
2,048 the receiver's pauses lose spans; the others run with their defaults).
"""


def summary(samples: Samples, heading: str) -> str:
    """The whole report."""
    parts = [
        f"# Benchmark\n\n{heading}\n",
        "## What is to be reached\n", reach(samples),
        "## A request of 200 bytes\n", main_table(samples),
        ground(samples),
        "## Bodies, latency, memory\n", detail(samples),
        "## Endpoints and routes: CPU in µs for a request, p99 in µs at 500/s\n", scale(samples),
        "## Filters: CPU against no filter\n", filters(samples),
        "## Ten endpoints, one 50 times slower: ms at 200/s\n", balance(samples),
        "## Memory with tracing and Kubernetes discovery: MiB, against Envoy with its tracer\n", kubernetes(samples),
        _FOOT,
    ]  # fmt: skip
    return "\n".join(parts)


def reach(samples: Samples) -> str:
    """The rows of `rows.py`, for each engine."""
    lines = []
    for row in ROWS:
        cells = []
        for engine in ENGINES:
            found = samples.ratio(row.make(engine))
            cells.append(f"{found:.2f} {verdict(row, found.middle)}" if found else "-")
        lines.append([row.name, f"≤ {row.must:g}", f"≤ {row.aim:g}", *cells])
    return _table(["", "must", "aim", *(f"engine {engine}" for engine in ENGINES)], lines)


def main_table(samples: Samples) -> str:
    """CPU for a small request, saturated, as ratios."""
    lines = [
        [
            system.label,
            _cell(samples.figure("cpu_200", key), ".0f"),
            *(_cell(samples.against("cpu_200", key, base), ".2f") for base in ("nginx", "envoy+otel", "textbook")),
            _cell(samples.figure("cpu_500", key), ".0f"),
            _cell(samples.against("cpu_500", key, "envoy+otel"), ".2f"),
        ]
        for key, system in SYSTEMS.items()
    ]
    heads = ["", "CPU µs", "x nginx", "x Envoy, traced", "x textbook", "CPU µs at 500/s", "x Envoy, traced"]
    return _table(heads, lines)


def ground(samples: Samples) -> str:
    """What origin and load generator do without a proxy: far from being what limits the others."""
    rate, p50, p99, late = (
        _middle(samples.figure(name, "direct"), ",.0f") for name in ("rate_200", "p50", "p99", "late_p99")
    )
    return (
        f"The origin without a proxy: {rate} requests/s; p50 at 500/s {p50} µs, p99 {p99} µs, "
        f"of which the generator itself was late by {late} µs.\n"
    )


def detail(samples: Samples) -> str:
    """Everything else that is measured on every system."""
    lines = []
    for key, system in SYSTEMS.items():
        latency = [_cell(_added(samples, name, key), ".0f") for name in ("p50", "p90", "p99")]
        lines.append(
            [system.label, *latency, *(_middle(samples.figure(metric, key), form) for _, metric, form in DETAILS)]
        )
    return _table(["", "added p50 µs at 500/s", "p90", "p99", *(name for name, _, _ in DETAILS)], lines)


def scale(samples: Samples) -> str:
    """Growth with endpoints and routes."""
    lines = []
    for key in ("envoy", *ENGINES):
        cells = []
        for number in SCALES:
            cells.append(_middle(samples.figure(f"scale_{number}_cpu", key), ".0f"))
            cells.append(_middle(samples.figure(f"scale_{number}_p99", key), ".0f"))
        growth = samples.ratio(lambda value, key=key: value(f"scale_{SCALES[-1]}_cpu", key) / value("scale_1_cpu", key))
        lines.append([SYSTEMS[key].label, *cells, _cell(growth, ".2f")])
    heads = [text for number in SCALES for text in (f"{number:,}: CPU", "p99")]
    return _table(["", *heads, "1,000 against 1"], lines)


def filters(samples: Samples) -> str:
    """What each filter costs."""
    lines = []
    for name in FILTERS:
        ratios = [
            samples.ratio(lambda value, key=key, name=name: value(f"filter_{name}", key) / value("filter_none", key))
            for key in ENGINES
        ]
        lines.append([name, *(_cell(ratio, ".2f") for ratio in ratios)])
    return _table(["", *(f"engine {engine}" for engine in ENGINES)], lines)


def balance(samples: Samples) -> str:
    """How far the slow endpoint is avoided."""
    lines = [
        [column, *(_cell(samples.figure(metric, column), ".1f") for metric in ("balance_p50", "balance_p99"))]
        for column in POLICIES
    ]
    return _table(["", "p50", "p99"], lines)


def kubernetes(samples: Samples) -> str:
    """Memory as deployed."""
    lines = []
    for key in KUBERNETES:
        cells = []
        for metric in ("rss_idle", "rss_after"):
            ratio = samples.ratio(
                lambda value, key=key, metric=metric: value(metric, key) / value(metric, "envoy+otel")
            )
            cells += [_middle(samples.figure(metric, key), ".1f"), _cell(ratio, ".2f")]
        lines.append([KUBERNETES[key].label, *cells])
    return _table(["", "idle", "x", "after load", "x"], lines)


def _added(samples: Samples, metric: str, key: str) -> Spread | None:
    return samples.ratio(lambda value: value(metric, key) - value(metric, "direct"))


def _cell(found: Spread | None, form: str) -> str:
    return format(found, form) if found else "-"


def _middle(found: Spread | None, form: str) -> str:
    return format(found.middle, form) if found else "-"


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"
