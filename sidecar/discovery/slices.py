"""EndpointSlices as frozen values: fold an event, merge the slices of a Service into endpoints.

Pure; manifests become these values in `manifests.py`. Semantics of kube-proxy (`pkg/proxy/endpointslicecache.go`) and
of the EndpointSlice reference: a Service is all its slices, an endpoint may stand in two of them, the port belongs to
the slice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, assert_never

from sidecar.model import Address, Endpoint

FAMILIES = ("IPv4", "IPv6")


class SliceEndpoint(NamedTuple):
    """One entry of a slice."""

    host: str
    ready: bool
    serving: bool
    terminating: bool
    zone: str | None
    node: str | None
    pod: str | None  # name, for people
    identity: str | None  # of the pod: the same in slices of both address families
    for_zones: frozenset[str]
    for_nodes: frozenset[str]


class SlicePort(NamedTuple):
    """A port of a slice; the name is empty where the Service has a single unnamed port."""

    name: str
    number: int


class Slice(NamedTuple):
    """What the merge needs of one EndpointSlice, or of one subset of an Endpoints object."""

    service: str
    family: str
    ports: tuple[SlicePort, ...]
    endpoints: tuple[SliceEndpoint, ...]


Slices: TypeAlias = Mapping[str, tuple[Slice, ...]]  # by name of the object; treat as immutable


@dataclass(frozen=True, slots=True)
class Upserted:
    """An object is new or changed."""

    name: str
    slices: tuple[Slice, ...]


@dataclass(frozen=True, slots=True)
class Deleted:
    """An object is gone."""

    name: str


@dataclass(frozen=True, slots=True)
class Relisted:
    """The whole set, listed anew."""

    slices: Slices


Event: TypeAlias = Upserted | Deleted | Relisted


def apply(slices: Slices, event: Event) -> Slices:
    """The set after the event; the given one stays as it is."""
    match event:
        case Upserted(name, fresh):
            return {**slices, name: fresh}
        case Deleted(name):
            return {key: value for key, value in slices.items() if key != name}
        case Relisted(fresh_set):
            return fresh_set
        case _:
            assert_never(event)


def of_service(slices: Slices, service: str) -> tuple[Slice, ...]:
    """All slices of one Service."""
    return tuple(piece for pieces in slices.values() for piece in pieces if piece.service == service)


def port_names(slices: Iterable[Slice]) -> frozenset[str]:
    """The names of all ports: with more than one, a caller has to say which."""
    return frozenset(port.name for piece in slices for port in piece.ports)


def merge(
    slices: Sequence[Slice], port: int | str | None = None, *, families: Sequence[str] = FAMILIES
) -> tuple[Endpoint, ...]:
    """All endpoints of a Service's slices at one port, ordered by address.

    `port`: the name of a slice port, or its number, or None; where all slices have the same single port, a number or
    None takes that one. `families` are those that can be reached, the preferred one first: a pod with an address in
    both counts once. An address that stands in several slices counts once, the best state winning.
    """
    only = len(port_names(slices)) == 1 and not isinstance(port, str)
    best: dict[Address, tuple[SliceEndpoint, int]] = {}
    homes: dict[str, int] = {}  # pod → rank of its best family
    for piece in slices:
        numbers = {known.number for known in piece.ports if only or port in (known.name, known.number)}
        if not numbers or piece.family not in families:
            continue
        rank = families.index(piece.family)
        for entry in piece.endpoints:
            if entry.identity is not None:
                homes[entry.identity] = min(rank, homes.get(entry.identity, rank))
            for number in numbers:
                address = Address(entry.host, number)
                known_entry = best.get(address)
                if known_entry is None or _preference(entry) > _preference(known_entry[0]):
                    best[address] = (entry, rank)
    return tuple(
        _endpoint(address, entry)
        for address, (entry, rank) in sorted(best.items())
        if entry.identity is None or homes[entry.identity] == rank
    )


def _preference(entry: SliceEndpoint) -> tuple[bool, bool, bool, str, str]:
    """Which of two entries of one address tells the truth: the better state, and in a draw any, but always the same."""
    hinted = f"{sorted(entry.for_zones)}{sorted(entry.for_nodes)}"
    return entry.ready, entry.serving, not entry.terminating, f"{entry.zone} {entry.node} {entry.identity}", hinted


def _endpoint(address: Address, entry: SliceEndpoint) -> Endpoint:
    return Endpoint(
        address=address,
        zone=entry.zone,
        node=entry.node,
        ready=entry.ready,
        serving=entry.serving,
        terminating=entry.terminating,
        for_zones=entry.for_zones,
        for_nodes=entry.for_nodes,
        name=entry.pod,
    )
