"""Fuzz target: the header rules alone, on lists of fields that no parser would have let through the same way.

Input: a byte of settings, then field lines `name:value` parted by LF. Laws: as for requests and responses.
"""

import asyncio
import re

from sidecar.forwarding.headers import HeaderRules
from sidecar.model import Headers, RawHeaders, Request
from sidecar.telemetry.propagation import TRACE_FIELDS
from tests.fuzz.reading import read_request
from tests.fuzz.requests import judge_fields, judge_message, origin
from tests.fuzz.responses import judge_fields as judge_response

SEEDS = (
    b"\x00Host:a\nConnection:x-a, Host, via\nX-A:1\nContent-Length:0",
    b"\x01Forwarded:for=1\nX-Forwarded-For:1\nx-forwarded-for:2\nX-Forwarded-Proto:https\nX-Real-IP:1",
    b"\x02TE:trailers, deflate\nUpgrade:h2c\nConnection:Upgrade, HTTP2-Settings\nHTTP2-Settings:a",
    b"\x04traceparent:00-1\ntracestate:a=b\nb3:0\nKeep-Alive:1\nProxy-Authorization:b\nProxy-Connection:c",
    b"\x08Connection:content-length, x-forwarded-for,,transfer-encoding,te\nContent-Length:0\nHost:b\nHost:c",
)
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


def check(data: bytes, loop: asyncio.AbstractEventLoop) -> None:
    """All laws."""
    del loop
    if not data:
        return
    how, headers = data[0], _fields(data[1:])
    lengths = [at for at, (name, _) in enumerate(headers) if name.lower() in (b"content-length", b"transfer-encoding")]
    framed = bool(lengths)
    for at in reversed(lengths):
        del headers[at]
    if framed and how & 1:
        headers.append((b"Content-Length", b"0"))
    request = Request(
        method="POST",
        target=b"/",
        authority="b",
        headers=Headers(headers),
        length=None if how & 2 else 0,
        upgrade=b"websocket" if how & 4 else None,
        origin=origin(trusted=bool(how & 8), announce=bool(how & 16)),
    )
    rules = HeaderRules(TRACE_FIELDS)
    head = rules.head(request, [(b"traceparent", b"00-ours")] if how & 32 else None)
    assert rules.head(request, [(b"traceparent", b"00-ours")] if how & 32 else None) == head, "the memo changed it"
    judge_fields(request, head)
    read = read_request(head + (b"0\r\n\r\n" if how & 2 else b""))
    assert read.whole
    assert not read.left
    assert not read.body
    judge_message(request, read)
    if how & 32:
        traces = [pair for pair in read.fields if pair[0].lower() in TRACE_FIELDS]
        assert traces in ([(b"traceparent", b"00-ours")], []), traces
    kept, _, _ = rules.for_downstream(request.headers, upgraded=False)
    judge_response(request.headers, kept)


def _fields(data: bytes) -> RawHeaders:
    lines = (line.partition(b":") for line in data.split(b"\n")[:64])
    pairs = ((name, value.strip(b" \t")) for name, _, value in lines)
    return [(name, value) for name, value in pairs if _NAME.fullmatch(name) and _VALUE.fullmatch(value)]
