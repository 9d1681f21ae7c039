"""What filters need from outside: one context for each configuration, and what outlives a reload.

Filters know nothing of each other; anything they share with the process comes through here.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

from sidecar.config.model import BackendRef
from sidecar.filters.python_code import Modules
from sidecar.model import Request

_log = logging.getLogger("sidecar.filters")


class Closeable(Protocol):
    """What a filter keeps beyond one configuration: a store, a set of keys, a session."""

    async def aclose(self) -> None:
        """Give up what it holds."""


@runtime_checkable
class Purgeable(Protocol):
    """What stores responses."""

    def purge(self, url: str) -> int:
        """Forget what `url` names, one URL or many; returns how many entries that were. Raises ValueError."""


K = TypeVar("K", bound=Closeable)


class Keeper:
    """State and tasks of filters that outlive a reload; owned by the composition root, closed by it."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()
        self._kept: dict[object, Closeable] = {}
        self._used: set[object] = set()

    def keep(self, key: object, make: Callable[[], K]) -> K:
        """What was kept under `key` by the configuration before, else what `make` makes."""
        self._used.add(key)
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]  # type: ignore[return-value]  # a key belongs to one kind of filter

    def purge(self, url: str) -> int | None:
        """Have the stores forget what `url` names; how many entries, None where nothing stores. Raises ValueError."""
        stores = [kept for kept in self._kept.values() if isinstance(kept, Purgeable)]
        return sum(store.purge(url) for store in stores) if stores else None

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        """Run something beside the requests until it ends or the process does; what it raises is logged."""
        task = self._tasks.create_task(_contained(work, name), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def sweep(self) -> None:
        """Close what the configuration in force did not ask for; called once it is assembled."""
        for key in self._kept.keys() - self._used:
            self.spawn(self._kept.pop(key).aclose(), "closing a filter's state")
        self._used = set()

    async def aclose(self) -> None:
        """End all tasks and close all that is kept."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        for kept in self._kept.values():
            with suppress(Exception):
                await kept.aclose()
        self._kept.clear()


async def _contained(work: Coroutine[Any, Any, None], name: str) -> None:
    """A filter's failure must not end the process whose TaskGroup it runs in."""
    try:
        await work
    except Exception:  # noqa: BLE001 - logged
        _log.exception("unexpected failure: %s", name)


def _uncounted(_kind: str, _outcome: str) -> None:
    """Where nobody counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterContext:
    """One for each configuration: Python modules are loaded once in it."""

    mirror: Callable[[BackendRef, Request], None]  # sends a copy, owns it, and returns at once; may raise ProxyError
    count: Callable[[str, str], None] = _uncounted  # filter type and outcome, both from short lists: a metric
    keeper: Keeper | None = None  # None: the configuration is only checked
    scope: str = ""  # what the rule takes, the same for as long as the rule is the same: for the keys of `keeper`
    config_folder: str = "."  # relative folders and files of filters start here
    modules: Modules = field(default_factory=Modules)
