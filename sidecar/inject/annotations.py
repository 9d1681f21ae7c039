"""What a pod says about its own sidecar: `config.sidecar-proxy.io/*` annotations, judged and laid over the settings.

Pure. An annotation that is unknown or has an unusable value is a `Problem`; who meets one decides whether to refuse.
The chart's policy knows the same keys and forms (`deploy/helm/sidecar/templates/_policy.tpl`).
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from sidecar.inject.settings import Settings

DOMAIN = "sidecar-proxy.io"
CONFIG_PREFIX = f"config.{DOMAIN}/"
INJECT_LABEL = f"{DOMAIN}/inject"
STATUS = f"{DOMAIN}/status"
WARNING = f"{DOMAIN}/warning"

_QUANTITY = re.compile(r"^\+?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?$")
_NAMES = re.compile(r"^([a-z0-9-]+\*?|\*)(,([a-z0-9-]+\*?|\*))*$|^$")
_PORTS = re.compile(r"^[0-9]+(,[0-9]+)*$")
_HOSTS = re.compile(r"^[^,\s]+(,[^,\s]+)*$")
_OBJECT = re.compile(r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")

# What each annotation holds, in words and by its form.
KNOWN: dict[str, tuple[str, re.Pattern[str]]] = {
    "cpu-request": ("a quantity such as 100m", _QUANTITY),
    "cpu-limit": ("a quantity such as 100m", _QUANTITY),
    "memory-request": ("a quantity such as 64Mi", _QUANTITY),
    "memory-limit": ("a quantity such as 64Mi", _QUANTITY),
    "port-names": ("port names, comma-separated, such as http,http-*", _NAMES),
    "skip-inbound-ports": ("port numbers, comma-separated", _PORTS),
    "no-proxy": ("hosts, comma-separated", _HOSTS),
    "config-map": ("the name of a ConfigMap", _OBJECT),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One annotation that cannot be meant."""

    key: str
    reason: str

    def __str__(self) -> str:
        return f"annotation {self.key}: {self.reason}"


def problems(annotations: Mapping[str, object]) -> list[Problem]:
    """What is wrong with a pod's annotations, sorted by key."""
    found = []
    for key in sorted(key for key in annotations if key.startswith(CONFIG_PREFIX)):
        name, value = key.removeprefix(CONFIG_PREFIX), annotations[key]
        if name not in KNOWN:
            near = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.0)
            found.append(Problem(key, f"unknown; did you mean {CONFIG_PREFIX}{near[0]}?"))
        elif not isinstance(value, str):
            found.append(Problem(key, f"expected a string, got {value!r}: put it in quotes"))
        elif not KNOWN[name][1].fullmatch(value):
            found.append(Problem(key, f"expected {KNOWN[name][0]}, got {value!a}"))
    return found


@dataclass(frozen=True, slots=True)
class Chosen:
    """The settings of one pod."""

    settings: Settings
    skipped: frozenset[int]  # the app's ports that are not taken over
    config_map: str  # empty: the chart's


def chosen(settings: Settings, annotations: Mapping[str, object]) -> Chosen:
    """Lay what is right of a pod's annotations over the settings."""
    wrong = {problem.key for problem in problems(annotations)}
    said = {
        key.removeprefix(CONFIG_PREFIX): str(value)
        for key, value in annotations.items()
        if key.startswith(CONFIG_PREFIX) and key not in wrong
    }
    resources = {kind: dict(settings.resources.get(kind, {})) for kind in ("requests", "limits")}
    for kind, what in (("requests", "request"), ("limits", "limit")):
        for resource in ("cpu", "memory"):
            if f"{resource}-{what}" in said:
                resources[kind][resource] = said[f"{resource}-{what}"]
    inbound = settings.inbound
    if "port-names" in said:
        inbound = replace(inbound, port_names=tuple(said["port-names"].split(",")))
    return Chosen(
        replace(
            settings,
            resources={kind: values for kind, values in resources.items() if values},
            inbound=inbound,
            no_proxy=(*settings.no_proxy, *_split(said.get("no-proxy", ""))),
        ),
        frozenset(int(port) for port in _split(said.get("skip-inbound-ports", ""))),
        said.get("config-map", ""),
    )


def _split(text: str) -> list[str]:
    return text.split(",") if text else []
