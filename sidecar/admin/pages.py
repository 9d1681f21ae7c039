"""Which page answers what: a function from a question to a reply, without sockets.

Two sets: all pages for the admin address, and for the probe address those that a kubelet or a Prometheus asks for.
Pages tell of addresses and routes, so none may be read by a web page in a browser nearby: there is no CORS, the Host
must be an address or a name of this machine (DNS rebinding), and a POST with a foreign Origin is refused.
"""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

import msgspec

from sidecar.admin.text import render
from sidecar.admin.view import ProxyView

_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request, decoded."""

    method: str
    path: str
    query: Mapping[str, Sequence[str]]
    host: str | None = None
    origin: str | None = None
    accept: str = ""

    def first(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return next(iter(self.query.get(name, ())), default)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back."""

    status: int
    body: bytes
    content_type: str = _TEXT
    allow: str | None = None  # the methods, with 405


_Page: TypeAlias = Callable[[ProxyView, Question], Reply]


class Pages:
    """The pages of one address; `hosts` are names by which it may be called besides IP addresses and localhost.

    None: any name is right, for an address that browsers cannot reach or that tells nothing.
    """

    def __init__(
        self, view: ProxyView, *, probes_only: bool = False, hosts: frozenset[str] | None = frozenset()
    ) -> None:
        self._view = view
        self._pages = dict(_PROBES if probes_only else _PROBES | _ADMIN)
        self._hosts = hosts

    def answer(self, question: Question) -> Reply:
        """The reply to any question."""
        if not self._is_ours(question.host):
            return _text(403, "this page answers to an IP address or localhost only")
        if question.path == "/":
            return _text(200, _index(self._pages))
        verb, page = self._pages.get(question.path, ("", None))
        if page is None:
            return _text(404, f"no such page\n{_index(self._pages)}")
        if verb != ("GET" if question.method == "HEAD" else question.method):
            return Reply(405, f"{question.path} takes {verb} only\n".encode(), allow=verb)
        if verb == "POST" and question.origin is not None and question.origin.partition("://")[2] != question.host:
            return _text(403, "not from another web page")
        return page(self._view, question)

    def _is_ours(self, host: str | None) -> bool:
        if self._hosts is None or host is None:  # a browser always names the host
            return True
        name = (urlsplit(f"//{host}").hostname or "") if _is_authority(host) else ""
        return name == "localhost" or name in self._hosts or _is_ip(name)


def _is_authority(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").netloc == host
    except ValueError:  # brackets that do not match
        return False


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _livez(_view: ProxyView, _question: Question) -> Reply:
    return _text(200, "ok")  # whoever can say so lives


def _readyz(view: ProxyView, question: Question) -> Reply:
    reasons = view.not_ready() or ([] if view.phase == "active" else [f"the proxy is {view.phase}"])
    verdict = "not ready" if reasons else "ok"
    if "verbose" in question.query:
        return _text(503 if reasons else 200, "\n".join([f"phase: {view.phase}", *reasons, verdict]))
    return _text(503 if reasons else 200, "\n".join(reasons) or verdict)


def _metrics(view: ProxyView, _question: Question) -> Reply:
    return Reply(200, view.metrics(), _METRICS)


def _config(view: ProxyView, _question: Question) -> Reply:
    return _json(view.config())


def _clusters(view: ProxyView, question: Question) -> Reply:
    clusters = view.clusters()
    return _text(200, render(clusters)) if _wants_text(question) else _json(clusters)


def _explain(view: ProxyView, question: Question) -> Reply:
    url = question.first("url")
    if not url:
        return _text(
            400, "expected /explain?url=URL, and if need be method=M, header=name:value, listener=NAME, format=text"
        )
    headers = []
    for text in question.query.get("header", ()):
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            return _text(400, f"expected header=name:value, got {text!a}")
        headers.append((name.strip(), value.strip()))
    try:
        answer = view.explain(question.first("method", "GET"), url, headers, question.first("listener") or None)
    except ValueError as error:
        return _text(400, str(error))
    return _text(200, render(answer)) if _wants_text(question) else _json(answer)


def _drain(view: ProxyView, _question: Question) -> Reply:
    view.drain()
    return _text(202, "draining")


def _purge(view: ProxyView, question: Question) -> Reply:
    try:
        purged = view.purge(question.first("url"))
    except ValueError as error:
        return _text(400, str(error))
    return _text(404, "no rule has a Cache") if purged is None else _json({"purged": purged})


def _leave(view: ProxyView, _question: Question) -> Reply:
    view.leave()
    return _text(202, "inbound answers say `Connection: close`")


_PROBES: dict[str, tuple[str, _Page]] = {
    "/livez": ("GET", _livez),
    "/readyz": ("GET", _readyz),
    "/metrics": ("GET", _metrics),
}
_ADMIN: dict[str, tuple[str, _Page]] = {
    "/config": ("GET", _config),
    "/clusters": ("GET", _clusters),
    "/explain": ("GET", _explain),
    "/cache/purge": ("POST", _purge),
    "/leave": ("POST", _leave),
    "/drain": ("POST", _drain),
}
_ABOUT = {
    "/livez": "whether the process lives",
    "/readyz": "whether it should get traffic, and why not (?verbose)",
    "/metrics": "Prometheus metrics",
    "/config": "the configuration in force, secrets hidden",
    "/clusters": "every cluster and endpoint (?format=text)",
    "/explain": "what would happen to a request: ?url=URL&method=M&header=name:value (&format=text)",
    "/cache/purge": "forget stored responses: ?url=http://host/path, http://host/path* or *",
    "/leave": "the pod is going away: inbound answers say `Connection: close`, everything is served",
    "/drain": "stop taking new work, as SIGTERM does",
}


def _index(pages: Mapping[str, tuple[str, _Page]]) -> str:
    return "\n".join(f"{verb:4} {path:12} {_ABOUT[path]}" for path, (verb, _) in pages.items())


def _wants_text(question: Question) -> bool:
    return question.first("format") == "text" or (not question.first("format") and "text/plain" in question.accept)


def _text(status: int, text: str) -> Reply:
    return Reply(status, (text if text.endswith("\n") else f"{text}\n").encode())


def _json(value: object) -> Reply:
    return Reply(200, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n", "application/json")
