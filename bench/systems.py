"""The systems under measurement: how each is configured and started. One worker each, access log off, defaults else."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import program
from bench.origin import Around

PEERS = Path(__file__).parent / "peers"
Endpoint = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What one start is to look like."""

    around: Around
    port: int
    folder: Path
    endpoints: Sequence[Endpoint]
    routes: int = 1  # path prefixes /r0/, /r1/, …, all to the same endpoints
    filters: Sequence[Mapping[str, Any]] = ()
    balance: str = ""  # the system's own name of a policy; "": its default

    def file(self, name: str, text: str) -> str:
        """Write a file for it; the path."""
        path = self.folder / name
        path.write_text(text)
        return str(path)

    @property
    def upstream(self) -> str:
        """The only endpoint, as a URL."""
        return "http://{}:{}".format(*self.endpoints[0])


@dataclass(frozen=True)
class Launch:
    """A command with its environment."""

    command: Sequence[str]
    environ: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class System:
    """One line of the tables."""

    key: str
    label: str
    launch: Callable[[Setup], Launch]
    spans: int = 0  # that it must deliver for each request
    ours: bool = False


_NGINX = """
user root; daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream app {{ {servers} keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""


def _nginx(setup: Setup) -> Launch:
    servers = " ".join("server {}:{};".format(*endpoint) for endpoint in setup.endpoints)
    config = setup.file("nginx.conf", _NGINX.format(folder=setup.folder, port=setup.port, servers=servers))
    return Launch([program("nginx"), "-c", config, "-e", "stderr"], {})


def _envoy(setup: Setup, *, traced: bool) -> Launch:
    hosts = [
        {"endpoint": {"address": {"socket_address": {"address": ip, "port_value": port}}}}
        for ip, port in setup.endpoints
    ]
    clusters = [
        {
            "name": "app", "type": "STATIC", "lb_policy": setup.balance or "ROUND_ROBIN", "connect_timeout": "1s",
            "load_assignment": {"cluster_name": "app", "endpoints": [{"lb_endpoints": hosts}]},
        }
    ]  # fmt: skip
    manager = _envoy_manager(setup)
    if traced:
        receiver = {
            "endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": setup.around.receiver}}}
        }
        clusters.append(
            {
                "name": "otlp", "type": "STATIC", "connect_timeout": "1s",
                "load_assignment": {"cluster_name": "otlp", "endpoints": [{"lb_endpoints": [receiver]}]},
            }
        )  # fmt: skip
        manager["tracing"] = _envoy_tracing(setup.around.receiver)
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {
        "name": "in",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": setup.port}},
        "filter_chains": [{"filters": filters}],
    }
    config = {"static_resources": {"listeners": [listener], "clusters": clusters}}
    file = setup.file("envoy.json", json.dumps(config))
    return Launch([program("envoy"), "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "error"], {})


def _envoy_manager(setup: Setup) -> dict[str, Any]:
    extensions = "type.googleapis.com/envoy.extensions.filters"
    routes = [{"match": {"prefix": prefix}, "route": {"cluster": "app"}} for prefix in _prefixes(setup)]
    return {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "HTTP1",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{extensions}.http.router.v3.Router"}}
        ],
    }


def _envoy_tracing(receiver: int) -> dict[str, Any]:
    return {
        "random_sampling": {"value": 100},
        "spawn_upstream_span": True,
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                "service_name": "bench",
                "http_service": {
                    "http_uri": {
                        "uri": f"http://127.0.0.1:{receiver}/v1/traces", "cluster": "otlp", "timeout": "10s",
                    }
                },
            },
        },
    }  # fmt: skip


def _caddy(setup: Setup) -> Launch:
    proxy = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"{ip}:{port}"} for ip, port in setup.endpoints],
    }
    server = {
        "listen": [f"127.0.0.1:{setup.port}"],
        "automatic_https": {"disable": True},
        "routes": [{"handle": [proxy]}],
    }
    config = {"admin": {"disabled": True}, "apps": {"http": {"servers": {"in": server}}}}
    environ = {"GOMAXPROCS": "1", "XDG_DATA_HOME": str(setup.folder), "XDG_CONFIG_HOME": str(setup.folder)}
    return Launch([program("caddy"), "run", "--config", setup.file("caddy.json", json.dumps(config))], environ)


def _textbook(setup: Setup) -> Launch:
    return Launch([sys.executable, str(PEERS / "textbook.py"), str(setup.port), setup.upstream], {})


def _textbook_traced(setup: Setup) -> Launch:
    command = [sys.executable, str(PEERS / "textbook_traced.py"), str(setup.port), setup.upstream]
    return Launch(command, {**_otel(setup), "OTEL_BSP_MAX_QUEUE_SIZE": "65536"})  # 2,048 lose spans when we pause


def _ours(setup: Setup, *, engine: str, traced: bool, kubernetes: bool = False) -> Launch:
    rules = [
        {"matches": [{"path": {"value": prefix}}], "filters": list(setup.filters), "backendRefs": [{"name": "app"}]}
        for prefix in _prefixes(setup)
    ]
    source: dict[str, Any] = {"static": {"endpoints": [f"{ip}:{port}" for ip, port in setup.endpoints]}}
    if kubernetes:
        source = {"kubernetes": {"service": "app", "namespace": "shop"}}
    cluster = {"name": "app", **source, **({"lb_policy": setup.balance} if setup.balance else {})}
    listener = {"name": "in", "address": f"127.0.0.1:{setup.port}", "engine": engine, "routes": [{"rules": rules}]}
    config: dict[str, Any] = {"listeners": [listener], "clusters": [cluster], "admin": {"address": None}}
    if kubernetes:
        config["kubernetes"] = {"kubeconfig": str(setup.around.kubeconfig)}
    file = setup.file("sidecar.yaml", json.dumps(config))
    return Launch([program("sidecar"), "run", "--config", file], _otel(setup) if traced else {})


def _prefixes(setup: Setup) -> list[str]:
    return ["/"] if setup.routes == 1 else [f"/r{number}/" for number in range(setup.routes)]


def _otel(setup: Setup) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{setup.around.receiver}",
        "OTEL_SERVICE_NAME": "bench",
        "OTEL_TRACES_SAMPLER": "parentbased_always_on",
    }


def _own(engine: str, label: str) -> list[System]:
    return [
        System(key=f"{engine}", label=label, ours=True, launch=lambda s: _ours(s, engine=engine, traced=False)),
        System(
            key=f"{engine}+otel", label=f"{label}, traced", ours=True, spans=2,
            launch=lambda s: _ours(s, engine=engine, traced=True),
        ),
    ]  # fmt: skip


SYSTEMS = {
    system.key: system
    for system in (
        System(key="nginx", label="nginx", launch=_nginx),
        System(key="envoy", label="Envoy", launch=lambda s: _envoy(s, traced=False)),
        System(key="envoy+otel", label="Envoy, traced", spans=2, launch=lambda s: _envoy(s, traced=True)),
        System(key="caddy", label="Caddy", launch=_caddy),
        System(key="textbook", label="textbook aiohttp", launch=_textbook),
        System(key="textbook+otel", label="textbook aiohttp, traced", spans=2, launch=_textbook_traced),
        *_own("aiohttp", "sidecar (aiohttp)"),
        *_own("native", "sidecar (native)"),
    )
}
KUBERNETES = {
    f"{engine}+k8s": System(
        key=f"{engine}+k8s", label=f"sidecar ({engine}), traced, Kubernetes discovery", ours=True, spans=2,
        launch=lambda s, engine=engine: _ours(s, engine=engine, traced=True, kubernetes=True),
    )
    for engine in ("aiohttp", "native")
}  # fmt: skip
