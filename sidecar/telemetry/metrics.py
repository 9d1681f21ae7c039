"""The Prometheus metrics: what is counted under which name, with label values that no peer can make grow.

Names and buckets of the durations follow the semantic conventions ("HTTP metrics"), in Prometheus spelling. Methods
outside the known list count as `_OTHER`; a family holds 1,000 series, further ones are counted under `_overflow`.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client import Histogram as ClientHistogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sidecar.telemetry.environment import KNOWN_METHODS
from sidecar.telemetry.histogram import OVERFLOW, Histogram, Series

DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_MOST_SERIES = 1000
_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")

Gauge: TypeAlias = tuple[str, str, dict[str, str], float]
"""Name, help, labels, value."""


class Metrics:
    """All families of one process."""

    def __init__(self, methods: frozenset[str] = KNOWN_METHODS, most_series: int = _MOST_SERIES) -> None:
        self.registry = CollectorRegistry()
        self._methods = {method: method for method in methods}
        self._server = Histogram(
            "http_server_request_duration_seconds",
            "Duration of requests, from the head to the last byte of the response.",
            ("listener", "route", "cluster", "method", "status_class"),
            DURATION_BUCKETS,
            most_series,
        )
        self._client = Histogram(
            "http_client_request_duration_seconds",
            "Duration of attempts, body included.",
            ("cluster", "method", "status_class", "error_type"),
            DURATION_BUCKETS,
            most_series,
        )
        self._served: dict[tuple[str, str, str, str, int], Series] = {}
        self._sent: dict[tuple[str, str, int, str | None], Series] = {}
        self._children: dict[tuple[Counter, str, str], Counter] = {}
        self._most = most_series
        self._make_counters()
        self._lag = ClientHistogram(
            "sidecar_loop_lag_seconds", "How late the event loop was.", buckets=_LAG_BUCKETS, registry=self.registry
        )
        self._gauges = _Gauges()
        self._gauges.sources.append(self._overflow_gauges)
        self.registry.register(self._gauges)

    def _make_counters(self) -> None:
        def counter(name: str, description: str, *labels: str) -> Counter:
            return Counter(name, description, labels, registry=self.registry)

        self._retries = counter("sidecar_retries_total", "Attempts after the first.", "cluster", "reason")
        self._ejections = counter("sidecar_ejections_total", "Endpoints taken out for a while.", "cluster", "reason")
        self._filtered = counter("sidecar_filter_outcomes_total", "What filters decided.", "filter", "outcome")
        self._relists = counter(
            "sidecar_discovery_relists_total", "Lists that replaced a watch.", "namespace", "reason"
        )
        self._skips = counter("sidecar_discovery_skipped_total", "Malformed slices and entries left out.", "kind")
        self._reloads = counter("sidecar_config_reloads_total", "Reloads of the configuration.", "result")
        self._exported = counter("sidecar_spans_exported_total", "Spans a collector accepted.")
        self._dropped = counter("sidecar_spans_dropped_total", "Spans that reached no collector.", "reason")
        self._lost_lines = counter("sidecar_access_log_dropped_total", "Access-log lines that were not written.")

    def request(
        self, *, listener: str, route: str, cluster: str, method: str, status: int | None, seconds: float
    ) -> None:
        """One request answered, or ended with no answer (`status` None)."""
        method = self._methods.get(method, "_OTHER")
        key = (listener, route, cluster, method, status // 100 if status else 0)
        series = self._served.get(key) or self._server.series((listener, route, cluster, method, _class(key[4])))
        if series is None:
            series = self._server.overflow()
        else:
            self._served[key] = series
        self._server.observe(series, seconds)

    def attempt(self, *, cluster: str, method: str, status: int | None, error_type: str | None, seconds: float) -> None:
        """One try of a request on one endpoint."""
        method = self._methods.get(method, "_OTHER")
        key = (cluster, method, status // 100 if status else 0, error_type)
        series = self._sent.get(key) or self._client.series((cluster, method, _class(key[2]), error_type or ""))
        if series is None:
            series = self._client.overflow()
        else:
            self._sent[key] = series
        self._client.observe(series, seconds)

    def retried(self, cluster: str, reason: str) -> None:
        """Another attempt was made because of `reason`."""
        self._child(self._retries, cluster, reason).inc()

    def ejected(self, cluster: str, reason: str) -> None:
        """An endpoint was taken out."""
        self._child(self._ejections, cluster, reason).inc()

    def filtered(self, kind: str, outcome: str) -> None:
        """A filter decided something; both words come from short lists."""
        self._child(self._filtered, kind, outcome).inc()

    def relisted(self, namespace: str, reason: str) -> None:
        """A watch had to list anew."""
        self._child(self._relists, namespace, reason).inc()

    def skipped(self, kind: str) -> None:
        """A malformed slice or entry was left out."""
        self._child(self._skips, kind).inc()

    def reloaded(self, ok: bool) -> None:
        """A new configuration was taken, or refused."""
        self._child(self._reloads, "ok" if ok else "refused").inc()

    def spans_exported(self, count: int) -> None:
        """A collector accepted spans."""
        self._exported.inc(count)

    def spans_dropped(self, count: int, reason: str) -> None:
        """Spans were given up."""
        self._child(self._dropped, reason).inc(count)

    def log_lines_dropped(self, count: int) -> None:
        """Access-log lines were given up."""
        self._lost_lines.inc(count)

    def loop_lag(self, seconds: float) -> None:
        """The loop was this late."""
        self._lag.observe(seconds)

    def gauges(self, collect: Callable[[], Iterable[Gauge]]) -> None:
        """Compute these gauges at each scrape."""
        self._gauges.sources.append(collect)

    def expose(self) -> bytes:
        """All metrics in Prometheus text format 0.0.4; prometheus_client's `_created` series are left out."""
        histograms = self._server.expose() + self._client.expose()
        return histograms.encode() + generate_latest(_WithoutCreated(self.registry))

    def _child(self, family: Counter, value: str, second: str = "") -> Counter:
        key = (family, value, second)
        child = self._children.get(key)
        if child is None:
            values = (value, second) if second else (value,)
            if len(self._children) >= self._most:
                return family.labels(*(OVERFLOW for _ in values))
            child = self._children[key] = family.labels(*values)
        return child

    def _overflow_gauges(self) -> Iterator[Gauge]:
        for name, family in (("server", self._server), ("client", self._client)):
            description = "Observations recorded without their labels because the family is full."
            yield "sidecar_metrics_overflowed", description, {"family": name}, family.overflowed


class _Gauges(Collector):
    """Gauges computed at scrape time; samples of one name from several sources make one family."""

    def __init__(self) -> None:
        self.sources: list[Callable[[], Iterable[Gauge]]] = []

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for source in self.sources:
            for name, description, labels, value in source():
                family = families.setdefault(name, Metric(name, description, "gauge"))
                family.add_sample(name, labels, value)
        return families.values()


class _WithoutCreated(Collector):
    """The registry without the `_created` samples, which double the page and which nobody reads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def _class(hundreds: int) -> str:
    return _CLASSES[hundreds] if hundreds < len(_CLASSES) else "none"
