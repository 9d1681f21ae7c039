"""The stored responses of one cache: found by key, kept as long as there is room, forgotten on demand.

Everything here is memory and runs at once; what is on disk is read and written by `Disk`, which this one steers.
Outlives reloads (`FilterContext.keeper`); the sizes come with each call, since they belong to a configuration.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sidecar.config.cache import Cache
from sidecar.filters.cache.entry import Entry, Extras, Key, Uri, most_recent
from sidecar.filters.cache.eviction import S3Fifo
from sidecar.filters.cache.fields import Fields, Selecting, selecting
from sidecar.filters.cache.flight import Flight
from sidecar.filters.cache.invalidation import purged

if TYPE_CHECKING:
    from sidecar.filters.cache.disk import Disk

MOST_VARIANTS = 64  # of one URI; the oldest goes
MOST_ENTRIES = 50_000
MOST_MARKS = 4096  # URIs remembered as not worth waiting for
MARKED_FOR = 120.0  # seconds, as Varnish's hit-for-miss
_MOST_PARTS = 8  # different Vary values of one URI that a look-up tries


@dataclass(frozen=True, slots=True)
class Room:
    """Sizes in bytes, as the configuration says."""

    memory: int
    entry: int
    disk: int = 0


def room_of(spec: Cache) -> Room:
    """The sizes of a configuration."""
    disk = spec.disk.max_bytes if spec.disk is not None else 0
    return Room(spec.max_bytes, min(spec.max_entry_bytes, spec.max_bytes // 4), disk)


class _Resource:
    """The entries of one URI."""

    __slots__ = ("entries", "names")

    def __init__(self) -> None:
        self.entries: dict[tuple[Extras, tuple[bytes, ...], Selecting], Entry] = {}
        self.names: list[tuple[bytes, ...]] = []  # the Vary values there are


class Store:
    """See the module."""

    def __init__(self, disk: "Disk | None" = None) -> None:
        self.flights: dict[Uri, Flight] = {}
        self.refreshing: set[Key] = set()
        self.filling = 0  # bytes of bodies on their way
        self._resources: dict[Uri, _Resource] = {}
        self._memory: S3Fifo[Key] = S3Fifo()
        self._marks: dict[Uri, float] = {}
        self.disk = disk

    def __len__(self) -> int:
        return sum(len(resource.entries) for resource in self._resources.values())

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self._memory.size

    def has(self, uri: Uri) -> bool:
        """Whether anything is stored for it."""
        return uri in self._resources

    def select(self, uri: Uri, extras: Extras, fields: Fields) -> Entry | None:
        """The entry that a request selects, fresh or not."""
        resource = self._resources.get(uri)
        if resource is None:
            return None
        if len(resource.names) == 1:
            names = resource.names[0]
            return resource.entries.get((extras, names, selecting(names, fields)))
        parts = ((extras, names, selecting(names, fields)) for names in resource.names)
        return most_recent([resource.entries[part] for part in parts if part in resource.entries])

    def names_of(self, uri: Uri) -> Sequence[tuple[bytes, ...]]:
        """The Vary values that its entries have."""
        resource = self._resources.get(uri)
        return resource.names if resource is not None else ()

    def used(self, entry: Entry) -> None:
        """A request was answered with it."""
        self._memory.use(entry.key)

    def put(self, entry: Entry, room: Room) -> None:
        """Keep an entry with its body in the place of the one with the same key."""
        self._index(entry)
        if self.disk is not None:
            self.disk.write(entry, room.disk, dropped=self._left_disk, settled=self._written)
        self._into_memory(entry, room)

    async def body_of(self, entry: Entry, room: Room) -> bytes | None:
        """The body, from disk if need be; None where it is lost: then the entry is, too."""
        if entry.body is not None or self.disk is None:
            return entry.body
        body = await self.disk.read(entry)
        if body is None:
            self.remove(entry)
            return None
        if entry.body is None and self._is_current(entry):
            entry.body = body
            self._into_memory(entry, room)
        return body

    def remove(self, entry: Entry) -> None:
        """Forget one entry."""
        if self._is_current(entry):
            self._drop(entry)

    def forget(self, uri: Uri) -> int:
        """Forget all that is stored for a URI; returns how many entries that were (RFC 9111 §4.4)."""
        resource = self._resources.get(uri)
        if self.disk is not None:
            self.disk.forgotten(lambda other: other == uri)
        if uri in self.flights:
            self.flights.pop(uri).outdated = True
        entries = list(resource.entries.values()) if resource is not None else []
        for entry in entries:
            self._drop(entry)
        return len(entries)

    def purge(self, url: str) -> int:
        """Forget the URIs that `url` names; returns how many entries that were. Raises ValueError (`purged`)."""
        wanted = purged(url)
        if self.disk is not None:
            self.disk.forgotten(wanted)
        for uri in [uri for uri in self.flights if wanted(uri)]:
            self.flights.pop(uri).outdated = True
        return sum(self.forget(uri) for uri in [uri for uri in self._resources if wanted(uri)])

    def mark(self, uri: Uri, now: float) -> None:
        """Its answer could not be shared: for a while nobody waits for another's."""
        self._marks.pop(uri, None)
        self._marks[uri] = now + MARKED_FOR
        if len(self._marks) > MOST_MARKS:
            del self._marks[next(iter(self._marks))]

    def unmark(self, uri: Uri) -> None:
        """Its answer can be shared."""
        self._marks.pop(uri, None)

    def marked(self, uri: Uri, now: float) -> bool:
        """Whether waiting for another's answer has proved useless."""
        until = self._marks.get(uri)
        return until is not None and now < until

    def loaded(self, entries: Iterable[Entry], room: Room) -> None:
        """Take what was found on disk; what came meanwhile is newer."""
        for entry in entries:
            resource = self._resources.get(entry.uri)
            if resource is None or (entry.extras, entry.names, entry.values) not in resource.entries:
                self._index(entry)
                if self.disk is not None:
                    self.disk.keep(entry, room.disk, dropped=self._left_disk)

    async def aclose(self) -> None:
        """Let go of the disk; what is on it stays."""
        if self.disk is not None:
            await self.disk.aclose()

    def _index(self, entry: Entry) -> None:
        resource = self._resources.setdefault(entry.uri, _Resource())
        part = (entry.extras, entry.names, entry.values)
        old = resource.entries.pop(part, None)
        if old is None and len(resource.entries) >= MOST_VARIANTS:
            self._drop(next(iter(resource.entries.values())))
        if entry.names not in resource.names:
            if len(resource.names) >= _MOST_PARTS:
                for other in [each for each in resource.entries.values() if each.names == resource.names[0]]:
                    self._drop(other)
            resource.names.append(entry.names)
        resource.entries[part] = entry
        self._resources[entry.uri] = resource  # a drop may have taken it out

    def _is_current(self, entry: Entry) -> bool:
        resource = self._resources.get(entry.uri)
        return resource is not None and resource.entries.get((entry.extras, entry.names, entry.values)) is entry

    def _into_memory(self, entry: Entry, room: Room) -> None:
        for key in self._memory.add(entry.key, entry.weight, room.memory, MOST_ENTRIES):
            uri, extras, names, values = key
            resource = self._resources.get(uri)
            gone = resource.entries.get((extras, names, values)) if resource is not None else None
            if gone is None:
                continue
            if gone.on_disk:
                gone.body = None
            elif self.disk is None or not self.disk.writes(gone):  # else its body stays until it is written
                self._drop(gone)

    def _written(self, entry: Entry) -> None:
        """It is on disk, or that failed; memory may have given it up meanwhile."""
        if entry.key in self._memory or not self._is_current(entry):
            return
        if entry.on_disk:
            entry.body = None
        else:
            self._drop(entry)

    def _left_disk(self, entry: Entry) -> None:
        """The disk has no room for it any more."""
        entry.on_disk = False
        if entry.body is None and self._is_current(entry):
            self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        resource = self._resources[entry.uri]
        del resource.entries[(entry.extras, entry.names, entry.values)]
        if not any(each.names == entry.names for each in resource.entries.values()):
            resource.names.remove(entry.names)
        if not resource.entries:
            del self._resources[entry.uri]
        self._memory.remove(entry.key)
        if self.disk is not None:
            self.disk.erase(entry)
