"""What can be chosen of an injected container, spelled as the chart's values, and the configuration that comes of it.

Pure: values in, frozen settings and plain dictionaries out. Values that concern the chart's own objects alone are known
here by name, so that one file of values serves the chart and `sidecar inject`.
"""

import json
from typing import Any, Literal, TypeAlias

import msgspec

from sidecar import __version__
from sidecar.errors import ConfigError

Manifest: TypeAlias = dict[str, Any]  # a piece of a Kubernetes object, as its JSON

CHART_VALUES = frozenset({"injection", "rbac", "commonLabels", "fullnameOverride", "global"})


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
    port_name: str = "http"  # of the chart's templates: the name, and where the app listens
    app_port: int = 8080
    port_names: tuple[str, ...] = ("http", "http-*", "web")  # of injected pods: the names of container ports
    pre_stop_sleep: int = (
        3  # of injected pods: seconds that apps without a preStop hook serve on while clients turn away
    )
    routes: tuple[Manifest, ...] = ()


class Outbound(_Values, frozen=True, kw_only=True):
    """Requests of the app."""

    https: bool = False  # also HTTPS_PROXY: tunnels
    routes: tuple[Manifest, ...] = ()


class Configuration(_Values, frozen=True, kw_only=True):
    """Where the configuration comes from, and what it holds besides ports and routes."""

    existing_config_map: str = ""
    extra: Manifest = {}


class Startup(_Values, frozen=True, kw_only=True):
    """How long the app waits for the sidecar: one look a second."""

    failure_threshold: int = 60


class Settings(_Values, frozen=True, kw_only=True):
    """What can be chosen of the container."""

    image: Image = Image()
    ports: Ports = Ports()
    inbound: Inbound = Inbound()
    outbound: Outbound = Outbound()
    config: Configuration = Configuration()
    startup: Startup = Startup()
    resources: Manifest = msgspec.field(
        default_factory=lambda: {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "192Mi"}},
    )
    otel: dict[str, str] = {}  # OTEL_* variables of the OpenTelemetry specification
    no_proxy: tuple[str, ...] = ()  # hosts that apps reach directly, beyond the pod and the API server
    extra_env: tuple[Manifest, ...] = ()
    extra_volumes: tuple[Manifest, ...] = ()
    extra_volume_mounts: tuple[Manifest, ...] = ()


def settings(values: Manifest) -> Settings:
    """The settings in the chart's values; raises ConfigError naming the value."""
    mine = {name: value for name, value in values.items() if name not in CHART_VALUES}
    try:
        return msgspec.convert(mine, Settings)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at ")
        raise ConfigError(path.strip("`") or "$", reason) from None


def configuration(chosen: Settings) -> Manifest:
    """The configuration file of an injected pod, as data: the chart's template `sidecar.config` says the same."""
    ports, extra = chosen.ports, chosen.config.extra
    outbound: Manifest = {"name": "outbound", "address": f"127.0.0.1:{ports.outbound}", "mode": "forward"}
    if chosen.outbound.routes:
        outbound["routes"] = list(chosen.outbound.routes)
    listeners, clusters = [outbound], []
    if chosen.inbound.enabled:
        to_app = [{"name": "app", "rules": [{"backendRefs": [{"name": "app"}]}]}]
        routes = list(chosen.inbound.routes) or to_app
        listeners.append({"name": "inbound", "address": f"0.0.0.0:{ports.inbound}", "routes": routes})
        clusters.append({"name": "app", "static": {"endpoints": [f"127.0.0.1:{chosen.inbound.app_port}"]}})
    clusters += extra.get("clusters", [])
    return {
        "listeners": [*listeners, *extra.get("listeners", [])],
        **({"clusters": clusters} if clusters else {}),
        "admin": {"address": f"127.0.0.1:{ports.admin}", "probe_address": f"0.0.0.0:{ports.probe}"},
        **{name: value for name, value in extra.items() if name not in ("listeners", "clusters")},
    }


def canonical(data: object) -> str:
    """JSON as Helm's `toJson` writes it: keys sorted, no spaces, whole numbers without a point, `<>&` escaped."""
    text = json.dumps(_whole(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _whole(data: object) -> object:
    if isinstance(data, dict):
        return {key: _whole(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_whole(value) for value in data]
    return int(data) if isinstance(data, float) and data.is_integer() else data
