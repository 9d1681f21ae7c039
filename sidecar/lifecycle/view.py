"""What the admin pages read of the running proxy (`admin.ProxyView`)."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from sidecar.admin.view import Page, Phase
from sidecar.clusters.cluster import Cluster
from sidecar.config.redact import redacted
from sidecar.errors import BadBackend, NoRoute
from sidecar.lifecycle.assemble import Assembled
from sidecar.model import Headers, Request

if TYPE_CHECKING:
    from sidecar.lifecycle.proxy import Proxy


class View:
    """Answers for probes and people; changes nothing but `drain`, `leave` and `purge`."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy

    @property
    def phase(self) -> Phase:
        """Where in its life the proxy is."""
        return self._proxy.phase

    def not_ready(self) -> list[str]:
        """Why the proxy should get no traffic yet."""
        reasons = []
        if self._proxy.phase != "active":
            reasons.append(f"the proxy is {self._proxy.phase}")
        if self._proxy.phase == "warming":
            waiting = [cluster for cluster in self._proxy.clusters.all() if not cluster.listed]
            reasons += [f"cluster {cluster.name}: no first list of endpoints yet" for cluster in waiting]
        return reasons

    def metrics(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return self._proxy.telemetry.metrics.expose()

    def config(self) -> Page:
        """The configuration in force, secrets hidden."""
        return redacted(self._proxy.config)

    def clusters(self) -> list[Page]:
        """Each cluster with its endpoints."""
        return [dict(cluster.view()) for cluster in self._proxy.clusters.all()]

    def drain(self) -> None:
        """Begin to drain."""
        self._proxy.stop.set()

    def purge(self, url: str) -> int | None:
        """Have the caches forget."""
        return self._proxy.keeper.purge(url)

    def leave(self) -> None:
        """Tell inbound clients to go elsewhere."""
        self._proxy.leave()

    def explain(self, method: str, url: str, headers: list[tuple[str, str]], listener: str | None) -> Page:
        """What would happen to a request; raises ValueError where the question makes no sense."""
        chosen = self._listener(listener)
        request = _request(method, url, headers)
        page: Page = {"listener": chosen.spec.name, "method": method, "authority": request.authority}
        page["target"] = request.target.decode("latin-1")
        page["rules"] = [verdict._asdict() for verdict in chosen.router.explain(request)]
        try:
            matched = chosen.router.match(request)
        except NoRoute as error:
            if chosen.spec.mode == "reverse":
                return page | {"route": None, "answer": f"404: {error}"}
            return page | self._forwarded(request)
        plan = chosen.plans[id(matched.rule)]
        page["route"] = matched.name or "(unnamed)"
        page["filters"] = [line() for line in plan.filters]
        backends = [self._backend(ref.name, ref.port, ref.weight, request) for ref in matched.rule.backend_refs]
        page["backends"] = backends
        if not any(ref.weight > 0 for ref in matched.rule.backend_refs):
            page["answer"] = f"500: {BadBackend('the rule has no backend with a weight')}"
        return page

    def _backend(self, name: str, port: int | None, weight: int, request: Request) -> Page:
        cluster = self._proxy.clusters.get(name) if port is None else self._named(f"{name}.", f":{port}")
        page: Page = {"name": name, "weight": weight}
        if cluster is None:
            return page | {"problem": "not asked for yet: the first request makes this cluster"}
        return page | {"cluster": dict(cluster.explain(request))}

    def _named(self, start: str, end: str) -> Cluster | None:
        return next(
            (one for one in self._proxy.clusters.all() if one.name.startswith(start) and one.name.endswith(end)), None
        )

    def _forwarded(self, request: Request) -> Page:
        host = request.authority.lower()
        known = [
            one for one in self._proxy.clusters.all() if one.name in {host, f"{host}:80"} or _is_service(one, host)
        ]
        if not known:
            return {
                "route": None,
                "answer": f"forward mode: {host} has not been asked for yet; the first request finds it",
            }
        return {"route": None, "clusters": [dict(cluster.explain(request)) for cluster in known]}

    def _listener(self, name: str | None) -> Assembled:
        current = self._proxy.current
        if name is None:
            return next(iter(current.values()))
        if name not in current:
            raise ValueError(f"no listener is named {name!r}; there are: {', '.join(current)}")
        return current[name]


def gauges(clusters: Iterable[Cluster]) -> Iterable[tuple[str, str, Mapping[str, str], float]]:
    """Pool and endpoint gauges, worked out when they are asked for."""
    for cluster in clusters:
        view = cluster.view()
        states: dict[str, int] = {}
        for endpoint in view["endpoints"]:
            states[endpoint["state"]] = states.get(endpoint["state"], 0) + 1
        name = {"cluster": cluster.name}
        for state, count in states.items():
            yield "sidecar_cluster_endpoints", "Endpoints by state", {**name, "state": state}, count
        idle = sum(endpoint["idle"] for endpoint in view["endpoints"])
        active = sum(endpoint["active"] for endpoint in view["endpoints"])
        yield "sidecar_upstream_connections", "Upstream connections", {**name, "state": "idle"}, idle
        yield "sidecar_upstream_connections", "Upstream connections", {**name, "state": "active"}, active
        yield "sidecar_cluster_requests_in_flight", "Requests in flight", name, view["inflight"]
        yield "sidecar_cluster_panic", "1 while ejections are ignored", name, float(view["panic"])


def _is_service(cluster: Cluster, host: str) -> bool:
    service = cluster.spec.kubernetes
    return service is not None and host.partition(":")[0].split(".")[0] == service.service


def _request(method: str, url: str, headers: list[tuple[str, str]]) -> Request:
    scheme, found, rest = url.partition("://")
    if found and scheme in {"http", "https"}:
        authority, slash, path = rest.partition("/")
        target = slash + path or "/"
    elif url.startswith("/"):
        authority, target = "", url
    else:
        raise ValueError(f"expected a path or an http URL, got {url!r}")
    lines = Headers()
    for name, value in headers:
        lines.add(name, value)
    return Request(
        method=method,
        target=target.encode("utf-8"),
        authority=lines.get("host") or authority,
        headers=lines,
        started=asyncio.get_running_loop().time(),
    )
