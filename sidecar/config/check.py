"""Judges a configuration that parsed: what fields mean together, and that names and ranges make sense.

Pure but for `check_files`, which looks whether the files that TLS needs can be read. Regular expressions and Python
filters are judged where they are compiled and loaded.
"""

import ipaddress
from pathlib import Path

from sidecar.config import fields
from sidecar.config.cache import check_stores
from sidecar.config.check_routes import check_route
from sidecar.config.model import (
    Admin,
    CircuitBreakers,
    Cluster,
    Config,
    DnsSpec,
    FileSpec,
    HashPolicy,
    KubernetesSpec,
    Limits,
    Listener,
    OutlierDetection,
    StaticSpec,
    TlsSpec,
)
from sidecar.errors import ConfigError

_SOURCES = ("static", "kubernetes", "file", "dns")


def check(config: Config) -> None:
    """Raise ConfigError for the first thing that cannot be meant."""
    names = [cluster.name for cluster in config.clusters]
    if not config.listeners:
        raise ConfigError("$.listeners", "expected at least one listener")
    for at, listener in enumerate(config.listeners):
        _listener(listener, f"$.listeners[{at}]", names)
    fields.unique((listener.name for listener in config.listeners), "$.listeners", "listener")
    for at, cluster in enumerate(config.clusters):
        _cluster(cluster, f"$.clusters[{at}]")
    fields.unique(names, "$.clusters", "cluster")
    check_stores(config.listeners)
    _addresses(config)
    _positive(config.kubernetes.first_list_timeout, "$.kubernetes.first_list_timeout")
    fields.dns_name(config.kubernetes.cluster_domain, "$.kubernetes.cluster_domain")
    if config.kubernetes.namespace is not None:
        fields.label(config.kubernetes.namespace, "$.kubernetes.namespace")
    if config.access_log is not None:
        fields.between(config.access_log.success_percent, "$.access_log.success_percent", 0, 100)
        if not config.access_log.path:
            raise ConfigError("$.access_log.path", "expected a file, or `-` for standard output, got ''")


def check_files(config: Config) -> None:
    """Raise ConfigError for the first file of a `tls` section that cannot be read."""
    for at, cluster in enumerate(config.clusters):
        tls = cluster.tls or TlsSpec()
        for field, name in (("ca_file", tls.ca_file), ("cert_file", tls.cert_file), ("key_file", tls.key_file)):
            if name is None:
                continue
            try:
                with Path(name).open("rb"):
                    pass
            except OSError as error:
                raise ConfigError(f"$.clusters[{at}].tls.{field}", f"cannot read {name!a}: {error.strerror}") from None


def _listener(listener: Listener, path: str, clusters: list[str]) -> None:
    fields.name(listener.name, f"{path}.name")
    fields.address(listener.address, f"{path}.address", listening=True)
    if not listener.routes and listener.mode == "reverse":
        raise ConfigError(path, "expected `routes`, or `mode: forward`")
    for at, route in enumerate(listener.routes):
        check_route(route, f"{path}.routes[{at}]", clusters)
    for at, cidr in enumerate(listener.trusted_proxies):
        _cidr(cidr, f"{path}.trusted_proxies[{at}]")
    _limits(listener.limits, f"{path}.limits")


def _cidr(text: str, path: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(path, f"expected an address range such as `10.0.0.0/8`: {error}") from None


def _limits(limits: Limits, path: str) -> None:
    for field in ("max_connections", "max_header_count", "max_header_bytes", "max_target_bytes"):
        fields.between(getattr(limits, field), f"{path}.{field}", 1)
    fields.between(limits.max_body_bytes or 0, f"{path}.max_body_bytes", 0)
    fields.between(limits.replay_bytes, f"{path}.replay_bytes", 0)
    for field in ("header_timeout", "keepalive_timeout", "body_timeout"):
        _positive(getattr(limits, field), f"{path}.{field}")


def _positive(seconds: float, path: str) -> None:
    if seconds <= 0:
        raise ConfigError(path, f"expected a duration above zero, got {seconds}")


def _cluster(cluster: Cluster, path: str) -> None:
    fields.name(cluster.name, f"{path}.name")
    sources = [field for field in _SOURCES if getattr(cluster, field) is not None]
    if len(sources) != 1:
        got = " and ".join(f"`{field}`" for field in sources) or "none"
        raise ConfigError(path, f"expected exactly one of {', '.join(f'`{field}`' for field in _SOURCES)}, got {got}")
    if cluster.static is not None:
        _static(cluster.static, f"{path}.static")
    if cluster.dns is not None:
        _dns(cluster.dns, f"{path}.dns")
    for field, spec in (("kubernetes", cluster.kubernetes), ("file", cluster.file)):
        if spec is not None:
            _service(spec, f"{path}.{field}")
    if cluster.tls is not None:
        _tls(cluster.tls, f"{path}.tls")
    _hash_policy(cluster, path)
    for field in ("connect_timeout", "idle_timeout", "stream_idle_timeout"):
        _positive(getattr(cluster, field), f"{path}.{field}")
    _circuit_breakers(cluster.circuit_breakers, f"{path}.circuit_breakers")
    _outlier_detection(cluster.outlier_detection, f"{path}.outlier_detection")


def _static(spec: StaticSpec, path: str) -> None:
    if not spec.endpoints:
        raise ConfigError(f"{path}.endpoints", "expected at least one endpoint")
    seen = []
    for at, endpoint in enumerate(spec.endpoints):
        here = f"{path}.endpoints[{at}]"
        if isinstance(endpoint, str):
            seen.append(str(fields.address(endpoint, here)))
        else:
            seen.append(str(fields.address(endpoint.address, f"{here}.address")))
            fields.between(endpoint.weight, f"{here}.weight", 0, 1_000_000)
    fields.unique(seen, f"{path}.endpoints", "endpoint", field="")


def _dns(spec: DnsSpec, path: str) -> None:
    fields.dns_name(spec.host, f"{path}.host")
    if spec.type == "ADDRESS" and spec.port is None:
        raise ConfigError(path, "field `port` is missing (only SRV records bring one)")
    if spec.type == "SRV" and spec.port is not None:
        raise ConfigError(f"{path}.port", "SRV records bring the port; leave it out")
    if spec.port is not None:
        fields.port(spec.port, f"{path}.port")
    for at, server in enumerate(spec.nameservers):
        _nameserver(server, f"{path}.nameservers[{at}]")


def _nameserver(text: str, path: str) -> None:
    if not _is_ip(text) and not _is_ip(fields.address(text if ":" in text else f"{text}:53", path).host):
        raise ConfigError(path, f"expected `ip` or `ip:port`, got {text!a}")


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _service(spec: KubernetesSpec | FileSpec, path: str) -> None:
    fields.label(spec.service, f"{path}.service")
    if spec.namespace is not None:
        fields.label(spec.namespace, f"{path}.namespace")
    fields.service_port(spec.port, f"{path}.port")
    if isinstance(spec, FileSpec) and not spec.path:
        raise ConfigError(f"{path}.path", "expected a file, got ''")


def _tls(spec: TlsSpec, path: str) -> None:
    if (spec.cert_file is None) != (spec.key_file is None):
        raise ConfigError(path, "fields `cert_file` and `key_file` go together")
    if spec.sni is not None:
        fields.dns_name(spec.sni, f"{path}.sni")


def _hash_policy(cluster: Cluster, path: str) -> None:
    policy = cluster.hash_policy
    if (policy is not None) != (cluster.lb_policy == "CONSISTENT_HASH"):
        raise ConfigError(path, "`hash_policy` and `lb_policy: CONSISTENT_HASH` go together")
    if policy is not None:
        _hashed(policy, f"{path}.hash_policy")


def _hashed(policy: HashPolicy, path: str) -> None:
    if (policy.header is not None) + (policy.cookie is not None) + policy.source_ip != 1:
        raise ConfigError(path, "expected exactly one of `header`, `cookie`, `source_ip: true`")
    for field, name in (("header", policy.header), ("cookie", policy.cookie)):
        if name is not None:
            fields.token(name, f"{path}.{field}", f"a {field} name")


def _circuit_breakers(limits: CircuitBreakers, path: str) -> None:
    for field in ("max_connections", "max_requests"):
        fields.between(getattr(limits, field), f"{path}.{field}", 1)
    for field in ("max_pending_requests", "min_retry_concurrency"):
        fields.between(getattr(limits, field), f"{path}.{field}", 0)
    fields.between(limits.retry_budget_percent, f"{path}.retry_budget_percent", 0, 100)


def _outlier_detection(spec: OutlierDetection, path: str) -> None:
    for field in ("consecutive_5xx", "consecutive_gateway_failure"):
        fields.between(getattr(spec, field), f"{path}.{field}", 1)
    for field in ("max_ejection_percent", "panic_threshold"):
        fields.between(getattr(spec, field), f"{path}.{field}", 0, 100)
    _positive(spec.base_ejection_time, f"{path}.base_ejection_time")
    if spec.max_ejection_time < spec.base_ejection_time:
        raise ConfigError(
            f"{path}.max_ejection_time", f"expected `base_ejection_time` ({spec.base_ejection_time}) or more"
        )


def _addresses(config: Config) -> None:
    """No two sockets on one address; port 0 is another one each time."""
    taken: dict[str, str] = {}
    wanted = [(f"$.listeners[{at}].address", listener.address) for at, listener in enumerate(config.listeners)]
    for path, text in [*wanted, *_admin_addresses(config.admin)]:
        address = fields.address(text, path, listening=True)
        if address.unix_path is not None or address.port:
            if str(address) in taken:
                raise ConfigError(path, f"{text!a} is taken by {taken[str(address)]}")
            taken[str(address)] = path


def _admin_addresses(admin: Admin) -> list[tuple[str, str]]:
    both = (("$.admin.address", admin.address), ("$.admin.probe_address", admin.probe_address))
    return [(path, text) for path, text in both if text is not None]
