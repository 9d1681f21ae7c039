"""What a pod adds to the configuration file: a default in its place, and the app's ports that were taken over.

`SIDECAR_CONFIG` holds the configuration that is used while the file is missing (the ConfigMap of an injected pod is
optional). `SIDECAR_INBOUND` says `15006:8080,15007:9090`: the listener `inbound` is opened once for each pair, and its
cluster `app` is then the app's port on loopback. Whoever puts the container into the pod sets both.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from sidecar.config.address import parse_address
from sidecar.config.check import check
from sidecar.config.load import load_text
from sidecar.config.model import BackendRef, Cluster, Config, Listener, Route, StaticSpec
from sidecar.errors import ConfigError

DEFAULT_VARIABLE = "SIDECAR_CONFIG"
INBOUND_VARIABLE = "SIDECAR_INBOUND"
_LISTENER = "inbound"
_CLUSTER = "app"


def read(path: str, environ: Mapping[str, str]) -> bytes:
    """The content of the file, or the default while there is none; raises OSError."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        default = environ.get(DEFAULT_VARIABLE)
        if default is None:
            raise
        return default.encode()


def load(path: str, environ: Mapping[str, str]) -> Config:
    """The configuration of this pod; raises ConfigError."""
    try:
        text = read(path, environ)
    except OSError as error:
        raise ConfigError("", f"cannot read it: {error.strerror}", file=path) from None
    return from_text(text, path, environ)


def from_text(text: bytes, path: str, environ: Mapping[str, str]) -> Config:
    """The configuration in `text`, which stands for the file, in this pod; raises ConfigError."""
    config = load_text(text, path)
    taken = environ.get(INBOUND_VARIABLE)
    return config if taken is None else take_over(config, taken)


def take_over(config: Config, text: str) -> Config:
    """One inbound listener for each `port:app-port` of `text`, none where it is empty; raises ConfigError."""
    pairs = [_pair(part) for part in text.split(",")] if text else []
    template = next((listener for listener in config.listeners if listener.name == _LISTENER), None)
    if template is None:
        return config  # a configuration of the user's own, with other names, says all itself
    listeners: list[Listener] = [listener for listener in config.listeners if listener is not template]
    app = next((cluster for cluster in config.clusters if cluster.name == _CLUSTER), None)
    clusters = [cluster for cluster in config.clusters if cluster is not app or not pairs]
    for at, (port, app_port) in enumerate(pairs):
        cluster = _CLUSTER if at == 0 else f"{_CLUSTER}-{app_port}"
        listeners.append(_listener(template, _LISTENER if at == 0 else f"{_LISTENER}-{port}", port, cluster))
        if app is not None and cluster not in (known.name for known in clusters):
            clusters.append(_cluster(app, cluster, app_port))
    taken = replace(config, listeners=tuple(listeners), clusters=tuple(clusters))
    try:
        check(taken)
    except ConfigError as error:
        raise ConfigError(INBOUND_VARIABLE, f"{text!a} does not go with the configuration: {error}") from None
    return taken


def _pair(part: str) -> tuple[int, int]:
    ports = part.split(":")
    if len(ports) != 2 or not all(port.isascii() and port.isdecimal() and 0 < int(port) < 65536 for port in ports):
        raise ConfigError(INBOUND_VARIABLE, f"expected `port:app-port`, comma-separated, got {part!a}")
    return int(ports[0]), int(ports[1])


def _listener(template: Listener, name: str, port: int, cluster: str) -> Listener:
    address = replace_port(template.address, port)
    return replace(
        template, name=name, address=address, routes=tuple(_route(each, cluster) for each in template.routes)
    )


def replace_port(address: str, port: int) -> str:
    """The address with another port; one of a Unix socket is for all interfaces then."""
    parsed = parse_address(address)
    host = parsed.host if parsed.unix_path is None else ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _route(route: Route, cluster: str) -> Route:
    def renamed(refs: Sequence[BackendRef]) -> tuple[BackendRef, ...]:
        return tuple(replace(ref, name=cluster) if ref.name == _CLUSTER and ref.port is None else ref for ref in refs)

    return replace(route, rules=tuple(replace(rule, backend_refs=renamed(rule.backend_refs)) for rule in route.rules))


def _cluster(app: Cluster, name: str, port: int) -> Cluster:
    return replace(app, name=name, static=StaticSpec(endpoints=(f"127.0.0.1:{port}",)))
