"""The benchmark's own arithmetic: a wrong ruler is worse than none."""

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.chart import chart
from bench.receiver import count_spans
from bench.report import summary
from bench.rows import ROWS, verdict
from bench.statistics import Samples


@pytest.mark.parametrize("counts", [[], [0], [1], [3, 0, 130]])
def test_the_receiver_counts_as_many_spans_as_the_official_classes(counts: list[int]) -> None:
    message = ExportTraceServiceRequest()
    for count in counts:
        scope = message.resource_spans.add(schema_url="x" * 300).scope_spans.add()
        for number in range(count):
            span = scope.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="GET", start_time_unix_nano=number)
            span.attributes.add(key="http.route").value.string_value = "/" * number
            span.links.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    assert count_spans(message.SerializeToString()) == sum(counts)


def test_a_ratio_is_made_inside_a_round() -> None:
    samples = Samples()
    for number, (one, other) in enumerate([(10, 20), (100, 100), (30, 20)]):  # the second round was a slow one
        samples.add(number, "native", {"cpu_200": one})
        samples.add(number, "nginx", {"cpu_200": other})
    found = samples.against("cpu_200", "native", "nginx")
    assert found is not None
    assert (found.low, found.middle, found.high) == (0.5, 1.0, 1.5)


def test_a_round_without_one_side_gives_no_ratio() -> None:
    samples = Samples()
    samples.add(0, "native", {"cpu_200": 10})
    samples.add(1, "native", {"cpu_200": 10})
    samples.add(1, "nginx", {"cpu_200": 5})
    found = samples.against("cpu_200", "native", "nginx")
    assert found is not None
    assert found.low == found.high == 2
    assert samples.against("cpu_10k", "native", "nginx") is None


def test_a_row_is_missed_above_its_must() -> None:
    row = ROWS[0]
    assert [verdict(row, value) for value in (row.aim, row.must, row.must + 0.01)] == ["aim", "must", "MISSED"]


def test_tables_and_picture_are_made_of_whatever_was_measured() -> None:
    samples = Samples()
    samples.add(0, "native+otel", {"cpu_200": 50.0, "p50": 200.0})
    samples.add(0, "envoy+otel", {"cpu_200": 100.0, "p50": 300.0})
    samples.add(0, "direct", {"p50": 100.0})
    text = summary(samples, "a day")
    assert (
        "| CPU, 200 B, traced, against Envoy with its tracer | ≤ 0.95 | ≤ 0.5 | - | 0.50 (0.50 to 0.50) aim |" in text
    )
    assert (
        "| added p50 at 500/s, traced, against Envoy with its tracer | ≤ 0.95 | ≤ 0.6 | - | 0.50 (0.50 to 0.50) aim |"
        in text
    )
    assert chart(samples, "a day").count("<rect") == 3  # the ground and two bars


def test_a_round_in_which_noise_ate_a_difference_says_nothing() -> None:
    row = next(row for row in ROWS if row.name.startswith("added p99"))
    samples = Samples()
    for number, (direct, ours) in enumerate([(100, 150), (100, 90)]):  # the second origin was slower than the proxy
        samples.add(number, "direct", {"p99": direct})
        samples.add(number, "native+otel", {"p99": ours})
        samples.add(number, "envoy+otel", {"p99": 200})
    found = samples.ratio(row.make("native"))
    assert found is not None
    assert found.low == found.high == 0.5
