"""A shared HTTP cache (RFC 9111) as a filter; `docs/cache.md` names each rule with its test.

The decisions are pure modules: directives, freshness, storable, fields, conditions, ranges, eviction, respond.
`filter`, `forward` and `keeping` act on them; `store`, `disk` and `flight` hold what outlives a request.
"""

from pathlib import Path

from sidecar.config.cache import Cache
from sidecar.filters.cache.filter import CacheFilter
from sidecar.filters.cache.forward import Forwarding
from sidecar.filters.cache.store import Store, room_of
from sidecar.filters.context import FilterContext, Keeper
from sidecar.model import Filter, Handler, Request, Response

__all__ = ["cache"]


def cache(spec: Cache, context: FilterContext) -> Filter:
    """The filter of one rule. Rules of one `name` share a store, and so do a rule and itself after a reload."""
    keeper = context.keeper
    if keeper is None:
        return _only_checked
    space = spec.name or context.scope
    folder = str(Path(context.config_folder) / spec.disk.path) if spec.disk is not None else None

    def make() -> Store:
        return _store(spec, space, folder, keeper)

    store = keeper.keep(("Cache", space, folder), make)
    return CacheFilter(spec, store, Forwarding(spec, store, keeper), context.count)


async def _only_checked(request: Request, forward: Handler) -> Response:
    """Where the configuration is checked and nothing is served."""
    return await forward(request)


def _store(spec: Cache, space: str, folder: str | None, keeper: Keeper) -> Store:
    if folder is None or spec.disk is None:
        return Store()
    from sidecar.filters.cache.disk import Disk  # noqa: PLC0415 - files and threads only where they are wanted

    disk = Disk(folder, space)
    store = Store(disk)

    async def load() -> None:
        store.loaded(await disk.open(), room_of(spec))

    keeper.spawn(load(), "cache folder")
    return store
