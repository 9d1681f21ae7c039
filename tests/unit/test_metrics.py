"""The metrics page, read by the official parser."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from sidecar.telemetry.metrics import DURATION_BUCKETS, Metrics

SERVER = "http_server_request_duration_seconds"
CLIENT = "http_client_request_duration_seconds"


def page(metrics: Metrics) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Values by sample name and labels; no sample may come twice."""
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(metrics.expose().decode()):
        for sample in family.samples:
            labels = frozenset(sample.labels.items())
            assert labels not in found.setdefault(sample.name, {})
            found[sample.name][labels] = sample.value
    return found


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return page(metrics)[name][frozenset(labels.items())]


def request(metrics: Metrics, **changes: object) -> None:
    facts: dict[str, Any] = {
        "listener": "out",
        "route": "r",
        "cluster": "c",
        "method": "GET",
        "status": 200,
        "seconds": 0.02,
    }
    metrics.request(**(facts | changes))


def attempt(metrics: Metrics, **changes: object) -> None:
    facts: dict[str, Any] = {"cluster": "c", "method": "GET", "status": 200, "error_type": None, "seconds": 0.02}
    metrics.attempt(**(facts | changes))


def test_a_request_is_counted_in_every_bucket_that_holds_it() -> None:
    metrics = Metrics()
    request(metrics, seconds=0.02)
    request(metrics, seconds=0.05)
    request(metrics, seconds=60)
    labels = {"listener": "out", "route": "r", "cluster": "c", "method": "GET", "status_class": "2xx"}
    buckets = [value(metrics, SERVER + "_bucket", **labels, le=str(float(bound))) for bound in DURATION_BUCKETS]
    assert buckets == [0, 0, 1] + [2] * 11
    assert value(metrics, SERVER + "_bucket", **labels, le="+Inf") == 3
    assert value(metrics, SERVER + "_count", **labels) == 3
    assert value(metrics, SERVER + "_sum", **labels) == pytest.approx(60.07)


@pytest.mark.parametrize(
    ("status", "named"),
    [(None, "none"), (101, "1xx"), (204, "2xx"), (302, "3xx"), (404, "4xx"), (503, "5xx"), (999, "none")],
)
def test_statuses_are_counted_by_class(status: int | None, named: str) -> None:
    metrics = Metrics()
    request(metrics, status=status)
    attempt(metrics, status=status, error_type="reset")
    labels = {"listener": "out", "route": "r", "cluster": "c", "method": "GET", "status_class": named}
    assert value(metrics, SERVER + "_count", **labels) == 1
    assert value(metrics, CLIENT + "_count", cluster="c", method="GET", status_class=named, error_type="reset") == 1


def test_unknown_methods_share_one_label() -> None:
    metrics = Metrics()
    for method in ("get", "X", "\n"):
        request(metrics, method=method)
        attempt(metrics, method=method)
    assert value(metrics, CLIENT + "_count", cluster="c", method="_OTHER", status_class="2xx", error_type="") == 3


def test_series_above_the_limit_are_counted_as_overflow() -> None:
    metrics = Metrics(most_series=5)
    for number in range(20):
        request(metrics, cluster=f"c{number}")
        attempt(metrics, cluster=f"c{number}")
        request(metrics, cluster=f"c{number}")
    found = page(metrics)
    assert len(found[SERVER + "_count"]) == 6
    assert sum(found[SERVER + "_count"].values()) == 40
    overflow = dict.fromkeys(("listener", "route", "cluster", "method", "status_class"), "_overflow")
    assert value(metrics, SERVER + "_count", **overflow) == 30
    assert value(metrics, "sidecar_metrics_overflowed", family="server") == 30
    assert value(metrics, "sidecar_metrics_overflowed", family="client") == 15


def test_counters_above_the_limit_are_counted_as_overflow() -> None:
    metrics = Metrics(most_series=3)
    for number in range(10):
        metrics.retried(f"c{number}", "503")
    found = page(metrics)["sidecar_retries_total"]
    assert len(found) == 4
    assert value(metrics, "sidecar_retries_total", cluster="_overflow", reason="_overflow") == 7


def test_every_counter_counts_under_its_name() -> None:
    metrics = Metrics()
    metrics.retried("c", "503")
    metrics.ejected("c", "consecutive_5xx")
    metrics.relisted("shop", "gone")
    metrics.skipped("slice")
    metrics.reloaded(ok=True)
    metrics.reloaded(ok=False)
    metrics.spans_exported(3)
    metrics.spans_dropped(2, "queue_full")
    metrics.spans_dropped(1, "queue_full")
    metrics.log_lines_dropped(4)
    metrics.loop_lag(0.004)
    assert value(metrics, "sidecar_retries_total", cluster="c", reason="503") == 1
    assert value(metrics, "sidecar_ejections_total", cluster="c", reason="consecutive_5xx") == 1
    assert value(metrics, "sidecar_discovery_relists_total", namespace="shop", reason="gone") == 1
    assert value(metrics, "sidecar_discovery_skipped_total", kind="slice") == 1
    assert value(metrics, "sidecar_config_reloads_total", result="ok") == 1
    assert value(metrics, "sidecar_config_reloads_total", result="refused") == 1
    assert value(metrics, "sidecar_spans_exported_total") == 3
    assert value(metrics, "sidecar_spans_dropped_total", reason="queue_full") == 3
    assert value(metrics, "sidecar_access_log_dropped_total") == 4
    assert value(metrics, "sidecar_loop_lag_seconds_bucket", le="0.005") == 1


def test_gauges_are_computed_at_each_scrape_and_share_a_family_by_name() -> None:
    metrics = Metrics()
    size = 1.0
    metrics.gauges(lambda: [("sidecar_pool", "Connections.", {"cluster": "a"}, size)])
    metrics.gauges(lambda: [("sidecar_pool", "Connections.", {"cluster": "b"}, 5.0)])
    assert value(metrics, "sidecar_pool", cluster="a") == 1
    size = 2.0
    assert value(metrics, "sidecar_pool", cluster="a") == 2
    assert value(metrics, "sidecar_pool", cluster="b") == 5
    assert metrics.expose().count(b"# TYPE sidecar_pool gauge") == 1


def test_the_page_has_no_created_series() -> None:
    metrics = Metrics()
    metrics.retried("c", "503")
    assert b"_created" not in metrics.expose()


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_label_value_survives_the_text_format(route: str, cluster: str) -> None:
    metrics = Metrics()
    request(metrics, route=route, cluster=cluster)
    found = page(metrics)[SERVER + "_count"]
    [labels] = [dict(key) for key in found]
    assert (labels["route"], labels["cluster"]) == (route, cluster)
