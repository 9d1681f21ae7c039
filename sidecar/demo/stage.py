"""Everything the demo starts: upstreams, OTLP receiver, sidecar, and a folder for its configuration and its slices.

What is entered here is ended at the exit, in the opposite order, whatever happened: on failure and cancellation too.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from sidecar.demo.client import Client
from sidecar.demo.collector import Collector
from sidecar.demo.process import Process
from sidecar.demo.screen import Screen

FIRST = ("orders-a", "orders-b", "orders-c")  # the pods of the Service `orders`
_CONFIG = """\
listeners:
  - name: demo
    address: 127.0.0.1:0
    routes:
      - name: all
        rules:
          - name: hello
            matches: [{{path: {{type: PathPrefix, value: /}}}}]
            timeouts: {{request: 5s}}
            retry: {{codes: [503], attempts: 2}}
            backendRefs: [{{name: orders}}]
clusters:
  - name: orders
    file: {{path: {slices}, service: orders, port: http}}
    slow_start_window: 1s
admin: {{address: {admin}}}
drain: {{timeout: 1s}}
"""
_SLICE = """\
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}
  labels: {{kubernetes.io/service-name: orders}}
addressType: IPv4
ports: [{{name: http, port: {port}, protocol: TCP}}]
endpoints:
  - addresses: [{host}]
    conditions: {{ready: true}}
    targetRef: {{kind: Pod, name: {name}}}
"""


class Stage:
    """`async with Stage(screen) as stage`: all is up and answers. Raises StartError where a process does not start."""

    def __init__(self, screen: Screen, environ: Mapping[str, str] | None = None) -> None:
        self.upstreams: dict[str, Process] = {}
        self.collector = Collector()
        self.admin = ""  # host:port of the admin page
        self.folder = Path()
        self.sidecar: Process
        self._screen = screen
        # Settings of the caller's own telemetry and place are not meant for the demo.
        inherited = os.environ if environ is None else environ
        self._environ = {k: v for k, v in inherited.items() if not k.startswith("OTEL_") and k != "POD_ZONE"}
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with self._stack:
            self.folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="sidecar-demo-")))
            with self._screen.doing("starting three upstreams, each a process of its own"):
                await self.add_upstreams(*FIRST)
            with self._screen.doing("starting an OTLP receiver, in this process"):
                await self._stack.enter_async_context(self.collector)
            with self._screen.doing("starting the sidecar: `sidecar run --config FILE`"):
                await self._start_sidecar()
            self._stack = self._stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def slices(self) -> Path:
        """The file of EndpointSlices that the sidecar watches."""
        return self.folder / "endpoints.yaml"

    @property
    def names(self) -> dict[str, str]:
        """The upstreams' names by their `host:port`."""
        return {process.address: name for name, process in self.upstreams.items()}

    async def add_upstreams(self, *names: str) -> None:
        """Start upstreams side by side; the slices do not name them yet."""
        for name in names:
            process = Process(name, ("-m", "sidecar.demo.upstream", name), self._environ)
            self.upstreams[name] = await self._stack.enter_async_context(process)
        for name in names:
            await self.upstreams[name].ready()

    def publish(self, names: Iterable[str]) -> None:
        """Write the slices anew, one for each of these upstreams: atomically, as a ConfigMap volume changes."""
        text = ""
        for name in names:
            host, _, port = self.upstreams[name].address.rpartition(":")
            text += _SLICE.format(name=name, host=host, port=port)
        draft = self.folder / "endpoints.draft"
        draft.write_text(text)
        draft.replace(self.slices)

    async def behave(self, name: str, **settings: int) -> dict[str, Any]:
        """Tell an upstream how to behave; returns how it does."""
        query = "&".join(f"{key}={value}" for key, value in settings.items())
        return _object(await _ask(self.upstreams[name].address, f"/demo/behave?{query}", "POST"))

    async def endpoints(self) -> dict[str, dict[str, Any]]:
        """The rows of the sidecar's own `/clusters` page by upstream."""
        (cluster,) = json.loads(await _ask(self.admin, "/clusters"))
        return {row["name"]: row for row in cluster["endpoints"]}

    async def metric(self, name: str) -> int:
        """The sum of a counter over its labels, from the sidecar's `/metrics` page."""
        lines = (await _ask(self.admin, "/metrics")).decode().splitlines()
        return int(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{"))))

    async def _start_sidecar(self) -> None:
        self.admin = _free_address()
        self.publish(self.upstreams)
        config = self.folder / "sidecar.yaml"
        self._configure(config)
        environ = self._environ | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.collector.endpoint,
            "OTEL_SERVICE_NAME": "sidecar-demo",
            "OTEL_BSP_SCHEDULE_DELAY": "200",  # milliseconds: nobody likes to wait for a trace
        }
        process = Process("the sidecar", ("-m", "sidecar", "run", "--config", str(config)), environ)
        self.sidecar = await self._stack.enter_async_context(process)
        await self.sidecar.ready()

    def _configure(self, path: Path) -> None:
        path.write_text(_CONFIG.format(slices=self.slices, admin=self.admin))


async def _ask(address: str, target: str, method: str = "GET") -> bytes:
    """The body of a 200; raises OSError, EOFError and ValueError."""
    client = Client(address)
    try:
        reply = await client.ask(target, method=method)
    finally:
        client.close()
    if reply.status != 200:
        raise ValueError(f"{address}{target} answers {reply.status}")
    return reply.body


def _object(body: bytes) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(body)
    return parsed


def _free_address() -> str:
    """An address of loopback that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
