"""What all sections of the configuration are made of: immutable structs, and durations."""

import re

import msgspec

_DURATION = re.compile(r"^(?:(\d{1,5})h)?(?:(\d{1,5})m)?(?:(\d{1,5})s)?(?:(\d{1,5})ms)?$")


class Duration(float):
    """Seconds, written as in GEP-2257: up to four groups of `h`, `m`, `s`, `ms`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> "Duration":
        """Parse `1h30m`, `2s`, `150ms`; raises ValueError naming the form."""
        match = _DURATION.match(text) if isinstance(text, str) else None
        if match is None or not text:
            raise ValueError(f"expected a duration such as '2s', '150ms' or '1m30s', got {text!r}")
        hours, minutes, seconds, millis = (int(group or 0) for group in match.groups())
        return cls(hours * 3600 + minutes * 60 + seconds + millis / 1000)

    def __str__(self) -> str:
        millis = round(self * 1000)
        units = ((3_600_000, 100_000, "h"), (60_000, 60, "m"), (1000, 60, "s"), (1, 1000, "ms"))
        parts = ((millis // size % wrap, unit) for size, wrap, unit in units)
        return "".join(f"{amount}{unit}" for amount, unit in parts if amount) or "0s"


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every section: immutable, named fields only, unknown fields refused."""


class GatewaySection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A section spelled as in Gateway API."""
