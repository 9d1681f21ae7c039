"""From configuration to handlers: a listener's routes, each rule's filters, and behind them the forwarder.

Built anew at each reload and swapped in one assignment: a request sees one configuration from start to end.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from sidecar.clusters.cluster import Cluster
from sidecar.clusters.registry import Clusters
from sidecar.config import model as config
from sidecar.errors import BadBackend, BadRequest, NoRoute, ProxyError
from sidecar.filters import FilterContext, Keeper, build, chain
from sidecar.forwarding.engine import Forwarder, Policy
from sidecar.forwarding.on_demand import OnDemand
from sidecar.forwarding.retry import RetryPolicy
from sidecar.model import Filter, Handler, Request, Response
from sidecar.routing import Backends, Router

MAX_MIRRORED = 100  # copies on their way at one time; more are dropped

_log = logging.getLogger("sidecar.lifecycle")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rule does with a request."""

    handler: Handler
    timeout: float | None  # seconds for the whole request
    backends: Backends
    filters: tuple[Callable[[], str], ...]  # what each of them is, or would do, in a line


@dataclass(frozen=True, slots=True)
class Assembled:
    """One listener's part of one configuration."""

    spec: config.Listener
    router: Router
    plans: dict[int, Plan]  # by id of the rule, which `spec` keeps alive
    handler: Handler


@dataclass(slots=True)
class Assembler:
    """Makes handlers from what the composition root has built."""

    clusters: Clusters
    on_demand: OnDemand
    forwarder: Forwarder
    tasks: asyncio.TaskGroup
    first_list_timeout: float
    count: Callable[[str, str], None]
    keeper: Keeper
    config_folder: str = "."
    mirrored: set["asyncio.Task[None]"] = field(default_factory=set)

    def assemble(self, whole: config.Config) -> dict[str, Assembled]:
        """The handlers of all listeners by name; raises ConfigError, and nothing has changed then."""
        context = FilterContext(
            mirror=self.mirror, count=self.count, keeper=self.keeper, config_folder=self.config_folder
        )
        return {
            spec.name: self._listener(spec, f"$.listeners[{at}]", context) for at, spec in enumerate(whole.listeners)
        }

    def mirror(self, ref: config.BackendRef, request: Request) -> None:
        """Send a copy and throw its answer away; too many at a time are dropped."""
        if len(self.mirrored) >= MAX_MIRRORED:
            return
        task = self.tasks.create_task(self._mirror(ref, request), name="mirror")
        self.mirrored.add(task)
        task.add_done_callback(self.mirrored.discard)

    async def cluster_of(self, ref: config.BackendRef) -> Cluster:
        """The cluster of a backendRef, with its first list waited for; raises BadBackend."""
        cluster = self.clusters.get(ref.name) if ref.port is None else await self.on_demand.service(ref)
        if cluster is None:
            raise BadBackend(f"no cluster is named {ref.name!r}")
        if not cluster.listed:
            await cluster.wait_ready(self.first_list_timeout)
        if not cluster.exists:
            raise BadBackend(f"backend {ref.name!r}: {cluster.problem or 'the Service does not exist'}")
        return cluster

    def _listener(self, spec: config.Listener, path: str, context: FilterContext) -> Assembled:
        router = Router(spec.routes, f"{path}.routes")
        plans = {
            id(rule): self._plan(
                rule,
                spec.limits.replay_bytes,
                f"{path}.routes[{at}].rules[{number}]",
                replace(context, scope=repr((spec.name, route.hostnames, rule.matches))),
            )
            for at, route in enumerate(spec.routes)
            for number, rule in enumerate(route.rules)
        }
        reverse = _reverse(router, plans)
        handler = self._forward(spec, reverse if spec.routes else None) if spec.mode == "forward" else reverse
        return Assembled(spec, router, plans, handler)

    def _plan(self, rule: config.Rule, replay_bytes: int, path: str, context: FilterContext) -> Plan:
        backends = Backends(rule.backend_refs)
        policy = policy_of(rule, replay_bytes)

        async def terminal(request: Request) -> Response:
            if request.method == "CONNECT":
                raise BadRequest("CONNECT is for a forward proxy; this listener is a reverse proxy", 405)
            return await self.forwarder.forward(request, await self.cluster_of(backends.pick()), policy)

        filters = [build(each, context, f"{path}.filters[{at}]") for at, each in enumerate(rule.filters)]
        lines = tuple(map(_line, rule.filters, filters))
        return Plan(chain(filters, terminal), rule.timeouts.request or None, backends, lines)

    def _forward(self, spec: config.Listener, routes: Handler | None) -> Handler:
        """A forward proxy: routes first, if there are any; what they do not take goes where its authority says."""
        policy = Policy(replay_bytes=spec.limits.replay_bytes)

        async def forward(request: Request) -> Response:
            if routes is not None:
                try:
                    return await routes(request)
                except NoRoute:
                    pass
            cluster = await self.on_demand.cluster(request.authority, request.scheme)
            if request.method == "CONNECT":
                return await self.forwarder.tunnel(request, cluster)
            return await self.forwarder.forward(request, cluster, policy)

        return forward

    async def _mirror(self, ref: config.BackendRef, request: Request) -> None:
        try:
            response = await self.forwarder.forward(request, await self.cluster_of(ref), Policy())
            try:
                if not isinstance(response.body, bytes):
                    async for _ in response.body:
                        pass
            finally:
                await response.aclose()
        except ProxyError as error:
            _log.debug("mirrored request failed: %s", error)
        except Exception:  # noqa: BLE001 - logged; a copy must not end the process whose TaskGroup it runs in
            _log.exception("unexpected failure while mirroring a request")


def _line(spec: config.FilterSpec, made: Filter) -> Callable[[], str]:
    """The filter's own `explain`, else its type."""
    own: Callable[[], str] | None = getattr(made, "explain", None)
    return own or partial(str, spec.__struct_config__.tag)


def policy_of(rule: config.Rule, replay_bytes: int) -> Policy:
    """The rule's timeouts and retries; `0s` means none (GEP-1742)."""
    retry = rule.retry or config.Retry(attempts=0)
    limits = [limit for limit in (rule.timeouts.backend_request, retry.per_try_timeout) if limit]
    return Policy(
        retry=RetryPolicy(
            codes=frozenset(retry.codes),
            attempts=retry.attempts,
            backoff=retry.backoff,
            non_idempotent=retry.non_idempotent,
        ),
        attempt_timeout=min(limits) if limits else None,
        replay_bytes=replay_bytes,
    )


def check(whole: config.Config, config_folder: str = ".") -> None:
    """Build what can be built without starting anything; raises ConfigError."""

    def nowhere(_ref: config.BackendRef, _request: Request) -> None: ...

    context = FilterContext(mirror=nowhere, config_folder=config_folder)
    for at, listener in enumerate(whole.listeners):
        path = f"$.listeners[{at}].routes"
        Router(listener.routes, path)
        for number, route in enumerate(listener.routes):
            for which, rule in enumerate(route.rules):
                for place, each in enumerate(rule.filters):
                    build(each, context, f"{path}[{number}].rules[{which}].filters[{place}]")


def _reverse(router: Router, plans: dict[int, Plan]) -> Handler:
    async def dispatch(request: Request) -> Response:
        matched = router.match(request)
        request.route, request.prefix = matched.name, matched.prefix
        plan = plans[id(matched.rule)]
        if plan.timeout is not None:
            request.deadline = request.started + plan.timeout
        return await plan.handler(request)

    return dispatch
