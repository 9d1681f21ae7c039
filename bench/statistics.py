"""Figures of all rounds, and ratios made inside a round: noise that lasts a round hits both sides of a ratio."""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

Values = list[float]
Lookup = Callable[[str, str], float]  # metric, system → the round's figure; KeyError where it was not measured


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest over the rounds."""

    middle: float
    low: float
    high: float

    def __format__(self, kind: str) -> str:
        return f"{self.middle:{kind}} ({self.low:{kind}} to {self.high:{kind}})"


def spread(values: Values) -> Spread | None:
    """Of a list that may be empty."""
    return Spread(median(values), min(values), max(values)) if values else None


@dataclass
class Samples:
    """`rounds[round][metric][system]`."""

    rounds: list[dict[str, dict[str, float]]] = field(default_factory=list)

    def add(self, number: int, system: str, metrics: dict[str, float]) -> None:
        """Keep what was measured on one system in one round."""
        while len(self.rounds) <= number:
            self.rounds.append({})
        for metric, value in metrics.items():
            self.rounds[number].setdefault(metric, {})[system] = value

    def figure(self, metric: str, system: str) -> Spread | None:
        """A figure itself: for orientation, since it depends on the machine and its load."""
        return self.ratio(lambda value: value(metric, system))

    def against(self, metric: str, system: str, base: str) -> Spread | None:
        """The ratio of two systems in one metric."""
        return self.ratio(lambda value: value(metric, system) / value(metric, base))

    def ratio(self, make: Callable[[Lookup], float]) -> Spread | None:
        """What `make` makes of each round that has all it needs."""
        values = []
        for one in self.rounds:
            try:
                values.append(make(lambda metric, system, one=one: one[metric][system]))
            except (KeyError, ZeroDivisionError):
                continue
        return spread(values)
