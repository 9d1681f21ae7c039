"""The sidecar's container as a Kubernetes object: settings in, plain dictionaries out.

Decides: image, arguments, ports, identity, security, probes, resources, volumes, and what app containers get to find
the proxy. Does not decide who is injected and does not patch pods. `Settings` is spelled as the chart's values; the
chart's templates `sidecar.container`, `sidecar.volumes` and `sidecar.env` say the same, and a test holds them to it.
"""

from typing import Any, Literal, TypeAlias

import msgspec

from sidecar import __version__

Manifest: TypeAlias = dict[str, Any]  # a piece of a Kubernetes object, as its JSON

NAME = "sidecar"
USER = 65532  # "nonroot" of distroless images: no account of a base image has it
CONFIG_VOLUME = "sidecar-config"
CONFIG_FOLDER = "/etc/sidecar"
CONFIG_FILE = "sidecar.yaml"
TOKEN_VOLUME = "sidecar-token"  # noqa: S105 - a volume's name
TOKEN_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - where in-cluster clients look
TOKEN_SECONDS = 3607  # as the kubelet's own token volume asks

# The environment that tells the sidecar which pod it is in (Kubernetes downward API). The zone's label is set by
# PodTopologyLabelAdmission (KEP-4742, on since 1.35); without the label the variable is empty.
IDENTITY = (
    ("POD_NAME", "metadata.name"),
    ("POD_NAMESPACE", "metadata.namespace"),
    ("POD_UID", "metadata.uid"),
    ("POD_IP", "status.podIP"),
    ("NODE_NAME", "spec.nodeName"),
    ("APP_NAME", "metadata.labels['app.kubernetes.io/name']"),
    ("POD_ZONE", "metadata.labels['topology.kubernetes.io/zone']"),
)
# What an app must reach without the proxy: itself, and the API server, whose TLS the proxy could only tunnel.
NO_PROXY = ("localhost", "127.0.0.1", "::1", "kubernetes.default.svc")


class _Values(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Spelled as in the chart's values."""


class Image(_Values, frozen=True, kw_only=True):
    """Where the image is; a digest pins it, and the tag is then for people."""

    repository: str = "sidecar-proxy/sidecar"
    tag: str = ""  # empty: this version
    digest: str = ""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag or __version__}" + (f"@{self.digest}" if self.digest else "")


class Ports(_Values, frozen=True, kw_only=True):
    """Where the sidecar listens in the pod."""

    outbound: int = 15001  # loopback
    inbound: int = 15006
    admin: int = 15020  # loopback
    probe: int = 15021


class Inbound(_Values, frozen=True, kw_only=True):
    """Requests to the app: the sidecar's port takes the name that the Service's `targetPort` names."""

    enabled: bool = True
    port_name: str = "http"
    app_port: int = 8080


class Startup(_Values, frozen=True, kw_only=True):
    """How long the app waits for the sidecar: one look a second."""

    failure_threshold: int = 60


class Settings(_Values, frozen=True, kw_only=True):
    """What can be chosen of the container."""

    image: Image = Image()
    ports: Ports = Ports()
    inbound: Inbound = Inbound()
    startup: Startup = Startup()
    resources: Manifest = msgspec.field(
        default_factory=lambda: {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "192Mi"}},
    )
    otel: dict[str, str] = {}  # OTEL_* variables of the OpenTelemetry specification
    no_proxy: tuple[str, ...] = ()  # hosts that apps reach directly, beyond the pod and the API server
    extra_env: tuple[Manifest, ...] = ()
    extra_volume_mounts: tuple[Manifest, ...] = ()


def container(settings: Settings) -> Manifest:
    """The native sidecar (KEP-753): an init container that the kubelet keeps running beside the app."""
    return {
        "name": NAME,
        "image": str(settings.image),
        "imagePullPolicy": settings.image.pull_policy,
        "restartPolicy": "Always",
        "args": ["run", "--config", f"{CONFIG_FOLDER}/{CONFIG_FILE}"],
        "env": _environment(settings),
        "ports": _ports(settings),
        "startupProbe": _probe(
            settings, "/readyz", periodSeconds=1, failureThreshold=settings.startup.failure_threshold
        ),
        "readinessProbe": _probe(settings, "/readyz", periodSeconds=5, failureThreshold=2),
        "livenessProbe": _probe(settings, "/livez", periodSeconds=10, failureThreshold=3),
        "resources": settings.resources,
        "securityContext": _security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": CONFIG_VOLUME, "mountPath": CONFIG_FOLDER, "readOnly": True},
            {"name": TOKEN_VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": True},
            *settings.extra_volume_mounts,
        ],
    }


def volumes(config_map: str) -> list[Manifest]:
    """The pod's volumes for the container: its configuration, and a token of its own.

    The token does not depend on `automountServiceAccountToken`, and app containers do not see it. Every namespace has
    the ConfigMap `kube-root-ca.crt`.
    """
    return [
        {"name": CONFIG_VOLUME, "configMap": {"name": config_map}},
        {
            "name": TOKEN_VOLUME,
            "projected": {
                "sources": [
                    {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": _field("metadata.namespace")}]}},
                ],
            },
        },
    ]


def app_environment(settings: Settings) -> list[Manifest]:
    """What points an app container at the outbound listener.

    HTTP only: of HTTPS the proxy sees a CONNECT and bytes, so there is nothing to balance or trace.
    """
    proxy = f"http://127.0.0.1:{settings.ports.outbound}"
    direct = ",".join((*NO_PROXY, *settings.no_proxy))
    return [
        {"name": "HTTP_PROXY", "value": proxy},
        {"name": "http_proxy", "value": proxy},
        {"name": "NO_PROXY", "value": direct},
        {"name": "no_proxy", "value": direct},
    ]


def _environment(settings: Settings) -> list[Manifest]:
    return [
        *({"name": name, "valueFrom": {"fieldRef": _field(path)}} for name, path in IDENTITY),
        {"name": "CONTAINER_NAME", "value": NAME},  # of the telemetry's resource; no fieldRef has it
        *({"name": name, "value": value} for name, value in sorted(settings.otel.items())),
        *settings.extra_env,
    ]


def _ports(settings: Settings) -> list[Manifest]:
    ports = settings.ports
    inbound = [_port(settings.inbound.port_name, ports.inbound)] if settings.inbound.enabled else []
    return [
        *inbound,
        _port("sidecar-out", ports.outbound),
        _port("sidecar-admin", ports.admin),
        _port("sidecar-probe", ports.probe),
    ]


def _port(name: str, number: int) -> Manifest:
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def _probe(settings: Settings, path: str, **timing: int) -> Manifest:
    return {"httpGet": {"path": path, "port": settings.ports.probe}, "timeoutSeconds": 2, **timing}


def _field(path: str) -> Manifest:
    return {"apiVersion": "v1", "fieldPath": path}


def _security() -> Manifest:
    """All that Pod Security `restricted` asks, and a read-only root."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsGroup": USER,
        "runAsNonRoot": True,
        "runAsUser": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
