"""A Prometheus histogram for the hot path: one dict look-up and one bisection to record, cheap text to scrape.

prometheus_client's takes four times as long to record and 0.2 ms a series to write, on the loop that serves requests.
The number of series is bounded: above it everything is recorded under `_overflow`, and counted.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

OVERFLOW = "_overflow"


class Series:
    """The observations of one set of labels."""

    __slots__ = ("buckets", "labels", "total")

    def __init__(self, labels: str, buckets: int) -> None:
        self.labels = labels
        self.buckets = [0] * buckets
        self.total = 0.0


class Histogram:
    """Durations in seconds by labels; `overflowed` counts the observations that found no room for their series."""

    def __init__(self, name: str, description: str, labels: Sequence[str], bounds: Sequence[float], most: int) -> None:
        self._head = f"# HELP {name} {description}\n# TYPE {name} histogram\n"
        self._name = name
        self._names = tuple(labels)
        self._bounds = tuple(bounds)
        self._edges = (*(repr(float(bound)) for bound in bounds), "+Inf")
        self._most = most
        self._series: dict[tuple[str, ...], Series] = {}
        self.overflowed = 0

    def series(self, values: tuple[str, ...]) -> Series | None:
        """The series of these label values, made where there is room; None: too many."""
        found = self._series.get(values)
        if found is None and len(self._series) < self._most:
            found = self._series[values] = self._make(values)
        return found

    def overflow(self) -> Series:
        """The series of what found no room."""
        self.overflowed += 1
        values = (OVERFLOW,) * len(self._names)
        return self._series.setdefault(values, self._make(values))

    def observe(self, series: Series, seconds: float) -> None:
        """Record one duration."""
        series.buckets[bisect_left(self._bounds, seconds)] += 1
        series.total += seconds

    def expose(self) -> str:
        """The family in Prometheus text format 0.0.4."""
        return self._head + "".join(self._lines())

    def _make(self, values: tuple[str, ...]) -> Series:
        labels = ",".join(f'{name}="{_escape(value)}"' for name, value in zip(self._names, values, strict=True))
        return Series(labels, len(self._edges))

    def _lines(self) -> Iterator[str]:
        for series in self._series.values():
            count = 0
            for edge, observed in zip(self._edges, series.buckets, strict=True):
                count += observed
                yield f'{self._name}_bucket{{{series.labels},le="{edge}"}} {count}\n'
            yield f"{self._name}_count{{{series.labels}}} {count}\n"
            yield f"{self._name}_sum{{{series.labels}}} {series.total!r}\n"


def _escape(value: str) -> str:
    return (
        value.replace("\\", "\\\\")
        .replace("\n", "\\n")
        .replace('"', '\\"')
        .encode("utf-8", "backslashreplace")
        .decode()
    )
