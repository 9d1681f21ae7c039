"""List and watch one namespace's EndpointSlices: keeps a `Store` up to date for ever, whatever the API server does.

Streaming list (KEP-3157) first, LIST from the watch cache where the server refuses it; bookmarks; a random server
timeout; any failure keeps the last endpoints and tries again with full jitter. Rules of client-go's reflector; the
traps are listed one by one in `tests/shell/test_reflector.py`. Decides nothing about endpoints.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sidecar.discovery.collection import Collection, NamespaceStatus, State, Timing, parts_of
from sidecar.discovery.kubernetes_client import ApiError, KubernetesClient, parse_object
from sidecar.discovery.slices import Deleted, Relisted, Slice, Upserted
from sidecar.discovery.source import Metrics
from sidecar.discovery.store import Store

_log = logging.getLogger("sidecar.discovery")
_CLOSINGS = 3  # watches closed at once in a row before the version is distrusted (kubernetes #137089)


class Reflector:
    """One watch. `run` it in a task; subscribers read `store` when they are told."""

    def __init__(
        self,
        collection: Collection,
        connect: Callable[[], Awaitable[KubernetesClient]],
        *,
        metrics: Metrics,
        rng: random.Random,
        timing: Timing,
    ) -> None:
        self._collection = collection
        self._connect = connect
        self._metrics = metrics
        self._rng = rng
        self._timing = timing
        self._wanted = asyncio.Event()
        self._interrupt: asyncio.Timeout | None = None  # while a watch runs
        self._selected: frozenset[str] = frozenset()
        self._version: str | None = None  # opaque; None: list first
        self._streaming_list = True
        self._failures = 0
        self._closings = 0
        self._complained = False
        self._watching_since: float | None = None
        self._heard: float | None = None
        self.store = Store(metrics, f"namespace {collection.namespace}")
        self.state: State = "listing"
        self.problem = ""
        self.relists = 0

    @contextmanager
    def subscription(self, service: str, changed: Callable[[], None]) -> Iterator[None]:
        """Want a Service: the watch comes to include it."""
        with self.store.subscription(service, changed):
            self._wanted.set()
            if self._interrupt is not None and service not in self._selected and self._interrupt.when() is None:
                self._interrupt.reschedule(asyncio.get_running_loop().time() + self._timing.debounce)
            yield

    def status(self, now: float) -> NamespaceStatus:
        """For metrics and pages; `now` is the loop's time."""
        namespace, age = self._collection.namespace, self.age(now)
        return NamespaceStatus(
            namespace=namespace, state=self.state, age=age, relists=self.relists, problem=self.problem
        )

    def age(self, now: float) -> float | None:
        """Seconds since the server was last heard, None: never."""
        return None if self._heard is None else now - self._heard

    async def run(self) -> None:
        """Watch until cancelled."""
        await asyncio.sleep(self._rng.uniform(0, self._timing.first_connect))
        while True:
            self._wanted.clear()
            if not self.store.wanted:
                await self._wanted.wait()
            pause = 0.0
            try:
                await self._turn()
            except ApiError as error:
                pause = self._failed(error)
            await asyncio.sleep(pause)

    async def _turn(self) -> None:
        """One list, if needed, and one watch; returns when the next may follow at once, raises ApiError when not."""
        wanted = self.store.wanted
        if self._version is not None and not wanted <= self._selected:
            self._relist("selection")
        self._selected = wanted
        self.store.listed &= wanted
        interrupt = asyncio.timeout(None)
        try:
            async with interrupt:
                self._interrupt = interrupt
                await self._list_and_watch(await self._connect())
        except TimeoutError:  # a new Service is wanted
            if not interrupt.expired():
                raise
        finally:
            self._interrupt = None

    async def _list_and_watch(self, client: KubernetesClient) -> None:
        if self._version is None and self._streaming_list:
            try:
                await self._watch(client, {})
            except ApiError as error:
                if (
                    self._version is not None
                    or error.status is None
                    or error.status in (401, 429)
                    or error.status >= 500
                ):
                    raise
                self._streaming_list = error.status == 403  # may change; the others tell of an older server
            else:
                return
        if self._version is None:
            await self._list(client)
        await self._watch(client, None)

    async def _list(self, client: KubernetesClient) -> None:
        query = {**self._collection.selector(self._selected), "resourceVersion": "0"}  # from the watch cache
        answer = await client.get_json(self._collection.path, query)
        items, metadata = answer.get("items"), answer.get("metadata")
        if not isinstance(metadata, dict) or not isinstance(items, list | None):
            raise ApiError(f"{client.server} answers a list without metadata")
        parsed = [self.store.read(item) for item in items or ()]
        self._listed({one.name: one.slices for one in parsed}, metadata.get("resourceVersion"))

    async def _watch(self, client: KubernetesClient, pending: dict[str, tuple[Slice, ...]] | None) -> None:
        """One watch; `pending` gathers the initial events of a streaming list."""
        path, query = self._collection.path, self._collection.selector(self._selected)
        query |= {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(self._rng.randint(300, 600))}
        if pending is None:
            query["resourceVersion"] = self._version or ""
        else:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        opened = asyncio.timeout(self._timing.initial)
        streaming = False
        try:
            async with opened, client.stream_lines(path, query, inactivity=self._timing.inactivity) as lines:
                streaming = True
                if pending is None:
                    self._well()
                    opened.reschedule(None)
                async for line in lines:
                    if pending is not None and self._take_initial(parse_object(line, client.server), pending):
                        pending = None
                        opened.reschedule(None)
                    elif pending is None:
                        self._take(parse_object(line, client.server))
        except TimeoutError as error:
            if not opened.expired():
                raise
            status = 400 if streaming else None  # an older server takes a streaming list for a plain watch
            raise ApiError(f"API server {client.server} does not answer", status=status) from error
        self._ended(client)

    def _take_initial(self, event: dict[str, Any], pending: dict[str, tuple[Slice, ...]]) -> bool:
        """One event of a streaming list; True at its end."""
        kind, body, metadata = parts_of(event)
        if kind == "BOOKMARK":
            annotations = metadata.get("annotations")
            if isinstance(annotations, dict) and annotations.get("k8s.io/initial-events-end") == "true":
                self._listed(pending, metadata.get("resourceVersion"))
                return True
        elif kind == "DELETED":
            pending.pop(str(metadata.get("name")), None)
        else:
            parsed = self.store.read(body)
            pending[parsed.name] = parsed.slices
        return False

    def _take(self, event: dict[str, Any]) -> None:
        """One event of a watch."""
        kind, body, metadata = parts_of(event)
        version = metadata.get("resourceVersion")
        if isinstance(version, str) and version:
            self._version = version
        self._well()
        if kind == "DELETED":
            name = str(metadata.get("name"))
            self.store.forget_complaint(name)
            self.store.fold(Deleted(name))
        elif kind != "BOOKMARK":
            parsed = self.store.read(body)
            if parsed.name:
                self.store.fold(Upserted(parsed.name, parsed.slices))

    def _listed(self, slices: dict[str, tuple[Slice, ...]], version: object) -> None:
        self._version = version if isinstance(version, str) and version else None
        self.store.listed = self._selected
        self._well()
        self.store.fold(Relisted(slices))

    def _well(self) -> None:
        """The server was heard."""
        now = asyncio.get_running_loop().time()
        self._heard = now
        if self._watching_since is None:
            self._watching_since = now
        if self.state == "watching":
            return
        self.state, self.problem = "watching", ""
        if self._complained:
            self._complained = False
            _log.info("namespace %s: watching again", self._collection.namespace)
        self.store.tell()

    def _ended(self, client: KubernetesClient) -> None:
        """The server closed the watch, its right after the time asked for; raises ApiError if it did at once."""
        if self._lived():
            self._failures = self._closings = 0
            return
        self._closings += 1
        if self._closings >= _CLOSINGS:
            self._closings = 0
            self._relist("closed")
        raise ApiError(f"API server {client.server} closes watches at once")

    def _lived(self) -> bool:
        now = asyncio.get_running_loop().time()
        return self._watching_since is not None and now - self._watching_since >= self._timing.healthy

    def _failed(self, error: ApiError) -> float:
        """Keep what is known; returns the seconds to wait."""
        if self._lived():
            self._failures = 0
        self._failures += 1
        if error.status == 410:
            self._relist("expired")
        forbidden = error.status == 403
        self.state = "forbidden" if forbidden else "backoff"
        self.problem = f"{error}; {self._collection.rule}" if forbidden else str(error)
        if not self._complained and error.status != 410:
            self._complained = True
            _log.warning("namespace %s: %s (keeping the last endpoints)", self._collection.namespace, self.problem)
        self.store.tell()
        longest = min(self._timing.backoff * 2 ** min(self._failures - 1, 16), self._timing.max_backoff)
        wait = self._rng.uniform(0, longest)  # full jitter
        return max(wait, min(error.retry_after or 0.0, self._timing.max_retry_after))

    def _relist(self, reason: str) -> None:
        if self._version is None:
            return
        self._version = None
        self.state = "listing"
        self.relists += 1
        self._metrics.relisted(self._collection.namespace, reason)
