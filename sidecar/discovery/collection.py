"""What a reflector asks for and answers: paths, selectors, timing, watch events, status. Does nothing itself."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from sidecar.discovery.kubernetes_client import ApiError
from sidecar.discovery.manifests import SERVICE_LABEL

_MOST_NAMES = 100  # in one selector

State: TypeAlias = Literal["listing", "watching", "backoff", "forbidden"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds."""

    first_connect: float = 0.2  # at most, at random: pods of a rollout start together
    debounce: float = 0.02  # between a new Service and the list that includes it
    inactivity: float = 90.0  # the server sends a bookmark about every minute
    initial: float = 10.0  # for a streaming list to end; servers that do not know it never end it
    healthy: float = 10.0  # a watch that lived so long ends a row of failures
    backoff: float = 0.8  # client-go's first and last
    max_backoff: float = 30.0
    max_retry_after: float = 60.0
    linger: float = 5.0  # that a watch outlives its last user, so that a reload of the configuration does not cut it


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """What is listed: EndpointSlices of a namespace, or the `Endpoints` of one Service in it."""

    namespace: str
    service: str | None = None  # set: the Endpoints object of this name

    @property
    def path(self) -> str:
        """The path of the collection."""
        if self.service is not None:
            return f"/api/v1/namespaces/{self.namespace}/endpoints"
        return f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices"

    def selector(self, services: frozenset[str]) -> dict[str, str]:
        """The query that selects the Services."""
        if self.service is not None:
            return {"fieldSelector": f"metadata.name={self.service}"}
        if len(services) > _MOST_NAMES:
            return {"labelSelector": SERVICE_LABEL}  # all of the namespace, since a URL has its limits
        return {"labelSelector": f"{SERVICE_LABEL} in ({','.join(sorted(services))})"}

    @property
    def rule(self) -> str:
        """The line of RBAC that allows it."""
        group, resource = ("", "endpoints") if self.service is not None else ("discovery.k8s.io", "endpointslices")
        return (
            f"add to a Role in namespace {self.namespace}: "
            f'{{apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["get", "list", "watch"]}}'
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceStatus:
    """How the watch of a namespace is; `age`: seconds since the server was last heard, None: never."""

    namespace: str
    state: State
    age: float | None
    relists: int
    problem: str


def parts_of(event: dict[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Type, object and metadata of a watch event; raises ApiError for an ERROR and for what is no event."""
    kind, body = event.get("type"), event.get("object")
    if not isinstance(kind, str) or not isinstance(body, dict):
        raise ApiError(f"the watch brought {ascii(event)[:80]} instead of an event")
    if kind == "ERROR":
        code, message = body.get("code"), ascii(body.get("message"))[1:-1][:300]
        raise ApiError(f"the watch ended with {code}: {message}", status=code if isinstance(code, int) else None)
    metadata = body.get("metadata")
    return kind, body, metadata if isinstance(metadata, dict) else {}
