"""EndpointSlice and Endpoints manifests, as the API server and people write them, read into slices.

Pure. Malformed parts are left out and reported to the caller, who counts and logs them; the rest is used. Rules of the
EndpointSlice reference: nil `ready` and `serving` mean true, nil `terminating` means false; nil ports are skipped, as
kube-proxy does; only the first address of an entry counts; `addressType: FQDN` is ignored.
"""

import ipaddress
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sidecar.discovery.slices import FAMILIES, Slice, SliceEndpoint, SlicePort

SERVICE_LABEL = "kubernetes.io/service-name"
_NONE: frozenset[str] = frozenset()


class Problem(NamedTuple):
    """A part that was left out: `kind` is `slice`, `endpoint` or `port`."""

    kind: str
    details: str


class Parsed(NamedTuple):
    """A manifest read: the name of its object, its slices (none: nothing of use), and what was left out."""

    name: str
    namespace: str
    slices: tuple[Slice, ...]
    problems: tuple[Problem, ...]


def parse(manifest: object) -> Parsed:
    """Read an EndpointSlice (`discovery.k8s.io/v1`) or an `Endpoints` object; never raises.

    A manifest without a name has the name "".
    """
    body = manifest if isinstance(manifest, dict) else {}
    metadata = _dict(body, "metadata")
    name, namespace = _text(metadata, "name") or "", _text(metadata, "namespace") or ""
    problems: list[Problem] = []
    if not name:
        return Parsed("", namespace, (), (Problem("slice", "an object without metadata.name"),))
    pieces = (
        _subsets(body, name, problems)
        if "subsets" in body or body.get("kind") == "Endpoints"
        else _slice(body, metadata, problems)
    )
    return Parsed(name, namespace, pieces, tuple(problems))


def _slice(body: Mapping[str, object], metadata: Mapping[str, object], problems: list[Problem]) -> tuple[Slice, ...]:
    service = _text(_dict(metadata, "labels"), SERVICE_LABEL)
    family = body.get("addressType")
    if family == "FQDN":
        return ()
    if not service or family not in FAMILIES:
        wrong = f"no label {SERVICE_LABEL}" if not service else f"addressType {family!r} is none of IPv4, IPv6, FQDN"
        problems.append(Problem("slice", wrong))
        return ()
    ports = _ports(_list(body, "ports", problems), problems)
    entries = [_entry(item, str(family), problems) for item in _list(body, "endpoints", problems)]
    return (
        Slice(
            sys.intern(service), sys.intern(str(family)), ports, tuple(entry for entry in entries if entry is not None)
        ),
    )


def _subsets(body: Mapping[str, object], service: str, problems: list[Problem]) -> tuple[Slice, ...]:
    """The subsets of an Endpoints object, each a slice for every address family in it."""
    slices = []
    for subset in _list(body, "subsets", problems):
        if not isinstance(subset, dict):
            problems.append(Problem("slice", "a subset that is no object"))
            continue
        ports = _ports(_list(subset, "ports", problems), problems)
        by_family: dict[str, list[SliceEndpoint]] = {}
        for key, ready in (("addresses", True), ("notReadyAddresses", False)):
            for item in _list(subset, key, problems):
                address = _text(item, "ip") if isinstance(item, dict) else None
                family = "IPv6" if address and ":" in address else "IPv4"
                shaped = {"addresses": [address], "conditions": {"ready": ready, "serving": ready}}
                entry = _entry({**item, **shaped} if isinstance(item, dict) else item, family, problems)
                if entry is not None:
                    by_family.setdefault(family, []).append(entry)
        slices += [
            Slice(sys.intern(service), sys.intern(family), ports, tuple(found)) for family, found in by_family.items()
        ]
    return tuple(slices)


def _ports(items: Sequence[object], problems: list[Problem]) -> tuple[SlicePort, ...]:
    if not items:  # "all ports"
        problems.append(Problem("port", "a slice without ports"))
    ports = []
    for item in items:
        number = item.get("port") if isinstance(item, dict) else None
        name = (item.get("name") or "") if isinstance(item, dict) else ""
        if (
            not isinstance(number, int)
            or isinstance(number, bool)
            or not 0 < number < 65536
            or not isinstance(name, str)
        ):
            problems.append(Problem("port", f"a port without a usable number: {_short(item)}"))
        elif not isinstance(item, dict) or item.get("protocol") in (None, "TCP"):
            ports.append(SlicePort(sys.intern(name), number))
    return tuple(ports)


def _entry(item: object, family: str, problems: list[Problem]) -> SliceEndpoint | None:
    addresses = item.get("addresses") if isinstance(item, dict) else None
    if (
        not isinstance(item, dict)
        or not isinstance(addresses, list)
        or not addresses
        or not _is_ip(addresses[0], family)
    ):
        problems.append(Problem("endpoint", f"an endpoint without an {family} address: {_short(addresses)}"))
        return None
    conditions, target, hints = _dict(item, "conditions"), _dict(item, "targetRef"), _dict(item, "hints")
    pod = _text(target, "name")
    ready = conditions.get("ready") is not False
    return SliceEndpoint(
        host=sys.intern(addresses[0]),
        ready=ready,
        serving=conditions.get("serving") is not False,
        terminating=conditions.get("terminating") is True,
        zone=_interned(_text(item, "zone")),
        node=_interned(_text(item, "nodeName")),
        pod=_interned(pod),
        identity=_interned(_text(target, "uid") or pod),
        for_zones=_names(hints, "forZones"),
        for_nodes=_names(hints, "forNodes"),
    )


def _is_ip(text: object, family: str) -> bool:
    if not isinstance(text, str):
        return False
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.version == (6 if family == "IPv6" else 4)


def _names(hints: Mapping[str, object], key: str) -> frozenset[str]:
    items = hints.get(key)
    if not isinstance(items, list):
        return _NONE
    return frozenset(sys.intern(name) for item in items if isinstance(item, dict) and (name := _text(item, "name")))


def _dict(body: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = body.get(key)
    return value if isinstance(value, dict) else {}


def _list(body: Mapping[str, object], key: str, problems: list[Problem]) -> Sequence[object]:
    value = body.get(key)
    if value is not None and not isinstance(value, list):
        problems.append(Problem("slice", f"{key} is no list: {_short(value)}"))
    return value if isinstance(value, list) else ()


def _text(body: Mapping[str, object], key: str) -> str | None:
    value = body.get(key)
    return value if isinstance(value, str) and value else None


def _interned(text: str | None) -> str | None:
    return None if text is None else sys.intern(text)


def _short(value: object) -> str:
    return ascii(value)[:80]
