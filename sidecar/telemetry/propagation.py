"""Decides what trace context a request brings and what context goes upstream: W3C Trace Context (level 1 and 2) and B3.

Pure: header lines in, header lines out. Baggage is not handled here: it passes verbatim. `TRACE_FIELDS` names every
known trace header; when new context is written the caller's lines of all these formats go, so that none stays stale
beside it. Where several formats bring a context, the last name in OTEL_PROPAGATORS wins, as with the SDK's composite
propagator.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sidecar.model import RawHeaders

TRACE_FIELDS = frozenset(
    (
        b"traceparent", b"tracestate",
        b"b3", b"x-b3-traceid", b"x-b3-spanid", b"x-b3-parentspanid", b"x-b3-sampled", b"x-b3-flags",
        b"uber-trace-id", b"x-amzn-trace-id", b"x-cloud-trace-context", b"elastic-apm-traceparent",
        b"x-datadog-trace-id", b"x-datadog-parent-id", b"x-datadog-sampling-priority", b"x-datadog-origin",
        b"x-datadog-tags",
        b"ot-tracer-traceid", b"ot-tracer-spanid", b"ot-tracer-sampled",
    )
)  # fmt: skip
"""Header names, lower case, that a new context replaces."""

KNOWN_PROPAGATORS = ("tracecontext", "baggage", "b3", "b3multi", "none")

SAMPLED = 0x01
RANDOM = 0x02  # level 2: the trace id's right half is random

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_PARENT_LENGTH = 55
_MEMBER = re.compile(
    r"[a-z0-9][a-z0-9_\-*/@]{0,255}"  # key, level 2 §3.3.1.3.1
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"  # value, §3.3.1.3.2
)
_MAX_MEMBERS = 32
_LONG_MEMBER = 128
TRACESTATE_LIMIT = 4096
"""Characters of tracestate sent on; the recommendation asks for 512 at least."""

_B3_TRACE = re.compile(rb"[0-9a-fA-F]{16}(?:[0-9a-fA-F]{16})?")
_B3_SPAN = re.compile(rb"[0-9a-fA-F]{16}")
_B3_DECISIONS = {b"0": False, b"1": True, b"d": True, b"false": False, b"true": True}


class Context(NamedTuple):
    """What the caller says of its span. `trace_id` 0: a sampling decision alone (B3)."""

    trace_id: int
    span_id: int
    sampled: bool | None  # None: left to us (B3 without the field)
    flags: int = 0  # the known W3C flags, as received
    debug: bool = False  # B3's `d`
    w3c: bool = False  # came as traceparent, so that tracestate belongs to it


def traceparent(values: Sequence[bytes]) -> Context | None:
    """The context of the traceparent lines, or None: start anew.

    Level 2 §3.2: exactly one line; version `ff`, zero ids, upper case and, in version 00, anything beyond the flags
    are invalid; of a higher version the first four fields are read. Flags that are not known are zeroed.
    """
    if len(values) != 1:
        return None
    value = values[0].strip(b" \t")
    match = _TRACEPARENT.match(value)
    if match is None or match[1] == b"ff":
        return None
    if len(value) != _PARENT_LENGTH and (match[1] == b"00" or value[_PARENT_LENGTH : _PARENT_LENGTH + 1] != b"-"):
        return None
    trace_id, span_id = int(match[2], 16), int(match[3], 16)
    if not trace_id or not span_id:
        return None
    flags = int(match[4], 16) & (SAMPLED | RANDOM)
    return Context(trace_id, span_id, bool(flags & SAMPLED), flags, w3c=True)


def tracestate(values: Sequence[bytes]) -> str:
    """The tracestate lines as the one line to send, empty where there is none or it does not parse (level 2 §3.3).

    Lines are combined in order and empty members left out. A malformed member or more than 32 void the whole, never
    the traceparent. Repeated keys stay as they are. Above `TRACESTATE_LIMIT` whole members go: those over 128
    characters first, then from the end.
    """
    combined = b",".join(values).decode("latin-1")
    members = [member for part in combined.split(",") if (member := part.strip(" \t"))]
    if len(members) > _MAX_MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return ""
    excess = sum(map(len, members)) + len(members) - 1 - TRACESTATE_LIMIT
    for length in (_LONG_MEMBER, 0):
        for at in reversed(range(len(members))):
            if excess > 0 and len(members[at]) > length:
                excess -= len(members.pop(at)) + 1
    return ",".join(members)


def b3_single(values: Sequence[bytes]) -> Context | None:
    """The context of a `b3` line: `{trace}-{span}[-{decision}[-{parent}]]`, or a decision alone."""
    if len(values) != 1:
        return None
    trace, _, rest = values[0].strip(b" \t").partition(b"-")
    if not rest:
        return _decision_alone(trace)
    span, _, rest = rest.partition(b"-")
    decision, dash, parent = rest.partition(b"-")
    if dash and not _B3_SPAN.fullmatch(parent):
        return None
    return _b3(trace, span, decision)


def b3_multi(lines: RawHeaders) -> Context | None:
    """The context of the `x-b3-*` lines."""
    fields = dict(lines)
    if len(fields) != len(lines):
        return None  # a repeated field says two things
    debug = fields.get(b"x-b3-flags") == b"1"
    decision = b"d" if debug else fields.get(b"x-b3-sampled", b"").lower()
    trace, span = fields.get(b"x-b3-traceid"), fields.get(b"x-b3-spanid")
    if trace is None and span is None:
        return _decision_alone(decision)
    return _b3(trace or b"", span or b"", decision)


def _decision_alone(decision: bytes) -> Context | None:
    sampled = _B3_DECISIONS.get(decision)
    return None if sampled is None else Context(0, 0, sampled, debug=decision == b"d")


def _b3(trace: bytes, span: bytes, decision: bytes) -> Context | None:
    if not _B3_TRACE.fullmatch(trace) or not _B3_SPAN.fullmatch(span) or (decision and decision not in _B3_DECISIONS):
        return None
    trace_id, span_id = int(trace, 16), int(span, 16)
    if not trace_id or not span_id:
        return None
    return Context(trace_id, span_id, _B3_DECISIONS.get(decision), debug=decision == b"d")


def fields_of(headers: Iterable[tuple[bytes, bytes]], wanted: frozenset[bytes] = TRACE_FIELDS) -> RawHeaders:
    """The lines with these names, names lowered: the one pass over the headers."""
    return [(key, value) for name, value in headers if (key := name.lower()) in wanted]


class Propagator:
    """Reads and writes the formats named by OTEL_PROPAGATORS, in that order."""

    __slots__ = ("_b3", "_formats", "_multi", "_w3c")

    def __init__(self, names: Sequence[str] = ("tracecontext", "baggage")) -> None:
        formats = [name for name in names if name in ("tracecontext", "b3", "b3multi")]
        self._formats = () if "none" in names else tuple(formats)
        self._w3c, self._b3, self._multi = (name in self._formats for name in ("tracecontext", "b3", "b3multi"))

    @property
    def writes(self) -> bool:
        """Whether any format is written; otherwise the caller's fields pass as they are."""
        return bool(self._formats)

    def extract(self, fields: RawHeaders) -> Context | None:
        """The caller's context in these lines (names lowered), None where there is none that holds."""
        context: Context | None = None
        for name in self._formats:
            if name == "tracecontext":
                found = traceparent([value for key, value in fields if key == b"traceparent"])
            else:
                found = self._extract_b3(fields)
            context = found or context
        return context

    @staticmethod
    def _extract_b3(fields: RawHeaders) -> Context | None:
        """Both forms are read whichever is written; the single line goes first (OTel specification, "B3 Extract")."""
        single = b3_single([value for key, value in fields if key == b"b3"])
        return single or b3_multi([(key, value.strip(b" \t")) for key, value in fields if key.startswith(b"x-b3-")])

    def inject(self, trace_id: int, span_id: int, flags: int, state: str = "", *, debug: bool = False) -> RawHeaders:
        """The lines that carry this context; `X-B3-ParentSpanId` is never sent (OTel specification, "B3 Inject")."""
        lines: RawHeaders = []
        if self._w3c:
            lines.append((b"traceparent", b"00-%032x-%016x-%02x" % (trace_id, span_id, flags)))
            if state:
                lines.append((b"tracestate", state.encode("latin-1")))
        if self._b3:
            decision = b"d" if debug else b"%d" % (flags & SAMPLED)
            lines.append((b"b3", b"%032x-%016x-%s" % (trace_id, span_id, decision)))
        if self._multi:
            lines += ((b"x-b3-traceid", b"%032x" % trace_id), (b"x-b3-spanid", b"%016x" % span_id))
            lines.append((b"x-b3-flags", b"1") if debug else (b"x-b3-sampled", b"%d" % (flags & SAMPLED)))
        return lines
