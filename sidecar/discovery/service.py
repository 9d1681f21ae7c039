"""What a Service object says: its ports by number and name, its cluster IP, or the name it stands for. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sidecar.model import Address


class ServicePort(NamedTuple):
    """A port of a Service; `target` is the container's port where it is given by number."""

    name: str
    number: int
    target: int | None


class Service(NamedTuple):
    """The parts of a Service that discovery needs."""

    external_name: str | None
    cluster_ips: tuple[str, ...]  # none: headless, or ExternalName
    ports: tuple[ServicePort, ...]

    def port(self, wanted: int | str | None) -> ServicePort | None:
        """The port by number or name; None wanted: the only one, else that of HTTP, 80."""
        if wanted is None and len(self.ports) == 1:
            return self.ports[0]
        key = 80 if wanted is None else wanted
        return next((port for port in self.ports if key in (port.number, port.name)), None)

    def cluster_address(self, wanted: int | str | None, families: Sequence[str]) -> Address | None:
        """Where kube-proxy takes connections for this port; None: nowhere."""
        port = self.port(wanted)
        if port is None or not self.cluster_ips:
            return None
        family_of = {ip: "IPv6" if ":" in ip else "IPv4" for ip in self.cluster_ips}
        usable = [ip for family in families for ip in self.cluster_ips if family_of[ip] == family]
        return Address(usable[0], port.number) if usable else None

    def describe_ports(self) -> str:
        """The ports, for people."""
        return ", ".join(f"{port.number} {port.name}".strip() for port in self.ports) or "none"


def parse_service(manifest: Mapping[str, object]) -> Service:
    """Read a `v1` Service; parts of another shape are left out."""
    spec = manifest.get("spec")
    body: Mapping[str, object] = spec if isinstance(spec, dict) else {}
    external = body.get("externalName")
    listed = body.get("clusterIPs")
    ips = listed if isinstance(listed, list) and listed else [body.get("clusterIP")]
    items = body.get("ports")
    return Service(
        external_name=external if body.get("type") == "ExternalName" and isinstance(external, str) else None,
        cluster_ips=tuple(ip for ip in ips if isinstance(ip, str) and ip not in ("", "None")),
        ports=tuple(port for item in (items if isinstance(items, list) else ()) if (port := _port(item)) is not None),
    )


def _port(item: object) -> ServicePort | None:
    number = item.get("port") if isinstance(item, dict) else None
    if (
        not isinstance(item, dict)
        or not isinstance(number, int)
        or isinstance(number, bool)
        or item.get("protocol") not in (None, "TCP")
    ):
        return None
    name, target = item.get("name"), item.get("targetPort")
    return ServicePort(name if isinstance(name, str) else "", number, target if isinstance(target, int) else None)
