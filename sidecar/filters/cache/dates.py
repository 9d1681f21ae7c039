"""HTTP dates as seconds since 1970 (RFC 9110 §5.6.7). Pure.

All three forms, any case (RFC 9111 §4.2 SHOULD), GMT only: another zone, or a day that is none, is no date.
"""

import re
from calendar import timegm
from datetime import UTC, datetime
from email.utils import formatdate

_MONTHS = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")
_DAY = rb"(?:mon|tue|wed|thu|fri|sat|sun)"
_LONG_DAY = rb"(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
_MONTH = rb"(?P<month>" + b"|".join(_MONTHS) + rb")"
_TIME = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        _DAY + rb", (?P<day>\d\d) " + _MONTH + rb" (?P<year>\d{4}) " + _TIME + rb" gmt",
        _LONG_DAY + rb", (?P<day>\d\d)-" + _MONTH + rb"-(?P<year>\d\d) " + _TIME + rb" gmt",
        _DAY + rb" " + _MONTH + rb" (?P<day>[ \d]\d) " + _TIME + rb" (?P<year>\d{4})",
    )
)
_HALF_CENTURY = 50 * 365.25 * 86400


def parse_date(value: bytes, now: float) -> float | None:
    """Seconds since 1970, or None where it is no date; `now` tells the century of a year of two digits."""
    match = next((found for form in _FORMS if (found := form.fullmatch(value))), None)
    if match is None:
        return None
    part = match.groupdict()
    year = int(part["year"])
    century = len(part["year"]) == 2
    if century:
        year += datetime.fromtimestamp(now, UTC).year // 100 * 100
    seconds = _seconds(year, part)
    if century and seconds is not None and seconds > now + _HALF_CENTURY:
        return _seconds(year - 100, part)
    return seconds


def _seconds(year: int, part: dict[str, bytes]) -> float | None:
    month = _MONTHS.index(part["month"].lower()) + 1
    second = min(int(part["second"]), 59) if part["second"] == b"60" else int(part["second"])  # a leap second
    try:
        moment = datetime(year, month, int(part["day"]), int(part["hour"]), int(part["minute"]), second, tzinfo=UTC)
    except ValueError:
        return None
    return float(timegm(moment.timetuple()))


def format_date(seconds: float) -> bytes:
    """The preferred form, IMF-fixdate."""
    return formatdate(int(seconds), usegmt=True).encode()
