"""Reads spans from OTLP protobuf bytes (opentelemetry-proto `trace.proto`): the fields that the demo shows.

An own reader, since protobuf is no dependency of the sidecar. It shares no code with the sidecar's encoder, so that a
mistake there shows here.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Value: TypeAlias = str | bool | int | float | None
Kind: TypeAlias = Literal["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]

_KINDS: tuple[Kind, ...] = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_ERROR = 2  # Status.StatusCode.STATUS_CODE_ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span; ids in hex, an empty `parent_id` for a root, times in nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: Kind
    start_ns: int
    end_ns: int
    error: bool
    attributes: Mapping[str, Value]


def read(request: bytes) -> list[Span]:
    """The spans of an `ExportTraceServiceRequest`; raises ValueError where the bytes are none."""
    try:
        return [
            _span(span)
            for resource_spans in _messages(request, 1)
            for scope_spans in _messages(resource_spans, 2)
            for span in _messages(scope_spans, 2)
        ]
    except (IndexError, struct.error) as error:
        raise ValueError("these bytes are no OTLP trace request") from error


def _span(data: bytes) -> Span:
    ids = {1: "", 2: "", 4: ""}
    numbers = {6: 0, 7: 0, 8: 0}
    name, error = "", False
    attributes: dict[str, Value] = {}
    for number, value in _fields(data):
        if isinstance(value, int):
            numbers[number] = value
        elif number in ids:
            ids[number] = value.hex()
        elif number == 5:
            name = value.decode()
        elif number == 9:
            key, attribute = _key_value(value)
            attributes[key] = attribute
        elif number == 15:
            error = dict(_fields(value)).get(3) == _ERROR
    kind = _KINDS[numbers[6]] if numbers[6] < len(_KINDS) else "UNSPECIFIED"
    return Span(
        trace_id=ids[1], span_id=ids[2], parent_id=ids[4], name=name, kind=kind, start_ns=numbers[7],
        end_ns=numbers[8], error=error, attributes=attributes,
    )  # fmt: skip


def _key_value(data: bytes) -> tuple[str, Value]:
    """A `KeyValue`; None for values of other types than text, number and truth."""
    key, result = "", None
    for number, value in _fields(data):
        if isinstance(value, bytes) and number == 1:
            key = value.decode()
        elif isinstance(value, bytes) and number == 2:
            result = _any_value(value)
    return key, result


def _any_value(data: bytes) -> Value:
    for number, value in _fields(data):
        match number, value:
            case 1, bytes():
                return value.decode()
            case 2, int():
                return bool(value)
            case 3, int():
                return value - (1 << 64) if value >> 63 else value
            case 4, int():
                return float(struct.unpack("<d", value.to_bytes(8, "little"))[0])
            case _:
                return None
    return None


def _messages(data: bytes, wanted: int) -> Iterator[bytes]:
    """The embedded messages of one field."""
    return (value for number, value in _fields(data) if number == wanted and isinstance(value, bytes))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers with their values: varints and fixed widths as unsigned integers, the rest as bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                value, at = _varint(data, at)
                yield tag >> 3, value
            case 2:
                size, at = _varint(data, at)
                if at + size > len(data):
                    raise ValueError("a field is cut short")
                yield tag >> 3, data[at : at + size]
                at += size
            case 1 | 5 as wire:
                layout = "<Q" if wire == 1 else "<I"
                yield tag >> 3, struct.unpack_from(layout, data, at)[0]
                at += struct.calcsize(layout)
            case _:
                raise ValueError("an unknown wire type")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number & (1 << 64) - 1, at
    raise ValueError("a varint of more than ten bytes")
