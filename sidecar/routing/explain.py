"""Says for each rule why it takes a request or not, for people: the answer of `/explain`.

Evaluates every condition of every rule, which the router avoids; never shows the value of a header: it may be a secret.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sidecar.config.address import split_authority
from sidecar.model import Request
from sidecar.routing.matches import Candidate, Facts, path_of

_MAX_HOST = 253  # characters (RFC 1035 §2.3.4)


class Verdict(NamedTuple):
    """Why one rule takes the request or not."""

    path: str  # field path of the rule, as in `$.listeners[0].routes[0].rules[1]`
    name: str  # the rule's name for spans and metrics
    taken: bool
    reason: str


class RuleView(NamedTuple):
    """What is needed to judge one rule alone."""

    path: str
    hostnames: tuple[str, ...]
    candidates: tuple[Candidate, ...]


def host_of(authority: str) -> str:
    """The host to compare: without port and final dot, in lower case; "" where it is too long to be a host name."""
    host = split_authority(authority)[0].lower().removesuffix(".")
    return host if len(host) <= _MAX_HOST else ""


def explain(rules: Sequence[RuleView], request: Request, taken: int | None) -> list[Verdict]:
    """One verdict a rule, in order; `taken` is the index of the rule that takes the request, None where none does."""
    facts = Facts(request)
    return [
        Verdict(rule.path, rule.candidates[0].matched.name, index == taken, _reason(rule, facts, taken=index == taken))
        for index, rule in enumerate(rules)
    ]


def _reason(rule: RuleView, facts: Facts, *, taken: bool) -> str:
    host = host_of(facts.request.authority)
    if rule.hostnames and not any(_is_host(host, wanted.lower()) for wanted in rule.hostnames):
        return f"the host is {host!a}, not one of {', '.join(rule.hostnames)}"
    misses = [list(_misses(candidate, facts)) for candidate in rule.candidates]
    if all(misses):
        return "; or: ".join(", ".join(each) for each in misses)
    return "takes the request" if taken else "matches, but another rule takes precedence"


def _is_host(host: str, wanted: str) -> bool:
    return host == wanted or (wanted.startswith("*.") and len(host) >= len(wanted) and host.endswith(wanted[1:]))


def _misses(candidate: Candidate, facts: Facts) -> Iterator[str]:
    """What the match lacks; nothing where it holds."""
    path = path_of(facts.request.target)
    if not candidate.takes_path(path):
        shown = ascii((facts.request.target if path is None else path).decode("latin-1"))
        yield f"the path is {shown}, not {candidate.kind} {candidate.path.decode() or '/'}"
    if candidate.method not in (None, facts.request.method):
        yield f"the method is {facts.request.method!a}, not {candidate.method}"
    for condition in candidate.headers:
        if not condition.holds(facts.field(condition.name)):
            yield f"the header {condition.name.decode()} does not match"
    for condition in candidate.params:
        if not condition.holds(facts.param(condition.name)):
            yield f"the query parameter {condition.name.decode()} does not match"
