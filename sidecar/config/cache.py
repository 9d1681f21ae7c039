"""The Cache filter's settings and what they may hold; empty settings are safe: memory only, explicit freshness only.

Source of the rules behind them: RFC 9111, 5861, 9211, 9213 (`docs/cache.md`).
"""

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

from sidecar.config import fields
from sidecar.config.sections import Duration, GatewaySection
from sidecar.errors import ConfigError

_PRINTABLE = frozenset(map(chr, range(0x20, 0x7F)))
_MOST_NAMES = 16


class CacheDisk(GatewaySection, frozen=True, kw_only=True):
    """A folder that keeps entries beyond memory and over restarts; one process at a time."""

    path: str
    max_bytes: int = 1024**3


class Cache(GatewaySection, frozen=True, kw_only=True):
    """A shared HTTP cache."""

    name: str = ""  # rules with the same name share one store; without it a rule has its own
    max_bytes: int = 64 * 1024**2  # in memory, with headers and overhead
    max_entry_bytes: int = 1024**2  # of one body, and never more than a quarter of `maxBytes`
    disk: CacheDisk | None = None
    identifier: str = "sidecar"  # in Cache-Status (RFC 9211); empty: no Cache-Status
    targets: tuple[str, ...] = ("CDN-Cache-Control",)  # the target list of RFC 9213, most applicable first
    heuristic_percent: int = 0  # of the time since Last-Modified, where no lifetime is said (RFC 9111 §4.2.2)
    heuristic_max: Duration = Duration(86400)
    stale_if_error: Duration = Duration(0)  # where neither side says more
    collapse_timeout: Duration = Duration(5)  # how long a request waits for another's answer; 0s: never
    key_headers: tuple[str, ...] = ()  # request headers that are part of every key
    unkeyed: Literal["forward", "drop"] = "forward"  # request headers that no key holds, on their way to the app
    request_directives: bool = True  # Cache-Control of requests: false leaves no-store and only-if-cached
    store_set_cookie: bool = False  # store responses that set cookies, with their cookies


class CacheFilter(GatewaySection, frozen=True, kw_only=True, tag_field="type", tag="Cache"):
    """Answers from stored responses."""

    cache: Cache = Cache()


def check_cache(spec: Cache, path: str) -> None:
    """Raise ConfigError for the first field that cannot be meant."""
    if spec.name:
        fields.name(spec.name, f"{path}.name")
    fields.between(spec.max_bytes, f"{path}.maxBytes", 65_536)
    fields.between(spec.max_entry_bytes, f"{path}.maxEntryBytes", 1)
    if spec.disk is not None:
        if not spec.disk.path:
            raise ConfigError(f"{path}.disk.path", "expected a folder, got ''")
        fields.between(spec.disk.max_bytes, f"{path}.disk.maxBytes", 65_536)
    if not (_PRINTABLE.issuperset(spec.identifier) and len(spec.identifier) <= 64):
        raise ConfigError(
            f"{path}.identifier", f"expected up to 64 printable ASCII characters, got {spec.identifier!a}"
        )
    fields.between(spec.heuristic_percent, f"{path}.heuristicPercent", 0, 100)
    for name, values in (("targets", spec.targets), ("keyHeaders", spec.key_headers)):
        if len(values) > _MOST_NAMES:
            raise ConfigError(f"{path}.{name}", f"expected {_MOST_NAMES} at most, got {len(values)}")
        for at, header in enumerate(values):
            fields.token(header, f"{path}.{name}[{at}]", "a header name")
        fields.unique((header.lower() for header in values), f"{path}.{name}", "header", field="")


class _Rule(Protocol):
    @property
    def filters(self) -> Sequence[object]: ...


class _Route(Protocol):
    @property
    def rules(self) -> Sequence[_Rule]: ...


class _Listener(Protocol):
    @property
    def routes(self) -> Sequence[_Route]: ...


def check_stores(listeners: Sequence[_Listener]) -> None:
    """Raise ConfigError where rules that share a store do not agree on it, or share a folder without a name."""
    stores: dict[str, tuple[str, tuple[object, ...]]] = {}
    folders: dict[str, tuple[str, str]] = {}
    for path, spec in _caches(listeners):
        settings = (spec.max_bytes, spec.max_entry_bytes, spec.disk, spec.key_headers)
        if spec.name:
            first, agreed = stores.setdefault(spec.name, (path, settings))
            if settings != agreed:
                sizes = "`maxBytes`, `maxEntryBytes`, `disk` and `keyHeaders`"
                raise ConfigError(f"{path}.name", f"{first} shares this store: {sizes} must be the same there")
        if spec.disk is not None:
            first, name = folders.setdefault(spec.disk.path, (path, spec.name))
            if first != path and not (name and name == spec.name):
                raise ConfigError(
                    f"{path}.disk.path", f"{first} has this folder; give both the same `name` to share it"
                )


def _caches(listeners: Sequence[_Listener]) -> Iterator[tuple[str, Cache]]:
    for at, listener in enumerate(listeners):
        for number, route in enumerate(listener.routes):
            for which, rule in enumerate(route.rules):
                for place, each in enumerate(rule.filters):
                    if isinstance(each, CacheFilter):
                        path = f"$.listeners[{at}].routes[{number}].rules[{which}].filters[{place}].cache"
                        yield path, each.cache
