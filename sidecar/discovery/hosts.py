"""Whether a Host or `:authority` names a Kubernetes Service. Pure: whether that Service exists is asked elsewhere.

Forms: `orders`, `orders.shop`, `orders.shop.svc`, `orders.shop.svc.cluster.local`, a trailing dot, `:80` and `:http`
(Kubernetes DNS specification, "Records for a Service").
"""

import re
from dataclasses import dataclass

_AUTHORITY = re.compile(r"([A-Za-z0-9.-]{1,254})(?::([A-Za-z0-9-]{0,15}))?")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123
_PORT_NAME = re.compile(r"(?=[a-z0-9-]*[a-z])[a-z0-9]+(-[a-z0-9]+)*")  # RFC 6335 section 5.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHost:
    """The Service that an authority names. `certain` is False where the text may as well be a DNS name."""

    service: str
    namespace: str
    port: int | str | None
    certain: bool


def service_of(authority: str, *, namespace: str, cluster_domain: str) -> ServiceHost | None:
    """The Service named by `host[:port]`, or None for IP addresses, localhost and all other hosts.

    `namespace` is the sidecar's own, which a single label is looked up in.
    """
    match = _AUTHORITY.fullmatch(authority)
    valid, port = _port(match[2]) if match else (False, None)
    labels = match[1].lower().removesuffix(".").split(".") if match else []
    if not valid or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    if labels[-1] == "localhost" or labels[-1].isdigit():  # RFC 6761; ends in digits: an IP address (WHATWG URL)
        return None
    service, where, *rest = [*labels, namespace] if len(labels) == 1 else labels
    if not rest:
        return ServiceHost(service=service, namespace=where, port=port, certain=False)
    if rest[0] == "svc" and (len(rest) == 1 or ".".join(rest[1:]) == cluster_domain.lower().strip(".")):
        return ServiceHost(service=service, namespace=where, port=port, certain=True)
    return None


def _port(text: str | None) -> tuple[bool, int | str | None]:
    """Whether the port is well-formed, and its number or name; an empty one is none (RFC 3986 section 3.2.3)."""
    if not text:
        return True, None
    if text.isdigit():
        return 0 < int(text) < 65536, int(text)
    name = text.lower()
    return _PORT_NAME.fullmatch(name) is not None, name
