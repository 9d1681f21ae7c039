"""Whether a pod gets the sidecar, and the JSON Patch (RFC 6902) that gives it one.

Pure: a pod as plain data and settings in, operations out; they fit any pod that the API server would take. The chart's
policy (`deploy/helm/sidecar/templates/_policy.tpl`) decides the same in CEL; a test on a real API server compares.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sidecar import __version__
from sidecar.config.pod import DEFAULT_VARIABLE, INBOUND_VARIABLE
from sidecar.inject import annotations, container
from sidecar.inject.settings import Manifest, Settings, canonical, configuration

MAX_TAKEN = 8  # port names of one pod; further ones are left to the app
CONFIG_MAP = "sidecar"  # the ConfigMap that an injected pod reads if its namespace has one
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
HOOKS = ("postStart", "preStop")
ACTIONS = ("httpGet", "tcpSocket")


class PatchOp(NamedTuple):
    """One operation of a JSON Patch."""

    op: Literal["add", "replace", "remove"]
    path: str
    value: object = None


@dataclass(frozen=True, slots=True)
class Named:
    """A container port whose name is taken over."""

    container: int  # index in spec.containers
    port: int  # index in its ports
    name: str
    number: int


def patch(pod: Manifest, settings: Settings) -> tuple[PatchOp, ...]:
    """What gives the pod its sidecar; for a pod that cannot take one, what writes down why; nothing for the others."""
    if passed_over(pod):
        return ()
    why = obstacle(pod, settings)
    if why:
        status = {"version": __version__, "skipped": why}
        return tuple(_annotate(pod, {annotations.STATUS: json.dumps(status, separators=(",", ":"))}))
    return tuple(_inject(pod, settings))


def passed_over(pod: Manifest) -> bool:
    """Whether the pod is left as it is: told so by its label, static (a mirror), or with a sidecar already."""
    labels, noted = _metadata(pod, "labels"), _metadata(pod, "annotations")
    return (
        labels.get(annotations.INJECT_LABEL) == "disabled"
        or "kubernetes.io/config.mirror" in noted
        or any(each["name"] == container.NAME for each in pod["spec"].get("initContainers") or ())
    )


def obstacle(pod: Manifest, settings: Settings) -> str:
    """Why the pod cannot take a sidecar; empty where it can."""
    spec = pod["spec"]
    if spec.get("hostNetwork"):
        return "hostNetwork: its ports would be the node's"
    system = (spec.get("os") or {}).get("name") or (spec.get("nodeSelector") or {}).get("kubernetes.io/os")
    if system == "windows":
        return "Windows: the sidecar runs on Linux"
    if any(each["name"] == container.NAME for each in spec["containers"]):
        return "a container of its own is named sidecar"
    ours = {volume["name"] for volume in container.volumes(settings, "")}
    if any(each["name"] in ours for each in spec.get("volumes") or ()):
        return "a volume of its own has the name of one of the sidecar's"
    ports = settings.ports
    own = {ports.outbound, ports.admin, ports.probe, *(ports.inbound + at for at in range(MAX_TAKEN))}
    if any(port["containerPort"] in own for each in spec["containers"] for port in each.get("ports") or ()):
        return "a container port of its own is one of the sidecar's"
    return ""


def named_ports(pod: Manifest, chosen: annotations.Chosen) -> list[Named]:
    """The ports whose names are taken over, in the order of the pod; a name may be there more than once."""
    inbound = chosen.settings.inbound
    if not inbound.enabled:
        return []
    return [
        Named(at, place, port["name"], port["containerPort"])
        for at, each in enumerate(pod["spec"]["containers"])
        for place, port in enumerate(each.get("ports") or ())
        if "name" in port
        and port.get("protocol", "TCP") == "TCP"
        and port["containerPort"] not in chosen.skipped
        and any(_matches(port["name"], pattern) for pattern in inbound.port_names)
    ]


def taken_over(named: Sequence[Named]) -> list[tuple[str, int]]:
    """Each name once with the number that Services mean by it: of the first container that has it."""
    return list({each.name: each.number for each in reversed(named)}.items())[::-1][:MAX_TAKEN]


def sleeping(pod: Manifest, settings: Settings, named: Sequence[Named]) -> list[int]:
    """The containers that wait before they stop: those behind the sidecar without a hook, if there is time for one."""
    spec, seconds = pod["spec"], settings.inbound.pre_stop_sleep
    if not 0 < seconds < spec.get("terminationGracePeriodSeconds", 30):
        return []
    served = sorted({each.container for each in named})
    return [at for at in served if not (spec["containers"][at].get("lifecycle") or {}).get("preStop")]


def spec_hash(settings: Settings) -> str:
    """Twelve digits that change when what is injected does, whatever the pod."""
    parts = [
        container.container(settings, []),
        container.app_environment(settings),
        configuration(settings),
        _sleep(settings),
    ]
    return hashlib.sha256(canonical(parts).encode()).hexdigest()[:12]


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _inject(pod: Manifest, settings: Settings) -> Iterator[PatchOp]:
    spec, noted = pod["spec"], _metadata(pod, "annotations")
    chosen = annotations.chosen(settings, noted)
    every = named_ports(pod, chosen)
    taken = taken_over(every)
    names = {name for name, _ in taken}
    named = [each for each in every if each.name in names]
    for field in ("initContainers", "volumes"):
        if not spec.get(field):
            yield PatchOp("add", f"/spec/{field}", [])
    for volume in container.volumes(settings, _config_map(settings, chosen), optional=True):
        yield PatchOp("add", "/spec/volumes/-", volume)
    for each in named:
        yield PatchOp("remove", f"/spec/containers/{each.container}/ports/{each.port}/name")
    for field in ("containers", "initContainers"):
        for at, each in enumerate(spec.get(field) or ()):
            yield from _environment(f"/spec/{field}/{at}", each, chosen.settings)
    for at, each in enumerate(spec["containers"]):
        yield from _numbers(
            f"/spec/containers/{at}", each, {port.name: port.number for port in named if port.container == at}
        )
    asleep = sleeping(pod, settings, named)
    for at in asleep:
        if not spec["containers"][at].get("lifecycle"):
            yield PatchOp("add", f"/spec/containers/{at}/lifecycle", {})
        yield PatchOp("add", f"/spec/containers/{at}/lifecycle/preStop", _sleep(settings))
    yield PatchOp("add", "/spec/initContainers/0", _container(settings, chosen, taken))
    yield from _annotate(pod, _notes(pod, settings, named, asleep))


def _container(settings: Settings, chosen: annotations.Chosen, taken: Sequence[tuple[str, int]]) -> Manifest:
    """The sidecar with its default configuration, which is the same for all pods of one installation."""
    made = container.container(chosen.settings, taken)
    at = next(at for at, variable in enumerate(made["env"]) if variable["name"] == INBOUND_VARIABLE)
    made["env"].insert(at + 1, {"name": DEFAULT_VARIABLE, "value": canonical(configuration(settings))})
    return made


def _config_map(settings: Settings, chosen: annotations.Chosen) -> str:
    return chosen.config_map or settings.config.existing_config_map or CONFIG_MAP


def _environment(path: str, target: Manifest, settings: Settings) -> Iterator[PatchOp]:
    """The proxy's variables that the container does not set, in whatever spelling."""
    own = {variable["name"].upper() for variable in target.get("env") or ()}
    missing = [variable for variable in container.app_environment(settings) if variable["name"].upper() not in own]
    if missing and not target.get("env"):
        yield PatchOp("add", f"{path}/env", [])
    for variable in missing:
        yield PatchOp("add", f"{path}/env/-", variable)


def _numbers(path: str, target: Manifest, numbers: dict[str, int]) -> Iterator[PatchOp]:
    """Probes and hooks find names in their own container only: give them the number instead."""
    hooks = target.get("lifecycle") or {}
    handlers = [(name, target.get(name)) for name in PROBES]
    handlers += [(f"lifecycle/{name}", hooks.get(name)) for name in HOOKS]
    for name, handler in handlers:
        for action in ACTIONS:
            port = ((handler or {}).get(action) or {}).get("port")
            if isinstance(port, str) and port in numbers:
                yield PatchOp("replace", f"{path}/{name}/{action}/port", numbers[port])


def _sleep(settings: Settings) -> Manifest:
    return {"sleep": {"seconds": settings.inbound.pre_stop_sleep}}


def _notes(pod: Manifest, settings: Settings, named: Sequence[Named], asleep: Sequence[int]) -> dict[str, str]:
    containers = pod["spec"]["containers"]
    ports = [f"{containers[each.container]['name']}:{each.number}={each.name}" for each in named]
    status = {
        "version": __version__,
        "hash": spec_hash(settings),
        "ports": ports,
        "preStop": [containers[at]["name"] for at in asleep],
    }
    notes = {annotations.STATUS: json.dumps(status, separators=(",", ":"))}
    wrong = annotations.problems(_metadata(pod, "annotations"))
    if wrong:
        notes[annotations.WARNING] = "ignored: " + ", ".join(problem.key for problem in wrong)
    return notes


def _annotate(pod: Manifest, notes: dict[str, str]) -> Iterator[PatchOp]:
    if not pod.get("metadata"):
        yield PatchOp("add", "/metadata", {})
    if not _metadata(pod, "annotations"):
        yield PatchOp("add", "/metadata/annotations", {})
    for key, value in notes.items():
        yield PatchOp("add", f"/metadata/annotations/{key.replace('~', '~0').replace('/', '~1')}", value)


def _metadata(pod: Manifest, field: str) -> Manifest:
    found: Manifest = (pod.get("metadata") or {}).get(field) or {}
    return found
