"""The sidecar's container as a Kubernetes object: settings in, plain dictionaries out.

Decides: image, arguments, ports, identity, security, probes, resources, volumes, and what app containers get to find
the proxy. Does not decide who is injected and does not patch pods (`patch.py`). The chart's templates
`sidecar.container`, `sidecar.volumes` and `sidecar.env` say the same, and a test holds them to it.
"""

from collections.abc import Sequence

from sidecar.config.pod import INBOUND_VARIABLE
from sidecar.inject.settings import Manifest, Settings

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


def container(settings: Settings, taken: Sequence[tuple[str, int]] | None = None) -> Manifest:
    """The native sidecar (KEP-753): an init container that the kubelet keeps running beside the app.

    `taken`: port names that the sidecar takes over from the app, each with the app's number; by default the one that
    the settings name. Names have one inbound port each, counted up from `ports.inbound`.
    """
    if taken is None:
        taken = [(settings.inbound.port_name, settings.inbound.app_port)] if settings.inbound.enabled else []
    return {
        "name": NAME,
        "image": str(settings.image),
        "imagePullPolicy": settings.image.pull_policy,
        "restartPolicy": "Always",
        "args": ["run", "--config", f"{CONFIG_FOLDER}/{CONFIG_FILE}"],
        "env": _environment(settings, taken),
        "ports": _ports(settings, taken),
        "startupProbe": _probe(
            settings, "/readyz", periodSeconds=1, failureThreshold=settings.startup.failure_threshold
        ),
        "readinessProbe": _probe(settings, "/readyz", periodSeconds=5, failureThreshold=2),
        "livenessProbe": _probe(settings, "/livez", periodSeconds=10, failureThreshold=3),
        # Called when the pod's end begins, before the app's end: inbound answers say `Connection: close` from then on.
        "lifecycle": {"preStop": {"exec": {"command": ["sidecar", "leave", "--admin", _admin(settings)]}}},
        "resources": settings.resources,
        "securityContext": _security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": CONFIG_VOLUME, "mountPath": CONFIG_FOLDER, "readOnly": True},
            {"name": TOKEN_VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": True},
            *settings.extra_volume_mounts,
        ],
    }


def volumes(settings: Settings, config_map: str, *, optional: bool = False) -> list[Manifest]:
    """The pod's volumes for the container: its configuration, and a token of its own.

    `optional`: the ConfigMap may be missing, since the container has a configuration in its environment.

    The token does not depend on `automountServiceAccountToken`, and app containers do not see it. Every namespace has
    the ConfigMap `kube-root-ca.crt`.
    """
    return [
        {"name": CONFIG_VOLUME, "configMap": {"name": config_map, **({"optional": True} if optional else {})}},
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
        *settings.extra_volumes,
    ]


def app_environment(settings: Settings) -> list[Manifest]:
    """What points an app container at the outbound listener.

    HTTP only by default: of HTTPS the proxy sees a CONNECT and bytes, so there is nothing to balance or trace.
    """
    proxy = f"http://127.0.0.1:{settings.ports.outbound}"
    direct = ",".join((*NO_PROXY, *settings.no_proxy))
    variables = {"HTTP_PROXY": proxy, **({"HTTPS_PROXY": proxy} if settings.outbound.https else {}), "NO_PROXY": direct}
    return [
        {"name": spelling, "value": value} for name, value in variables.items() for spelling in (name, name.lower())
    ]


def _environment(settings: Settings, taken: Sequence[tuple[str, int]]) -> list[Manifest]:
    pairs = ",".join(f"{settings.ports.inbound + at}:{port}" for at, (_, port) in enumerate(taken))
    return [
        *({"name": name, "valueFrom": {"fieldRef": _field(path)}} for name, path in IDENTITY),
        {"name": "CONTAINER_NAME", "value": NAME},  # of the telemetry's resource; no fieldRef has it
        {"name": INBOUND_VARIABLE, "value": pairs},
        *({"name": name, "value": value} for name, value in sorted(settings.otel.items())),
        *settings.extra_env,
    ]


def _ports(settings: Settings, taken: Sequence[tuple[str, int]]) -> list[Manifest]:
    ports = settings.ports
    return [
        *(_port(name, ports.inbound + at) for at, (name, _) in enumerate(taken)),
        _port("sidecar-out", ports.outbound),
        _port("sidecar-admin", ports.admin),
        _port("sidecar-probe", ports.probe),
    ]


def _admin(settings: Settings) -> str:
    return f"127.0.0.1:{settings.ports.admin}"


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
