"""A small API server that speaks list and watch as the real one does, and misbehaves on demand.

Real: resourceVersions, selectors, bookmarks, streaming lists, compaction, 401 and 404 with a Status body.
Faults are queued with `fail` (each answers the next matching request) or done to the running watches
(`cut`, `end_watches`, `send_line`, `frozen`).
"""

import asyncio
import json
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiohttp import web

SERVICE_LABEL = "kubernetes.io/service-name"
_COLLECTION = re.compile(
    r"/(?:api/v1|apis/discovery\.k8s\.io/v1)/namespaces/([^/]+)/(endpointslices|endpoints|services)"
)
_ITEM = re.compile(_COLLECTION.pattern + r"/([^/]+)")
Fault = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Seen:
    """A request that came."""

    path: str
    query: dict[str, str]
    headers: Mapping[str, str]

    @property
    def kind(self) -> str:
        if self.query.get("sendInitialEvents") == "true":
            return "watchlist"
        if "watch" in self.query:
            return "watch"
        return "get" if _ITEM.fullmatch(self.path) else "list"


@dataclass
class _Watch:
    plural: str
    namespace: str
    selects: Callable[[dict[str, Any]], bool]
    queue: "asyncio.Queue[bytes | None]" = field(default_factory=asyncio.Queue)
    request: web.Request | None = None


class FakeApiServer:
    """`async with FakeApiServer() as api:`; `api.url`, `api.kubeconfig(path)`."""

    def __init__(self, *, watch_list: bool = True, tls: ssl.SSLContext | None = None) -> None:
        self.watch_list = watch_list
        self.token: str | None = None  # set: every request needs it
        self.gone = "stream"  # or "http": how a compacted version is refused
        self.requests: list[Seen] = []
        self.version = 10
        self.compacted = 0
        self._tls = tls
        self._objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._history: list[tuple[int, str, dict[str, Any], dict[str, Any] | None]] = []
        self._watches: list[_Watch] = []
        self._faults: list[tuple[Callable[[Seen], bool], Fault]] = []
        self._changed = asyncio.Condition()
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._runner: web.AppRunner | None = None
        self.port = 0

    # --- life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, after `stop` on the same port again."""
        runner = web.ServerRunner(web.Server(self._handle, handler_cancellation=True), shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        self.port = runner.addresses[0][1]
        self._runner = runner  # type: ignore[assignment]

    async def stop(self) -> None:
        """Cut all connections and refuse new ones; objects and versions stay."""
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def kubeconfig(self, path: Path, *, namespace: str = "shop", token: str | None = None) -> Path:
        """Write a kubeconfig for this server."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "fake", "user": "me", "namespace": namespace}}],
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": token} if token else {}}],
        }
        path.write_text(json.dumps(config))
        return path

    # --- objects

    def put_slice(
        self,
        namespace: str,
        name: str,
        service: str,
        endpoints: Iterable[tuple[Any, ...] | dict[str, Any]] = (),
        *,
        ports: list[dict[str, Any]] | None = None,
        family: str = "IPv4",
    ) -> dict[str, Any]:
        """Write an EndpointSlice; entries: `(ip, port[, ready[, serving[, terminating]]])` of one port, or dicts."""
        entries, numbers = [], set()
        for item in endpoints:
            if isinstance(item, dict):
                entries.append(item)
                continue
            ip, port, *conditions = item
            numbers.add(port)
            named = dict(zip(("ready", "serving", "terminating"), conditions, strict=False))
            entries.append({"addresses": [ip], "conditions": named})
        assert len(numbers) < 2, "the port belongs to the slice: use set_endpoints"
        return self.put(
            "endpointslices",
            {
                "metadata": {"name": name, "namespace": namespace, "labels": {SERVICE_LABEL: service}},
                "addressType": family,
                "ports": ports if ports is not None else [{"name": "", "port": number} for number in numbers],
                "endpoints": entries,
            },
        )

    def set_endpoints(self, namespace: str, service: str, addresses: Iterable[tuple[str, int]]) -> None:
        """Make these the endpoints of a Service, a slice for each port; slices without endpoints are deleted."""
        by_port: dict[int, list[tuple[str, int]]] = {}
        for address in addresses:
            by_port.setdefault(address[1], []).append(address)
        for port, group in by_port.items():
            self.put_slice(namespace, f"{service}-{port}", service, group)
        kept = {f"{service}-{port}" for port in by_port}
        for plural, where, name in list(self._objects):
            labels = self._objects[plural, where, name]["metadata"].get("labels", {})
            if (
                plural == "endpointslices"
                and where == namespace
                and labels.get(SERVICE_LABEL) == service
                and name not in kept
            ):
                self.delete(plural, namespace, name)

    def put_service(self, namespace: str, name: str, **spec: Any) -> dict[str, Any]:
        """Write a Service; `spec` as in its manifest."""
        return self.put("services", {"metadata": {"name": name, "namespace": namespace}, "spec": spec})

    def put(self, plural: str, manifest: dict[str, Any]) -> dict[str, Any]:
        """Write an object of any shape."""
        self.version += 1
        metadata = manifest["metadata"]
        kind = {"endpointslices": "EndpointSlice", "endpoints": "Endpoints", "services": "Service"}[plural]
        manifest = {"kind": kind, **manifest, "metadata": {**metadata, "resourceVersion": str(self.version)}}
        key = (plural, metadata["namespace"], metadata["name"])
        before = self._objects.get(key)
        self._objects[key] = manifest
        self._happened(plural, manifest, before)
        return manifest

    def delete(self, plural: str, namespace: str, name: str) -> None:
        """Delete an object."""
        self.version += 1
        before = self._objects.pop((plural, namespace, name))
        gone = {**before, "metadata": {**before["metadata"], "resourceVersion": str(self.version)}, "deleted": True}
        self._happened(plural, gone, before)

    # --- faults

    def fail(self, fault: Fault, *, times: int = 1, kind: str | None = None) -> None:
        """Let `fault` answer the next requests, of one kind (`list`, `watch`, `watchlist`, `get`) or of any."""
        self._faults += [(lambda seen: kind in (None, seen.kind), fault)] * times

    def refuse(
        self, status: int, *, times: int = 1, kind: str | None = None, body: str | None = None,
        headers: dict[str, str] | None = None, content_type: str = "application/json",
    ) -> None:  # fmt: skip
        """Answer the next requests with a status, and with a Status object unless a body is given."""

        async def answer(_: web.Request) -> web.StreamResponse:
            text = body if body is not None else json.dumps(_status(status, f"refused with {status}"))
            return web.Response(status=status, text=text, headers=headers, content_type=content_type)

        self.fail(answer, times=times, kind=kind)

    def close_at_once(self, *, times: int = 1, kind: str | None = "watch") -> None:
        """Open the stream and end it."""

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            return response

        self.fail(answer, times=times, kind=kind)

    @property
    def frozen(self) -> bool:
        """Set it, and requests are accepted and left without an answer."""
        return not self._thawed.is_set()

    @frozen.setter
    def frozen(self, value: bool) -> None:
        (self._thawed.clear if value else self._thawed.set)()

    def forgive(self) -> None:
        """Forget the queued faults."""
        self._faults.clear()

    def compact(self) -> None:
        """Refuse all versions so far."""
        self.version += 1
        self.compacted = self.version
        self._history.clear()

    def bookmark(self) -> None:
        """Send a bookmark to every watch."""
        for watch in self._watches:
            watch.queue.put_nowait(_line("BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}}))

    def send_line(self, line: bytes) -> None:
        """Send raw bytes to every watch."""
        for watch in self._watches:
            watch.queue.put_nowait(line)

    def end_watches(self) -> None:
        """End every watch in good order."""
        for watch in self._watches:
            watch.queue.put_nowait(None)

    def cut(self) -> None:
        """Abort the connections of all watches."""
        for watch in self._watches:
            transport = watch.request.transport if watch.request is not None else None
            if transport is not None:
                transport.abort()

    # --- what came

    @property
    def watches(self) -> int:
        """Watches that run."""
        return len(self._watches)

    def kinds(self) -> list[str]:
        """The kinds of all requests so far, in order."""
        return [seen.kind for seen in self.requests]

    async def until(self, condition: Callable[[], bool], seconds: float = 5.0) -> None:
        """Wait until the condition holds; it is looked at after each request and each watch that opens or ends."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(condition)

    # --- serving

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.BaseRequest)
        seen = Seen(request.path, dict(request.query), dict(request.headers))
        self.requests.append(seen)
        await self._notify()
        await self._thawed.wait()
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response(_status(401, "Unauthorized"), status=401)
        for position, (matches, fault) in enumerate(self._faults):
            if matches(seen):
                del self._faults[position]
                return await fault(request)  # type: ignore[arg-type]
        if item := _ITEM.fullmatch(request.path):
            namespace, plural, name = item.groups()
            found = self._objects.get((plural, namespace, name))
            return (
                web.json_response(found)
                if found
                else web.json_response(_status(404, f"{plural} {name} not found"), status=404)
            )
        if collection := _COLLECTION.fullmatch(request.path):
            namespace, plural = collection.groups()
            selects = _selector(request.query)
            if "watch" in request.query:
                return await self._serve_watch(request, _Watch(plural, namespace, selects))
            items = [one for one in self._of(plural, namespace) if selects(one)]
            return web.json_response(
                {"kind": "List", "metadata": {"resourceVersion": str(self.version)}, "items": items}
            )
        return web.json_response(_status(404, "no such path"), status=404)

    async def _serve_watch(self, request: web.BaseRequest, watch: _Watch) -> web.StreamResponse:
        query = request.query
        initial = query.get("sendInitialEvents") == "true"
        if initial and not self.watch_list:
            return web.json_response(_status(422, "sendInitialEvents is forbidden: WatchList is off"), status=422)
        since = int(query.get("resourceVersion") or 0)
        expired = bool(since) and since < self.compacted
        if expired and self.gone == "http":
            return web.json_response(_status(410, "too old resource version"), status=410)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if expired:
            await response.write(_line("ERROR", _status(410, "too old resource version")))
            return response
        watch.request = request  # type: ignore[assignment]
        self._watches.append(watch)
        await self._notify()
        try:
            async with asyncio.timeout(float(query.get("timeoutSeconds", 600))):
                await self._feed(response, watch, initial=initial, since=since)
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self._watches.remove(watch)
            await self._notify()
        return response

    async def _feed(self, response: web.StreamResponse, watch: _Watch, *, initial: bool, since: int) -> None:
        if initial or not since:
            for one in self._of(watch.plural, watch.namespace):
                if watch.selects(one):
                    await response.write(_line("ADDED", one))
            if initial:
                end = {"resourceVersion": str(self.version), "annotations": {"k8s.io/initial-events-end": "true"}}
                await response.write(_line("BOOKMARK", {"metadata": end}))
        else:
            for version, plural, after, before in list(self._history):
                event = self._event(watch, plural, after, before) if version > since else None
                if event:
                    watch.queue.put_nowait(event)
        while (line := await watch.queue.get()) is not None:
            await response.write(line)

    def _of(self, plural: str, namespace: str) -> list[dict[str, Any]]:
        return [one for (kind, where, _), one in self._objects.items() if (kind, where) == (plural, namespace)]

    def _happened(self, plural: str, after: dict[str, Any], before: dict[str, Any] | None) -> None:
        self._history.append((self.version, plural, after, before))
        for watch in self._watches:
            event = self._event(watch, plural, after, before)
            if event:
                watch.queue.put_nowait(event)

    def _event(self, watch: _Watch, plural: str, after: dict[str, Any], before: dict[str, Any] | None) -> bytes | None:
        if (plural, after["metadata"]["namespace"]) != (watch.plural, watch.namespace):
            return None
        now, then = not after.get("deleted") and watch.selects(after), before is not None and watch.selects(before)
        if not now and not then:
            return None
        return _line(("MODIFIED" if then else "ADDED") if now else "DELETED", after)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _line(kind: str, body: Mapping[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


def _status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}


def _selector(query: Mapping[str, str]) -> Callable[[dict[str, Any]], bool]:
    label, names = query.get("labelSelector", ""), query.get("fieldSelector", "")
    services = set(re.findall(r"[a-z0-9-]+", label.partition(" in ")[2])) if " in " in label else None
    wanted = names.removeprefix("metadata.name=") if names else None

    def selects(one: dict[str, Any]) -> bool:
        metadata = one["metadata"]
        labelled = services is None or (metadata.get("labels") or {}).get(SERVICE_LABEL) in services
        return labelled and wanted in (None, metadata["name"])

    return selects
