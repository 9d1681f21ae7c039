"""Fuzz target: trace context of callers (traceparent, tracestate, B3) and `Forwarded`, which must never raise.

Input: field lines `name:value` parted by LF. Laws: what is read is within its bounds, what is written again is read as
the same context, and what goes into logs holds no control character.
"""

import asyncio
import re

from sidecar.model import Address, Headers, Request
from sidecar.telemetry.arrival import Arrival, clean, forwarded_first, host_and_port
from sidecar.telemetry.propagation import (
    TRACESTATE_LIMIT,
    Propagator,
    b3_multi,
    b3_single,
    fields_of,
    traceparent,
    tracestate,
)
from tests.fuzz.requests import origin

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SEEDS = (
    b"traceparent:" + PARENT + b"\ntracestate:rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
    b"Traceparent:cc" + PARENT[2:] + b"-what\nTraceState:a=b\ntracestate:,, c@d=e ,",
    b"traceparent:" + PARENT + b"\ntraceparent:" + PARENT,
    b"b3:80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-d-05e3ac9a4f6e3b90",
    b"X-B3-TraceId:463ac35c9f6413ad\nX-B3-SpanId:a2fb4a1d1a96d312\nX-B3-Sampled:1\nX-B3-Flags:1",
    b'forwarded:for="[2001:db8::1]:47";proto=https;host="a\\"b", for=2\nx-forwarded-for:1.2.3.4\nuser-agent:\x07',
    b"tracestate:" + b",".join(b"k%d=v" % at for at in range(33)),
)
_PARENT = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_ALL = Propagator(("tracecontext", "b3", "b3multi"))


def check(data: bytes, loop: asyncio.AbstractEventLoop) -> None:
    """All laws."""
    del loop
    lines = [(name, value) for name, _, value in (line.partition(b":") for line in data.split(b"\n")[:64])]
    fields = fields_of(lines)
    for name in ("tracecontext", "b3", "b3multi"):
        context = Propagator((name,)).extract(fields)
        if context is None or not context.trace_id:
            continue
        assert 0 < context.trace_id < 1 << 128
        assert 0 < context.span_id < 1 << 64
        _same(context.trace_id, context.span_id, int(bool(context.sampled)))
    state = tracestate([value for name, value in fields if name == b"tracestate"])
    assert len(state) <= TRACESTATE_LIMIT
    assert state.count(",") < 32
    assert tracestate([state.encode("latin-1")]) == state
    assert state.isascii()
    assert clean(state) == state
    _arrival(lines)


def _same(trace_id: int, span_id: int, flags: int) -> None:
    written = dict(_ALL.inject(trace_id, span_id, flags))
    assert _PARENT.fullmatch(written[b"traceparent"])
    multi = [pair for pair in written.items() if pair[0].startswith(b"x-b3-")]
    for read in (traceparent([written[b"traceparent"]]), b3_single([written[b"b3"]]), b3_multi(multi)):
        assert read is not None
        assert (read.trace_id, read.span_id, read.sampled) == (trace_id, span_id, bool(flags))


def _arrival(lines: list[tuple[bytes, bytes]]) -> None:
    request = Request(method="GET", target=b"/", authority="a", headers=Headers(lines), origin=origin(trusted=True))
    arrival = Arrival(request, [(name.lower(), value) for name, value in lines])
    assert arrival.scheme in ("http", "https")
    client = arrival.client(Address("192.0.2.1", 1))
    assert client.isprintable()
    assert len(client) <= 64
    host, _ = host_and_port(arrival.authority)
    assert clean(host) == host
    for name, value in forwarded_first(lines[0][1].decode("latin-1")).items():
        assert name.isascii()
        assert isinstance(clean(value), str)
