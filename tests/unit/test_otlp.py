"""OTLP bytes, judged by the official protobuf classes and compared with the SDK's own encoder."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from sidecar.telemetry.bridge import Readable
from sidecar.telemetry.otlp import Encoder, Envelope, key_value, partial_success, varint
from sidecar.telemetry.spans import CLIENT, SERVER, Event, Link, Shape, Span, Value

TRACE_ID, SPAN_ID, PARENT_ID = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, 0x00F067AA0BA902B7

text = st.text(alphabet=st.characters(codec="utf-8"), max_size=300)
int64 = st.integers(-(1 << 63), (1 << 63) - 1)
values = st.one_of(text, int64, st.booleans(), st.floats(allow_nan=False))
names = text.filter(bool)
span_ids = st.integers(1, (1 << 64) - 1)
times = st.integers(1, (1 << 63) - 1)
pairs = st.dictionaries(names, values, max_size=6).map(lambda found: list(found.items()))
states = st.sampled_from(["", "a=1", "a=1,b=2"])


def decode(encoded: bytes) -> trace_pb2.Span:
    [span] = trace_pb2.ScopeSpans.FromString(encoded).spans
    return span


def attributes(span: trace_pb2.Span) -> dict[str, object]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


@st.composite
def spans(draw: st.DrawFn) -> Span:
    shared = draw(pairs)
    own = draw(st.dictionaries(names, text | int64, max_size=4))
    shape = Shape(draw(text), draw(st.sampled_from((SERVER, CLIENT))), shared, error=draw(st.booleans()))
    events = [Event(draw(times), draw(text), draw(pairs)) for _ in range(draw(st.integers(0, 2)))]
    links = [
        Link(draw(st.integers(1, (1 << 128) - 1)), draw(span_ids), draw(st.integers(0, 3)), "")
        for _ in range(draw(st.integers(0, 1)))
    ]
    parent_id = draw(st.just(0) | span_ids)
    return Span(
        shape=shape,
        trace_id=draw(st.integers(1, (1 << 128) - 1)),
        span_id=draw(span_ids),
        parent_id=parent_id,
        remote=bool(parent_id) and draw(st.booleans()),
        flags=draw(st.integers(0, 3)),
        trace_state=draw(states),
        start_ns=draw(times),
        end_ns=draw(times),
        attributes=[(key, value) for key, value in own.items() if key not in dict(shared)],
        events=events,
        links=links,
        has_extras=bool(events or links),
    )


@given(int64)
def test_a_varint_is_what_protobuf_writes(number: int) -> None:
    assert common_pb2.AnyValue(int_value=number).SerializeToString() == b"\x18" + varint(number)


@given(names, values)
def test_a_key_value_is_byte_for_byte_what_protobuf_writes(key: str, value: Value) -> None:
    kind = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}[type(value)]
    official = common_pb2.KeyValue(key=key, value=common_pb2.AnyValue(**{kind: value}))
    assert trace_pb2.Span(attributes=[official]).SerializeToString() == key_value(b"\x4a", key, value)


@given(st.lists(spans(), max_size=3))
def test_a_batch_holds_the_same_as_the_sdks_encoder_says_of_the_same_spans(batch: list[Span]) -> None:
    resource = {"service.name": "orders", "k8s.pod.name": "orders-0"}
    encoder = Encoder()
    ours = service.ExportTraceServiceRequest.FromString(
        Envelope(resource, "sidecar", "1.2", "https://schema").wrap(encoder.encode(span) for span in batch)
    )
    readable = Readable(resource, "1.2", "https://schema")
    theirs = encode_spans([readable(span) for span in batch])
    if not batch:
        assert not ours.resource_spans[0].scope_spans[0].spans
        return
    for span, source in zip(theirs.resource_spans[0].scope_spans[0].spans, batch, strict=True):
        # The SDK leaves the eight W3C flags out; trace.proto: "Bits 0-7 are used for trace flags".
        span.flags |= source.flags
        for link, origin in zip(span.links, source.links, strict=True):
            link.flags |= origin.flags
    assert ours == theirs


@given(spans())
def test_an_encoder_that_has_seen_a_span_encodes_it_the_same_again(span: Span) -> None:
    encoder = Encoder()
    assert encoder.encode(span) == encoder.encode(span) == Encoder().encode(span)


def span(**changes: Any) -> Span:
    shape = Shape("GET", SERVER, [("a", 1)], error=False)
    return Span(shape, TRACE_ID, SPAN_ID, PARENT_ID, True, 3, "", 1, 2, [])._replace(**changes)


def test_ids_are_bytes_and_flags_say_whether_the_parent_is_remote() -> None:
    found = decode(Encoder().encode(span()))
    assert (found.trace_id.hex(), found.span_id.hex(), found.parent_span_id.hex()) == (
        f"{TRACE_ID:032x}",
        f"{SPAN_ID:016x}",
        f"{PARENT_ID:016x}",
    )
    assert found.flags == 0x303
    assert decode(Encoder().encode(span(remote=False, parent_id=0))).flags == 0x103


def test_what_limits_dropped_is_told() -> None:
    event = Event(5, "tried", [("why", "reset")], dropped=7)
    link = Link(TRACE_ID, SPAN_ID, 1, "a=1")
    found = decode(
        Encoder().encode(
            span(
                events=[event], links=[link], dropped_attributes=300, dropped_events=2, dropped_links=1, has_extras=True
            )
        )
    )
    assert (found.dropped_attributes_count, found.dropped_events_count, found.dropped_links_count) == (300, 2, 1)
    assert found.events[0].dropped_attributes_count == 7
    assert (found.links[0].trace_state, found.links[0].flags) == ("a=1", 0x301)


def test_text_that_utf8_cannot_carry_is_escaped() -> None:
    found = decode(Encoder().encode(span(attributes=[("url.path", "/\ud800")])))
    assert attributes(found)["url.path"] == "/\\ud800"


def test_values_longer_than_a_length_byte_survive() -> None:
    long = "x" * 20_000
    found = decode(Encoder().encode(span(attributes=[("url.path", long), ("y", "z" * 120)])))
    assert attributes(found) == {"a": 1, "url.path": long, "y": "z" * 120}


def test_kept_attributes_are_bounded_whatever_peers_send() -> None:
    encoder = Encoder()
    for number in range(5000):
        encoder.encode(span(attributes=[("url.path", f"/{number}"), ("long", "x" * 300 + str(number))]))
    assert len(encoder._kept) <= 2048
    assert all(len(value) <= 256 for value in encoder._kept.values())


# --- the collector's answer ------------------------------------------------------------------------------------------


@given(st.integers(0, (1 << 63) - 1), text)
def test_a_partial_success_is_read(rejected: int, message: str) -> None:
    partial = service.ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    answer = service.ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    assert partial_success(answer) == (rejected, message)


def test_unknown_fields_of_an_answer_are_skipped() -> None:
    known = service.ExportTraceServiceResponse(
        partial_success=service.ExportTracePartialSuccess(rejected_spans=3)
    ).SerializeToString()
    fixed64, fixed32, number = b"\x51" + bytes(8), b"\x55" + bytes(4), b"\x58\x96\x01"
    assert partial_success(fixed64 + fixed32 + number + known) == (3, "")


@pytest.mark.parametrize(
    "answer",
    [b"", b"{}", b"\x0a", b"\x0a\x05", b"\x0b", b"\x0a\x02\x08", b"<html>", b"\x0a\x02\x0a\x00", b"\x80", b"\x08\x01"],
)
def test_an_answer_that_is_no_message_rejects_nothing(answer: bytes) -> None:
    assert partial_success(answer) == (0, "")


@given(st.binary(max_size=60))
def test_any_answer_can_be_read(answer: bytes) -> None:
    rejected, message = partial_success(answer)
    assert 0 <= rejected < 1 << 63
    assert isinstance(message, str)
