"""Which origins are allowed: patterns of `allowOrigins`, compiled and compared whole (HTTPCORSFilter). Pure.

A pattern is `*`, or scheme, host and port; a host may be `*` or begin with `*.`, which stands for one label or more.
Nothing is searched for within an origin: it is split into its parts, and each part is compared from end to end.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from sidecar.errors import ConfigError

_MAX_ORIGIN = 512  # bytes of an origin worth looking at: scheme, 253 of host, port
_MEMO_LIMIT = 256  # origins whose verdict is kept
_PORTS = {"http": 80, "https": 443}
_HOST = r"[a-z0-9_](?:[-a-z0-9_.]*[a-z0-9_])?|\[[0-9a-f:.]+\]"
_PATTERN = re.compile(rf"(?P<scheme>https?)://(?P<host>\*|(?:\*\.)?(?:{_HOST}))(?::(?P<port>[0-9]{{1,5}}))?")
_ORIGIN = re.compile(rf"(?P<scheme>[a-z][-a-z0-9+.]*)://(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?")


class _Parts(NamedTuple):
    scheme: str
    host: str
    port: int  # 0: the scheme has no port of its own, and none is named


class Origins:
    """The origins that may call, with a bounded memo of those already judged."""

    __slots__ = ("_exact", "_memo", "_suffixes", "any")

    def __init__(self, patterns: Sequence[str], path: str) -> None:
        """Compile; raises ConfigError naming the pattern at `path`."""
        self.any = "*" in patterns
        self._memo: dict[bytes, bool] = {}
        parts = [_pattern(text, f"{path}[{at}]") for at, text in enumerate(patterns) if text != "*"]
        self._exact = frozenset(each for each in parts if not each.host.startswith("*"))
        self._suffixes = tuple(each._replace(host=each.host[1:]) for each in parts if each.host.startswith("*"))

    def allow(self, origin: bytes) -> bool:
        """Whether pages of `origin`, the value of the field, may call; `null` is nobody that a list could name."""
        verdict = self._memo.get(origin)
        if verdict is None:
            verdict = self._judge(origin)
            if len(self._memo) < _MEMO_LIMIT:
                self._memo[origin] = verdict
        return verdict

    def _judge(self, origin: bytes) -> bool:
        if not 0 < len(origin) <= _MAX_ORIGIN:
            return False
        if self.any:
            return True
        match = _ORIGIN.fullmatch(origin.decode("latin-1").lower())
        if match is None:
            return False
        parts = _parts(match)
        return parts in self._exact or any(_below(parts, each) for each in self._suffixes)


def _below(parts: _Parts, suffix: _Parts) -> bool:
    """Whether the host ends in the suffix, with something before it."""
    same = parts.scheme == suffix.scheme and parts.port == suffix.port
    return same and parts.host.endswith(suffix.host) and len(parts.host) > len(suffix.host)


def _pattern(text: str, path: str) -> _Parts:
    match = _PATTERN.fullmatch(text.lower())
    if match is None:
        example = "such as `https://shop.example`, `https://*.shop.example:8443` or `*`"
        raise ConfigError(path, f"expected an origin, scheme and host without path, {example}, got {text!a}")
    parts = _parts(match)
    if not 1 <= parts.port <= 65535:
        raise ConfigError(path, f"expected a port from 1 to 65535, got {text!a}")
    return parts


def _parts(match: re.Match[str]) -> _Parts:
    port = match["port"]
    return _Parts(match["scheme"], match["host"], int(port) if port is not None else _PORTS.get(match["scheme"], 0))
