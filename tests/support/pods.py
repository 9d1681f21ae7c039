"""Pods of every kind that injection must judge, each with what is expected of it.

All meet Pod Security `restricted` unless their name says otherwise.
"""

import copy
from typing import Any, NamedTuple

Manifest = dict[str, Any]

_SAFE: Manifest = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_POD_SAFE: Manifest = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
CONFIG = "config.sidecar-proxy.io/"


class Case(NamedTuple):
    """A pod; `inbound` is what SIDECAR_INBOUND says (None: no sidecar), `skipped` how the reason begins."""

    pod: Manifest
    inbound: str | None = ""
    skipped: str = ""
    restricted: bool = True


def container(name: str = "app", **fields: Any) -> Manifest:
    return {"name": name, "image": "registry.example/app:1", "securityContext": _SAFE, **fields}


def pod(
    *containers: Manifest, annotations: dict[str, str] | None = None, labels: dict[str, str] | None = None, **spec: Any
) -> Manifest:
    metadata: Manifest = {"name": "shop"}
    if annotations:
        metadata["annotations"] = annotations
    if labels:
        metadata["labels"] = labels
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"securityContext": _POD_SAFE, "containers": list(containers or [container()]), **spec},
    }


def port(number: int, name: str | None = None, **fields: Any) -> Manifest:
    return {**({"name": name} if name else {}), "containerPort": number, **fields}


def _env(name: str, value: str) -> Manifest:
    return {"name": name, "value": value}


HTTP = container(ports=[port(8080, "http")])
_PROBES = container(
    ports=[port(8080, "http"), port(9000, "metrics"), port(7000, "http-admin")],
    startupProbe={"tcpSocket": {"port": "http"}},
    livenessProbe={"httpGet": {"path": "/live", "port": "http-admin"}},
    readinessProbe={"httpGet": {"port": "metrics"}},
    lifecycle={"postStart": {"tcpSocket": {"port": "http"}}, "preStop": {"httpGet": {"path": "/bye", "port": "http"}}},
)

TABLE: dict[str, Case] = {
    "plain": Case(pod()),
    "a named port": Case(pod(HTTP), "15006:8080"),
    "a port by number": Case(pod(container(ports=[port(8080)]))),
    "another name": Case(pod(container(ports=[port(8080, "grpc"), port(9090, "metrics")]))),
    "names with a prefix": Case(
        pod(container(ports=[port(1, "https"), port(2, "http-a"), port(3, "web"), port(4, "webs")])), "15006:2,15007:3"
    ),
    "UDP is no HTTP": Case(
        pod(container(ports=[port(53, "http", protocol="UDP"), port(80, "web", protocol="TCP")])), "15006:80"
    ),
    "a name in two containers": Case(
        pod(
            HTTP,
            container(
                "other", ports=[port(9090, "http"), port(9091, "web")], readinessProbe={"tcpSocket": {"port": "http"}}
            ),
        ),
        "15006:8080,15007:9091",
    ),
    "more names than ports": Case(
        pod(
            container(
                ports=[port(5000 + at, f"http-{at}") for at in range(10)],
                readinessProbe={"httpGet": {"port": "http-9"}},
            )
        ),
        ",".join(f"{15006 + at}:{5000 + at}" for at in range(8)),
    ),
    "probes and hooks by name": Case(pod(_PROBES), "15006:8080,15007:7000"),
    "a probe by the name of another container's port": Case(
        pod(HTTP, container("other", readinessProbe={"httpGet": {"port": "web"}})), "15006:8080"
    ),
    "several containers": Case(pod(HTTP, container("second"), container("third", env=[_env("A", "b")])), "15006:8080"),
    "init containers": Case(
        pod(
            HTTP,
            initContainers=[
                container("migrate", env=[_env("A", "b")]),
                container("cache", restartPolicy="Always", ports=[port(6379, "http")]),
            ],
        ),
        "15006:8080",
    ),
    "volumes": Case(
        pod(container(volumeMounts=[{"name": "tmp", "mountPath": "/tmp"}]), volumes=[{"name": "tmp", "emptyDir": {}}])
    ),
    "no token, so no volumes": Case(pod(HTTP, automountServiceAccountToken=False), "15006:8080"),
    "a proxy of its own": Case(pod(container(env=[_env("http_proxy", "http://proxy.example:3128"), _env("A", "b")]))),
    "a NO_PROXY of its own": Case(pod(container(env=[_env("NO_PROXY", "a.example")]))),
    "labels and annotations": Case(
        pod(HTTP, labels={"app": "shop"}, annotations={"note": 'say "hi" \\ <&>'}), "15006:8080"
    ),
    "resources by annotation": Case(
        pod(
            annotations={
                f"{CONFIG}cpu-request": "100m",
                f"{CONFIG}cpu-limit": "1.5",
                f"{CONFIG}memory-request": "1e8",
                f"{CONFIG}memory-limit": "256Mi",
            }
        )
    ),
    "port names by annotation": Case(
        pod(
            container(ports=[port(1, "http"), port(2, "api"), port(3, "api-v2")]),
            annotations={f"{CONFIG}port-names": "api,api-*"},
        ),
        "15006:2,15007:3",
    ),
    "no port names by annotation": Case(pod(HTTP, annotations={f"{CONFIG}port-names": ""})),
    "any port name": Case(
        pod(container(ports=[port(1, "a"), port(2)]), annotations={f"{CONFIG}port-names": "*"}), "15006:1"
    ),
    "a port skipped": Case(
        pod(
            container(ports=[port(8080, "http"), port(80, "web")]),
            annotations={f"{CONFIG}skip-inbound-ports": "8080,9090"},
        ),
        "15006:80",
    ),
    "hosts without the proxy": Case(pod(annotations={f"{CONFIG}no-proxy": "metadata.example,.internal"})),
    "its own configuration": Case(pod(annotations={f"{CONFIG}config-map": "shop.proxy"})),
    "annotations that are wrong": Case(
        pod(
            HTTP,
            annotations={
                f"{CONFIG}cpu-limt": "1",
                f"{CONFIG}a": "",
                f"{CONFIG}memory-limit": "lots",
                f"{CONFIG}skip-inbound-ports": "http",
                f"{CONFIG}no-proxy": "a b",
                f"{CONFIG}config-map": "",
                f"{CONFIG}cpu-request": "50m",
            },
        ),
        "15006:8080",
    ),
    "a hook before its end": Case(pod({**HTTP, "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}), "15006:8080"),
    "a hook after its start": Case(pod({**HTTP, "lifecycle": {"postStart": {"sleep": {"seconds": 1}}}}), "15006:8080"),
    "little time to end": Case(pod(HTTP, terminationGracePeriodSeconds=3), "15006:8080"),
    "a little more": Case(pod(HTTP, terminationGracePeriodSeconds=4), "15006:8080"),
    "told not to": Case(pod(HTTP, labels={"sidecar-proxy.io/inject": "disabled"}), None),
    "a sidecar already": Case(pod(HTTP, initContainers=[container("sidecar", restartPolicy="Always")]), None),
    "host network": Case(
        pod(container(ports=[port(8080, "http", hostPort=8080)]), hostNetwork=True),
        None,
        "hostNetwork",
        restricted=False,
    ),
    "Windows by node selector": Case(pod(HTTP, nodeSelector={"kubernetes.io/os": "windows"}), None, "Windows"),
    "Linux by node selector": Case(pod(HTTP, nodeSelector={"kubernetes.io/os": "linux"}), "15006:8080"),
    "Windows by the pod's system": Case(
        pod({**container(), "securityContext": {}}, os={"name": "windows"}, securityContext={"runAsNonRoot": True}),
        None,
        "Windows",
    ),
    "a container named sidecar": Case(pod(container("sidecar")), None, "a container of its own"),
    "a volume of our name": Case(
        pod(HTTP, volumes=[{"name": "sidecar-token", "emptyDir": {}}]), None, "a volume of its own"
    ),
    "a port of ours": Case(pod(container(ports=[port(15008, "http")])), None, "a container port"),
}


def make(name: str) -> Manifest:
    """A fresh copy of the pod."""
    return copy.deepcopy(TABLE[name].pod)
