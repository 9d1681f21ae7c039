"""One compiled HTTPRouteMatch: its conditions, the facts of a request that they ask for, and its rank among others.

Source: HTTPRouteMatch, HTTPPathMatch, HTTPHeaderMatch and HTTPQueryParamMatch of gateway.networking.k8s.io/v1.
Fields were judged when the configuration was loaded (`config/check_routes.py`); what fails in compiling is judged here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from sidecar.config import fields
from sidecar.config.model import Match, NameMatch, PathMatch, Route, Rule
from sidecar.errors import ConfigError
from sidecar.model import Request

_MAX_PATTERN = 1024  # characters of a regular expression


class Matched(NamedTuple):
    """The rule that takes a request."""

    route: Route
    rule: Rule
    name: str  # for spans and metrics: the rule's name, else the route's and the path as in `shop/api/*`; may be ""
    prefix: bytes  # the PathPrefix that matched, without trailing slash: `/` is b""; b"" for other kinds of path
    number: int  # of the rule among all rules of the router, from 0


class Facts:
    """What conditions ask of one request, read once and only when asked."""

    __slots__ = ("_fields", "_params", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self._fields: dict[bytes, list[bytes]] | None = None
        self._params: dict[bytes, bytes] | None = None

    def field(self, name: bytes) -> bytes | None:
        """The value of a header by its lower-case name; several lines are one list (RFC 9110 §5.3)."""
        if self._fields is None:
            self._fields = {}
            for key, value in self.request.headers:
                self._fields.setdefault(key.lower(), []).append(value)
        values = self._fields.get(name)
        return None if values is None else b", ".join(values)

    def param(self, name: bytes) -> bytes | None:
        """The first value of a query parameter, percent-decoded."""
        if self._params is None:
            self._params = {}
            for pair in self.request.target.partition(b"?")[2].split(b"&"):
                key, _, value = pair.partition(b"=")
                self._params.setdefault(unquote_to_bytes(key), unquote_to_bytes(value))
        return self._params.get(name)


@dataclass(frozen=True, slots=True)
class Condition:
    """What one header or query parameter must be."""

    name: bytes
    value: bytes
    pattern: re.Pattern[str] | None
    encoding: str

    def holds(self, given: bytes | None) -> bool:
        """Whether the value given, None where the request has none, is the one wanted."""
        if given is None:
            return False
        if self.pattern is None:
            return given == self.value
        return self.pattern.fullmatch(given.decode(self.encoding, "replace")) is not None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One match of one rule."""

    matched: Matched
    path: bytes  # an Exact path, or a prefix without trailing slash
    kind: str  # HTTPPathMatch's type
    pattern: re.Pattern[str] | None  # of the path
    method: str | None
    headers: tuple[Condition, ...]
    params: tuple[Condition, ...]

    @property
    def rank(self) -> tuple[bool, int, int]:
        """Precedence among matches of equal path, lowest first; ties keep the order of the file."""
        return self.method is None, -len(self.headers), -len(self.params)

    def takes_path(self, path: bytes | None) -> bool:
        """Whether the path condition holds; None: the target has no path (`*`, an authority), which only `/` takes."""
        if self.kind == "PathPrefix":
            return not self.path or (path is not None and (path == self.path or path.startswith(self.path + b"/")))
        if path is None:
            return False
        if self.pattern is None:
            return path == self.path
        return self.pattern.fullmatch(path.decode("latin-1")) is not None

    def holds(self, facts: Facts) -> bool:
        """Whether all conditions but those on host and path hold."""
        if self.method is not None and self.method != facts.request.method:
            return False
        for condition in self.headers:
            if not condition.holds(facts.field(condition.name)):
                return False
        return all(condition.holds(facts.param(condition.name)) for condition in self.params)


def preflight_of(candidate: Candidate) -> Candidate | None:
    """What takes the preflights of a rule that answers them (CORS), where its match names a method; None: it does so.

    A preflight names the method that is to follow and carries none of the fields that will (Fetch, "CORS-preflight
    fetch"): a match that asks for fields takes no preflight.
    """
    if candidate.method in (None, "OPTIONS") or candidate.headers:
        return None
    follows = Condition(b"access-control-request-method", candidate.method.encode(), None, "latin-1")
    return replace(candidate, method="OPTIONS", headers=(follows,))


def path_of(target: bytes) -> bytes | None:
    """The path of an origin-form target, not decoded, without its query; None for `*` and authority-form."""
    return target.partition(b"?")[0] if target.startswith(b"/") else None


def compile_match(match: Match, route: Route, rule: Rule, number: int, path: str) -> Candidate:
    """Compile one match; `path` is the field path of the match. Raises ConfigError."""
    kind = match.path.type
    value = match.path.value.removesuffix("/") if kind == "PathPrefix" else match.path.value
    raw = value.encode()
    if match.method is not None and match.method != match.method.upper():
        raise ConfigError(f"{path}.method", f"expected a method in upper case such as GET, got {match.method!a}")
    prefix = raw if kind == "PathPrefix" else b""
    return Candidate(
        matched=Matched(route, rule, _name(route, rule, match.path), prefix, number),
        path=raw,
        kind=kind,
        pattern=_pattern(value, f"{path}.path.value") if kind == "RegularExpression" else None,
        method=match.method,
        headers=_headers(match.headers, f"{path}.headers"),
        params=_params(match.query_params, f"{path}.queryParams"),
    )


def _name(route: Route, rule: Rule, path: PathMatch) -> str:
    if rule.name:
        return rule.name
    if path.type != "PathPrefix":
        return route.name + path.value
    prefix = path.value.removesuffix("/")
    return f"{route.name}{prefix}/*" if prefix else route.name


def _headers(matches: Sequence[NameMatch], path: str) -> tuple[Condition, ...]:
    """Of equal names, in any case, only the first counts (HTTPHeaderMatch)."""
    found: dict[bytes, Condition] = {}
    for at, match in enumerate(matches):
        fields.header_value(match.value, f"{path}[{at}].value")
        name = match.name.lower().encode()
        found.setdefault(name, _condition(name, match, "latin-1", f"{path}[{at}].value"))
    return tuple(found.values())


def _params(matches: Sequence[NameMatch], path: str) -> tuple[Condition, ...]:
    """Of equal names only the first counts (HTTPQueryParamMatch)."""
    found: dict[bytes, Condition] = {}
    for at, match in enumerate(matches):
        name = match.name.encode()
        found.setdefault(name, _condition(name, match, "utf-8", f"{path}[{at}].value"))
    return tuple(found.values())


def _condition(name: bytes, match: NameMatch, encoding: str, path: str) -> Condition:
    pattern = _pattern(match.value, path) if match.type == "RegularExpression" else None
    return Condition(name, match.value.encode(encoding), pattern, encoding)


def _pattern(text: str, path: str) -> re.Pattern[str]:
    if len(text) > _MAX_PATTERN:
        raise ConfigError(path, f"expected a regular expression of at most {_MAX_PATTERN} characters, got {len(text)}")
    try:
        return re.compile(text, re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(path, f"expected a regular expression in Python's syntax: {error}, got {text!a}") from None
