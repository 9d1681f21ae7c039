"""How much the coding of bodies may cost: CPU over the last seconds, and streams at one time. Pure: handed `now`.

One meter serves all filters of the process; each compares it with a budget of its own.
"""

import math
from enum import IntEnum

_WINDOW = 1.0  # seconds over which what was spent is forgotten


class Level(IntEnum):
    """How hard a coding tries."""

    FAST = 0
    THOROUGH = 1


class Meter:
    """What is spent now."""

    __slots__ = ("_at", "_load", "streams")

    def __init__(self) -> None:
        self.streams = 0  # bodies on their way
        self._load = 0.0
        self._at = 0.0

    def spend(self, now: float, seconds: float) -> None:
        """CPU seconds went into a body."""
        self._load = self.load(now) + seconds / _WINDOW
        self._at = now

    def load(self, now: float) -> float:
        """The share of one core that goes into bodies."""
        return self._load * math.exp((self._at - now) / _WINDOW)

    def level(self, now: float, budget: float) -> Level | None:
        """Thorough up to half the budget (a share of one core), fast up to the whole, None beyond."""
        load = self.load(now)
        if load >= budget:
            return None
        return Level.THOROUGH if load < budget / 2 else Level.FAST
