"""Encodes spans as OTLP protobuf bytes (opentelemetry-proto `trace.proto`), and reads the collector's answer.

Written by hand because the official encoder costs ten times as much and imports protobuf; the tests compare the two
field by field. What repeats (a `Shape`: name, kind, status and the attributes of few values) is encoded once and kept
on the shape.
"""

import struct
from collections.abc import Iterable, Mapping

from sidecar.telemetry.spans import Event, Link, Shape, Span, Value

_ONE_BYTE = tuple(bytes((number,)) for number in range(128))
_WITH_PARENT = struct.Struct("<2s16s2s8s2s8s2sIBQBQ")  # ids, parent, flags, times
_NO_PARENT = struct.Struct("<2s16s2s8s2sIBQBQ")
_MOST_KEPT, _LONGEST_KEPT = 2048, 256
_FLAGS_TAG = b"\x85\x01"
_HAS_REMOTE, _IS_REMOTE = 0x100, 0x200  # SpanFlags: bits 8 and 9, above the eight W3C trace flags


def varint(number: int) -> bytes:
    """A base-128 varint; negative numbers as 64-bit two's complement, which takes ten bytes."""
    if 0 <= number < 0x80:
        return _ONE_BYTE[number]
    if 0 <= number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    number &= (1 << 64) - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def text(tag: bytes, value: str) -> bytes:
    """A string field; code points that UTF-8 cannot carry are escaped."""
    data = value.encode("utf-8", "backslashreplace")
    return tag + varint(len(data)) + data


def message(tag: bytes, data: bytes) -> bytes:
    """A field that holds a message already encoded."""
    return tag + varint(len(data)) + data


def key_value(tag: bytes, key: str, value: Value) -> bytes:
    """A `KeyValue` field."""
    if isinstance(value, str):
        encoded = text(b"\x0a", value)
    elif isinstance(value, bool):
        encoded = b"\x10\x01" if value else b"\x10\x00"
    elif isinstance(value, int):
        encoded = b"\x18" + varint(value)
    else:
        encoded = b"\x21" + struct.pack("<d", value)
    return message(tag, text(b"\x0a", key) + message(b"\x12", encoded))


class Encoder:
    """Encodes spans, and keeps up to 2,048 encoded attributes that recur (peers, ports, paths)."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str | int], bytes] = {}

    def encode(self, span: Span) -> bytes:
        """The span as a `spans` field of `ScopeSpans`, so that encoded spans join to a batch."""
        flags = span.flags | _HAS_REMOTE | _IS_REMOTE if span.remote else span.flags | _HAS_REMOTE
        trace_id, span_id = span.trace_id.to_bytes(16, "big"), span.span_id.to_bytes(8, "big")
        if span.parent_id:
            head = _WITH_PARENT.pack(
                b"\x0a\x10", trace_id, b"\x12\x08", span_id, b"\x22\x08", span.parent_id.to_bytes(8, "big"),
                _FLAGS_TAG, flags, 0x39, span.start_ns, 0x41, span.end_ns,
            )  # fmt: skip
        else:
            head = _NO_PARENT.pack(
                b"\x0a\x10", trace_id, b"\x12\x08", span_id, _FLAGS_TAG, flags, 0x39, span.start_ns, 0x41, span.end_ns
            )
        shape, kept = span.shape, self._kept
        parts = [head, shape.encoded or _encode_shape(shape)]
        parts += [kept.get(pair) or self._attribute(pair) for pair in span.attributes]
        if span.trace_state:
            parts.append(text(b"\x1a", span.trace_state))
        if span.has_extras:
            parts.append(_extras(span))
        body = b"".join(parts)
        return b"\x12" + varint(len(body)) + body

    def _attribute(self, pair: tuple[str, str | int]) -> bytes:
        key, value = pair
        encoded = key_value(b"\x4a", key, value)
        if len(encoded) <= _LONGEST_KEPT:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[pair] = encoded
        return encoded


def _encode_shape(shape: Shape) -> bytes:
    parts = [text(b"\x2a", shape.name), b"\x30" + varint(shape.kind)]
    parts += (key_value(b"\x4a", key, value) for key, value in shape.attributes)
    parts.append(b"\x7a\x02\x18\x02" if shape.error else b"\x7a\x00")
    shape.encoded = b"".join(parts)
    return shape.encoded


def _extras(span: Span) -> bytes:
    parts = [_event(event) for event in span.events]
    parts += (_link(link) for link in span.links)
    for tag, dropped in ((0x50, span.dropped_attributes), (0x60, span.dropped_events), (0x70, span.dropped_links)):
        if dropped:
            parts.append(_ONE_BYTE[tag] + varint(dropped))
    return b"".join(parts)


def _event(event: Event) -> bytes:
    parts = [b"\x09" + struct.pack("<Q", event.time_ns), text(b"\x12", event.name)]
    parts += (key_value(b"\x1a", key, value) for key, value in event.attributes)
    if event.dropped:
        parts.append(b"\x20" + varint(event.dropped))
    return message(b"\x5a", b"".join(parts))


def _link(link: Link) -> bytes:
    ids = b"\x0a\x10" + link.trace_id.to_bytes(16, "big") + b"\x12\x08" + link.span_id.to_bytes(8, "big")
    state = text(b"\x1a", link.trace_state) if link.trace_state else b""
    return message(b"\x6a", ids + state + b"\x35" + struct.pack("<I", link.flags | _HAS_REMOTE | _IS_REMOTE))


class Envelope:
    """The request around a batch: one resource, one scope; encoded once."""

    __slots__ = ("_resource", "_schema", "_scope")

    def __init__(self, resource: Mapping[str, Value], scope: str, version: str, schema_url: str = "") -> None:
        attributes = b"".join(key_value(b"\x0a", key, value) for key, value in resource.items())
        self._resource = message(b"\x0a", attributes)
        self._scope = message(b"\x0a", text(b"\x0a", scope) + text(b"\x12", version))
        self._schema = text(b"\x1a", schema_url) if schema_url else b""

    def wrap(self, spans: Iterable[bytes]) -> bytes:
        """An `ExportTraceServiceRequest` of encoded spans."""
        scope_spans = self._scope + b"".join(spans) + self._schema
        return message(b"\x0a", self._resource + message(b"\x12", scope_spans) + self._schema)


def partial_success(answer: bytes) -> tuple[int, str]:
    """`rejected_spans` and `error_message` of an `ExportTraceServiceResponse`; nothing where it cannot be read."""
    try:
        inner = b"".join(data for number, data in _fields(answer) if number == 1 and isinstance(data, bytes))
        fields = dict(_fields(inner))
    except (IndexError, ValueError):
        return 0, ""
    rejected, reason = fields.get(1, 0), fields.get(2, b"")
    return (
        rejected if isinstance(rejected, int) and rejected < 1 << 63 else 0,
        reason.decode("utf-8", "backslashreplace") if isinstance(reason, bytes) else "",
    )


def _fields(data: bytes) -> Iterable[tuple[int, int | bytes]]:
    """Field numbers with integers or bytes; raises ValueError or IndexError where this is no message."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        value: int | bytes
        if tag & 7 == 0:
            value, at = _read_varint(data, at)
        else:
            if tag & 7 == 2:
                size, at = _read_varint(data, at)
            else:
                size = {1: 8, 5: 4}.get(tag & 7, len(data) + 1)
            value, at = data[at : at + size], at + size
            if at > len(data):
                raise ValueError("truncated")
        yield tag >> 3, value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return number, at
