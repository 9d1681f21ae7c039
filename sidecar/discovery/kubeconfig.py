"""Where the API server's address and credentials are configured, checked early and told clearly.

Order: the `kubeconfig` setting, the service account of the pod, the `KUBECONFIG` variable. Decides which files apply,
the context and the own namespace; signing in (tokens, plugins, certificates) is kubernetes_asyncio's.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import yaml

from sidecar.config.model import Kubernetes
from sidecar.errors import ConfigError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
NOT_FOUND = "no Kubernetes configuration found: set KUBECONFIG, or run in a cluster with a service account token"


@dataclass(frozen=True, slots=True)
class InCluster:
    """The service account that the kubelet mounts into a pod."""

    folder: Path
    environ: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """One or more kubeconfig files, joined by `:` as in `KUBECONFIG`; the first that has an entry wins."""

    paths: str
    context: str | None


Access: TypeAlias = InCluster | Kubeconfig


def find_access(settings: Kubernetes, environ: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> Access | None:
    """Which configuration applies; None: there is none. Reads no kubeconfig."""
    if settings.kubeconfig:
        return Kubeconfig(settings.kubeconfig, settings.context)
    if (
        environ.get("KUBERNETES_SERVICE_HOST")
        and environ.get("KUBERNETES_SERVICE_PORT")
        and (folder / "token").exists()
    ):
        return InCluster(folder, environ)
    if environ.get("KUBECONFIG"):
        return Kubeconfig(environ["KUBECONFIG"], settings.context)
    return None


def own_namespace(settings: Kubernetes, access: Access | None) -> str:
    """The namespace setting, else the service account's or the context's, else `default`.

    Raises ConfigError for a kubeconfig of the settings; a bad `KUBECONFIG` hurts only those who need a cluster.
    """
    if settings.namespace:
        return settings.namespace
    if isinstance(access, Kubeconfig):
        try:
            return check_kubeconfig(access).namespace
        except ConfigError:
            if settings.kubeconfig:
                raise
            return "default"
    if access is not None:
        try:
            return (access.folder / "namespace").read_text(encoding="utf-8").strip() or "default"
        except OSError:
            return "default"
    return "default"


@dataclass(frozen=True, slots=True)
class Context:
    """What a kubeconfig says of the chosen context."""

    name: str
    server: str
    namespace: str


def check_kubeconfig(access: Kubeconfig) -> Context:
    """Read and check the files; raises ConfigError naming the file, what is wrong and what there is instead."""
    label = f"kubeconfig {access.paths}"
    documents = list(_documents(access.paths))
    if not documents:
        raise ConfigError("", f"{label}: no such file")
    chosen = access.context or next((text for found in documents if (text := found.get("current-context"))), None)
    if not chosen:
        raise ConfigError("", f"{label}: no current-context; name one in the setting kubernetes.context")
    contexts, clusters, users = (_named(label, documents, key) for key in ("contexts", "clusters", "users"))
    if chosen not in contexts:
        raise ConfigError(
            "", f"{label}: context {chosen!r} not found; contexts: {', '.join(sorted(contexts)) or 'none'}"
        )
    context = _section(label, contexts[str(chosen)], "context")
    cluster, user = context.get("cluster"), context.get("user")
    if cluster not in clusters:
        raise ConfigError("", f"{label}: context {chosen!r} names cluster {cluster!r}, which is not there")
    if user and user not in users:
        raise ConfigError("", f"{label}: context {chosen!r} names user {user!r}, which is not there")
    server = _section(label, clusters[str(cluster)], "cluster").get("server")
    if not isinstance(server, str) or not server.startswith(("http://", "https://")):
        raise ConfigError("", f"{label}: cluster {cluster!r} has no server such as https://host:6443, but {server!r}")
    return Context(str(chosen), server, str(context.get("namespace") or "default"))


def _documents(paths: str) -> Iterator[dict[str, object]]:
    for text in paths.split(os.pathsep):
        path = Path(text).expanduser()
        if not text or not path.exists():
            continue
        try:
            document = yaml.safe_load(path.read_bytes())
        except OSError as error:
            raise ConfigError("", f"kubeconfig {text}: cannot be read: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise ConfigError("", f"kubeconfig {text}: is no YAML: {_one_line(error)}") from error
        if not isinstance(document, dict):
            raise ConfigError("", f"kubeconfig {text}: expected a mapping with clusters, contexts and users")
        yield document


def _named(label: str, documents: list[dict[str, object]], key: str) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for document in documents:
        items = document.get(key) or []
        if not isinstance(items, list) or not all(isinstance(item, dict) and "name" in item for item in items):
            raise ConfigError("", f"{label}: {key} is no list of entries with a name")
        for item in items:
            found.setdefault(str(item["name"]), item)
    return found


def _section(label: str, item: dict[str, object], key: str) -> dict[str, object]:
    section = item.get(key)
    if not isinstance(section, dict):
        raise ConfigError("", f"{label}: the entry {item['name']!r} has no {key}")
    return section


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
