"""Takes an injected sidecar out of a pod again, in place.

The status annotation says which port names were taken. Probes and hooks keep the numbers that they were given, which
mean the same.
"""

import json
from collections.abc import Callable
from typing import Any

from sidecar.inject import annotations, container
from sidecar.inject.settings import Manifest, Settings


def uninject(pod: Manifest, settings: Settings) -> bool:
    """Whether there was anything to take out; a sidecar that injection did not bring stays."""
    metadata = pod.get("metadata") or {}
    noted = metadata.get("annotations") or {}
    if annotations.STATUS not in noted:
        return False
    chosen = annotations.chosen(settings, noted).settings
    status = json.loads(noted.pop(annotations.STATUS))
    noted.pop(annotations.WARNING, None)
    _drop_empty(metadata, "annotations")
    _drop_empty(pod, "metadata")
    if "skipped" in status:
        return True
    spec = pod["spec"]
    volumes = {volume["name"] for volume in container.volumes(settings, "")}
    _without(spec, "initContainers", lambda each: each["name"] == container.NAME)
    _without(spec, "volumes", lambda each: each["name"] in volumes)
    ours = container.app_environment(chosen)
    for each in (*spec["containers"], *spec.get("initContainers", ())):
        _without(each, "env", lambda variable: variable in ours)
        if each["name"] in status.get("preStop", ()):
            (each.get("lifecycle") or {}).pop("preStop", None)
            _drop_empty(each, "lifecycle")
        for port in each.get("ports", ()):
            name = _name(status.get("ports", ()), f"{each['name']}:{port['containerPort']}=")
            if name and "name" not in port:
                port["name"] = name
    return True


def _name(ports: list[str], prefix: str) -> str:
    return next((port.removeprefix(prefix) for port in ports if port.startswith(prefix)), "")


def _without(owner: Manifest, field: str, unwanted: Callable[[Any], bool]) -> None:
    items = owner.get(field) or []
    for at in reversed(range(len(items))):
        if unwanted(items[at]):
            del items[at]
    _drop_empty(owner, field)


def _drop_empty(owner: Manifest, field: str) -> None:
    if field in owner and not owner[field]:
        del owner[field]
