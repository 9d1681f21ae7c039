"""The samplers decide as the SDK's do."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import sampling as sdk

from sidecar.telemetry.sampling import from_environment

ROOTS = {
    "always_on": lambda _: sdk.ALWAYS_ON,
    "always_off": lambda _: sdk.ALWAYS_OFF,
    "traceidratio": sdk.TraceIdRatioBased,
}


def sdk_decision(sampler: sdk.Sampler, trace_id: int, parent_sampled: bool | None) -> bool:
    context = None
    if parent_sampled is not None:
        flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if parent_sampled else 0)
        parent = trace.SpanContext(trace_id, 1, is_remote=True, trace_flags=flags)
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
    return sampler.should_sample(context, trace_id, "name").decision.is_sampled()


@given(
    st.sampled_from(sorted(ROOTS)),
    st.booleans(),
    st.floats(0, 1),
    st.integers(1, (1 << 128) - 1),
    st.sampled_from([None, True, False]),
)
def test_every_sampler_decides_as_the_sdks(
    name: str, parent_based: bool, rate: float, trace_id: int, parent_sampled: bool | None
) -> None:
    root = ROOTS[name](rate)
    theirs = sdk.ParentBased(root) if parent_based else root
    environ = {
        "OTEL_TRACES_SAMPLER": f"parentbased_{name}" if parent_based else name,
        "OTEL_TRACES_SAMPLER_ARG": repr(rate),
    }
    assert from_environment(environ)(trace_id, parent_sampled) is sdk_decision(theirs, trace_id, parent_sampled)


@pytest.mark.parametrize("low", [0, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_the_ratio_looks_at_the_low_64_bits_alone(low: int) -> None:
    sampler = from_environment({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"})
    assert [sampler(high << 64 | low, None) for high in (0, 1, 1 << 63)] == [low < 1 << 63] * 3


def test_the_default_follows_the_parent_and_else_traces() -> None:
    sampler = from_environment({})
    assert [sampler(1, parent) for parent in (None, True, False)] == [True, True, False]


@pytest.mark.parametrize("name", ["jaeger_remote", "parentbased_xray", "on"])
def test_an_unknown_sampler_is_warned_about_once_and_ignored(name: str, caplog: pytest.LogCaptureFixture) -> None:
    sampler = from_environment({"OTEL_TRACES_SAMPLER": name})
    assert [sampler(1, parent) for parent in (None, True, False)] == [True, True, False]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize("argument", ["1.5", "-1", "half", "nan"])
def test_an_invalid_ratio_is_warned_about_and_counts_as_one(argument: str, caplog: pytest.LogCaptureFixture) -> None:
    sampler = from_environment({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": argument})
    assert sampler((1 << 64) - 1, None)
    assert len(caplog.records) == 1


def test_a_missing_ratio_counts_as_one_silently(caplog: pytest.LogCaptureFixture) -> None:
    assert from_environment({"OTEL_TRACES_SAMPLER": "traceidratio"})((1 << 64) - 1, None)
    assert not caplog.records
