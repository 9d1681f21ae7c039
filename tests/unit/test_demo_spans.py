"""The demo's reader of OTLP bytes, judged by the official protobuf classes and by the sidecar's own encoder."""

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from sidecar.demo.spans import read
from sidecar.telemetry.otlp import Encoder, Envelope
from sidecar.telemetry.spans import Shape
from sidecar.telemetry.spans import Span as OwnSpan

_values = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
)
_kinds = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


def _any_value(value: object) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case _:
            return AnyValue(string_value=str(value))


def _request(*spans: trace_pb2.Span) -> bytes:
    scope = trace_pb2.ScopeSpans(spans=spans)
    return ExportTraceServiceRequest(resource_spans=[trace_pb2.ResourceSpans(scope_spans=[scope])]).SerializeToString()


@given(
    attributes=st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), _values, max_size=5),
    kind=st.integers(0, 5),
    times=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
    error=st.booleans(),
    parent=st.binary(min_size=8, max_size=8) | st.just(b""),
)
def test_every_span_of_the_official_classes_is_read_as_it_is(
    attributes: dict[str, object], kind: int, times: tuple[int, int], error: bool, parent: bytes
) -> None:
    code = trace_pb2.Status.STATUS_CODE_ERROR if error else trace_pb2.Status.STATUS_CODE_UNSET
    official = trace_pb2.Span(
        trace_id=bytes(range(16)),
        span_id=bytes(range(8)),
        parent_span_id=parent,
        trace_state="a=1",
        flags=0x101,
        name="GET hello",
        kind=kind,  # type: ignore[arg-type]  # protobuf's enumeration is a number
        start_time_unix_nano=times[0],
        end_time_unix_nano=times[1],
        attributes=[KeyValue(key=key, value=_any_value(value)) for key, value in attributes.items()],
        events=[trace_pb2.Span.Event(name="sidecar.ejection", time_unix_nano=1)],
        status=trace_pb2.Status(code=code, message="why"),
    )
    (span,) = read(_request(official))
    assert (span.trace_id, span.span_id, span.parent_id) == (
        bytes(range(16)).hex(),
        bytes(range(8)).hex(),
        parent.hex(),
    )
    assert (span.name, span.kind, span.error) == ("GET hello", _kinds[kind], error)
    assert (span.start_ns, span.end_ns) == times
    assert span.attributes == attributes


def test_spans_of_all_resources_and_scopes_are_read_in_order() -> None:
    scopes = [trace_pb2.ScopeSpans(spans=[trace_pb2.Span(name=name) for name in names]) for names in ("ab", "c")]
    resources = [trace_pb2.ResourceSpans(scope_spans=scopes), trace_pb2.ResourceSpans(scope_spans=scopes[:1])]
    request = ExportTraceServiceRequest(resource_spans=resources)
    assert [span.name for span in read(request.SerializeToString())] == ["a", "b", "c", "a", "b"]


def test_what_it_has_no_word_for_is_none_or_unspecified() -> None:
    array = KeyValue(key="list", value=AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1)])))
    official = trace_pb2.Span(attributes=[array, KeyValue(key="empty"), KeyValue(key="void", value=AnyValue())])
    (span,) = read(_request(official))
    assert span.attributes == {"list": None, "empty": None, "void": None}
    (strange,) = read(b"\x0a\x06\x12\x04\x12\x02\x30\x63")  # kind 99
    assert strange.kind == "UNSPECIFIED"


def test_the_spans_of_our_own_encoder_are_read() -> None:
    shape = Shape("GET", 3, [("http.response.status_code", 503)], error=True)
    own = OwnSpan(shape, 7, 8, 9, False, 1, "", 10, 20, [("url.full", "http://orders/")])
    body = Envelope({"service.name": "demo"}, "sidecar", "1").wrap([Encoder().encode(own)])
    (span,) = read(body)
    assert (span.trace_id, span.span_id, span.parent_id) == (f"{7:032x}", f"{8:016x}", f"{9:016x}")
    assert (span.kind, span.error, span.end_ns - span.start_ns) == ("CLIENT", True, 10)
    assert span.attributes == {"http.response.status_code": 503, "url.full": "http://orders/"}


@given(st.binary(max_size=60))
@example(b"\x0a")  # ends before the length
@example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")  # a varint without end
@example(b"\x0b")  # a group, which is no longer in use
@example(b"\x09\x00")  # half a fixed64
@example(b"\x0a\x08\x12\x06\x12\x04\x4a\x02\x18\x01")  # an attribute with an unknown field
@example(b"\x0a\x08\x12\x06\x12\x04\x2a\x02\xff\xff")  # a name that is no UTF-8
def test_bytes_that_are_no_spans_are_refused_or_read_but_break_nothing(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert all(0 <= span.start_ns < 1 << 64 for span in read(data))


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_request_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(ValueError, match=r"cut short|no OTLP"):
        read(_request(trace_pb2.Span(name="a name of some length", trace_id=bytes(16)))[:-cut])
