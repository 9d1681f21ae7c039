"""Decides who the telemetry says it is from: the resource attributes. Pure; the environment is an argument.

OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over the pod's identity from the downward API (POD_NAME,
POD_NAMESPACE, POD_UID, POD_IP, NODE_NAME, CONTAINER_NAME, APP_NAME). service.name falls back as semantic conventions
"k8s attributes" has it, as far as the environment tells: app name, pod, container, else `sidecar`.
service.instance.id is `<namespace>.<pod>.<container>`, else random.
"""

import random
from collections.abc import Mapping
from uuid import UUID

from sidecar.telemetry.environment import pairs, text

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the semantic conventions that spans and resource follow."""

_DOWNWARD = {
    "k8s.pod.name": "POD_NAME",
    "k8s.namespace.name": "POD_NAMESPACE",
    "k8s.pod.uid": "POD_UID",
    "k8s.pod.ip": "POD_IP",
    "k8s.node.name": "NODE_NAME",
    "k8s.container.name": "CONTAINER_NAME",
}


def attributes(environ: Mapping[str, str], version: str, rng: random.Random) -> dict[str, str]:
    """The resource attributes; raises ConfigError for a malformed OTEL_RESOURCE_ATTRIBUTES."""
    pod = {key: value for key, name in _DOWNWARD.items() if (value := text(environ, name))}
    found = {
        # We are no OpenTelemetry SDK: another implementation must name itself.
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "sidecar",
        "telemetry.sdk.version": version,
        "service.name": text(environ, "APP_NAME", "POD_NAME", "CONTAINER_NAME", default="sidecar"),
        "service.instance.id": _instance(pod, rng),
        **pod,
    }
    if namespace := pod.get("k8s.namespace.name"):
        found["service.namespace"] = namespace
    found |= pairs(environ, "OTEL_RESOURCE_ATTRIBUTES")
    if name := text(environ, "OTEL_SERVICE_NAME"):
        found["service.name"] = name
    return found


def _instance(pod: Mapping[str, str], rng: random.Random) -> str:
    parts = [pod[key] for key in ("k8s.namespace.name", "k8s.pod.name", "k8s.container.name") if key in pod]
    return ".".join(parts) if "k8s.pod.name" in pod else str(UUID(int=rng.getrandbits(128), version=4))
