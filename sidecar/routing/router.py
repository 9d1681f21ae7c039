"""Finds the rule that takes a request: by hostname, then path, then the rest, in HTTPRoute's order of precedence.

Source: HTTPRouteSpec.hostnames and HTTPRouteRule.matches of gateway.networking.k8s.io/v1. Where the most specific
hostname has no rule for a request, those of less specific ones are asked: precedence is given to rules, no host is
walled off. Regular expressions, whose precedence is left open: after Exact, before PathPrefix, longer patterns first.
Cost: a lookup for each label of the host and each segment of the path; only regular expressions are tried one by one.
"""

from collections.abc import Iterable, Sequence

from sidecar.config.model import CorsFilter, Match, Route, Rule
from sidecar.errors import NoRoute
from sidecar.model import Request
from sidecar.routing.explain import RuleView, Verdict, explain, host_of
from sidecar.routing.matches import Candidate, Facts, Matched, compile_match, path_of, preflight_of

_SHOWN = 200  # characters of host and path in an error


class _Table:
    """The matches of one hostname, by path."""

    __slots__ = ("_exact", "_longest", "_patterns", "_prefixes")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._exact = _by_path(each for each in candidates if each.kind == "Exact")
        self._prefixes = _by_path(each for each in candidates if each.kind == "PathPrefix")
        self._longest = max(map(len, self._prefixes), default=0)
        patterns = [each for each in candidates if each.kind == "RegularExpression"]
        self._patterns = sorted(patterns, key=lambda each: (-len(each.path), each.rank))

    def find(self, path: bytes | None, facts: Facts) -> Candidate | None:
        """The match of highest precedence, or None."""
        if path is not None:
            found = _first(self._exact.get(path), facts) if self._exact else None
            if found is not None:
                return found
            for each in self._patterns:
                if each.takes_path(path) and each.holds(facts):
                    return each
            found = self._longest_prefix(path, facts)
            if found is not None:
                return found
        return _first(self._prefixes.get(b""), facts)

    def _longest_prefix(self, path: bytes, facts: Facts) -> Candidate | None:
        """Looks up `/a/b/c`, `/a/b`, `/a`, from the length of the longest prefix there is, whatever a peer sends."""
        end = len(path)
        if end > self._longest:
            end = path.rfind(b"/", 0, self._longest + 1)
        while end > 0:
            found = _first(self._prefixes.get(path[:end]), facts)
            if found is not None:
                return found
            end = path.rfind(b"/", 0, end)
        return None


def _by_path(candidates: Iterable[Candidate]) -> dict[bytes, list[Candidate]]:
    found: dict[bytes, list[Candidate]] = {}
    for each in candidates:
        found.setdefault(each.path, []).append(each)
    for equals in found.values():
        equals.sort(key=lambda each: each.rank)  # stable: ties keep the order of the file
    return found


def _first(candidates: list[Candidate] | None, facts: Facts) -> Candidate | None:
    if candidates is not None:
        for each in candidates:
            if each.holds(facts):
                return each
    return None


class Router:
    """The routes of one listener, compiled.

    They have passed `config.check_routes`; `path` is their field path. Raises ConfigError for what does not compile.
    """

    __slots__ = ("_anywhere", "_hosts", "_rules", "_suffixes")

    def __init__(self, routes: Sequence[Route], path: str = "$.routes") -> None:
        self._rules: list[RuleView] = []
        hosts: dict[str, list[Candidate]] = {}
        for at, route in enumerate(routes):
            for number, rule in enumerate(route.rules):
                view = self._compile(route, rule, f"{path}[{at}].rules[{number}]")
                self._rules.append(view)
                for hostname in route.hostnames or ("",):
                    hosts.setdefault(hostname.lower(), []).extend(view.candidates)
        tables = {hostname: _Table(candidates) for hostname, candidates in hosts.items()}
        self._anywhere = (tables.pop(""),) if "" in tables else ()
        self._suffixes = {hostname[1:]: table for hostname, table in tables.items() if hostname.startswith("*.")}
        self._hosts = {hostname: table for hostname, table in tables.items() if not hostname.startswith("*.")}

    def match(self, request: Request) -> Matched:
        """The rule that takes the request. Raises NoRoute, saying what was looked at."""
        path = path_of(request.target)
        facts = Facts(request)
        for table in self._tables(request.authority):
            found = table.find(path, facts)
            if found is not None:
                return found.matched
        raise NoRoute(self._why_none(request, path))

    def explain(self, request: Request) -> list[Verdict]:
        """For each rule, in order, whether it takes the request and why."""
        try:
            taken = self.match(request).number
        except NoRoute:
            taken = None
        return explain(self._rules, request, taken)

    def _compile(self, route: Route, rule: Rule, path: str) -> RuleView:
        number = len(self._rules)
        matches = enumerate(rule.matches or (Match(),))
        candidates = [compile_match(match, route, rule, number, f"{path}.matches[{at}]") for at, match in matches]
        if any(isinstance(each, CorsFilter) for each in rule.filters):
            candidates += [twin for each in candidates if (twin := preflight_of(each)) is not None]
        return RuleView(path, route.hostnames, tuple(candidates))

    def _tables(self, authority: str) -> Sequence[_Table]:
        """The tables of the hostnames that match, most specific first."""
        if not self._hosts and not self._suffixes:
            return self._anywhere
        host = host_of(authority)
        found = [self._hosts[host]] if host in self._hosts else []
        dot = host.find(".", 1) if self._suffixes else -1
        while dot > 0:
            if host[dot:] in self._suffixes:
                found.append(self._suffixes[host[dot:]])
            dot = host.find(".", dot + 1)
        return (*found, *self._anywhere)

    def _why_none(self, request: Request, path: bytes | None) -> str:
        host = ascii(request.authority[:_SHOWN])
        if not self._tables(request.authority):
            return f"no route has the host {host}"
        shown = ascii((request.target if path is None else path)[:_SHOWN].decode("latin-1"))
        return f"no rule of the host {host} takes {ascii(request.method)[1:-1]} {shown}"
