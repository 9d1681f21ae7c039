"""Draws one trace as a tree (pure): each span with its time, its outcome and the attributes that tell the story."""

from collections.abc import Iterator, Mapping, Sequence

from sidecar.demo.spans import Span

_SHOWN = (
    "url.path", "http.route", "sidecar.cluster", "network.peer.address", "network.peer.port",
    "http.request.resend_count", "http.response.status_code", "error.type",
)  # fmt: skip
_KEY = max(map(len, _SHOWN))


def draw(spans: Sequence[Span], names: Mapping[str, str]) -> Iterator[str]:
    """Lines; `names` tells what stands behind a peer's `host:port`. Spans without their parent stand at the top."""
    known = {span.span_id for span in spans}
    for span in spans:
        if span.parent_id not in known:
            yield from _branch(span, spans, names, "")


def _branch(span: Span, spans: Sequence[Span], names: Mapping[str, str], indent: str) -> Iterator[str]:
    children = [child for child in spans if child.parent_id == span.span_id]
    yield _title(span)
    margin = f"{indent}{'│  ' if children else '   '}"
    for line in _attributes(span, names):
        yield f"{margin}   {line}"
    for number, child in enumerate(children, start=1):
        last = number == len(children)
        lines = _branch(child, spans, names, f"{indent}{'   ' if last else '│  '}")
        yield f"{indent}{'└─ ' if last else '├─ '}{next(lines)}"
        yield from lines


def _title(span: Span) -> str:
    outcome = "  ERROR" if span.error else ""
    return f"{span.kind} {span.name}  {(span.end_ns - span.start_ns) / 1e6:.1f} ms{outcome}"


def _attributes(span: Span, names: Mapping[str, str]) -> Iterator[str]:
    yield f"{'span, parent':{_KEY}}  {span.span_id}, {span.parent_id or 'none'}"
    peer = f"{span.attributes.get('network.peer.address')}:{span.attributes.get('network.peer.port')}"
    for key in _SHOWN:
        if key in span.attributes:
            remark = f"  ({names[peer]})" if key == "network.peer.port" and peer in names else ""
            yield f"{key:{_KEY}}  {span.attributes[key]}{remark}"
