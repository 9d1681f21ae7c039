"""One picture: CPU for a small request, each system a bar against Envoy with its tracer, whiskers for the spread."""

from html import escape

from bench.statistics import Samples, Spread
from bench.systems import SYSTEMS

BASE = "envoy+otel"
_LEFT, _WIDTH, _ROW, _TOP = 210, 460, 30, 78
_OURS, _THEIRS, _INK, _FAINT = "#0b7285", "#adb5bd", "#212529", "#868e96"


def chart(samples: Samples, subtitle: str) -> str:
    """The SVG; systems from the cheapest to the dearest."""
    bars = [(system, found) for key, system in SYSTEMS.items() if (found := samples.against("cpu_200", key, BASE))]
    bars.sort(key=lambda bar: bar[1].middle)
    scale = _WIDTH / max((found.high for _, found in bars), default=1.0)
    height = _TOP + _ROW * len(bars) + 34
    box = f"0 0 {_LEFT + _WIDTH + 110} {height}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        _text(20, 28, "CPU time for one proxied request (less is better)", size=18, weight=600),
        _text(20, 50, "200-byte body, saturated core; 1.00 = Envoy tracing every request", fill=_FAINT),
        f'<path d="M{_LEFT + scale:.1f} {_TOP - 8}V{height - 34}" stroke="{_INK}" stroke-dasharray="3 3"/>',
    ]
    for number, (system, found) in enumerate(bars):
        lines += _bar(_TOP + _ROW * number, system.label, found, scale, ours=system.ours)
    lines += [_text(20, height - 10, subtitle, fill=_FAINT, size=11), "</svg>"]
    return "\n".join(lines) + "\n"


def _bar(y: int, label: str, found: Spread, scale: float, *, ours: bool) -> list[str]:
    colour = _OURS if ours else _THEIRS
    low, high, middle = (_LEFT + value * scale for value in (found.low, found.high, found.middle))
    return [
        _text(_LEFT - 10, y + 15, label, anchor="end", weight=600 if ours else 400),
        f'<rect x="{_LEFT}" y="{y}" width="{middle - _LEFT:.1f}" height="20" rx="2" fill="{colour}"/>',
        f'<path d="M{low:.1f} {y + 10}H{high:.1f}m0 -4v8M{low:.1f} {y + 6}v8" stroke="{_INK}" fill="none"/>',
        _text(high + 8, y + 15, f"{found.middle:.2f}", weight=600 if ours else 400),
    ]


def _text(
    x: float, y: float, text: str, *, size: int = 14, weight: int = 400, fill: str = _INK, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
