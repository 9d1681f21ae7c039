"""Reads `OTEL_*` variables as typed values.

Rules of the OpenTelemetry specification ("Environment Variable Specification"): an empty value counts as unset, an
unknown word of an enumeration is warned about and ignored. A number, address or file that cannot be used is refused
instead, since tracing that silently goes nowhere misleads. Values are never shown: they may hold secrets.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from sidecar.errors import ConfigError

log = logging.getLogger("sidecar.telemetry")

KNOWN_METHODS = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"))


def text(environ: Mapping[str, str], *names: str, default: str = "") -> str:
    """The first of these variables that is set and not blank, else `default`."""
    return next((value for name in names if (value := environ.get(name, "").strip())), default)


def boolean(environ: Mapping[str, str], name: str) -> bool:
    """Whether the variable says `true`; any other word than `true` and `false` is warned about and counts as false."""
    word = text(environ, name).lower()
    if word not in ("", "true", "false"):
        log.warning("%s: expected true or false; taken as false", name)
    return word == "true"


def integer(environ: Mapping[str, str], name: str, default: int, *, minimum: int = 0) -> int:
    """A whole number of at least `minimum`; raises ConfigError."""
    word = text(environ, name)
    if not word:
        return default
    if not (word.isascii() and word.isdecimal() and len(word) < 16 and int(word) >= minimum):
        raise ConfigError(name, f"expected a whole number of at least {minimum}")
    return int(word)


def seconds(environ: Mapping[str, str], *names: str, default_ms: int) -> float:
    """The first variable that is set, milliseconds as the specification has it, as seconds."""
    name = next((name for name in names if text(environ, name)), names[-1])
    return integer(environ, name, default_ms) / 1000


def pairs(environ: Mapping[str, str], name: str) -> dict[str, str]:
    """`key=value,key=value` with percent-encoded values (W3C Baggage syntax without properties); raises ConfigError."""
    found: dict[str, str] = {}
    for position, member in enumerate(filter(None, (part.strip() for part in text(environ, name).split(","))), start=1):
        key, equals, value = member.partition("=")
        if not equals or not key.strip():
            raise ConfigError(name, f"expected key=value, separated by commas; member {position} is not")
        found[unquote(key.strip())] = unquote(value.strip())
    return found


def words(environ: Mapping[str, str], name: str, default: str) -> list[str]:
    """A comma-separated list in order, each word once."""
    return list(dict.fromkeys(filter(None, (word.strip() for word in text(environ, name, default=default).split(",")))))


def known_methods(environ: Mapping[str, str]) -> frozenset[str]:
    """The methods told apart in spans and metrics (OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS replaces the list)."""
    return frozenset(words(environ, "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "")) or KNOWN_METHODS


@dataclass(frozen=True, slots=True)
class SpanLimits:
    """Limits of what a span holds (specification, "Span Limits"); `value_length` None is unlimited."""

    value_length: int | None = None
    attributes: int = 128
    events: int = 128
    event_attributes: int = 128
    links: int = 128


def span_limits(environ: Mapping[str, str]) -> SpanLimits:
    """The limits as the environment sets them: the span's own variable before the general one."""
    general = integer(environ, "OTEL_ATTRIBUTE_COUNT_LIMIT", 128)
    longest = integer(environ, "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", -1)
    longest = integer(environ, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", longest)
    return SpanLimits(
        value_length=None if longest < 0 else longest,
        attributes=integer(environ, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", general),
        events=integer(environ, "OTEL_SPAN_EVENT_COUNT_LIMIT", 128),
        event_attributes=integer(environ, "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", general),
        links=integer(environ, "OTEL_SPAN_LINK_COUNT_LIMIT", 128),
    )
