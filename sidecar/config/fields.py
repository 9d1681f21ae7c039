"""What one field may hold: ports, percents, names, hostnames, addresses.

Every function raises ConfigError with the path it is given.

What fields mean together is judged in `check.py` and `check_routes.py`.
"""

import re
from collections.abc import Iterable

from sidecar.config.address import parse_address
from sidecar.errors import ConfigError
from sidecar.model import Address

_NAME = re.compile(r"[!-~]{1,253}")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_FRAMING = frozenset({"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 §5.5
_HOSTNAME = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")  # Gateway API
_DNS_NAME = re.compile(r"\w[-\w]{0,62}(\.\w[-\w]{0,62})*\.?", re.ASCII)  # `_http._tcp.x` too
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123


def between(value: float, path: str, low: float, high: float | None = None) -> None:
    """A number in a closed range; without `high` only the lower end counts."""
    if not (value >= low and (high is None or value <= high)):  # so that nan is refused too
        wanted = f"{low} or more" if high is None else f"{low} to {high}"
        raise ConfigError(path, f"expected {wanted}, got {value}")


def port(value: int, path: str) -> None:
    """A TCP port to connect to."""
    between(value, path, 1, 65535)


def service_port(value: int | str | None, path: str) -> None:
    """A port of a Service: a number, or the name of the port."""
    if isinstance(value, int):
        port(value, path)
    elif value is not None and not (re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", value) and len(value) <= 63):
        raise ConfigError(path, f"expected a port number or the name of a port of the Service, got {value!r}")


def address(text: str, path: str, *, listening: bool = False) -> Address:
    """An address: one to listen on may name port 0 (any free port) and leave out the host (all addresses)."""
    try:
        parsed = parse_address(text)
    except ValueError as error:
        raise ConfigError(path, str(error)) from None
    if parsed.unix_path is None and not listening:
        port(parsed.port, path)
        if not parsed.host:
            raise ConfigError(path, f"expected host:port, got {text!r}")
    return parsed


def name(text: str, path: str) -> None:
    """A name that appears in metrics, logs and pages: visible ASCII, up to 253 characters."""
    if not _NAME.fullmatch(text):
        raise ConfigError(path, f"expected 1 to 253 visible ASCII characters, got {text!a}")


def hostname(text: str, path: str, *, wildcard: bool = False) -> None:
    """A host name as in Gateway API: lower case, no port, for a route with `*.` in front if need be."""
    if not _HOSTNAME.fullmatch(text) or len(text) > 253 or (text.startswith("*") and not wildcard):
        example = "such as `shop.example` or `*.shop.example`" if wildcard else "such as `shop.example`"
        raise ConfigError(path, f"expected a host name in lower case without port, {example}, got {text!a}")


def dns_name(text: str, path: str) -> None:
    """A name to look up or to show in TLS."""
    if not _DNS_NAME.fullmatch(text) or len(text) > 254:
        raise ConfigError(path, f"expected a DNS name such as `shop.example`, got {text!a}")


def label(text: str, path: str) -> None:
    """The name of a Service or namespace (RFC 1123 label)."""
    if not _LABEL.fullmatch(text):
        raise ConfigError(path, f"expected up to 63 lower-case letters, digits and `-`, got {text!a}")


def token(text: str, path: str, noun: str) -> None:
    """The name of a header or cookie, or a method."""
    if not _TOKEN.fullmatch(text):
        raise ConfigError(path, f"expected {noun} without spaces and separators, got {text!a}")


def header_name(text: str, path: str) -> None:
    """The name of a header that may be changed: none that frames the message."""
    token(text, path, "a header name")
    if text.lower() in _FRAMING:
        raise ConfigError(path, f"`{text}` frames the message and is decided by the sidecar alone")


def header_value(text: str, path: str) -> None:
    """The value of a header; the text itself stays out of the message, it may be a secret."""
    if not _FIELD_VALUE.fullmatch(text):
        raise ConfigError(
            path, "expected a value without line breaks, control characters and characters beyond Latin-1"
        )


def unique(names: Iterable[str], path: str, noun: str, *, field: str = ".name") -> None:
    """Each name once; the path of the second one is named."""
    first: dict[str, int] = {}
    for at, each in enumerate(names):
        if each in first:
            raise ConfigError(f"{path}[{at}]{field}", f"{noun} {each!r} is taken by {path}[{first[each]}]")
        first[each] = at
